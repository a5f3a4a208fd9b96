"""The folder of one fold of a run: what is in it, and who may write there."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig
from agd_keras.data.splits import Fold
from agd_keras.files import write_text
from agd_keras.locks import locked
from agd_keras.run_layout import HISTORY, MODEL
from agd_keras.runs.result_files import FIGURES, METRICS, SUMS, read_json, read_sums

ENVIRONMENT = "environment.json"
RECORD = "fold.json"
WAIT = 600  # seconds, for another process that makes, replaces or gathers a run


class FoldFolder:
    """The folder of one fold: its network, how it was trained, and its test.

    Args:
        path: The folder; it may be missing.
    """

    def __init__(self, path: Path):
        self.path = path
        self.name = path.name
        self.model = path / MODEL
        self.history = path / HISTORY  # the figures of each epoch
        self.environment_file = path / ENVIRONMENT  # what each start of the training ran on
        self.cases_picture = path / FIGURES / "cases.png"
        self._record, self._metrics, self._sums = path / RECORD, path / METRICS, path / SUMS

    @property
    def is_done(self) -> bool:
        """Whether the fold was trained, tested and reported."""
        return self._record.is_file()

    def write_record(
        self,
        config: RunConfig,
        fold: Fold,
        fingerprint: str,
        parameters: int,
        seconds: float | None = None,
    ) -> Path:
        """Writes `fold.json`, which says that the fold is finished and what it is part of.

        Args:
            config: Resolved options of the run.
            fold: The units of each part.
            fingerprint: Fingerprint of the data.
            parameters: Number of the model's weights.
            seconds: How long training and test took; None if unknown, as of an interrupted fold.

        Returns:
            The path.
        """
        record = {
            "config": config.model_dump(mode="json"),
            "data_fingerprint": fingerprint,
            "parameters": parameters,
            "seconds": seconds,
            "train": len(fold.train),
            "test": fold.test,
        }
        return write_text(self._record, json.dumps(record, indent=1) + "\n")

    def read_record(self) -> dict[str, Any]:
        """Reads what `write_record` wrote."""
        return read_json(self._record)

    def read_metrics(self) -> dict[str, Any]:
        """Reads the figures of the test."""
        return read_json(self._metrics)

    def read_sums(self) -> dict[str, dict[str, Any]]:
        """Reads what the test counted of each patient."""
        return read_sums(self._sums)

    @contextmanager
    def locked(self) -> Iterator[Path]:
        """Keeps other processes out of the folder, made here; a killed one leaves no lock behind.

        The folder of the run is held while the fold is entered, so that nobody enters what is being
        replaced.

        Yields:
            The folder.

        Raises:
            InputError: Another process trains this fold, or the folder cannot be written.
        """
        with ExitStack() as stack:
            with locked(self.path.parent, "replacing this run", "run folder", WAIT):
                stack.enter_context(locked(self.path, "training this fold", "run folder"))
            yield self.path

    @contextmanager
    def private_copy(self) -> Iterator[Path]:
        """Gives a copy of the folder for a while.

        Processes that train together do the same in step, also when they save: each on its own.

        Yields:
            The copy, empty for a folder that is missing.
        """
        with tempfile.TemporaryDirectory(prefix="agd-") as own:
            if self.path.is_dir():
                shutil.copytree(self.path, own, dirs_exist_ok=True)
            yield Path(own)
