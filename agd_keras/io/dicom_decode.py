"""Reading a DICOM file: nothing is decoded whose size is not known first and within bounds."""

import logging
import struct
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import check_file, check_voxels, one_line

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPECTED = {
    "Modality": ("MR",),
    "PhotometricInterpretation": ("MONOCHROME2",),
    "SamplesPerPixel": (1,),
    "BitsAllocated": (8, 16, 32),
}
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAX_TILES = 1024
_FRAMES = (0xC0, 0xC1, 0xC3, 0xF7)  # baseline, extended, lossless, JPEG-LS: none is progressive
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))


def silence() -> None:
    """Keeps what pydicom and highdicom log of every oddity from the user's terminal."""
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def read_header(path: Path, **options: Any) -> "Dataset":
    """Reads a data set that cannot grow in memory beyond its file.

    Args:
        path: A DICOM file.
        **options: For `pydicom.dcmread`. Of `specific_tags` those that cannot be decoded are left
            out, as if they were not there.

    Returns:
        The data set. Without `specific_tags`, elements are decoded when they are first used, which
        may raise anything.

    Raises:
        InputError: It is no DICOM file, or compressed as a whole.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    check_file(path)
    silence()
    with one_line(path, "DICOM file"):
        if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
            raise InputError(f"{path}: expected a transfer syntax other than deflated")
        header = dcmread(path, **options)
        for tag in list(header.keys()) if "specific_tags" in options else ():
            try:
                _ = header[tag].value
            except Exception:  # an unknown value representation, a number that is none, ...
                del header[tag]
        return header


def functional_group(header: "Dataset", frame: int, name: str) -> "Dataset | None":
    """Finds a frame's attributes of one kind.

    Args:
        header: A classic file, which has them among all others, or an enhanced one.
        frame: Number of the frame, from 0.
        name: The sequence that holds them: of the frame, or else shared by all.

    Returns:
        What holds them, or None.
    """
    if "PerFrameFunctionalGroupsSequence" not in header:
        return header
    groups = [header.PerFrameFunctionalGroupsSequence[frame]]
    groups += header.get("SharedFunctionalGroupsSequence") or []
    return next((group[name][0] for group in groups if name in group and group[name].value), None)


def number(group: "Dataset", name: str, default: float) -> float:
    """Reads a number of a data set, which archives may leave out or empty.

    Args:
        group: The data set.
        name: Keyword of the attribute.
        default: What it is where it is left out or empty.

    Returns:
        The number, in the attribute's own unit.

    Raises:
        ValueError: It is no number.
        TypeError: It is several.
    """
    value = group.get(name)
    return default if value in (None, "") else float(value)


def identifier(header: "Dataset", name: str) -> str:
    """Reads a UID, valid or not.

    Args:
        header: The data set.
        name: Keyword of the attribute.

    Returns:
        The UID; empty where there is none, or several.
    """
    value = header.get(name)
    return value if isinstance(value, str) and "\\" not in value else ""


def read_frames(path: Path) -> tuple["Dataset", np.ndarray]:
    """Reads a file.

    Args:
        path: A DICOM file.

    Returns:
        The header alone, and rescaled frames, float32 of shape `(frames, rows, columns)`.

    Raises:
        InputError: It is damaged, too large, no grey MR image, or cannot be decoded here.
    """
    from pydicom.pixels import get_decoder

    with one_line(path, "DICOM file"):
        header = read_header(path)
        shape = _check_header(path, header)
        syntax = header.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            needs = [need.rpartition("requires ")[2] for need in decoder.missing_dependencies]
            raise InputError(
                f"{path}: transfer syntax {syntax.name} needs {' or '.join(needs)}, not installed"
            )
        if syntax.is_encapsulated:
            # With a table of its own, other bytes could be decoded than those that are checked.
            header.pop("ExtendedOffsetTable", None)
            _check_streams(path, header, shape)
        frames = _stored_values(header, shape)
        del header.PixelData
        for place, frame in enumerate(frames):
            scale = functional_group(header, place, "PixelValueTransformationSequence")
            if scale is not None:
                slope = number(scale, "RescaleSlope", 1)
                intercept = number(scale, "RescaleIntercept", 0)
                if slope == 0 or not np.isfinite([slope, intercept]).all():
                    raise InputError(
                        f"{path}: RescaleSlope is {slope:g} and RescaleIntercept {intercept:g}, "
                        "expected finite numbers, the first not 0"
                    )
                frame *= slope
                frame += intercept
    return header, frames


def _stored_values(header: "Dataset", shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes the pixels, float32, with not-a-number for padding that is no dark value."""
    from pydicom.pixels import pixel_array

    stored = int(header.BitsStored)
    high = int(header.get("HighBit") or stored - 1)
    above = high + 1 - stored  # bits by which values lie higher in their words than pydicom reads
    if above > 0 and high < header.BitsAllocated and "PixelData" in header:
        header.BitsStored = high + 1
    values = pixel_array(header, allow_excess_frames=False).reshape(shape)
    header.BitsStored = stored
    if above > 0:
        # Some headers merely say so: then values need no more bits than are stored.
        low = -(2 ** (stored - 1)) if values.dtype.kind == "i" else 0
        small = low <= values.min() and values.max() < low + 2**stored
        if not small or not (values & (2**above - 1)).any():
            values = values >> above
    frames = values.astype(np.float32)
    padding = header.get("PixelPaddingValue")
    if isinstance(padding, int) and padding:
        limit = header.get("PixelPaddingRangeLimit")
        ends = np.array([padding, limit if isinstance(limit, int) else padding])
        ends = ends.astype(values.dtype)  # the signedness of the two may differ
        frames[(values >= ends.min()) & (values <= ends.max())] = np.nan
    return frames


