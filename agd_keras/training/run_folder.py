"""The folder of a run: made, checked before it is gone on with, and never emptied by mistake."""

import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agd_keras.config import RunConfig, differences, load_config, make_config, save_config
from agd_keras.data.cache import Cache
from agd_keras.data.folds import Fold, load_folds, make_folds, save_folds
from agd_keras.data.slices import Slice
from agd_keras.errors import InputError
from agd_keras.files import new_folder, write_text

# What a run folder may hold: nothing that --overwrite could be sorry for.
# Files that a kill left half written are under another name, see `write_text`.
RUN_ENTRY = re.compile(
    r"(config\.yaml|folds\.json|environment\.json|MODEL_CARD\.md|metrics\.json|sums\.json"
    r"|report\.html|figures|fold-\d+)(\.tmp-\d+)?"
)


def resolve(config: RunConfig) -> RunConfig:
    """Returns the config with the path and the precision that it means here and now."""
    from agd_keras.training.strategy import resolve_precision

    data, training = config.data, config.training
    path = data.path if data.path == "phantom" else str(Path(data.path).resolve())
    # The device that is asked for may be another than the best of this machine.
    device = training.strategy if training.strategy in ("cpu", "gpu", "tpu") else None
    precision = resolve_precision(training.precision, device)
    return config.model_copy(
        update={
            "data": data.model_copy(update={"path": path}),
            "training": training.model_copy(update={"precision": precision}),
        }
    )


def refuse_multiworker(config: RunConfig, option: str) -> None:
    """Refuses `multiworker` where one process must lead.

    Raises:
        InputError: The config has that strategy.
    """
    if config.training.strategy == "multiworker":
        raise InputError(f"--strategy multiworker: not together with {option}")


def check_folder(out: Path, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Refuses a run folder that must not be touched, before any work is done.

    Args:
        out: The run folder.
        config: Resolved options of the run.
        resume: The folder must hold an earlier start of the same run.
        overwrite: The folder may hold a run, which will be replaced.

    Raises:
        InputError: The folder exists without either option, holds something else than a run, or
            holds a run of another config; or there is nothing to go on with.
    """
    if check_existing(out, "run", RUN_ENTRY, resume, overwrite) and resume:
        differing = differences(make_config(load_config(out / "config.yaml")), config)
        if differing:
            raise InputError(
                f"{out}: --resume expected the options it was started with, "
                f"not other {', '.join(differing)}"
            )


def check_existing(
    out: Path, kind: str, entries: re.Pattern[str], resume: bool, overwrite: bool
) -> bool:
    """Refuses a folder that holds anything foreign, or what neither option allows.

    Args:
        out: The folder.
        kind: What it should be, in a word.
        entries: Pattern of the names that it may hold.
        resume: It must hold an earlier start.
        overwrite: It may hold an earlier start.

    Returns:
        Whether it holds one.

    Raises:
        InputError: It holds something else, or nothing to go on with, or an earlier start without
            either option.

    Example:

    >>> check_existing(Path("no/such/folder"), "run", RUN_ENTRY, resume=False, overwrite=False)
    False
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        if resume:
            raise InputError(f"{out}: --resume expected the folder of a {kind}, found nothing")
        return False
    if not out.is_dir() or not all(entries.fullmatch(entry.name) for entry in out.iterdir()):
        raise InputError(f"{out}: expected a new folder, found something else than a {kind}")
    if not (resume or overwrite):
        raise InputError(f"{out}: expected a new folder, found a {kind}; --resume or --overwrite")
    return True


def deal_folds(config: RunConfig, slices: list[Slice], cache: Cache) -> list[Fold]:
    """Returns all folds of a config.

    Args:
        config: Says how the data is split.
        slices: All slices of the data.
        cache: The prepared data.

    Raises:
        InputError: The data cannot be split so.
    """
    data = config.data
    try:
        return make_folds(
            *(slices, cache.areas, data.folds, data.split, config.training.seed),
            *(data.portions, data.validation_portions),
        )
    except InputError as error:
        raise InputError(f"{data.path}: {error}") from None


def open_run(
    out: Path, config: RunConfig, folds: list[Fold], resume: bool, overwrite: bool
) -> None:
    """Makes the run folder with config and folds, or checks the folds of the one to go on with.

    Args:
        out: The run folder, which `check_folder` let pass.
        config: Resolved options of the run.
        folds: All folds of the run.
        resume: Keep what the folder holds.
        overwrite: Replace what the folder holds.

    Raises:
        InputError: The folder cannot be written, or holds a run of other data.
    """
    if resume:
        if load_folds(out / "folds.json") != folds:
            raise InputError(f"{out}: --resume expected the data it was started with")
        return
    try:
        with new_folder(out, overwrite) as made:
            save_folds(folds, made / "folds.json", config.data.split, config.training.seed)
            save_config(config, made / "config.yaml")
    except OSError as error:
        raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None


def record_environment(path: Path, config: RunConfig, fingerprint: str) -> None:
    """Adds what this start of the run runs on to `environment.json`, a list of starts."""
    from agd_keras.training.environment import describe_environment

    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    seeds = {"seed": config.training.seed, "data_fingerprint": fingerprint}
    starts.append({"started": started, **describe_environment(config.training.precision), **seeds})
    write_text(path, json.dumps(starts, indent=2) + "\n")


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Keeps other processes out of a fold's folder, made here; a killed one leaves no lock behind.

    Args:
        folder: Folder of one fold.

    Raises:
        InputError: Another process trains this fold, or the folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot write the run folder: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process is training this fold") from None
        yield folder


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Gives a copy of a fold's folder for a while.

    Processes that train together do the same in step, also when they save: each on its own.

    Args:
        folder: Folder of one fold; it may be missing.
    """
    with tempfile.TemporaryDirectory(prefix="agd-") as own:
        if folder.is_dir():
            shutil.copytree(folder, own, dirs_exist_ok=True)
        yield Path(own)
