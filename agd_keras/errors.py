"""The one exception that means "the input is wrong", as opposed to a fault of the program."""


class InputError(ValueError):
    """Raised for a file, folder or option that cannot be used.

    The message is one clear line that names the file or option and says what was expected; the
    commands print it as it is and exit with status 1.

    Example:

    >>> raise InputError("--image-size 100: expected a multiple of 16")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: --image-size 100: expected a multiple of 16
    """


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop.

    Args:
        signum: Number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, signum: int):
        super().__init__(f"signal {signum}")
        self.signum = signum
