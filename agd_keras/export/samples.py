"""Which cases an exported model is compared on, and which ones its integers are fitted to."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from agd_keras.data.datasets import choose_regions, data_root, find_data
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.geometry import square_view
from agd_keras.io.labels import read_labelled
from agd_keras.regions import Regions
from agd_keras.runs.run_folder import RunFolder
from agd_keras.weights import find_model

logger = logging.getLogger(__name__)

# Patients of a data set without folds: as many as a validation set of LGG, and more than that
# changes no scale of an integer.
SCORED, REPRESENTATIVE = 16, 8


@dataclass(frozen=True)
class Samples:
    """Cases of one data set.

    Args:
        data: Name or folder of the data set.
        side: What `scored` is of it: `"validation patients"` or `"patients"`.
        scored: Cases on which the exported model and its original are compared.
        representative: Cases from which ranges of values are taken, not among `scored` if the
            run tells which patients it was trained on.
    """

    data: str
    side: str
    scored: list[CaseRef]
    representative: list[CaseRef]


def choose_samples(
    model: str | Path,
    data: str | Path | None = None,
    preprocessor: Preprocessor | None = None,
    regions: Regions = MappingProxyType({}),
) -> Samples:
    """Picks cases by the run that a model lies in.

    Args:
        model: A run folder, or a `.keras` file in one or elsewhere.
        data: `phantom` or a folder. By default the data of the run if it is still there, else
            `phantom`, which a logged line says.
        preprocessor: What makes the model's input. Default: that of one without its own.
        regions: What the model finds, see `choose_regions`.

    Returns:
        The validation patients of the model's first fold, with those that it was trained on as
        representatives; of a model without folds, or other data, patients at even distances.

    Raises:
        InputError: The data or a file of the run cannot be used.

    Example:

    >>> samples = choose_samples("model.keras", "phantom")
    >>> samples.side, len(samples.scored)
    ('patients', 16)
    """
    run, indices = RunFolder.of_model(find_model(model))
    settings: dict[str, Any] = {}
    if run.config_file.is_file() and run.folds_file.is_file():
        settings = run.read_settings().get("data") or {}
    own = settings.get("path")
    how: dict[str, Any] = {}
    if data is None and own and data_root(own).exists():
        data = own
        how = {key: settings[key] for key in ("layout", "persons") if key in settings}
    if data is None:
        why = f"the data of the run, {own}, are not here" if own else "the model names no data"
        logger.warning("%s: %s, compared on the phantom; --data names others", model, why)
        data = "phantom"
    if preprocessor:
        how |= {key: getattr(preprocessor, key) for key in ("channels", "missing", "plane")}
    cases = choose_regions(find_data(data, **how), regions)
    if settings.get("split") == "subject":  # else no patient is new to the model
        known = {case.patient_id for case in cases}
        for fold in run.read_folds():
            if fold.index in indices and known.issuperset(fold.train + fold.validation):
                trained = [case for case in cases if case.patient_id in fold.train]
                scored = [case for case in cases if case.patient_id in fold.validation]
                trained = _spread(trained, REPRESENTATIVE)
                return Samples(str(data), "validation patients", scored, trained)
    return Samples(str(data), "patients", _spread(cases, SCORED), _spread(cases, REPRESENTATIVE))


def _spread(cases: list[CaseRef], count: int) -> list[CaseRef]:
    """Some cases at even distances."""
    places = np.unique(np.linspace(0, len(cases) - 1, count).round().astype(int))
    return [cases[place] for place in places]


def read_prepared(
    cases: list[CaseRef], preprocessor: Preprocessor
) -> Iterator[tuple[np.ndarray, ...]]:
    """Reads cases one after the other, as the network wants them.

    Args:
        cases: Cases with labels. The slices of one are normalised together.
        preprocessor: What the network's input is made by.

    Yields:
        Images in a square field of view, `(slices, height, width, 3)`; network input, float32,
        `(slices, image_size, image_size, 3)`; masks, boolean, `(slices, height, width)`, with
        an axis for the regions at the end where there are several.

    Raises:
        InputError: A file cannot be used.
    """
    for ref in cases:
        case, label = read_labelled(ref)
        images, where = square_view(case.images, case.spacing)
        truth = np.zeros((*images.shape[:3], *label.shape[3:]), bool)
        truth[where] = label
        yield images, preprocessor.prepare(images), truth
