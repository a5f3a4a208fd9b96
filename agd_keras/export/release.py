"""What the exports of all kinds share: where the model comes from and how the result is put up."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export.card import model_card
from agd_keras.export.network import ensemble_model
from agd_keras.export.parity import PARITY, refuse_drop
from agd_keras.export.samples import Samples, choose_samples
from agd_keras.files import content, naming, work_folder, write_text
from agd_keras.inference import calibration, familiarity, stored_preprocessor
from agd_keras.inference.calibration import Calibration, write_calibration
from agd_keras.inference.exported import is_artefact
from agd_keras.inference.familiarity import Familiarity, write_familiarity
from agd_keras.inference.predictor import load_predictor
from agd_keras.inference.stored_preprocessor import write_preprocessor
from agd_keras.locks import locked
from agd_keras.runs.provenance import find_origin
from agd_keras.runs.result_files import CARD
from agd_keras.weights import find_model

# Files beside an exported one.
RECORDS = (calibration.MEMBER, stored_preprocessor.MEMBER, familiarity.MEMBER)


@dataclass(frozen=True)
class Source:
    """A trained model, what it is compared on, where it comes from, and what is stored with it."""

    model: keras.Model
    samples: Samples
    origin: dict[str, Any]
    calibration: Calibration
    preprocessor: Preprocessor
    familiarity: Familiarity | None = None

    def calibrate(self, threshold: float | None) -> Calibration:
        """Returns the model's calibration, with another threshold if one is given."""
        return (
            self.calibration
            if threshold is None
            else replace(self.calibration, threshold=threshold)
        )


def load_source(model: str | Path, data: str | Path | None = None) -> Source:
    """Loads a model to export.

    Args:
        model: A preset with weights, a `.keras` file, or a run folder, whose folds become one
            averaging model.
        data: Data set for the comparison, see `choose_samples`.

    Returns:
        The `Source`.

    Raises:
        InputError: The model or the data cannot be used, the model is an export already, or Keras
            runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "agd-export needs the TensorFlow backend, found "
            f"KERAS_BACKEND={keras.backend.backend()}"
        )
    if is_artefact(find_model(model)):
        raise InputError(f"{model}: expected a .keras file or a run folder, found an export")
    predictor = load_predictor(model)
    samples = choose_samples(model, data, predictor.preprocessor, predictor.regions)
    origin = find_origin(model, samples.scored)
    return Source(
        ensemble_model(predictor.models),
        samples,
        origin,
        predictor.calibration,
        predictor.preprocessor,
        predictor.familiarity,
    )


def check_out(out: Path, ours: tuple[str, ...], overwrite: bool = False) -> None:
    """Refuses a folder in which an export would lie among other things or replace anything.

    Args:
        out: The folder to write into.
        ours: Names of the files that the export writes.
        overwrite: They may be there.

    Raises:
        InputError: It is a file, holds something else, or holds an export without `overwrite`.

    Example:

    >>> check_out(Path("no/such/folder"), ours=("model.tflite",))
    """
    try:
        found = [path.name for path in content(out)] if out.exists() else []
    except OSError as error:
        raise InputError(f"{out}: expected a folder ({error.strerror})") from None
    other = [name for name in found if name not in ours]
    if other:
        raise InputError(f"{out}: expected a new folder, found one that holds {other[0]}")
    if found and not overwrite:
        raise InputError(f"{out}: expected a new folder, found an export; --overwrite replaces it")


def write_records(model: Path, calibration: Calibration, preprocessor: Preprocessor) -> None:
    """Stores with an export what is stored with the model that it was made of.

    Args:
        model: The exported file, or the version folder of a SavedModel.
        calibration: How its probabilities are to be read.
        preprocessor: What makes its input.
    """
    write_calibration(model, calibration)
    write_preprocessor(model, preprocessor)


@contextmanager
def staging(
    out: Path, ours: tuple[str, ...] | None = None, overwrite: bool = False
) -> Iterator[Path]:
    """Gives a folder to fill within `out`; what it then holds is renamed into `out`.

    Nothing is left of it after an error. Folders come first, and an existing one is never replaced.
    Within, since `out` may be a mount point: beside it is another file system.

    Args:
        out: The folder for the results, which is made if need be.
        ours: What `check_out` is asked once more, when no other process can write there.
        overwrite: As for `check_out`.

    Yields:
        The folder to fill.

    Raises:
        InputError: The folder cannot be written, or another process writes there, or wrote the same
            version.

    Example:

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "out"
    >>> with staging(out) as work:
    ...     size = (work / "note.txt").write_text("done")
    >>> (out / "note.txt").read_text()
    'done'
    """
    out = out.absolute()
    with locked(out, kind="export", tidy=True):
        if ours is not None:
            check_out(out, ours, overwrite)
        try:
            with work_folder(out) as work:
                yield work
                for made in sorted(content(work), key=lambda path: path.is_file()):
                    # Renaming fails on a folder that is not empty, and replaces a file.
                    with naming(out / made.name):
                        os.replace(made, out / made.name)
        except OSError as error:
            where = "" if error.filename is None else f"{Path(error.filename).name}: "
            reason = f"{where}{error.strerror or error}"
            raise InputError(f"{out}: cannot write the export: {reason}") from error


def describe(
    folder: Path, source: Source, parity: dict[str, Any], max_drop: float, where: str, usage: str
) -> None:
    """Writes `parity.json`, `MODEL_CARD.md` and, where it is known what scans the model was trained
    on, `familiarity.json` of an artefact, unless it lost too much.

    Args:
        folder: Where to.
        source: The model it was made of.
        parity: What was measured, and anything else to note with it.
        max_drop: Largest loss of Dice, 0 to 1.
        where: What was made, for messages.
        usage: Markdown that tells what goes into the artefact and what comes out.

    Raises:
        InputError: The loss is larger.
    """
    refuse_drop(parity, max_drop, where)
    parity = {**parity, "origin": source.origin}
    write_text(folder / PARITY, json.dumps(parity, indent=1, allow_nan=False) + "\n")
    card = model_card(source.origin, parity, usage, source.preprocessor, source.familiarity)
    write_text(folder / CARD, card)
    if source.familiarity:
        write_familiarity(folder / CARD, source.familiarity)
