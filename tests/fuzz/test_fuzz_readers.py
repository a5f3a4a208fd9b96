"""Damaged and hostile files: each is a case or one clear line, at once and in little memory."""

import gzip
import io
import random
import resource
import signal
import struct
import sys
import zlib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from agd_keras.errors import InputError
from agd_keras.io.case import MAX_SIDE, MAX_VOXELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import read_case

SECONDS, GIBIBYTES = 30, 2
KINDS = {"tiff": "picture", "png": "picture", "nifti": "nifti", "dicom": "dicom"}
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


@contextmanager
def _guard():
    """Ends what hangs, and refuses memory beyond a bound to what does not ask whether it may."""

    def stop(*_):
        raise TimeoutError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + GIBIBYTES * 2**30, hard))
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _picture(format_: str, array, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, format_, **options)
    return content.getvalue()


def _nifti(shape, dtype, image_class=nibabel.Nifti1Image) -> bytes:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    return image_class(values, np.diag([-1, -1, 3, 1])).to_bytes()


@cache
def _seeds(kind: str) -> list[tuple[str, bytes]]:
    """Suffixes and contents of sound files."""
    colour = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    deep = colour[..., 0].astype(np.uint16) * 200
    if kind == "tiff":
        options = [{"compression": name} for name in (None, "tiff_lzw", "tiff_deflate", "packbits")]
        arrays = (colour, deep)
        return [(".tif", _picture("TIFF", array, **how)) for array in arrays for how in options]
    if kind == "png":
        return [(".png", _picture("PNG", array)) for array in (colour, colour[..., 0], deep)]
    if kind == "nifti":
        plain = [
            _nifti((5, 4, 3), np.int16),
            _nifti((3, 4, 2, 3), np.float32),
            _nifti((3, 4, 2), np.uint8, nibabel.Nifti2Image),
        ]
        extended = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        extended.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"note"))
        plain.append(extended.to_bytes())
        return [(suffix, content) for content in plain for suffix in (".nii", ".nii.gz")]
    names = ("", "_RLE", "_implicit", "_bigendian", "_jp2klossless", "_jpeg_ls_lossless")
    return [(".dcm", Path(get_testdata_file(f"MR_small{name}.dcm")).read_bytes()) for name in names]


def _damage(chance: random.Random, content: bytes) -> bytes:
    """Changes a few places, most of them in the header."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        size = max(len(damaged), 1)
        place = chance.randrange(min(size, chance.choice((64, 400, 2000, size))))
        length = chance.choice((1, 2, 4, 4, 8))
        how = chance.randrange(7)
        if how == 0:
            damaged[place : place + 1] = bytes([chance.randrange(256)])
        elif how == 1:
            damaged[place : place + length] = bytes([chance.choice(INTERESTING)]) * length
        elif how == 2:
            number = chance.choice((0, 1, -1, 2**31 - 1, -(2**31), 65536, chance.randrange(2**31)))
            damaged[place : place + 4] = struct.pack(chance.choice("<>") + "i", number)
        elif how == 3:
            number = chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 1e-30))
            damaged[place : place + 4] = struct.pack(chance.choice("<>") + "f", number)
        elif how == 4:
            del damaged[place : place + chance.randrange(1, 40)]
        elif how == 5:
            damaged[place:place] = damaged[place : place + chance.randrange(1, 200)]
        else:
            del damaged[chance.randrange(size) :]
    return bytes(damaged)


def _with_checksums(content: bytes) -> bytes:
    """Makes the checksums of PNG chunks right, without which little is read of a damaged file."""
    whole, place = bytearray(content), 8
    while place + 12 <= len(whole):
        length = int.from_bytes(whole[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(whole[place + 4 : end]))
        place = end + 4
    return bytes(whole)


def _mutant(kind: str, number: int) -> tuple[str, bytes]:
    chance = random.Random(f"{kind} {number}")
    suffix, content = chance.choice(_seeds(kind))
    inside = chance.random() < 0.8
    if suffix == ".nii.gz" and not inside:
        return suffix, _damage(chance, gzip.compress(content))
    content = _damage(chance, content)
    if suffix == ".nii.gz":
        content = gzip.compress(content, 1)
    elif kind == "png" and inside:
        content = _with_checksums(content)
    return suffix, content


def _check(folder: Path, kind: str, suffix: str, content: bytes, write: bool = True) -> bool:
    """Reads and writes back; says whether it was a case."""
    path = folder / f"file{suffix}"
    path.write_bytes(content)
    try:
        with _guard():
            case = read_case(CaseRef("file", KINDS[kind], (path,)))
            slices, height, width, channels = case.images.shape
            assert channels == 3 and np.isfinite(case.images).all()
            assert max(slices, height, width) <= MAX_SIDE and slices * height * width <= MAX_VOXELS
            if write:
                mask = case.images[..., 1] > case.images[..., 1].mean(dtype=np.float64)
                case.write_masks(mask, [folder / name for name in case.masks])
    except InputError as error:
        message = str(error)
        assert message.startswith(str(folder)) and "\n" not in message and len(message) < 500
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_are_cases(tmp_path, kind):
    for suffix, content in _seeds(kind):
        assert _check(tmp_path, kind, suffix, gzip.compress(content) if "gz" in suffix else content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_mutants(tmp_path, kind):
    for number in range(-60, 0):
        _check(tmp_path, kind, *_mutant(kind, number), write=number % 10 == 0)


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_mutants(tmp_path, kind, capfd):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 2500
    sound = sum(
        # A DICOM segmentation takes longer to write than all else.
        _check(tmp_path, kind, *_mutant(kind, number), write=kind != "dicom" or number % 10 == 0)
        for number in range(count)
    )
    assert 0.02 * count < sound < 0.98 * count  # they reach behind the first check
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < GIBIBYTES * 2**20
    assert capfd.readouterr() == ("", "")


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(-(2**15), 2**15 - 1) | st.integers(1, 4), min_size=1, max_size=7),
    datatype=st.sampled_from([0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1536, 1792, 9999]),
    offset=st.floats(width=32) | st.just(352.0),
    rows=st.lists(st.floats(width=32), min_size=12, max_size=12),
    code=st.integers(-2, 6),
    slope=st.floats(width=32),
    units=st.integers(0, 255),
)
def test_any_nifti_header(tmp_path_factory, shape, datatype, offset, rows, code, slope, units):
    header = nibabel.Nifti1Header()
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["datatype"], header["vox_offset"], header["magic"] = datatype, offset, b"n+1"
    header["srow_x"], header["srow_y"], header["srow_z"] = rows[:4], rows[4:8], rows[8:]
    header["sform_code"], header["scl_slope"], header["xyzt_units"] = code, slope, units
    folder = tmp_path_factory.mktemp("header")
    _check(folder, "nifti", ".nii", header.binaryblock + bytes(4096))
