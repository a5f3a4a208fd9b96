"""What many tests share: a small phantom data set, and where the real one lies."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory) -> Path:
    """Six patients of six slices, 32 pixels square."""
    from agd_keras.data.phantom import make_phantom

    root = tmp_path_factory.mktemp("data") / "phantom"
    return make_phantom(root, patients=6, slices=6, size=32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("AGD_KERAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
