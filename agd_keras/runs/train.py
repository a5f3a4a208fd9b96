"""A whole run in one folder: data, split, training and test of each fold, pooled figures."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agd_keras.config import RunConfig
from agd_keras.data.cache import build_cache
from agd_keras.data.datasets import cases_of
from agd_keras.data.preprocessor import preprocessor_of
from agd_keras.errors import InputError
from agd_keras.runs.aggregate import report_run
from agd_keras.runs.executor import run_tasks
from agd_keras.runs.open_run import check_folder, open_run
from agd_keras.runs.resolve import deal_folds, refuse_multiworker, resolve
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.seen import write_seen
from agd_keras.runs.train_fold import train_fold

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def train(
    config: RunConfig,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    only: Sequence[int] | None = None,
    progress: Callable[[int, int], object] | None = None,
    executor: str = "local",
    cpus: int = 1,
    gpus: float | None = None,
    again: str = "--resume",
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    track: str | None = None,
) -> dict[str, Any] | None:
    """Trains and tests all folds of a run, or some, and pools the test patients of all.

    Folds can be trained by several calls, on several machines that share the run folder: the first
    makes it, the others `resume` with their own `only`, and whichever ends last gathers.

    Args:
        config: Options of the run; `data.folds` of 1 is a single test, of 0 none.
        out: The run folder, made here.
        resume: Go on with the run of that folder, which must have the same config.
        overwrite: Replace the run of that folder.
        only: The folds to train, from 0. Default: all.
        progress: Called as `progress(done, total)`, in cases, while data is prepared.
        executor: `local`, one fold after the other, or `ray`; see `run_tasks`.
        cpus: Cores for a fold, with Ray.
        gpus: GPUs for a fold, with Ray. Default: one where there are any.
        again: Options that train what is missing, for the line that says so.
        callbacks: Further Keras callbacks, for each fold; only where `executor` is `local`. They
            come last, so that they see the validation figures.
        track: `mlflow` to follow each fold as a run of MLflow.

    Returns:
        The metrics over the test patients of all folds, as in `metrics.json`; None while folds are
        missing, without a test, and in all processes but the first of several that train together.

    Raises:
        InputError: The data, the config or the folder cannot be used.

    Example:

    >>> from agd_keras.config import make_config
    >>> metrics = train(make_config({}), "runs/first")  # doctest: +SKIP
    """
    # Here, and not above, so that importing this module needs no Keras.
    from agd_keras.runs.environment import record_environment
    from agd_keras.runs.follow import check_tracker
    from agd_keras.training.build import check_network
    from agd_keras.training.devices import join_hosts, wait_for_hosts

    check_tracker(track)
    if callbacks and executor != "local":
        raise InputError(f"callbacks: not together with the executor {executor}")
    strategy = config.training.strategy
    if executor != "local":
        refuse_multiworker(config, f"--executor {executor}")
    writes = join_hosts(strategy) == 0
    out = Path(out).resolve()
    run = RunFolder(out)
    config = resolve(config)
    check_network(config)
    if writes:
        check_folder(out, config, resume, overwrite)
    chosen = choose_folds(config.data.folds, only)
    data = config.data
    cases = cases_of(data)
    cache = build_cache(cases, preprocessor_of(data), progress=progress)
    folds = deal_folds(config, cache)
    if writes:
        open_run(out, config, folds, cases, cache.digests, resume, overwrite)
        record_environment(run.environment_file, config, cache.data_fingerprint)
        write_seen(run, config, cache)
    wait_for_hosts(strategy)
    task: Callable[..., None] = train_fold
    if callbacks or track:
        task = partial(train_fold, callbacks=callbacks, track=track)
    run_tasks(task, [(out, index) for index in chosen], executor, cpus, gpus, "fold")
    if not writes:
        return None
    with run.locked("gathering this run"):  # or replacing it
        missing = run.unfinished()
        if missing:
            if chosen:
                folds_missing = ",".join(map(str, missing))
                logger.info("%s: still to do: %s --fold %s", out.name, again, folds_missing)
            return None
        return report_run(out) if config.data.folds else None


def choose_folds(folds: int, only: Sequence[int] | None) -> list[int]:
    """Returns the folds to train, sorted: all, or those asked for.

    Args:
        folds: As `data.folds`: 1 for a single test, 0 for none.
        only: Those asked for, from 0. None: all.

    Raises:
        InputError: One does not exist.

    Example:

    >>> choose_folds(5, [3, 0])
    [0, 3]
    """
    folds = max(1, folds)  # without a test, one that trains all the same
    if only is None:
        return list(range(folds))
    wrong = [index for index in only if not 0 <= index < folds]
    if wrong:
        raise InputError(f"--fold {wrong[0]}: expected 0 to {folds - 1}, with --folds {folds}")
    return sorted(set(only))
