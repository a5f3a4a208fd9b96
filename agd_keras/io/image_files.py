"""Reading one image or mask file: TIFF and PNG through Pillow."""

import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS, check_file, check_voxels
from agd_keras.text import clean

SUFFIXES = (".tif", ".tiff", ".png")
FLAIR = CHANNELS.index("FLAIR")

_GREY = ("L", "I;16", "I;16B", "I", "F")
# Tags of TIFF, and what they mean.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 259, 262, 277, 339
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2
_DEEP = (
    "RGB of 16 bits, of which only the upper 8 could be read; expected RGB of 8 bits, "
    "or each contrast as a volume (NIfTI, DICOM)"
)

# Python's warning filters belong to the whole process; readers in other threads wait their turn.
_WARNINGS = threading.Lock()


def read_bytes(path: str | Path) -> bytes:
    """Reads a file as it is.

    Args:
        path: Any file.

    Returns:
        Its content.

    Raises:
        InputError: The file is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decode(path: Path, slices: int = 1) -> tuple[Image.Image, str]:
    """Decodes a file of a single image that is not too large, one of so many slices.

    Returns the Pillow image, loaded, and how its samples lie in the file, in Pillow's words.
    """
    check_file(path)
    content = io.BytesIO(read_bytes(path))
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata in files that decode well
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(content, formats=("TIFF", "PNG"))
        # Not the number of pages, which takes the square of the time to count.
        if getattr(image, "is_animated", False):
            raise InputError(f"{path}: holds several pages, expected a single image")
        check_voxels(path, (slices, *image.size[::-1]))
        stored = image.tile[0].args if image.tile else ""
        image.load()
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not a readable TIFF or PNG image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: more pixels than any slice has, refused to decode") from error
    except Exception as error:  # a damaged file can raise nearly anything in a decoder
        detail = clean(error) or type(error).__name__
        raise InputError(f"{path}: truncated or damaged image ({detail})") from error
    return image, stored if isinstance(stored, str) else ""


def _values(path: Path, image: Image.Image, stored: str) -> np.ndarray:
    """The samples of an image as its header means them, which Pillow alone does not give.

    Raises:
        InputError: Pillow has dropped some of them, or some of their bits.
    """
    values = np.asarray(image)
    if image.format == "PNG":
        if image.mode == "RGB" and "16" in stored:
            raise InputError(f"{path}: {_DEEP}")
        return values
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    samples, photometric = tags.get(_SAMPLES, 1), tags.get(_PHOTOMETRIC)
    bits, kind = max(tags.get(_BITS, (1,))), max(tags.get(_FORMAT, (1,)))
    if samples != len(image.getbands()):
        raise InputError(f"{path}: expected 1 or 3 samples a pixel, found {samples}")
    if image.mode == "RGB":
        if bits > 8:
            raise InputError(f"{path}: {_DEEP}")
        return values
    if bits <= 8 and kind == _UNSIGNED:
        return values  # where white is zero, Pillow has inverted them
    if photometric == _WHITE_IS_ZERO:
        if image.mode.startswith("I;16"):
            return np.uint16(2**bits - 1) - values.astype(np.uint16)
        raise InputError(f"{path}: expected black as zero in samples of {bits} bits, found white")
    if image.mode in ("I", "F") and tags.prefix == b"MM" and tags.get(_COMPRESSION, 1) != 1:
        # Pillow swaps the bytes of what libtiff has swapped already.
        raise InputError(f"{path}: expected {bits} bits in little-endian order, or not compressed")
    if kind == _SIGNED and bits == 8:
        return values.view(np.int8)
    if kind == _UNSIGNED and bits == 32:
        return values.astype(np.int32).view(np.uint32)
    return values


def read_values(path: str | Path, slices: int = 1) -> np.ndarray:
    """Reads a picture of one channel of any depth, or of three of 8 bits.

    Args:
        path: TIFF or PNG file of a single image.
        slices: How many of its size there will be, for the limit on a patient's voxels.

    Returns:
        Array of shape `(height, width)` or, uint8, `(height, width, 3)`.

    Raises:
        InputError: The file is missing, damaged, too large, or of another kind; the line names it.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "flair.png"
    >>> Image.fromarray(np.array([[0, 1000]], "uint16")).save(path)
    >>> read_values(path).tolist()
    [[0, 1000]]
    """
    path = Path(path)
    image, stored = _decode(path, slices)
    if image.mode != "RGB" and image.mode not in _GREY:
        raise InputError(f"{path}: expected an RGB or grey image, found mode {image.mode}")
    return _values(path, image, stored)


def read_image(path: str | Path) -> np.ndarray:
    """Reads a slice: three contrasts as the channels of an 8-bit colour image.

    Args:
        path: TIFF or PNG file.

    Returns:
        Uint8 array of shape `(height, width, 3)`: pre-contrast T1, FLAIR, post-contrast T1.

    Raises:
        InputError: The file is missing, damaged or of another type; the line names it.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "case_1.tif"
    >>> Image.fromarray(np.full((4, 6, 3), 7, "uint8")).save(path)
    >>> read_image(path).shape
    (4, 6, 3)
    """
    path = Path(path)
    image, stored = _decode(path)
    if image.mode != "RGB":
        raise InputError(f"{path}: expected an 8-bit image of 3 channels, found mode {image.mode}")
    return _values(path, image, stored)


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a mask of one channel, 0 where there is no tumour and 255 where there is.

    Args:
        path: TIFF or PNG file, 8-bit grey or bilevel.

    Returns:
        Boolean array of shape `(height, width)`, true for tumour.

    Raises:
        InputError: The file is missing, damaged, of another type or has other values.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "case_1_mask.tif"
    >>> Image.fromarray(np.array([[0, 255]], "uint8")).save(path)
    >>> read_mask(path).tolist()
    [[False, True]]
    """
    path = Path(path)
    image, stored = _decode(path)
    if image.mode == "1":
        return np.asarray(image)
    if image.mode != "L":
        raise InputError(f"{path}: expected an 8-bit mask of 1 channel, found mode {image.mode}")
    values = _values(path, image, stored)
    other = values[(values != 0) & (values != 255)]
    if other.size:
        raise InputError(f"{path}: expected a mask of 0 and 255 only, found {other[0]}")
    return values == 255
