"""The same voxels in any legal encoding: one mask, one volume, one place in space.

A threshold on what the network would be given stands in for the network.
"""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import Predictor

OPTIONS = {"overlays": False}
SIDE = 24  # of slices and of what the network takes, so that nothing is resized


def head(seed: int) -> np.ndarray:
    """A FLAIR of 8 bits with a bright spot, `(columns, rows, slices)`, with dark air around."""
    random = np.random.default_rng(seed)
    x, y, z = np.mgrid[:SIDE, :SIDE, :5] - np.array([11.5, 11.5, 2]).reshape(3, 1, 1, 1)
    volume = random.integers(0, 6, x.shape)
    tissue = x**2 + y**2 + (3 * z) ** 2 < 100
    volume[tissue] = random.integers(90, 150, tissue.sum())
    x0, y0 = random.uniform(-4, 4, 2)
    spot = (x - x0) ** 2 + (y - y0) ** 2 + (2 * z) ** 2 < random.uniform(8, 30)
    volume[spot & tissue] = random.integers(215, 256, (spot & tissue).sum())
    return volume.astype(np.uint8)


def bright() -> Predictor:
    """Takes for tumour what stands out of the tissue by 1.2 deviations."""

    def predict(batch):
        return {"mask": (batch[..., 1:2] > 1.2).astype(np.float32)}

    return Predictor([SimpleNamespace(input_shape=(None, SIDE, SIDE, 3), predict_on_batch=predict)])


def plain_mask(volume: np.ndarray) -> np.ndarray:
    images = np.repeat(volume.transpose(2, 1, 0)[..., None], 3, axis=-1)
    mask = bright().predict_patient(images) >= 0.5
    assert 0 < mask.mean() < 0.2
    return mask


def random_affine(random: np.random.Generator, shear: bool) -> tuple[np.ndarray, np.ndarray]:
    """An affine near LPS, and one of any order and direction of axes that means the same."""
    angles = random.uniform(-0.3, 0.3, 3)
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        one[[i, j], [i, j]] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    side = random.uniform(0.4, 3)
    spacing = np.diag([-side, -side, random.uniform(0.5, 9)])
    tilt = np.eye(3)
    if shear:
        tilt[:2, 2] = random.uniform(-0.3, 0.3, 2)
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ spacing
    affine[:3, 3] = random.uniform(-200, 200, 3)
    return affine, nibabel.orientations.inv_ornt_aff(
        np.column_stack([random.permutation(3), random.choice([-1, 1], 3)]), (SIDE, SIDE, 5)
    )


NUMBERS = ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]
ENCODINGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "dtype": st.sampled_from(NUMBERS),
        "order": st.sampled_from("<>"),
        "slope": st.sampled_from([None, 1.0, 0.25, 3.7, 1e-3]),
        "intercept": st.sampled_from([0.0, -1024.0, 100.5]),
        "version2": st.booleans(),
        "gz": st.booleans(),
        "shear": st.booleans(),
        "codes": st.sampled_from([(0, 1), (1, 0), (1, 1), (0, 4), (2, 2)]),
        "units": st.sampled_from([None, "mm", "meter", "micron"]),
    }
)


def write_nifti(path, volume, affine, code):
    image_class = nibabel.Nifti2Image if code["version2"] else nibabel.Nifti1Image
    header = image_class.header_class(endianness=code["order"])
    header.set_data_dtype(np.dtype(code["dtype"]).newbyteorder(code["order"]))
    factor = {"meter": 1e-3, "micron": 1e3}.get(code["units"], 1.0)
    affine = np.diag([factor] * 3 + [1]) @ affine
    image = image_class(volume, affine, header)
    qform, sform = code["codes"]
    image.set_qform(affine, 0 if code["shear"] else qform)  # a quaternion cannot hold shear
    image.set_sform(affine, max(sform, 1) if code["shear"] else sform)
    if code["units"]:
        image.header.set_xyzt_units(code["units"])
    if code["slope"]:
        image.header.set_slope_inter(code["slope"], code["intercept"])
    image.to_filename(path)  # stores the values as they are where a slope is given
    if code["slope"]:
        values = np.asarray(nibabel.load(path).dataobj)
        np.testing.assert_allclose(values, volume * code["slope"] + code["intercept"], atol=1e-3)
    return affine


