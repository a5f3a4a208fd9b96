"""Where a model comes from, against runs written by hand."""

import json
from dataclasses import replace

import pytest
import yaml

from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.splits import Fold, save_folds
from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.baselines import warnings
from agd_keras.runs.provenance import find_origin
from agd_keras.runs.seen import write_fingerprints

CASES = [CaseRef(case, "picture", (), numbers=(1, 2)) for case in "abcde"]
BY_PATIENT = [Fold(0, ("a", "b"), ("c",), ("d", "e")), Fold(1, ("d", "e"), ("a",), ("b", "c"))]
BY_SLICE = [Fold(0, ("a_1", "b_1", "b_2"), ("c_1",), ("a_2", "c_2", "d_1"))]
UNKNOWN = {"split": None, "folds": None, "augmentation": None, "seed": None}


@pytest.fixture
def make_run(tmp_path):
    def make(folds, split, models=(0,)):
        config = {
            "preset": "agd_small",
            "data": {"split": split, "folds": 5, "augment": "paper", "since_removed": 1},
            "training": {"seed": 7},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        save_folds(folds, tmp_path / "folds.json", split, 7)
        for index in models:
            (tmp_path / f"fold-{index}").mkdir()
            (tmp_path / f"fold-{index}" / "model.keras").touch()
        return tmp_path

    return make


def part(cases):
    return [one for one in CASES if one.patient_id in cases]


def test_origin_of_one_fold(make_run):
    model = make_run(BY_PATIENT, "subject") / "fold-0" / "model.keras"
    assert find_origin(model, CASES) == {
        **{"split": "subject", "folds": "0 of 5", "augmentation": "paper", "seed": 7},
        **{"model": f"agd_small ({model})", "patients_seen_in_training": 3},
    }


@pytest.mark.parametrize(("cases", "seen"), [("de", 0), ("cd", 1), ("abc", 3), ("xyz", 0), ("", 0)])
def test_validation_counts_and_test_does_not(make_run, cases, seen):
    model = make_run(BY_PATIENT, "subject") / "fold-0" / "model.keras"
    assert find_origin(model, part(cases))["patients_seen_in_training"] == seen


def test_folds_that_are_averaged_have_seen_what_each_has(make_run):
    origin = find_origin(make_run(BY_PATIENT, "subject", models=(1, 0)), CASES)
    assert (origin["folds"], origin["patients_seen_in_training"]) == ("0, 1 of 5", 5)


def test_path_from_within_the_run(make_run, monkeypatch):
    monkeypatch.chdir(make_run(BY_PATIENT, "subject") / "fold-0")
    assert find_origin("model.keras", CASES)["patients_seen_in_training"] == 3


@pytest.mark.parametrize(("cases", "seen"), [("abc", 3), ("d", 0), ("ad", 1)])
def test_a_patient_is_seen_by_any_slice(make_run, cases, seen):
    model = make_run(BY_SLICE, "record") / "fold-0" / "model.keras"
    origin = find_origin(model, part(cases))
    assert (origin["split"], origin["patients_seen_in_training"]) == ("record", seen)


def test_nothing_is_known_of_a_model_alone(tmp_path):
    model = tmp_path / "model.keras"
    expected = UNKNOWN | {"model": str(model), "patients_seen_in_training": None}
    assert find_origin(model, CASES) == expected


def test_run_without_folds(make_run):
    run = make_run(BY_PATIENT, "subject")
    (run / "folds.json").unlink()
    origin = find_origin(run, CASES)
    assert (origin["seed"], origin["patients_seen_in_training"]) == (7, None)


@pytest.mark.parametrize("name", ["config.yaml", "folds.json"])
def test_damaged_run_is_told(make_run, name):
    run = make_run(BY_PATIENT, "subject")
    (run / name).write_text("[")
    with pytest.raises(InputError, match=name):
        find_origin(run, CASES)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = make_phantom(tmp_path_factory.mktemp("heads") / "data", patients=4, slices=14, size=48)
    return find_data_set(root)


def renamed(cases):
    return [replace(case, case_id=f"b{i}", patient_id=f"b{i}") for i, case in enumerate(cases)]


@pytest.mark.parametrize("split", ["subject", "record"])
def test_patients_are_known_by_their_images(make_run, scans, tmp_path, split):
    first, second, *others = (case.case_id for case in scans)
    parts = ((first,), (second,), tuple(others))
    if split == "record":
        parts = tuple(tuple(f"{one}_1" for one in part) for part in parts)
    model = make_run([Fold(0, *parts)], split) / "fold-0" / "model.keras"
    write_fingerprints(tmp_path, build_cache(scans, Preprocessor(16), root=tmp_path / "cache"))
    origin = find_origin(model, renamed(scans))
    assert origin["patients_seen_in_training"] == 2
    metrics = {"protocol": origin | {"split": "subject"}, "subjects": dict.fromkeys("abcd")}
    [(_, sentence)] = warnings(metrics)
    assert sentence.startswith("2 of 4 patients were trained or validated on (by name and by image")
    assert find_origin(model, renamed(scans)[2:])["patients_seen_in_training"] == 0
    assert find_origin(model, scans)["patients_seen_in_training"] == 2


def test_what_the_start_had_seen_counts(make_run, tmp_path):
    model = make_run(BY_PATIENT, "subject") / "fold-0" / "model.keras"
    record = {"model": "m", "sha256": "0", "names": ["d"], "complete": True, "likeness": {}}
    (tmp_path / "init.json").write_text(json.dumps(record))
    assert find_origin(model, part("de"))["patients_seen_in_training"] == 1
    (tmp_path / "init.json").write_text(json.dumps(record | {"complete": False}))
    assert find_origin(model, part("de"))["patients_seen_in_training"] == 1
    assert find_origin(model, part("e"))["patients_seen_in_training"] is None


DAMAGED = ["[", "[]", "1", '{"a": {"patient": "a", "slices": ["x"]}}']


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in ("init.json", "fingerprints.json") for text in DAMAGED),
        ("init.json", "{}"),  # in place of fingerprints it means that there is no case
        pytest.param("fingerprints.json", "[" * 100_000, id="too deep"),
    ],
)
def test_damaged_record_of_the_seen_is_told(make_run, name, text):
    run = make_run(BY_PATIENT, "subject")
    (run / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: damaged"):
        find_origin(run, CASES)
