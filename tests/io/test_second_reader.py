"""The same masks from three layouts, and one line for what does not fit."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.io.geometry import from_slices
from agd_keras.io.second_reader import read_second

NUMBERS = [3, 4, 5, 6]


@pytest.fixture
def masks():
    return np.random.default_rng(0).random((4, 20, 24)) < 0.3


def write(layout, folder, masks):
    if layout == "npz":
        np.savez(folder / "p.npz", mask=masks, slices=NUMBERS)
    elif layout == "nii.gz":
        affine = np.diag([-1.0, -1.0, 5.0, 1.0])
        volume = from_slices(masks.astype(np.uint8), affine)
        nibabel.Nifti1Image(volume, affine).to_filename(folder / "p.nii.gz")
    else:
        (folder / "p").mkdir()
        for number, mask in zip(NUMBERS, masks, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(folder / "p" / f"p_{number}_mask.{layout}")


@pytest.mark.parametrize("layout", ["npz", "nii.gz", "tif", "png"])
def test_layouts_agree(layout, masks, tmp_path):
    write(layout, tmp_path, masks)
    places, found = read_second(tmp_path, "p", NUMBERS)
    assert places == [0, 1, 2, 3]
    np.testing.assert_array_equal(found, masks)
    assert read_second(tmp_path, "another", NUMBERS) is None


@pytest.mark.parametrize("layout", ["npz", "tif"])
def test_some_of_the_slices(layout, masks, tmp_path):
    write(layout, tmp_path, masks)
    places, found = read_second(tmp_path, "p", [1, 2, *NUMBERS, 7])
    assert places == [2, 3, 4, 5]
    np.testing.assert_array_equal(found, masks)


def test_order_is_that_of_the_numbers(masks, tmp_path):
    np.savez(tmp_path / "p.npz", mask=masks, slices=NUMBERS[::-1])
    places, found = read_second(tmp_path, "p", NUMBERS)
    assert places == [3, 2, 1, 0]
    np.testing.assert_array_equal(found, masks)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mask": np.zeros((2, 4, 4))}, "expected `mask` and `slices`"),
        ({"mask": np.zeros((4, 4)), "slices": [3, 4]}, "3 dimensions"),
        ({"mask": np.zeros((2, 4, 4)), "slices": [3, 9]}, "numbers of the patient's slices"),
        ({"mask": np.zeros((2, 4, 4)), "slices": [3, 3]}, "each once"),
    ],
)
def test_archive_that_does_not_fit(arrays, message, tmp_path):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_second(tmp_path, "p", NUMBERS)


def test_damaged_and_missing(masks, tmp_path):
    with pytest.raises(InputError, match="expected a folder"):
        read_second(tmp_path / "none", "p", NUMBERS)
    (tmp_path / "p.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"p\.npz"):
        read_second(tmp_path, "p", NUMBERS)
    (tmp_path / "p.npz").unlink()
    write("nii.gz", tmp_path, masks)
    with pytest.raises(InputError, match="expected 2 slices, found 4"):
        read_second(tmp_path, "p", [3, 4])


def test_an_archive_that_unfolds_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("agd_keras.io.arrays._MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "p.npz", mask=np.zeros((4, 99, 99), bool), slices=NUMBERS)
    with pytest.raises(InputError, match=r"p.npz: \d+ bytes unpacked, expected at most 10000"):
        read_second(tmp_path, "p", NUMBERS)
