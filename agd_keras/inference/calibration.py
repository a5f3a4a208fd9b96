"""The temperature and the threshold of a model: fitted on validation patients, kept with it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from agd_keras.errors import InputError
from agd_keras.evaluation import reliability
from agd_keras.evaluation.evaluate import Predict, predict_labelled
from agd_keras.inference.stored import read_stored, write_stored
from agd_keras.io.case_ref import CaseRef
from agd_keras.regions import Regions, parse_regions
from agd_keras.run_layout import fold_models
from agd_keras.text import clean

MEMBER = "calibration.json"
LOGITS = np.linspace(-16.2, 16.2, 3241)  # to both ends of what float32 tells from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """How the probabilities of a model are to be read.

    Args:
        temperature: What the logits of the probability are scaled by, at the original size of the
            slices, see `scale_temperature`.
        threshold: A pixel is tumour at or above this probability.
        fitted_on: Which patients it comes from, and calibration there before and after.
        regions: What the channels of its mask are, by name the labels of each; empty for one of all
            labels.

    Raises:
        InputError: The temperature is not positive, the threshold not between 0 and 1, or what is
            called regions none.

    Example:

    >>> Calibration().temperature
    1.0
    """

    temperature: float = 1.0
    threshold: float = 0.5
    fitted_on: dict[str, Any] = field(default_factory=dict)
    regions: Regions = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", parse_regions(self.regions))  # of lists, in a file
        for name, low, high in (("temperature", 0, math.inf), ("threshold", 0, 1)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low < value < high:
                raise InputError(f"{name} {value!r}: expected a number above {low}, below {high}")


def fit_calibration(
    predict: Predict, cases: Iterable[CaseRef], scored: Mapping[str, Sequence[int]] | None = None
) -> Calibration:
    """Fits the temperature on all pixels of validation patients.

    Over all pixels the likelihood is a proper score of the whole map. On the pixels near tumour
    alone a higher temperature would fit better, but raise the probabilities around them, which add
    up to more tumour than there is.

    Args:
        predict: Function of a case that returns the probabilities of the model as it was trained,
            as for `evaluate`.
        cases: Validation cases: neither trained nor tested on.
        scored: By case the indices of the validation slices, where they are only some of them.

    Returns:
        The `Calibration`, of threshold 0.5; temperature 1 if no slice has tumour.

    Raises:
        InputError: A case has no label, or sizes do not fit.

    Example:

    >>> fit_calibration(predict, cases)  # doctest: +SKIP
    Calibration(temperature=1.47, threshold=0.5, fitted_on={...})
    """
    cases = sorted(cases)
    # Counts of logits for pixels without and with tumour, so that memory does not grow.
    counts = np.zeros((2, len(LOGITS)))
    for ref in cases:
        truth, probability = predict_labelled(predict, ref)
        places = slice(None) if scored is None else list(scored[ref.case_id])
        logit = special.logit(np.clip(probability[places], 1e-7, 1 - 1e-7, dtype=np.float64))
        index = np.rint((logit - LOGITS[0]) / (LOGITS[1] - LOGITS[0])).astype(int)
        for tumor in (0, 1):
            counts[tumor] += np.bincount(index[truth[places] == tumor], minlength=len(LOGITS))
    truths = np.repeat([False, True], len(LOGITS))
    probabilities, weights = np.tile(special.expit(LOGITS), 2), counts.ravel()
    found = counts[1].any()
    temperature = reliability.fit_temperature(truths, probabilities, weights) if found else 1.0
    margin = np.where(truths, 1, -1) * np.tile(LOGITS, 2)

    def cross_entropy(temperature: float) -> float:
        losses = np.logaddexp(0, -reliability.scale_logits(margin, temperature))
        return float(np.average(losses, weights=weights))

    fitted_on = {
        "patients": [ref.case_id for ref in cases],
        "pixels": int(weights.sum()),
        "bce_before": cross_entropy(1.0),
        "bce_after": cross_entropy(temperature),
    }
    return Calibration(temperature, fitted_on=fitted_on)


def write_calibration(model: str | Path, fitted: Calibration) -> Path:
    """Stores a calibration with a model, see `write_stored`.

    Args:
        model: A `.keras` file or an export.
        fitted: What to store; an older one is replaced.

    Returns:
        The file that was written.
    """
    values = asdict(fitted)
    if not fitted.regions:  # as before there were any
        del values["regions"]
    return write_stored(model, MEMBER, values)


def read_calibration(model: str | Path) -> Calibration:
    """Reads the calibration that is stored with a model.

    Args:
        model: A `.keras` file; a run folder, of whose folds the geometric mean of the temperatures
            is taken, as they scale logits; or an export, as for `write_calibration`.

    Returns:
        The `Calibration`; temperature 1 and threshold 0.5 if none is stored.

    Raises:
        InputError: What is stored is not a calibration.

    Example:

    >>> read_calibration("no/such/model.keras")
    Calibration(temperature=1.0, threshold=0.5, fitted_on={}, regions={})
    """
    model = Path(model)
    folds = fold_models(model)
    if folds:
        parts = [read_calibration(fold) for fold in folds]
        temperature = np.exp(np.mean([np.log(part.temperature) for part in parts]))
        threshold = np.mean([part.threshold for part in parts])
        origin = {fold.parent.name: p.fitted_on for fold, p in zip(folds, parts, strict=True)}
        regions = parts[0].regions
        if any(list(part.regions.items()) != list(regions.items()) for part in parts):
            raise InputError(f"{model}: folds of several regions")
        return Calibration(float(temperature), float(threshold), origin, regions)
    stored = read_stored(model, MEMBER, "calibration")
    stored.pop("normalization", None)  # of earlier files, see `read_preprocessor`
    try:
        return Calibration(**stored)
    except (InputError, TypeError) as error:
        raise InputError(f"{model}: expected a calibration in {MEMBER} ({clean(error)})") from None
