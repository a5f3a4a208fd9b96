"""The layout that docs/code.md shows how to add: found, read, checked and split by person."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from agd_keras.data.datasets import find_data
from agd_keras.errors import InputError
from agd_keras.io import data_set
from agd_keras.io.labels import read_labelled

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "code.md"


@pytest.fixture
def two_folders(tmp_path, monkeypatch):
    """The example's layout, registered, and a folder in it."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    [block] = [block for block in blocks if "def matches" in block]
    defined = {}
    exec(compile(block, GUIDE.name, "exec"), defined)
    entry = {"two_folders": (defined["matches"], defined["find"])}
    monkeypatch.setattr(data_set, "LAYOUTS", entry | data_set.LAYOUTS)
    for number, name in enumerate(("p1_2019", "p1_2020", "p2_2019")):
        volume = np.zeros((6, 5, 4), np.float32)
        volume[number] = 100
        for folder, saved in (("flair", volume), ("tumour", volume > 0)):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(saved.astype(np.uint8), np.diag([-1.0, -1.0, 5.0, 1.0]))
            image.to_filename(tmp_path / folder / f"{name}.nii.gz")
    return tmp_path


def test_a_layout_of_ones_own(two_folders):
    assert data_set.recognise_layout(two_folders) == "two_folders"
    cases = find_data(two_folders)
    assert [(case.case_id, case.patient_id) for case in cases] == [
        ("p1_2019", "p1"),
        ("p1_2020", "p1"),
        ("p2_2019", "p2"),
    ]
    for number, ref in enumerate(cases):
        case, label = read_labelled(ref)
        np.testing.assert_array_equal(label, case.images[..., 1] == 100)
        assert label.any(axis=(0, 1)).nonzero()[0].tolist() == [number]
    (two_folders / "tumour" / "p2_2019.nii.gz").unlink()
    with pytest.raises(InputError, match=r"p2_2019.nii.gz: has no label, expected .*tumour"):
        find_data(two_folders)
