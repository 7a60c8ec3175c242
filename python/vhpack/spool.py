"""Snapshots of files on their way to a store: what is written to a file after it was handed over does not arrive.

Each process has a folder of its own in the spool, and a lock on it for as long as it lives. What lies in the folder of one that
is gone is for whoever goes on with it, or for nobody.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import threading
import time
import zlib
from typing import TYPE_CHECKING

from vhpack.cloning import clone
from vhpack.errors import NoSpaceError, OptionError, PackOSError, SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SNAPSHOTS = ("auto", "copy")
_LOCK = "lock"
_NEW = ".new-"
_PROCESS = r"[0-9a-f]{8}-[0-9a-f]{16}"
_PLACE = re.compile(rf"/[0-9a-f]{{8}}/{_PROCESS}/[0-9a-f]{{16}}/[^/]+\Z")
"""How the paths end that are made here: whatever a registry says, nothing else is taken, or removed, on its word."""
_HOUR = 3600.0
_TICK = 0.02  # seconds: within one tick of a file system's clock two contents have one time


class Spool:
    """The spool as one process sees it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.process = os.getpid()
        self._own = ""
        self._held: dict[str, int] = {}
        self._mutex = threading.Lock()

    def place(self, name: str) -> str:
        """Return a path for a file of this name, in a folder of its own that is there.

        Raises:
            PackOSError, NoSpaceError: the spool cannot be written to.
        """
        with self._mutex, _told(self.root):
            if not self._own:
                self._own = self._made()
            folder = f"{self._own}/{secrets.token_hex(8)}"
            os.mkdir(folder)
        return f"{folder}/{name}"

    def snapshot(self, source: str, name: str, how: str = "auto") -> str:
        """Return the path of a copy of a file: of what it is now, whatever becomes of it.

        It takes neither room nor time where the file system can share blocks (`auto`), else as much as the file (`copy`).

        Raises:
            OptionError: `how` is neither.
            SourceChangedError: it changes while it is copied.
            PackOSError, NoSpaceError: it cannot be copied.
        """
        if how not in SNAPSHOTS:
            raise OptionError(f"snapshot is {how!r}; it must be one of {', '.join(SNAPSHOTS)}")
        target = self.place(name)
        try:
            with _told(source):
                before = os.stat(source)
                if not (how == "auto" and clone(source, target)):
                    before = _settled(source)
                    shutil.copyfile(source, target)
                after = os.stat(source)
            if _identity(before) != _identity(after):
                raise SourceChangedError(None, f"{source} changed while it was copied; hand it over when it is complete", source)  # noqa: TRY301
        except BaseException:
            self.drop(target)
            raise
        return target

    def drop(self, path: str) -> None:
        """Remove a file of the spool, and its folder with all that is there."""
        folder = os.path.dirname(path)
        theirs = os.path.dirname(folder)
        if not _is_made_here(path) or not os.path.isfile(f"{theirs}/{_LOCK}"):
            return
        shutil.rmtree(folder, ignore_errors=True)
        with self._mutex:
            if theirs in self._held and theirs != self._own and _listed(theirs) == [_LOCK]:
                self._leave(theirs)

    def takes(self, path: str) -> bool:
        """Return whether a file of the spool is this process's, or is so from now on, since the one that made it is gone."""
        with self._mutex:
            return _is_made_here(path) and self._take(os.path.dirname(os.path.dirname(path)))

    def is_gone(self, path: str) -> bool:
        """Return whether a file of the spool, which a process of this machine has put there, is there no longer."""
        folder = os.path.dirname(os.path.dirname(path))
        return os.path.basename(folder).startswith(f"{_machine()}-") and not os.path.lexists(f"{folder}/{_LOCK}")

    def sweep(self, needed: Collection[str]) -> None:
        """Remove what processes that are gone have left, but not what is needed."""
        for name in _listed(self.root):
            folder = f"{self.root}/{name}"
            if name.startswith(_NEW):
                with contextlib.suppress(OSError):
                    if os.stat(folder).st_mtime < time.time() - _HOUR:
                        shutil.rmtree(folder, ignore_errors=True)
                continue
            if re.fullmatch(_PROCESS, name) is None or os.path.islink(folder):
                continue
            with self._mutex:
                # One that is held has what this process goes on with, and maybe more, of which no row speaks.
                goes_on = folder in self._held
                if folder == self._own or not self._take(folder):
                    continue
                for inner in _listed(folder):
                    there = {f"{folder}/{inner}/{each}" for each in _listed(f"{folder}/{inner}")}
                    if inner != _LOCK and not there & set(needed):
                        shutil.rmtree(f"{folder}/{inner}", ignore_errors=True)
                if not goes_on or _listed(folder) == [_LOCK]:
                    self._leave(folder)

    def _made(self) -> str:
        """Make this process's folder: under another name until it is locked, so that nobody ever takes it for abandoned."""
        os.makedirs(self.root, exist_ok=True)
        token = f"{_machine()}-{secrets.token_hex(8)}"
        staged, folder = f"{self.root}/{_NEW}{token}", f"{self.root}/{token}"
        os.mkdir(staged)
        descriptor = os.open(f"{staged}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        os.rename(staged, folder)
        self._held[folder] = descriptor
        return folder

    def _take(self, folder: str) -> bool:
        if folder in self._held:
            return True
        try:
            descriptor = os.open(f"{folder}/{_LOCK}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        # A lock of the process, and not of the open file: forked children of one that is gone hold nothing.
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[folder] = descriptor
        return True

    def _leave(self, folder: str) -> None:
        """Let go of a folder, and remove it if nothing is left in it."""
        if _listed(folder) == [_LOCK]:
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{_LOCK}")
                os.rmdir(folder)
        os.close(self._held.pop(folder))

    def close(self) -> None:
        """At the end of the process: leave nothing behind where nothing is needed."""
        with self._mutex:
            for folder in list(self._held):
                self._leave(folder)
            self._own = ""


def _is_made_here(path: str) -> bool:
    """Return whether a path is one that is made here, of which no part is a link: it would send, or remove, what is elsewhere."""
    parts = [path]
    for _ in range(3):
        parts.append(os.path.dirname(parts[-1]))
    return _PLACE.search(path) is not None and not any(map(os.path.islink, parts))


def _machine() -> str:
    """Return what tells this machine, or container, from others that have the same paths."""
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def bring_to_disk(path: str) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settled(source: str) -> os.stat_result:
    found = os.stat(source)
    if abs(time.time() - found.st_mtime) < _TICK:
        time.sleep(_TICK)
        found = os.stat(source)
    return found


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else PackOSError
        message = f"{path} cannot be kept until it is sent: {error.strerror} ({error.filename or path}); nothing was removed"
        raise kind(error.errno, message, error.filename or path) from None
