"""Packs to be disturbed, and what must be true of the folder whatever disturbed them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import SOAK
from tests.engine.command import Ended
from tests.engine.trees import MIB, contents, noise, prose, write_tree
from tests.faults.tracing import calls_made, strace
from tests.interop.structure import structure_of, unpacked

CALLS = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "splice"),
    *("fallocate", "ftruncate", "fsync", "fdatasync", "sync_file_range", "syncfs"),
    *("link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "fchmod", "fchmodat", "chmod"),
)
"""Every call by which a pack could change the disk."""

EARLIER = b"PK\5\6" + bytes(18)
"""An earlier archive: the shortest there is."""

FILES = {
    "a.json": prose(9_000, 1),
    "b.png": noise(30_000, 2),
    "empty": b"",
    "sub/c.json": prose(70_000, 3),
    "sub/d.bin": noise(150_000, 4),
    "weights.bin": noise(4 * MIB + 100_000, 5),
    "weights.json": prose(4 * MIB + 100_000, 6),
} | ({f"more/{i}": noise(i * 4_000, i) for i in range(40)} if SOAK else {})

PROGRAM = """
import socket, sys, vhpack
say = socket.socket(fileno=int(sys.argv[1]))
try:
    report = vhpack.pack("data", TARGET, jobs=2, **OPTIONS)
except vhpack.PackError as error:
    say.send(f"{type(error).__name__}: {error}".encode())
    sys.exit(1)
say.send(f"kept {len(report.kept)}".encode())
"""


@dataclass(frozen=True)
class Ground:
    """A folder with originals in it, about to be packed."""

    work: Path
    target: Path
    earlier: bytes | None

    def originals_left(self) -> dict[str, bytes]:
        return contents(self.work / "data")

    def archive_is_complete(self) -> bool:
        """Whether there is a new archive; if there is, it must hold every file."""
        if not self.target.exists() or self.target.read_bytes() == self.earlier:
            return False
        structure = structure_of(self.target)
        packed = {member.name: unpacked(self.target, member) for member in structure.members}
        assert packed == FILES, "there is an archive, and it is not complete"
        return True

    def strays(self) -> set[str]:
        """Names that were not there before, other than the target."""
        known = {"data", "target", *(str(Path("data", name)) for name in FILES), "data/sub", "data/more"}
        known.add(str(self.target.relative_to(self.work)))
        return {str(path.relative_to(self.work)) for path in self.work.rglob("*")} - known

    def check_nothing_lost(self, moment: str) -> None:
        left = self.originals_left()
        for name, content in left.items():
            assert FILES[name] == content, f"{moment}: {name} is changed"
        complete = self.archive_is_complete()
        assert complete or left == FILES, f"{moment}: lost {sorted(set(FILES) - set(left))}"
        if self.earlier is not None:
            assert self.target.exists(), f"{moment}: the earlier archive is gone and no new one is there"


@dataclass(frozen=True)
class Scenario:
    """How to pack."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    target: str = "out.zip"
    earlier: bytes | None = None

    def fresh(self, folder: Path) -> Ground:
        """The folder as it is before every run."""
        shutil.rmtree(folder, ignore_errors=True)
        work = folder / "work"
        write_tree(work / "data", FILES)
        target = work / self.target
        target.parent.mkdir(exist_ok=True)
        if self.earlier is not None:
            target.write_bytes(self.earlier)
        return Ground(work, target, self.earlier)

    def pack(self, ground: Ground, before: Sequence[str] = ()) -> Ended:
        """Run the pack in a process; what it says comes through a socket, which no injected fault reaches."""
        import socket
        import subprocess

        program = PROGRAM.replace("TARGET", repr(self.target)).replace("OPTIONS", repr(dict(self.options)))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = subprocess.run(
                [*before, sys.executable, "-c", program, str(theirs.fileno())],
                cwd=ground.work,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                timeout=120,
            )
            ours.setblocking(False)
            try:
                said = ours.recv(1 << 16).decode()
            except BlockingIOError:
                said = ""
        return Ended(done.returncode, said, os.fsdecode(done.stderr))

    def calls_used(self, tmp_path: Path) -> list[str]:
        """The calls by which this pack changes the disk, found by watching one."""
        log = tmp_path / "counting"
        ground = self.fresh(tmp_path / "counting-ground")
        ended = self.pack(ground, strace(CALLS, log))
        assert ended.code == 0, ended
        assert ground.archive_is_complete()
        used = calls_made(log)
        assert used, "a pack that calls nothing packs nothing"
        return [call for call in CALLS if used[call]]


SCENARIOS = [
    Scenario("originals removed", {"remove_originals": True}),
    Scenario("originals kept", {}),
    Scenario("an earlier archive replaced", {"remove_originals": True, "force": True}, earlier=EARLIER),
    Scenario("target elsewhere", {"remove_originals": True, "codec": "store"}, target="target/out.zip"),
]
