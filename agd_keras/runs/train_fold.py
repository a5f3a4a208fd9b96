"""One fold of a run: trained, tested and reported, by what its run folder says."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache, build_cache
from agd_keras.data.datasets import cases_of
from agd_keras.data.preprocessor import preprocessor_of
from agd_keras.data.slices import Slice, places
from agd_keras.data.splits import Fold, select
from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.fingerprint import digest_cases
from agd_keras.runs.data_record import check_data
from agd_keras.runs.fold_folder import FoldFolder
from agd_keras.runs.run_folder import RunFolder
from agd_keras.wording import counted

if TYPE_CHECKING:
    import keras

    from agd_keras.inference.predictor import Predictor

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Data:
    """The data of one fold: all cases by name, prepared, and the slices of each part."""

    fold: Fold
    cases: Mapping[str, CaseRef]
    cache: Cache
    slices: Mapping[str, Sequence[Slice]]

    def cases_in(self, part: str) -> list[CaseRef]:
        return [self.cases[case] for case in places(self.slices[part])]


def train_fold(
    run: str | Path,
    index: int,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    track: str | None = None,
) -> None:
    """Trains and tests one fold of an opened run, or goes on with it; a finished one stays.

    Everything it needs to know is in the run folder, so that folds can be trained in any process,
    on any machine that sees the folder and the data.

    Args:
        run: A run folder with `config.yaml` and `folds.json`.
        index: Which fold, from 0.
        callbacks: Further Keras callbacks.
        track: Who follows, see `followed`.

    Raises:
        InputError: The data or the folder cannot be used, the training diverged, or another process
            trains this fold.
    """
    # Here, and not above, so that importing this module needs no Keras.
    import keras

    from agd_keras.runs.environment import record_environment
    from agd_keras.runs.follow import followed
    from agd_keras.training.devices import join_hosts, wait_for_hosts
    from agd_keras.training.fit import fit_fold

    started = time.monotonic()
    own_run = RunFolder(run)
    folder = own_run.fold(index)
    writes = join_hosts(own_run.read_config().training.strategy) == 0
    with folder.locked() if writes else folder.private_copy() as own, ExitStack() as stack:
        # Read again: until here another process could have replaced the run.
        config, folds = own_run.read_config(), own_run.read_folds()
        if index >= len(folds):
            raise InputError(f"{run}: no fold {index}, another process replaced the run")
        if FoldFolder(own).is_done:
            logger.info("fold %d: done before", index)
            return
        data = _read_data(own_run, config, folds[index])
        starts = 0
        if writes:
            fingerprint = data.cache.data_fingerprint
            starts = record_environment(folder.environment_file, config, fingerprint)
        wait_for_hosts(config.training.strategy)  # until all have their copy
        keras.utils.clear_session()  # of the fold before
        name = f"{own_run.path.name}, fold {index}"
        follower = stack.enter_context(followed(track if writes else None, config, own, name))
        train, validation = data.slices["train"], data.slices["validation"]
        callbacks = [*callbacks, *follower]
        model = fit_fold(config, data.cache, train, validation, own, callbacks)
        if not writes:
            return
        predictor = _finish_model(model, config, data)
        parameters = predictor.models[0].count_params()
        if data.fold.test:
            _test(predictor, folder, config, data)
        # Masks were read all along: nothing counts that is half of old and half of new ones.
        check_data(own_run.path, list(data.cases.values()), digest_cases(data.cases.values()))
        seconds = time.monotonic() - started if starts == 1 else None
        folder.write_record(config, data.fold, data.cache.data_fingerprint, parameters, seconds)


def _read_data(run: RunFolder, config: RunConfig, fold: Fold) -> _Data:
    """Prepares the data, which must be that of the run, and takes out the parts of the fold."""
    found = cases_of(config.data)
    cases = {case.case_id: case for case in found}
    cache = build_cache(found, preprocessor_of(config.data))
    check_data(run.path, list(cases.values()), cache.digests)  # of this machine
    slices = {part: select(cache.slices, getattr(fold, part), config.data.split) for part in PARTS}
    logger.info(
        "fold %d: %s",
        fold.index,
        ", ".join(
            f"{counted(len({one.patient for one in part}), 'patient')} "
            f"({counted(len(part), 'slice')}) for {name}"
            for name, part in slices.items()
        ),
    )
    return _Data(fold, cases, cache, slices)


def _finish_model(model: Path, config: RunConfig, data: _Data) -> "Predictor":
    """Stores with a trained network what prediction needs, and loads it as prediction does."""
    from agd_keras.inference.calibration import Calibration, fit_calibration, write_calibration
    from agd_keras.inference.familiarity import familiar_with, write_familiarity
    from agd_keras.inference.model_file import load_model
    from agd_keras.inference.predict_case import predict_case
    from agd_keras.inference.predictor import Predictor, load_predictor
    from agd_keras.inference.stored_preprocessor import write_preprocessor

    cache, slices = data.cache, data.slices
    write_preprocessor(model, cache.preprocessor)
    # As it was trained: an earlier start may have calibrated it.
    network = load_model(model, compiled=False, regions=len(cache.regions) or 1)
    plain = Calibration(regions=cache.regions)
    trained = Predictor([network], calibration=plain, preprocessor=cache.preprocessor)
    predict = partial(predict_case, trained)
    scored = places(slices["validation"])
    fitted = fit_calibration(predict, data.cases_in("validation"), scored)
    write_calibration(model, replace(fitted, regions=cache.regions))
    trained_on = {one.case for one in slices["train"]}
    write_familiarity(model, familiar_with(cache, trained_on, config.data.augment))
    return load_predictor(model)


def _test(predictor: "Predictor", folder: FoldFolder, config: RunConfig, data: _Data) -> None:
    """Scores the test patients and writes the report of the fold."""
    from agd_keras.runs.evaluate_model import assess

    logger.info("scoring the test patients")
    fold = data.fold
    units = ", ".join(f"{len(getattr(fold, part))} {part}" for part in PARTS)
    folds = config.data.folds
    which = f"fold {fold.index + 1} of {folds}" if folds > 1 else "one test"
    assess(
        predictor,
        data.cases_in("test"),
        folder.path,
        {
            "split": config.data.split,
            "folds": f"{which}: {units}",
            "augmentation": config.data.augment,
            "seed": config.training.seed,
            "model": config.network,
            "data_fingerprint": data.cache.data_fingerprint,
        },
        title=f"{config.network} on {config.data.path}, fold {fold.index}",
        history=folder.history,
        scored=places(data.slices["test"]),
    )
