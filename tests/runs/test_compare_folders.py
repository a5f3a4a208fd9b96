"""Results on disk side by side, against differences made by hand."""

import json

import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.runs.compare_folders import compare_folders, read_results
from agd_keras.runs.result_files import write_metrics


@pytest.fixture
def folders(tmp_path, dataset, make_predictor):
    """Results of two predictors of the same patients, and what they are."""
    made = {}
    for name, shift in (("a", 1), ("b", 3)):
        predict = make_predictor(lambda truth, shift=shift: np.roll(truth, shift, axis=1))
        made[name] = evaluate(predict, dataset, protocol={"data_fingerprint": "same"})
        write_metrics(made[name], tmp_path / name / "metrics.json")
    return tmp_path, made


def test_tables_are_those_of_the_figures(folders):
    root, made = folders
    figures, differences = compare_folders([f"near={root}/a", f"far={root}/b"])
    dices = {
        name: np.array([entry["dice"] for entry in metrics["subjects"].values()])
        for name, metrics in made.items()
    }
    assert [row[0] for row in figures.rows] == ["near", "far"]
    mean = figures.header.index("mean Dice")
    for row, name in zip(figures.rows, "ab", strict=True):
        assert row[mean].startswith(f"{dices[name].mean():.3f} [")
        assert row[1].startswith(f"{made[name]['pooled']['f1']:.3f} [")
    [row] = differences.rows
    assert row[0] == "far − near"
    assert row[1].startswith(f"{(dices['b'] - dices['a']).mean():+.3f} [")
    better = (dices["b"] > dices["a"]).sum(), (dices["b"] < dices["a"]).sum()
    assert row[4] == f"{better[0]} / {better[1]} of {len(dices['a'])}"


def test_names_are_optional_and_one_folder_has_no_differences(folders):
    root, _ = folders
    [table] = compare_folders([f"{root}/a/"])
    assert table.rows[0][0] == f"{root}/a"
    (root / "x=y").symlink_to(root / "a")
    [table] = compare_folders([f"{root}/x=y"])  # a folder that is there may be called so
    assert table.rows[0][0] == f"{root}/x=y"


def test_what_cannot_be_compared(folders, dataset, make_predictor):
    root, made = folders
    with pytest.raises(InputError, match="none: expected results of agd-evaluate or a run folder"):
        compare_folders([f"{root}/a", f"{root}/none"])
    with pytest.raises(InputError, match="--compare: two are called n; NAME=FOLDER"):
        compare_folders([f"n={root}/a", f"n={root}/b"])
    fewer = evaluate(make_predictor(lambda truth: truth), dataset[:2])
    write_metrics(fewer, root / "fewer" / "metrics.json")
    with pytest.raises(InputError, match="expected the patients of .*, see c"):
        compare_folders([f"{root}/a", f"{root}/fewer"])
    other = made["b"] | {"protocol": {"data_fingerprint": "other"}}
    write_metrics(other, root / "other" / "metrics.json")
    with pytest.raises(InputError, match="expected the data of"):
        compare_folders([f"{root}/a", f"{root}/other"])


@pytest.mark.parametrize("name", ["metrics.json", "sums.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", '{"protocol": 1}', '{"a": 1}', '{"a": {"dice": "x"}}']
)
def test_damaged_results_are_one_line(folders, name, content):
    root, _ = folders
    (root / "a" / name).write_text(content)
    with pytest.raises(InputError, match=f"{root}/a/{name}: expected ") as error:
        read_results(root / "a")
    assert "\n" not in str(error.value)


def test_results_without_sums_are_not_compared(folders):
    root, _ = folders
    (root / "a" / "sums.json").unlink()
    with pytest.raises(InputError, match=r"sums\.json: expected Dice and counts of a"):
        read_results(root / "a")
    metrics = json.loads((root / "a" / "metrics.json").read_text())
    (root / "a" / "metrics.json").write_text(json.dumps(metrics | {"subjects": {}}))
    with pytest.raises(InputError, match="expected patients in metrics"):
        read_results(root / "a")
