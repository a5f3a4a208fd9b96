"""Values of options by section, not checked yet: from files, from the command line, merged."""

from pathlib import Path
from typing import Any

import yaml

from agd_keras.errors import InputError
from agd_keras.text import clean

# What a YAML file may hold, aliases written out: no config, round or space is near it.
MAX_BYTES, MAX_NODES, MAX_SCALAR, MAX_DIGITS = 2**18, 10_000, 2_000, 20


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merges nested values, later ones over earlier ones.

    Example:

    >>> merge({"data": {"split": "subject"}}, {"data": {"folds": 10}})
    {'data': {'split': 'subject', 'folds': 10}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_setting(setting: str) -> dict[str, Any]:
    """Reads `SECTION.OPTION=VALUE` with a YAML value into nested values.

    Args:
        setting: The text, of `--set`.

    Returns:
        The value by section and option, not checked yet.

    Raises:
        InputError: The text has another form.

    Example:

    >>> parse_setting("model.filters=[8, 16]")
    {'model': {'filters': [8, 16]}}
    """
    key, equals, value = setting.partition("=")
    if not equals or key.count(".") != 1:
        raise InputError(f"--set {setting}: expected SECTION.OPTION=VALUE, as training.epochs=10")
    section, option = key.split(".")
    # Of nothing YAML makes null, which no option takes: what is meant is the empty text.
    return {section: {option: _parse_yaml(value, f"--set {setting}") if value.strip() else ""}}


def load_config(path: str | Path) -> dict[str, Any]:
    """Reads nested values from a YAML or JSON file.

    Args:
        path: The file.

    Returns:
        Values by section, as `make_config` takes them, not checked yet.

    Raises:
        InputError: The file cannot be read or holds something else.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of data, model and training")
    return values


def read_yaml(path: str | Path) -> Any:
    """Reads what a YAML or JSON file holds.

    Args:
        path: The file, UTF-8.

    Returns:
        Its one document, of plain types; None of an empty file.

    Raises:
        InputError: The file cannot be read, is not YAML, or is larger than any config.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: expected a readable YAML file ({reason})") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: expected a YAML file of at most {MAX_BYTES} bytes")
    return _parse_yaml(text, str(path))


def _parse_yaml(text: str, where: str) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        _check_nodes(root)
        return None if root is None else loader.construct_document(root)
    except RecursionError:
        raise InputError(f"{where}: nested too deep for a config") from None
    except Exception as error:  # PyYAML raises nearly anything on a damaged date or number
        reason = clean(error) or type(error).__name__
        raise InputError(f"{where}: not valid YAML ({reason})") from None


def _check_nodes(root: yaml.Node | None) -> None:
    """Refuses what would be large once its aliases are written out, before anything is made."""
    left, count = [root] if root else [], 0
    while left:
        node = left.pop()
        value, count = node.value, count + 1
        if count > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} values, aliases written out")
        if isinstance(value, str):
            most = MAX_DIGITS if node.tag.endswith(":int") else MAX_SCALAR
            if len(value) > most:
                raise ValueError(f"a value of more than {most} letters")
            continue
        for entry in value:  # pairs in a mapping
            left += entry if isinstance(entry, tuple) else [entry]
