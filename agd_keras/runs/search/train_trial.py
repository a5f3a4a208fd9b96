"""One trial of a search: trained like the folds of a run, judged by the validation units alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import keras

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache
from agd_keras.data.splits import Fold, select
from agd_keras.runs.run_folder import RunFolder
from agd_keras.training.fit import fit_fold
from agd_keras.viz.charts import read_history

FIGURES = ("dice", "iou", "bce")
Report = Callable[[int, float], bool]


def train_trial(
    config: RunConfig,
    cache: Cache,
    folds: Sequence[Fold],
    folder: str | Path,
    report: Report | None = None,
) -> dict[str, Any]:
    """Trains a config on some folds and returns its figures on their validation units.

    Test units are neither trained on nor scored: a search that chose by them could not be trusted.
    Folds that the folder holds already are gone on with, or taken as they are.

    Args:
        config: Options of the trial; `training.monitor` says which epoch is the best.
        cache: The prepared data.
        folds: The folds to train on.
        folder: Where `fold-i/` go, each as `fit_fold` writes it.
        report: Called after each epoch of the first fold with the epoch, from 1, and the monitored
            figure; returns whether to prune the trial there.

    Returns:
        `state`, `"complete"` or `"pruned"`; `dice` (mean over patients), `iou` and `bce` (over all
        pixels) of the best epoch, mean over folds; and `epochs`, how many were trained in all.

    Raises:
        InputError: The training diverged, or its state cannot be saved.
    """
    histories: list[dict[str, list[float]]] = []
    for fold in folds:
        units = (fold.train, fold.validation)
        train, validation = (select(cache.slices, part, config.data.split) for part in units)
        own = RunFolder(folder).fold(fold.index)
        keras.utils.clear_session()  # of the fold before
        watcher = _Watcher(report if not histories else None, config.training.monitor)
        if not (own.history.is_file() and watcher.replay(read_history(own.history))):
            fit_fold(config, cache, train, validation, own.path, [watcher])
        histories.append(read_history(own.history))
        if watcher.pruned:
            break
    best = [best_epoch(history, config.training.monitor) for history in histories]
    return {
        "state": "pruned" if watcher.pruned else "complete",
        **{name: fmean(row[f"val_{name}"] for row in best) for name in FIGURES},
        "epochs": sum(len(history["epoch"]) for history in histories),
    }


class _Watcher(keras.callbacks.Callback):
    """Reports the monitored figure after each epoch, and ends the training when told to."""

    def __init__(self, report: Report | None, monitor: str):
        super().__init__()
        self.report = report
        self.figure = f"val_{monitor}"
        self.pruned = False

    def replay(self, history: Mapping[str, Sequence[float]]) -> bool:
        """Reports the epochs of an earlier start, the last of which it may not have reported."""
        for epoch, value in zip(history["epoch"], history[self.figure], strict=True):
            self._tell(int(epoch), value)
        return self.pruned

    def on_epoch_end(self, epoch, logs=None):
        self._tell(epoch + 1, logs[self.figure])
        if self.pruned:
            self.model.stop_training = True

    def _tell(self, epoch: int, value: float) -> None:
        if self.report is not None and not self.pruned:
            self.pruned = self.report(epoch, float(value))


def best_epoch(history: Mapping[str, Sequence[float]], monitor: str) -> dict[str, float]:
    """Returns the figures of the epoch that was kept.

    Args:
        history: For each figure its values, one an epoch.
        monitor: `"dice"`, the highest is best, or `"bce"`, the lowest.

    Example:

    >>> best_epoch({"val_dice": [0.6, 0.8, 0.7], "val_bce": [0.3, 0.2, 0.1]}, "dice")
    {'val_dice': 0.8, 'val_bce': 0.2}
    """
    values = history[f"val_{monitor}"]
    epoch = values.index({"dice": max, "bce": min}[monitor](values))
    return {name: column[epoch] for name, column in history.items()}
