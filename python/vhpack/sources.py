"""The files that a directory, an archive or a set of shards has, one by one: found and read when they are asked for."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vhpack import committed
from vhpack.errors import CorruptArchiveError, PackOSError, SourceChangedError, SourceNotFoundError, SpecialFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vhpack._packing import StrPath
    from vhpack.archive import Archive

    Source: TypeAlias = "Directory | Archives"


class Found(NamedTuple):
    """A file of a source."""

    id: str
    """What no other file of the source has."""
    name: str
    """Its path in the directory or archive."""
    stamp: tuple[int, ...]
    """What changes when the file does."""
    place: int = 0
    """Which of several archives has it."""


class Directory:
    """The files of a directory: those that its manifest lists, if it has one, else all below it."""

    in_turn = False
    """Whether reading out of order would take longer than reading all."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._version = _digest(committed.manifest_of(path))

    def files(self) -> Iterator[Found]:
        """Find the files: by their names, and folder by folder."""
        text = committed.manifest_of(self.path)
        self._check(text)
        if text is None:
            yield from self._below("", self.path, ())
            return
        for each in committed.from_text(text, os.path.join(self.path, committed.MANIFEST)):
            path = os.path.join(self.path, each.name)
            seen = self._stat(path)
            if stat.S_ISREG(seen.st_mode) and seen.st_size != each.size:
                self.check()
                message = f"{path} has {seen.st_size} bytes, and {each.size} in the manifest; have it written anew"
                raise CorruptArchiveError(message)
            yield self._found(each.name, path, seen)

    def check(self) -> None:
        """See to it that what was read is of one version of the directory.

        Raises:
            SourceChangedError: another one has been committed meanwhile.
        """
        self._check(committed.manifest_of(self.path))

    def _check(self, manifest: bytes | None) -> None:
        if _digest(manifest) != self._version:
            raise SourceChangedError(None, f"{self.path} was replaced while it was read; begin again", self.path)

    def read(self, found: Found) -> bytes:
        """Read a file, which must be what it was when it was found."""
        path = self.where(found)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                content = file.read()
                seen = os.fstat(file.fileno())
        except OSError as error:
            raise PackOSError(error.errno, f"cannot read {path}: {error.strerror}; check the disk", path) from None
        if (seen.st_size, seen.st_mtime_ns) != found.stamp or len(content) != seen.st_size:
            raise SourceChangedError(None, f"{path} changed while it was read; begin again when it is complete", path)
        return content

    def where(self, found: Found) -> str:
        """Return what errors call a file."""
        return os.path.join(self.path, found.name)

    def _below(self, base: str, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
            own = os.stat(folder)
        except OSError as error:
            raise PackOSError(error.errno, f"cannot read the folder {folder}: {error.strerror}; check it", folder) from None
        above = (*above, (own.st_dev, own.st_ino))
        for entry in inside:
            name = base + entry.name
            if entry.name == committed.MANIFEST or committed.is_stage(entry.name):
                continue  # of directories that are committed, or may be one day
            seen = self._stat(entry.path)
            if stat.S_ISDIR(seen.st_mode):
                if (seen.st_dev, seen.st_ino) not in above:  # a link to a folder above has what was read already
                    yield from self._below(f"{name}/", entry.path, above)
            else:
                yield self._found(name, entry.path, seen)

    def _stat(self, path: str) -> os.stat_result:
        try:
            return os.stat(path)
        except FileNotFoundError as error:
            what = "is a link that leads nowhere" if os.path.islink(path) else "is not there"
            raise SourceNotFoundError(error.errno, f"{path} {what}; mend or remove it", path) from None
        except OSError as error:
            raise PackOSError(error.errno, f"cannot look at {path}: {error.strerror}; mend or remove it", path) from None

    def _found(self, name: str, path: str, seen: os.stat_result) -> Found:
        if not stat.S_ISREG(seen.st_mode):
            raise SpecialFileError(errno.EINVAL, f"{path} is a FIFO, socket or device, and no file; remove it", path)
        return Found(name, name, (seen.st_size, seen.st_mtime_ns))


class Archives:
    """The files of archives."""

    def __init__(self, opened: list[Archive]) -> None:
        self._opened = opened
        bases = [os.path.basename(archive.path) for archive in opened]
        # Names recur in shards; where those of the shards do, too, only their paths tell them apart.
        self._labels = bases if len(set(bases)) == len(bases) else [archive.path for archive in opened]
        self.in_turn = any(archive.format in ("tar.gz", "tar.zst") for archive in opened)

    def files(self) -> Iterator[Found]:
        """Find the files: in the order of the archives, and in each in its own."""
        for place, archive in enumerate(self._opened):
            try:
                seen = os.stat(archive.path)
            except OSError as error:
                message = f"cannot look at {archive.path}: {error.strerror}; check the disk"
                raise PackOSError(error.errno, message, archive.path) from None
            stamp = (seen.st_size, seen.st_mtime_ns)
            for name in archive.names():
                if name.rpartition("/")[2] != committed.MANIFEST:
                    known = name if len(self._opened) == 1 else f"{self._labels[place]}:{name}"
                    yield Found(known, name, stamp, place)

    def check(self) -> None:
        """Do nothing: what is open stays what it was."""

    def read(self, found: Found) -> bytes:
        """Read a file."""
        return self._opened[found.place][found.name]

    def where(self, found: Found) -> str:
        """Return what errors call a file."""
        return f"{self._opened[found.place].path}: {found.name}"


def _digest(manifest: bytes | None) -> bytes | None:
    import hashlib

    return None if manifest is None else hashlib.blake2b(manifest, digest_size=16).digest()


def of(source: StrPath | Archive | Iterable[StrPath | Archive]) -> Source:
    """Return the source that a directory, an archive, a pattern of archives or an iterable of them names.

    Raises:
        SourceNotFoundError: there is no such directory or archive.
        NoFilesError: no archive matches.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        return Directory(os.path.abspath(source))
    from vhpack import dataset

    return Archives(dataset.opened(source))
