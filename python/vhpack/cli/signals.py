"""Signals that ask the program to end: each cancels what runs, lets it clean up, and sets the exit status."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Remembers which signal it was."""

    def __init__(self) -> None:
        self._number: int = signal.SIGINT

    @property
    def status(self) -> int:
        """What a shell expects of a program that this signal ended."""
        return 128 + self._number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """End as Ctrl-C does; from here on the program is on its way out, and another signal must not tear that up."""
        del frame
        self._number = number
        for known in _SIGNALS:
            signal.signal(known, signal.SIG_IGN)
        raise KeyboardInterrupt


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does; one that is ignored (`nohup`) stays ignored."""
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
