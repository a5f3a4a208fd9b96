"""Which cases files and folders hold, and what is read of pictures and NIfTI volumes."""

import gzip
import json
import os
import struct
import time
import zlib
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.io.case import MAX_FILE_BYTES, check_file
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.geometry import slice_spacing, square_view
from agd_keras.io.layouts.dataset_json import parse_channels
from agd_keras.io.unzip import read_range

LGG = Path(os.environ.get("AGD_KERAS_LGG", Path(__file__).parents[2] / "data" / "kaggle_3m"))
UNTOLD = "taken as FLAIR, since its name tells no contrast"
SHAPE = (5, 6, 7)  # columns, rows, slices of the plain volume


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    def about(axis, angle):
        matrix = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        matrix[[i, j], [i, j]] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(0, x) @ about(1, y) @ about(2, z)


# Columns to the left, rows to the back, slices upwards, 0.9 x 1.1 x 5 mm, oblique.
PLAIN = np.eye(4)
PLAIN[:3, :3] = _rotation(0.2, -0.1, 0.15) @ np.diag([-0.9, -1.1, 5.0])
PLAIN[:3, 3] = 80, 90, -40


def _volume(shape=SHAPE, seed=0) -> np.ndarray:
    """Noise within, and less of it around, as in air."""
    volume = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    volume[[0, -1]] //= 4
    volume[:, [0, -1]] //= 4
    return volume


def _turned(volume, affine, axes, flips):
    """The same voxels at the same places in space, stored in another order."""
    turned = volume.transpose(*axes, *range(3, volume.ndim))
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        matrix[old, new] = -1 if flip else 1
        if flip:
            matrix[old, 3] = volume.shape[old] - 1
            turned = np.flip(turned, new)
    return turned, affine @ matrix


def _unturned(volume, axes, flips):
    for new, flip in enumerate(flips):
        volume = np.flip(volume, new) if flip else volume
    return volume.transpose(np.argsort(axes))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_nifti_of_every_orientation_gives_the_same_slices_and_mask(tmp_path, axes, read_paths):
    plain = _volume()
    for flips in product((False, True), repeat=3):
        turned, affine = _turned(plain, PLAIN, axes, flips)
        path = tmp_path / "head.nii.gz"
        written = nibabel.Nifti1Image(turned, affine)
        written.set_qform(affine, 1)
        written.set_sform(affine, 4)
        written.header.set_xyzt_units("mm", "sec")
        written.header["descrip"] = b"a scan"
        written.to_filename(path)
        case = read_paths(path)
        np.testing.assert_array_equal(case.images[..., 1], plain.transpose(2, 1, 0))
        assert case.spacing == pytest.approx((5.0, 1.1, 0.9), rel=1e-5)
        assert case.notes == (UNTOLD, "T1 and T1c filled by FLAIR")

        [name] = case.masks
        case.write_masks(case.images[..., 1] > 500, [tmp_path / name])
        source, mask = nibabel.load(path), nibabel.load(tmp_path / name)
        voxels = np.asarray(mask.dataobj)
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(voxels, turned > 500)
        np.testing.assert_array_equal(_unturned(voxels, axes, flips), plain > 500)
        np.testing.assert_array_equal(mask.affine, source.affine)
        changed = {"datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max"}
        for key in set(source.header.keys()) - changed:
            np.testing.assert_array_equal(mask.header[key], source.header[key], err_msg=key)


def test_slices_lie_as_in_lgg(tmp_path, read_paths):
    """Up the slices is up the head, down the rows is backwards, along the columns is leftwards."""
    volume = np.random.default_rng(0).random((9, 9, 9), np.float32)
    front_right_low = (8, 8, 0)  # of a volume whose axes run to the right, front and top
    volume[front_right_low] = 2
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "a.nii")
    flair = read_paths(tmp_path / "a.nii").images[..., 1]
    assert np.argwhere(flair == flair.max()).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2, 4), (0, 255), tuple(range(12))])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_label_maps_that_no_name_tells_are_no_scans(tmp_path, read_paths, values, dtype):
    """Masks called after the patient, in a folder of any name, would be predicted as a FLAIR."""
    volume = np.random.default_rng(0).choice(np.array(values, dtype), (9, 8, 7))
    path = tmp_path / "outlines" / "P_1.nii.gz"
    path.parent.mkdir()
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(path)
    with pytest.raises(InputError, match=r"P_1.nii.gz: expected a scan, .* as in a label map"):
        read_paths(path)
    [told] = find_cases([], contrasts={"FLAIR": path})
    assert any("FLAIR holds few values" in note for note in read_case(told).notes)


