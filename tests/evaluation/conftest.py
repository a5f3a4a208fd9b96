"""A few written patients and a predictor that knows their truth, up to a known fault."""

import numpy as np
import pytest
from PIL import Image

from agd_keras.evaluation.evaluate import evaluate, read_patient
from agd_keras.io.slices import find_slices


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
    return find_slices(root)


@pytest.fixture(scope="session")
def truths(dataset):
    """The mask of each (patient, slice), read from the files by the numbers in their names."""
    return {
        ("abc".index(item.patient), item.index): np.asarray(Image.open(item.mask)) > 0
        for item in dataset
    }


@pytest.fixture(scope="session")
def make_predictor(truths):
    """Makes predictors that return `fault(truth)` of each slice they are given."""

    def make(fault):
        def predict(images):
            keys = [(int(image[0, 0, 0]), int(image[0, 0, 1])) for image in images]
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
    """Images and masks of each patient."""
    names = sorted({item.patient for item in dataset})
    return {
        name: read_patient([item for item in dataset if item.patient == name]) for name in names
    }
