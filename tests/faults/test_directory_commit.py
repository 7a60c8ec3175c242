"""A kill at any system call by which a directory is committed: who reads finds the version before or the new one.

The first run is watched, and says which calls it makes and how often; in the others strace kills the process at one of
them. All of them are run under VHPACK_SOAK=1, else some of each kind.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK
from tests.engine.command import Ended, run
from tests.engine.trees import contents
from tests.faults.tracing import calls_made, strace, was_injected
from vhpack.committed import MANIFEST

CALLS = (
    *("write", "pwrite64", "copy_file_range", "sendfile", "fsync", "fdatasync", "syncfs", "ftruncate", "flock"),
    *("mkdir", "mkdirat", "rmdir", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
)
"""Every call by which a commit could change the disk, but for those that create files, which write to them next."""

OLD = {"a.txt": b"old a", "b/c.txt": b"old c", "gone/d.txt": b"old d"}
NEW = {"a.txt": b"new", "b/c.txt": b"new too", "e.txt": b"new e"}

PROGRAM = """
import sys, vhpack
from vhpack import committing
committing._ONE_BY_ONE = {one_by_one}
with vhpack.OutputDir("out/curves", resume=True) as out:
    for name, content in {files!r}.items():
        if not out.is_done(name):
            print(name, flush=True)
            out.write_bytes(name, content)
"""


@dataclass(frozen=True)
class Scenario:
    name: str
    earlier: Mapping[str, bytes] | None = None
    one_by_one: int = 64
    also: tuple[str, ...] = ()

    def fresh(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        if self.earlier is not None:
            with vhpack.OutputDir(folder / "out/curves") as out:
                for name, content in self.earlier.items():
                    out.write_bytes(name, content)
        return folder

    def write(self, folder: Path, log: Path, *, inject: str = "", calls: tuple[str, ...] = CALLS) -> Ended:
        """Write the new version, disturbed; under strace the same calls come in the same order every time."""
        return run([*strace(calls, log, inject=inject, also=self.also), *self._command()], folder)

    def finish(self, folder: Path) -> Ended:
        """Do the same again, undisturbed."""
        return run(self._command(), folder)

    def _command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM.format(one_by_one=self.one_by_one, files=NEW)]


# `also` lets a file system refuse to have two names change places.
SCENARIOS = [
    Scenario("a new directory"),
    Scenario("one that is replaced", OLD),
    Scenario("one call for the disk", OLD, one_by_one=1),
    Scenario("names that cannot change places", OLD, also=("renameat2:error=EINVAL",)),
]


SAMPLES = 9


def moments(made: Mapping[str, int]) -> list[tuple[str, int]]:
    """Which calls are disturbed: all in a soak, else those that give names, and an even choice of the others."""
    every = [(call, number) for call, count in sorted(made.items()) for number in range(1, count + 1)]
    if SOAK:
        return every
    naming = [moment for moment in every if moment[0].startswith("rename")]
    others = [moment for moment in every if moment not in naming]
    return naming + others[:: max(1, len(others) // (SAMPLES - len(naming)))]


def version_in(folder: Path) -> str:
    """Which version a reader finds; a mix of two fails the test."""
    target = folder / "out/curves"
    try:
        read = dict(vhpack.read_outputs(target, verify=True))
    except vhpack.SourceNotFoundError:
        assert not target.exists()
        return "none"
    assert read in (OLD, NEW), read
    if target.exists():
        lying_there = {name: content for name, content in contents(target).items() if name != MANIFEST}
        assert lying_there == read, "a listing shows something else than the manifest"
    return "old" if read == OLD else "new"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_kill_at_any_call_shows_one_version_and_the_next_run_finishes(tmp_path: Path, scenario: Scenario) -> None:
    log, ground = tmp_path / "log", tmp_path / "ground"
    calls = tuple(call for call in CALLS if call not in {each.split(":")[0] for each in scenario.also})
    counted = scenario.write(scenario.fresh(ground), log, calls=calls)
    assert (counted.code, version_in(ground)) == (0, "new"), counted
    made = {call: count for call, count in calls_made(log).items() if call in calls}
    assert {"write", "fsync", "unlink"} <= set(made), made

    before = "none" if scenario.earlier is None else "old"
    seen = set()
    for call, number in moments(made):
        moment = f"killed at {call} number {number}"
        scenario.fresh(ground)
        log.unlink(missing_ok=True)
        killed = scenario.write(ground, log, calls=(call,), inject=f"signal=KILL:when={number}")
        if not was_injected(log):
            continue
        assert killed.code != 0, moment
        found = version_in(ground)
        assert found in (before, "new"), f"{moment}: {found}"
        seen.add(found)

        again = scenario.finish(ground)

        assert again.code == 0, f"{moment}: {again}"
        assert version_in(ground) == "new", moment
        assert [path.name for path in (ground / "out").iterdir()] == ["curves"], f"{moment}: left behind"
        if found != "new":
            # What was said to be finished is made once; a kill may come between the last word of it and the next.
            twice = set(killed.out.split()[:-1]) & set(again.out.split())
            assert not twice, f"{moment}: {twice} made again"
    assert seen == {before, "new"}, "the kills missed one side of the commit"


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"] if SOAK else ["EIO"])
@pytest.mark.parametrize("scenario", SCENARIOS if SOAK else SCENARIOS[1:2], ids=lambda scenario: scenario.name)
def test_a_call_that_fails_is_told_and_leaves_one_version(tmp_path: Path, scenario: Scenario, error: str) -> None:
    log, ground = tmp_path / "log", tmp_path / "ground"
    failing = ("fsync", "rename", "renameat2", "mkdir", "unlink")
    scenario.write(scenario.fresh(ground), log, calls=failing)
    before = "none" if scenario.earlier is None else "old"
    for call, number in moments({call: count for call, count in calls_made(log).items() if call in failing}):
        moment = f"{error} at {call} number {number}"
        scenario.fresh(ground)
        log.unlink(missing_ok=True)
        ended = scenario.write(ground, log, calls=(call,), inject=f"error={error}:when={number}")
        found = version_in(ground)
        assert found in (before, "new"), f"{moment}: {found}"
        if ended.code:
            last = ended.err.splitlines()[-1]
            assert last.startswith("vhpack.errors."), f"{moment}: {ended.err}"
            assert "curves" in last, f"{moment}: {last}"
        else:
            assert found == "new", f"{moment}: success without the new version"
        again = scenario.finish(ground)
        assert (again.code, version_in(ground)) == (0, "new"), f"{moment}: {again}"
