"""The folder of a run: what is in it, under which names, and who may write there.

Nobody else knows these names, but for the few in `run_layout` that training and prediction need.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig, make_config
from agd_keras.data.split_files import NNUNET
from agd_keras.data.splits import Fold, load_folds
from agd_keras.locks import locked
from agd_keras.run_layout import CONFIG, FOLDS, fold_index, fold_models, fold_name
from agd_keras.runs.data_record import DATA
from agd_keras.runs.fold_folder import ENVIRONMENT, WAIT, FoldFolder
from agd_keras.runs.result_files import CARD, FIGURES, METRICS, REPORT, SUMS
from agd_keras.values import load_config

FINGERPRINTS, INIT = "fingerprints.json", "init.json"
_FILES = (
    *(CONFIG, FOLDS, NNUNET, DATA, FINGERPRINTS, INIT, ENVIRONMENT),
    *(CARD, METRICS, SUMS, REPORT, FIGURES),
)
# What a run folder may hold: nothing that --overwrite could be sorry for.
# Files that a kill left half written are under another name, see `write_text`.
ENTRY = re.compile(rf"({'|'.join(map(re.escape, _FILES))}|fold-\d+)(\.tmp-\d+)?")


class RunFolder:
    """The folder of a run.

    Args:
        path: The folder; it may be missing.

    Example:

    >>> RunFolder("runs/first").fold(2).model.as_posix()
    'runs/first/fold-2/model.keras'
    """

    def __init__(self, path: str | Path):
        self.path = path = Path(path)
        self.config_file, self.folds_file = path / CONFIG, path / FOLDS
        self.split_file = path / NNUNET  # the folds once more, for nnU-Net
        self.environment_file = path / ENVIRONMENT  # what each start of the run ran on
        self.fingerprints_file = path / FINGERPRINTS  # what its cases look like
        self.init_file = path / INIT  # whom the model that it was started from has seen
        self.metrics_file, self.card_file = path / METRICS, path / CARD
        self.figures = path / FIGURES

    @classmethod
    def of_model(cls, model: Path) -> "tuple[RunFolder, list[int]]":
        """Returns the run folder that a model lies in and the folds it is of, none if in no run.

        Args:
            model: A run folder, or `<run>/fold-<k>/model.keras`.

        Example:

        >>> run, folds = RunFolder.of_model(Path("/runs/first/fold-0/model.keras"))
        >>> run.path.as_posix(), folds
        ('/runs/first', [0])
        """
        path = model.resolve()
        folders = [file.parent for file in fold_models(path)] if path.is_dir() else [path.parent]
        indices = (fold_index(folder) for folder in folders)
        run = cls(path if path.is_dir() else path.parent.parent)
        return run, sorted(index for index in indices if index is not None)

    def read_settings(self) -> dict[str, Any]:
        """Reads the options as they stand: a run of another version may have others."""
        return load_config(self.config_file)

    def read_config(self) -> RunConfig:
        """Reads the options."""
        return make_config(self.read_settings())

    def read_folds(self) -> list[Fold]:
        """Reads the units of each fold."""
        return load_folds(self.folds_file)

    def fold(self, index: int) -> FoldFolder:
        """The folder of a fold, from 0."""
        return FoldFolder(self.path / fold_name(index))

    def begun_folds(self) -> list[FoldFolder]:
        """The folders of folds that are there, sorted by name."""
        return [FoldFolder(path) for path in sorted(self.path.glob("fold-*"))]

    def unfinished(self) -> list[int]:
        """Returns the folds that are still to do.

        Raises:
            InputError: The folds of the run cannot be read.
        """
        return [fold.index for fold in self.read_folds() if not self.fold(fold.index).is_done]

    def locked(self, doing: str, wait: float = WAIT) -> AbstractContextManager[Path]:
        """Keeps other processes out of the folder, see `locks.locked`."""
        return locked(self.path, doing, "run folder", wait)
