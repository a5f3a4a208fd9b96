"""Who an export is compared on: validation patients where the run tells them."""

import json
import shutil

import pytest
import yaml

from agd_keras.export.samples import REPRESENTATIVE, SCORED, choose_samples


def patients(cases):
    return sorted({case.patient_id for case in cases})


@pytest.fixture
def run(small_phantom, tmp_path):
    names = sorted(path.name for path in small_phantom.iterdir() if path.is_dir())
    folder = tmp_path / "run"
    folds = []
    for index in range(2):
        (folder / f"fold-{index}").mkdir(parents=True)
        (folder / f"fold-{index}" / "model.keras").touch()
        sides = {"train": names[2:], "validation": [names[index]], "test": [names[1 - index]]}
        folds.append({"index": index, **sides})
    (folder / "folds.json").write_text(json.dumps({"split": "subject", "seed": 0, "folds": folds}))
    config = {"data": {"path": str(small_phantom), "split": "subject"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder, names


def test_a_run_is_compared_on_its_validation_patients(run):
    folder, names = run
    samples = choose_samples(folder)
    assert samples.side == "validation patients"
    assert patients(samples.scored) == [names[0]]
    assert patients(samples.representative) == names[2:]
    assert patients(choose_samples(folder / "fold-1" / "model.keras").scored) == [names[1]]


def test_data_without_the_patients_of_the_run_is_taken_as_it_is(run, small_phantom, tmp_path):
    folder, names = run
    data = shutil.copytree(small_phantom, tmp_path / "data")
    shutil.rmtree(data / names[-1])
    samples = choose_samples(folder, data)
    assert samples.side == "patients"
    assert patients(samples.scored) == patients(samples.representative) == names[:-1]


def test_slices_of_all_patients_trained_a_record_wise_run(run, small_phantom):
    folder, names = run
    config = {"data": {"path": str(small_phantom), "split": "record"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    samples = choose_samples(folder)
    assert samples.side == "patients"
    assert patients(samples.scored) == names


def test_a_file_alone_is_compared_on_the_phantom(tmp_path):
    samples = choose_samples(tmp_path / "model.keras")
    assert samples.data == "phantom"
    assert len(patients(samples.scored)) == SCORED
    assert len(patients(samples.representative)) == REPRESENTATIVE


def test_the_phantom_in_place_of_lost_data_is_said(run, monkeypatch, caplog):
    folder, _ = run
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"path": "/no/such/data"}}))
    monkeypatch.setattr("agd_keras.export.samples.find_data", lambda data, **how: [])
    monkeypatch.setattr("agd_keras.export.samples._spread", lambda slices, count: [])
    assert choose_samples(folder).data == "phantom"
    assert "/no/such/data, are not here, compared on the phantom" in caplog.text


def test_a_run_on_the_phantom_has_its_data(run, caplog):
    folder, _ = run
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"path": "phantom"}}))
    assert choose_samples(folder).data == "phantom"
    assert not caplog.text
