"""What a data set says of itself: `dataset.json`, as nnU-Net and the Decathlon write it."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agd_keras.errors import InputError
from agd_keras.wording import counted

FILE = "dataset.json"
_MAX_BYTES = 2**26


class DatasetSpec(BaseModel):
    """Channels and labels of a data set.

    Args:
        channel_names: Names of the channels, in their order.
        labels: By name the values of a label, several for a region, without background.
        ignore: The value of pixels that nobody has labelled, if there is one.
        file_ending: Of images and labels.
        cases: Number of cases to train on, if it is told.

    Reference:
        https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md

    Example:

    >>> spec = parse_spec({"modality": {"0": "FLAIR"}, "labels": {"0": "background", "1": "edema"}})
    >>> spec.channel_names, spec.labels
    (('FLAIR',), {'edema': (1,)})
    """

    model_config = ConfigDict(frozen=True)

    channel_names: tuple[str, ...]
    labels: dict[str, tuple[int, ...]] = {}
    ignore: int | None = None
    file_ending: str = ".nii.gz"
    cases: int | None = None

    @property
    def values(self) -> tuple[int, ...]:
        """All values that a label may have beside 0, in order."""
        return tuple(sorted({value for values in self.labels.values() for value in values}))

    def miscounted(self, path: Path, found: int) -> list[str]:
        """Says so in a line if there are more cases or fewer than told.

        Args:
            path: The `dataset.json`.
            found: Number of cases with images.
        """
        if self.cases in (None, found):
            return []
        return [f"{path}: numTraining {self.cases}, but imagesTr has {counted(found, 'case')}"]


def read_content(path: Path) -> Any:
    """Reads what `dataset.json` holds, whatever it is.

    Args:
        path: The file.

    Returns:
        What its JSON says.

    Raises:
        InputError: It cannot be read, is too large or no JSON.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: more than {_MAX_BYTES} bytes, expected a description")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON ({type(error).__name__})") from None


def read_spec(path: Path) -> DatasetSpec:
    """Reads `dataset.json`.

    Args:
        path: The file.

    Returns:
        Its `DatasetSpec`.

    Raises:
        InputError: It cannot be read, or does not say what the channels and labels are.
    """
    content = read_content(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object with channel_names and labels")
    return parse_spec(content, path)


def channel_names(content: dict[str, Any], path: Path = Path(FILE)) -> tuple[str, ...]:
    """Reads the names of the channels, in the order of their numbers.

    Args:
        content: The object: `channel_names` or `modality`, a list or names by number.
        path: The file, for the error.

    Returns:
        The names; none where it has neither of the two.

    Raises:
        InputError: Channels are not numbered from 0 on.

    Example:

    >>> channel_names({"modality": {"1": "FLAIR", "0": "T1"}})
    ('T1', 'FLAIR')
    """
    key = "channel_names" if "channel_names" in content else "modality"
    if key not in content:
        return ()
    names = content[key]
    named = dict(enumerate(names)) if isinstance(names, list) else names
    by_number = {str(n): str(name) for n, name in named.items()} if isinstance(named, dict) else {}
    numbers = [str(number) for number in range(len(by_number))]
    if not numbers or set(numbers) != set(by_number):
        raise InputError(f"{path}: {key}: expected a name for each channel 0, 1, ...")
    return tuple(by_number[number] for number in numbers)


def parse_spec(content: dict[str, Any], path: Path = Path(FILE)) -> DatasetSpec:
    """Reads what `dataset.json` holds, of either kind.

    Args:
        content: The object: `channel_names` or `modality`, `labels` either way round.
        path: The file, for the errors.

    Returns:
        The `DatasetSpec`.

    Raises:
        InputError: There are no channels, or they are not numbered from 0 on, or a label is no
            whole number.

    Example:

    >>> labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    >>> spec = parse_spec({"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": labels})
    >>> spec.labels, spec.ignore
    ({'whole': (1, 2), 'core': (2,)}, 3)
    """
    names = channel_names(content, path)
    if not names:
        raise InputError(f"{path}: expected channel_names or modality, a name for each channel")
    labels: dict[str, tuple[int, ...]] = {}
    given = content.get("labels") or {}
    if not isinstance(given, dict):
        raise InputError(f"{path}: labels: expected names and values")
    for one, other in given.items():
        name, values = (str(other), one) if str(one).isdigit() else (str(one), other)
        try:
            listed = values if isinstance(values, list | tuple) else [values]
            labels[name] = tuple(int(value) for value in listed)
        except (TypeError, ValueError):
            raise InputError(f"{path}: label {name}: expected whole numbers") from None
    ignore = labels.pop("ignore", (None,))[0]
    labels = {name: values for name, values in labels.items() if set(values) != {0}}
    return DatasetSpec(
        channel_names=names,
        labels=labels,
        ignore=ignore,
        file_ending=str(content.get("file_ending") or ".nii.gz"),
        cases=content["numTraining"] if type(content.get("numTraining")) is int else None,
    )
