"""All that a training needs to go on after it was stopped or killed, to the same bits."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import write_bytes, write_csv, write_text
from agd_keras.text import clean
from agd_keras.training.interrupt import Notice

STATE, WEIGHTS = "state.json", "epoch-{}-step-{}.npz"
H5 = ".weights.h5"  # of earlier versions, which saved through HDF5


class SaveState(keras.callbacks.Callback):
    """Saves after each epoch, and when a stop is asked for, what is needed to go on.

    Weights, optimiser (with its moving averages, loss scale and place in the schedule), the random
    state of layers, the epoch's figures so far and, through `keep`, what other callbacks remember.
    The state counts once `state.json` is renamed into place. It is made in memory, so that a full
    disk is met by nothing but the writing of bytes: HDF5 would crash.

    Must come after the callbacks of `keep`: some of them forget everything when training begins.

    Args:
        folder: Folder of the state.
        history: The `history.csv` to write.
        keep: Attributes to carry over, by callback.
        models: Models whose random layers go on where they were, which weights do not tell.
        notice: Tells when to stop; the state is then saved in the middle of the epoch.
        on_saved: Called once a state counts, to put what belongs to it in its final place.
    """

    def __init__(
        self,
        folder: str | Path,
        history: str | Path,
        keep: dict[keras.callbacks.Callback, tuple[str, ...]],
        models: Sequence[keras.Model],
        notice: Notice,
        on_saved: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.folder = Path(folder)
        self.history = Path(history)
        self.keep = keep
        self.seeds = [v for model in models for v in model.variables if "seed_gen" in v.path]
        self.notice = notice
        self.on_saved = on_saved
        self.state: dict[str, Any] = {
            **{"rows": [], "step": 0, "callbacks": [], "seeds": [], "figures": []}
        }
        path = self.folder / STATE
        if path.is_file():
            self.state = json.loads(path.read_text(encoding="utf-8"))

    @property
    def rows(self) -> list[dict[str, float]]:
        """The history, one row an epoch."""
        return self.state["rows"]

    @property
    def step(self) -> int:
        """Steps done in the epoch after those of the history."""
        return self.state["step"]

    def stopped_early(self, patience: int) -> bool:
        """Whether the saved training had ended by `EarlyStopping` of that patience, 0 for none."""
        waits = [values["wait"] for values in self.state["callbacks"] if "stopped_epoch" in values]
        return patience > 0 and any(wait >= patience for wait in waits)

    def restore(self, model: keras.Model) -> None:
        """Gives a compiled model, its optimiser built, the state that was saved last."""
        if self.rows or self.step:
            self._load_weights(model)
        for variable, value in zip(self.seeds, self.state["seeds"], strict=False):
            variable.assign(value)
        self._restore_callbacks()
        self._publish()  # which a kill may have left out

    def on_train_begin(self, logs=None):
        self._restore_callbacks()

    def on_epoch_begin(self, epoch, logs=None):
        self.notice.obey()  # the state is saved already
        self.first = self.step
        if self.step:  # Keras has just set the figures to zero
            figures = zip(self.model.metrics_variables, self.state["figures"], strict=True)
            for variable, value in figures:
                variable.assign(np.asarray(value, variable.dtype))

    def on_train_batch_end(self, batch, logs=None):
        # After the last step the epoch is ended first; what has diverged is not worth keeping.
        going = batch + 1 < self.params["steps"] and np.isfinite(logs["loss"])
        if self.notice.signal is not None and going:
            self.state["step"] = self.first + batch + 1
            self._save()
            self.notice.obey()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1} | {key: float(value) for key, value in logs.items()}
        self.state["rows"] = [*self.rows, row]
        self.state["step"] = 0
        self._save()

    def _publish(self) -> None:
        """Puts what belongs to the saved state in its final place."""
        self.on_saved()
        if self.rows:
            write_csv(self.history, self.rows, list(self.rows[0]))

    @property
    def _weights(self) -> Path:
        return self.folder / WEIGHTS.format(len(self.rows), self.step)

    def _restore_callbacks(self) -> None:
        for callback, values in zip(self.keep, self.state["callbacks"], strict=False):
            for name, value in values.items():
                setattr(callback, name, value)

    def _save(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            self._save_weights()
            self.state["callbacks"] = [
                {name: getattr(callback, name) for name in names}
                for callback, names in self.keep.items()
            ]
            self.state["seeds"] = [variable.numpy().tolist() for variable in self.seeds]
            self.state["figures"] = [v.numpy().tolist() for v in self.model.metrics_variables]
            write_text(self.folder / STATE, json.dumps(self.state, default=float))
            self._publish()
        except OSError as error:
            raise InputError(
                f"{error.filename or self.folder}: cannot save the state of the training "
                f"({error.strerror or error}); the one before is whole, --resume goes on from it"
            ) from None
        for old in self.folder.glob("epoch-*"):
            if old != self._weights:
                old.unlink()

    def _save_weights(self) -> None:
        content = io.BytesIO()
        np.savez(content, *(variable.numpy() for variable in _variables(self.model)))
        write_bytes(self._weights, content.getbuffer())

    def _load_weights(self, model: keras.Model) -> None:
        before = self._weights.with_suffix(H5)
        if before.is_file():
            model.load_weights(before)
            return
        try:
            with np.load(self._weights, allow_pickle=False) as saved:
                values = list(saved.values())
            for variable, value in zip(_variables(model), values, strict=True):
                variable.assign(value)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self._weights}: expected the state of this training ({clean(error)})"
            ) from None


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
