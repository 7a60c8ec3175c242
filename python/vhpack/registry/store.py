"""The content store of local runs: each content once, under its SHA-256, read-only, on the disk before anybody is told."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from vhpack.cloning import clone
from vhpack.errors import ContentError
from vhpack.writers import has_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

_STAGED = ".staged"
_LOCK = ".lock"
_FEW = 64  # files that are synced one by one; for more, one sync of the whole file system takes less
_THREADS = 4
_CHUNK = 1 << 20
_LATEST_NS = 2**63 - 1  # what the engine knows of times: the year 2262, and some file systems go on behind that
_DIGITS = frozenset("0123456789abcdef")


class Content(NamedTuple):
    """A file whose content is to be kept."""

    path: str
    sha256: str
    """As it was just computed from the file."""
    size: int
    modified_ns: int
    """Its time of modification when it was hashed: what has another one by now was changed since."""
    may_link: bool
    """The file may become the store's own, and read-only, where a copy would take room: nobody writes to it any more."""
    may_grow: bool = False
    """It is open for writing still: what was hashed is its beginning."""


class Disk(NamedTuple):
    """What is asked of the disk for many files at once; the engine does it, of which nothing here knows."""

    adopt: Callable[[bytes, bytes, Sequence[int], Sequence[int], bool], list[int]]
    """Given paths, second names, sizes, times of modification, and whether they are to be clones: give them those names, where
    they are read-only; return the numbers of those left out."""
    sync_system: Callable[[bytes], bool]
    """Wait until all that is on the file system of a folder is on the disk; False: by such a call it does not promise that."""


