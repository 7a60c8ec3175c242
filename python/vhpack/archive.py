"""Archives as read-only mappings from member names to bytes."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, overload

from vhpack._members import chosen
from vhpack._packing import checked_jobs
from vhpack.errors import (
    MemberNotFoundError,
    OptionError,
    SourceChangedError,
    SourceNotFoundError,
    UnsupportedArchiveError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Literal

    from vhpack import _engine
    from vhpack._packing import StrPath, Watch

Default = TypeVar("Default")

_EXISTING = ("error", "overwrite", "skip")
_DEEPEST = 512  # folders of a member's name; the engine refuses deeper ones
_BUFFER_BYTES = 64 << 10  # of a file object: one call into the engine for each of these


def open(source: StrPath, *, unsafe_limits: bool = False, progress: Watch = None) -> Archive:  # noqa: A001
    """Open a zip, tar, tar.gz or tar.zst for reading, whoever wrote it; its content says which it is.

    Opening reads the list of members, not the members: the directory of a zip, the seek table of our own tar.zst, one
    pass over any other tar. What contradicts itself is refused; what claims to unpack to absurd amounts, when it is unpacked.

    Args:
        source: The archive's path, or a `file://` URL. Archives elsewhere have to be downloaded first.
        unsafe_limits: Lift the limits, for an archive that you trust: on the number of members (ten million), on their bytes
            (16 TiB), and on what unpacks to more than 1 GiB and 200 times the archive, as zeros and bombs do: that may take
            half of the disk that is free where it is extracted, and half of the memory where it is held. Also on zstd streams
            that take more than 128 MiB of memory to unpack (`zstd --long=28` and above).
        progress: `True` for a bar on a terminal, or a function, while a long tar is gone through; see `vhpack.pack`.

    Raises:
        SourceNotFoundError: there is no such file.
        UnsupportedArchiveError: the file is no archive that can be read.
        CorruptArchiveError: the archive is cut short or contradicts itself.
        LimitExceededError: the archive claims more than the limits allow.
        SourceChangedError: the archive was replaced, or written to, while it was being opened.
        OptionError: `source` is a URL of another kind.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> folder = tempfile.TemporaryDirectory()
        >>> _ = pathlib.Path(folder.name, "a.txt").write_text("hello")
        >>> _ = vhpack.pack(f"{folder.name}/*.txt", f"{folder.name}/texts.zip")
        >>> with vhpack.open(f"{folder.name}/texts.zip") as archive:
        ...     print(archive.names(), archive["a.txt"])
        ['a.txt'] b'hello'
        >>> folder.cleanup()
    """
    archive = Archive(os.path.abspath(_local(source)), unsafe_limits=unsafe_limits)
    archive._open(progress)  # noqa: SLF001
    return archive


class Archive(Mapping[str, bytes]):
    """An archive that is open for reading: a mapping from the names of its files to their bytes.

    `vhpack.open` makes it. Folders, links and special files among the members are in `members()` only; a symbolic link to a
    file of the archive is no name of its own, and yet what may be asked for: it is `in` the archive, and reads as that file.
    Threads may share it, forked processes may go on with it, and pickling hands on its path alone: the other process opens
    the archive again at its first use, and refuses one that has changed since.
    """

    def __init__(self, path: str, *, unsafe_limits: bool = False, stamp: tuple[int, int] | None = None) -> None:
        self._path = path
        self._unsafe_limits = unsafe_limits
        self._stamp = stamp
        self._engine: _engine.Archive | None = None
        self._zip: _engine.Archive | None = None  # the same, where a fork leaves it as it is
        self._process = 0
        self._closed = False

    @property
    def path(self) -> str:
        """Absolute path of the archive."""
        return self._path

    @property
    def format(self) -> Literal["zip", "tar", "tar.gz", "tar.zst"]:
        """What the file is, by its content."""
        return self._native().format

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def names(self) -> list[str]:
        """Return the names of all files, in the archive's order.

        A name that several members bear stands once, for the last of them, which is the one that is read. `members()` has all.
        """
        return self._native().names()

    @property
    def warnings(self) -> list[str]:
        """What is odd about the archive and keeps nobody from reading it, in sentences.

        A tar has no list of its members, so one without its end mark, or with more behind that, may have lost some.
        """
        return self._native().warnings

    def members(self, patterns: str | Iterable[str] | None = None) -> list[_engine.Member]:
        """Return what the archive says of its members of every kind, in its order.

        Args:
            patterns: Take only what matches one of these, under the rules of `glob`.
        """
        wanted = [patterns] if isinstance(patterns, str) else patterns
        return self._native().members(None if wanted is None else list(wanted))

    def info(self, name: str) -> _engine.Member:
        """Return what the archive says of a member.

        Returns:
            `name`, `kind` (`"file"`, `"directory"`, `"link"`, `"hardlink"` or `"special"`), `size` and `packed` in bytes,
            `codec`, `mode`, `mtime` in seconds since 1970 or None, `crc32` or None, `link` (where a link leads), and
            `offset` of its header.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        return self._native().member(name)

    def glob(self, pattern: str) -> list[str]:
        """Return the names of the files that match, in the archive's order.

        Args:
            pattern: As for `glob.glob(recursive=True)`: `*` does not cross a `/`, `**` does.

        Example:
            >>> import pathlib, tempfile, vhpack
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     for name in ("a.png", "a.txt"):
            ...         _ = pathlib.Path(folder, name).write_text(name)
            ...     _ = vhpack.pack(f"{folder}/*", f"{folder}/all.zip")
            ...     vhpack.open(f"{folder}/all.zip").glob("*.png")
            ['a.png']
        """
        return self._native().glob(pattern)

    def open(self, name: str) -> io.BufferedReader:
        """Open a member as a binary file that can seek; it stays readable when the archive is closed.

        Seeking backwards in a compressed member unpacks it again from its start; in a tar.zst without a seek table, the way to
        any member may be all that lies before it. Its checksum is checked when
        the end is reached without a gap.

        Raises:
            MemberNotFoundError: there is no such member.
            CorruptArchiveError: on a read, when what is read contradicts itself or its checksum.
            LimitExceededError: on a read of more than memory has room for, as of all of a bomb; a portion is read.
        """
        return io.BufferedReader(_MemberFile(self, name), _BUFFER_BYTES)

    def read_many(self, names: Iterable[str], jobs: int | None = None) -> list[bytes]:
        """Return the bytes of many files, read and unpacked on several threads.

        Args:
            names: Which, in any order, which is that of the result.
            jobs: Number of threads; by default one for each core.

        Raises:
            MemberNotFoundError: one of them is not there.
            CorruptArchiveError: one of them fails its checksum.
            TypeError: `names` is one string, whose characters would be taken for names.
        """
        if isinstance(names, str):
            raise TypeError(f"read_many takes names in a list or another iterable; for one member, archive[{names!r}] reads it")
        return self._native().read_many(list(names), checked_jobs(jobs))

    def extract(
        self,
        dest: StrPath,
        members: str | Iterable[str] | None = None,
        *,
        existing: Literal["error", "overwrite", "skip"] = "error",
        strip: int = 0,
        links: bool = True,
        allow_collisions: bool = False,
        jobs: int | None = None,
        progress: Watch = None,
    ) -> _engine.ExtractReport:
        """Write members below the folder `dest`, and nothing outside it, whatever their names and links say.

        Names, limits and, unless told otherwise, existing files are checked before anything is written. A file's checksum is
        checked before its call ends, and those written before a failure stay. Whatever ends the process, no file above 1 MiB is
        ever seen incomplete; a smaller one is written with a single call.

        Files that are encrypted, or packed by a method that vhpack does not know, end the call with an error that names them,
        after all others were extracted. Devices, links that lead out of `dest` or to an absolute path, and hard links
        to nothing are left out and reported. Of a name that a tar has twice the last counts; a hard link has the bytes that
        its target had before it, and where that is not extracted, a copy of them.

        Args:
            dest: The folder; made where it is not there.
            members: Which, as names, folders (with all below) or patterns as for `glob`; by default all.
            existing: What to do with files that are there already: `"error"` writes nothing, `"overwrite"` replaces them,
                `"skip"` keeps them and says so in the report.
            strip: How many folders to take off the front of each name; what has no more than these is left out.
            links: Whether to make symbolic and hard links. None that leads out of `dest` is made in any case.
            allow_collisions: Whether to write names that differ in case or accents alone, and would be one file on systems
                that do not tell them apart. By default they are refused; members can also be extracted one by one.
            jobs: Number of threads; by default one for each core.
            progress: `True` for a bar on a terminal, or a function; see `vhpack.pack`.

        Returns:
            What was done: `dest` (absolute), `files`, `directories`, `links`, `bytes`, `skipped` as pairs of path and reason,
            `refused` (how many of those cannot be extracted, whoever asks), `warnings` and `seconds`.

        Raises:
            TargetExistsError: a file is there already, and `existing` is `"error"`.
            MemberNotFoundError: one of `members` is not there and matches nothing.
            UnsafeMemberError: a member would be written outside `dest` or over another, or cannot have its name.
            CorruptArchiveError: a member fails its checksum or contradicts the archive's list.
            UnsupportedArchiveError: some of the files cannot be read; the others are there.
            LimitExceededError: the members claim more bytes than the limits allow.
            NoSpaceError: the disk is full.
            PackPermissionError: the operating system refused to write.
            PackOSError: any other failure of the operating system.
            OptionError: an option is out of range.

        Example:
            >>> import os, pathlib, tempfile, vhpack
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = pathlib.Path(folder, "a.txt").write_text("hello")
            ...     _ = vhpack.pack(f"{folder}/a.txt", f"{folder}/a.zip")
            ...     report = vhpack.open(f"{folder}/a.zip").extract(f"{folder}/there")
            ...     print(report.files, os.listdir(f"{folder}/there"))
            1 ['a.txt']
        """
        from vhpack import _progress

        if existing not in _EXISTING:
            raise OptionError(f"existing is {existing!r}; it must be one of {', '.join(_EXISTING)}")
        if not 0 <= strip <= _DEEPEST:
            raise OptionError(f"strip is {strip}; it must be a number from 0 to {_DEEPEST}")
        if not os.fspath(dest):
            raise OptionError("dest is empty; name a folder, and . for this one")
        native = self._native()
        wanted = None if members is None else chosen(native, [members] if isinstance(members, str) else members)
        with _progress.watching(progress) as watch:
            return native.extract(
                os.fsencode(os.path.join(os.getcwd(), dest)),
                names=wanted,
                existing=existing,
                strip=strip,
                links=links,
                allow_collisions=allow_collisions,
                jobs=checked_jobs(jobs),
                progress=watch,
            )

    def verify(self, *, jobs: int | None = None, progress: Watch = None) -> _engine.VerifyReport:
        """Read every member, and check all that the format allows: headers, sizes, checksums, and that none overlap.

        Args:
            jobs: Number of threads; by default one for each core.
            progress: `True` for a bar on a terminal, or a function; see `vhpack.pack`.

        Returns:
            What was found: `ok`, `members`, `files`, `bytes`, `damaged` as triples of name, offset and what is wrong,
            `warnings` (what is odd and yet no damage) and `seconds`. A damaged member is no exception.

        Example:
            >>> import pathlib, tempfile, vhpack
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = pathlib.Path(folder, "a.txt").write_text("hello")
            ...     _ = vhpack.pack(f"{folder}/a.txt", f"{folder}/a.zip")
            ...     vhpack.open(f"{folder}/a.zip").verify().ok
            True
        """
        from vhpack import _progress

        with _progress.watching(progress) as watch:
            return self._native().verify(jobs=checked_jobs(jobs), progress=watch)

    def close(self) -> None:
        """Let the archive go; using it afterwards is a `ValueError`, as with files. Closing twice does no harm."""
        self._closed = True
        self._engine = self._zip = None

    def __getitem__(self, name: str) -> bytes:
        # The shortest way, as training loops go it for each sample: asking for the process is a system call.
        engine = self._zip
        return (self._native() if engine is None else engine).read(name)

    @overload
    def get(self, key: str, /) -> bytes | None: ...
    @overload
    def get(self, key: str, /, default: Default) -> bytes | Default: ...
    def get(self, key: str, /, default: object = None) -> object:
        """Return a file's bytes, or `default` where the archive has no file of this name."""
        try:
            return self[key]
        except MemberNotFoundError:
            return default
        except UnsupportedArchiveError:
            # A folder, or a link to one or to nothing, is no key; what is one and cannot be read is no missing file.
            if key in self:
                raise
            return default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._native().contains(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._native().names())

    def __len__(self) -> int:
        return len(self._native())

    # A mapping would compare all its bytes.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __enter__(self) -> Archive:  # noqa: PYI034
        self._native()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del kind, error, trace
        self.close()

    def __repr__(self) -> str:
        return f"<vhpack.Archive {self._path!r}{' closed' if self._closed else ''}>"

    def __reduce__(self) -> tuple[object, ...]:
        if self._closed:
            raise ValueError(f"the archive {self._path!r} is closed and cannot be pickled")
        return _reopen, (self._path, self._unsafe_limits, self._stamp)

    def _native(self) -> _engine.Archive:
        """The engine's archive, opened when this process first needs it."""
        engine = self._engine
        if engine is not None and (engine is self._zip or self._process == os.getpid()):
            return engine
        if self._closed:
            raise ValueError(f"the archive {self._path!r} is closed")
        # A tar's reader has locks, and one that another thread held in the moment of a fork stays locked for ever in the
        # child. A zip's has none.
        return self._open()

    def _twin(self) -> Archive:
        """The same archive, not opened yet."""
        self._native()
        return _reopen(self._path, self._unsafe_limits, self._stamp)

    def _open(self, progress: Watch = None) -> _engine.Archive:
        from vhpack import _engine, _progress

        stamp = _stamp(self._path)
        self._refuse_unless(self._stamp in (None, stamp), "since it was opened")
        limit = 0 if self._unsafe_limits else None
        path = os.fsencode(self._path)
        with _progress.watching(progress) as watch:
            engine = _engine.Archive(path, max_members=limit, max_total=limit, max_ratio=limit, progress=watch)
        # Else one that took the name meanwhile would pass for the one that was looked at.
        self._refuse_unless(_stamp(self._path) == stamp, "while it was being opened")
        self._stamp, self._engine, self._process = stamp, engine, os.getpid()
        self._zip = engine if engine.format == "zip" else None
        return engine

    def _refuse_unless(self, same: bool, since: str) -> None:  # noqa: FBT001
        if not same:
            raise SourceChangedError(None, f"the archive {self._path!r} has changed {since}; open it anew", self._path)


