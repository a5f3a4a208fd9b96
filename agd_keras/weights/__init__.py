"""Trained models that come with the package: each a run folder of one network, by its preset."""

import hashlib
from difflib import get_close_matches
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.presets import PRESETS
from agd_keras.run_layout import MODEL as FILE
from agd_keras.run_layout import fold_name

FOLDER = Path(__file__).parent
MODEL = f"{fold_name(0)}/{FILE}"
CHECKSUM = "SHA256SUMS"  # as `sha256sum --check` reads it


def shipped() -> list[str]:
    """Returns the presets that come with weights.

    Example:

    >>> "agd_small" in shipped()
    True
    """
    return [name for name in PRESETS if (FOLDER / name / MODEL).is_file()]


def find_model(model: str | Path) -> Path:
    """Finds what `--model` names: the weights of a preset, else whatever lies at that path.

    The name of a preset always means its weights; a file or folder of that name is `./agd_small`.

    Args:
        model: Name of a preset, as a string, or a path.

    Returns:
        The path; that of a preset is a run folder.

    Raises:
        InputError: The preset comes without weights, its file is not the one that was released, or
            a plain name is neither that of a preset nor of a file or folder.

    Example:

    >>> find_model("runs/first").name
    'first'
    >>> find_model("agd_smal")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: agd_smal: no such file or folder, and of the models that ship \
there are agd_tiny, agd_small; did you mean agd_small?
    """
    if model not in PRESETS:
        path = Path(model)
        if isinstance(model, str) and path.name == model and not (path.suffix or path.exists()):
            meant = get_close_matches(model, shipped(), 1)
            raise InputError(
                f"{model}: no such file or folder, and of the models that ship there are "
                f"{', '.join(shipped())}" + (f"; did you mean {meant[0]}?" if meant else "")
            )
        return path
    folder = FOLDER / str(model)
    try:
        content = (folder / MODEL).read_bytes()
        expected = (folder / CHECKSUM).read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError):
        names = ", ".join(shipped()) or "none"
        raise InputError(
            f"{model}: expected a preset that comes with weights ({names}), or a path"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"{folder / MODEL}: damaged, expected SHA-256 {expected[:12]}…, found {found[:12]}…: "
            "install the package again"
        )
    return folder
