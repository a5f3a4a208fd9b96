"""The speed of prediction is measured with what the measured model was prepared by."""

import json
from pathlib import Path

import pytest

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.io.data_set import find_data_set
from agd_keras.models import agd_autoencoder


@pytest.mark.parametrize("normalization", ["tissue", "brain"])
def test_a_row_is_measured(small_phantom, tmp_path, monkeypatch, capsys, normalization):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import inference

    prepared = []
    prepare = Preprocessor.prepare
    monkeypatch.setattr(
        Preprocessor, "prepare", lambda *given: prepared.append(given[0]) or prepare(*given)
    )
    preprocessor = Preprocessor(32, normalization=normalization)
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(tmp_path / "model.keras")
    files = [str(path) for path in find_data_set(small_phantom)[0].files]
    case = {"files": files, "reading": (0.5, 1.2), "preprocessor": preprocessor.to_values()}
    (tmp_path / "case.json").write_text(json.dumps(case))
    inference.measure_row("keras batch", tmp_path, seconds=0.0)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"1", "32", str(inference.PATIENT), "memory"}
    assert all(part >= 0 for times in (found["1"], found["32"]) for one in times for part in one)
    assert set(prepared) == {preprocessor}
