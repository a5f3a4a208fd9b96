"""Where a saved model comes from, and which patients it has seen."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import read_case
from agd_keras.io.likeness import SAME, describe_likeness, similarity
from agd_keras.run_layout import fold_name
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.seen import Seen, find_seen
from agd_keras.text import clean
from agd_keras.weights import find_model

SEEN = "patients_seen_in_training"
HOW = "seen_by"


def find_origin(model: str | Path, cases: Iterable[CaseRef]) -> dict[str, Any]:
    """Reads how a model was made from the run that it lies in.

    Args:
        model: A run folder, or `<run>/fold-<k>/model.keras`; any other file has no known origin.
        cases: The cases that will be scored.

    Returns:
        `split`, `folds`, `augmentation`, `seed` and `model` for the protocol, and
        `patients_seen_in_training`: how many patients of `cases` the model, or one that it was
        started from, was trained or validated on; of a run split by slice each with any such slice.
        They are told by their names, and by their images where the run has fingerprints of them;
        then `seen_by` is `name and image`. What the folder does not tell is None.

    Raises:
        InputError: `config.yaml` or another file of the run is damaged.

    Example:

    >>> find_origin("model.keras", [])["patients_seen_in_training"] is None
    True
    """
    path = find_model(model)
    run, indices = RunFolder.of_model(path)
    keys = ("split", "folds", "augmentation", "seed")
    origin = dict.fromkeys(keys) | {"model": str(model), SEEN: None}
    if not indices or not run.config_file.is_file():
        return origin
    # Read as it stands, not validated: the run may be of a version with other options.
    config = run.read_settings()
    sections = (config.get(name) for name in ("data", "training"))
    data, training = (one if isinstance(one, dict) else {} for one in sections)
    folds = data.get("folds")
    named = ", ".join(map(fold_name, indices))  # as their folders are called
    origin |= {
        "split": _plain(data.get("split")),
        "folds": f"{named} of {_plain(folds)}" if folds else None,
        "augmentation": _plain(data.get("augment")),
        "seed": _plain(training.get("seed")),
        "model": f"{_plain(config.get('preset'))} ({model})",
    }
    seen = find_seen(path)
    if seen is not None:
        origin |= _count_seen(seen, cases)
    return origin


def _plain(value: Any) -> int | str | None:
    """What YAML holds, dates and worse, as metrics.json can take it."""
    return value if value is None or isinstance(value, int) else clean(value)


def _count_seen(seen: Seen, cases: Iterable[CaseRef]) -> dict[str, Any]:
    known = list(seen.likeness.values())
    patients = {
        case.patient_id
        for case in cases
        if seen.names_case(case) or (known and _looks_like(case, known))
    }
    count = len(patients) if patients or seen.complete else None
    return {SEEN: count, **({HOW: "name and image"} if known else {})}


def _looks_like(case: CaseRef, known: Iterable[list[str]]) -> bool:
    try:
        own = describe_likeness(read_case(case))
    except InputError:  # told where the case is scored
        return False
    return any(similarity(own, other) >= SAME for other in known)
