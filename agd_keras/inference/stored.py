"""Small JSON records that lie with a model: within a `.keras` file, else beside the export."""

import json
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agd_keras.errors import InputError
from agd_keras.files import naming, unique_number, write_text
from agd_keras.inference.exported import find_version
from agd_keras.text import clean

# What reading a member of an archive, and JSON of any depth, can end in.
DAMAGED = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
LIMIT = 2**20  # bytes: an archive may unfold to any size


def write_stored(model: str | Path, member: str, values: Mapping[str, Any]) -> Path:
    """Stores a record with a model; an older one is replaced.

    Args:
        model: A `.keras` file, which stays one that Keras loads; or an exported file, or the
            version folder of a SavedModel.
        member: Name of the record's file.
        values: What to store.

    Returns:
        The file that was written.
    """
    model = Path(model)
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    if model.suffix != ".keras":
        place = _beside(model, member)
        place.parent.mkdir(exist_ok=True)
        return write_text(place, text)
    temporary = model.with_name(f"{model.name}.tmp-{unique_number()}")
    try:
        with naming(model), zipfile.ZipFile(model) as old, zipfile.ZipFile(temporary, "w") as new:
            for entry in old.infolist():
                if entry.filename != member:
                    with old.open(entry) as source, new.open(entry, "w") as target:
                        shutil.copyfileobj(source, target)
            new.writestr(zipfile.ZipInfo(member), text)
        os.replace(temporary, model)
    finally:
        temporary.unlink(missing_ok=True)
    return model


def read_stored(model: str | Path, member: str, kind: str) -> dict[str, Any]:
    """Reads a record that is stored with a model.

    Args:
        model: As for `write_stored`.
        member: Name of the record's file.
        kind: What it is, for the error.

    Returns:
        What is stored; nothing if there is no such record, or no such model.

    Raises:
        InputError: What is stored is no such record.

    Example:

    >>> read_stored("no/such/model.keras", "calibration.json", "calibration")
    {}
    """
    model = Path(model)
    try:
        text = _read(model, member)
        values = {} if text is None else json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("no record")
    except (*DAMAGED, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{model}: expected a {kind} in {member} ({clean(error)})") from None
    return values


def _read(model: Path, member: str) -> bytes | None:
    """The bytes of a record, if there is one; what is no archive fails where it is used."""
    if model.suffix != ".keras":
        path = _beside(model, member)
        return path.read_bytes() if path.is_file() else None
    if not zipfile.is_zipfile(model):
        return None
    with zipfile.ZipFile(model) as archive:
        if member not in archive.namelist():
            return None
        with archive.open(member) as record:
            return record.read(LIMIT)


def _beside(model: Path, member: str) -> Path:
    # `assets.extra` is where a SavedModel keeps files that are not part of its graph.
    version = find_version(model) or model
    return version / "assets.extra" / member if model.is_dir() else model.with_name(member)
