"""Scans are told by what they look like: the same one in any form, and no other."""

from dataclasses import replace
from itertools import combinations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.data.phantom import make_phantom
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.likeness import SAME, describe_likeness, similarity


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    root = make_phantom(tmp_path_factory.mktemp("heads") / "data", patients=6, slices=16, size=64)
    return [read_case(source) for source in find_cases([root])]


def described(case, change=lambda flair: flair):
    flair = change(case.images[..., 1].astype(np.float32))
    return describe_likeness(replace(case, images=np.stack([flair] * 3, axis=-1)))


def test_other_heads_are_other_scans(heads):
    known = [described(head) for head in heads]
    assert max(similarity(*pair) for pair in combinations(known, 2)) < SAME - 0.05


CHANGES = {
    "scale": (lambda flair: np.round(flair * 117.3 + 3), 0.99),
    "gamma": (lambda flair: 3000 * (flair / 255) ** 0.7, SAME),
    "padding": (lambda flair: np.pad(flair, ((3, 5), (20, 7), (0, 40))), 0.99),
    "ends": (lambda flair: flair[2:-2], SAME),
    "noise": (lambda flair: flair + np.random.default_rng(0).normal(0, 2, flair.shape), SAME),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_head_in_another_form(heads, name):
    change, least = CHANGES[name]
    for head in heads:
        assert similarity(described(head), described(head, change)) >= least


def test_as_nifti_stored_the_other_way_round(heads, tmp_path):
    volume = heads[0].images[..., 1].transpose(2, 1, 0)  # columns run to the left, rows to the back
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    flipped = affine @ np.diag([-1.0, 1.0, -1.0, 1.0])
    flipped[:3, 3] = affine[:3, :3] @ [volume.shape[0] - 1, 0, volume.shape[2] - 1]
    values = (volume.astype(np.int16) * 9)[::-1, :, ::-1]
    nib.save(nib.Nifti1Image(values, flipped), tmp_path / "BraTS_001_flair.nii.gz")
    [found] = find_cases([tmp_path])
    assert similarity(describe_likeness(read_case(found)), described(heads[0])) >= 0.99


def test_too_few_slices_tell_nothing(heads):
    known = described(heads[0])
    assert similarity(known, known[:7]) == similarity(known, []) == -1


@pytest.mark.parametrize(
    ("values", "digits"),
    [(np.zeros((3, 9, 9, 3)), []), (np.eye(9)[None, :, :, None] * np.ones(3), [16])],
)
def test_scans_without_a_head(heads, values, digits):
    described = describe_likeness(replace(heads[0], images=np.asarray(values, np.float32)))
    assert [len(one) for one in described] == digits


@given(st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=14), st.data())
@settings(max_examples=40, deadline=None)
def test_similarity_is_that_of_the_best_pairing_in_order(bits, data):
    other = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=9))
    short, long = sorted((bits, other), key=len)
    agree = [[1 - (a ^ b).bit_count() / 32 for b in long] for a in short]
    best = max(
        sum(row[place] for row, place in zip(agree, places, strict=True))
        for places in combinations(range(len(long)), len(short))
    )
    expected = best / len(short) if len(short) >= 0.6 * len(long) else -1
    found = similarity(*([f"{one:016x}" for one in each] for each in (bits, other)))
    assert found == pytest.approx(expected, abs=1e-5)
