"""Many files in, many files out, on all cores: `map_directory`."""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vhpack import _progress, committed, functions, sources, trees
from vhpack.directory import OutputDir
from vhpack.errors import FunctionError, OptionError, PackError
from vhpack.transaction import Transaction
from vhpack.workers import Crew, Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeGuard

    from vhpack._packing import StrPath
    from vhpack.archive import Archive
    from vhpack.sources import Found, Source

    Made: TypeAlias = bytes | tuple[str, bytes] | Mapping[str, bytes] | None

_MOST_WORKERS = 1024
_BYTES = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Summary:
    """What `map_directory` did."""

    target: str
    """Absolute path of the directory."""
    files: int
    """Files that it has now."""
    bytes: int
    """What they take."""
    done: int
    """Files of the source that the function was called with."""
    skipped: int
    """Of all, those that the function made nothing of."""
    resumed: int
    """Files of the source that an earlier call, which did not come to its end, had done."""
    seconds: float
    """Wall time of the call."""


def map_directory(
    src: StrPath | Archive | Iterable[StrPath | Archive],
    out: StrPath | OutputDir,
    fn: Callable[[str, bytes], Made],
    *,
    workers: int | None = None,
    ordered: bool = False,
    resume: bool = True,
    progress: bool = True,
) -> Summary:
    """Call a function with every file of a directory, an archive or a set of shards, and commit what it returns as one directory.

    Nothing is seen of `out` until every file was done; then it has all results and nothing else, as `vhpack.OutputDir` commits
    it. When the function raises, and when the process is killed, `out` stays what it was, and the same call goes on from
    there: files that were done are not done again, unless they, or the function's own code, have changed since.

    Files are read when their turn comes. The function runs in processes of its own, made by the start method that
    `multiprocessing` is set to: where that is not fork (with Python 3.14 and later), it has to be a function of a module, and a
    script needs its `if __name__ == "__main__":`. With one worker it runs in this process.

    Args:
        src: A directory, with everything below it, or with what its manifest lists; else as for `vhpack.ArchiveDataset`: an
            archive, a pattern such as `"train-*.tar"`, or an iterable of archives.
        out: The directory to write, or the `vhpack.OutputDir` of it, as `vhpack.outputs(name).directory()` returns it.
        fn: Takes a file's path in the source, and its bytes. Returns the bytes of the new file of the same name, or a pair of its
            name and bytes, or a mapping of several names to bytes, or None, which makes no file.
        workers: Number of processes; by default one for each core.
        ordered: Finish files in the order of the source, so that when one fails, exactly those before it are done. Else they
            are finished as they come.
        resume: Go on from where an earlier call was cut off; without, begin anew.
        progress: Draw a bar on stderr, when that is a terminal.

    Returns:
        What was done: `target`, `files`, `bytes`, `done`, `skipped`, `resumed` and `seconds`.

    Raises:
        FunctionError: the function raised, or its process ended; `source` is the file that it had, `__cause__` what it raised.
        SourceNotFoundError: there is no such source, or a link in it leads nowhere.
        SpecialFileError: a FIFO, socket or device is in the directory.
        SourceChangedError: a file changed or vanished while it was read.
        MemberCollisionError: two files would become one of `out`; the message names both.
        OptionError: an option is out of range, `out` lies in `src`, or the function returned something else.
        PackError: a file cannot be read or written; `vhpack.open` and `vhpack.OutputDir` list the kinds.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> def shout(name, content):
        ...     return (name + ".loud", content.upper()) if content else None
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pathlib.Path(folder, "texts").mkdir()
        ...     for name in ("a", "b"):
        ...         _ = pathlib.Path(folder, "texts", name).write_text(f"hello {name}")
        ...     summary = vhpack.map_directory(f"{folder}/texts", f"{folder}/loud", shout, workers=1)
        ...     summary.files, dict(vhpack.read_outputs(f"{folder}/loud"))
        (2, {'a.loud': b'HELLO A', 'b.loud': b'HELLO B'})
    """
    if not callable(fn):
        raise OptionError(f"fn is {fn!r}; give a function of a file's name and bytes")
    count = _checked_workers(workers)
    source = sources.of(src)
    target = out.target if isinstance(out, OutputDir) else os.path.realpath(out)
    if isinstance(source, sources.Directory) and target.startswith(os.path.join(os.path.realpath(source.path), "")):
        raise OptionError(f"{target} lies in the source {source.path}, whose files it would be among; choose a place beside it")
    since = time.monotonic()
    transaction = Transaction(target, resume=resume, by=functions.known(fn))
    transaction.enter()
    failed = True
    try:
        with _progress.counting("Mapping", wanted=progress) as bar:
            done, resumed = _Run(transaction, source, fn, bar).all(count, ordered=ordered)
        failed = False
    finally:
        transaction.leave(failed=failed)
    finished = transaction.finished()
    sizes = [file.size for each in finished for file in each.files]
    return Summary(
        target=target,
        files=len(sizes),
        bytes=sum(sizes),
        done=done,
        skipped=sum(not each.files for each in finished),
        resumed=resumed,
        seconds=time.monotonic() - since,
    )