def test_masks_in_pictures_that_no_name_tells_are_no_scans(tmp_path, read_paths):
    mask = np.random.default_rng(0).choice(np.array([0, 255], "uint8"), (9, 8))
    for image in (mask, np.stack([mask] * 3, axis=-1)):
        Image.fromarray(image).save(tmp_path / "P_1.png")
        with pytest.raises(InputError, match="two values only, as in a mask"):
            read_paths(tmp_path / "P_1.png")


def test_units_extensions_and_versions_survive(tmp_path, read_paths):
    for image_class, name in ((nibabel.Nifti1Image, "a.nii"), (nibabel.Nifti2Image, "b.nii.gz")):
        for order in "<>":
            header = image_class.header_class(endianness=order)
            header.set_data_dtype(np.float32)
            header.set_xyzt_units("micron")
            image = image_class(_volume().astype(np.float32), np.diag([900, 1100, 5000, 1]), header)
            image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
            image.to_filename(tmp_path / name)
            case = read_paths(tmp_path / name)
            assert case.spacing == pytest.approx((5.0, 1.1, 0.9))
            case.write_masks(case.images[..., 1] > 500, [tmp_path / case.masks[0]])
            mask = nibabel.load(tmp_path / case.masks[0])
            assert type(mask) is image_class and mask.header.endianness == order
            assert [one.get_content() for one in mask.header.extensions] == [b"kept"]
            np.testing.assert_array_equal(np.asarray(mask.dataobj), _volume() > 500)


def test_scaled_integers_are_read_in_their_unit(tmp_path, read_paths):
    image = nibabel.Nifti1Image(_volume(), PLAIN)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "a.nii")
    expected = nibabel.load(tmp_path / "a.nii").get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(read_paths(tmp_path / "a.nii").images[..., 1], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("order", "places", "note"),
    [
        ("flair", (0, 0, 0), "T1 and T1c filled by FLAIR"),
        ("t1 flair", (0, 1, 1), "channels taken as T1, FLAIR; T1c filled by FLAIR"),
        ("t1 flair t1c", (0, 1, 2), "channels taken as T1, FLAIR, T1c"),
        ("t1 t1ce t2 flair", (0, 3, 1), "channels taken as T1, T1c, T2, FLAIR"),
    ],
)
def test_channels_last_and_numbered_files(tmp_path, order, places, note):
    """By `dataset.json` as nnU-Net and the Decathlon write it, and by the option."""
    names = order.split()
    volume = _volume((*SHAPE, len(names)))
    expected = volume[..., list(places)].transpose(2, 1, 0, 3)
    told = parse_channels(names)
    for key in ("channel_names", "modality", None):
        folder = tmp_path / f"{key}" / "imagesTr"
        folder.mkdir(parents=True)
        nibabel.Nifti1Image(volume, PLAIN).to_filename(folder / "a.nii.gz")
        for place in range(len(names)):
            image = nibabel.Nifti1Image(volume[..., place], PLAIN)
            image.to_filename(folder / f"x_{place:04}.nii.gz")
        if key:
            content = {key: {str(number): name for number, name in enumerate(names)}}
            (folder.parent / "dataset.json").write_text(json.dumps(content))
        sources = find_cases([folder.parent], () if key else told)
        assert sorted(source.case_id for source in sources) == ["imagesTr/a", "imagesTr/x"]
        for source in sources:
            case = read_case(source)
            np.testing.assert_array_equal(case.images, expected)
            assert "; ".join(case.notes) == note
            assert case.masks == (f"{source.case_id}_mask.nii.gz",)
            case.write_masks(expected[..., 1] > 500, [tmp_path / "out.nii.gz"])
            assert nibabel.load(tmp_path / "out.nii.gz").shape == SHAPE


@pytest.mark.parametrize("count", [2, 4, 5])
def test_channels_that_nothing_tells(tmp_path, count, error_of):
    nibabel.Nifti1Image(_volume((*SHAPE, count)), PLAIN).to_filename(tmp_path / "a.nii.gz")
    assert f"a.nii.gz: {count} channels; --channels t1" in error_of(tmp_path)
    [source] = find_cases([tmp_path], ("T1", "FLAIR", "T2"))
    with pytest.raises(InputError, match=f"{count} channels, but 3 are named: T1, FLAIR, T2"):
        read_case(source)


