"""The Python in the guides runs, and the guide to one's own scans keeps what it promises."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from agd_keras.io.data_set import check_cases, find_data_set
from agd_keras.io.labels import read_labelled

GUIDES = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.md"))


def run_blocks(guide):
    """Runs the Python blocks of a guide, one after the other, and returns what they define."""
    defined = {}
    for block in re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL):
        exec(compile(block, guide.name, "exec"), defined)
    return defined


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_python_blocks_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(guide)


def save(volume, path):
    """Writes an array that is indexed from right, anterior and inferior on."""
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume, np.float32), affine), path)


def test_own_scans_become_a_data_set(tmp_path, monkeypatch):
    """BraTS files, whose axes run to the left, posterior and superior as those of LGG do."""
    guide = run_blocks(next(guide for guide in GUIDES if guide.stem == "own_scans"))
    random = np.random.default_rng(0)
    truth = np.zeros((20, 24, 3))
    truth[4:9, 10:12, 1] = 2
    folder = tmp_path / "BraTS_1"
    folder.mkdir()
    for contrast in ("t1", "flair", "t1ce"):
        volume = random.uniform(100, 900, truth.shape) + 2000 * (contrast == "flair") * (truth > 0)
        save(volume, folder / f"BraTS_1_{contrast}.nii.gz")
    save(truth, folder / "BraTS_1_seg.nii.gz")
    guide["convert_brats"](folder, tmp_path / "data")

    cases = find_data_set(tmp_path / "data")
    assert check_cases(cases) == []
    case, masks = read_labelled(cases[0])
    images = case.images
    assert images.shape == (3, 24, 24, 3)  # square, two columns of air on each side
    # Columns run to the patient's left and rows to the back, as the array's first two axes do.
    expected = np.pad(truth.transpose(2, 1, 0) > 0, ((0, 0), (0, 0), (2, 2)))
    np.testing.assert_array_equal(masks, expected)
    assert images[..., 1][expected].min() > 200
    assert np.median(images[..., 0][expected]) < 200

    monkeypatch.chdir(tmp_path)
    guide["look"](tmp_path / "data")
    assert (tmp_path / "BraTS_1.png").stat().st_size > 1000


def test_messages_of_the_troubleshooting_are_those_of_the_code():
    """Three words in a row of each message stand in the sources, whatever is filled in between."""
    root = Path(__file__).resolve().parents[1]
    sources = [*sorted((root / "agd_keras").rglob("*.py")), root / "Makefile"]
    code = " ".join(path.read_text() for path in sources)
    code = re.sub(r'"\s*f?"', "", code)  # a message over several lines
    guide = next(guide for guide in GUIDES if guide.stem == "troubleshooting").read_text()
    messages = re.findall(r"^\| (?:note )?`([^`]*expected[^`]*|[^`]*filled by[^`]*)`", guide, re.M)
    assert len(messages) >= 19
    for message in messages:
        words = message.split()
        runs = (" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2)))
        assert any(run in code for run in runs), message
