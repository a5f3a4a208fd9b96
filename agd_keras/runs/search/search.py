"""A search for good options: trials of given rounds or of a search space, ranked."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig, make_config, save_config
from agd_keras.data.cache import Cache, build_cache
from agd_keras.data.datasets import cases_of
from agd_keras.data.preprocessor import preprocessor_of
from agd_keras.data.splits import Fold
from agd_keras.errors import InputError
from agd_keras.io.fingerprint import digest_cases
from agd_keras.locks import locked
from agd_keras.run_layout import CONFIG
from agd_keras.runs.data_record import check_data
from agd_keras.runs.environment import record_environment
from agd_keras.runs.executor import run_tasks
from agd_keras.runs.fold_folder import ENVIRONMENT
from agd_keras.runs.resolve import deal_folds, refuse_multiworker, resolve
from agd_keras.runs.search import space as spaces
from agd_keras.runs.search.ranking import Ranking, rank_trials, write_ranking
from agd_keras.runs.search.rounds import Round, with_options
from agd_keras.runs.search.search_folder import (
    begin_trial,
    begun_trials,
    check_search,
    load_settings,
    open_search,
    read_result,
    write_result,
)
from agd_keras.runs.train import choose_folds

logger = logging.getLogger(__name__)


def search(
    config: RunConfig,
    out: str | Path,
    rounds: Sequence[Round] = (),
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    folds: Sequence[int] | None = (0,),
    prune: bool = True,
    notes: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    executor: str = "local",
    cpus: int = 1,
    gpus: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Ranking:
    """Trains the trials of a search and ranks them by their validation figure.

    A trial is scored by the mean over folds of its best epoch, `training.monitor` on the validation
    units; test units stay out of it. Trials of a space are chosen by Optuna from what the trials
    before gave; one that is worse than the median of the others at the same epoch of its first fold
    is pruned. One that diverges counts as failed and does not stop the search; Optuna, to
    which it goes on running, avoids what is near it.

    Args:
        config: Options that the trials share, and the seed of the search.
        out: Folder of the search: `search.yaml`, a folder for each trial, `table.md`, `trials.csv`
            and `config.yaml` of the best trial.
        rounds: Trials given one by one.
        space: Instead, what each option may be, see `load_space`.
        trials: Number of trials of a space.
        folds: Folds that each trial is trained on. None: all of its `data.folds`.
        prune: Whether to prune trials of a space.
        notes: Lines to print below the table.
        resume: Go on with the search of that folder: finished trials stay, one that was interrupted
            goes on from its last epoch, one that failed is tried again, which costs little.
        overwrite: Replace the search of that folder.
        executor: Where trials are trained, see `run_tasks`.
        cpus: See `run_tasks`.
        gpus: See `run_tasks`.
        progress: Called as `progress(done, total)`, in cases, while data is prepared.

    Returns:
        The `Ranking`.

    Raises:
        InputError: The data, an option or the folder cannot be used, or no trial was finished.

    Example:

    >>> from agd_keras.runs.search.rounds import paper_rounds
    >>> config = make_config({"training": {"monitor": "bce"}})
    >>> rounds = paper_rounds(config.model.filters)
    >>> search(config, "runs/rounds", rounds).rows[0]["trial"]  # doctest: +SKIP
    3
    """
    # Here, and not above, so that importing this module needs no Keras.
    from agd_keras.training.build import check_network

    refuse_multiworker(config, "agd-search")
    out = Path(out).resolve()
    config = resolve(config)
    check_network(config)
    settings: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "rounds": [dict(one.options) for one in rounds],
        "space": dict(space) if space else None,
        "trials": len(rounds) or trials,
        "folds": None if folds is None else list(folds),
        "prune": prune,
        "printed": [dict(one.printed) for one in rounds],
        "notes": list(notes),
    }
    check_search(out, settings, resume, overwrite)
    # Its folder is one process's at a time, which chooses the trials.
    with locked(out, "training here", "search folder"):
        check_search(out, settings, resume, overwrite)
        data = config.data
        cases = cases_of(data)
        cache = build_cache(cases, preprocessor_of(data), progress=progress)
        # What cannot be trained at all is known at once.
        for number, one in enumerate(rounds or [Round({})]):
            try:
                chosen_folds(with_options(config, one.options), cache, folds)
            except InputError as error:
                raise InputError(f"round {number}: {error}" if rounds else str(error)) from None
        settings["data_fingerprint"] = cache.data_fingerprint
        open_search(out, settings, cases, cache.digests, overwrite)
        record_environment(out / ENVIRONMENT, config, cache.data_fingerprint)
        run_tasks(run_trial, _tasks(out, settings), executor, cpus, gpus, name="trial")
        ranking = _rank(out)
    if ranking.rows[0]["state"] != "complete":
        raise InputError(f"{out}: no trial was finished; {ranking.notes[-1]}")
    return ranking


def chosen_folds(config: RunConfig, cache: Cache, only: Sequence[int] | None) -> list[Fold]:
    """Returns the folds of a config that are to be trained.

    Args:
        config: Says how the data is split.
        cache: The prepared data.
        only: Which folds, from 0. None: all.

    Raises:
        InputError: The data cannot be split so, or there is no such fold.
    """
    chosen = choose_folds(config.data.folds, only)
    folds = deal_folds(config, cache)
    return [folds[index] for index in chosen]


def _tasks(out: Path, settings: Mapping[str, Any]) -> Iterator[tuple[Path, int]]:
    """The trials to run, each chosen when it can start."""
    if not settings["space"]:
        for number, options in enumerate(settings["rounds"]):
            begin_trial(out, number, options)
            yield out, number
        return
    config = make_config(settings["config"])
    study = spaces.open_study(out, config.training.monitor, settings["prune"])
    begun = begun_trials(out)
    spaces.remember(study, settings["space"], begun)
    spaces.forget_all_but(study, begun)
    for number in begun:
        if spaces.is_running(study, number):
            yield out, number
    for _ in range(len(begun), settings["trials"]):
        number, options = spaces.ask(study, settings["space"], config.training.seed)
        begin_trial(out, number, options)
        yield out, number


def run_trial(out: str | Path, number: int) -> None:
    """Trains one trial of an opened search, or goes on with it; a finished one stays.

    One that failed is tried again: it may have been for a device or a package that was missing.
    Everything it needs to know is in the folder of the search, so that trials can be trained in any
    process, on any machine that sees the folder and the data.

    Args:
        out: Folder of the search.
        number: Which trial, from 0.

    Raises:
        InputError: The data or the folder cannot be used, or another process trains this trial.
    """
    out = Path(out)
    settings = load_settings(out)
    monitor = settings["config"]["training"]["monitor"]
    study = spaces.open_study(out, monitor, settings["prune"]) if settings["space"] else None
    with locked(out / f"trial-{number}", "training this trial", "search folder"):
        result = read_result(out, number)
        if result is None or result["state"] == "failed":
            report = spaces.reporter(study, number) if study else None
            result = _train(out, number, settings, report)
            write_result(out, number, result)
        if study and result["state"] != "failed" and spaces.is_running(study, number):
            spaces.tell(study, number, result["state"], result.get(monitor))
    _rank(out)


def _train(
    out: Path,
    number: int,
    settings: Mapping[str, Any],
    report: Callable[[int, float], bool] | None,
) -> dict[str, Any]:
    # Here, and not above, so that importing this module needs no Keras.
    from agd_keras.runs.search.train_trial import train_trial

    options = begun_trials(out)[number]
    named = ", ".join(f"{name} {value}" for name, value in options.items())
    logger.info("trial %d: %s", number, named)
    folder = out / f"trial-{number}"
    data = make_config(settings["config"]).data
    cases = cases_of(data)
    check_data(out, cases, digest_cases(cases))  # of this machine, now
    try:
        config = with_options(make_config(settings["config"]), options)
        save_config(config, folder / CONFIG)
        cache = build_cache(cases, preprocessor_of(config.data))
        folds = chosen_folds(config, cache, settings["folds"])
        return train_trial(config, cache, folds, folder, report)
    except InputError as error:
        if isinstance(error.__context__, OSError):  # a full disk, say: not the trial's fault
            raise
        logger.info("trial %d failed: %s", number, error)
        return {"state": "failed", "reason": str(error)}


def _rank(out: Path) -> Ranking:
    settings = load_settings(out)
    options = begun_trials(out)
    results = {number: read_result(out, number) for number in options}
    ranking = rank_trials(settings, options, results)
    write_ranking(ranking, out)
    return ranking
