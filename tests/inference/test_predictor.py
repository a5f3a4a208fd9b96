"""What a run folder is loaded as."""

import logging

from agd_keras.data.splits import Fold, save_folds
from agd_keras.inference.predictor import load_predictor
from agd_keras.models import agd_autoencoder


def test_missing_folds_are_told(tmp_path, caplog):
    run = tmp_path / "run [1]"
    network = agd_autoencoder((32, 32, 3), filters=(4, 8))
    for index in (0, 2):
        (run / f"fold-{index}").mkdir(parents=True)
        network.save(run / f"fold-{index}" / "model.keras")
    with caplog.at_level(logging.WARNING):
        assert len(load_predictor(run).models) == 2  # copied without folds.json: nothing is known
        assert not caplog.messages
        save_folds([Fold(i, ("a",), ("b",), ("c",)) for i in range(4)], run / "folds.json", "s", 0)
        load_predictor(run)
    assert caplog.messages == [f"{run}: averages 2 folds of 4; without a model: fold 1, 3"]
