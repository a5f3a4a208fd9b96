"""The folder of a run: made, checked before it is gone on with, and never emptied by mistake."""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agd_keras.config import RunConfig, differences, load_config, make_config, save_config
from agd_keras.data.cache import Cache
from agd_keras.data.datasets import AUTO, PHANTOM, resolve_regions
from agd_keras.data.split_files import NNUNET, count_folds, read_split, save_nnunet
from agd_keras.data.splits import Fold, load_folds, make_folds, save_folds
from agd_keras.errors import InputError
from agd_keras.files import content, filled, write_text
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.fingerprint import changed_files, fingerprint_of
from agd_keras.io.layouts import nnunet
from agd_keras.locks import busy, locked
from agd_keras.runs.start import resolve_init

logger = logging.getLogger(__name__)

DATA = "data.json"
DEAL = "none"  # no file of a split, not even one that lies there
# Seconds to wait for another process that makes, replaces or gathers a run.
WAIT = 600

# What a run folder may hold: nothing that --overwrite could be sorry for.
# Files that a kill left half written are under another name, see `write_text`.
RUN_ENTRY = re.compile(
    r"(config\.yaml|folds\.json|splits_final\.json|data\.json|fingerprints\.json|init\.json"
    r"|environment\.json|MODEL_CARD\.md|metrics\.json|sums\.json|report\.html|figures|fold-\d+)"
    r"(\.tmp-\d+)?"
)


def resolve(config: RunConfig) -> RunConfig:
    """Returns the config with the paths, the split and the precision that it means here and now.

    Args:
        config: Options of a run, as a user gave them.

    Raises:
        InputError: The file of a split or of regions cannot be read, or there is no such model to
            start from.
    """
    from agd_keras.training.devices import resolve_precision

    data, training = config.data, config.training
    place = {"path": data.path if data.path == PHANTOM else str(Path(data.path).resolve())}
    given = find_split(Path(place["path"])) if data.folds_file == AUTO else data.folds_file
    split = {}
    if given != AUTO and given != DEAL:
        split = {"folds_file": str(Path(given).resolve()), "folds": count_folds(given)}
    # The device that is asked for may be another than the best of this machine.
    device = training.strategy if training.strategy in ("cpu", "gpu", "tpu") else None
    precision = resolve_precision(training.precision, device)
    return config.model_copy(
        update={
            "data": data.model_copy(
                update=place | split | {"regions": resolve_regions(data.path, data.regions)}
            ),
            "training": training.model_copy(
                update={
                    "precision": precision,
                    "init": resolve_init(training.init) if training.init else "",
                }
            ),
        }
    )


def find_split(data: Path) -> str:
    """Returns the split that lies beside the `dataset.json` of nnU-Net, else `auto`.

    Args:
        data: Folder of a data set.

    Example:

    >>> find_split(Path("nowhere"))
    'auto'
    """
    split = data / NNUNET
    if not (split.is_file() and nnunet.matches(data)):
        return AUTO
    logger.info("%s: its folds are used; --folds-file none deals others", split)
    return str(split)


def refuse_multiworker(config: RunConfig, option: str) -> None:
    """Refuses `multiworker` where one process must lead.

    Args:
        config: Options of a run.
        option: What cannot go with it, for the error.

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
            holds a run of another config; or there is nothing to go on with, or another process
            trains what would be replaced.
    """
    begun = check_existing(out, "run", RUN_ENTRY, resume, overwrite)
    if begun and overwrite:
        refuse_training([out, *out.glob("fold-*")])
    if begun and resume:
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
    try:
        found = content(out) if out.is_dir() else []
    except OSError as error:
        raise InputError(f"{out}: cannot read the folder: {error.strerror}") from None
    if not out.exists() or (out.is_dir() and not found):
        if resume:
            raise InputError(f"{out}: --resume expected the folder of a {kind}, found nothing")
        return False
    if not found or not all(entries.fullmatch(entry.name) for entry in found):
        raise InputError(f"{out}: expected a new folder, found something else than a {kind}")
    if not (resume or overwrite):
        raise InputError(f"{out}: expected a new folder, found a {kind}; --resume or --overwrite")
    return True


def refuse_training(folders: Iterable[Path]) -> None:
    """Refuses to replace folders in which another process trains, or gathers.

    Args:
        folders: Folders of runs, folds or trials.

    Raises:
        InputError: One of them is locked.
    """
    for folder in sorted(folders):
        if busy(folder):
            raise InputError(f"{folder}: another process is training here")


def deal_folds(config: RunConfig, cache: Cache) -> list[Fold]:
    """Returns all folds of a config.

    Args:
        config: Says how the data is split.
        cache: The prepared data.

    Raises:
        InputError: The data cannot be split so.
    """
    data = config.data
    how = (data.split, config.training.seed, data.portions, data.validation_portions)
    if data.folds_file not in (AUTO, DEAL):
        folds = read_split(data.folds_file, cache.slices, cache.areas, *how)
        if count_folds(data.folds_file) != data.folds:
            raise InputError(f"data.folds {data.folds}: {data.folds_file} has {len(folds)}")
        return folds
    try:
        return make_folds(cache.slices, cache.areas, data.folds, *how)
    except InputError as error:
        raise InputError(f"{data.path}: {error}") from None


