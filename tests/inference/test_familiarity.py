"""A phantom patient is familiar to what was measured on others; one tampered with is not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.data.anatomy import make_patient
from agd_keras.data.brain import brain_mask, strip_skull
from agd_keras.data.profile import ScanProfile, describe_scan
from agd_keras.errors import InputError
from agd_keras.inference.familiarity import (
    MEMBER,
    Familiarity,
    fit_familiarity,
    read_familiarity,
    write_familiarity,
)
from agd_keras.inference.predict_files import predict_files
from agd_keras.io.case import Case

SPACING = (5.0, 0.9, 0.9)


@pytest.fixture(scope="module")
def patients():
    return [np.array(make_patient(0, number, 12, 64)[0]) for number in range(1, 13)]


@pytest.fixture(scope="module")
def scans(patients):
    return [describe_scan(images, SPACING) for images in patients]


@pytest.fixture(scope="module")
def known(scans):
    return fit_familiarity(scans)


def test_each_phantom_is_familiar_to_the_others(scans):
    for place, scan in enumerate(scans):
        assert fit_familiarity(scans[:place] + scans[place + 1 :]).differences(scan) == []


@pytest.mark.parametrize(
    ("change", "spacing", "words"),
    [
        (lambda images: strip_skull(images, brain_mask(images)), SPACING, "no skull"),
        (lambda images: 255 - images, SPACING, "no skull"),
        (lambda images: np.repeat(images[..., 1:2], 3, axis=3), SPACING, "no T1, no T1c"),
        (lambda images: np.repeat(images, 4, axis=0), SPACING, "48 slices of 5 mm (12)"),
        (lambda images: images, (1.0, 0.9, 0.9), "1 mm slices (5)"),
        (lambda images: images, (5.0, 0.4, 0.5), "0.447 mm pixels (0.9)"),
        (lambda images: images * (images[..., 1:2] < 0), SPACING, "no brain found, no T1, no T1c"),
    ],
)
def test_what_is_unlike_is_told(patients, known, change, spacing, words):
    for images in patients:
        told = ", ".join(known.differences(describe_scan(change(images), spacing)))
        assert words in told


def test_a_smaller_head_in_the_picture_is_told(patients, scans, known):
    """Oracle: in twice the field of view the head takes half of the side."""
    halved = 0
    for images, scan in zip(patients, scans, strict=True):
        wide = describe_scan(np.pad(images, ((0, 0), (32, 32), (32, 32), (0, 0))), SPACING)
        halved += abs(wide.extent - scan.extent / 2) < 0.02
        assert any(way.startswith("small head") for way in known.differences(wide))
    assert halved >= 10  # in the others the noise around the head is taken for some of it


def test_thickness_of_a_drawn_rim():
    """Oracle: discs of a brain and of a head around it, whose distance is known."""
    y, x = np.mgrid[-64:64, -64:64]
    radius = np.hypot(x, y)
    for outer in (46, 52, 60):
        head = 10 * (radius < 40) + 30 * ((radius > outer - 5) & (radius < outer))
        scan = describe_scan(np.repeat(head[None, ..., None], 3, axis=3))
        assert scan.skull == pytest.approx((outer - 40) / (outer * math.sqrt(math.pi)), abs=0.02)
        assert scan.extent == pytest.approx(outer / 64, abs=0.02)


@settings(deadline=None, max_examples=20)
@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000))
def test_scale_and_offset_of_the_grey_values_do_not_matter(gain, offset):
    images = np.array(make_patient(0, 1, 4, 32)[0], np.float32)
    before, after = describe_scan(images), describe_scan(images * np.float32(gain) + offset)
    assert after.skull == pytest.approx(before.skull, abs=0.02)
    assert after.extent == pytest.approx(before.extent, abs=0.05)
    for name, values in before.grey.items():
        np.testing.assert_allclose(after.grey[name], values, atol=0.05)


def test_few_scans_say_nothing(scans):
    assert fit_familiarity(scans[:4]).differences(ScanProfile(1)) == []


@given(st.lists(st.integers(1, 500), min_size=5, max_size=40), st.integers(1, 2000))
def test_range_by_hand(counts, new):
    """Oracle: the rule written out, and every scan that was measured is familiar."""
    known = fit_familiarity([ScanProfile(count) for count in counts])
    assert all(known.differences(ScanProfile(count)) == [] for count in counts)
    low, high = math.log(min(counts)), math.log(max(counts))
    margin = max(math.log(1.25), 6 * (high - low) / len(counts))
    distance = max(low - math.log(new), math.log(new) - high)
    if abs(distance - margin) > 1e-9:
        assert bool(known.differences(ScanProfile(new))) == (distance > margin)


def test_stored_beside_a_model_and_joined_over_folds(tmp_path, scans, known):
    for fold, part in enumerate((scans[:6], scans[6:])):
        model = tmp_path / "run" / f"fold-{fold}" / "model.keras"
        model.parent.mkdir(parents=True)
        model.write_bytes(b"")
        assert read_familiarity(tmp_path / "run") is None  # of one fold nothing is known
        write_familiarity(model, fit_familiarity(part))
        assert read_familiarity(model) == fit_familiarity(part)
    joined = read_familiarity(tmp_path / "run")
    for name in ("skull", "extent", "slices", "slice_mm"):  # whose ranges do not move together
        assert joined.ranges[name] == known.ranges[name]
    assert all(joined.differences(scan) == [] for scan in scans)
    (tmp_path / "model.tflite").write_bytes(b"")
    assert read_familiarity(tmp_path / "model.tflite") is None
    write_familiarity(tmp_path / "model.tflite", known)
    assert read_familiarity(tmp_path / "model.tflite") == known


@pytest.mark.parametrize(
    "change",
    [
        {"scans": "many"},
        {"ranges": {"skull": [0.1]}},
        {"ranges": {"skull": [0.2, 0.1]}},
        {"ranges": {"slices": [0, 5]}},
        {"ranges": {"skull": [0.1, math.nan]}},
        {"ranges": {"colour": [0, 1]}},
        {"grey": {"FLAIR": [1.0]}},
        {"grey": {"PET": [1.0] * 19}},
        {"filled": ["PET"]},
        {"grey": {"FLAIR": ["1"] * 19}},
        {"ranges": {"extent": ["0.1", 0.5]}},
        {"ranges": {"slices": [1, 10**400]}},
        {"ranges": [1]},
        {"filled": 1},
        {"other": 1},
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, known, change):
    path = write_familiarity(tmp_path / "model.keras", known)
    assert path == tmp_path / MEMBER
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"{MEMBER}: damaged \(.+\)$"):
        read_familiarity(tmp_path / "model.keras")
    path.write_text("[" * 10)
    with pytest.raises(InputError, match=rf"{MEMBER}: damaged"):
        read_familiarity(tmp_path / "model.keras")


def test_notes_of_a_prediction(tmp_path, small_phantom):
    class Nothing:
        def predict_patient(self, images):
            return np.zeros(images.shape[:3], np.float32)

    def notes(familiarity: Familiarity | None) -> set[str]:
        out = tmp_path / "out"
        rows = predict_files(
            Nothing(), [small_phantom], out, familiarity=familiarity, overwrite=True, overlays=False
        )
        return {row["notes"] for row in rows}

    thick = fit_familiarity([ScanProfile(count) for count in (20, 22, 23, 24, 25)])
    assert notes(None) == notes(replace(thick, ranges={})) == {""}
    assert notes(thick) == {"unlike the training data: 6 slices (20 to 25)"}


def test_a_case_is_judged_as_its_network_sees_it(patients, known):
    """Air around a head that is no square changes nothing but where the field of view is known."""
    images = np.pad(patients[0], ((0, 0), (0, 64), (0, 0), (0, 0)))
    case = Case(images, SPACING, (), print)
    assert any(way.startswith("small head") for way in known.judge(case))
    assert known.judge(Case(patients[0], SPACING, (), print)) == []