def test_three_channels_are_those_of_this_package(tmp_path, read_paths):
    volume = _volume((*SHAPE, 3))
    nibabel.Nifti1Image(volume, PLAIN).to_filename(tmp_path / "a.nii.gz")
    case = read_paths(tmp_path)
    np.testing.assert_array_equal(case.images, volume.transpose(2, 1, 0, 3))
    assert case.notes == ("channels taken as T1, FLAIR, T1c",)


def test_contrasts_by_name(tmp_path, read_paths, error_of):
    names = {"t1": 0, "flair": 1, "t1ce": 2}
    for case in ("P_1", "P_2"):
        (tmp_path / case).mkdir()
        for name, seed in {**names, "t2": 3, "seg": 4}.items():
            image = nibabel.Nifti1Image(_volume(seed=seed), PLAIN)
            image.to_filename(tmp_path / case / f"{case}_{name}.nii.gz")
    sources = find_cases([tmp_path])
    assert [source.case_id for source in sources] == ["P_1/P_1", "P_2/P_2"]
    images = read_case(sources[1]).images
    for place in range(3):
        np.testing.assert_array_equal(images[..., place], _volume(seed=place).transpose(2, 1, 0))
    files = [tmp_path / "P_1" / f"P_1_{name}.nii.gz" for name in ("flair", "t1ce")]
    assert read_paths(*files).notes == ("T1 filled by FLAIR",)
    assert "expected a FLAIR, found only T1 and T1c" in error_of(
        *(tmp_path / "P_1" / f"P_1_{name}.nii.gz" for name in ("t1", "t1ce"))
    )


def test_contrasts_without_a_prefix(tmp_path, error_of):
    for case in ("A", "B"):
        (tmp_path / case).mkdir()
        for name, seed in {"t1": 0, "flair": 1, "t1ce": 2, "t2": 3, "seg": 4}.items():
            image = nibabel.Nifti1Image(_volume(seed=seed), PLAIN)
            image.to_filename(tmp_path / case / f"{name}.nii.gz")
    sources = find_cases([tmp_path])
    assert [source.case_id for source in sources] == ["A/A", "B/B"]
    assert find_cases([tmp_path / "A"])[0].case_id == "A"
    case = read_case(sources[1])
    assert case.masks == ("B/B_mask.nii.gz",)
    for place in range(3):
        expected = _volume(seed=place).transpose(2, 1, 0)
        np.testing.assert_array_equal(case.images[..., place], expected)
    assert "expected a FLAIR, found only T1" in error_of(tmp_path / "A" / "t1.nii.gz")
    assert "expected a FLAIR, found only T2: t2.nii.gz" in error_of(tmp_path / "A" / "t2.nii.gz")
    for number in range(2):  # names of cases, not of channels
        image = nibabel.Nifti1Image(_volume(seed=number), PLAIN)
        image.to_filename(tmp_path / f"{number:04}.nii")
    assert [source.case_id for source in find_cases([tmp_path])] == ["0000", "0001", "A/A", "B/B"]


def test_one_contrast_has_one_channel(tmp_path, read_paths, error_of):
    nibabel.Nifti1Image(_volume((*SHAPE, 4)), PLAIN).to_filename(tmp_path / "p_flair.nii.gz")
    assert "expected 3 dimensions in a file for one contrast" in error_of(tmp_path)
    nibabel.Nifti1Image(_volume((*SHAPE, 1)), PLAIN).to_filename(tmp_path / "p_flair.nii.gz")
    np.testing.assert_array_equal(read_paths(tmp_path).images[..., 1], _volume().transpose(2, 1, 0))


def test_two_files_for_one_contrast(tmp_path, error_of):
    for name in ("a_flair", "a_t1", "a_t1w"):
        nibabel.Nifti1Image(_volume(), PLAIN).to_filename(tmp_path / f"{name}.nii")
    assert "2 files for T1: a_t1.nii, a_t1w.nii; --flair FILE" in error_of(tmp_path)


