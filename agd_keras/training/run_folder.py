"""The folder of a run: made, checked before it is gone on with, and never emptied by mistake."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agd_keras.config import RunConfig, differences, load_config, make_config, save_config
from agd_keras.data.folds import Fold, load_folds, save_folds
from agd_keras.errors import InputError
from agd_keras.files import write_text

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
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        if resume:
            raise InputError(f"{out}: --resume expected a run folder, found nothing")
        return
    if not out.is_dir() or any(not RUN_ENTRY.fullmatch(entry.name) for entry in out.iterdir()):
        raise InputError(f"{out}: expected a new folder, found something else than a run")
    if resume:
        differing = differences(make_config(load_config(out / "config.yaml")), config)
        if differing:
            raise InputError(
                f"{out}: --resume expected the options it was started with, "
                f"not other {', '.join(differing)}"
            )
    elif not overwrite:
        raise InputError(f"{out}: expected a new folder, found a run; --resume or --overwrite")


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
    # Made under another name, so that a folder of that name is always a whole run.
    made, old = (out.with_name(f"{out.name}.{what}-{os.getpid()}") for what in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        save_folds(folds, made / "folds.json", config.data.split, config.training.seed)
        save_config(config, made / "config.yaml")
        if overwrite and out.exists():
            out.rename(old)
        made.rename(out)  # fails if another run has begun in that folder meanwhile
    except OSError as error:
        raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def record_environment(path: Path, config: RunConfig, fingerprint: str) -> None:
    """Adds what this start of the run runs on to `environment.json`, a list of starts."""
    from agd_keras.training.environment import describe_environment

    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    seeds = {"seed": config.training.seed, "data_fingerprint": fingerprint}
    starts.append({"started": started, **describe_environment(config.training.precision), **seeds})
    write_text(path, json.dumps(starts, indent=2) + "\n")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
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
        yield
