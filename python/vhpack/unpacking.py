"""Archives among inputs: their members take their place, read as they lie or unpacked once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import archive, paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from vhpack.archive import Archive


@dataclass(frozen=True)
class Packed:
    """A member of an archive."""

    name: str
    """Its name in the input: in the folder that the archive is in."""
    member: str
    opened: Archive

    def open(self) -> IO[bytes]:
        """Open it as a file that can seek."""
        return self.opened.open(self.member)


def members(name: str, path: str) -> list[Packed]:
    """Return the files in an archive, in its order.

    Raises:
        UnsupportedArchiveError, CorruptArchiveError, LimitExceededError: as `vhpack.open`.
    """
    opened = archive.open(path)
    return [Packed(os.path.join(os.path.dirname(name), member), member, opened) for member in opened.names()]


def unpack(wanted: list[Packed]) -> list[str]:
    """Write members of one archive to the cache, and return their paths; those that are there already stay.

    Raises:
        UnsafeMemberError: a member's name leads out of the folder it is unpacked to; none is written.
        CorruptArchiveError: a member fails its checksum.
    """
    opened = wanted[0].opened
    folder = os.path.join(paths.cache_path(), "unpacked", _key(opened.path))
    with _alone(folder):
        missing = [packed.member for packed in wanted if not os.path.lexists(os.path.join(folder, packed.member))]
        if missing:
            opened.extract(folder, missing, existing="skip")
    return [os.path.join(folder, packed.member) for packed in wanted]


def _key(path: str) -> str:
    """Return a name for what the archive is now: another content is unpacked to another place."""
    found = os.stat(path)
    text = f"{os.path.realpath(path)}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}"
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Let one process at a time unpack into a folder."""
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
