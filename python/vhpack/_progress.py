"""The progress bar: files, bytes, rate and time left, on a terminal and nowhere else."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeAlias, cast

from vhpack import sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Protocol

    from rich.progress import Progress as Columns
    from rich.progress import TaskID

    from vhpack._engine import Progress
    from vhpack._packing import Watch

    class Moving(Protocol):
        """What is on its way."""

        @property
        def path(self) -> str: ...
        @property
        def state(self) -> str: ...
        @property
        def bytes_sent(self) -> int: ...
        @property
        def bytes_total(self) -> int | None: ...
        @property
        def rate(self) -> float: ...


_STAGES = {
    "scan": "Scanning",
    "pack": "Packing",
    "commit": "Finishing",
    "remove": "Removing originals",
    "extract": "Extracting",
    "verify": "Verifying",
    "hash": "Hashing",
}
_COUNTED = frozenset({"pack", "remove", "extract", "verify", "hash"})

# Most packs are over before this, and are spared the flicker and the 50 ms that loading rich takes.
_APPEARS_AFTER = 0.3
_MOVING = frozenset({"hashing", "creating", "sending", "completing", "verifying"})


@contextlib.contextmanager
def watching(progress: Watch) -> Iterator[Callable[[Progress], object] | None]:
    """Give the engine its observer: the caller's own function, a bar, or none; the bar is wiped off at the end."""
    if progress is not True:
        yield progress or None
    elif not _on_terminal():
        yield None
    else:
        bar = Bar()
        try:
            yield bar
        finally:
            bar.wipe()


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # stderr is None, or closed
        return False


class Bar:
    """Draws on stderr what the engine reports."""

    def __init__(self, appears_after: float = _APPEARS_AFTER) -> None:
        self._appears_at = time.monotonic() + appears_after
        self._columns: Columns | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._stage_since = time.monotonic()

    def __call__(self, seen: Progress) -> None:
        """Draw the bar anew."""
        # The last stage counts as begun only when something is removed: without that wish nothing ever is.
        stage = "commit" if seen.stage == "remove" and not seen.removed else seen.stage
        if stage != self._stage:
            self._stage_since = time.monotonic()
        changed, self._stage = stage != self._stage, stage
        if time.monotonic() < self._appears_at:
            return
        if self._columns is None:
            self._columns = _columns()
            self._columns.start()
        if changed or self._task is None:
            if self._task is not None:
                self._columns.remove_task(self._task)
            self._task = self._columns.add_task(_STAGES[stage], total=None, counts="")
        if stage in _COUNTED and seen.total_files:
            done = seen.removed if stage == "remove" else seen.files
            counts = self._counts(seen, stage)
            self._columns.update(self._task, total=seen.total_files, completed=done, counts=counts)
        self._columns.refresh()

    def _counts(self, seen: Progress, stage: str) -> str:
        if stage == "remove":
            return f"{seen.removed:,}/{seen.total_files:,} files"
        rate = seen.bytes_in / max(time.monotonic() - self._stage_since, 0.001)
        return f"{seen.files:,}/{seen.total_files:,} files  {sizes.text(seen.bytes_in)}  {sizes.text(rate)}/s"

    def wipe(self) -> None:
        """Leave the terminal as it was."""
        if self._columns is not None:
            self._columns.stop()


class _Stderr:
    """Standard error, as rich writes to it; a terminal that went away ends no work."""

    encoding = "utf-8"

    def __init__(self) -> None:
        # Behind what rich puts in its place while a bar of the caller's own is there.
        self._file = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
        self.encoding = getattr(self._file, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def isatty(self) -> bool:
        return _on_terminal()

    def fileno(self) -> int:
        return self._file.fileno()


def _columns() -> Columns:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # No refresh thread: the engine calls ten times a second, and a thread would not survive a fork.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(compact=True),
        console=Console(file=cast("IO[str]", _Stderr())),
        auto_refresh=False,
        transient=True,
        expand=True,
    )


Saw: TypeAlias = "Callable[[int, int | None], None]"


class Transfer:
    """Counts what comes in from threads, and draws it from one."""

    def __init__(self, title: str, files: int) -> None:
        self._title = title
        self._files = files
        self._since = time.monotonic()
        self._bytes = 0
        self._total = 0
        self._lock = threading.Lock()
        self._columns: Columns | None = None
        self._task: TaskID | None = None

    def saw(self, size: int, total: int | None) -> None:
        """Count bytes; with a file's whole size, when that becomes known."""
        with self._lock:
            self._bytes += size
            self._total += total or 0

    def draw(self, done: int) -> None:
        """Draw the bar anew, on a terminal."""
        if time.monotonic() < self._since + _APPEARS_AFTER or not _on_terminal():
            return
        if self._columns is None:
            self._columns = _columns()
            self._columns.start()
            self._task = self._columns.add_task(self._title, total=None, counts="")
        assert self._task is not None  # noqa: S101 - made with the columns
        rate = self._bytes / max(time.monotonic() - self._since, 0.001)
        counts = f"{done:,}/{self._files:,} files  {sizes.text(self._bytes)}  {sizes.text(rate)}/s"
        self._columns.update(self._task, total=max(self._total, 1), completed=self._bytes, counts=counts)
        self._columns.refresh()

    def wipe(self) -> None:
        """Leave the terminal as it was."""
        if self._columns is not None:
            self._columns.stop()


