"""What one file can be, and each way in which it can be wrong."""

import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.io.image_files import read_image, read_mask, read_values


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
    assert "expected a file, found nothing" in _error(read_image, tmp_path / "none.tif")
    (tmp_path / "folder.tif").mkdir()
    assert "expected a file, found something else" in _error(read_image, tmp_path / "folder.tif")
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


def write_png(path, width, height, depth, data):
    """A PNG of three channels, `data` its rows as they are compressed, whatever they should be."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first, refuses the second
def test_decompression_bomb(tmp_path, side):
    write_png(tmp_path / "a.png", side, side, 8, bytes(1000))
    assert "more pixels" in _error(read_image, tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_mask, read_values])
def test_larger_than_any_slice(tmp_path, read):
    """The same limit for training, evaluation and prediction, before anything is decoded."""
    Image.new("1", (2049, 9)).save(tmp_path / "a.png")
    assert "1x9x2049 voxels, expected 1 to 2048" in _error(read, tmp_path / "a.png")


def test_time_does_not_depend_on_the_number_of_pages(tmp_path):
    def directory(at: int) -> bytes:
        entries = [(256, 4, 2), (257, 4, 2), (258, 3, 8), (262, 3, 1), (273, 4, 0), (279, 4, 4)]
        packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        return struct.pack("<H", len(entries)) + packed + struct.pack("<I", at)

    size, pages = len(directory(0)), 40_000
    places = [8 + (page + 1) * size for page in range(pages - 1)]
    content = b"II*\0" + struct.pack("<I", 8) + b"".join(map(directory, [*places, 0]))
    (tmp_path / "a.tif").write_bytes(content)
    start = time.process_time()
    assert "several pages" in _error(read_image, tmp_path / "a.tif")
    assert time.process_time() - start < 2  # it took minutes


def write_tiff(path, samples, *, white=0, format_=1, planar=1, order="<", deflate=False):
    """A TIFF of one strip, or one a plane, as the standard has it; nothing of Pillow's."""
    height, width, count = samples.shape
    raw = samples.astype(samples.dtype.newbyteorder(order))
    planes = [raw] if planar == 1 else [raw[..., place] for place in range(count)]
    strips = [zlib.compress(p.tobytes()) if deflate else p.tobytes() for p in planes]
    bits = [8 * samples.dtype.itemsize] * count
    starts = [8 + sum(map(len, strips[:place])) for place in range(len(strips))]
    photometric = 2 if count >= 3 else 1 - white
    tags = {256: [width], 257: [height], 258: bits, 259: [8 if deflate else 1]}
    tags |= {262: [photometric], 273: starts, 277: [count], 278: [height]}
    tags |= {279: [*map(len, strips)], 284: [planar]}
    if extra := count - (3 if count >= 3 else 1):
        tags[338] = [0] * extra
    tags[339] = [format_] * count
    content = b"".join(strips)
    content += b"\0" * (len(content) % 2)
    entries, more = b"", b""
    start = 8 + len(content)
    after = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        kind, code = (4, "I") if tag in (273, 279) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            more, packed = more + packed, struct.pack(f"{order}I", after + len(more))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    content += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0) + more
    path.write_bytes(head + content)


FORMATS = {"u": 1, "i": 2, "f": 3}
DEPTHS = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white", [0, 1])
@pytest.mark.parametrize("depth", DEPTHS)
def test_grey_of_any_depth_has_its_true_values_or_is_refused(
    tmp_path, depth, white, order, deflate, capfd
):
    dtype = np.dtype(depth)
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        values = random.normal(0, 1000, (7, 9, 1)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        values = random.integers(info.min, info.max, (7, 9, 1), dtype, endpoint=True)
    options = {"white": white, "format_": FORMATS[dtype.kind], "order": order, "deflate": deflate}
    write_tiff(tmp_path / "a.tif", values, **options)
    meant = values[..., 0]
    if white and dtype.kind == "u":
        meant = np.iinfo(dtype).max - meant
    try:
        read = read_values(tmp_path / "a.tif")
    except InputError as error:
        assert str(error).startswith(str(tmp_path / "a.tif")) and "\n" not in str(error)
        unknown = depth in ("f2", "f8") or (order == ">" and (deflate or depth in ("i1", "u4")))
        assert white or unknown  # the rest is to be read
    else:
        np.testing.assert_array_equal(read, meant)
        assert not (white and dtype.kind != "u")
    assert capfd.readouterr() == ("", "")


def test_twelve_bits_whose_white_is_zero(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (7, 9, 1)).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", values, white=1)
    np.testing.assert_array_equal(read_values(tmp_path / "a.tif"), 65535 - values[..., 0])


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("read", [read_image, read_values])
def test_colour_has_its_true_values_or_is_refused(tmp_path, image, read, planar, deflate):
    options = {"planar": planar, "deflate": deflate}
    write_tiff(tmp_path / "a.tif", image, **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), image)
    for bits in (10, 12, 16):
        deep = image.astype(np.uint16) << (bits - 8)
        write_tiff(tmp_path / "a.tif", deep, **options)
        _error(read, tmp_path / "a.tif")
    for other in ("i1", "u4", "f4"):
        wrong = image.astype(other)
        write_tiff(tmp_path / "a.tif", wrong, format_=FORMATS[other[0]], **options)
        _error(read, tmp_path / "a.tif")


@pytest.mark.parametrize("samples", [2, 4, 5])
def test_further_samples_are_not_dropped(tmp_path, samples):
    values = np.random.default_rng(0).integers(0, 256, (7, 9, samples)).astype(np.uint8)
    write_tiff(tmp_path / "a.tif", values)
    assert f"found {samples}" in _error(read_values, tmp_path / "a.tif")
    if samples > 2:
        assert f"found {samples}" in _error(read_image, tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, ".tif") for mode in ("1", "P", "PA", "LA", "RGBA", "CMYK", "LAB", "YCbCr")),
        *((mode, ".png") for mode in ("1", "P", "LA", "RGBA")),  # all that PNG has
    ],
)
def test_other_modes(tmp_path, image, mode, suffix):
    picture = Image.fromarray(image).convert("L" if mode == "PA" else "RGB")
    picture.convert(mode).save(tmp_path / f"a{suffix}")
    found = _error(read_values, tmp_path / f"a{suffix}")
    assert "found mode" in found


def test_deep_colour_in_png(tmp_path):
    rows = np.arange(4 * 5 * 3, dtype=">u2").reshape(4, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    write_png(tmp_path / "a.png", 5, 4, 16, pixels)
    for read in (read_image, read_values):
        assert "only the upper 8" in _error(read, tmp_path / "a.png")


def test_grey_png_of_any_depth(tmp_path):
    for bits in (2, 4, 8, 16):
        values = np.arange(2**bits)[: 2 ** min(bits, 8)].reshape(1, -1)
        if bits == 16:
            values = values * 257
        picture = Image.fromarray(values.astype(np.uint16 if bits == 16 else np.uint8))
        picture.save(tmp_path / "a.png", **({"bits": bits} if bits < 8 else {}))
        [step] = set(np.diff(read_values(tmp_path / "a.png").astype(int)).ravel())
        assert step > 0  # true up to a factor, which normalisation takes back
