"""The embedded data set: reproducible, in the layout of LGG, and not trivial."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from agd_keras.data.anatomy import make_patient
from agd_keras.data.phantom import ensure_phantom, make_phantom
from agd_keras.data.preprocess import normalize_patient
from agd_keras.errors import InputError
from agd_keras.io.data_set import check_cases, find_data_set
from agd_keras.io.image_files import read_image, read_mask
from agd_keras.io.table import read_table


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """The default data set: masks by patient, and its cases."""
    cases = find_data_set(make_phantom(tmp_path_factory.mktemp("phantom") / "default"))
    return cases, np.stack([[read_mask(path) for path in case.label] for case in cases])


def _digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_reproducible_to_the_byte(tmp_path):
    first = _digest(make_phantom(tmp_path / "a", patients=2, slices=11, size=48, seed=5))
    assert len(first) == 2 * 11 * 2 + 1
    assert first == _digest(make_phantom(tmp_path / "b", patients=2, slices=11, size=48, seed=5))
    other = _digest(make_phantom(tmp_path / "c", patients=2, slices=11, size=48, seed=6))
    assert all(first[name] != other[name] for name in first if "mask" not in name)
    more = _digest(make_phantom(tmp_path / "d", patients=3, slices=11, size=48, seed=5))
    assert all(more[name] == first[name] for name in first if name.endswith("tif"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


def test_read_by_the_same_reader(phantom):
    cases, _ = phantom
    assert len(cases) == 24 and check_cases(cases[:2]) == []
    assert all(case.numbers == tuple(range(1, 21)) for case in cases)
    image = read_image(cases[0].files[10])
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    table = read_table(cases[0].files[0].parents[1])
    assert sorted(table) == [case.patient_id for case in cases]
    assert all(20 <= int(row["age"]) <= 75 and row["sex"] in "FM" for row in table.values())
    assert 3 <= sum(int(row["faint"]) for row in table.values()) <= 10


def test_as_much_tumour_as_in_lgg(phantom):
    _, masks = phantom
    with_tumor = masks.any((2, 3))
    assert 0.28 < with_tumor.mean() < 0.40
    assert 0.007 < masks.mean() < 0.013
    assert with_tumor.any(1).all()
    volumes = masks.sum((1, 2, 3))
    assert volumes.max() > 4 * volumes.min()
    # Irregular: lesions fill clearly less of their bounding box than an ellipse, pi / 4, would.
    largest = [stack[stack.sum((1, 2)).argmax()] for stack in masks]
    filled = [m[np.ix_(m.any(1), m.any(0))].mean() for m in largest]
    assert np.median(filled) < np.pi / 4 and np.std(filled) > 0.05


def test_bright_on_flair_but_no_threshold_finds_it(phantom):
    cases, masks = phantom
    images = np.stack([[read_image(path) for path in case.files] for case in cases])
    stacks = np.stack([normalize_patient(patient) for patient in images])
    flair = stacks[..., 1]
    for patient, mask in zip(flair, masks, strict=True):
        brain = np.median(patient[10][40:90, 40:90])
        assert np.percentile(patient[mask], 75) > brain
    for contrast, limit in ((flair, 0.4), (flair - stacks[..., 0], 0.6)):
        scores = []
        for threshold in np.linspace(-2, 4, 31):
            found = contrast > threshold
            scores.append((found & masks).sum() / (found | masks).sum())
        assert max(scores) < limit


def test_patients_differ_in_scale_and_share_the_anatomy_between_sizes():
    small, small_mask, _ = make_patient(seed=0, number=1, slices=6, size=64)
    large, large_mask, _ = make_patient(seed=0, number=1, slices=6, size=128)
    shrunk = large_mask.reshape(6, 64, 2, 64, 2).mean((2, 4)) >= 0.5
    overlap = (shrunk & small_mask).sum() / (shrunk | small_mask).sum()
    assert overlap > 0.85
    halved = large.reshape(6, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.97
    scales = [np.percentile(make_patient(0, n, 6, 64)[0][3], 90, axis=(0, 1)) for n in range(8)]
    assert (np.std(scales, axis=0) / np.mean(scales, axis=0) > 0.1).all()


def test_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("AGD_KERAS_CACHE", str(tmp_path / "cache"))
    root = ensure_phantom(patients=1, slices=2, size=32)
    assert root.parent == tmp_path / "cache"
    before = (root / "data.csv").stat().st_mtime_ns
    assert ensure_phantom(patients=1, slices=2, size=32) == root
    assert (root / "data.csv").stat().st_mtime_ns == before
    other = ensure_phantom(tmp_path / "cache", patients=1, slices=2, size=32, seed=1)
    assert other != root and len(list((tmp_path / "cache").iterdir())) == 2


def test_cache_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the phantom"):
        ensure_phantom(tmp_path / "file", patients=1, slices=2, size=32)


@pytest.mark.parametrize("option", ["patients", "slices", "size", "seed"])
def test_bad_numbers_write_nothing(tmp_path, option):
    with pytest.raises(InputError, match=f"phantom {option} -1: expected at least"):
        make_phantom(tmp_path / "a", **{option: -1})
    assert not list(tmp_path.iterdir())


def test_never_replaces_a_folder(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(InputError, match="exists already"):
        make_phantom(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