class _Task(NamedTuple):
    found: Found
    content: bytes | None
    """Where this process reads, since others would read it all again and again."""


class _Wrote(NamedTuple):
    """What a worker has made, in files of its own."""

    files: tuple[tuple[str, str], ...]
    """Names, and where the files are."""


class _Failed(NamedTuple):
    error: Exception
    """What was raised, or the like of it where that cannot be sent."""
    by_function: bool
    """The function raised it; else reading or writing did, and it names the file."""
    trace: str


class _FunctionRaised(Exception):  # noqa: N818 - its cause is the error
    pass


class _Elsewhere(Exception):  # noqa: N818 - it only carries the text
    """Where in the other process something was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Maker:
    """What a worker does."""

    def __init__(self, source: Source, fn: Callable[[str, bytes], Made], folder: str) -> None:
        self._source = source
        self._fn = fn
        self._folder = folder
        self._count = 0

    def __call__(self, task: _Task) -> _Wrote | _Failed:
        try:
            made = _made(self._source, self._fn, task)
            return _Wrote(tuple((name, self._write(content)) for name, content in made))
        except Exception as caught:  # noqa: BLE001 - it is raised where the caller is
            by_function = not isinstance(caught, PackError)
            error = caught.__cause__ if isinstance(caught, _FunctionRaised) else caught
            assert isinstance(error, Exception)  # noqa: S101 - that is how it was raised
            trace = "".join(traceback.format_exception(error))
            try:
                pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            except Exception:  # noqa: BLE001 - whatever keeps it from being sent
                error = RuntimeError(f"{type(error).__name__}: {error}")
            return _Failed(error, by_function, trace)

    def _write(self, content: bytes) -> str:
        self._count += 1
        path = os.path.join(self._folder, f"{os.getpid()}-{self._count}")
        try:
            with open(path, "xb") as file:
                file.write(content)
        except OSError as error:
            raise trees.refused(error, "write", path) from None
        return path


class _Run:
    """One call of `map_directory`, once it has its directory."""

    def __init__(self, directory: Transaction, source: Source, fn: Callable[[str, bytes], Made], bar: _progress.Counting) -> None:
        self._directory = directory
        self._source = source
        self._fn = fn
        self._bar = bar
        self._resumed = 0
        self._done = 0

    def all(self, workers: int, *, ordered: bool) -> tuple[int, int]:
        self._forget_what_has_changed()
        if workers == 1:
            self._here()
        else:
            self._in_workers(workers, ordered=ordered)
        self._source.check()
        return self._done, self._resumed

    def _forget_what_has_changed(self) -> None:
        """Drop what an earlier call has made of files that are not there any more, or not the same: their names may be wanted."""
        if self._directory.finished():
            there = {found.id: found.stamp for found in self._source.files()}
            for each in self._directory.finished():
                if there.get(each.id) != each.stamp:
                    self._directory.forget(each)

    def _to_do(self) -> Iterator[Found]:
        for found in self._source.files():
            if self._directory.done(found.id) is None:
                yield found
            else:
                self._resumed += 1
                self._bar.count(0)

    def _here(self) -> None:
        for found in self._to_do():
            try:
                made = _made(self._source, self._fn, _Task(found, None))
            except _FunctionRaised as raised:
                error = raised.__cause__ or raised
                raise FunctionError.of(self._source.where(found), error) from error
            self._keep(found, made)

    def _in_workers(self, count: int, *, ordered: bool) -> None:
        with self._directory.workshop() as (folder, descriptor):
            try:
                crew = Crew(count, _Maker(self._source, self._fn, folder), keep_out=[descriptor])
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                message = f"fn cannot be sent to another process ({error}); make it a function of a module, or say workers=1"
                raise OptionError(message) from None
            at_once = True
            try:
                for task, result in crew.run(self._tasks(), ordered=ordered):
                    if isinstance(result, _Failed):
                        raise self._raised(task.found, result)
                    self._keep(task.found, result.files)
                at_once = False
            except Lost as lost:
                raise self._ended(lost) from None
            finally:
                crew.stop(at_once=at_once)

    def _tasks(self) -> Iterator[tuple[_Task, int]]:
        for found in self._to_do():
            content = self._source.read(found) if self._source.in_turn else None
            yield _Task(found, content), len(content or b"")

    def _keep(self, found: Found, made: Iterable[tuple[str, bytes | str]]) -> None:
        size = self._directory.keep(found.id, made, found.stamp)
        self._done += 1
        self._bar.count(size)

    def _raised(self, found: Found, failed: _Failed) -> Exception:
        if not failed.by_function:
            return failed.error
        error = FunctionError.of(self._source.where(found), failed.error)
        failed.error.__cause__ = _Elsewhere(failed.trace)
        error.__cause__ = failed.error
        return error

    def _ended(self, lost: Lost) -> FunctionError:
        assert isinstance(lost.task, _Task)  # noqa: S101 - no other tasks are handed out
        where = self._source.where(lost.task.found)
        how = f"by signal {-lost.code}" if lost.code and lost.code < 0 else f"with status {lost.code}"
        hint = "; a process that takes too much memory is killed: use fewer workers" if lost.code == -9 else ""  # noqa: PLR2004
        return FunctionError(where, f"{where}: the process that worked on it ended {how}{hint}")


def _made(source: Source, fn: Callable[[str, bytes], Made], task: _Task) -> list[tuple[str, bytes]]:
    """Return names and bytes of what the function makes of a file."""
    content = source.read(task.found) if task.content is None else task.content
    try:
        made = fn(task.found.name, content)
    except Exception as error:
        raise _FunctionRaised from error
    if made is None:
        return []
    if isinstance(made, _BYTES):
        return [(task.found.name, bytes(made))]
    pairs = list(made.items()) if isinstance(made, Mapping) else [made]
    for pair in pairs:
        if not _is_file(pair):
            what = f"fn returned {_short(made)} for {source.where(task.found)}"
            raise OptionError(f"{what}; return bytes, a name and bytes, a mapping of names to bytes, or None")
        if not committed.is_safe(os.path.normpath(pair[0])):
            what = f"fn returned the name {pair[0]!r} for {source.where(task.found)}"
            raise OptionError(f"{what}; return a path in the directory, without ..")
    return [(str(name), bytes(written)) for name, written in pairs]


def _is_file(pair: object) -> TypeGuard[tuple[str, bytes]]:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], _BYTES)  # noqa: PLR2004


def _short(made: object) -> str:
    text = repr(made)
    return text if len(text) < 80 else f"{text[:77]}..."  # noqa: PLR2004


def _checked_workers(workers: int | None) -> int:
    if workers is None:
        return len(os.sched_getaffinity(0))
    if isinstance(workers, bool) or workers not in range(1, _MOST_WORKERS + 1):
        raise OptionError(f"workers is {workers!r}; it must be a number from 1 to {_MOST_WORKERS}")
    return workers
