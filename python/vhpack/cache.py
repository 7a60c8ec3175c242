"""The cache of what was downloaded or unpacked: a folder for each thing, one writer at a time, and an end of what is unused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from typing import TYPE_CHECKING

from vhpack import durations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNPACKED = "unpacked"
"""The folder of what archives were unpacked to, in the cache."""

_DAY = 86_400.0
_NAME = re.compile(r"[0-9a-f]{32}")


@contextlib.contextmanager
def alone(folder: str, pause: Callable[[], object] | None = None) -> Iterator[None]:
    """Let no other process or thread write to a folder of the cache, which is made where it is not there.

    Args:
        folder: Which.
        pause: Called between looks while another one is at it, to wait a moment, or to raise; by default the wait has no end.
    """
    while True:
        os.makedirs(folder, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # pruned in this very moment
            continue
        try:
            if pause is None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            else:
                while not _locked(descriptor):
                    pause()
            if _is(descriptor, folder):
                os.utime(descriptor)  # by which `prune` knows that it is in use
                yield
                return
        finally:
            os.close(descriptor)


def prune(cache: str, days: str) -> None:
    """Remove what nobody has asked for in so many days; an empty text keeps everything.

    What another process is writing to stays. Inputs themselves are no part of the cache.

    Args:
        cache: The cache's folder; it need not exist.
        days: `VHPACK_CACHE_DAYS`.

    Raises:
        OptionError: `days` is no number of days.
    """
    if not days:
        return
    before = time.time() - durations.parse("VHPACK_CACHE_DAYS", days, "days", below=1e5) * _DAY
    for parent in (cache, os.path.join(cache, UNPACKED)):
        for folder in _folders(parent):
            with contextlib.suppress(OSError):
                _remove(folder, before)


def _folders(parent: str) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            return [entry.path for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _remove(folder: str, before: float) -> None:
    import shutil

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_mtime < before and _locked(descriptor) and _is(descriptor, folder):
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(descriptor: int, folder: str) -> bool:
    """Return whether a folder that was opened still is the one of its name."""
    try:
        found = os.stat(folder)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)
