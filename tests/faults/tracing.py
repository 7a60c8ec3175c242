"""Faults at a chosen system call: strace kills, stops or fails the process there, whichever thread makes the call."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import needs, without
from tests.engine.command import Ended, compress

LIMIT_SECONDS = 120.0
STOPPED = re.compile(r"^(\d+) .*--- stopped by SIGSTOP ---$", re.MULTILINE)
CALL = re.compile(r"^\d+ +([a-z_0-9]+)\(", re.MULTILINE)


@functools.cache
def tracing_refused() -> str:
    """Why strace cannot work here; empty when it can."""
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"exit {tried.returncode}"


def strace(
    calls: Sequence[str], log: Path, *, inject: str = "", paths: Sequence[Path | str] = (), also: Sequence[str] = ()
) -> list[str]:
    """The words to put in front of a command to trace `calls`, on `paths` only if given, and inject a fault into them.

    `also` are further injections, each into a call of its own: "openat:error=EIO:when=3".
    """
    needs("strace")
    if tracing_refused():
        without(f"strace may not trace here: {tracing_refused()}")
    # A question mark lets a call pass that this architecture does not have.
    chosen = ",".join(f"?{call}" for call in calls)
    traced = ",".join([*([chosen] if chosen else []), *(injection.split(":")[0] for injection in also)])
    words = ["strace", "-f", "-o", str(log), "-e", f"trace={traced}", "-e", "signal=all"]
    for path in paths:
        words += ["-P", str(path)]
    for injection in ([f"{chosen}:{inject}"] if inject else []) + list(also):
        words += ["-e", f"inject={injection}"]
    return words


def calls_made(log: Path) -> Counter[str]:
    """How often each traced call was made."""
    return Counter(CALL.findall(log.read_text(errors="replace")))


def was_injected(log: Path) -> bool:
    """Whether the fault was reached."""
    words = log.read_text(errors="replace")
    return "(INJECTED)" in words or "+++ killed by SIGKILL" in words


@dataclass
class Pause:
    """A process that stands still inside a system call, and later how it ended."""

    process: int = 0
    ended: Ended = field(default_factory=lambda: Ended(-1, "", "it never went on"))


@contextlib.contextmanager
def paused(
    command: Sequence[str | Path],
    cwd: Path,
    *,
    calls: Sequence[str],
    paths: Sequence[Path | str] = (),
    when: int = 1,
    also: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Pause]:
    """Run a command, stop all of it when a thread has made one of `calls` for the `when`-th time, go on after the block.

    `paths` and `also` as for `strace`; `cwd` has a private folder above it, where the trace goes.
    """
    with tempfile.TemporaryDirectory(dir=cwd.parent) as ground:
        log, out, err = Path(ground, "log"), Path(ground, "out"), Path(ground, "err")
        log.touch()
        words = strace(calls, log, inject=f"signal=SIGSTOP:when={when}", paths=paths, also=also)
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [*words, *map(str, command)],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            )
        pause = Pause()
        traced = 0
        try:
            traced = pause.process = _wait_for_stop(process, log, err)
            yield pause
            _go_on(process, traced)
            pause.ended = Ended(process.returncode, os.fsdecode(out.read_bytes()), os.fsdecode(err.read_bytes()))
        finally:
            if process.poll() is None:
                if traced:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(traced, signal.SIGKILL)
                process.kill()
                process.wait()


def _wait_for_stop(process: subprocess.Popen[bytes], log: Path, err: Path) -> int:
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        if found := STOPPED.search(log.read_text(errors="replace")):
            return _process_of(int(found[1]))
        assert process.poll() is None, f"it never made the call: exit {process.returncode}, {err.read_text()}"
        time.sleep(0.005)
    raise AssertionError("it never made the call")


def _process_of(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text()
    return int(status.split("Tgid:")[1].split()[0])


def _go_on(process: subprocess.Popen[bytes], traced: int) -> None:
    # Each thread counts its calls by itself, so a second one may stop the process again.
    until = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None:
        assert time.monotonic() < until, "it did not end"
        with contextlib.suppress(ProcessLookupError):
            os.kill(traced, signal.SIGCONT)
        time.sleep(0.01)


def refusal_of_unnamed_files(work: Path, source: str, folder: str) -> str:
    """The injection that makes `folder` refuse unnamed files to a pack, as some file systems do.

    It is for `also`, with `folder` among the paths. A pack of `source` into `folder` shows which of the calls asks for one.
    """
    log = work.parent / "probe"
    target = f"{folder}/probe.zip"
    ended = compress(source, "-o", target, cwd=work, before=strace(["openat"], log, paths=[work / folder]))
    assert ended.code == 0, ended
    (work / target).unlink()
    lines = [line for line in log.read_text().splitlines() if "openat(" in line]
    asking = [number for number, line in enumerate(lines, 1) if "O_TMPFILE" in line]
    if not asking:
        without("this file system knows no unnamed files, so every other test is about their absence")
    return f"openat:error=EOPNOTSUPP:when={asking[0]}"
