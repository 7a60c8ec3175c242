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
    from collections.abc import Collection, Iterator, Mapping

NEEDED = "it is stored there, or still being sent elsewhere"
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
    """Remove a file if it has this xxh3-128, and return what keeps it from being removed; one that was written to since stays."""
    _finish(path, digest)
    before = _seen(path)
    if before is None or _hashed([path]).get(path) != digest:
        return None
    return _removed(path, before, digest)


def remove_files(originals: Originals, digests: Mapping[str, str], folders: list[str], there: Collection[str] = ()) -> list[str]:
    """Remove files of a package that have the content that it has, then folders that are empty; return what keeps others.

    What lies behind a link to a folder is somebody else's, and stays.

    Args:
        originals: Where they are.
        digests: The xxh3-128 of each member.
        folders: Names of members that are folders.
        there: Paths, without links in them, of files that are stored where they are, or sent from there, and stay.
    """
    root, why = originals.path, []
    touched = {path for folder in folders if (path := _inside(root, folder.rstrip("/"))) is not None and not os.path.islink(path)}
    for some in _pieces(list(digests)):
        paths = {path: digests[name] for name in some if (path := _inside(root, name)) is not None}
        if there:
            why += [f"{path} stays: {NEEDED}" for path in paths if os.path.realpath(path) in there]
            paths = {path: digest for path, digest in paths.items() if os.path.realpath(path) not in there}
        for path, digest in paths.items():
            _finish(path, digest)
        befores = {path: before for path in paths if (before := _seen(path)) is not None}
        found = _hashed(list(befores))
        for path, before in befores.items():
            kept = _removed(path, before, paths[path]) if found.get(path) == paths[path] else None
            if kept is not None:
                why.append(kept)
        for path in paths:
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


def _removed(path: str, before: tuple[int, ...], digest: str) -> str | None:
    """Remove a file that had the right content when it was looked at.

    It is put aside first: whoever opens its name to write the next one to it gets a new file, and what was written to it
    before that is seen, and put back. An unlink at once might take a file that a training loop had just begun.
    """
    aside = _aside(path, digest)
    try:
        os.rename(path, aside)
        if _seen(aside) != before:
            return _put_back(aside, path)
        os.unlink(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        _put_back(aside, path)
        return f"{path} stays: {error.strerror}"
    return None


def _finish(path: str, digest: str) -> None:
    """Bring to its end what a process was at when it was killed."""
    aside = _aside(path, digest)
    if not os.path.lexists(aside):
        return
    if _hashed([aside]).get(aside) == digest:
        with contextlib.suppress(OSError):
            os.unlink(aside)
    else:
        _put_back(aside, path)


def _put_back(aside: str, path: str) -> str | None:
    try:
        os.link(aside, path, follow_symlinks=False)
        os.unlink(aside)
    except FileNotFoundError:
        return None
    except OSError:  # there is another one by now
        return f"{aside} has what was written to {path} while that was removed"
    return None


def _aside(path: str, digest: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name[:60]}.{digest[:16]}.vhpack-original"


def _inside(root: str, name: str) -> str | None:
    """Return the path of a member, unless a link on the way leads elsewhere: what lies behind it is somebody else's."""
    path = os.path.join(root, name)
    folder = os.path.dirname(path)
    below = os.path.relpath(folder, root)
    return path if os.path.realpath(folder) == os.path.normpath(os.path.join(os.path.realpath(root), below)) else None


def _seen(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file is written to or replaced, but not when it is renamed; None of what is no file."""
    try:
        found, itself = os.stat(path), os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, itself.st_ino)


def _above(path: str, root: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    while folder.startswith(root.rstrip("/") + "/"):
        yield folder
        folder = os.path.dirname(folder)


def _pieces(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
