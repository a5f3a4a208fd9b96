"""What is predicted at a time: all slices of one patient, and how its masks are written."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import UNWRITABLE
from agd_keras.io.background import finite, is_dark_around, settle_background
from agd_keras.text import clean

CHANNELS = ("T1", "FLAIR", "T1c")  # as networks take them unless told otherwise
REFERENCE = "FLAIR"  # whose grid the others are brought to, and which stands in for missing ones
AUTO, AXIAL = "auto", "axial"
PLANES = (AUTO, AXIAL, "coronal", "sagittal")  # in which slices may lie
FILL, ERROR = MISSING = ("fill", "error")  # what becomes of missing ones

# What a case may be: 512 x 512 x 512 voxels a channel (1.5 GiB as float32 in three channels), 2048
# slices, rows and columns, 2 GiB a file. All are checked before anything is decoded.
MAX_VOXELS = 2**27
MAX_SIDE = 2**11
MAX_FILE_BYTES = 2**31


@dataclass(frozen=True)
class Case:
    """One patient's slices as the network wants them, and the way back to the source's geometry.

    Axial slices lie as in LGG: the first is the lowest, rows run from anterior to posterior,
    columns from the patient's right to the left, so that the nose points up and left is on the
    right. Others have the top of the head up: coronal ones from front to back with left on the
    right, sagittal ones from left to right with the nose on the left.

    Args:
        images: Array of shape `(slices, height, width, channels)`; finite values of any scale.
        spacing: Between slices, rows and columns in mm, NaN between slices for a single one of
            unknown thickness; None for pictures, which do not tell.
        masks: Names of the mask files, with `/` for folders, relative to any output folder.
        write_masks: Function of a boolean array of shape `(slices, height, width)` and of one
            path for each of `masks`, which writes the files in the source's own geometry. What it
            returns, if anything, are further notes. Of NIfTI it takes a label map as well, and of
            DICOM several masks, with an axis at the end, and their names as `regions`.
        notes: What a user should know about how the images were read.
        affine: Array of shape `(4, 4)`, from voxels `(i, j, k)` of the source to mm to the right,
            anterior and superior, see `to_slices`; None for pictures.
        channels: Contrast of each channel of the images, FLAIR among them.
        plane: In which the slices lie, a key of `geometry.AXES`; pictures are taken for axial.
    """

    images: np.ndarray
    spacing: tuple[float, float, float] | None
    masks: tuple[str, ...]
    write_masks: Callable[..., tuple[str, ...] | None]
    notes: tuple[str, ...] = ()
    affine: np.ndarray | None = None
    channels: tuple[str, ...] = CHANNELS
    plane: str = AXIAL

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.spacing[1] / self.spacing[2] if self.spacing else 1.0

    @property
    def sides(self) -> str:
        """What is on the left of a slice and on its right: of right, left, anterior, posterior.

        Empty for pictures, which do not tell.
        """
        if self.affine is None:
            return ""
        return "AP" if self.plane == "sagittal" else "RL"

    @property
    def flair(self) -> np.ndarray:
        """The contrast that tumours are shown on, `(slices, height, width)`."""
        return self.images[..., self.channels.index(REFERENCE)]


def check_file(path: Path) -> None:
    """Refuses what is no regular file of a sensible size, without opening it.

    Args:
        path: The file.

    Raises:
        InputError: It is missing, a folder, a device, empty, or larger than `MAX_FILE_BYTES`.

    Example:

    >>> check_file(Path("none.nii"))
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: none.nii: expected a file, found nothing
    """
    try:
        found, regular = path.exists(), path.is_file()
        size = path.stat().st_size if regular else 0
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not regular:
        other = "something else" if found else "nothing"
        raise InputError(f"{path}: expected a file, found {other}")
    if not 0 < size <= MAX_FILE_BYTES:
        raise InputError(f"{path}: {size} bytes, expected 1 to {MAX_FILE_BYTES}")


def check_voxels(path: Path, shape: Sequence[int]) -> None:
    """Refuses a volume too large to be one patient's.

    Args:
        path: The file or folder, for the error.
        shape: Slices, rows and columns in any order, as the file claims them.

    Raises:
        InputError: One is not 1 to `MAX_SIDE`, or their product exceeds `MAX_VOXELS`.

    Example:

    >>> check_voxels(Path("a.nii"), (30000, 512, 512))
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: a.nii: 30000x512x512 voxels, expected 1 to 2048 each way
    """
    sizes = [int(size) for size in shape]
    found = "x".join(map(str, sizes))
    if not 1 <= min(sizes) <= max(sizes) <= MAX_SIDE:
        raise InputError(f"{path}: {found} voxels, expected 1 to {MAX_SIDE} each way")
    if prod(sizes) > MAX_VOXELS:
        raise InputError(f"{path}: {found} voxels, expected at most {MAX_VOXELS}")


@contextmanager
def one_line(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a decoder raises on a damaged file into one clear line, warnings into silence.

    Args:
        path: The file or folder being read.
        kind: What it should be, in words.

    Raises:
        InputError: Anything at all was raised, but that a file cannot be written.

    Example:

    >>> with one_line(Path("a.dcm"), "DICOM file"):
    ...     raise EOFError("no more data")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: a.dcm: damaged DICOM file, or one of an unknown kind (no more data)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in UNWRITABLE:  # nothing that was read
            raise
        detail = clean(error) or type(error).__name__
        message = f"{path}: damaged {kind}, or one of an unknown kind ({detail})"
        raise InputError(message) from error


def find_missing(
    path: Path, found: Sequence[str], channels: Sequence[str], missing: str
) -> list[str]:
    """Says which channels a patient lacks, or refuses it.

    Args:
        path: The file or folder, for the error.
        found: The contrasts that are there.
        channels: Names of the channels wanted.
        missing: `"fill"`, or `"error"` to refuse a patient who lacks one.

    Returns:
        Names of those that are to be filled.

    Raises:
        InputError: One is missing that must not be; names all of them.

    Example:

    >>> find_missing(Path("a"), ("T1", "FLAIR"), ("T1", "FLAIR", "T1c"), "error")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: a: expected T1, FLAIR, T1c, missing: T1c; --missing fill takes \
