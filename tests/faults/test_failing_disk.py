"""A disk that is full or fails at any call: a sentence, a clean folder, and every original."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.command import compress
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, snapshot, write_tree
from tests.faults.scenarios import CALLS, FILES, SCENARIOS, Ground, Scenario
from tests.faults.tracing import calls_made, strace, was_injected

MOST_RUNS = 500
REMOVALS = ("unlink", "unlinkat")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_failure_at_any_call_loses_nothing_and_leaves_nothing(tmp_path: Path, scenario: Scenario, error: str) -> None:
    log = tmp_path / "log"
    faults = 0
    for call in scenario.calls_used(tmp_path):
        for k in range(1, MOST_RUNS):
            moment = f"{error} at {call} number {k}"
            ground = scenario.fresh(tmp_path / "ground")
            log.unlink(missing_ok=True)
            ended = scenario.pack(ground, strace([call], log, inject=f"error={error}:when={k}"))
            ground.check_nothing_lost(moment)
            if not was_injected(log):
                assert ended.code == 0, ended
                break
            faults += 1
            check_told(ground, ended.code, ended.out, ended.err, moment)
            # The list of the originals stays when it is its own removal that fails.
            allowed = {f"{Path(scenario.target).parent / '.out.zip.vhpack-removing'}"} if call in REMOVALS else set()
            assert ground.strays() <= allowed, f"{moment}: left behind"
        else:
            pytest.fail(f"{call} is called more than {MOST_RUNS} times")
    assert faults >= 3, "the faults were not reached"


def check_told(ground: Ground, code: int, said: str, err: str, moment: str) -> None:
    """The caller is told the truth: an error, or success; and an original that stayed is in the list."""
    assert "panicked" not in err, f"{moment}: {err}"
    left = ground.originals_left()
    if code == 0:
        assert ground.archive_is_complete(), f"{moment}: success without an archive"
        kept = int(said.removeprefix("kept "))
        assert len(left) in (kept, len(FILES)), f"{moment}: {len(left)} originals are there, {kept} reported"
    else:
        assert code == 1, f"{moment}: {err}"
        assert left == FILES, f"{moment}: failed, and originals are gone"
        assert "out.zip" in said or str(ground.work) in said or "data/" in said, f"{moment}: no path in {said!r}"
        kind = said.split(":", maxsplit=1)[0]
        assert kind == ("NoSpaceError" if moment.startswith("ENOSPC") else "PackOSError"), f"{moment}: {said}"


@pytest.mark.parametrize("scenario", SCENARIOS[:1], ids=lambda scenario: scenario.name)
def test_an_interrupted_call_is_made_again(tmp_path: Path, scenario: Scenario) -> None:
    log = tmp_path / "log"
    for call in scenario.calls_used(tmp_path):
        if call in ("unlink", "unlinkat", "link", "linkat", "rename", "renameat2", "fchmod", "sync_file_range"):
            continue  # the kernel does not interrupt these
        ground = scenario.fresh(tmp_path / "ground")
        ended = scenario.pack(ground, strace([call], log, inject="error=EINTR:when=1"))
        assert ended.code == 0, f"EINTR at {call}: {ended}"
        assert ground.archive_is_complete()


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_the_command_says_what_failed_and_ends_with_1(tmp_path: Path, work: Path, error: str) -> None:
    log = tmp_path / "log"
    write_tree(work / "data", FILES)
    before = snapshot(work)
    counted = compress("data", "-o", "out.zip", "--remove-originals", "-q", cwd=work, before=strace(CALLS, log))
    assert counted.code == 0, counted
    used = [call for call in CALLS if calls_made(log)[call]]
    # The words for people go out by `write`, and a removal that fails does not fail the pack.
    for call in used:
        if call in ("write", "writev", *REMOVALS):
            continue
        (work / "out.zip").unlink(missing_ok=True)
        write_tree(work / "data", FILES)
        inject = strace([call], log, inject=f"error={error}:when=1")
        ended = compress("data", "-o", "out.zip", "--remove-originals", cwd=work, before=inject)
        if ended.code == 0:
            continue
        check_failed(ended, ["out.zip"], "space|error")
        assert contents(work / "data") == FILES
        assert set(snapshot(work)) - {"out.zip"} == set(before)


@pytest.mark.parametrize("name", ["data/sub/d.bin", "data/weights.bin"])
@pytest.mark.parametrize("call", ["read", "pread64", "openat"])
@pytest.mark.parametrize("on_change", ["error", "skip"])
def test_a_file_that_cannot_be_read_ends_the_pack(work: Path, name: str, call: str, on_change: str) -> None:
    """A failing disk is no change: leaving the file out is not what was asked for."""
    write_tree(work / "data", FILES)
    before = snapshot(work)
    log = work.parent / "log"
    # The folder's listing gives the packer a name that it opens relative to the folder or by its full path.
    paths = [str(work / name), os.path.basename(name)]
    inject = strace([call], log, inject="error=EIO:when=1", paths=paths)

    ended = compress("data", "-o", "out.zip", "--remove-originals", "--on-change", on_change, cwd=work, before=inject)

    if was_injected(log):
        check_failed(ended, [name], "error")
        assert snapshot(work) == before
    else:
        assert ended.code == 0, ended


def test_a_folder_that_cannot_be_listed_ends_the_pack(work: Path) -> None:
    write_tree(work / "data", FILES)
    before = snapshot(work)
    log = work.parent / "log"
    inject = strace(["getdents64"], log, inject="error=EIO:when=1", paths=[work / "data/sub"])

    ended = compress("data", "-o", "out.zip", "--remove-originals", cwd=work, before=inject)

    assert was_injected(log)
    check_failed(ended, ["data/sub"], "error")
    assert snapshot(work) == before
