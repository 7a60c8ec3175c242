"""Processes that work through a list of tasks, and whose end is noticed, whatever ended them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Task = TypeVar("Task")
Result = TypeVar("Result")

_BATCH_SECONDS = 0.05
"""Work that is handed out at once: a hundred times what handing it out takes, and no time to wait for at the end."""

_MOST = 256  # tasks in a batch
_BATCH_BYTES = 4 << 20  # ... and what they may take in all, or one alone
_AHEAD = 4_096  # results that may wait for one before them
_PATIENCE = 5.0  # seconds for a process to end that was told to


class Lost(Exception):  # noqa: N818 - what has happened, and not yet whose error
    """A process ended in the middle of a task."""

    def __init__(self, task: object, code: int | None) -> None:
        super().__init__(task, code)
        self.task = task
        self.code = code


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class Crew(Generic[Task, Result]):
    """So many processes, each of which does the tasks that it is handed.

    They are made by the start method that `multiprocessing` is set to. Made by fork, they know what this process knows, so that
    any function can be handed to them; made otherwise, `work` has to be something that pickle can find by its name.
    """

    def __init__(self, count: int, work: Callable[[Task], Result], *, keep_out: Sequence[int] = ()) -> None:
        context = multiprocessing.get_context()
        # Descriptors are inherited by a fork alone; elsewhere these numbers are those of other files.
        forks = context.get_start_method() == "fork"
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                # Our ends of all pipes: as long as a worker has one open, none finds out that there is nobody to work for.
                ends = [*(worker.connection for worker in self._workers), ours] if forks else []
                arguments = (theirs, work, ends, list(keep_out) if forks else [])
                process = context.Process(target=_serve, args=arguments, name="vhpack-worker", daemon=False)
                try:
                    process.start()
                finally:
                    theirs.close()
                self._workers.append(_Worker(process, ours))
        except BaseException:
            self.stop()
            raise

    def run(self, tasks: Iterator[tuple[Task, int]], *, ordered: bool) -> Iterator[tuple[Task, Result]]:
        """Hand out tasks, each of which comes with its bytes, and give each with its result: as they come, or in their order.

        Raises:
            Lost: a process ended in the middle of a task.
        """
        numbered = enumerate(tasks)
        pace = _Pace()
        at_work: dict[Connection, list[tuple[int, Task]]] = {}
        idle = [worker.connection for worker in self._workers]
        early: dict[int, tuple[Task, Result]] = {}
        due = 0
        while True:
            while idle and len(early) < _AHEAD and (batch := _next(numbered, pace.batch())):
                connection = idle.pop()
                self._send(connection, batch)
                at_work[connection] = batch
            if not at_work:
                return
            for connection in cast("list[Connection]", wait(list(at_work))):
                batch = at_work[connection]
                number, task = batch[0]
                result, seconds = self._receive(connection, task)
                pace.saw(seconds)
                del batch[0]
                if not batch:
                    del at_work[connection]
                    idle.append(connection)
                if not ordered:
                    yield task, result
                    continue
                early[number] = task, result
                while due in early:
                    yield early.pop(due)
                    due += 1

    def _send(self, connection: Connection, batch: list[tuple[int, Task]]) -> None:
        try:
            connection.send([task for _, task in batch])
        except OSError:
            raise self._lost(connection, batch[0][1]) from None

    def _receive(self, connection: Connection, task: Task) -> tuple[Result, float]:
        try:
            received: tuple[Result, float] = connection.recv()
        except (EOFError, OSError):
            raise self._lost(connection, task) from None
        return received

    def _lost(self, connection: Connection, task: Task) -> Lost:
        process = next(worker.process for worker in self._workers if worker.connection is connection)
        process.join(_PATIENCE)
        return Lost(task, process.exitcode)

    def stop(self, *, at_once: bool = True) -> None:
        """Have all processes gone; those that are at work are ended, unless they have nothing more to do anyway."""
        for worker in self._workers:
            if at_once:
                worker.process.terminate()
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
            worker.process.close()
        self._workers.clear()


class _Pace:
    """How many tasks make a batch."""

    def __init__(self) -> None:
        self._each: float | None = None

    def batch(self) -> int:
        if self._each is None:
            return 1
        return max(1, min(_MOST, int(_BATCH_SECONDS / max(self._each, 1e-6))))

    def saw(self, seconds: float) -> None:
        self._each = seconds if self._each is None else 0.9 * self._each + 0.1 * seconds


def _next(numbered: Iterator[tuple[int, tuple[Task, int]]], count: int) -> list[tuple[int, Task]]:
    batch: list[tuple[int, Task]] = []
    room = _BATCH_BYTES
    while len(batch) < count and room > 0 and (found := next(numbered, None)):
        number, (task, size) = found
        batch.append((number, task))
        room -= size
    return batch


def _serve(connection: Connection, work: Callable[[Task], Result], ends: list[Connection], descriptors: list[int]) -> None:
    # Ctrl-C goes to all processes of a terminal; what becomes of these is the first one's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in ends:
        end.close()
    for descriptor in descriptors:
        os.close(descriptor)
    while True:
        try:
            batch: list[Task] | None = connection.recv()
        except (EOFError, OSError):
            return
        if batch is None:
            return
        for task in batch:
            since = time.perf_counter()
            result = work(task)
            try:
                connection.send((result, time.perf_counter() - since))
            except OSError:
                return
