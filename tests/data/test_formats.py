"""What one file can be, and each way in which it can be wrong."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agd_keras.data.formats import read_image, read_mask
from agd_keras.errors import InputError


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _error(read, path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.PNG"])
def test_image_and_mask_come_back_as_written(tmp_path, image, name):
    Image.fromarray(image).save(tmp_path / name)
    read = read_image(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, image)
    mask = image[..., 0] > 100
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"mask_{name}")
    read = read_mask(tmp_path / f"mask_{name}")
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, mask)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff(tmp_path, image, compression):
    Image.fromarray(image).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


def test_bilevel_mask(tmp_path):
    mask = np.eye(9, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((4, 4), np.uint8), "mode L"),
        (np.zeros((4, 4, 4), np.uint8), "mode RGBA"),
        (np.zeros((4, 4), np.uint16), "mode I;16"),
        (np.zeros((4, 4), np.float32), "mode F"),
    ],
)
def test_image_of_another_type(tmp_path, array, mode):
    Image.fromarray(array).save(tmp_path / "a.tif")
    assert mode in _error(read_image, tmp_path / "a.tif")


def test_mask_of_three_channels_or_other_values(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.tif")
    assert "mode RGB" in _error(read_mask, tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 255, 1]], np.uint8)).save(tmp_path / "m.tif")
    assert "0 and 255 only, found 1" in _error(read_mask, tmp_path / "m.tif")


def test_missing_folder_and_not_an_image(tmp_path):
    assert "cannot be read" in _error(read_image, tmp_path / "none.tif")
    (tmp_path / "folder.tif").mkdir()
    assert "cannot be read" in _error(read_image, tmp_path / "folder.tif")
    for content in (b"", b"patient,age\n", b"II*\0", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "a.tif").write_bytes(content)
        _error(read_image, tmp_path / "a.tif")


def test_several_pages(tmp_path, image):
    page = Image.fromarray(image)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    assert "several pages" in _error(read_image, tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_truncated_anywhere_never_shows_through(tmp_path, image, name, options, capfd):
    path = tmp_path / name
    Image.fromarray(image).save(path, **options)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 16, 7):
        path.write_bytes(whole[:length])
        try:
            read = read_image(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # only what came after the pixels is gone
            np.testing.assert_array_equal(read, image)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), png=st.booleans())
def test_damaged_bytes_give_an_image_or_an_input_error(tmp_path_factory, position, value, png):
    path = tmp_path_factory.mktemp("damaged") / ("a.png" if png else "a.tif")
    Image.fromarray(np.arange(10 * 8 * 3, dtype=np.uint8).reshape(10, 8, 3)).save(path)
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        assert read_image(path).ndim == 3
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first, refuses the second
def test_decompression_bomb(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert "more pixels" in _error(read_image, tmp_path / "a.png")