def test_voxels_that_are_no_numbers_are_background(tmp_path, read_paths):
    volume = _volume().astype(np.float32)
    volume[0, 0, 0], volume[1, 1, 1] = np.nan, -np.inf
    nibabel.Nifti1Image(volume, PLAIN).to_filename(tmp_path / "a.nii")
    case = read_paths(tmp_path / "a.nii")
    lowest = volume[np.isfinite(volume)].min()
    expected = np.nan_to_num(volume, nan=lowest, neginf=lowest).transpose(2, 1, 0)
    np.testing.assert_array_equal(case.images[..., 2], expected)
    assert "2 voxels not finite, taken as background" in case.notes


def _nifti_header(shape, offset=352.0, dtype=np.uint8, **fields) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_shape((2, 2, 2))
    header.set_data_dtype(dtype)
    header.set_sform(np.eye(4), 1)
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["vox_offset"], header["magic"] = offset, b"n+1"
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_nifti_header((30000, 30000, 30000)), "30000x30000x30000 voxels, expected 1 to 2048"),
        (_nifti_header((2000, 2000, 2000)), "expected at most 134217728"),
        (_nifti_header((512, 512, 512)), "truncated, or a damaged header"),
        (_nifti_header((0, 2, 2)), "0x2x2 voxels"),
        (_nifti_header((-5, 2, 2)), "-5x2x2 voxels"),
        (_nifti_header((2, 2)), "expected 3 dimensions"),
        (_nifti_header((2, 2, 2, 17)), "expected 3 dimensions, or 1 to 16 channels"),
        (_nifti_header((2, 2, 2), offset=1e30), "truncated, or a damaged header"),
        (_nifti_header((2, 2, 2), offset=-16), "damaged NIfTI file"),
        (_nifti_header((2, 2, 2), dtype=np.complex64) + bytes(64), "real numbers"),
        (_nifti_header((2, 2, 2), srow_x=np.nan) + bytes(8), "three independent axes"),
        (_nifti_header((2, 2, 2), srow_x=0) + bytes(8), "three independent axes"),
        (b"no NIfTI at all" * 100, "damaged NIfTI file"),
        (b"x", "damaged NIfTI file"),
    ],
)
def test_hostile_nifti_headers(tmp_path, content, reason, error_of):
    (tmp_path / "a.nii").write_bytes(content)
    assert reason in error_of(tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    assert reason.split(", or")[0] in error_of(tmp_path / "a.nii.gz")


def test_gzip_bomb_is_not_inflated(tmp_path, error_of):
    bomb = gzip.compress(bytes(2**26), 9) * 40  # 2.5 GiB in 2.6 MB
    start = gzip.compress(_nifti_header((2, 2, 2), offset=2**21)[:-4] + b"\1\0\0\0")  # extended
    (tmp_path / "a.nii.gz").write_bytes(start + bomb)
    before = time.process_time()
    error_of(tmp_path / "a.nii.gz")
    assert time.process_time() - before < 1  # all of it takes several seconds


def test_what_is_no_regular_file(tmp_path, error_of):
    os.mkfifo(tmp_path / "a.nii")
    assert "found something else" in error_of(tmp_path / "a.nii")
    assert "found nothing" in error_of(tmp_path / "none.png")
    (tmp_path / "b.png").touch()
    assert "0 bytes" in error_of(tmp_path / "b.png")
    assert "found nothing" in error_of(Path("a\0.png"))
    with (tmp_path / "c.nii").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match="expected 1 to 2147483648"):
        check_file(tmp_path / "c.nii")


def _png16(array: np.ndarray) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_pictures(tmp_path, read_paths, error_of):
    rng = np.random.default_rng(0)
    colour = np.pad(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), ((1, 1), (1, 1), (0, 0)))
    for name in ("a.tif", "b.PNG"):
        Image.fromarray(colour).save(tmp_path / name)
        case = read_paths(tmp_path / name)
        np.testing.assert_array_equal(case.images, colour[None])
        assert (case.spacing, case.notes) == (None, ())
        mask = colour[None, ..., 1] > 100
        case.write_masks(mask, [tmp_path / case.masks[0]])
        read = np.asarray(Image.open(tmp_path / f"{name[0]}_mask{name[1:]}"))
        np.testing.assert_array_equal(read, mask[0] * 255)
    for dtype in (np.uint8, np.uint16, np.float32):
        grey = np.pad(rng.random((6, 8)) * 255, 1).astype(dtype)
        Image.fromarray(grey).save(tmp_path / "g.tif")
        case = read_paths(tmp_path / "g.tif")
        np.testing.assert_array_equal(case.images, np.repeat(grey[None, ..., None], 3, axis=-1))
        assert case.notes == ("T1 and T1c filled by FLAIR",)
    deep = rng.integers(0, 65536, (6, 8, 3)).astype(np.uint16)
    (tmp_path / "deep.png").write_bytes(_png16(deep))
    assert "RGB of 16 bits, of which only the upper 8" in error_of(tmp_path / "deep.png")
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "rgba.png")
    assert "mode RGBA" in error_of(tmp_path / "rgba.png")


