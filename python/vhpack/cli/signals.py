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


class Heard:
    """Takes the first signal as a wish to end well; the next one ends the program as ever."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        """What the next signal is for."""
        self.number: int | None = None
        """The signal, once there was one."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, and leave the next one to `Stop`."""
        del frame
        self.number = number
        self.give_back()

    def give_back(self) -> None:
        """Leave the signals that came here to `stop`."""
        stop = self.stop
        for known in _SIGNALS:
            if signal.getsignal(known) is self:
                signal.signal(known, stop)


@contextlib.contextmanager
def heard(stop: Stop) -> Iterator[Heard]:
    """Only note the first signal that would end the program; one that is ignored stays ignored."""
    noted = Heard(stop)
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is stop:
                signal.signal(number, noted)
    try:
        yield noted
    finally:
        noted.give_back()


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
