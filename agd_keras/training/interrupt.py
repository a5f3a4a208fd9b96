"""A stop that was asked for: the training finishes its step first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from agd_keras.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Notice:
    """Which signal asked for a stop, None so far."""

    signal: int | None = None

    def obey(self) -> None:
        """Raises `Interrupted` if a stop was asked for."""
        if self.signal is not None:
            raise Interrupted(self.signal)


@contextmanager
def noticed() -> Iterator[Notice]:
    """Notes Ctrl-C and SIGTERM instead of breaking off at once; a second one does break off.

    Outside the main thread, where Python hears no signals, nothing is noted.

    Yields:
        The `Notice`.

    Raises:
        Interrupted: At the second signal.

    Example:

    >>> with noticed() as notice:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     notice.signal == signal.SIGTERM
    True
    """
    notice = Notice()

    def note(signum: int, frame: FrameType | None) -> None:
        if notice.signal is not None:
            raise Interrupted(signum)
        notice.signal = signum

    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    before = {one: signal.signal(one, note) for one in SIGNALS}
    try:
        yield notice
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
