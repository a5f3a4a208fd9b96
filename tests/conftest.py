"""What many tests share: a small phantom data set, and a few patients with a known predictor."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image
from scipy import ndimage

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several processes test side by side: each has a core of its own, more would be in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from agd_keras.evaluation.evaluate import evaluate
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled

# The same examples in every call, so that what fails was broken by a change, not found by chance.
# `make nightly` draws fresh ones, and says how to get one that failed again.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("nightly", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder once for the processes that test side by side.

    Nobody may change it. Whoever wants it first calls `make(path)`, the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each process has a folder in that of the call

    def get(name: str, make: Callable[[Path], object]) -> Path:
        done = root / "made_once" / name
        done.parent.mkdir(exist_ok=True)
        with FileLock(f"{done}.lock"):
            if not done.with_suffix(".done").exists():
                shutil.rmtree(done, ignore_errors=True)  # half of it, where another failed
                make(done)
                done.with_suffix(".done").touch()
        return done

    return get


@pytest.fixture(scope="session")
def small_phantom(made_once) -> Path:
    """Six patients of six slices, 32 pixels square."""
    from agd_keras.data.phantom import make_phantom

    options = {"patients": 6, "slices": 6, "size": 32}
    return made_once("phantom", lambda root: make_phantom(root, **options))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("AGD_KERAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def disk(radius, size=32, center=None):
    y, x = np.ogrid[:size, :size]
    row, column = center or (size // 2, size // 2)
    return (y - row) ** 2 + (x - column) ** 2 < radius**2


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Three patients of 12, 3 and 4 slices, the last one without tumour."""
    root = tmp_path_factory.mktemp("kaggle_3m")
    rng = np.random.default_rng(0)
    radii = {"a": [0, 4, 5, 6, 7, 8, 7, 6, 5, 4, 0, 0], "b": [0, 3, 0], "c": [0, 0, 0, 0]}
    for patient, stack in radii.items():
        (root / patient).mkdir()
        for index, radius in enumerate(stack, start=1):
            mask = disk(radius)
            image = rng.integers(0, 80, (32, 32, 3), dtype=np.uint8)
            image[mask, 1] += 100
            # What no reader may see in any other way: patient and slice in the first pixel.
            image[0, 0] = ("abc".index(patient), index, 0)
            stem = root / patient / f"{patient}_{index}"
            Image.fromarray(image).save(stem.with_suffix(".tif"))
            Image.fromarray(mask.astype(np.uint8) * 255).save(f"{stem}_mask.tif")
    return find_data_set(root)


@pytest.fixture(scope="session")
def truths(dataset):
    """The mask of each (patient, slice), read from the files by the numbers in their names."""
    return {
        ("abc".index(case.case_id), number): np.asarray(Image.open(path)) > 0
        for case in dataset
        for number, path in zip(case.numbers, case.label, strict=True)
    }


@pytest.fixture(scope="session")
def make_predictor(truths):
    """Makes predictors that return `fault(truth)` of each slice of the case they are given."""

    def make(fault):
        def predict(case):
            keys = [(int(image[0, 0, 0]), int(image[0, 0, 1])) for image in case.images]
            return np.stack([fault(truths[key]) for key in keys]).astype(np.float32)

        return predict

    return make


@pytest.fixture(scope="session")
def shifted(make_predictor):
    """A predictor that is off by two pixels and is never quite sure."""
    return make_predictor(lambda truth: 0.05 + 0.85 * np.roll(truth, 2, axis=1))


@pytest.fixture(scope="session")
def metrics(dataset, shifted):
    protocol = {"split": "subject", "folds": 5, "seed": 0, "model": "agd_tiny"}
    return evaluate(shifted, dataset, protocol=protocol)


@pytest.fixture(scope="session")
def patients(dataset):
    """The case and the mask of each patient."""
    return {ref.case_id: read_labelled(ref) for ref in dataset}


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Path:
    """The small phantom in the layout of nnU-Net, its tumour in three shells: 2, 1, and 4 inside.

    The last two patients have no label 4.
    """
    from agd_keras.data.phantom import make_phantom

    root = tmp_path_factory.mktemp("labelled")
    phantom = find_data_set(make_phantom(root / "phantom", patients=6, slices=6, size=32))
    for place, ref in enumerate(phantom):
        case, tumour = read_labelled(ref)
        depth = np.stack([ndimage.distance_transform_edt(plane) for plane in tumour])
        labels = np.where(depth > 1.5, 1, 2) * tumour
        labels[(depth > 2.5) & (place < 4)] = 4
        volumes = {f"imagesTr/{ref.case_id}_{n:04}": case.images[..., n] for n in range(3)}
        volumes[f"labelsTr/{ref.case_id}"] = labels.astype(np.uint8)
        for name, volume in volumes.items():
            (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1, 5, 1]))
            image.to_filename(root / "data" / f"{name}.nii.gz")
    spec = {"channel_names": {"0": "T1", "1": "FLAIR", "2": "T1ce"}, "file_ending": ".nii.gz"}
    spec["labels"] = {"background": 0, "whole tumour": [1, 2, 4], "core": [1, 4], "enhancing": 4}
    (root / "data" / "dataset.json").write_text(json.dumps(spec))
    return root / "data"
