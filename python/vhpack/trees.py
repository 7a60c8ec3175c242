"""Folders of files as a whole: what is in them, what vhpack has not written there, how they reach the disk and go."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from vhpack import committed
from vhpack.errors import NoSpaceError, PackOSError, PackPermissionError, SourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhpack.errors import PackError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def found(tree: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give all that lies below a folder and is no folder itself, with its name relative to it, in no order."""
    waiting = [("", tree)]
    while waiting:
        base, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{base}{entry.name}/", entry.path))
                else:
                    yield base + entry.name, entry


def strangers(tree: str, listed: set[str]) -> list[str]:
    """Return the names below a folder that are not listed: what vhpack has not written there."""
    return sorted(name for name, _ in found(tree) if name not in listed and name != committed.MANIFEST)


def remove(tree: str) -> list[str]:
    """Remove the files that a committed directory's manifest lists, and itself; return the paths of files that it does not list.

    Where there are some, they and the folders stay.
    """
    if not os.path.isdir(tree):
        return []
    listed = {each.name for each in committed.files_of(tree) or ()}
    left = []
    for name, entry in list(found(tree)):
        if name in listed:
            os.unlink(entry.path)
        elif name != committed.MANIFEST:
            left.append(entry.path)
    if left:
        return left
    # The manifest goes after all that it lists: until then a second try knows what may go.
    manifest = os.path.join(tree, committed.MANIFEST)
    if os.path.lexists(manifest):
        os.unlink(manifest)
    for place, _, _ in os.walk(tree, topdown=False):
        os.rmdir(place)
    return []


def write_file(path: str, content: bytes) -> tuple[int, int, str]:
    """Write a file in one go, and return its size, its time and its xxh3-128.

    Raises:
        PackError: it cannot be written.
    """
    from vhpack import _engine

    try:
        return _engine.write_file(os.fsencode(path), content)
    except PackOSError as error:
        raise refused(OSError(error.errno, os.strerror(error.errno or 0)), "write", path) from None


def look_through(tree: str) -> Iterator[tuple[str, int, int, bool]]:
    """Give all that lies below a folder and is no folder itself, in no order: name, size, time, and whether it is a file."""
    from vhpack import _engine

    for found in _engine.look_through(os.fsencode(tree)):
        if found[0] != committed.MANIFEST:
            yield found


def sync_file(path: str) -> None:
    """Wait until a file is on disk."""
    _sync(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on disk."""
    try:
        _sync(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        # Some network file systems cannot sync a folder; there is nothing to wait for then.
        if error.errno != errno.EINVAL:
            raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refused(error: OSError, attempt: str, path: str) -> PackError:
    """Return the error that says what was attempted on which path, and what to do."""
    kind: type[PackOSError | NoSpaceError | PackPermissionError | SourceNotFoundError] = PackOSError
    advice = "check the disk"
    if error.errno in _NO_SPACE:
        kind, advice = NoSpaceError, "free some space"
    elif error.errno in _NOT_ALLOWED:
        kind, advice = PackPermissionError, "choose a folder that you may write to"
    elif error.errno == errno.ENOENT:
        kind, advice = SourceNotFoundError, "check the spelling"
    elif error.errno == errno.ENAMETOOLONG:
        advice = "choose a shorter name"
    elif error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        advice = "a file cannot be a folder as well; choose another name"
    return kind(error.errno, f"cannot {attempt} {path}: {error.strerror}; {advice}", path)
