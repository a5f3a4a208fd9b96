"""Rounds of a hyper-parameter search: named options of the config, tried one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from agd_keras.config import RunConfig, make_config
from agd_keras.errors import InputError
from agd_keras.values import merge, read_yaml

# The same in all trials: what they are compared on and by.
FIXED = ("data.path", "data.layout", "data.persons", "training.monitor")

# Table 1 of Cvetko 2021 (arXiv 2107.03323): learning rate, filter size, batch size, K, final BCE.
PAPER_TABLE = (
    (5e-4, 128, 32, 5, 0.11),
    (5e-4, 256, 16, 5, 0.34),
    (1e-3, 512, 32, 10, 0.11),
    (1e-3, 256, 16, 5, 0.11),
    (1e-2, 128, 128, 10, 0.22),
)
PAPER_FILTERS = 512  # of the first block of its network, to which its filter sizes refer
FEWEST_FILTERS = 4
PAPER_NOTES = (
    "The paper trains each round for 1 epoch, as here, and does not say on which slices its final "
    "BCE was measured, nor how its weighted focal cross-entropy enters it: compare ranks, not "
    "figures. Ours is plain binary cross-entropy per pixel, in nats; always predicting the share "
    "of tumour pixels, 0.96 % in kaggle_3m, gives 0.054.",
    "Its filter size is taken for the channels of the first block of its network (512, 256, 128, "
    f"64): the preset's channels times filter size / {PAPER_FILTERS}, at least {FEWEST_FILTERS}.",
    "K changes the split: rounds of different K are validated on different patients.",
    "Trials 0 to 4 are its rounds 1 to 5, of which 1, 3 and 4 are equal to two decimals; it calls "
    "round 3 the best.",
)


@dataclass(frozen=True)
class Round:
    """One trial of a search, before it is run.

    Args:
        options: Values by `SECTION.OPTION`.
        printed: Further columns of the table, such as what a paper printed.
    """

    options: Mapping[str, Any]
    printed: Mapping[str, Any] = field(default_factory=dict)


def paper_rounds(filters: Sequence[int]) -> list[Round]:
    """The five rounds of the paper's Table 1, of one epoch each.

    The learning rate is constant, as in the paper; everything that its table does not name is left
    to the preset.

    Args:
        filters: Channels of the preset's encoder blocks, which the rounds scale.

    Example:

    >>> paper_rounds((512, 256, 128, 64))[0].options["model.filters"]
    [128, 64, 32, 16]
    """
    return [
        Round(
            {
                "training.learning_rate": rate,
                "model.filters": [
                    max(FEWEST_FILTERS, one * size // PAPER_FILTERS) for one in filters
                ],
                "training.batch_size": batch,
                "data.folds": folds,
                "training.schedule": "constant",
                "training.epochs": 1,
            },
            {"filter size": size, "paper BCE": bce},
        )
        for rate, size, batch, folds, bce in PAPER_TABLE
    ]


def load_rounds(path: str | Path) -> list[Round]:
    """Reads rounds from a YAML file, a list of mappings `SECTION.OPTION: value`.

    Raises:
        InputError: The file cannot be read, is of another form, or an option is unknown or its
            value not allowed; names file, round and option.
    """
    listed = read_yaml(path)
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: expected a list of rounds, each a mapping SECTION.OPTION: value")
    for number, options in enumerate(listed):
        where = f"{path}: round {number}"
        if not isinstance(options, dict) or not options:
            raise InputError(f"{where}: expected a mapping SECTION.OPTION: value")
        for name, value in options.items():
            check_option(name, value, where)
    return [Round(options) for options in listed]


def option_type(name: Any, where: str) -> Any:
    """Returns the annotated type of an option that trials may differ in.

    Args:
        name: `SECTION.OPTION`.
        where: Start of the message of an error.

    Raises:
        InputError: There is no such option, or it must be the same in all trials.
    """
    section, _, option = str(name).partition(".")
    fields = getattr(RunConfig.model_fields.get(section), "default", None)
    found = getattr(type(fields), "model_fields", {}).get(option)
    if found is None:
        raise InputError(f"{where}: {name}: no such option, expected one as training.learning_rate")
    if name in FIXED:
        raise InputError(
            f"{where}: {name}: expected the same in all trials, as an option of its own"
        )
    return Annotated[found.annotation, found]


def check_option(name: Any, value: Any, where: str) -> None:
    """Refuses a value that an option cannot have, whatever the other options are.

    Args:
        name: `SECTION.OPTION`.
        value: What it is to be.
        where: Start of the message of an error.

    Raises:
        InputError: There is no such option or its value is not allowed.

    Example:

    >>> check_option("training.batch_size", 0, "rounds.yaml: round 2")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: rounds.yaml: round 2: training.batch_size: Input should be \
greater than or equal to 1, received 0
    """
    adapter = TypeAdapter(option_type(name, where))
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"{where}: {name}: {reason}, received {value!r}") from None


def with_options(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """Returns a config with other values of some options.

    Args:
        config: What holds for the others.
        options: Values by `SECTION.OPTION`.

    Raises:
        InputError: A value is not allowed, or not together with the others.

    Example:

    >>> from agd_keras.config import make_config
    >>> with_options(make_config({}), {"training.epochs": 3}).training.epochs
    3
    """
    changes = [
        {section: {option: value}}
        for name, value in options.items()
        for section, option in [name.split(".")]
    ]
    return make_config(merge(config.model_dump(), *changes))