def _check_header(path: Path, header: "Dataset") -> tuple[int, int, int]:
    """Refuses what is no grey MR image; returns its frames, rows and columns."""
    for name, values in _EXPECTED.items():
        if header.get(name) not in values:
            found, wanted = str(header.get(name))[:40], " or ".join(map(str, values))
            raise InputError(f"{path}: {name} is {found}, expected {wanted}")
    for name in _IDENTITY:
        if not identifier(header, name):
            raise InputError(f"{path}: expected the attribute {name}, which masks refer to")
    if header.get("ModalityLUTSequence"):
        raise InputError(f"{path}: expected RescaleSlope, found a table of values instead")
    if "PixelData" not in header:
        raise InputError(f"{path}: expected an image, found a DICOM file without PixelData")
    shape = int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns)
    check_voxels(path, shape)
    size = prod(shape) * header.BitsAllocated // 8
    if len(header.PixelData) > 2 * size + 2**16:
        raise InputError(f"{path}: {len(header.PixelData)} bytes of pixels, expected {size}")
    return shape


def _check_streams(path: Path, header: "Dataset", shape: Sequence[int]) -> None:
    """Refuses compressed frames that are not of the size that the header tells of.

    Decoders go by a stream's own size, and take memory and time in proportion to it.
    """
    from pydicom.encaps import generate_frames
    from pydicom.uid import JPEG2000TransferSyntaxes, RLELossless

    syntax = header.file_meta.TransferSyntaxUID
    frames, rows, columns = shape
    streams = list(generate_frames(header.PixelData, number_of_frames=frames))
    if len(streams) < frames:
        raise InputError(f"{path}: {len(streams)} compressed frames, expected {frames}")
    for stream in streams:
        if syntax == RLELossless:
            _check_run_lengths(path, stream, rows * columns)
            continue
        measure = _measure_jpeg2000 if syntax in JPEG2000TransferSyntaxes else _measure_jpeg
        *size, samples, bits = measure(stream)
        if size != [rows, columns] or samples != 1 or not 0 < bits <= header.BitsAllocated:
            raise InputError(
                f"{path}: a compressed frame of {size[0]}x{size[1]} pixels, {samples} samples "
                f"and {bits} bits, expected {rows}x{columns}, 1 and {header.BitsAllocated} at most"
            )


def _check_run_lengths(path: Path, stream: bytes, pixels: int) -> None:
    """Refuses runs that go on beyond the image."""
    count, *starts = struct.unpack("<16L", stream[:64])
    for start, end in pairwise([*starts[:count], len(stream)]):
        length = 0
        while start < end:
            head = stream[start]
            if head < 128:  # so many bytes as they are, and one more
                length, start = length + head + 1, start + head + 2
            else:  # one byte several times over; 128 does nothing
                length, start = length + (257 - head) % 129, start + 1 + (head > 128)
            if length > pixels + 256:  # a byte of padding may look like a run
                raise InputError(f"{path}: run-length coding of more than {pixels} pixels")


def _measure_jpeg(stream: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, samples and bits of a JPEG or JPEG-LS stream."""
    place = 2
    while stream[:2] == b"\xff\xd8" and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _FRAMES:
            bits, rows, columns, samples = struct.unpack(">BHHB", stream[place + 4 : place + 10])
            return rows, columns, samples, bits
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xDA:
            break
        else:
            place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    raise ValueError("expected a JPEG or JPEG-LS stream of a kind that DICOM has")


def _measure_jpeg2000(stream: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, samples and bits of a JPEG 2000 codestream."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("expected a JPEG 2000 codestream")
    numbers = struct.unpack(">8LHB", stream[8:43])
    right, bottom, left, top, width, height, tiles_left, tiles_top, samples, bits = numbers
    tiles = -(-(right - tiles_left) // width) * -(-(bottom - tiles_top) // height)
    if not 0 < tiles <= _MAX_TILES:
        raise ValueError(f"{tiles} tiles, expected 1 to {_MAX_TILES}")
    return bottom - top, right - left, samples, (bits & 0x7F) + 1
