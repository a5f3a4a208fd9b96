"""The kinds of error against masks whose errors are known."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def failures(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import failures

    return failures


def masks():
    """Three slices: a square found too wide by 4 pixels, one not found, one where there is none."""
    truth = np.zeros((3, 40, 40), bool)
    truth[:2, 10:20, 10:20] = True
    found = np.zeros_like(truth)
    found[0, 10:20, 10:24] = True
    found[2, 30, 30:33] = True
    return truth, found


def test_kinds_by_hand(failures):
    truth, found = masks()
    kinds = failures.kinds_of_error(truth, found)
    # Of 4 columns beyond the square the first two are near its outline.
    assert {kind: int(wrong.sum()) for kind, wrong in kinds.items()} == {
        "outline": 20 + (100 - 36),
        "missed": 36,
        "invented": 3,
        "region": 20,
    }
    np.testing.assert_array_equal(
        sum(kinds[kind].astype(int) for kind in failures.KINDS), truth != found
    )


def test_contrast_is_in_deviations_of_the_tissue(failures):
    rng = np.random.default_rng(0)
    images = np.zeros((3, 40, 40, 3), np.float32)
    images[:, 2:38, 2:38] = rng.uniform(90, 110, (3, 36, 36, 3))
    truth, _ = masks()
    images[truth] += 4
    tissue = images[..., 1][images[..., 1] > images[..., 1].mean()]
    around = np.zeros_like(truth)
    ring = slice(10 - failures.RING, 20 + failures.RING)
    around[:2, ring, ring] = True
    around &= ~truth
    expected = images[..., 1][truth].mean() - images[..., 1][around].mean()
    assert failures.flair_contrast(images, truth) == pytest.approx(
        expected / tissue.std(), rel=1e-3
    )


def test_table(failures):
    truth, found = masks()
    images = np.random.default_rng(0).random((*truth.shape, 3))
    patient = failures.look_at("A", 0, images, truth, found)
    assert patient.dice == pytest.approx(2 * 100 / (200 + 143))
    assert patient.repaired["missed"] == pytest.approx(2 * 136 / (200 + 179))
    other = patient._replace(name="B", dice=0.9, voxels=500, contrast=2.0)
    text = failures.table([patient, other], worst=1)
    assert "| A | 0 | 0.583 | 200 | 0.71 |" in text
    assert "| B |" not in text
