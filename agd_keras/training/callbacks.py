"""What happens at the end of each epoch: score, keep the best, tell the user."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil

from agd_keras.errors import InputError
from agd_keras.evaluation.summary import over_regions
from agd_keras.files import naming
from agd_keras.training.devices import Devices

logger = logging.getLogger(__name__)

BEST = "best-{}.keras"


class ScoreValidation(keras.callbacks.Callback):
    """Scores the validation patients by the one measure, and keeps the model of the best epoch.

    The weights, or their moving average, go into a float32 copy of the network: that copy is
    scored and saved, so what is measured is what is kept. Adds `val_dice`, `val_iou` and `val_bce`
    to the logs of the epoch, the means over the regions, and of several `val_dice_` and the name of
    each. The best model waits in `folder` until the state that it belongs to is
    saved: `publish` then gives it its name, so that a kill never leaves one without the other.

    Args:
        model: Compiled float32 copy of the network that is trained.
        score: Function of no arguments that scores the copy: what `summarize` returns.
        folder: Where the best model waits.
        path: Where it goes, a `.keras` file.
        monitor: `"dice"` (mean over patients, higher is better) or `"bce"` (lower is better).
        calibration: Makes batches of images, to measure the batch normalisation's statistics on
            anew. Averaged weights need it: those in the network belong to the weights of the last
            step.
        devices: Where the network is trained. Default: on one device.
        first: Epochs ahead of this one, from 0, are not scored, their figures NaN.
        regions: Names of several regions.
    """

    def __init__(
        self,
        model: keras.Model,
        score: Callable[[], dict[str, Any]],
        folder: str | Path,
        path: str | Path,
        monitor: str = "dice",
        calibration: Callable[[], Iterable[Any]] = tuple,
        devices: Devices | None = None,
        first: int = 0,
        regions: Sequence[str] = (),
    ):
        super().__init__()
        self.scored_model = model
        self.score = score
        self.folder = Path(folder)
        self.path = Path(path)
        self.monitor = monitor
        self.calibration = calibration
        self.devices = devices or Devices()
        self.first = first
        self.regions = regions
        self.best: float | None = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            self._diverged(epoch, f"loss is {logs['loss']}")
        weights = self._averaged_weights()
        if not all(np.isfinite(one).all() for one in weights):
            self._diverged(epoch, "weights are not finite")
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if epoch < self.first:
            own = (f"val_dice_{name}" for name in self.regions)
            logs |= dict.fromkeys(("val_dice", "val_iou", "val_bce", *own), float("nan"))
            return
        with self.devices.alone():
            self.scored_model.set_weights(weights)
            for images in self.calibration():
                self.scored_model(images, training=True)
            metrics = self.score()
        logs["val_dice"] = over_regions(metrics, "subject", "mean_dice")
        logs["val_iou"] = over_regions(metrics, "pooled", "iou")
        logs["val_bce"] = over_regions(metrics, "pooled", "bce")
        for name in self.regions:
            logs[f"val_dice_{name}"] = metrics["regions"][name]["subject"]["mean_dice"]
        value = logs[f"val_{self.monitor}"]
        better = self.best is None or (
            value > self.best if self.monitor == "dice" else value < self.best
        )
        if better:
            self.best = value
            self.best_epoch = epoch + 1
            with self.devices.alone():
                self._save()

    def publish(self) -> None:
        """Makes the best model so far the file at `path`."""
        waiting = self.folder / BEST.format(self.best_epoch)
        if waiting.is_file():
            os.replace(waiting, self.path)
        for old in self.folder.glob(BEST.format("*")):
            old.unlink()

    def _save(self):
        try:
            self.folder.mkdir(exist_ok=True)
            path = self.folder / BEST.format(self.best_epoch)
            with naming(path):
                self.scored_model.save(path)
        except OSError as error:
            raise InputError(
                f"{error.filename}: cannot save the model ({error.strerror}); "
                "the one before is whole, --resume goes on from it"
            ) from None

    def _diverged(self, epoch: int, what: str):
        kept = f"; {self.path} holds the best epoch before it" if self.best is not None else ""
        raise InputError(
            f"epoch {epoch + 1}: the {what}, expected finite ones as with a lower --learning-rate "
            f"or --precision float32{kept}"
        )

    def _averaged_weights(self):
        variables = self.model.trainable_variables
        raw = [variable.numpy() for variable in variables]
        # Overwrites the weights with their moving average, if the optimiser keeps one.
        optimizer = self.model.optimizer
        getattr(optimizer, "inner_optimizer", optimizer).finalize_variable_values(variables)
        weights = self.model.get_weights()
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)
        return weights


class LogEpochs(keras.callbacks.Callback):
    """Logs a line an epoch: figures, time taken and time left; and once when training began.

    Args:
        epochs: Number of the last epoch.
    """

    stepped = False  # whether this process has trained a step

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self.started = time.monotonic()
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        if not LogEpochs.stepped:
            LogEpochs.stepped = True
            since_start = time.time() - psutil.Process().create_time()
            logger.info("first training step %.1f s after the start", since_start)

    def on_epoch_end(self, epoch, logs=None):
        self.done += 1
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.epochs - epoch - 1)
        scored = {name: logs[name] for name in ("val_dice", "val_iou") if not isnan(logs[name])}
        logger.info(
            "epoch %d/%d  loss %.4f%s  %s spent, %s left",
            *(epoch + 1, self.epochs, logs["loss"]),
            "".join(f"  {name} {value:.4f}" for name, value in scored.items()),
            *(_clock(spent), _clock(left)),
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
