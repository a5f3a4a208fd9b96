"""From probabilities to a mask: threshold, then what is too small is left out."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from agd_keras.errors import InputError
from agd_keras.region_masks import close_masks
from agd_keras.regions import Regions, names_of

THRESHOLD = 0.5


@dataclass(frozen=True)
class Postprocessing:
    """What happens to the probabilities of a case, in prediction and in evaluation alike.

    Args:
        threshold: Tumour is where the probability is at least this, above 0 and at most 1. None:
            the model's own, see `settle`.
        flips: Average with the prediction of the mirrored head.
        largest_component: Keep the largest component only.
        min_size: Least number of voxels of a component that is kept.

    Raises:
        InputError: A number is out of bounds.

    Example:

    >>> Postprocessing(min_size=2).mask(np.array([[[0.9, 0.8, 0.1, 0.7]]])).astype(int).tolist()
    [[[1, 1, 0, 0]]]
    """

    threshold: float | None = None
    flips: bool = False
    largest_component: bool = False
    min_size: int = 0

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise InputError(f"--threshold {self.threshold}: expected above 0 and at most 1")
        if self.min_size < 0:
            raise InputError(f"--min-size {self.min_size}: expected at least 0")

    def settle(self, threshold: float) -> "Postprocessing":
        """Returns the same with a threshold, this one unless it has one of its own."""
        return self if self.threshold is not None else replace(self, threshold=threshold)

    def check_uncertainty(self, method: str | None) -> None:
        """Refuses flips beside a method of uncertainty, which has changed images of its own.

        Raises:
            InputError: There are both.
        """
        if self.flips and method:
            raise InputError("--flips: not together with --uncertainty, whose `tta` has them")

    def mask(self, probability: np.ndarray, regions: Regions | None = None) -> np.ndarray:
        """Makes the masks of a case, see `make_mask` and, of several regions, `close_masks`.

        Args:
            probability: Array of shape `(slices, height, width)`, values 0 to 1, with an axis for
                the regions at its end where there are several.
            regions: What is found. Default: one region.

        Returns:
            Boolean array of that shape.
        """
        threshold = THRESHOLD if self.threshold is None else self.threshold
        how = (threshold, self.largest_component, self.min_size)
        if probability.ndim == 3:
            return make_mask(probability, *how)
        masks = [make_mask(one, *how) for one in np.moveaxis(probability, -1, 0)]
        return close_masks(np.stack(masks, axis=-1), regions or {})


def make_mask(
    probability: np.ndarray,
    threshold: float = THRESHOLD,
    largest_component: bool = False,
    min_size: int = 0,
) -> np.ndarray:
    """Thresholds the probabilities of a case and drops small components.

    A component is what hangs together through the slices, also over corners (26 neighbours).

    Args:
        probability: Array of shape `(slices, height, width)`, values 0 to 1.
        threshold: Tumour is where the probability is at least this.
        largest_component: Keep the largest component only; of equal ones, the lowest in the head.
        min_size: Least number of voxels of a component that is kept.

    Returns:
        Boolean array of the same shape.

    Example:

    >>> probability = np.array([[[0.9, 0.8, 0.1, 0.7]]])
    >>> make_mask(probability, min_size=2).astype(int).tolist()
    [[[1, 1, 0, 0]]]
    """
    mask = np.asarray(probability) >= threshold
    if not mask.any() or not (largest_component or min_size > 1):
        return mask
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the background
    kept = sizes >= max(min_size, 1)
    if largest_component:
        kept &= np.arange(len(sizes)) == sizes.argmax()
    return kept[labels]


def measure_regions(
    masks: np.ndarray, spacing: tuple[float, float, float] | None, regions: Regions
) -> dict[str, float | int | None]:
    """Measures each of several regions.

    Args:
        masks: Boolean array of shape `(slices, height, width, regions)`.
        spacing: As for `measure`.
        regions: What is found.

    Returns:
        `voxels_` and `volume_mm3_` with the name of each region; nothing of a single one.

    Example:

    >>> masks = np.ones((2, 3, 4, 2), bool)
    >>> measure_regions(masks, (5.0, 1.0, 0.5), {"whole": (1, 2), "core": (1,)})["volume_mm3_core"]
    60.0
    """
    measured: dict[str, float | int | None] = {}
    for place, name in enumerate(names_of(regions)):
        own = measure(masks[..., place], masks[..., place].astype(np.float32), spacing)
        measured |= {f"{key}_{name}": own[key] for key in ("voxels", "volume_mm3")}
    return measured


def measure(
    mask: np.ndarray, probability: np.ndarray, spacing: tuple[float, float, float] | None
) -> dict[str, float | int | None]:
    """Measures a predicted tumour.

    Args:
        mask: Boolean array of shape `(slices, height, width)`.
        probability: Float array of the same shape, values 0 to 1.
        spacing: Between slices, rows and columns in mm; None, or NaN between slices, if unknown.

    Returns:
        `slices`, `slices_with_tumour`, `voxels`; `area_mm2`, the area in the slice with most, and
        `volume_mm3`, both None where the spacing is unknown; `confidence`, the mean probability in
        the mask, None if it is empty.

    Example:

    >>> measure(np.ones((2, 3, 4), bool), np.full((2, 3, 4), 0.75), (5.0, 1.0, 0.5))["volume_mm3"]
    60.0
    """
    voxels = int(mask.sum())
    areas = mask.sum(axis=(1, 2))
    slices, rows, columns = spacing or (np.nan, np.nan, np.nan)
    area, volume = float(areas.max() * rows * columns), float(voxels * slices * rows * columns)
    return {
        "slices": len(mask),
        "slices_with_tumour": int((areas > 0).sum()),
        "voxels": voxels,
        "area_mm2": area if np.isfinite(area) else None,
        "volume_mm3": volume if np.isfinite(volume) else None,
        "confidence": float(probability[mask].mean(dtype=np.float64)) if voxels else None,
    }
