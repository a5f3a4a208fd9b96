import numpy as np
import pytest

from agd_keras.evaluation.subgroups import subgroups


def _subjects(names):
    rng = np.random.default_rng(1)
    return {
        name: {"dice": float(rng.random()), "voxels_true": int(rng.integers(1, 10**5))}
        for name in names
    }


def test_groups_hold_every_patient_once_and_average_as_all():
    sites = ("CS", "DU", "HT")
    names = [f"TCGA_{site}_{number:03d}A_2000" for site in sites for number in range(7)]
    subjects = _subjects(names)
    rows = subgroups(subjects)
    whole = np.mean([one["dice"] for one in subjects.values()])
    for group, values in (("tumour", 3), ("institution", 3)):
        own = [row for row in rows if row["group"] == group]
        assert len(own) == values
        assert sum(row["patients"] for row in own) == len(names)
        weights = [row["patients"] for row in own]
        assert np.average([row["mean_dice"] for row in own], weights=weights) == pytest.approx(
            whole
        )
    du = [subjects[name]["dice"] for name in names if "_DU_" in name]
    row = next(row for row in rows if row["value"] == "DU")
    assert (row["median_dice"], row["min_dice"]) == (np.median(du), min(du))
    assert row["ci95_dice"][0] <= row["mean_dice"] <= row["ci95_dice"][1]


def test_thirds_are_ordered_by_volume_and_leave_out_the_healthy():
    subjects = _subjects("abcdefghijklmno") | {"healthy": {"dice": 1.0, "voxels_true": 0}}
    rows = subgroups(subjects)
    assert [row["patients"] for row in rows] == [5, 5, 5]
    volumes = sorted(one["voxels_true"] for one in subjects.values())[1:]
    assert rows[2]["value"] == f"{volumes[10]:,} to {volumes[14]:,} voxels"
    del subjects["a"]
    assert subgroups(subjects) == []  # thirds of so few would be chance


def test_ids_of_other_data_have_no_institution():
    names = ["TCGA_CS_0001", *map(str, range(20))]
    assert {row["group"] for row in subgroups(_subjects(names))} == {"tumour"}
