"""Options that commands derive from the config, or share."""

import argparse
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from agd_keras.config import RunConfig, make_config
from agd_keras.errors import InputError
from agd_keras.presets import PRESETS
from agd_keras.runs.executor import EXECUTORS
from agd_keras.values import load_config, merge, parse_setting
from agd_keras.weights import shipped

if TYPE_CHECKING:
    from agd_keras.inference.postprocess import Postprocessing

# Those of `agd_keras.io.case`.
MISSING = ("fill", "error")
# Those of `agd_keras.inference.uncertainty`, whose import would load Keras.
UNCERTAINTY = ("tta", "ensemble", "mc_dropout")
ANY_MODEL = "a .keras file, a run folder (its folds are averaged), or what agd-export wrote"
LISTS = {"data.regions": "NAME=LABELS"}  # options of several words, and what each is called
BOUNDS = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "above"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "below"),
}


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
            nargs="+" if key in LISTS else None,
            type=_type_of(field),
            metavar=LISTS.get(key) or (None if choices else option.upper()),
            help=field.description,
        )
    made.add_argument(
        "--config", metavar="FILE", help="config file in YAML, such as config.yaml of a run"
    )
    made.add_argument(
        "--set",
        metavar="SECTION.OPTION=VALUE",
        action="append",
        default=[],
        help="any option of the config, as training.loss=dice",
    )


def _type_of(field: FieldInfo) -> Callable[[str], Any]:
    """What reads an option of the config, by its type and bounds."""
    if field.annotation not in (int, float):
        return str
    bounds = {
        key: getattr(one, key) for one in field.metadata for key in BOUNDS if hasattr(one, key)
    }
    return number(cast(type, field.annotation), **bounds)


def number(kind: type, **bounds: float) -> Callable[[str], Any]:
    """Makes the `type` of an option that is a number within bounds.

    Args:
        kind: `int` or `float`.
        bounds: By name of the comparison, `ge`, `gt`, `le` or `lt`, with what.

    Example:

    >>> number(float, gt=0, le=1)("2")
    Traceback (most recent call last):
    ...
    argparse.ArgumentTypeError: expected a number above 0 and at most 1, received '2'
    """
    within = " and ".join(f"{BOUNDS[key][1]} {bound}" for key, bound in bounds.items())
    expected = f"expected a {'whole ' if kind is int else ''}number {within}"

    def read(text: str) -> Any:
        try:
            value = kind(text)
            if all(BOUNDS[key][0](value, bound) for key, bound in bounds.items()):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{expected}, received {text!r}")

    return read


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


def add_model_fn(made: argparse.ArgumentParser) -> None:
    """Adds `--model-fn`, for models that have layers of a user's own; see `import_model_fn`."""
    made.add_argument(
        "--model-fn",
        metavar="NAME",
        help="package.module:function that built the model, if it has layers of its own",
    )


def import_model_fn(arguments: argparse.Namespace) -> None:
    """Imports the module of `--model-fn`, whose layers the model's file refers to.

    Raises:
        InputError: There is no such function, or its module cannot be imported.
    """
    if arguments.model_fn:
        from agd_keras.models.registry import find_builder

        find_builder(arguments.model_fn)


def add_executor_options(made: argparse.ArgumentParser) -> None:
    """Adds `--executor`, `--cpus` and `--gpus`."""
    made.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="local",
        help="local: one after the other; ray: as Ray tasks, on RAY_ADDRESS or this machine",
    )
    made.add_argument(
        "--cpus",
        type=number(int, ge=1),
        default=1,
        metavar="N",
        help="cores for a Ray task (default: 1)",
    )
    made.add_argument(
        "--gpus",
        type=number(float, ge=0),
        metavar="N",
        help="GPUs for a Ray task, may be a fraction (default: 1 if there are any)",
    )


def add_model_option(made: Any, kinds: str, required: bool = False) -> None:
    """Adds `--model`, to a parser or a group of it, with the names of the models that ship."""
    made.add_argument(
        "--model",
        required=required,
        metavar="MODEL",
        help=f"{kinds}; or by name one that ships: {', '.join(shipped())}",
    )


def add_mask_options(made: argparse.ArgumentParser, uncertainty: str) -> None:
    """Adds what becomes of the probabilities, in prediction and in evaluation alike.

    Args:
        made: The parser; gets `--threshold`, `--flips` or `--uncertainty`, `--largest-component`
            and `--min-size`.
        uncertainty: What `--uncertainty` is for in this command.
    """
    made.add_argument(
        "--threshold",
        type=number(float, gt=0, le=1),
        metavar="P",
        help="lowest probability that is marked (default: that of the model, 0.5)",
    )
    several = made.add_mutually_exclusive_group()
    several.add_argument(
        "--flips", action="store_true", help="average with the prediction of the mirrored head"
    )
    several.add_argument(
        "--uncertainty",
        choices=UNCERTAINTY,
        help=f"{uncertainty}, from several predictions: of changed images, of the folds of a run, "
        "or with dropout left on",
    )
    made.add_argument(
        "--largest-component", action="store_true", help="keep the largest tumour of a case only"
    )
    made.add_argument(
        "--min-size",
        type=number(int, ge=0),
        default=0,
        metavar="N",
        help="remove smaller tumours, in voxels",
    )


def read_postprocessing(arguments: argparse.Namespace) -> "Postprocessing":
    """Makes a `Postprocessing` of the options of `add_mask_options`."""
    from agd_keras.inference.postprocess import Postprocessing

    return Postprocessing(
        arguments.threshold, arguments.flips, arguments.largest_component, arguments.min_size
    )


def add_data_options(made: argparse.ArgumentParser, name: str, **how: Any) -> None:
    """Adds a data set under a name, `--layout` and `--persons`, as the config describes them."""
    fields = type(RunConfig.model_fields["data"].default).model_fields
    made.add_argument(name, help=fields["path"].description, **how)
    for option in ("layout", "persons"):
        made.add_argument(
            f"--{option}",
            default=fields[option].default,
            metavar=option.upper(),
            help=fields[option].description,
        )


def add_reading_options(made: argparse.ArgumentParser) -> None:
    """Adds `--missing` and `--plane`, to overrule what is stored with a model."""
    made.add_argument(
        "--missing",
        choices=MISSING,
        help="missing contrasts of a case: filled by FLAIR, or refused "
        "(default: as the model was trained)",
    )
    add_plane_option(made, None, "as the model was trained")


def add_plane_option(made: argparse.ArgumentParser, default: str | None, told: str) -> None:
    """Adds `--plane`, as the config describes it, with another default that the help tells."""
    field = type(RunConfig.model_fields["data"].default).model_fields["plane"]
    made.add_argument(
        "--plane",
        choices=get_args(field.annotation),
        default=default,
        help=f"{field.description} (default: {told})",
    )


def indices(text: str) -> list[int] | None:
    """Reads numbers from 0 on, as `0,3`; None for `all`."""
    if text == "all":
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"expected numbers from 0 on, as 0,3, or all, received {text!r}"
        )
    return [int(part) for part in text.split(",")]