def test_large_pictures_are_refused_by_their_header(tmp_path, error_of):
    content = bytearray(_png16(np.zeros((1, 1, 3), np.uint16)))
    content[16:24] = struct.pack(">II", 2049, 7)  # no such pixels follow
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    expected = f"{tmp_path / 'a.png'}: 1x7x2049 voxels, expected 1 to 2048 each way"
    assert error_of(tmp_path / "a.png") == expected


def test_patient_of_numbered_slices(tmp_path, error_of):
    folder = tmp_path / "TCGA_A_1"
    folder.mkdir()
    for index in (10, 2, 1):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(folder / f"TCGA_A_1_{index}.tif")
        Image.new("L", (4, 4)).save(folder / f"TCGA_A_1_{index}_mask.tif")
    for place in (folder, tmp_path):
        [source] = find_cases([place])
        assert source.case_id == "TCGA_A_1"
        case = read_case(source)
        assert case.images[:, 0, 0, 0].tolist() == [1, 2, 10]
        assert case.masks[2] == "TCGA_A_1/TCGA_A_1_10_mask.tif"
    Image.new("RGB", (4, 5)).save(folder / "TCGA_A_1_3.tif")
    assert "slices of different sizes" in error_of(folder)


def test_folders_of_anything(tmp_path, error_of):
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "in" / "x.png")
    Image.new("L", (4, 4)).save(tmp_path / "in" / "x.tif")
    Image.new("L", (4, 4)).save(tmp_path / "in" / "X-2.png")
    nibabel.Nifti1Image(_volume(), PLAIN).to_filename(tmp_path / "in" / "deep" / "er" / "v.nii")
    for other in (
        "x_mask.png",
        "x_overlay.png",
        "x_uncertainty.png",
        ".hidden.png",
        "notes.txt",
        "v_seg.nii.gz",
    ):
        (tmp_path / "in" / other).write_bytes(b"?")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    found = {source.case_id: source.kind for source in find_cases([tmp_path / "in"])}
    assert found == {"X-2": "picture", "x": "picture", "x-3": "picture", "deep/er/v": "nifti"}
    again = find_cases([tmp_path / "in", tmp_path / "in" / "x.png"])
    assert len({source.case_id.lower() for source in again}) == len(again) == 5
    (tmp_path / "empty").mkdir()
    assert "found none in it" in error_of(tmp_path / "empty")
    assert "expected a TIFF, PNG, NIfTI or DICOM file" in error_of(tmp_path / "in" / "notes.txt")


def test_read_case_of_a_file_that_is_gone(tmp_path):
    for kind, name in (("picture", "a.png"), ("nifti", "a.nii"), ("dicom", "a.dcm")):
        with pytest.raises(InputError, match="found nothing"):
            read_case(CaseRef("a", kind, (tmp_path / name,)))


def test_square_view():
    images = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    for spacing in (None, (5.0, 1.5, 1.0)):
        assert square_view(images, spacing)[0] is images
    padded, where = square_view(images, (5.0, 1.0, 1.0))
    assert padded.shape == (2, 6, 6, 3) and padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[where], images)
    np.testing.assert_array_equal(padded[:, [0, 5]], np.broadcast_to([0, 1, 2], (2, 2, 6, 3)))
    with pytest.raises(InputError, match="4 x 600 mm"):
        square_view(images, (5.0, 1.0, 100.0))
    large = np.broadcast_to(np.uint8(0), (256, 2048, 256, 3))  # takes no memory yet
    with pytest.raises(InputError, match="^256x2048x2048 voxels in square slices, expected at mo"):
        square_view(large, (1.0, 1.0, 1.0))


def test_spacing_of_an_oblique_affine():
    assert slice_spacing(PLAIN) == pytest.approx((5.0, 1.1, 0.9))
    assert slice_spacing(PLAIN[:, [2, 0, 1, 3]]) == pytest.approx((5.0, 1.1, 0.9))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(3)))
