"""Where a saved model comes from, and which patients it has seen."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agd_keras.config import load_config
from agd_keras.data.splits import Fold, load_folds
from agd_keras.io.case_ref import CaseRef
from agd_keras.text import clean
from agd_keras.weights import find_model

SEEN = "patients_seen_in_training"


def find_origin(model: str | Path, cases: Iterable[CaseRef]) -> dict[str, Any]:
    """Reads how a model was made from the run that it lies in.

    Args:
        model: A run folder, or `<run>/fold-<k>/model.keras`; any other file has no known origin.
        cases: The cases that will be scored.

    Returns:
        `split`, `folds`, `augmentation`, `seed` and `model` for the protocol, and
        `patients_seen_in_training`: how many patients of `cases` the model was trained or
        validated on, by their names; of a run split by slice each with any such slice. What the
        folder does not tell is None.

    Raises:
        InputError: `config.yaml` or `folds.json` of the run is damaged.

    Example:

    >>> find_origin("model.keras", [])["patients_seen_in_training"] is None
    True
    """
    path = find_model(model).resolve()
    files = list(path.glob("fold-*/model.keras")) if path.is_dir() else [path]
    run = path if path.is_dir() else path.parent.parent
    matches = [re.fullmatch(r"fold-(\d+)", file.parent.name) for file in files]
    indices = sorted(int(match[1]) for match in matches if match)
    keys = ("split", "folds", "augmentation", "seed")
    origin = dict.fromkeys(keys) | {"model": str(model), SEEN: None}
    if not indices or not (run / "config.yaml").is_file():
        return origin
    # Read as it stands, not validated: the run may be of a version with other options.
    config = load_config(run / "config.yaml")
    sections = (config.get(name) for name in ("data", "training"))
    data, training = (one if isinstance(one, dict) else {} for one in sections)
    folds = data.get("folds")
    origin |= {
        "split": _plain(data.get("split")),
        "folds": f"{', '.join(map(str, indices))} of {_plain(folds)}" if folds else None,
        "augmentation": _plain(data.get("augment")),
        "seed": _plain(training.get("seed")),
        "model": f"{_plain(config.get('preset'))} ({model})",
    }
    if (run / "folds.json").is_file():
        dealt = {fold.index: fold for fold in load_folds(run / "folds.json")}
        if dealt.keys() >= set(indices):
            origin[SEEN] = _count_seen([dealt[i] for i in indices], cases, origin["split"])
    return origin


def _plain(value: Any) -> int | str | None:
    """What YAML holds, dates and worse, as metrics.json can take it."""
    return value if value is None or isinstance(value, int) else clean(value)


def _count_seen(folds: Iterable[Fold], cases: Iterable[CaseRef], split: Any) -> int:
    units = {unit for fold in folds for unit in fold.train + fold.validation}

    def seen(case: CaseRef) -> bool:
        if split != "record":
            return case.patient_id in units
        return any(f"{case.case_id}_{number}" in units for number in case.numbers)

    return len({case.patient_id for case in cases if seen(case)})
