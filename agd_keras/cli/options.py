"""Options that commands derive from the config, or share."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from agd_keras.config import RunConfig, load_config, make_config, merge, parse_setting
from agd_keras.errors import InputError
from agd_keras.presets import PRESETS


def add_config_options(made: argparse.ArgumentParser, flags: dict[str, str]) -> None:
    """Adds `--preset`, `--config`, `--set`, and flags with type, choices and help of the config.

    Args:
        made: The parser.
        flags: `SECTION.OPTION` by flag.
    """
    made.add_argument("--preset", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    for flag, key in flags.items():
        section, option = key.split(".")
        field = type(RunConfig.model_fields[section].default).model_fields[option]
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
        made.add_argument(
            flag,
            dest=key,
            default=None,
            choices=choices,
            type=str if choices else cast(type, field.annotation),
            metavar=None if choices else option.upper(),
            help=field.description,
        )
    made.add_argument("--config", metavar="FILE", help="config in YAML, as a run folder has it")
    made.add_argument(
        "--set",
        metavar="SECTION.OPTION=VALUE",
        action="append",
        default=[],
        help="any option of the config, as training.loss=dice",
    )


def describe_options() -> str:
    """Lists all options of the config with their defaults, for `--help`."""
    lines = ["options for --set and their defaults, which presets change:"]
    for section in ("data", "model", "training"):
        default = RunConfig.model_fields[section].default
        for option, field in type(default).model_fields.items():
            key = f"  {section}.{option}={str(getattr(default, option)).replace(' ', '')}"
            lines.append(f"{key:<42} {field.description}")
    return "\n".join(lines)


def read_config(
    arguments: argparse.Namespace,
    flags: dict[str, str],
    file: str | Path | None = None,
    below: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Makes the config: over the preset and its own values the file, the flags, then `--set`.

    Args:
        arguments: Parsed options of `add_config_options`.
        flags: `SECTION.OPTION` by flag.
        file: Config file to read in place of `--config`.
        below: Values that all of those weigh more than.

    Raises:
        InputError: The file, or a value, cannot be used.
    """
    file = file or arguments.config
    values = load_config(file) if file else {}
    if arguments.preset and values.get("preset", arguments.preset) != arguments.preset:
        raise InputError(f"--preset {arguments.preset}: {file} is of {values['preset']}")
    given: dict[str, dict[str, Any]] = {}
    for key in flags.values():
        value = getattr(arguments, key)
        if value is not None:
            section, option = key.split(".")
            given.setdefault(section, {})[option] = value
    preset = {"preset": arguments.preset} if arguments.preset else {}
    settings = map(parse_setting, arguments.set)
    return make_config(merge(dict(below or {}), values, preset, given, *settings))


def add_executor_options(made: argparse.ArgumentParser) -> None:
    """Adds `--executor`, `--cpus` and `--gpus`."""
    made.add_argument(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="one after the other, or as tasks of Ray, on RAY_ADDRESS or this machine",
    )
    made.add_argument(
        "--cpus", type=int, default=1, metavar="N", help="cores for a task of Ray (default: 1)"
    )
    made.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs for a task of Ray, also a share (default: 1 where there are any)",
    )


def add_uncertainty_option(made: Any, purpose: str) -> None:
    """Adds `--uncertainty`, to a parser or a group of it."""
    made.add_argument(
        "--uncertainty",
        choices=("tta", "ensemble", "mc_dropout"),
        help=f"{purpose}, from several predictions: of changed images, of the folds of a run, or "
        "with dropout left on",
    )


def indices(text: str) -> list[int] | None:
    """Reads numbers as `0,3`; None for `all`."""
    if text == "all":
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers, as 0,3, or all") from None