def test_voxel_and_pixel_of_a_sheared_affine_have_their_size(seed, axes):
    random = np.random.default_rng(seed)
    affine = PLAIN.copy()
    affine[:3, :3] = PLAIN[:3, :3] @ (np.eye(3) + 0.2 * np.tril(random.uniform(-1, 1, (3, 3)), -1))
    affine[:3, :3] *= random.choice([-1, 1], 3)
    slices, rows, columns = slice_spacing(affine[:, [*axes, 3]])
    assert slices * rows * columns == pytest.approx(abs(np.linalg.det(affine[:3, :3])))
    assert rows * columns == pytest.approx(np.linalg.norm(np.cross(*affine[:3, :2].T)))


@pytest.mark.skipif(not LGG.is_dir(), reason=f"no LGG data set: {LGG} (set AGD_KERAS_LGG)")
def test_real_patient_through_oblique_nifti(tmp_path, read_paths):
    [source] = find_cases([next(path for path in sorted(LGG.iterdir()) if path.is_dir())])
    patient = read_case(source)
    volume = patient.images.transpose(2, 1, 0, 3)  # columns, rows, slices, channels
    turned, affine = _turned(volume, PLAIN, (2, 0, 1), (True, False, True))
    nibabel.Nifti1Image(turned, affine).to_filename(tmp_path / "a.nii.gz")
    case = read_paths(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(case.images, patient.images)
    mask = patient.images[..., 1] > 120
    case.write_masks(mask, [tmp_path / "m.nii.gz"])
    voxels = np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj)
    undone = _unturned(voxels, (2, 0, 1), (True, False, True))
    assert mask.any()
    np.testing.assert_array_equal(undone.transpose(2, 1, 0), mask)


@pytest.mark.parametrize("member", [b"", b"x"])
def test_gzip_of_tiny_members_is_refused_at_once(tmp_path, member, error_of):
    part = gzip.compress(member)
    for content in (part * 300_000, gzip.compress(_nifti_header((4, 4, 4))) + part * 300_000):
        (tmp_path / "a.nii.gz").write_bytes(content)
        start = time.process_time()
        error_of(tmp_path / "a.nii.gz")
        assert time.process_time() - start < 2


def test_gzip_of_many_members_as_bgzip_writes_it(tmp_path, read_paths):
    random = np.random.default_rng(0)
    volume = np.pad(random.integers(0, 4000, (98, 98, 60)).astype("<i4"), ((1, 1), (1, 1), (0, 0)))
    nibabel.Nifti1Image(volume, PLAIN).to_filename(tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    parts = [content[place : place + 65280] for place in range(0, len(content), 65280)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(map(gzip.compress, [*parts, b""])) + bytes(99))
    case = read_paths(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(case.images[..., 1], volume.transpose(2, 1, 0))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 500))
def test_ranges_of_files(tmp_path_factory, content, start, length, part):
    folder = tmp_path_factory.mktemp("ranges")
    (folder / "a").write_bytes(content)
    parts = [content[place : place + part] for place in range(0, len(content), part)][:60]
    (folder / "a.gz").write_bytes(b"".join(map(gzip.compress, parts)) or gzip.compress(b""))
    whole = b"".join(parts)
    assert read_range(folder / "a", start, start + length) == content[start : start + length]
    assert read_range(folder / "a.gz", start, start + length) == whole[start : start + length]


@pytest.mark.parametrize("offset", [0, 4, 347])
def test_voxels_that_begin_within_the_header_are_refused(tmp_path, error_of, offset):
    path = tmp_path / "a.nii"
    nibabel.Nifti1Image(_volume(), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, offset)
    path.write_bytes(content)
    assert "damaged" in error_of(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_a_scan_without_a_number_is_refused(tmp_path, error_of, value):
    """An empty mask would be the answer."""
    volume = np.full((4, 5, 6), value, np.float32)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "P_flair.nii")
    assert "expected numbers in FLAIR, found none that is finite" in error_of(tmp_path)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "P_t1.nii")
    nibabel.Nifti1Image(_volume((4, 5, 6)), np.eye(4)).to_filename(tmp_path / "P_flair.nii")
    assert "expected numbers in T1, found none that is finite" in error_of(tmp_path)
