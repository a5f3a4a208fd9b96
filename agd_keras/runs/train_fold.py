"""One fold of a run: trained, tested and reported, by what its run folder says."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agd_keras.config import make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.datasets import cases_of
from agd_keras.data.preprocessor import preprocessor_of
from agd_keras.data.slices import places
from agd_keras.data.splits import load_folds, select
from agd_keras.errors import InputError
from agd_keras.io.fingerprint import digest_cases
from agd_keras.runs.aggregate import is_done, write_record
from agd_keras.runs.data_record import check_data
from agd_keras.runs.run_folder import alone, copied
from agd_keras.values import load_config
from agd_keras.wording import counted

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")


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

    from agd_keras.inference.calibration import Calibration, fit_calibration, write_calibration
    from agd_keras.inference.familiarity import familiar_with, write_familiarity
    from agd_keras.inference.predict_case import predict_case
    from agd_keras.inference.predictor import Predictor, load_model, load_predictor
    from agd_keras.inference.stored_preprocessor import write_preprocessor
    from agd_keras.runs.environment import record_environment
    from agd_keras.runs.evaluate_model import assess
    from agd_keras.runs.follow import followed
    from agd_keras.training.devices import join_hosts, wait_for_hosts
    from agd_keras.training.fit import fit_fold

    started = time.monotonic()
    run = Path(run)
    folder = run / f"fold-{index}"
    strategy = make_config(load_config(run / "config.yaml")).training.strategy
    writes = join_hosts(strategy) == 0
    with (alone if writes else copied)(folder) as own, ExitStack() as stack:
        # Read again: until here another process could have replaced the run.
        config = make_config(load_config(run / "config.yaml"))
        folds = load_folds(run / "folds.json")
        if index >= len(folds):
            raise InputError(f"{run}: no fold {index}, another process replaced the run")
        fold = folds[index]
        if is_done(own):
            logger.info("fold %d: done before", index)
            return
        data = config.data
        found = cases_of(data)
        cases = {case.case_id: case for case in found}
        cache = build_cache(found, preprocessor_of(data))
        check_data(run, list(cases.values()), cache.digests)  # of this machine
        parts = {
            part: select(cache.slices, getattr(fold, part), config.data.split) for part in PARTS
        }
        logger.info(
            "fold %d: %s",
            index,
            ", ".join(
                f"{counted(len({one.patient for one in part}), 'patient')} "
                f"({counted(len(part), 'slice')}) for {name}"
                for name, part in parts.items()
            ),
        )
        starts = 0
        if writes:
            starts = record_environment(folder / "environment.json", config, cache.data_fingerprint)
        wait_for_hosts(config.training.strategy)  # until all have their copy
        keras.utils.clear_session()  # of the fold before
        follower = followed(track if writes else None, config, own, f"{run.name}, fold {index}")
        callbacks = [*callbacks, *stack.enter_context(follower)]
        model = fit_fold(config, cache, parts["train"], parts["validation"], own, callbacks)
        if not writes:
            return

        write_preprocessor(model, cache.preprocessor)
        # As it was trained: an earlier start may have calibrated it.
        network = load_model(model, compiled=False, regions=len(cache.regions) or 1)
        plain = Calibration(regions=cache.regions)
        trained = Predictor([network], calibration=plain, preprocessor=cache.preprocessor)
        scored = places(parts["validation"])
        predict = partial(predict_case, trained)
        fitted = fit_calibration(predict, [cases[case] for case in scored], scored)
        write_calibration(model, replace(fitted, regions=cache.regions))
        trained_on = {one.case for one in parts["train"]}
        write_familiarity(model, familiar_with(cache, trained_on, config.data.augment))
        predictor = load_predictor(model)
        parameters = predictor.models[0].count_params()

        def finish() -> None:
            # Masks were read all along: nothing counts that is half of old and half of new ones.
            check_data(run, list(cases.values()), digest_cases(cases.values()))
            seconds = time.monotonic() - started if starts == 1 else None
            write_record(folder, config, fold, cache.data_fingerprint, parameters, seconds)

        if not fold.test:
            finish()
            return
        logger.info("scoring the test patients")
        units = ", ".join(f"{len(getattr(fold, part))} {part}" for part in PARTS)
        which = f"fold {index + 1} of {config.data.folds}" if config.data.folds > 1 else "one test"
        scored = places(parts["test"])
        assess(
            predictor,
            [cases[case] for case in scored],
            folder,
            {
                "split": config.data.split,
                "folds": f"{which}: {units}",
                "augmentation": config.data.augment,
                "seed": config.training.seed,
                "model": config.network,
                "data_fingerprint": cache.data_fingerprint,
            },
            title=f"{config.network} on {config.data.path}, fold {index}",
            history=folder / "history.csv",
            scored=scored,
        )
        finish()
