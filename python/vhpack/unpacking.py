"""Archives among inputs: their members take their place, read as they lie or unpacked once."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import archive, cache, env, paths
from vhpack.errors import UnsafeMemberError

if TYPE_CHECKING:
    from typing import IO

    from vhpack.archive import Archive


_COARSEST = 2.0  # seconds in which file systems, FAT at the worst, count


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
    """Write members of one archive to the cache, and return their paths; those that are there already, and whole, stay.

    Raises:
        UnsafeMemberError: a member's name leads out of the folder it is unpacked to; none is written.
        CorruptArchiveError: a member fails its checksum.
    """
    opened = wanted[0].opened
    root = paths.cache_path()
    cache.prune(root, env.read().cache_days)
    folder = os.path.join(root, cache.UNPACKED, _key(opened.path))
    places = [_place(folder, packed) for packed in wanted]
    with cache.alone(folder):
        missing = [packed.member for packed, place in zip(wanted, places, strict=True) if not _is_whole(packed, place)]
        if missing:
            opened.extract(folder, missing, existing="skip", allow_collisions=not _folds(folder))
    return places


def _place(folder: str, packed: Packed) -> str:
    """Return where a member is unpacked to; looked at before it is asked whether there is something already."""
    if packed.member.startswith("/") or ".." in packed.member.split("/"):
        message = f"{packed.opened.path!r} has a member {packed.member!r}, which leads out of where it is unpacked; nothing is"
        raise UnsafeMemberError(message)
    return os.path.normpath(os.path.join(folder, packed.member))


def _is_whole(packed: Packed, place: str) -> bool:
    """Return whether a member is there as it was unpacked.

    What a crash has left of one, a small file without all of its bytes, is removed, and so is what somebody has written to.
    """
    try:
        found = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    described = packed.opened.info(packed.member)
    if not stat.S_ISREG(found.st_mode) or described.kind != "file":
        return True
    dated = described.mtime is None or abs(found.st_mtime - described.mtime) <= _COARSEST
    if found.st_size == described.size and dated:
        return True
    os.unlink(place)
    return False


def _folds(folder: str) -> bool:
    """Return whether the file system takes names that differ in case for one; the folder's own name has letters."""
    above, name = os.path.split(folder)
    return os.path.exists(os.path.join(above, name.upper())) and name.upper() != name


def _key(path: str) -> str:
    """Return a name for what the archive is now: another content is unpacked to another place."""
    found = os.stat(path)
    text = f"{os.path.realpath(path)}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}"
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
