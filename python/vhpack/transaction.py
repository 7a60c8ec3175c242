"""A new version of a directory while it is written: which files it has, and what they are made of."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import threading
from typing import TYPE_CHECKING

from vhpack import committed, committing, trees
from vhpack.errors import MemberCollisionError, OptionError, PackError
from vhpack.journal import Finished, Stamped
from vhpack.staging import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

    from vhpack._packing import StrPath


_AT_ONCE = 1 << 20  # bytes that the engine writes in one call, which Ctrl-C waits for
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


class Transaction:
    """Files on their way into the directory at `path`; between `enter` and `leave` they are this process's alone."""

    def __init__(self, path: StrPath, *, resume: bool, by: str = "") -> None:
        text = os.fspath(path)
        if not text or "\0" in text:
            raise OptionError(f"{text!r} is no directory; name one")
        # Where a link stands, the directory that it leads to is replaced, and not the link.
        self.target = os.path.realpath(text)
        if self.target == "/":
            raise OptionError("the root of all files cannot be replaced; name a directory in it")
        self._resume = resume
        self._by = by
        self._stage = Stage(self.target)
        self._process = 0
        self._folders: set[str] = set()
        self._owners: dict[str, str] = {}  # ids, by the names of finished files
        self._being_written: set[str] = set()  # names of files that `write` is at
        self._unasked: set[str] = set()  # ids of what an earlier process has finished, and nobody has asked for yet
        self._lock = threading.Lock()
        self._syncing = committing.Syncing(self._stage)
        self.dropped: list[str] = []
        """Files of an earlier process that were not committed."""

    def enter(self) -> None:
        """Take the directory's stage."""
        if self._process:
            raise OptionError(f"{self.target} was written by this OutputDir already; make another one")
        # Before what an earlier process has left is dropped for nothing.
        committing.check_replaceable(self.target)
        self._stage.enter(resume=self._resume, by=self._by)
        self._process = os.getpid()
        self._owners = {file.name: each.id for each in self._stage.finished.values() for file in each.files}
        self._unasked = set(self._stage.finished)

    def leave(self, *, failed: bool) -> None:
        """Commit, or after a failure leave the directory as it was."""
        if self._process != os.getpid():
            return  # a fork's copy: the directory is its parent's
        self._syncing.end()
        try:
            if not failed:
                self._commit()
            elif not (self._resume and self._stage.finished):
                self._stage.discard()
        except OSError as error:
            if isinstance(error, PackError):
                raise
            raise trees.refused(error, "give up", self._stage.path) from None
        finally:
            self._stage.leave()

    def _commit(self) -> None:
        try:
            self._drop_unasked()
            committing.commit(self._stage)
        except BaseException:
            # What was made is whole, and only the commit failed.
            if self._stage.descriptor >= 0:
                self._stage.write_down()
            raise

    def _drop_unasked(self) -> None:
        """Let nothing be seen of an earlier run that was cut off and had more to do than this one."""
        for id in sorted(self._unasked):  # noqa: A001
            each = self._stage.finished.get(id)
            if each is not None:
                self.forget(each)
                self.dropped += [file.name for file in each.files]

    def named(self, name: StrPath) -> str:
        """Return the plain form of a name, if it is one of a file in the directory."""
        text = os.fspath(name)
        if self._stage.descriptor < 0:
            raise OptionError(f"files of {self.target} are written in the `with` block of its OutputDir, and not elsewhere")
        if committed.is_safe(text):
            return text
        plain = os.path.normpath(text)
        if not committed.is_safe(plain):
            raise OptionError(f"{text!r} is no name of a file in {self.target}; give a path relative to it, without ..")
        return plain

    def place(self, name: str) -> str:
        """Return where a file is written for now; its folder is made."""
        path = f"{self._stage.tree}/{name}"
        # Whoever is given the path may write to it, in the same tick of the clock, too.
        self._stage.digests.pop(name, None)
        if self._unasked:
            self._unasked.discard(self._owners.get(name, ""))
        folder = name.rpartition("/")[0]
        if folder and folder not in self._folders:
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except OSError as error:
                raise trees.refused(error, "make the folder of", path) from None
            self._folders.add(folder)
        return path

    def check_unfinished(self, name: str) -> None:
        """Refuse to write a file that is complete."""
        if name in self._owners:
            raise MemberCollisionError(f"{name!r} in {self.target} is finished already; give each file a name of its own")

    def finished(self) -> list[Finished]:
        """Return what is done; who sees it has asked for it."""
        self._unasked.clear()
        return [*self._stage.finished.values()]

    def done(self, id: str) -> Finished | None:  # noqa: A002
        """Return what is done under this id."""
        self._unasked.discard(id)
        return self._stage.finished.get(id)

    def forget(self, each: Finished) -> None:
        """Let something have to be done again; its files go."""
        self._stage.forget(each)
        for file in each.files:
            del self._owners[file.name]

    def claim(self, name: str, id: str, source: str | None = None, *, again: bool = False) -> None:  # noqa: A002
        """Refuse a second file of one id, and a second id of one file.

        Raises:
            MemberCollisionError: with a sentence that names both.
        """
        owner = self._owners.get(name)
        if owner is not None and not (again and owner == id):
            theirs = self._stage.finished[owner]
            raise MemberCollisionError(
                f"{name!r} in {self.target} is finished already{_from(theirs.source or owner, name)}, and would be written again"
                f"{_from(source or id, name)}; give each file a name of its own"
            )
        other = self._stage.finished.get(id)
        if other is not None and all(file.name != name for file in other.files):
            first = other.files[0].name if other.files else id
            both = f"{first!r}{_from(other.source, first)} and {name!r}{_from(source, name)}"
            raise MemberCollisionError(f"{both} have one id, {id!r}, in {self.target}, and one would be lost; give each its own")

    def finish(self, id: str, names: Iterable[str], source: str | None = None, stamp: tuple[int, ...] = ()) -> None:  # noqa: A002
        """Write down that the files of an id are complete."""
        stamped = []
        for name in names:
            path = os.path.join(self._stage.tree, name)
            try:
                seen = os.lstat(path)
            except OSError as error:
                raise trees.refused(error, "finish", path) from None
            if not stat.S_ISREG(seen.st_mode):
                raise OptionError(f"{name!r} in {self.target} is no file; write files, and no links")
            stamped.append(Stamped(name, seen.st_size, seen.st_mtime_ns))
        self._note(Finished(id, tuple(stamped), source, stamp))

    def write(self, name: str, content: Buffer, id: str, source: str | None = None) -> None:  # noqa: A002
        """Write a whole file, and that it is complete."""
        with self._lock:
            if name in self._owners or id in self._stage.finished:
                self.claim(name, id, source)
            if name in self._being_written:
                both = (
                    f"{name!r} in {self.target} is being written already, and would be written again{_from(source or id, name)}"
                )
                raise MemberCollisionError(f"{both}; give each file a name of its own")
            self._being_written.add(name)
        try:
            path = self.place(name)
            if isinstance(content, bytes) and len(content) <= _AT_ONCE:
                size, mtime_ns, digest = trees.write_file(path, content)
                self._stage.digests[name] = size, mtime_ns, digest
            else:
                size, mtime_ns = _written(path, content if isinstance(content, bytes) else memoryview(content).cast("B"))
            self._note(Finished(id, (Stamped(name, size, mtime_ns),), source))
        finally:
            self._being_written.discard(name)

    def _note(self, each: Finished) -> None:
        size = 0
        with self._lock:
            self._unasked.discard(each.id)
            for file in each.files:
                if file.name in self._owners or each.id in self._stage.finished:
                    self.claim(file.name, each.id, each.source, again=True)
            self._stage.finish(each)
            for file in each.files:
                self._owners[file.name] = each.id
                size += file.size
        self._syncing.wrote(len(each.files), size)

    def keep(self, id: str, made: Iterable[tuple[str, bytes | str]], stamp: tuple[int, ...]) -> int:  # noqa: A002
        """Take the files that something was made of, and write down that it is done; return their bytes.

        Args:
            id: What they are made of.
            made: Names with the bytes, or with where a file of `workshop` has them.
            stamp: What changes when they would be made anew.
        """
        names = []
        for given, content in made:
            name = self.named(given)
            self.claim(name, id)
            path = self.place(name)
            if isinstance(content, bytes):
                _written(path, content)
            else:
                try:
                    os.rename(content, path)
                except OSError as error:
                    raise trees.refused(error, "write", path) from None
            names.append(name)
        self.finish(id, names, stamp=stamp)
        return sum(file.size for file in self._stage.finished[id].files)

    @contextlib.contextmanager
    def workshop(self) -> Iterator[tuple[str, int]]:
        """Give a folder for other processes to write to, and the descriptor of the stage, which they have to close.

        Who outlives this process writes nothing to the next one's folder, for each has its own.
        """
        folder = tempfile.mkdtemp(prefix="work-", dir=self._stage.path)
        try:
            yield folder, self._stage.descriptor
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _written(path: str, content: bytes | memoryview) -> tuple[int, int]:
    """Write a file, and return its size and time."""
    try:
        descriptor = os.open(path, _NEW, 0o666)
        try:
            done = os.write(descriptor, content)
            while done < len(content):
                done += os.write(descriptor, content[done:])
            seen = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise trees.refused(error, "write", path) from None
    return seen.st_size, seen.st_mtime_ns


def _from(source: str | None, name: str) -> str:
    return "" if source in (None, name) else f" from {source}"
