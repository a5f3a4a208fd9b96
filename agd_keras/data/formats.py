"""Reading one image or mask file: TIFF and PNG through Pillow."""

import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from agd_keras.errors import InputError
from agd_keras.text import clean

SUFFIXES = (".tif", ".tiff", ".png")
FLAIR = 1  # its channel, between pre-contrast and post-contrast

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


def decode_image(
    path: Path, check_size: Callable[[tuple[int, int]], object] = lambda size: None
) -> Image.Image:
    """Decodes a file completely, whatever its mode.

    Args:
        path: TIFF or PNG file of a single image.
        check_size: Called with width and height before anything is decoded; may raise.

    Returns:
        The Pillow image, loaded.

    Raises:
        InputError: The file is missing, damaged or of another type; the line names it.
    """
    content = io.BytesIO(read_bytes(path))
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata in files that decode well
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(content, formats=("TIFF", "PNG"))
        if getattr(image, "n_frames", 1) != 1:
            raise InputError(f"{path}: holds several pages, expected a single image")
        check_size(image.size)
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
    return image


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
    image = decode_image(Path(path))
    if image.mode != "RGB":
        raise InputError(f"{path}: expected an 8-bit image of 3 channels, found mode {image.mode}")
    return np.asarray(image)


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
    image = decode_image(Path(path))
    if image.mode not in ("L", "1"):
        raise InputError(f"{path}: expected an 8-bit mask of 1 channel, found mode {image.mode}")
    values = np.asarray(image.convert("L"))
    other = values[(values != 0) & (values != 255)]
    if other.size:
        raise InputError(f"{path}: expected a mask of 0 and 255 only, found {other[0]}")
    return values == 255
