"""Uploads whose process is killed, at any moment and at any system call: another process finishes them."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.engine.command import run
from tests.engine.trees import noise
from tests.faults.tracing import strace, was_injected
from tests.upload.proxy import Proxy, proxy
from tests.upload.sending import MIB, PART, SECONDS, around, command, resume, started
from tests.upload.servers import Server
from vhpack import uploading

AT_ONCE = 2
"""Parts on their way at one time."""
LARGE = 64 * MIB
KILLS = {"moto": 100, "rclone": 100, "webdav": 50, "file": 50} if SOAK else {"moto": 9, "rclone": 9, "webdav": 4, "file": 4}
CALLS_SAMPLED = {"moto": 8, "rclone": 8, "webdav": 3, "file": 21}
CALLS = (
    *("socket", "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown", "write", "writev", "pwrite64"),
    *("openat", "mkdir", "mkdirat", "fsync", "fdatasync", "ftruncate", "flock", "fcntl"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "fchmod", "chmod"),
)
OF_CALL = re.compile(r"^(\d+) +([a-z_0-9]+)\((.*)$", re.MULTILINE)


@dataclass
class Ground:
    """Where an upload goes to, and what is left of it."""

    kind: str
    work: Path
    state: Path
    content: bytes
    server: Server | None = None
    between: Proxy | None = None
    number: int = 0

    @property
    def folder(self) -> str:
        return f"{self.number}"

    @property
    def environment(self) -> dict[str, str]:
        if self.server is None:
            return {"VHPACK_STATE_DIR": str(self.state), "PYTHONDONTWRITEBYTECODE": "1"}
        return around(self.server, self.state)

    def command(self) -> list[str | bytes | Path]:
        words = command(self.server, "a.bin", self.folder) if self.server else _to_file(self.work, self.folder)
        return [*words, "--option", f"concurrency={AT_ONCE}"]

    def arrived(self) -> bytes | None:
        if self.server is not None:
            return self.server.read(f"{self.folder}/a.bin")
        target = self.work / "there" / self.folder / "a.bin"
        return target.read_bytes() if target.exists() else None

    def unfinished(self) -> int:
        return self.server.unfinished() if self.server is not None else 0

    def strays(self) -> list[str]:
        """What lies at the destination beside the file."""
        there = self.work / "there" / self.folder
        return [path.name for path in there.rglob("*") if path.name != "a.bin"] if self.server is None else []

    def make_folder(self) -> None:
        if self.server is not None:
            self.server.make_folders(self.folder)

    def next(self) -> None:
        self.number += 1
        self.make_folder()
        if self.between is not None:
            self.between.passed.clear()

    def resume(self) -> object:
        """Go on as another process would; every fourth time as one that is begun for it, which takes longer than all the rest."""
        if self.number % 4 == 0:
            ended = resume(self.environment, self.work)
            assert ended.code == 0, ended
            return ended
        uploads = uploading.resume(self.server.options() if self.server else {})
        assert all(upload._wait(SECONDS) for upload in uploads), uploads
        assert [upload.error for upload in uploads if upload.error] == []
        uploading.forget(uploads)
        return uploads

    def check_finished(self, moment: str, *, most_again: int | None = None) -> None:
        """Resume, and see that everything is as if nothing had happened."""
        assert self.arrived() in (None, self.content) or self.kind == "webdav", f"{moment}: half a file under its name"
        ended = self.resume()
        if self.arrived() != self.content:
            # Killed before there was a record, so that nothing can have been sent either.
            assert self.between is None or self.between.body_bytes() == 0, f"{moment}: sent, and not resumed: {ended}"
            assert self.arrived() is None, f"{moment}: not what was sent: {ended}"
            again = run(self.command(), self.work, environment=self.environment, timeout=SECONDS)
            assert again.code == 0, f"{moment}: {again}"
            assert self.arrived() == self.content, moment
        # A server that had taken a part and was not heard may take it no second time, nor complete what it was sent twice.
        refused = self.between is not None and any(
            passed.status >= 400 and re.search(r"^POST .*uploadId=", passed.line) for passed in self.between.passed
        )
        if most_again is not None and self.between is not None and not refused:
            again_sent = self.between.body_bytes() - len(self.content)
            assert again_sent <= most_again, f"{moment}: {again_sent} bytes were sent again: {self.between.told()}"
        # By this process, which knows of nothing but the records either, and is faster begun.
        uploading.swept(older_than=0, dry_run=False, given=self.server.options() if self.server else {})
        assert uploading.records() == [], moment
        assert self.unfinished() == 0, f"{moment}: parts are left that cost money"
        assert self.strays() == [], moment
        assert (self.work / "a.bin").read_bytes() == self.content


@pytest.fixture(params=["moto", "rclone", "webdav", "file"])
def ground(request: pytest.FixtureRequest, servers: Callable[[str], Server], work: Path, state: Path) -> Iterator[Ground]:
    made = Ground(request.param, work, state, b"")
    if request.param == "file":
        yield made
        return
    made.server = servers(request.param)
    made.server.new_bucket()
    made.make_folder()
    with proxy(made.server) as made.between:
        yield made


def test_a_kill_at_a_random_moment_costs_what_was_in_flight(ground: Ground) -> None:
    ground.content = noise(LARGE, 1)
    (ground.work / "a.bin").write_bytes(ground.content)
    # The shortest of several: one that was slow by chance would have the kills come when all is over.
    times = [_time_of(ground)]
    for _ in range(2):
        ground.next()
        times.append(_time_of(ground))
    usual = min(times)
    chosen = random.Random(11)
    killed = 0
    for number in range(KILLS[ground.kind]):
        ground.next()
        process = started(ground.command(), ground.environment, ground.work)
        _until_it_sends(ground, process.poll)
        time.sleep(chosen.random() * usual)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        most = (AT_ONCE + 1) * PART if ground.kind in ("moto", "rclone") else None
        ground.check_finished(f"kill {number}", most_again=most)
    assert killed * 3 > KILLS[ground.kind], "most of them had ended before they were killed"


def test_a_kill_at_any_call_is_mended(ground: Ground, tmp_path: Path) -> None:
    """Run k is killed when one of its threads makes its k-th call of one kind."""
    ground.content = noise(3 * PART + 1000 if ground.kind in ("moto", "rclone") else 300_000, 2)
    (ground.work / "a.bin").write_bytes(ground.content)
    log = tmp_path / "log"
    moments = _moments(ground, log)
    if not SOAK:
        moments = random.Random(13).sample(moments, min(len(moments), CALLS_SAMPLED[ground.kind]))
    reached = 0
    for call, k in moments:
        ground.next()
        log.unlink(missing_ok=True)
        words = strace([call], log, inject=f"signal=KILL:when={k}")
        run([*words, *ground.command()], ground.work, environment=ground.environment, timeout=SECONDS)
        reached += was_injected(log)
        ground.check_finished(f"killed at {call} number {k}")
    # Which thread does what is another in each run: the later calls of each are often not reached.
    assert reached * 4 > len(moments), "the faults were not reached"


def _moments(ground: Ground, log: Path) -> list[tuple[str, int]]:
    """Every call of an undisturbed upload by which it touches the network or the disk, from the first that is about it on."""
    ended = run([*strace(CALLS, log), *ground.command()], ground.work, environment=ground.environment, timeout=SECONDS)
    assert ended.code == 0, ended
    assert ground.arrived() == ground.content
    counts: Counter[tuple[str, str]] = Counter()
    moments: set[tuple[str, int]] = set()
    concerned = False
    for thread, call, arguments in OF_CALL.findall(log.read_text(errors="replace")):
        counts[thread, call] += 1
        # Before this, the interpreter loads its modules.
        concerned = concerned or str(ground.state) in arguments or "sin_port" in arguments or "/there" in arguments
        if concerned:
            moments.add((call, counts[thread, call]))
    assert len(moments) > 20, "an upload that calls nothing uploads nothing"
    return sorted(moments)


def _time_of(ground: Ground) -> float:
    """How long an upload takes from its first byte on."""
    process = started(ground.command(), ground.environment, ground.work)
    _until_it_sends(ground, process.poll)
    began = time.monotonic()
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert ground.arrived() == ground.content
    return time.monotonic() - began


def _until_it_sends(ground: Ground, ended: Callable[[], int | None]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and ended() is None:
        if any(ground.state.rglob("*")) if ground.between is None else ground.between.passed:
            return
        time.sleep(0.002)
    assert ended() is not None, "it sends nothing"


def _to_file(work: Path, folder: str) -> list[str | bytes | Path]:
    from tests.engine.command import VHPACK

    there = work / "there" / folder
    there.mkdir(parents=True, exist_ok=True)
    return [VHPACK, "upload", "a.bin", "--to", f"{there.as_uri()}/", "--option", "part_size=65536", "--json", "-q"]
