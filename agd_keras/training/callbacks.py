"""What happens at the end of each epoch: score, keep the best, save the state, tell the user."""

import csv
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil

from agd_keras.errors import InputError
from agd_keras.files import write_text

logger = logging.getLogger(__name__)

STATE, WEIGHTS = "state.json", "epoch-{}.weights.h5"


class ScoreValidation(keras.callbacks.Callback):
    """Scores the validation patients by the one measure, and keeps the model of the best epoch.

    The weights, or their moving average, go into a float32 copy of the network: that copy is
    scored and saved, so what is measured is what is kept. Adds `val_dice`, `val_iou` and `val_bce`
    to the logs of the epoch.

    Args:
        model: Compiled float32 copy of the network that is trained.
        score: Function of no arguments that scores the copy: what `summarize` returns.
        path: Where the best model goes, a `.keras` file.
        monitor: `"dice"` (mean over patients, higher is better) or `"bce"` (lower is better).
        calibration: Batches of images to measure the batch normalisation's statistics on anew.
            Averaged weights need it: those in the network belong to the weights of the last step.
    """

    def __init__(
        self,
        model: keras.Model,
        score: Callable[[], dict[str, Any]],
        path: str | Path,
        monitor: str = "dice",
        calibration: Iterable[Any] = (),
    ):
        super().__init__()
        self.scored_model = model
        self.score = score
        self.path = Path(path)
        self.monitor = monitor
        self.calibration = calibration
        self.best: float | None = None

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            self._diverged(epoch, f"loss is {logs['loss']}")
        weights = self._averaged_weights()
        if not all(np.isfinite(one).all() for one in weights):
            self._diverged(epoch, "weights are not finite")
        self.scored_model.set_weights(weights)
        for images in self.calibration:
            self.scored_model(images, training=True)
        metrics = self.score()
        logs["val_dice"] = metrics["subject"]["mean_dice"]
        logs["val_iou"] = metrics["pooled"]["iou"]
        logs["val_bce"] = metrics["pooled"]["bce"]
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        value = logs[f"val_{self.monitor}"]
        better = self.best is None or (
            value > self.best if self.monitor == "dice" else value < self.best
        )
        if better:
            self.best = value
            temporary = self.path.with_name("tmp-" + self.path.name)
            self.scored_model.save(temporary)
            os.replace(temporary, self.path)

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


class SaveState(keras.callbacks.Callback):
    """Saves after each epoch all that is needed to go on after a kill, and `history.csv`.

    Weights, optimiser (with its moving averages) and, through `keep`, what the other callbacks
    remember. The state counts once `state.json` is renamed into place, which is the last step.
    Must come after the callbacks of `keep`: some of them forget everything when training begins.

    Args:
        folder: Folder of the state.
        history: The `history.csv` to write.
        keep: Attributes to carry over, by callback.
        models: Models whose random layers go on where they were, which weights do not tell.
    """

    def __init__(
        self,
        folder: str | Path,
        history: str | Path,
        keep: dict[keras.callbacks.Callback, tuple[str, ...]],
        models: Sequence[keras.Model],
    ):
        super().__init__()
        self.seeds = [v for model in models for v in model.variables if "seed_gen" in v.path]
        self.folder = Path(folder)
        self.history = Path(history)
        self.keep = keep
        path = self.folder / STATE
        self.state: dict[str, Any] = {"rows": [], "callbacks": [], "seeds": []}
        if path.is_file():
            self.state = json.loads(path.read_text(encoding="utf-8"))

    @property
    def rows(self) -> list[dict[str, float]]:
        """The history, one row an epoch."""
        return self.state["rows"]

    def stopped_early(self, patience: int) -> bool:
        """Whether the saved training had ended by `EarlyStopping` of that patience, 0 for none."""
        waits = [values["wait"] for values in self.state["callbacks"] if "stopped_epoch" in values]
        return patience > 0 and any(wait >= patience for wait in waits)

    def restore(self, model: keras.Model) -> None:
        """Gives a compiled model, its optimiser built, the state of the last epoch saved."""
        if self.rows:
            model.load_weights(self.folder / WEIGHTS.format(len(self.rows)))
        for variable, value in zip(self.seeds, self.state["seeds"], strict=False):
            variable.assign(value)

    def on_train_begin(self, logs=None):
        for callback, values in zip(self.keep, self.state["callbacks"], strict=False):
            for name, value in values.items():
                setattr(callback, name, value)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1} | {key: float(value) for key, value in logs.items()})
        write_history(self.rows, self.history)
        self.folder.mkdir(exist_ok=True)
        weights = self.folder / WEIGHTS.format(epoch + 1)
        self.model.save_weights(weights, overwrite=True)
        self.state["callbacks"] = [
            {name: getattr(callback, name) for name in names}
            for callback, names in self.keep.items()
        ]
        self.state["seeds"] = [variable.numpy().tolist() for variable in self.seeds]
        write_text(self.folder / STATE, json.dumps(self.state, default=float))
        for old in self.folder.glob(WEIGHTS.format("*")):
            if old != weights:
                old.unlink()


def write_history(rows: list[dict[str, float]], path: str | Path) -> None:
    """Writes one row an epoch as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


class LogEpochs(keras.callbacks.Callback):
    """Logs when the first step was done, and a line an epoch: figures, time taken and time left.

    Args:
        epochs: Number of the last epoch.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        self.started = time.monotonic()
        self.done = 0
        self.stepped = False

    def on_train_batch_end(self, batch, logs=None):
        if not self.stepped:
            self.stepped = True
            since_start = time.time() - psutil.Process().create_time()
            logger.info("first training step %.1f s after the start", since_start)

    def on_epoch_end(self, epoch, logs=None):
        self.done += 1
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.epochs - epoch - 1)
        logger.info(
            "epoch %d/%d  loss %.4f  val_dice %.4f  val_iou %.4f  %s spent, %s left",
            *(epoch + 1, self.epochs, logs["loss"], logs["val_dice"], logs["val_iou"]),
            *(_clock(spent), _clock(left)),
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
