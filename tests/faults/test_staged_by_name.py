"""Where the file system knows no unnamed files, the archive is staged under a dot-name: nothing is lost there, either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, Ended, compress, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, snapshot, write_tree
from tests.faults.scenarios import CALLS, EARLIER, FILES
from tests.faults.tracing import calls_made, paused, refusal_of_unnamed_files, strace, was_injected
from tests.interop.structure import structure_of, unpacked

STAGED = ".out.zip.0.vhpack-staged"
LISTED = ".out.zip.vhpack-removing"
MOST_RUNS = 300
COMMAND = [VHPACK, "compress", "data", "-o", "target/out.zip", "--jobs", "2", "--remove-originals", "-q"]


@dataclass(frozen=True)
class Ground:
    """A folder to pack in, and the injection that takes unnamed files from its folder `target`."""

    work: Path
    refusal: str

    @property
    def log(self) -> Path:
        return self.work.parent / "log"

    def refill(self, *, earlier: bool) -> None:
        """Put everything as it was before a run."""
        for path in (self.work / "target").iterdir():
            path.unlink()
        write_tree(self.work / "data", FILES)
        if earlier:
            (self.work / "target/out.zip").write_bytes(EARLIER)
        self.log.unlink(missing_ok=True)

    def run(self, *options: str, calls: Sequence[str], inject: str = "", before: Sequence[str] = ()) -> Ended:
        """Pack into the folder that knows no unnamed files."""
        paths = [self.work / "target", self.work / "target" / STAGED]
        words = strace(calls, self.log, inject=inject, paths=paths, also=[self.refusal])
        return run([*words, *before, *COMMAND, *options], self.work)

    def names(self) -> set[str]:
        return {path.name for path in (self.work / "target").iterdir()}


@pytest.fixture
def ground(work: Path) -> Ground:
    write_tree(work, {"target": None, "small/a.txt": b"a"})
    return Ground(work, refusal_of_unnamed_files(work, "small", "target"))


def used_calls(ground: Ground, options: list[str]) -> list[str]:
    """Calls made on the folder of the target and on the staged file."""
    ground.refill(earlier="--force" in options)
    ended = ground.run(*options, calls=CALLS)
    assert ended.code == 0, ended
    made = calls_made(ground.log)
    return [call for call in CALLS if made[call]]


def check_nothing_lost(ground: Ground, moment: str, *, earlier: bool) -> None:
    target = ground.work / "target/out.zip"
    left = contents(ground.work / "data")
    assert all(FILES[name] == content for name, content in left.items()), moment
    if target.exists() and target.read_bytes() != EARLIER:
        assert {member.name: unpacked(target, member) for member in structure_of(target).members} == FILES, moment
    else:
        assert left == FILES, moment
        assert target.exists() == earlier, moment


@pytest.mark.parametrize("options", [[], ["--force"]], ids=["new", "replacing"])
def test_a_kill_loses_nothing_and_the_next_pack_tidies_up(ground: Ground, options: list[str]) -> None:
    earlier = "--force" in options
    kills = 0
    for call in used_calls(ground, options):
        for k in range(1, MOST_RUNS):
            ground.refill(earlier=earlier)
            ground.run(*options, calls=[call], inject=f"signal=KILL:when={k}")
            check_nothing_lost(ground, f"killed at {call} number {k}", earlier=earlier)
            assert ground.names() <= {"out.zip", STAGED, LISTED}
            if "+++ killed by SIGKILL" not in ground.log.read_text():
                break
            kills += 1
            ended = compress("data", "-o", "target/out.zip", "--force", "--remove-originals", cwd=ground.work)
            assert ended.code == 0, ended
            check_nothing_lost(ground, f"packed again after a kill at {call} number {k}", earlier=earlier)
            assert ground.names() == {"out.zip"}
        else:
            pytest.fail(f"{call} is called more than {MOST_RUNS} times")
    assert kills >= 3, "the faults were not reached"


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("options", [[], ["--force"]], ids=["new", "replacing"])
def test_a_failure_leaves_no_staged_file(ground: Ground, options: list[str], error: str) -> None:
    earlier = "--force" in options
    faults = 0
    for call in used_calls(ground, options):
        if call.startswith("unlink"):
            continue  # a staged file that cannot be removed stays
        for k in range(1, MOST_RUNS):
            moment = f"{error} at {call} number {k}"
            ground.refill(earlier=earlier)
            ended = ground.run(*options, calls=[call], inject=f"error={error}:when={k}")
            check_nothing_lost(ground, moment, earlier=earlier)
            assert ground.names() <= {"out.zip"}, moment
            lines = ground.log.read_text().splitlines()
            if not any("INJECTED" in line and f" {call}(" in line for line in lines):
                assert ended.code == 0, ended
                break
            faults += 1
            if ended.code != 0:
                check_failed(ended, ["out.zip"], "space|error")
        else:
            pytest.fail(f"{call} is called more than {MOST_RUNS} times")
    assert faults >= 3, "the faults were not reached"


def test_what_any_of_several_killed_packs_left_is_tidied_up(ground: Ground) -> None:
    ground.refill(earlier=False)
    (ground.work / "target/.out.zip.1.vhpack-staged").write_bytes(b"half an archive")

    assert compress("data", "-o", "target/out.zip", cwd=ground.work).code == 0

    assert ground.names() == {"out.zip"}


def test_a_limit_on_the_size_of_files_leaves_no_staged_file(ground: Ground) -> None:
    ground.refill(earlier=False)
    before = snapshot(ground.work)

    ended = ground.run(calls=[], before=["prlimit", "--fsize=20000"])

    assert was_injected(ground.log)
    check_failed(ended, ["out.zip"], "large")
    assert snapshot(ground.work) == before


def test_a_pack_leaves_the_staged_file_of_a_living_one_alone(ground: Ground) -> None:
    ground.refill(earlier=False)
    target = ground.work / "target"
    with paused(
        [*COMMAND, "--force"], ground.work, calls=["fdatasync"], paths=[target, target / STAGED], also=[ground.refusal]
    ) as pause:
        assert ground.names() == {STAGED}
        ended = compress("small", "-o", "target/out.zip", "-q", cwd=ground.work)
        assert ground.names() == {"out.zip", STAGED}

    # The one that removes originals does not replace what came meanwhile, and tidies up after itself.
    assert (ended.code, pause.ended.code) == (0, 1), (ended, pause.ended)
    assert "written by another" in pause.ended.err
    assert ground.names() == {"out.zip"}


def test_a_file_system_without_locks_is_packed_to(ground: Ground) -> None:
    """Its leftovers cannot be told from the staged files of living packs, and so they stay."""
    ground.refill(earlier=False)
    (ground.work / "target" / STAGED).write_bytes(b"of a living pack, perhaps")

    ended = ground.run("--force", calls=["flock"], inject="error=ENOLCK")

    assert ended.code == 0, ended
    assert was_injected(ground.log)
    assert ground.names() == {"out.zip", STAGED}
    check_nothing_lost(ground, "no locks", earlier=False)


NO_LINKS = ["linkat:error=EPERM", "renameat2:error=EINVAL"]
"""A file system such as FAT: no hard links, and no rename that refuses a taken name."""


@pytest.mark.parametrize("appears", [False, True], ids=["free", "taken meanwhile"])
def test_without_links_a_free_name_is_given_and_a_taken_one_is_refused(ground: Ground, appears: bool) -> None:
    ground.refill(earlier=False)
    paths = [ground.work / "target", ground.work / "target" / STAGED]
    with paused(COMMAND, ground.work, calls=["fdatasync"], paths=paths, also=[ground.refusal, *NO_LINKS]) as pause:
        if appears:
            (ground.work / "target/out.zip").write_bytes(EARLIER)

    if appears:
        check_failed(pause.ended, ["out.zip"], "appeared meanwhile|written by another")
        assert (ground.work / "target/out.zip").read_bytes() == EARLIER
        assert contents(ground.work / "data") == FILES
    else:
        assert pause.ended.code == 0, pause.ended
        check_nothing_lost(ground, "without links", earlier=False)
        assert contents(ground.work / "data") == {}
    assert ground.names() == {"out.zip"}
