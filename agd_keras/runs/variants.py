"""What the studies vary: variants of one config, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agd_keras.config import RunConfig, differences, make_config
from agd_keras.errors import InputError
from agd_keras.values import merge

FOLDS = 5

Changes = dict[str, dict[str, dict[str, Any]]]


class Study(NamedTuple):
    """What is varied.

    Args:
        title: Heading of its table.
        changes: Function of the number of encoder blocks that returns, by name of the variant, the
            values that it changes in the config. The others are compared with the first.
        values: Values of the config below those that a user gives.
    """

    title: str
    changes: Callable[[int], Changes]
    values: Mapping[str, Any] = MappingProxyType({})


def _leak(levels: int) -> Changes:
    return {split: {"data": {"split": split}} for split in ("subject", "record")}


def _ablation(levels: int) -> Changes:
    every = list(range(1, levels + 1))
    changes: dict[str, dict[str, Any]] = {
        "full": {},
        "no_gate": {"attention": False},
        "no_edge": {"edge": False},
        "neither": {"attention": False, "edge": False},
        "all_gates": {"skips": every, "attention_at": every},  # a gate sits on a skip connection
    }
    both = {"attention": True, "edge": True}
    return {variant: {"model": both | changed} for variant, changed in changes.items()}


def _paper(levels: int) -> Changes:
    portions = {"portions": 10, "validation_portions": 2}
    return {
        f"{split}_{name}": {"data": {"split": split, "augment": augment, **portions}}
        for split in ("record", "subject")
        for name, augment in (("plain", "none"), ("augmented", "paper"))
    }


STUDIES = {
    "paper": Study("The paper's protocols", _paper, {"preset": "agd_paper"}),
    "leak": Study("The leak: slices of one patient on both sides", _leak),
    "ablation": Study("The ablation: gates and edge detector", _ablation),
}


def make_variants(name: str, config: RunConfig) -> dict[str, RunConfig]:
    """Returns the config of each variant of a study.

    Args:
        name: `paper`, `leak` or `ablation`.
        config: What the variants are variants of; 5 folds where it has a single test.

    Returns:
        By name of the variant, the one to compare with first.

    Raises:
        InputError: There is no such study, or two variants are the same with this config.

    Example:

    >>> variants = make_variants("ablation", make_config({"preset": "agd_paper"}))
    >>> variants["all_gates"].model.attention_at, variants["full"].data.folds
    ((1, 2, 3, 4), 5)
    """
    if name not in STUDIES:
        raise InputError(f"study {name!r}: expected one of {', '.join(STUDIES)}")
    folds = config.data.folds if config.data.folds > 1 else FOLDS
    values = merge(config.model_dump(mode="json"), {"data": {"folds": folds}})
    made: dict[str, RunConfig] = {}
    for variant, changes in STUDIES[name].changes(levels_of(config)).items():
        made[variant] = make_config(merge(values, changes))
        for other in list(made)[:-1]:
            if not differences(made[variant], made[other]):
                raise InputError(f"study {name}: {variant} is the same as {other} with this config")
    return made


def levels_of(config: RunConfig) -> int:
    """Encoder blocks of `agd_autoencoder`; another network takes what a study changes as it is."""
    return len(getattr(config.model, "filters", ()))
