"""What the cache keeps of a case: each slice as the network takes it, and what is known of all."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agd_keras.data.brain import brain_mask, strip_skull
from agd_keras.data.preprocess import resize_mask
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.profile import ScanProfile, describe_scan
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.geometry import square_view
from agd_keras.io.labels import read_labelled
from agd_keras.io.likeness import describe_likeness
from agd_keras.region_masks import by_region, union

BRAIN = 2  # bit of the mask


@dataclass(frozen=True)
class CacheEntry:
    """A case as a `Cache` keeps it.

    Args:
        index: What stands in the index, see `Cache.cases`.
        label: Its mask at the original size, as `read_labelled` returns it.
        slices: The raw content of each slice's file, in their order; made one at a time.
        found: For each region, whether any pixel is of it.
    """

    index: dict[str, Any]
    label: np.ndarray
    slices: Iterator[bytes]
    found: list[bool]


def make_entry(ref: CaseRef, preprocessor: Preprocessor, bits: Sequence[int]) -> CacheEntry:
    """Reads a case with its mask and makes what the cache keeps of it.

    Args:
        ref: The case, with its label.
        preprocessor: Makes the network's input.
        bits: The bit of each region in a mask.

    Returns:
        The `CacheEntry`.

    Raises:
        InputError: A file cannot be used.
    """
    channels = preprocessor.channels
    t1 = channels.index("T1") if "T1" in channels else None
    case, label = read_labelled(ref)
    view, where = square_view(case.images, case.spacing)
    masks = np.zeros((*view.shape[:3], len(bits)), bool)
    masks[where] = by_region(label)
    brain = brain_mask(view, preprocessor.flair, t1) | union(masks)
    stripped = strip_skull(view, brain)
    index = {
        "patient": ref.patient_id,
        "numbers": list(ref.numbers or range(1, len(label) + 1)),
        "areas": union(label).sum(axis=(1, 2)).tolist(),
        "shape": list(label.shape[1:3]),
        "view": list(view.shape[1:3]),
        "corner": [where[axis].start or 0 for axis in (1, 2)],
        "likeness": describe_likeness(case),
        "scan": _entry_of(describe_scan(case.images, case.spacing, channels)),
        "stripped": _entry_of(describe_scan(stripped, case.spacing, channels)),
    }
    images = preprocessor.prepare(view)
    slices = (
        image.astype("<f2").tobytes() + _encode(brain[place], masks[place], bits, len(image))
        for place, image in enumerate(images)
    )
    found = [bool(masks[..., region].any()) for region in range(len(bits))]
    return CacheEntry(index, label, slices, found)


def _encode(brain: np.ndarray, masks: np.ndarray, bits: Sequence[int], side: int) -> bytes:
    """The masks of a slice at the network's size: a byte a pixel, a bit for each of them."""
    encoded = resize_mask(brain, side) * np.uint8(BRAIN)
    for region, bit in enumerate(bits):
        encoded |= resize_mask(masks[..., region], side) * np.uint8(bit)
    return encoded.tobytes()


def _entry_of(scan: ScanProfile) -> dict[str, Any]:
    return asdict(scan) | {"filled": list(scan.filled)}  # as JSON gives it back