class Store:
    """A folder of contents."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._clones = True
        self._others: list[Content] = []

    def path(self, sha256: str) -> str:
        """Return where a content is, or would be.

        Raises:
            ContentError: what a database says is a digest is none, and might lead to anywhere.
        """
        if len(sha256) != 64 or not _DIGITS.issuperset(sha256):  # noqa: PLR2004
            raise ContentError(None, f"{sha256!r} is no SHA-256; the registry was not written by vhpack", self.folder)
        return _place(self.folder, sha256)

    @contextlib.contextmanager
    def held(self, *, alone: bool = False) -> Iterator[None]:
        """Keep others from removing contents that no row speaks of yet; `alone`, keep them from adding any, to remove such."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            descriptor = os.open(f"{self.folder}/{_LOCK}", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ContentError(
                error.errno,
                f"the content store {self.folder} cannot be written to: {error.strerror}; name another in VHPACK_STORE_DIR",
                self.folder,
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            except OSError as error:  # network disks may know no locks
                raise ContentError(
                    error.errno,
                    f"the content store {self.folder} cannot be locked: {error.strerror}; name one on a disk that has locks in"
                    " VHPACK_STORE_DIR",
                    self.folder,
                ) from None
            yield
        finally:
            os.close(descriptor)

    def keep(self, contents: Sequence[Content], disk: Disk) -> list[Content]:
        """Have all contents in the store and on the disk; to be called while it is `held`. The files stay where they are.

        Returns:
            Those that other processes have open for writing: what was hashed of them is kept, whatever comes behind that.

        Raises:
            ContentError: a file cannot be read, or has changed since it was hashed; or the store cannot be written to.
        """
        if not contents:
            return []
        contents = list({content.sha256: content for content in contents}.values())
        contents.sort(key=lambda content: not content.may_link)
        targets = [_place(self.folder, content.sha256) for content in contents]
        self._clones, self._others = True, []
        try:
            for folder in {target[:-63] for target in targets}:
                os.makedirs(folder, exist_ok=True)
            # By which it is known what the file system can do.
            self._keep(contents[0], targets[0])
            self._keep_all(self._not_adopted(contents[1:], targets[1:], disk))
            # Those that were there already, too: who put them there may not have come so far yet.
            self._sync(targets, disk)
        except OSError as error:
            if isinstance(error, ContentError):
                raise
            raise ContentError(
                error.errno,
                f"{error.filename} cannot be kept in the content store {self.folder}: {error.strerror}",
                error.filename,
            ) from None
        return self._others

    def _not_adopted(self, contents: Sequence[Content], targets: Sequence[str], disk: Disk) -> list[tuple[Content, str]]:
        """Clone or link what simply can be, all at once, and return what has to be kept in another way."""
        pairs = list(zip(contents, targets, strict=True))
        if len(pairs) <= _FEW:
            return pairs
        if self._clones:
            left = self._left(pairs, disk)
            self._clones = len(left) < len(pairs)
        return left if self._clones else self._left(pairs, disk)

    def _left(self, pairs: Sequence[tuple[Content, str]], disk: Disk) -> list[tuple[Content, str]]:
        simple: list[tuple[Content, str]] = []
        others: list[tuple[Content, str]] = []
        for pair in pairs:
            can_be = not pair[0].may_grow if self._clones else pair[0].may_link
            (simple if can_be and abs(pair[0].modified_ns) <= _LATEST_NS else others).append(pair)
        left = disk.adopt(
            os.fsencode("\0".join([content.path for content, _ in simple])),
            os.fsencode("\0".join([target for _, target in simple])),
            [content.size for content, _ in simple],
            [content.modified_ns for content, _ in simple],
            self._clones,
        )
        return others + [simple[number] for number in left]

    def _keep_all(self, pairs: Sequence[tuple[Content, str]]) -> None:
        def some(start: int) -> None:
            for content, target in pairs[start::_THREADS]:
                self._keep(content, target)

        if len(pairs) <= _FEW:
            for content, target in pairs:
                self._keep(content, target)
            return
        from concurrent.futures import ThreadPoolExecutor

        # Almost all of it is system calls, which other threads need not wait for.
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(some, range(_THREADS)))

    def problem(self, sha256: str, size: int) -> str | None:
        """Return what is wrong with a content, or None."""
        path = self.path(sha256)
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    return f"was altered: it has {found:,} bytes instead of {size:,}"
                digest = hashlib.sha256(usedforsecurity=False)
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            return "is gone: it was removed, or is in the store of another machine"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None if digest.hexdigest() == sha256 else f"was altered: its sha256 is {digest.hexdigest()}"

    def names(self) -> Iterator[tuple[str, int]]:
        """Return the digest and the size of each content."""
        for folder, _ in _listed(self.folder):
            if len(folder) == 2 and _DIGITS.issuperset(folder):  # noqa: PLR2004
                for name, size in _listed(f"{self.folder}/{folder}", follow=False):
                    if len(name) == 62 and _DIGITS.issuperset(name):  # noqa: PLR2004
                        yield folder + name, size

    def remove(self, sha256: str) -> None:
        """Remove a content, if it is there; to be called while the store is held alone."""
        _unlink(self.path(sha256))

    def sweep(self) -> int:
        """Remove what killed processes have left half-way, and return how many; to be called while the store is held alone."""
        left = [name for name, _ in _listed(f"{self.folder}/{_STAGED}", follow=False) if _DIGITS.issuperset(name)]
        for name in left:
            _unlink(f"{self.folder}/{_STAGED}/{name}")
        return len(left)

    def _keep(self, content: Content, target: str) -> None:
        if content.may_grow:
            self._begun(content, target)
        elif has_writers(content.path):
            self._others.append(content)
            self._begun(content, target)
        elif self._clones and self._cloned(content, target):
            return
        else:
            self._clones = False
            if not (content.may_link and _linked(content, target, self._staged)):
                self._copied(content, target)

    def _cloned(self, content: Content, target: str) -> bool:
        with self._staged() as staged:
            if not clone(content.path, staged):
                return False
            _finish(content, staged, target)
        return True

    def _copied(self, content: Content, target: str) -> None:
        # What is there already is read before it is believed: this file may be the last one that has the content.
        if os.path.lexists(target) and not _is_writable(target) and self.problem(content.sha256, content.size) is None:
            return
        with self._staged() as staged:
            shutil.copyfile(content.path, staged)
            _finish(content, staged, target)

    def _begun(self, content: Content, target: str) -> None:
        """Keep as much of a file as was hashed, whatever has come behind that since."""
        digest, left = hashlib.sha256(usedforsecurity=False), content.size
        with self._staged() as staged:
            with open(content.path, "rb") as file, open(staged, "xb") as copy:
                while chunk := file.read(min(left, _CHUNK)):
                    digest.update(chunk)
                    copy.write(chunk)
                    left -= len(chunk)
            if left or digest.hexdigest() != content.sha256:
                raise _changed(content)
            os.chmod(staged, _read_only(os.stat(content.path).st_mode))
            os.rename(staged, target)

    @contextlib.contextmanager
    def _staged(self) -> Iterator[str]:
        """Give a name for what is on its way into the store; nothing is left of it."""
        os.makedirs(f"{self.folder}/{_STAGED}", exist_ok=True)
        staged = f"{self.folder}/{_STAGED}/{secrets.token_hex(8)}"
        try:
            yield staged
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)

    def _sync(self, targets: Sequence[str], disk: Disk) -> None:
        if len(targets) > _FEW and disk.sync_system(os.fsencode(self.folder)):
            return
        folders = sorted({os.path.dirname(target) for target in targets})
        for path in (*targets, *folders, self.folder, os.path.dirname(self.folder)):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _place(folder: str, sha256: str) -> str:
    return f"{folder}/{sha256[:2]}/{sha256[2:]}"


