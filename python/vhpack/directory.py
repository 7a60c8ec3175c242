"""Directories of outputs that appear whole or not at all, whoever is killed when."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import stat
import warnings
import weakref
from typing import IO, TYPE_CHECKING, Any

from vhpack import trees
from vhpack.errors import PackError, PackWarning, SourceChangedError, SpecialFileError
from vhpack.transaction import Transaction

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from vhpack._packing import StrPath


class OutputDir:
    """A directory of output files that is committed as a whole.

    In its `with` block, files are written to a stage beside the directory, and nothing of them is seen. When the block ends,
    they and a manifest of their names, sizes and digests are brought to the disk, and the stage takes the directory's place in
    one step. So whoever reads finds the version before or this one, never a mix, and no file of an earlier, larger run. When
    the block raises, or the process is killed, the directory stays what it was.

    One process at a time can have a directory; threads may share an `OutputDir`. The version before is removed after it was
    replaced. A directory with files that no commit of vhpack has put there is refused, and not replaced.

    `vhpack.outputs(name).directory()` makes one among a run's outputs, and `vhpack.map_directory` fills one from many files on
    all cores. `vhpack.read_outputs` reads what was committed.

    Args:
        path: The directory. The folders above it are made.
        resume: Keep what is finished when the block raises or the process is killed, and go on from there the next time, if
            that says `resume`, too; `is_done` tells what need not be made again. Without it, the stage is removed when the
            block raises, and what a killed process has left there is dropped; where only the commit fails, what is finished
            is kept all the same. After the machine was restarted, only what was on disk by then counts as finished. What an
            earlier run has finished and this one does not ask for (by `is_done`, `path`, `open` or `files`) is none of its
            files, and is left out with a warning.

    Raises:
        TargetExistsError: there is a file at `path`, or a directory with files that vhpack has not written.
        PackOSError: another process, or another part of this one, is writing the directory.
        NoSpaceError: the disk is full.
        PackPermissionError: the operating system refused to write there.

    Example:
        >>> import os, tempfile, vhpack
        >>> folder = tempfile.TemporaryDirectory()
        >>> with vhpack.OutputDir(f"{folder.name}/curves") as out:
        ...     out.write_bytes("a/1.txt", b"0.5")
        ...     with out.open("b.txt", "w") as file:
        ...         _ = file.write("0.25")
        ...     os.path.exists(out.target)
        False
        >>> sorted(os.listdir(f"{folder.name}/curves"))
        ['.vhpack-manifest.jsonl', 'a', 'b.txt']
        >>> folder.cleanup()
    """

    def __init__(self, path: StrPath, *, resume: bool = False) -> None:
        self.resume = resume
        self._transaction = Transaction(path, resume=resume)
        self._opened: weakref.WeakSet[IO[Any]] = weakref.WeakSet()

    @property
    def target(self) -> str:
        """Absolute path of the directory; where a link stands, of the directory that it leads to."""
        return self._transaction.target

    def __enter__(self) -> Self:
        """Take the directory's stage."""
        self._transaction.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Commit, or after an exception leave the directory as it was."""
        failed = True
        try:
            if kind is None:
                self._close_files()
                failed = False
        finally:
            self._transaction.leave(failed=failed)
        dropped = self._transaction.dropped
        if dropped:
            more = f" and {len(dropped) - 1:,} more" if dropped[1:] else ""
            message = f"{self.target} is without {dropped[0]!r}{more}, made by a run that was cut off and not asked for now"
            warnings.warn(message, PackWarning, stacklevel=2)

    def _close_files(self) -> None:
        """Close what is still open: what it has not written yet would be missing in the commit, and alter it afterwards."""
        for file in list(self._opened):
            try:
                file.close()
            except OSError as error:  # noqa: PERF203 - the first one ends it
                raise trees.refused(error, "write", str(file.name)) from None

    def path(self, name: StrPath) -> str:
        """Return where to write a file for now, and see to it that its folder exists.

        Whatever is written there when the block ends is committed. With `resume`, say `done` when the file is complete.

        Args:
            name: The file's path in the directory.

        Raises:
            OptionError: the name leads out of the directory, or is that of the manifest.
        """
        return self._transaction.place(self._transaction.named(name))

    def open(self, name: StrPath, mode: str = "wb", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """Open a file of the directory, for writing by default; see `path`. When the block ends, it is closed, if it is not yet.

        Args:
            name: The file's path in the directory.
            mode: As for the builtin `open`.
            encoding: Of text; UTF-8 by default.
            newline: As for the builtin `open`.

        Raises:
            MemberCollisionError: the file is finished already.
            OptionError: the name leads out of the directory, or is that of the manifest.
        """
        plain = self._transaction.named(name)
        if not mode.startswith("r"):
            self._transaction.check_unfinished(plain)
        path = self._transaction.place(plain)
        text = None if "b" in mode else encoding or "utf-8"
        try:
            opened = builtins.open(path, mode, encoding=text, newline=newline)  # noqa: SIM115 - the caller's
        except OSError as error:
            raise trees.refused(error, "open", path) from None
        self._opened.add(opened)
        return opened

    def write_bytes(
        self,
        name: StrPath,
        content: Buffer,
        *,
        id: str | None = None,  # noqa: A002
        source: StrPath | None = None,
    ) -> None:
        """Write a whole file, which is finished then; see `done`.

        Args:
            name: The file's path in the directory.
            content: Its bytes.
            id: What it is made of; see `done`.
            source: Where that is; see `done`.

        Raises:
            MemberCollisionError: the file is finished already, or another one is made of the same.
            OptionError: the name leads out of the directory, or is that of the manifest.
            NoSpaceError: the disk is full.
        """
        plain = self._transaction.named(name)
        self._transaction.write(plain, content, plain if id is None else id, None if source is None else os.fspath(source))

    def add(self, path: StrPath, name: StrPath | None = None, *, id: str | None = None) -> None:  # noqa: A002
        """Copy a file that is somewhere else, with its modes; it is finished then, see `done`.

        Args:
            path: The file; a link means what it leads to.
            name: Its path in the directory; by default its own name.
            id: What it is made of; see `done`.

        Raises:
            SourceNotFoundError: there is no such file, or a link that leads nowhere.
            SpecialFileError: it is a FIFO, socket, device or folder.
            SourceChangedError: it changed while it was copied.
            MemberCollisionError: the file is finished already, or another one is made of the same.
        """
        given = os.fspath(path)
        plain = self._transaction.named(os.path.basename(given) if name is None else name)
        known = plain if id is None else id
        self._transaction.claim(plain, known, given)
        place = self._transaction.place(plain)
        try:
            before = os.stat(given)
            if not stat.S_ISREG(before.st_mode):
                raise SpecialFileError(errno.EINVAL, f"cannot add {given}: it is no file; name the files one by one", given)
            shutil.copyfile(given, place)
            os.chmod(place, stat.S_IMODE(before.st_mode) & 0o777)
            after = os.stat(given)
        except PackError:
            raise
        except OSError as error:
            raise trees.refused(error, "add", given) from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceChangedError(None, f"{given} changed while it was added; add it when it is complete", given)
        self._transaction.finish(known, [plain], given)

    def done(self, name: StrPath, id: str | None = None, *, source: StrPath | None = None) -> None:  # noqa: A002
        """Note that a file is complete: with `resume`, a process that is killed after this does not have to make it again.

        Args:
            name: The file's path in the directory.
            id: What it is made of, where that is not its name: what `is_done` is asked for, and what the manifest says. No two
                files can have one.
            source: Where that is, for the manifest and for whoever has to tell two sources of one id apart.

        Raises:
            SourceNotFoundError: the file was not written.
            MemberCollisionError: the file is finished already under another id, or another one has this id.

        Example:
            >>> import tempfile, vhpack
            >>> folder = tempfile.TemporaryDirectory()
            >>> with vhpack.OutputDir(f"{folder.name}/curves", resume=True) as out:
            ...     for run in ("first", "second"):
            ...         if not out.is_done(run):
            ...             with out.open(f"{run}.txt", "w") as file:
            ...                 _ = file.write("0.5")
            ...             out.done(f"{run}.txt", id=run)
            >>> folder.cleanup()
        """
        plain = self._transaction.named(name)
        self._transaction.finish(plain if id is None else id, [plain], None if source is None else os.fspath(source))

    def is_done(self, id: str) -> bool:  # noqa: A002
        """Return whether this is finished, by this process or, with `resume`, by one before."""
        return self._transaction.done(id) is not None

    def files(self) -> list[str]:
        """Return the paths that the finished files have in the directory, in the order of their names.

        They are there once the block has ended; files that were written and never finished are committed, and not in this.
        """
        names = sorted(file.name for each in self._transaction.finished() for file in each.files)
        return [os.path.join(self.target, name) for name in names]
