"""A search space: what each option may be, and the Optuna study that chooses from it."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from agd_keras.errors import InputError
from agd_keras.runs.search.rounds import check_option, option_type
from agd_keras.text import clean
from agd_keras.values import read_yaml

if TYPE_CHECKING:
    import optuna

JOURNAL = "optuna.log"
RANGE = {"low", "high", "log", "step"}


def load_space(path: str | Path) -> dict[str, Any]:
    """Reads a search space from a YAML file.

    It maps `SECTION.OPTION` to a list of choices, or to a range: `{low: 1e-4, high: 1e-2}`, both
    ends included, with `log: true` to draw the logarithm evenly or `step: 4` to draw multiples.

    Args:
        path: YAML file.

    Returns:
        What the file holds.

    Raises:
        InputError: The file cannot be read, is of another form, or an option is unknown or its
            value not allowed; names file and option.
    """
    space = read_yaml(path)
    if not isinstance(space, dict) or not space:
        raise InputError(f"{path}: expected a mapping SECTION.OPTION: choices or range")
    distributions(space, str(path))
    return space


def distributions(
    space: Mapping[str, Any], where: str
) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Turns a search space into Optuna's terms.

    Args:
        space: Choices or range by `SECTION.OPTION`.
        where: Start of the message of an error.

    Returns:
        A distribution by option; choices are JSON, as Optuna takes no lists.

    Raises:
        InputError: An option is unknown, or its choices or range are not allowed.

    Example:

    >>> distributions({"training.batch_size": {"low": 8, "high": 32, "step": 8}}, "space.yaml")
    {'training.batch_size': IntDistribution(high=32, log=False, low=8, step=8)}
    """
    import_optuna()
    return {name: _distribution(name, wanted, where) for name, wanted in space.items()}


def import_optuna() -> None:
    """Imports Optuna, which says no more than what goes wrong.

    Raises:
        InputError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError(
            "--space: expected Optuna to be installed, in a clone `pip install -e .[search]`"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _distribution(name: Any, wanted: Any, where: str) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind = get_args(option_type(name, where))[0]
    if isinstance(wanted, list) and wanted:
        for choice in wanted:
            check_option(name, choice, where)
        return CategoricalDistribution([json.dumps(choice) for choice in wanted])
    if not isinstance(wanted, dict):
        raise InputError(f"{where}: {name}: expected a list of choices or low and high")
    if kind not in (int, float):
        raise InputError(f"{where}: {name}: expected a list of choices, as it is not a number")
    unknown = wanted.keys() - RANGE
    if unknown or not wanted.keys() >= {"low", "high"}:
        raise InputError(
            f"{where}: {name}: expected low, high and possibly log or step, "
            f"found {', '.join(map(str, wanted)) or 'nothing'}"
        )
    for end in ("low", "high"):
        check_option(name, wanted[end], where)
    try:
        # YAML takes 1e-4 for a string.
        numbers = {key: kind(wanted[key]) for key in ("low", "high", "step") if key in wanted}
        made = IntDistribution if kind is int else FloatDistribution
        return made(**numbers, log=bool(wanted.get("log", False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {name}: not a range ({clean(error)})") from None


def open_study(folder: str | Path, monitor: str, prune: bool) -> "optuna.Study":
    """Opens the study of a search folder, or makes it.

    Processes on several machines may have it open at once.

    Args:
        folder: Folder of the search, which the machines share.
        monitor: `"dice"` or `"bce"`.
        prune: Whether to stop trials that are worse than the median at the same epoch.

    Raises:
        InputError: Optuna is not installed, or its journal is damaged; names the file. What a cut
            last line said is known from the folders of the trials.
    """
    import_optuna()  # ahead of the others, which would not say how to install it
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path = Path(folder) / JOURNAL
    lock = JournalFileSymlinkLock(str(path))
    try:
        _mend(path, lock)
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path), lock)),
            study_name="search",
            direction="maximize" if monitor == "dice" else "minimize",
            pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be used ({error.strerror or error})") from None
    except (ValueError, LookupError, AssertionError, TypeError) as error:
        reason = clean(error) or type(error).__name__
        raise InputError(f"{path}: damaged, expected the journal of a search ({reason})") from None


def _mend(path: Path, lock: Any) -> None:
    """Takes off a last line that a full disk or a crash cut short: Optuna would add to it."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def ask(study: "optuna.Study", space: Mapping[str, Any], seed: int) -> tuple[int, dict[str, Any]]:
    """Chooses the next trial by Optuna's tree-structured Parzen estimator.

    The choice depends on the seed, the number of the trial and what the trials before gave, so a
    search that was interrupted goes on as if it had not been.

    Args:
        study: What `open_study` returned.
        space: The search space.
        seed: Seed of the search.

    Returns:
        The trial's number, and its values by `SECTION.OPTION`.
    """
    import optuna

    number = len(study.get_trials(deepcopy=False))
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=drawn, constant_liar=True)
    trial = study.ask(distributions(space, "--space"))
    return trial.number, options_of(trial.params, space)


def options_of(parameters: Mapping[str, Any], space: Mapping[str, Any]) -> dict[str, Any]:
    """Turns Optuna's parameters back into values by `SECTION.OPTION`."""
    return {
        name: json.loads(value) if isinstance(space[name], list) else value
        for name, value in parameters.items()
    }


def is_running(study: "optuna.Study", number: int) -> bool:
    """Whether a trial was begun and its result is not known to the study."""
    return study.trials[number].state.name == "RUNNING"


def remember(
    study: "optuna.Study", space: Mapping[str, Any], begun: Mapping[int, Mapping[str, Any]]
) -> None:
    """Adds trials that were begun and that a damaged journal has lost.

    Args:
        study: What `open_study` returned.
        space: The search space.
        begun: Options of each trial by its number.
    """
    import optuna

    for number in range(len(study.trials), max(begun, default=-1) + 1):
        known = begun.get(number)
        values = {
            name: json.dumps(value) if isinstance(space[name], list) else value
            for name, value in (known or {}).items()
        }
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING if known else optuna.trial.TrialState.FAIL,
                params=values,
                distributions=distributions(space, "--space") if known else {},
            )
        )


def forget_all_but(study: "optuna.Study", begun: Collection[int]) -> None:
    """Gives up trials that a kill struck between their choice and their beginning."""
    for trial in study.trials:
        if is_running(study, trial.number) and trial.number not in begun:
            tell(study, trial.number, "failed")


def tell(study: "optuna.Study", number: int, state: str, value: float | None = None) -> None:
    """Tells the study what a trial gave.

    Args:
        study: What `open_study` returned.
        number: Number of the trial.
        state: `"complete"`, `"pruned"` or `"failed"`.
        value: The monitored figure of a complete trial.
    """
    from optuna.trial import TrialState

    states = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    if state in states:
        study.tell(number, state=states[state])
    else:
        study.tell(number, value)


def reporter(study: "optuna.Study", number: int) -> Callable[[int, float], bool]:
    """Returns a function that reports a figure after an epoch and says whether to prune.

    Args:
        study: What `open_study` returned.
        number: Number of a running trial, which may have reported some epochs before.
    """
    import optuna

    before = study.trials[number]
    # The only way to a trial that another process began.
    trial = optuna.trial.Trial(study, before._trial_id)

    def report(epoch: int, value: float) -> bool:
        if epoch not in before.intermediate_values:
            trial.report(value, epoch)
        return trial.should_prune()

    return report