class _MemberFile(io.RawIOBase):
    """A member, read where the position is."""

    def __init__(self, archive: Archive, name: str) -> None:
        # An archive of its own to reopen, since this file may outlive the one that made it.
        self._archive = archive._twin()  # noqa: SLF001
        self._reader = archive._native().open(name)  # noqa: SLF001
        self._process = os.getpid()
        self._position = 0
        self._asked = name
        self.name = self._reader.member.name
        self._size = self._reader.member.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        content = self._read(len(view))
        view[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._read(max(self._size - self._position, 0))

    def _read(self, length: int) -> bytes:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self._process != os.getpid():
            # The reader has a lock, and one that was held in the moment of the fork is held here for ever.
            self._reader = self._archive._native().open(self._asked)  # noqa: SLF001
            self._process = os.getpid()
        content = self._reader.read_at(self._position, length)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        if whence not in starts:
            raise ValueError(f"whence is {whence}; it must be 0, 1 or 2")
        position = starts[whence] + offset
        if position < 0:
            raise ValueError(f"a position before the start: {position}")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


def _reopen(path: str, unsafe_limits: bool, stamp: tuple[int, int] | None) -> Archive:  # noqa: FBT001
    return Archive(path, unsafe_limits=unsafe_limits, stamp=stamp)


def _stamp(path: str) -> tuple[int, int]:
    """What tells an archive that was replaced; the same on every machine that sees the file."""
    try:
        stat = os.stat(path)
    except FileNotFoundError as error:
        message = f"cannot open the archive {path!r}: it does not exist; check the spelling"
        raise SourceNotFoundError(error.errno, message, path) from None
    except OSError:
        # The engine meets the same failure, and has the words for it.
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _local(source: StrPath) -> str:
    """The path that a source names."""
    path = os.fsdecode(source)
    if not path or "\0" in path:
        message = f"cannot open the archive {path!r}: no file has such a name; check what it was made from"
        raise SourceNotFoundError(errno.ENOENT, message, path)
    scheme, mark, rest = path.partition("://")
    if not mark or not isinstance(source, str) or not scheme.replace("+", "").isalnum():
        return path
    host, _, place = rest.partition("/")
    if scheme.lower() != "file" or host not in ("", "localhost"):
        raise OptionError(f"cannot open {path!r}: only files and file:// URLs can be opened; download it first")
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes("/" + place))
