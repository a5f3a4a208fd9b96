"""The one exception that means "the input is wrong", as opposed to a fault of the program."""

from agd_keras.text import MESSAGE, clean


class InputError(ValueError):
    """Raised for a file, folder or option that cannot be used.

    The message is one clear line that names the file or option and says what was expected; the
    commands print it as it is and exit with status 1. Whatever stands in it of files, folders or
    servers is made fit for a terminal: no line break, no control, no more than 400 letters.

    Args:
        *lines: The line; where there is more than one problem, a line for each below it.

    Example:

    >>> raise InputError("--image-size 100: expected a multiple of 16")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: --image-size 100: expected a multiple of 16
    """

    def __init__(self, *lines: str):
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n  ".join(clean(line, MESSAGE) for line in self.args)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop.

    Args:
        signum: Number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, signum: int):
        super().__init__(f"signal {signum}")
        self.signum = signum