FLAIR in their place
    """
    absent = [name for name in channels if name not in found]
    if absent and missing == ERROR:
        raise InputError(
            f"{path}: expected {', '.join(channels)}, missing: {', '.join(absent)}; "
            f"--missing {FILL} takes FLAIR in their place"
        )
    return absent


def stack_channels(
    path: Path,
    found: Mapping[str, np.ndarray],
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Puts the contrasts of a patient together, with FLAIR in place of those it lacks, as in LGG.

    Args:
        path: The file or folder, for the error.
        found: By name of the contrast, real arrays of one shape `(slices, height, width)`.
        channels: Names of the channels wanted, in their order.
        missing: `"fill"`, or `"error"` to refuse a patient who lacks one.

    Returns:
        Array of shape `(slices, height, width, channels)`, float32 or, of values of 8 bits, uint8,
        whose background is the darkest, see `settle_background`, and notes on what was filled or
        taken for background.

    Raises:
        InputError: There is no FLAIR, or another is missing that must not be.

    Example:

    >>> stack_channels(Path("a.nii"), {"FLAIR": np.ones((1, 2, 2))})[1]
    ('T1 and T1c filled by FLAIR',)
    >>> stack_channels(Path("a.nii"), {"FLAIR": np.ones((1, 2, 2))}, ("FLAIR",))[0].shape
    (1, 2, 2, 1)
    """
    if REFERENCE not in found:
        kinds = " and ".join(sorted(found)) or "other contrasts"
        raise InputError(f"{path}: expected a FLAIR, found only {kinds}")
    absent = find_missing(path, tuple(found), channels, missing)
    notes = [f"{' and '.join(absent)} filled by FLAIR"] if absent else []
    images = np.empty((*found[REFERENCE].shape, len(channels)), np.float32)
    for place, name in enumerate(channels):
        with np.errstate(over="ignore", invalid="ignore"):
            images[..., place] = found.get(name, found[REFERENCE])
    present = [name for name in channels if name in found]
    for name in present:
        planes = images[..., channels.index(name)]
        if planes.size and not finite(planes).any():
            raise InputError(f"{path}: expected numbers in {name}, found none that is finite")
    notes += settle_channels(images, present, channels)
    return _compact(images), tuple(notes)


def _compact(images: np.ndarray) -> np.ndarray:
    """Values of 8 bits as such, so that the network sees the same of them in whatever format."""
    small = images.min() >= 0 and images.max() <= np.iinfo(np.uint8).max
    values = images.astype(np.uint8) if small else images
    return values if np.array_equal(values, images) else images


def settle_channels(
    images: np.ndarray, names: Sequence[str] = CHANNELS, channels: Sequence[str] = CHANNELS
) -> list[str]:
    """Makes the background the darkest of each channel, in place.

    Args:
        images: Array of shape `(slices, height, width, channels)`.
        names: The channels that notes are about.
        channels: The contrast of each channel.

    Returns:
        Notes on what was taken for background, and where it cannot be told.

    Example:

    >>> settle_channels(np.full((1, 2, 2, 3), np.nan, "float32"))
    ['4 voxels not finite, taken as background']
    """
    bad = np.zeros(images.shape[:-1], bool)
    moved: dict[float, list[str]] = {}
    bright = []
    for place, name in enumerate(channels):
        planes = np.ascontiguousarray(images[..., place])
        bad |= ~finite(planes)
        settled, air = settle_background(planes)
        if settled is not planes:
            images[..., place] = settled
        if name in names and air is not None:
            moved.setdefault(air, []).append(name)
        if name in names and not is_dark_around(settled):
            bright.append(name)
    count = int(bad.sum())
    notes = [f"{count} voxel{'s' * (count > 1)} not finite, taken as background"] if count else []
    notes += [f"{air:g} taken as background in {' and '.join(own)}" for air, own in moved.items()]
    if bright:
        notes.append(f"no dark background found in {' and '.join(bright)}, the mask may be wrong")
    return notes
