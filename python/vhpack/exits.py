"""How a program has ended: by itself, by an exception, or by an exit status, told from inside of it at its very end."""

from __future__ import annotations

import dis
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Literal, TypeAlias

    End: TypeAlias = Literal["succeeded", "failed", "unknown"]

_RETURNS = ("RETURN_VALUE", "RETURN_CONST")


class Watch:
    """Looks, at the end, at where the main program has stopped.

    Python tells functions that are called at its end nothing of the status. But the frame of the main program, which is kept
    here, has stopped at its last instruction: at a return where it came to its end, at a call or a raise where it did not.
    Which status a `SystemExit` had is known where `sys.exit` raised it.
    """

    def __init__(self) -> None:
        self._frame = _main_frame()
        self._raised: SystemExit | None = None
        self._at = -1
        self._exit = sys.exit

        def leave(status: object = None, /) -> NoReturn:
            self._raised = SystemExit(status)
            self._at = -1 if self._frame is None else self._frame.f_lasti
            raise self._raised

        leave.__doc__ = sys.exit.__doc__
        self._ours: Callable[..., NoReturn] = leave
        sys.exit = leave

    def close(self) -> None:
        """Let go of the main program."""
        if sys.exit is self._ours:
            sys.exit = self._exit
        self._frame = self._raised = None

    def end(self) -> End:
        """Return how the main program has ended; to be called at the end of the process.

        `unknown` is a `SystemExit` that was raised by other means than `sys.exit`.
        """
        if isinstance(getattr(sys, "last_value", None), BaseException):
            return "failed"
        if self._frame is None:
            return "unknown"
        if _last_instruction(self._frame) in _RETURNS:
            return "succeeded"
        if self._raised is None or not self._ended_by(self._raised.__traceback__, self._frame):
            return "unknown"
        return ended_by(self._raised)

    def _ended_by(self, trace: TracebackType | None, frame: FrameType) -> bool:
        """Return whether what `sys.exit` raised has left the main program, at the very place where that has stopped.

        Before Python 3.12 an exception knows its way only where something has held it up. One that nothing did has left where
        the main program stood when it was raised; one that was caught in a function may have ended there.
        """
        if trace is None:
            return self._at == frame.f_lasti
        while trace is not None and trace.tb_frame is not frame:
            trace = trace.tb_next
        # What `finally` and `with` have held up goes on from an instruction of theirs.
        return trace is not None and (trace.tb_lasti == frame.f_lasti or _last_instruction(frame) == "RERAISE")


def ended_by(error: SystemExit) -> End:
    """Return how a program has ended that a SystemExit has ended: the interpreter itself prints any code but an integer, as 1.

    Example:
        >>> from vhpack.exits import ended_by
        >>> [ended_by(SystemExit(code)) for code in (None, 0, 3, "no data", 0.0)]
        ['succeeded', 'succeeded', 'failed', 'failed', 'failed']
    """
    return "succeeded" if error.code is None or (isinstance(error.code, int) and error.code == 0) else "failed"


def _main_frame() -> FrameType | None:
    """Return the frame of the main program's own code, which all other code is called by."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - the documented way to see frames
    found = None
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            found = frame
        frame = frame.f_back
    return found


def _last_instruction(frame: FrameType) -> str:
    at = frame.f_lasti
    return dis.opname[frame.f_code.co_code[at]] if at >= 0 else ""
