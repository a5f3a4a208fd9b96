"""What all commands share: errors as one line, log lines, progress."""

import argparse
import atexit
import io
import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from agd_keras import __version__
from agd_keras.errors import InputError, Interrupted
from agd_keras.text import MESSAGE, clean
from agd_keras.wording import duration

BAD_INPUT = 1


def run(command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Runs a command, and turns what can go wrong into one line and an exit status.

    Args:
        command: Function of the parsed arguments.
        arguments: With `debug`: whether a traceback is wanted.

    Returns:
        0, 1 for bad input, 130 after Ctrl-C or 143 after SIGTERM.
    """
    shown = logging.StreamHandler()
    shown.setFormatter(_OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[shown])
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        command(arguments)
    except InputError as error:
        if arguments.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        return 128 + getattr(interrupt, "signum", signal.SIGINT)
    except Exception as error:
        if arguments.debug:
            raise
        reason = clean(error, MESSAGE)
        if isinstance(error, OSError) and error.filename:
            reason = clean(f"{error.filename}: {error.strerror}", MESSAGE)
        print(f"error: {reason or type(error).__name__} (--debug shows where)", file=sys.stderr)
        return BAD_INPUT
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


class _OneLine(logging.Formatter):
    """Log lines hold names and notes of files: what a terminal would obey is written out."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return clean(record.message, MESSAGE)


def _terminate(signum: int, frame: object) -> None:
    raise Interrupted(signum)


def parser(program: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Makes the parser of a command with the options that all have."""
    # A terminal, or a file, that knows no "±" gets a question mark: no work is lost over it.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    made = argparse.ArgumentParser(
        program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    made.add_argument("--version", action="version", version=f"agd_keras {__version__}")
    return made


def progress_bar(description: str) -> Callable[[int, int], None] | None:
    """Returns a function `update(done, total)` that draws a bar, or None without a terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True))
    atexit.register(bar.stop)  # also after an error: it hides the cursor
    task = bar.add_task(description, total=None)

    def update(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return update


def effort() -> str:
    """Says how long this process has run and how much memory it took at most."""
    import resource

    import psutil

    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    spent = duration(time.time() - psutil.Process().create_time())
    return f"took {spent}, peak memory {peak:.2f} GB"


def print_table(table: Any) -> None:
    """Prints a rich table to standard output; what stands in it is text, never markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    Console(width=width, markup=False, emoji=False).print(table)
