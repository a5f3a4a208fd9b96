"""The folder of a search: what was asked for and what each trial gave; never emptied by mistake."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from agd_keras.config import differences, make_config
from agd_keras.errors import InputError
from agd_keras.files import filled, write_text
from agd_keras.io.case_ref import CaseRef
from agd_keras.runs.data_record import check_data, save_data
from agd_keras.runs.open_run import check_existing, refuse_training
from agd_keras.runs.search.space import JOURNAL
from agd_keras.values import read_yaml

SETTINGS, OPTIONS, RESULT = "search.yaml", "options.yaml", "result.json"
# Settings that must not change on the way, beside the config; trials may be added.
COMPARED = ("rounds", "space", "folds", "prune")
# What the folder may hold: nothing that --overwrite could be sorry for.
ENTRY = re.compile(
    rf"trial-\d+|{re.escape(JOURNAL)}(\.lock.*)?"
    r"|(search\.yaml|data\.json|environment\.json|table\.md|trials\.csv|config\.yaml)(\.tmp-\d+)?"
)


def check_search(out: Path, settings: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuses a folder that must not be touched, before any work is done.

    Args:
        out: The folder.
        settings: What the search is asked for.
        resume: The folder must hold an earlier start of the same search; more trials are allowed.
        overwrite: The folder may hold a search, which will be replaced.

    Raises:
        InputError: The folder exists without either option, holds something else than a search, or
            holds a search of other settings; or there is nothing to go on with, or another process
            trains what would be replaced.
    """
    if not check_existing(out, "search", ENTRY, resume, overwrite):
        return
    if overwrite:
        refuse_training(out.glob("trial-*"))
        return
    before = load_settings(out)
    differing = differences(make_config(before["config"]), make_config(settings["config"]))
    differing += [name for name in COMPARED if before.get(name) != settings[name]]
    if settings["trials"] < before["trials"]:
        differing.append("fewer trials")
    if differing:
        raise InputError(
            f"{out}: --resume expected what it was started with, not other {', '.join(differing)}"
        )


def open_search(
    out: Path,
    settings: Mapping[str, Any],
    cases: Sequence[CaseRef],
    digests: Mapping[str, str],
    overwrite: bool,
) -> None:
    """Makes the folder of a search, or notes the number of trials in the one to go on with.

    Args:
        out: The folder, which `check_search` let pass.
        settings: What the search is asked for.
        cases: All cases of the data.
        digests: What `digest_cases` says of them.
        overwrite: Replace what the folder holds.

    Raises:
        InputError: The folder cannot be written, or holds a search on other data.
    """
    text = yaml.safe_dump(dict(settings), sort_keys=False)
    try:
        if (out / SETTINGS).is_file() and not overwrite:
            check_data(out, cases, digests)
            if load_settings(out)["data_fingerprint"] != settings["data_fingerprint"]:
                raise InputError(f"{out}: --resume expected the data it was started with")
            write_text(out / SETTINGS, text)
            return
        with filled(out, overwrite) as made:
            save_data(made, digests)
            write_text(made / SETTINGS, text)
    except OSError as error:
        raise InputError(f"{out}: cannot write the search folder: {error.strerror}") from None


def load_settings(out: str | Path) -> dict[str, Any]:
    """Reads what a search is asked for.

    Raises:
        InputError: The folder holds no readable `search.yaml`.
    """
    path = Path(out) / SETTINGS
    settings = read_yaml(path)
    if not isinstance(settings, dict) or "config" not in settings:
        raise InputError(f"{path}: expected the settings of a search")
    return settings


def begin_trial(out: Path, number: int, options: Mapping[str, Any]) -> None:
    """Makes the folder of a trial, which says what the trial is."""
    folder = out / f"trial-{number}"
    folder.mkdir(exist_ok=True)
    write_text(folder / OPTIONS, yaml.safe_dump(dict(options), sort_keys=False))


def begun_trials(out: Path) -> dict[int, dict[str, Any]]:
    """Returns the options of the trials begun so far, by number."""
    folders = sorted(out.glob("trial-*"), key=lambda folder: int(folder.name.split("-")[1]))
    return {
        int(folder.name.split("-")[1]): read_yaml(folder / OPTIONS)
        for folder in folders
        if (folder / OPTIONS).is_file()
    }


def read_result(out: Path, number: int) -> dict[str, Any] | None:
    """Returns what a trial gave, None while it is not finished."""
    path = out / f"trial-{number}" / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_result(out: Path, number: int, result: Mapping[str, Any]) -> None:
    """Writes what a trial gave, which also says that it is finished."""
    write_text(out / f"trial-{number}" / RESULT, json.dumps(result, indent=1) + "\n")
