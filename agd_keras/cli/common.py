"""What all commands share: errors as one line, log lines, progress, options from the config."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal, cast, get_args, get_origin

from agd_keras.config import RunConfig
from agd_keras.errors import InputError

BAD_INPUT, BAD_USAGE, INTERRUPTED = 1, 2, 130


def run(command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Runs a command, and turns what can go wrong into one line and an exit status.

    Args:
        command: Function of the parsed arguments.
        arguments: With `debug`: whether a traceback is wanted.

    Returns:
        0, 1 for bad input, or 130 if interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)
    # Says nothing to a user: the training stream is shuffled by its own rule.
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    try:
        command(arguments)
    except InputError as error:
        if arguments.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ libraries write while they load."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Makes the parser of a command with the options that all have."""
    made = argparse.ArgumentParser(
        program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def add_config_options(made: argparse.ArgumentParser, flags: dict[str, str]) -> None:
    """Adds flags whose type, choices and help come from the options of the config.

    Args:
        made: The parser.
        flags: `SECTION.OPTION` by flag.
    """
    for flag, key in flags.items():
        section, option = key.split(".")
        field = RunConfig.model_fields[section].default.__class__.model_fields[option]
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


def config_values(arguments: argparse.Namespace, flags: dict[str, str]) -> dict[str, Any]:
    """Returns the values of the flags that were given, by section."""
    values: dict[str, dict[str, Any]] = {}
    for key in flags.values():
        value = getattr(arguments, key)
        if value is not None:
            section, option = key.split(".")
            values.setdefault(section, {})[option] = value
    return values


def progress_bar(description: str) -> Callable[[int, int], None] | None:
    """Returns a function `update(done, total)` that draws a bar, or None without a terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True))
    task = bar.add_task(description, total=None)

    def update(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return update


def print_table(table: Any) -> None:
    """Prints a rich table to standard output."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 100).print(table)