@contextlib.contextmanager
def transferring(title: str, files: int) -> Iterator[Transfer]:
    """Draw a bar while files come in; it is wiped off at the end."""
    transfer = Transfer(title, files)
    try:
        yield transfer
    finally:
        transfer.wipe()


class Counting:
    """Draws how many files are done, of how many nobody knows yet."""

    def __init__(self, title: str, *, wanted: bool) -> None:
        self._title = title
        self._wanted = wanted and _on_terminal()
        self._since = self._next = time.monotonic()
        self._next += _APPEARS_AFTER
        self._files = 0
        self._bytes = 0
        self._columns: Columns | None = None
        self._task: TaskID | None = None

    def count(self, size: int) -> None:
        """Count a file, and draw the bar anew, on a terminal and ten times a second at most."""
        self._files += 1
        self._bytes += size
        if not self._wanted or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        if self._columns is None:
            self._columns = _columns()
            self._columns.start()
            self._task = self._columns.add_task(self._title, total=None, counts="")
        assert self._task is not None  # noqa: S101 - made with the columns
        rate = self._files / max(time.monotonic() - self._since, 0.001)
        self._columns.update(self._task, counts=f"{self._files:,} files  {sizes.text(self._bytes)}  {rate:,.0f} files/s")
        self._columns.refresh()

    def wipe(self) -> None:
        """Leave the terminal as it was."""
        if self._columns is not None:
            self._columns.stop()


@contextlib.contextmanager
def counting(title: str, *, wanted: bool) -> Iterator[Counting]:
    """Draw a bar while files are done one by one; it is wiped off at the end."""
    counts = Counting(title, wanted=wanted)
    try:
        yield counts
    finally:
        counts.wipe()


_MOST_BARS = 8  # of single files; more would scroll what was said before off the screen


class Transfers:
    """Bars of uploads: one of all together, and one of each file that is on its way, the first eight."""

    def __init__(self, title: str, *, wanted: bool) -> None:
        self._title = title
        self._wanted = wanted and _on_terminal()
        self._since = time.monotonic()
        self._columns: Columns | None = None
        self._tasks: dict[str, TaskID] = {}

    def draw(self, uploads: Sequence[Moving]) -> None:
        """Draw the bars anew, on a terminal."""
        if not self._wanted or time.monotonic() < self._since + _APPEARS_AFTER:
            return
        if self._columns is None:
            self._columns = _columns()
            self._columns.start()
        sent, total = sum(each.bytes_sent for each in uploads), sum(each.bytes_total or 0 for each in uploads)
        done = sum(each.state == "done" for each in uploads)
        rate = sum(each.rate for each in uploads)
        self._set("", f"{self._title} {done:,}/{len(uploads):,} files", sent, total, rate)
        moving = [each for each in uploads if each.state in _MOVING][:_MOST_BARS] if len(uploads) > 1 else []
        for each in moving:
            name = each.path.rpartition("/")[2]
            self._set(each.path, name, each.bytes_sent, each.bytes_total or 0, each.rate)
        for path in self._tasks.keys() - {"", *(each.path for each in moving)}:
            self._columns.remove_task(self._tasks.pop(path))
        self._columns.refresh()

    def _set(self, key: str, title: str, sent: int, total: int, rate: float) -> None:
        assert self._columns is not None  # noqa: S101 - made before
        counts = f"{sizes.text(sent)}/{sizes.text(total)}  {sizes.text(rate)}/s"
        if key not in self._tasks:
            self._tasks[key] = self._columns.add_task(_plain(title), total=None, counts="")
        self._columns.update(self._tasks[key], description=_plain(title), total=max(total, 1), completed=sent, counts=counts)

    def wipe(self) -> None:
        """Leave the terminal as it was; the next look draws anew."""
        if self._columns is not None:
            self._columns.stop()
            self._columns = None
            self._tasks.clear()


def _plain(title: str) -> str:
    """Return a name that neither the terminal nor rich takes for a command."""
    return "".join(char if char.isprintable() else "?" for char in title).replace("[", "\\[")


@contextlib.contextmanager
def transfers(title: str, *, wanted: bool) -> Iterator[Transfers]:
    """Draw bars of uploads; they are wiped off at the end."""
    bars = Transfers(title, wanted=wanted)
    try:
        yield bars
    finally:
        bars.wipe()
