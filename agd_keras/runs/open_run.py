"""Opens the folder of a run: checked before it is gone on with, and never emptied by mistake."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agd_keras.config import RunConfig, differences, save_config
from agd_keras.data.split_files import save_nnunet
from agd_keras.data.splits import Fold, save_folds
from agd_keras.errors import InputError
from agd_keras.files import content, filled
from agd_keras.io.case_ref import CaseRef
from agd_keras.locks import busy
from agd_keras.runs.data_record import check_data, save_data
from agd_keras.runs.run_folder import ENTRY, WAIT, RunFolder


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
    run = RunFolder(out)
    begun = check_existing(out, "run", ENTRY, resume, overwrite)
    if begun and overwrite:
        refuse_training([out, *(fold.path for fold in run.begun_folds())])
    if begun and resume:
        differing = differences(run.read_config(), config)
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

    >>> check_existing(Path("no/such/folder"), "run", ENTRY, resume=False, overwrite=False)
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
    run = RunFolder(out)
    with run.locked("training here", 0 if overwrite else WAIT):
        if resume:
            check_data(out, cases, digests)
            if run.read_folds() != folds:
                raise InputError(f"{out}: --resume expected the folds it was started with")
            return
        if check_existing(out, "run", ENTRY, resume, overwrite):
            refuse_training(fold.path for fold in run.begun_folds())
        try:
            with filled(out, overwrite) as filling:
                made = RunFolder(filling)
                save_folds(folds, made.folds_file, config.data.split, config.training.seed)
                if config.data.split == "subject":  # nnU-Net has no other
                    persons = {case.case_id: case.patient_id for case in cases}
                    save_nnunet(folds, persons, made.split_file)
                save_data(made.path, digests)
                save_config(config, made.config_file)
        except OSError as error:
            raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None
