"""The content store of local runs: each content once, under its SHA-256, read-only, on the disk before anybody is told."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

from vhpack.cloning import clone
from vhpack.errors import ContentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STAGED = ".staged"
_LOCK = ".lock"
_FEW = 64  # files that are synced one by one; for more, one sync of the whole file system takes less
_THREADS = 4
_DIGITS = frozenset("0123456789abcdef")


class Content(NamedTuple):
    """A file whose content is to be kept."""

    path: str
    sha256: str
    size: int
    modified_ns: int
    """Its time of modification when it was hashed: what has another one by now was changed since."""
    may_link: bool
    """The file may become the store's own, and read-only, where a copy would take room: nobody writes to it any more."""


class Store:
    """A folder of contents."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._clones = True

    def path(self, sha256: str) -> str:
        """Return where a content is, or would be."""
        return f"{self.folder}/{sha256[:2]}/{sha256[2:]}"

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
            fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def keep(self, contents: Sequence[Content]) -> None:
        """Have all contents in the store and on the disk; to be called while it is `held`. The files stay where they are.

        Raises:
            ContentError: a file cannot be read, or has changed since it was hashed; or the store cannot be written to.
        """
        targets = [self.path(content.sha256) for content in contents]
        self._clones = True
        try:
            for folder in {target[:-63] for target in targets}:
                os.makedirs(folder, exist_ok=True)
            self._keep_all(contents, targets)
            # Those that were there already, too: who put them there may not have come so far yet.
            self._sync(targets)
        except OSError as error:
            if isinstance(error, ContentError):
                raise
            raise ContentError(
                error.errno,
                f"{error.filename} cannot be kept in the content store {self.folder}: {error.strerror}",
                error.filename,
            ) from None

    def _keep_all(self, contents: Sequence[Content], targets: Sequence[str]) -> None:
        def some(start: int) -> None:
            for content, target in zip(contents[start::_THREADS], targets[start::_THREADS], strict=True):
                self._keep(content, target)

        if len(contents) <= _FEW:
            for content, target in zip(contents, targets, strict=True):
                self._keep(content, target)
            return
        from concurrent.futures import ThreadPoolExecutor

        # Almost all of it is system calls, which other threads need not wait for.
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(some, range(_THREADS)))

    def verify(self, sha256: str, size: int, name: str) -> str:
        """Return the path of a content, read to its end and found to be what it was.

        Raises:
            ContentError: it is gone, or was altered.
        """
        path = self.path(sha256)
        problem = self.problem(sha256, size)
        if problem is not None:
            raise ContentError(None, f"{name}: its content {path} {problem}", path)
        return path

    def problem(self, sha256: str, size: int) -> str | None:
        """Return what is wrong with a content, or None."""
        path = self.path(sha256)
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    return f"was altered: it has {found:,} bytes instead of {size:,}"
                digest = hashlib.sha256(usedforsecurity=False)
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except FileNotFoundError:
            return "is gone: it was removed, or is in the store of another machine"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None if digest.hexdigest() == sha256 else f"was altered: its sha256 is {digest.hexdigest()}"

    def names(self) -> Iterator[tuple[str, int]]:
        """Return the digest and the size of each content."""
        for folder in _listed(self.folder):
            if len(folder.name) == 2 and _DIGITS.issuperset(folder.name):  # noqa: PLR2004
                for entry in _listed(folder.path):
                    if len(entry.name) == 62 and _DIGITS.issuperset(entry.name):  # noqa: PLR2004
                        yield folder.name + entry.name, entry.stat(follow_symlinks=False).st_size

    def remove(self, sha256: str) -> None:
        """Remove a content, if it is there; to be called while the store is held alone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(sha256))

    def sweep(self) -> int:
        """Remove what killed processes have left half-way, and return how many; to be called while the store is held alone."""
        left = _listed(f"{self.folder}/{_STAGED}")
        for entry in left:
            os.unlink(entry.path)
        return len(left)

    def _keep(self, content: Content, target: str) -> None:
        made = self._copied(content, target)
        if made is None:
            return
        try:
            _refuse_changed(content)
            os.chmod(made, 0o444)
            if made != target:
                os.rename(made, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made)
            raise

    def _copied(self, content: Content, target: str) -> str | None:
        """Have a copy or a second name of a file, and return where; None: its content is there already.

        A name appears complete, and needs no other first.
        """
        if content.may_link and not self._clones:
            try:
                os.link(content.path, target)
            except FileExistsError:
                pass
            except OSError:  # another file system, or one without links
                content = content._replace(may_link=False)
            else:
                return target
        with contextlib.suppress(FileNotFoundError):
            if os.stat(target).st_size == content.size:
                return None
            os.unlink(target)  # damaged, and here is what it was
        os.makedirs(f"{self.folder}/{_STAGED}", exist_ok=True)
        staged = f"{self.folder}/{_STAGED}/{secrets.token_hex(8)}"
        if not (self._clones and clone(content.path, staged)):
            self._clones = False
            if content.may_link:
                return self._copied(content, target)
            shutil.copyfile(content.path, staged)
        return staged

    def _sync(self, targets: Sequence[str]) -> None:
        if len(targets) > _FEW:
            _sync_all(self.folder)
            return
        for path in (*targets, *sorted({os.path.dirname(target) for target in targets}), self.folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _refuse_changed(content: Content) -> None:
    found = os.stat(content.path)
    if (found.st_size, found.st_mtime_ns) != (content.size, content.modified_ns):
        message = f"{content.path} changed while it was registered; register it when it is complete"
        raise ContentError(None, message, content.path)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync_all(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), folder)
    finally:
        os.close(descriptor)
