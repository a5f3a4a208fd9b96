"""The networks of a run beside two readers, by the command."""

import sys
from pathlib import Path

import numpy as np
import pytest

from agd_keras.config import make_config, save_config
from agd_keras.data.splits import Fold, save_folds
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled
from agd_keras.models import agd_autoencoder


@pytest.fixture
def readers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import readers

    return readers


def test_readers_of_the_test_patients_of_a_fold(
    readers, small_phantom, tmp_path, monkeypatch, capsys
):
    run, second = tmp_path / "run", tmp_path / "second"
    (run / "fold-0").mkdir(parents=True)
    second.mkdir()
    cases = sorted(find_data_set(small_phantom))
    names = [case.case_id for case in cases]
    fold = Fold(0, tuple(names[2:]), (names[1],), (names[0],))
    save_folds([fold], run / "folds.json", "subject", 0)
    save_config(make_config({"data": {"path": str(small_phantom)}}), run / "config.yaml")
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(run / "fold-0" / "model.keras")
    for case in cases:  # of all, but only the test patient is in the table
        truth = read_labelled(case)[1]
        np.savez(second / f"{case.case_id}.npz", mask=truth, slices=case.numbers)
    command = ["readers.py", "--run", str(run), "--second-reader", str(second)]
    monkeypatch.setattr(sys, "argv", command)
    assert readers.main() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| phantom")]
    assert len(rows) == 1 and rows[0].startswith(f"| {names[0]} | 1.000 |")
