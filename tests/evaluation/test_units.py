"""Distances in mm where the spacing is known, in pixels where it is not, never both in a mean."""

import nibabel
import numpy as np
import pytest

from agd_keras.evaluation.evaluate import evaluate
from agd_keras.evaluation.patients import add_entries, score_patient
from agd_keras.evaluation.summary import summarize
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.aggregate import spread
from agd_keras.runs.baselines import distance_note

SPACING = (5.0, 0.5, 2.0)


def boxes(shift):
    """A box and the same box moved by (slices, rows, columns)."""
    truth = np.zeros((12, 24, 24), bool)
    truth[3:7, 6:14, 6:14] = True
    return truth, np.roll(truth, shift, axis=(0, 1, 2)) * 0.9


@pytest.mark.parametrize(
    ("shift", "millimetres", "pixels"),
    [((1, 0, 0), 5.0, 1.0), ((0, 3, 0), 1.5, 3.0), ((0, 0, 1), 2.0, 1.0)],
)
def test_a_moved_box(shift, millimetres, pixels):
    truth, probability = boxes(shift)
    known = score_patient(truth, probability, spacing=SPACING)
    assert (known["hd95"], known["unit"]) == (pytest.approx(millimetres), "mm")
    unknown = score_patient(truth, probability)
    assert (unknown["hd95"], unknown["unit"]) == (pytest.approx(pixels), "px")
    # 2 mm and 2 px: the share of voxels whose way to the other surface is no longer.
    assert (known["nsd"] == 1.0) == (millimetres <= 2.0)
    assert (unknown["nsd"] == 1.0) == (pixels <= 2.0)
    assert {key: known[key] for key in ("dice", "fp", "errors")} == {
        key: unknown[key] for key in ("dice", "fp", "errors")
    }


def test_spacing_that_is_known_in_part():
    truth, probability = boxes((0, 3, 0))
    thick = (np.nan, 0.5, 2.0)  # of a single slice without thickness
    one = score_patient(truth[4:5], probability[4:5], spacing=thick)
    assert (one["unit"], one["hd95"]) == ("mm", pytest.approx(1.5))
    several = score_patient(truth, probability, spacing=thick)
    assert (several["unit"], several["hd95"]) == ("px", pytest.approx(3.0))


def test_no_mean_of_two_units():
    pair = boxes((0, 3, 0))
    mm, px = score_patient(*pair, spacing=SPACING), score_patient(*pair)
    missed = score_patient(pair[0], np.zeros(pair[0].shape), spacing=SPACING)
    both = summarize({"a": mm, "b": px})
    assert both["distance_unit"] is both["subject"]["mean_hd95"] is both["subject"]["mean_nsd"]
    assert both["distance_unit"] is None and both["subject"]["hd95_patients"] == 2
    assert "no mean" in distance_note(both)
    # One that has no distance has no say.
    for entry, unit, mean in ((mm, "mm", 1.5), (px, "px", 3.0)):
        alike = summarize({"a": entry, "b": missed})
        assert (alike["distance_unit"], alike["subject"]["hd95_patients"]) == (unit, 1)
        assert alike["subject"]["mean_hd95"] == pytest.approx(mean)
    folds = [summarize({"a": entry}) for entry in (mm, px)]
    over = spread(folds)["subject"]
    assert over["mean_hd95"]["each"] == [pytest.approx(1.5), pytest.approx(3.0)]
    assert over["mean_hd95"]["mean"] is over["mean_nsd"]["std"] is None
    assert over["mean_dice"]["mean"] == pytest.approx(mm["dice"])
    del px["unit"]  # of an earlier version
    assert summarize({"a": px})["distance_unit"] == "px"
    assert add_entries([mm, mm])["unit"] == "mm"
    assert distance_note({}) == "hd95 is in pixels; nsd is at 2 px"


def test_nifti_of_any_orientation_is_measured_on_its_own_grid(tmp_path):
    """The axes of the file in another order, one of them backwards, voxels of 2 x 0.5 x 5 mm."""
    truth, probability = boxes((0, 3, 0))
    affine = np.array([[0, 0, -2.0, 0], [-0.5, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1.0]])
    rows_slices_columns = (1, 0, 2)
    (tmp_path / "case").mkdir()
    for name, values in (("flair", truth * 100), ("t1", truth * 50), ("seg", truth)):
        volume = values.transpose(rows_slices_columns).astype(np.int16)
        nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "case" / f"case_{name}.nii.gz")
    [ref] = find_data_set(tmp_path)

    def predict(case):
        assert case.spacing == pytest.approx(SPACING)
        return probability

    metrics = evaluate(predict, [ref])
    [entry] = metrics["subjects"].values()
    assert (entry["hd95"], entry["unit"]) == (pytest.approx(1.5), "mm")
    assert metrics["distance_unit"] == "mm"
    # The stack of some slices is none in space.
    some = evaluate(predict, [ref], scored={ref.case_id: [3, 5]})
    assert some["distance_unit"] == "px"
    whole = evaluate(predict, [ref], scored={ref.case_id: list(range(12))})
    assert whole["distance_unit"] == "mm"
