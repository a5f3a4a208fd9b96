"""`dataset.json` of nnU-Net and the Medical Segmentation Decathlon: the order of channels."""

import re
from collections.abc import Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import REFERENCE
from agd_keras.io.contrasts import CONTRASTS, OTHER, name_contrast
from agd_keras.io.dataset_spec import FILE, channel_names, read_content

_LEVELS = 3  # the folder of the images and two above it
_NUMBERED = re.compile(r"(.+)_(\d{4})")


def split_number(stem: str) -> tuple[str, int] | None:
    """Splits a name of nnU-Net into the case and the number of the channel.

    Example:

    >>> split_number("BraTS_001_0003"), split_number("BraTS_001")
    (('BraTS_001', 3), None)
    """
    match = _NUMBERED.fullmatch(stem)
    return (match[1], int(match[2])) if match else None


def read_channels(folder: Path) -> tuple[str, ...]:
    """Reads which channel is which contrast.

    Args:
        folder: The folder of the images; the file may lie in it or up to two levels above.

    Returns:
        `T1`, `FLAIR`, `T1c`, `T2` or `other` for each channel; nothing without such a file.

    Raises:
        InputError: The file cannot be read, or does not name its channels 0, 1, ...

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "Flair"}}')
    >>> read_channels(folder / "imagesTs")
    ('T1', 'FLAIR')
    """
    for place in [folder.absolute(), *folder.absolute().parents][:_LEVELS]:
        path = place / FILE
        content = read_content(path) if path.is_file() else None
        names = channel_names(content, path) if isinstance(content, dict) else ()
        if names:
            return parse_channels(names)
    return ()


def parse_channels(names: Sequence[str]) -> tuple[str, ...]:
    """Turns names of channels, as `t1ce`, into contrasts; `other` for what is none.

    Example:

    >>> parse_channels(["t1", "T1Gd", "t2w", "FLAIR", "ADC"])
    ('T1', 'T1c', 'T2', 'FLAIR', 'other')
    """
    return tuple(_contrast(name) or OTHER for name in names)


def parse_order(text: str) -> tuple[str, ...]:
    """Reads an order of channels as a user gives it, `t1,t1c,t2,flair`.

    Args:
        text: Contrasts; `other`, or the name of another kind of image, for what is none.

    Returns:
        As `parse_channels`.

    Raises:
        InputError: A word is none, a contrast stands twice, or there is no FLAIR.

    Example:

    >>> parse_order("t1ce,flair,adc")
    ('T1c', 'FLAIR', 'other')
    """
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word.lower() != OTHER and not _contrast(word)]
    names = parse_channels(words)
    if unknown:
        known = ", ".join(map(str.lower, CONTRASTS))
        raise InputError(f"--channels {text}: expected {known} or {OTHER}, found {unknown[0]!r}")
    for name in CONTRASTS:
        if names.count(name) > 1:
            raise InputError(f"--channels {text}: expected {name} once")
    if REFERENCE not in names:
        raise InputError(f"--channels {text}: expected flair among them")
    return names


def _contrast(name: str) -> str | None:
    named = {contrast.lower(): contrast for contrast in CONTRASTS}
    return named.get(name.lower()) or name_contrast(name)
