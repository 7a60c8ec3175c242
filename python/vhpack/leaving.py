"""The end of a program with uploads under way: it waits for them, says how far they are, and what it could not finish."""

from __future__ import annotations

import atexit
import shlex
import sys
import time
from typing import TYPE_CHECKING

from vhpack import sizes
from vhpack.upload import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from vhpack.upload import Upload

    class Uploads(Protocol):
        """The uploads of the process."""

        interrupts: int

        def unfinished(self) -> list[Upload]:
            """Return the uploads that have not ended."""

        def unheard(self) -> list[Upload]:
            """Return the uploads that failed and whose error nobody has asked for."""

        def unremoved(self) -> list[str]:
            """Return why files are still here that were to be removed."""

        def wait(self, upload: Upload, seconds: float) -> None:
            """Wait for one upload, whatever becomes of it."""

        def interrupted(self) -> None:
            """Count a Ctrl-C: the second one cancels."""


_TIMEOUT = 600.0  # seconds: a GPU that waits costs more than finishing the rest elsewhere with `vhpack resume`
_EVERY = 10.0  # seconds between lines in a log
_ON_TERMINAL = 0.5  # ... and on a terminal, where the line is written over
_CANCELLING = 10.0  # seconds that the destination gets to forget what is given up
_SHOWN = 10


def register(leave: Callable[[], None]) -> None:
    """Have `leave` called at the end of this process."""
    atexit.register(leave)
    # Processes of `multiprocessing` end without the interpreter's own end, and do this instead.
    if is_worker():
        from multiprocessing.util import Finalize

        Finalize(None, leave, exitpriority=100)


def is_worker() -> bool:
    """Return whether this is a process of `multiprocessing`, which ends in a way of its own."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def _end_worker_with_120() -> None:
    """Have the last that such a process does set its status: what raises before would keep the rest from being done."""
    from multiprocessing.util import Finalize

    def end() -> None:
        raise SystemExit(120)

    Finalize(None, end, exitpriority=-1_000_000)


def drain(uploads: Uploads, *, timeout: str, records: str) -> None:
    """Wait until all uploads have ended, for `timeout` seconds at most, and say what has not arrived.

    When something has not, and no exception says so already, the exit status becomes 120, Python's own for what went wrong
    at its end.
    """
    # An uncaught Ctrl-C is what brought us here: the next one is the second.
    if uploads.interrupts == 0 and issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt):
        uploads.interrupts = 1
    line = _Line()
    try:
        _wait(uploads, _seconds(timeout), line)
    except KeyboardInterrupt:
        line.end()
        _interrupted(uploads)
    line.end()
    unfinished, failed = uploads.unfinished(), uploads.unheard()
    _say_unfinished(unfinished, records)
    for upload in failed[:_SHOWN]:
        _say(f"vhpack: {upload.error}")
    if len(failed) > _SHOWN:
        _say(f"vhpack: and {len(failed) - _SHOWN} more uploads failed")
    for why in uploads.unremoved()[:_SHOWN]:
        _say(f"vhpack: {why}")
    if (unfinished or failed) and not hasattr(sys, "last_value"):
        if is_worker():
            _end_worker_with_120()
        else:
            end_with_120()


def _wait(uploads: Uploads, seconds: float, line: _Line) -> None:
    began, trouble = time.monotonic(), Trouble()
    while (left := uploads.unfinished()) and (remaining := began + seconds - time.monotonic()) > 0:
        line.show(lambda: _progress(left, remaining))
        if (said := trouble.of(left[:_SHOWN])) is not None:
            line.end()
            _say(f"vhpack: {said}")
        uploads.wait(left[0], min(remaining, _ON_TERMINAL))


def _progress(left: Sequence[Upload], remaining: float) -> str:
    sent, total = sum(upload.bytes_sent for upload in left), sum(upload.bytes_total or 0 for upload in left)
    rate = sum(upload.rate for upload in left)
    many = "1 upload" if len(left) == 1 else f"{len(left):,} uploads"
    return (
        f"vhpack: waiting for {many}: {sizes.text(sent)} of {sizes.text(total)} sent, {sizes.text(rate)}/s;"
        f" for {remaining:.0f} s more at most"
    )


def _interrupted(uploads: Uploads) -> None:
    uploads.interrupted()
    if uploads.interrupts < 2:  # noqa: PLR2004 - the first ends the waiting, the second cancels
        return
    _say("vhpack: interrupted again: the uploads are cancelled")
    until = time.monotonic() + _CANCELLING
    try:
        while (left := uploads.unfinished()) and time.monotonic() < until:
            uploads.wait(left[0], _ON_TERMINAL)
    except KeyboardInterrupt:
        return


def _say_unfinished(unfinished: Sequence[Upload], records: str) -> None:
    if not unfinished:
        return
    many = "1 upload is" if len(unfinished) == 1 else f"{len(unfinished):,} uploads are"
    _say(f"vhpack: {many} unfinished:")
    for upload in unfinished[:_SHOWN]:
        _say(f"  {_far(upload)}")
    if len(unfinished) > _SHOWN:
        _say(f"  and {len(unfinished) - _SHOWN} more")
    command = f"VHPACK_STATE_DIR={shlex.quote(records)} vhpack resume"
    _say(f"vhpack: `{command}` finishes what was begun, `vhpack upload FILE --to URI` the rest")


def _far(upload: Upload) -> str:
    if not upload.uri:
        return f"{upload.path}: not marked for upload yet"
    whole = upload.bytes_total
    how = "not begun" if whole is None else f"{sizes.text(upload.bytes_sent)} of {sizes.text(whole)} sent"
    why = "" if upload.trouble is None else f"; {upload.trouble}"
    return f"{upload.path} to {upload.uri}: {how}{why}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text or _TIMEOUT)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        _say(f"vhpack: VHPACK_EXIT_TIMEOUT is {text!r}, which is no number of seconds; waiting for {_TIMEOUT:.0f}")
        return _TIMEOUT
    return seconds


class _Line:
    """A line about progress: written over on a terminal, now and then in a log."""

    def __init__(self) -> None:
        self._terminal = _is_terminal()
        self._next = 0.0
        self._open = False

    def show(self, text: Callable[[], str]) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_ON_TERMINAL if self._terminal else _EVERY)
        _say(f"\r\x1b[2K{text()}" if self._terminal else text(), end="" if self._terminal else "\n")
        self._open = self._terminal

    def end(self) -> None:
        if self._open:
            _say("")
            self._open = False


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # stderr is None, or closed
        return False


def _say(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201 - the program has no other way to say it any more
    except (OSError, ValueError, AttributeError):
        return


class _Failing:
    """Standard output, of which the interpreter's very last flush fails: that is what its exit status can be set by.

    `os._exit` would set it, too, and skip what other modules still have to do at the end.
    """

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def flush(self) -> None:
        """Flush; without a caller in Python, which only the interpreter itself is, fail behind that."""
        if self._stream is not None:
            self._stream.flush()  # type: ignore[attr-defined]
        try:
            sys._getframe(1)  # noqa: SLF001 - the way to know one's caller
        except ValueError:
            raise OSError("not everything was uploaded") from None


def end_with_120() -> None:
    """Let the exit status be 120, unless the program has another one."""
    previous = sys.unraisablehook

    def hook(about: object) -> None:
        if not isinstance(getattr(about, "object", None), _Failing):
            previous(about)  # type: ignore[arg-type]

    sys.unraisablehook = hook
    sys.stdout = _Failing(sys.stdout)
