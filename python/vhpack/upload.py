"""A file on its way to its destination, as whoever sent it sees it."""

from __future__ import annotations

import os
import threading
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack import errors
from vhpack.errors import PackWarning, UploadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhpack import _engine

_LASTS = 3.0  # seconds: what is over sooner is nobody's business
_SAID_EVERY = 60.0

ENDED = frozenset({"done", "failed", "cancelled"})


class Begun:
    """Whether an upload has been begun. There may be many thousand, and a `threading.Event` each takes more than that."""

    __slots__ = ("_is_set", "_lock")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let those who wait go on; called once."""
        self._is_set = True
        self._lock.release()

    def is_set(self) -> bool:
        """Return whether it has been."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has been, and return whether it has."""
        if not self._is_set and self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self._lock.release()
        return self._is_set


class Upload:
    """A file on its way. It needs no attention: whatever becomes of it is reported by `wait_for_uploads` and at the end.

    All properties may be read at any time, from any thread.
    """

    __slots__ = ("_begun", "_failure", "_native", "_path", "_place", "_process", "_seen", "_unwanted", "_uri")

    def __init__(self, path: str, uri: str) -> None:
        self._path = path
        self._uri = uri
        self._process = os.getpid()
        self._native: _engine.Upload | None = None
        self._failure: UploadError | None = None
        self._begun = Begun()
        self._unwanted = False
        self._place: tuple[str, tuple[tuple[str, str], ...]] = (uri, ())
        self._seen = False

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._path

    @property
    def uri(self) -> str:
        """Where it goes."""
        return self._uri

    @property
    def state(self) -> str:
        """`queued`, `hashing`, `creating`, `sending`, `completing`, `verifying`; at last `done`, `failed` or `cancelled`."""
        native = self._of_engine()
        if native is not None:
            return native.state
        if self._failure is not None:
            return "cancelled" if self._unwanted else "failed"
        return "queued" if self._uri else ("done" if self._begun.is_set() else "queued")

    @property
    def bytes_sent(self) -> int:
        """Bytes that the destination has acknowledged, those of an earlier attempt that need not be sent again among them."""
        native = self._of_engine()
        return 0 if native is None else native.bytes_sent

    @property
    def bytes_total(self) -> int | None:
        """Size of the file; None while that is not known."""
        native = self._of_engine()
        return None if native is None else native.bytes_total

    @property
    def bytes_reused(self) -> int:
        """Bytes that an earlier attempt had sent."""
        native = self._of_engine()
        return 0 if native is None else native.bytes_reused

    @property
    def rate(self) -> float:
        """Bytes a second, of late."""
        native = self._of_engine()
        return 0.0 if native is None else native.rate

    @property
    def eta(self) -> float | None:
        """Seconds until the end, at this rate; None while nothing is known."""
        native = self._of_engine()
        return None if native is None else native.eta

    @property
    def checksum(self) -> str | None:
        """The checksum of the whole file, once it is known: its name, a colon, and the digits."""
        native = self._of_engine()
        return None if native is None else native.checksum

    @property
    def skipped(self) -> bool:
        """Whether the destination had this very content already, so that nothing was sent."""
        native = self._of_engine()
        return native is not None and native.skipped

    @property
    def removed(self) -> bool:
        """Whether the file was removed after its upload, which `remove_after` asks for."""
        native = self._of_engine()
        return native is not None and native.removed

    @property
    def kept(self) -> str | None:
        """Why the file still is here although `remove_after` was asked for: its arrival could not be checked, or it changed."""
        native = self._of_engine()
        return None if native is None else native.kept

    @property
    def trouble(self) -> str | None:
        """What goes wrong at the moment, while it is tried again; None while all is well."""
        native = self._of_engine()
        return None if native is None else native.trouble

    @property
    def error(self) -> UploadError | None:
        """Why it failed or was cancelled; None as long as it did not."""
        error = self._error()
        self._seen = self._seen or error is not None
        return error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the upload has ended, and return whether it has.

        The first Ctrl-C ends the waiting, and the uploads go on; a second one, here or at the end of the program, cancels
        them all.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            UploadError: it failed or was cancelled.
        """
        from vhpack import outbox

        with outbox.heeding():
            ended = self._wait(timeout)
        if ended and (error := self.error) is not None:
            raise error
        self._warn_if_kept()
        return ended

    def cancel(self) -> None:
        """Give the upload up: what was sent is removed from the destination, and nothing resumes it.

        It has ended a little later, as `wait` tells; one that has ended already stays as it is.
        """
        self._of_engine()
        # The thread that begins it looks at this first.
        self._unwanted = self._unwanted or self.state not in ENDED
        self._cancel_if_unwanted()

    def __repr__(self) -> str:
        if self._process != os.getpid():
            return f"Upload({self._path!r} to {self._uri!r}: sent by process {self._process})"
        whole = "" if self.bytes_total is None else f" of {self.bytes_total}"
        return f"Upload({self._path!r} to {self._uri!r}: {self.state}, {self.bytes_sent}{whole} bytes)"

    def _cancel_if_unwanted(self) -> None:
        if self._unwanted and self._native is not None:
            self._native.cancel()

    def _warn_if_kept(self) -> None:
        """Say once that a file was not removed: whoever asked for it counts on the room."""
        if (why := self.kept) is not None and not self._seen:
            self._seen = True
            warnings.warn(why, PackWarning, stacklevel=3)

    def _error(self) -> UploadError | None:
        native = self._of_engine()
        if self._failure is None and native is not None and (failed := native.error) is not None:
            kind, message, errno = failed
            self._failure = errors.of_upload(kind, message, errno, self._path, self._uri)
        return self._failure

    def _wait(self, timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        self._of_engine()
        if not self._begun.wait(timeout):
            return False
        if self._native is None:
            return True
        return self._native.wait(None if until is None else max(0.0, until - time.monotonic()))

    def _of_engine(self) -> _engine.Upload | None:
        if self._process != os.getpid():
            # Its locks may have been held when the process was forked, by threads that are not here.
            raise UploadError(None, f"{self._path} is sent by process {self._process}, and only that can tell of it", self._path)
        return self._native

    def _has_ended(self) -> bool:
        return self.state in ENDED


class Trouble:
    """Says what keeps uploads from going on: once that has lasted, now and then, and not for each file."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._next = 0.0

    def of(self, uploads: Iterable[Upload]) -> str | None:
        """Return what is to be said of these now."""
        now = time.monotonic()
        found = next((trouble for upload in uploads if (trouble := upload.trouble) is not None), None)
        if found is None:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        if now < max(self._since + _LASTS, self._next):
            return None
        self._next = now + _SAID_EVERY
        return f"{found}; it is tried again"


@dataclass(frozen=True)
class UploadReport:
    """How the uploads of this process stand."""

    done: list[Upload] = field(default_factory=list)
    failed: list[Upload] = field(default_factory=list)
    """Those that failed or were cancelled."""
    pending: list[Upload] = field(default_factory=list)
    """Those that had not ended when the time was up."""
