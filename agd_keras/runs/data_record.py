"""Which data a run or a search was started with: written, and compared when it goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.fingerprint import changed_files, fingerprint_of
from agd_keras.runs.fold_folder import ENVIRONMENT

DATA = "data.json"


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
            before = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))[0]
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