def open_run(
    out: Path,
    config: RunConfig,
    folds: list[Fold],
    cases: Sequence[CaseRef],
    digests: Mapping[str, str],
    resume: bool,
    overwrite: bool,
) -> None:
    """Makes the run folder with config and folds, or checks the data of the one to go on with.

    Args:
        out: The run folder, which `check_folder` let pass.
        config: Resolved options of the run.
        folds: All folds of the run.
        cases: All cases of the data.
        digests: What `digest_cases` says of them.
        resume: Keep what the folder holds.
        overwrite: Replace what the folder holds.

    Raises:
        InputError: The folder cannot be written, holds a run of other data, or another process
            trains there.
    """
    training = "training here"
    with locked(out, training, "run folder", 0 if overwrite else WAIT):
        if resume:
            check_data(out, cases, digests)
            if load_folds(out / "folds.json") != folds:
                raise InputError(f"{out}: --resume expected the folds it was started with")
            return
        if check_existing(out, "run", RUN_ENTRY, resume, overwrite):
            refuse_training(out.glob("fold-*"))
        try:
            with filled(out, overwrite) as made:
                save_folds(folds, made / "folds.json", config.data.split, config.training.seed)
                if config.data.split == "subject":  # nnU-Net has no other
                    persons = {case.case_id: case.patient_id for case in cases}
                    save_nnunet(folds, persons, made / NNUNET)
                save_data(made, digests)
                save_config(config, made / "config.yaml")
        except OSError as error:
            raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None


def save_data(folder: Path, digests: Mapping[str, str]) -> None:
    """Writes `data.json`: the fingerprint of the data and a digest for each file of it.

    Args:
        folder: Where it goes.
        digests: What `digest_cases` says of the data.
    """
    record = {"data_fingerprint": fingerprint_of(digests), "files": digests}
    write_text(folder / DATA, json.dumps(record, indent=0) + "\n")


def check_data(folder: Path, cases: Sequence[CaseRef], digests: Mapping[str, str]) -> None:
    """Refuses data that has changed since a run or a search was started.

    Args:
        folder: Its folder. One without `data.json`, of an earlier version, has only the
            fingerprint, in `environment.json`.
        cases: All cases of the data as they are now.
        digests: What `digest_cases` says of them.

    Raises:
        InputError: The content of a file is another, or files were added or are gone; names them.
    """
    try:
        if (folder / DATA).is_file():
            before = json.loads((folder / DATA).read_text(encoding="utf-8"))
        else:
            before = json.loads((folder / "environment.json").read_text(encoding="utf-8"))[0]
        expected = before["data_fingerprint"]
    except FileNotFoundError:  # a kill struck before it was written
        return
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{folder / DATA}: expected a fingerprint ({error})") from None
    if expected == fingerprint_of(digests):
        return
    changed = changed_files(before.get("files") or before.get("slices") or digests, cases, digests)
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if changed[3:] else "")
    raise InputError(
        f"{folder}: expected the data it was started with"
        + (f"; changed since: {named}" if named else f", of fingerprint {expected}")
    )


def record_environment(path: Path, config: RunConfig, fingerprint: str) -> int:
    """Adds what this start of the run runs on to `environment.json`.

    Args:
        path: The file, made here if it does not exist.
        config: Resolved options of the run.
        fingerprint: Fingerprint of the data.

    Returns:
        How many starts there were, this one among them.
    """
    from agd_keras.runs.environment import describe_environment

    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    seeds = {"seed": config.training.seed, "data_fingerprint": fingerprint}
    starts.append({"started": started, **describe_environment(config.training.precision), **seeds})
    write_text(path, json.dumps(starts, indent=2) + "\n")
    return len(starts)


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Keeps other processes out of a fold's folder, made here; a killed one leaves no lock behind.

    Args:
        folder: Folder of one fold. That of its run is held while the fold is entered, so that
            nobody enters what is being replaced.

    Yields:
        The folder.

    Raises:
        InputError: Another process trains this fold, or the folder cannot be written.
    """
    with ExitStack() as stack:
        with locked(folder.parent, "replacing this run", "run folder", WAIT):
            stack.enter_context(locked(folder, "training this fold", "run folder"))
        yield folder


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Gives a copy of a fold's folder for a while.

    Processes that train together do the same in step, also when they save: each on its own.

    Args:
        folder: Folder of one fold; it may be missing.

    Yields:
        The copy, empty for a folder that is missing.
    """
    with tempfile.TemporaryDirectory(prefix="agd-") as own:
        if folder.is_dir():
            shutil.copytree(folder, own, dirs_exist_ok=True)
        yield Path(own)
