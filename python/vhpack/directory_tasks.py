"""Directories as inputs of tasks: the decorator of luisy, for tasks of luisy and of luigi, and for plain classes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from vhpack import committed, trees
from vhpack.errors import FunctionError, OptionError, SourceChangedError, SourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Class = TypeVar("Class", bound=type)

_ON_ERROR = ("raise", "skip")


def make_directory_output(
    read_file_func: Callable[[str], Any],
    regex_pattern: str | None = None,
    *,
    recursive: bool = False,
    on_error: str = "raise",
    need_manifest: bool = False,
) -> Callable[[Class], Class]:
    r"""Make a decorator that gives a task a directory for its output, whose files `read_file_func` reads one by one.

    It stands in for the decorator of the same name of luisy: on tasks of luisy, above or below `@luisy.raw` and the like, on
    `luigi.ExternalTask`, and on plain classes. Neither package is loaded, or needed. The class has to have
    `get_folder_name()`; the folder lies below `get_outdir()`, where there is one, else below the working directory.

    The task's `output()`, and so `input()` of a task that requires it, is a target whose `read()` gives what `read_file_func`
    makes of each file, when it is asked for the next, in the order of the names. On classes that are no luisy task, `output`,
    `read` and `write` are set, and `complete` where it is missing. Each class has a target class of its own: two decorated
    classes share nothing.

    A directory that `vhpack.OutputDir` or `vhpack.map_directory` has committed is read by its manifest, and is complete when
    every file that it lists is there with its size. The target's `write()` takes names with bytes, as a mapping or in pairs, and
    commits them as `vhpack.OutputDir` does; its `remove()` removes a committed directory, and no other.

    Args:
        read_file_func: Takes a file's path. None is passed over; every other value is given.
        regex_pattern: Take only files in whose name, without the folders, `re.search` finds this.
        recursive: Take files in folders below, too; the folders themselves are never handed to the function.
        on_error: `"raise"` ends the reading when the function raises; `"skip"` leaves the file out, and notes it in the
            target's `skipped`, as pairs of path and exception.
        need_manifest: Take a directory for complete only when it was committed; else it has to be there, and may be empty.

    Returns:
        The decorator.

    Raises:
        OptionError: the pattern or an option is none; from the decorator, when a luigi task is no `ExternalTask`, or the class
            has no `get_folder_name`.
        FunctionError: from `read()`: the function raised; `source` is the file, `__cause__` what it raised.
        SourceNotFoundError: from a target's `read()`: the directory is not there.
        ValueError: from a task's `read()`: the task is not complete.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> folder = tempfile.TemporaryDirectory()
        >>> for name in ("a.txt", "b.txt", "c.png"):
        ...     _ = pathlib.Path(folder.name, name).write_text(f"text of {name}")
        >>> @vhpack.make_directory_output(lambda path: pathlib.Path(path).read_text(), regex_pattern=r"\.txt$")
        ... class Texts:
        ...     def get_folder_name(self):
        ...         return folder.name
        >>> list(Texts().output().read())
        ['text of a.txt', 'text of b.txt']
        >>> folder.cleanup()
    """
    if not callable(read_file_func):
        raise OptionError(f"read_file_func is {read_file_func!r}; give a function of a file's path")
    if on_error not in _ON_ERROR:
        raise OptionError(f"on_error is {on_error!r}; it must be one of {', '.join(_ON_ERROR)}")
    try:
        pattern = re.compile(regex_pattern or "")
    except (re.error, TypeError) as error:
        raise OptionError(f"regex_pattern is {regex_pattern!r}, which is no pattern of `re`: {error}") from None

    def directory_output(cls: Class) -> Class:
        base = _base_of(cls)
        # A class of its own: luisy sets reader and pattern on the one that all tasks share, so that the last task's win.
        made: dict[str, object] = {
            "read_file": staticmethod(read_file_func),
            "pattern": pattern,
            "recursive": recursive,
            "skips_errors": on_error == "skip",
            "need_manifest": need_manifest,
            "__doc__": f"The directory of {cls.__qualname__}.",
            "__module__": cls.__module__,
        }
        wanted: Any = cls
        wanted.target_cls = type("DirectoryTarget", (DirectoryTarget, *([base] if base else [])), made)
        wanted.target_kwargs = {}
        wanted.get_outfile = _get_outfile
        if not _is_luisy(cls):
            wanted.output, wanted.read, wanted.write = _output, _read, _write
        if not hasattr(cls, "complete"):
            wanted.complete = _complete
        return cls

    return directory_output


class DirectoryTarget:
    """The directory of a task; its subclasses, one for each decorated class, know how to read files."""

    file_ending = ""
    requires_pandas = False
    read_file: Callable[[str], Any]
    pattern: re.Pattern[str]
    recursive: bool
    skips_errors: bool
    need_manifest: bool

    def __init__(self, path: str, **kwargs: object) -> None:
        above: Any = super()
        if self._is_plain():
            self.path = path
        else:
            above.__init__(path, **kwargs)
        self.kwargs = kwargs
        self.skipped: list[tuple[str, Exception]] = []

    # Not iterable on purpose: luigi would take the files of an iterable output for targets.

    def _is_plain(self) -> bool:
        return type(self).__mro__[2] is object

    def exists(self) -> bool:
        """Return whether the directory is there, and whole as far as its manifest says."""
        above: Any = super()
        # luisy may have to download it first.
        if not (self._is_plain() or above.exists()) or not os.path.isdir(self.path):
            return False
        if self.need_manifest and committed.manifest_of(self.path) is None:
            return False
        return committed.is_whole(self.path)

    def files(self) -> list[str]:
        """Return the paths of the files that are read, in the order of their names.

        Raises:
            SourceNotFoundError: there is no such directory.
        """
        listed = committed.files_of(self.path)
        try:
            names = self._lying_there() if listed is None else [each.name for each in listed]
        except FileNotFoundError as error:
            raise SourceNotFoundError(error.errno, f"there is no directory {self.path}; check the spelling", self.path) from None
        except OSError as error:
            raise trees.refused(error, "read the directory", self.path) from None
        return [os.path.join(self.path, name) for name in sorted(filter(self._is_wanted, names))]

    def _is_wanted(self, name: str) -> bool:
        folder, _, base = name.rpartition("/")
        return (self.recursive or not folder) and base != committed.MANIFEST and self.pattern.search(base) is not None

    def _lying_there(self) -> list[str]:
        if self.recursive:
            return [name for name, _ in trees.found(self.path)]
        with os.scandir(self.path) as entries:
            return [entry.name for entry in entries if not entry.is_dir()]

    def read(self) -> Iterator[Any]:
        """Give what the reader makes of each file, when it is asked for; what is None is passed over.

        Raises:
            FunctionError: the reader raised.
            SourceChangedError: the directory was replaced meanwhile: files of two versions are never given.
        """
        # Open, so that no other folder gets its number.
        with self._opened() as before:
            for path in self.files():
                try:
                    value = self.read_file(path)
                except Exception as error:
                    self._check_same(before)
                    if not self.skips_errors:
                        raise FunctionError.of(path, error) from error
                    self.skipped.append((path, error))
                    continue
                self._check_same(before)
                if value is not None:
                    yield value

    @contextlib.contextmanager
    def _opened(self) -> Iterator[os.stat_result | None]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # which `files` says better
            yield None
            return
        try:
            yield os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def _check_same(self, before: os.stat_result | None) -> None:
        try:
            same = before is None or os.path.samestat(before, os.stat(self.path))
        except OSError:
            same = False
        if not same:
            raise SourceChangedError(None, f"{self.path} was replaced while it was read; read it again", self.path)

    def write(self, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> None:
        """Commit files as the directory, which has no others then."""
        from vhpack.directory import OutputDir

        with OutputDir(self.path) as out:
            for name, content in files.items() if hasattr(files, "items") else files:
                out.write_bytes(name, content)

    def remove(self) -> None:
        """Remove the directory, if vhpack has committed it and nothing else lies in it.

        Raises:
            OptionError: it was not committed, or has files that vhpack has not written.
        """
        if not os.path.lexists(self.path):
            return
        listed = committed.files_of(self.path)
        if listed is None:
            raise OptionError(f"{self.path} was not written by vhpack; remove it by hand")
        strange = trees.strangers(self.path, {each.name for each in listed})
        if strange:
            raise OptionError(f"{self.path} has files that vhpack has not written, {strange[0]!r} among them; move them away")
        trees.remove(self.path)

    def make_dir(self, path: str) -> None:
        """Make a folder, as luisy does with the one above a target."""
        os.makedirs(path, exist_ok=True)

    def is_folder(self) -> bool:
        """Return true, which luisy guesses by the name."""
        return True


def _base_of(cls: type) -> type | None:
    """The class that targets of this kind of task have to be of."""
    luigi = sys.modules.get("luigi")
    if luigi is not None and issubclass(cls, luigi.Task) and not issubclass(cls, luigi.ExternalTask):
        raise OptionError("This decorator only works on ExternalTasks")
    if not hasattr(cls, "get_folder_name"):
        raise OptionError(
            "When using the directory_output decorator, a method get_folder_name() needs to be implemented in your task"
        )
    if _is_luisy(cls):
        target: type = sys.modules["luisy.targets"].LocalTarget
        return target
    if luigi is not None and issubclass(cls, luigi.Task):
        plain: type = luigi.LocalTarget
        return plain
    return None


def _is_luisy(cls: type) -> bool:
    luisy = sys.modules.get("luisy.tasks.base")
    return luisy is not None and issubclass(cls, luisy.Task)


# What the tasks of three kinds have in common, and no class that all could have.
_Task = Any


def _get_outfile(self: _Task) -> str:
    above: str = self.get_outdir() if hasattr(self, "get_outdir") else ""
    return os.path.join(above, self.get_folder_name())


def _output(self: _Task) -> DirectoryTarget:
    target: DirectoryTarget = self.target_cls(path=self.get_outfile(), **self.target_kwargs)
    return target


def _complete(self: _Task) -> bool:
    return _output(self).exists()


def _read(self: _Task) -> Iterator[Any]:
    if not self.complete():
        raise ValueError(f"{type(self).__name__} is not complete: {self.get_outfile()} is not there, or not whole")
    return self.output().read()  # type: ignore[no-any-return]


def _write(self: _Task, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> None:
    _output(self).write(files)
