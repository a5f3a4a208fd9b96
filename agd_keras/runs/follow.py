"""A training as a run of MLflow, through Keras' callbacks.

MLflow's own autologging counts the batches of a data set before the training begins; ours has no
end, and it would hang. So options, figures and files are logged one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

from agd_keras.config import RunConfig
from agd_keras.errors import InputError
from agd_keras.run_layout import HISTORY, MODEL
from agd_keras.runs.result_files import METRICS, REPORT

TRACKERS = ("mlflow",)
FILES = (MODEL, HISTORY, METRICS, REPORT)


def check_tracker(track: str | None) -> None:
    """Refuses a tracker that is unknown or not installed.

    Args:
        track: A name of `TRACKERS`, or None.

    Raises:
        InputError: It is something else, or its package is not there.

    Example:

    >>> check_tracker(None)
    """
    if track is None:
        return
    if track not in TRACKERS:
        raise InputError(f"--track {track}: expected {' or '.join(TRACKERS)}")
    if find_spec(track) is None:
        raise InputError(
            f"--track {track}: expected MLflow to be installed, in a clone "
            "`pip install -e .[mlflow]`"
        )


@contextmanager
def followed(
    track: str | None, config: RunConfig, folder: Path, name: str
) -> Iterator[list[keras.callbacks.Callback]]:
    """Follows the training and the test of one fold.

    Args:
        track: A name of `TRACKERS`, or None for nobody.
        config: Options of the run, which become parameters.
        folder: Folder of the fold, whose files become artefacts at the end.
        name: Name of the run, in the experiment and at the server that MLflow's environment says.

    Yields:
        The callbacks that log the figures of each epoch.
    """
    check_tracker(track)
    if track is None:
        yield []
        return
    import mlflow

    with mlflow.start_run(run_name=name):
        mlflow.log_params(_parameters(config))
        yield [LogMetrics(mlflow)]
        for file in FILES:
            if (folder / file).is_file():
                mlflow.log_artifact(str(folder / file))


class LogMetrics(keras.callbacks.Callback):
    """Logs the figures of each epoch.

    Args:
        tracker: What has `log_metrics(figures, step=epoch)`, as the module `mlflow`.
    """

    def __init__(self, tracker: Any):
        super().__init__()
        self.tracker = tracker

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in (logs or {}).items()}
        self.tracker.log_metrics(figures, step=epoch + 1)


def _parameters(config: RunConfig) -> dict[str, str]:
    values = config.model_dump(mode="json")
    parameters = {"preset": str(values.pop("preset"))}
    for section, options in values.items():
        parameters |= {f"{section}.{option}": str(value) for option, value in options.items()}
    return parameters
