"""The end of files whose content is stored elsewhere: only what has that very content goes, and folders that are empty then."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from vhpack import hashing
from vhpack.errors import PackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_AT_ONCE = 2000  # files that are hashed by one call: some 0.2 MB of names


@dataclass(frozen=True)
class Originals:
    """What is to be removed once it is stored."""

    path: str
    """A file; of a package the folder that the names of its members are relative to."""
    whole: bool = False
    """The folder itself was handed over, and goes with what is in it, when it is empty."""

    def text(self) -> str:
        """Return this as a row has it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Originals:
        """Return what a row says."""
        return cls(**json.loads(text))


def remove_file(path: str, digest: str) -> str | None:
    """Remove a file if it has this xxh3-128, and return why it stays."""
    try:
        before = _identity(path)
        found = hashing.hash_files([path])
    except FileNotFoundError:
        return None
    except (OSError, PackError) as error:
        return f"{path} stays: {getattr(error, 'strerror', None) or error}"
    return _unlinked(path, before, next(iter(found.values())) == digest)


def remove_files(originals: Originals, digests: Mapping[str, str], folders: list[str]) -> list[str]:
    """Remove files of a package that have the content that it has, then folders that are empty, and return why others stay.

    Args:
        originals: Where they are.
        digests: The xxh3-128 of each member.
        folders: Names of members that are folders.
    """
    root, why = originals.path, []
    touched = {os.path.join(root, folder.rstrip("/")) for folder in folders}
    for some in _pieces(list(digests)):
        paths = {name: path for name in some if (path := _inside(root, name)) is not None and os.path.lexists(path)}
        befores = {path: before for path in paths.values() if (before := _seen(path)) is not None}
        found = _hashed(list(befores))
        for name, path in paths.items():
            kept = _unlinked(path, befores.get(path), found.get(path) == digests[name])
            if kept is not None:
                why.append(kept)
            touched.update(_above(path, root))
    if originals.whole:
        touched.add(root)
    else:
        touched.discard(root)
    for folder in sorted(touched, key=len, reverse=True):
        # One that gained other files meanwhile is not empty, and stays.
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return why


def _hashed(paths: list[str]) -> dict[str, str]:
    try:
        return hashing.hash_files(paths, hidden=True) if paths else {}
    except (OSError, PackError):
        found: dict[str, str] = {}
        for path in paths:
            # One that cannot be read stays; the others are no worse for it.
            with contextlib.suppress(OSError, PackError):
                found.update(hashing.hash_files([path]))
        return found


def _unlinked(path: str, before: tuple[int, ...] | None, same: bool) -> str | None:  # noqa: FBT001
    if not same or before is None or _seen(path) != before:
        return f"{path} stays: it is not what was stored, or cannot be read"
    try:
        os.unlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} stays: {error.strerror}"
    return None


def _inside(root: str, name: str) -> str | None:
    """Return the path of a member, unless a link on the way leads elsewhere: what lies behind it is somebody else's."""
    path = os.path.join(root, name)
    folder = os.path.dirname(path)
    below = os.path.relpath(folder, root)
    return path if os.path.realpath(folder) == os.path.normpath(os.path.join(os.path.realpath(root), below)) else None


def _identity(path: str) -> tuple[int, ...]:
    found, itself = os.stat(path), os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(2, "is no file", path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, itself.st_ino)


def _seen(path: str) -> tuple[int, ...] | None:
    try:
        return _identity(path)
    except OSError:
        return None


def _above(path: str, root: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    while folder.startswith(root.rstrip("/") + "/"):
        yield folder
        folder = os.path.dirname(folder)


def _pieces(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