def check_nifti(folder, code):
    random = np.random.default_rng(code["seed"])
    volume = head(code["seed"])
    expected = plain_mask(volume)
    affine, order = random_affine(random, code["shear"])
    turned = nibabel.Nifti1Image(volume, affine).as_reoriented(
        nibabel.orientations.io_orientation(order)
    )
    path = folder / f"scan.nii{'.gz' * code['gz']}"
    written = write_nifti(path, np.asarray(turned.dataobj), turned.affine, code)

    [row] = predict_files(bright(), [path], folder / "out", **OPTIONS)
    mask = nibabel.load(folder / "out" / row["masks"])
    # A quaternion of float32 is off by so much of the longest side, in the unit of the file.
    precision = 1e-6 * np.abs(written[:3, :3]).max()
    np.testing.assert_allclose(mask.affine, written, rtol=1e-5, atol=max(1e-4, precision))
    back = nibabel.Nifti1Image(np.asarray(mask.dataobj), turned.affine)
    to_plain = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(turned.affine), nibabel.io_orientation(affine)
    )
    found = np.asarray(back.as_reoriented(to_plain).dataobj).transpose(2, 1, 0) > 0
    np.testing.assert_array_equal(found, expected)
    right = expected.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert row["volume_mm3"] == pytest.approx(right, rel=1e-3)
    area = np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1]))
    largest = expected.sum(axis=(1, 2)).max()
    assert row["area_mm2"] == pytest.approx(largest * area, rel=1e-3)


PICTURES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "suffix": st.sampled_from([".tif", ".TIFF", ".png"]),
        "kind": st.sampled_from(["colour", "u1", "u2", "i4", "f4"]),
        "scale": st.sampled_from([1, 4, 257]),
        "compression": st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]),
    }
)


def check_pictures(folder, code):
    volume = head(code["seed"])
    expected = plain_mask(volume)
    (folder / "case").mkdir()
    png = code["suffix"] == ".png"
    kind = "u2" if png and code["kind"] in ("i4", "f4") else code["kind"]
    for place, plane in enumerate(volume.transpose(2, 1, 0)):
        if kind == "colour":
            picture = np.repeat(plane[..., None], 3, axis=-1)
        else:
            picture = (plane.astype(int) * (1 if kind == "u1" else code["scale"])).astype(kind)
        options = {} if png or not code["compression"] else {"compression": code["compression"]}
        path = folder / "case" / f"case_{place}{code['suffix']}"
        Image.fromarray(picture).save(path, **options)
    [row] = predict_files(bright(), [folder / "case"], folder / "out", **OPTIONS)
    masks = [
        np.asarray(Image.open(folder / "out" / "case" / f"case_{place}_mask{code['suffix']}"))
        for place in range(len(expected))
    ]
    np.testing.assert_array_equal(np.stack(masks) > 0, expected)
    assert row["voxels"] == expected.sum()


CHECKS = {"nifti": (check_nifti, ENCODINGS), "pictures": (check_pictures, PICTURES)}


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        ("nifti", 25),
        ("pictures", 15),
        pytest.param("nifti", 1000, marks=pytest.mark.nightly),
        pytest.param("pictures", 500, marks=pytest.mark.nightly),
    ],
)
def test_any_encoding_gives_the_same_mask(tmp_path_factory, kind, examples):
    check, encodings = CHECKS[kind]

    @settings(max_examples=examples, deadline=None)
    @given(encodings)
    def each(code):
        check(tmp_path_factory.mktemp(kind), code)

    each()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_mask_lies_where_another_reader_says(tmp_path_factory, seed, sform):
    """Its centre of mass, in mm."""
    folder = tmp_path_factory.mktemp("itk")
    random = np.random.default_rng(seed)
    affine, order = random_affine(random, shear=False)
    scan = nibabel.Nifti1Image(head(seed), affine).as_reoriented(
        nibabel.orientations.io_orientation(order)
    )
    affine = scan.affine
    scan.set_qform(affine, 1)
    scan.set_sform(affine, int(sform))
    scan.to_filename(folder / "scan.nii")
    [row] = predict_files(bright(), [folder / "scan.nii"], folder / "out", **OPTIONS)
    mask, source = (
        SimpleITK.ReadImage(str(folder / name)) for name in (f"out/{row['masks']}", "scan.nii")
    )
    statistics = SimpleITK.LabelIntensityStatisticsImageFilter()
    statistics.Execute(mask, source)
    bright_voxels = SimpleITK.LabelIntensityStatisticsImageFilter()
    threshold = SimpleITK.GetArrayFromImage(source)[SimpleITK.GetArrayFromImage(mask) > 0].min()
    bright_voxels.Execute(SimpleITK.Cast(source >= float(threshold), SimpleITK.sitkUInt8), source)
    assert statistics.GetCentroid(1) == pytest.approx(bright_voxels.GetCentroid(1), abs=1e-3)
    assert statistics.GetPhysicalSize(1) == pytest.approx(row["volume_mm3"], rel=1e-3)