def _linked(content: Content, target: str, staging: Callable[[], AbstractContextManager[str]]) -> bool:
    """Make a file the store's own, and read-only; return whether the file system can do that.

    It is read-only before it is in the store, so that no content is ever there that a program may still open to write to.
    """
    mode = _unchanged(content).st_mode
    try:
        os.chmod(content.path, _read_only(mode))
    except PermissionError:  # another user's file
        return False
    # Looked at again, since it is read-only only now: who opened it before, no mode keeps from writing.
    if has_writers(content.path):
        os.chmod(content.path, stat.S_IMODE(mode))
        return False
    try:
        os.link(content.path, target)
    except FileExistsError:
        if not os.path.samefile(content.path, target):
            # Of two that should be the same, the one that has just been hashed is known to be what it should be.
            with staging() as staged:
                os.link(content.path, staged)
                os.rename(staged, target)
    except OSError:  # another file system, one without links, or a file that has too many of them
        os.chmod(content.path, stat.S_IMODE(mode))
        return False
    return True


def _finish(content: Content, staged: str, target: str) -> None:
    os.chmod(staged, _read_only(_unchanged(content).st_mode))
    os.rename(staged, target)


def _unchanged(content: Content) -> os.stat_result:
    found = os.stat(content.path)
    if (found.st_size, found.st_mtime_ns) != (content.size, content.modified_ns):
        raise _changed(content)
    return found


def _changed(content: Content) -> ContentError:
    message = f"{content.path} changed while it was registered; register it when it is complete"
    return ContentError(None, message, content.path)


def _read_only(mode: int) -> int:
    """Return the mode of a content: nobody may write to it, and nobody may read it who could not before."""
    return stat.S_IMODE(mode) & 0o555 | 0o400


def _is_writable(path: str) -> bool:
    return bool(os.stat(path, follow_symlinks=False).st_mode & 0o222)


def _listed(folder: str, *, follow: bool = True) -> list[tuple[str, int]]:
    """Return name and size of all that is no folder in a folder, and of each folder.

    Unless `follow` says so, a link to a folder is none: what is removed by such a list must be the store's own.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW))
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return []
        raise ContentError(error.errno, f"{folder} cannot be listed: {error.strerror}", folder) from None
    try:
        with os.scandir(descriptor) as entries:
            return sorted((entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries)
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:  # nothing that was put there by us
        pass
    except OSError as error:
        raise ContentError(error.errno, f"{path} cannot be removed: {error.strerror}", path) from None
