"""A kill at any name that a set of shards gets: those that are there are complete, and the same call makes the set whole."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhpack
from tests.engine.command import compress
from tests.engine.trees import noise, write_tree
from tests.faults.tracing import strace, was_injected

MOST_RUNS = 20
CALL = ("data", "-o", "out.tar.zst", "--shard-size", "40k", "--manifest", "-q")


def files(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in work.iterdir() if path.is_file()}


def test_shards_that_are_there_after_a_kill_are_those_of_the_whole_set(work: Path, tmp_path: Path) -> None:
    write_tree(work / "data", {f"{number}.{kind}": noise(9000, number) for number in range(6) for kind in ("png", "bin")})
    assert compress(*CALL, cwd=work).code == 0
    whole = files(work)
    assert len(whole) == 2 * 3
    log = tmp_path / "log"
    seen = set()
    for k in range(1, MOST_RUNS):
        for name in whole:
            (work / name).unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        compress(*CALL, cwd=work, before=strace(["linkat"], log, inject=f"signal=KILL:when={k}"))
        if not was_injected(log):
            break
        there = files(work)
        assert there.items() <= whole.items(), f"killed at name number {k}"
        shards = sorted(name for name in there if name.endswith(".zst"))
        assert shards == sorted(name for name in whole if name.endswith(".zst"))[: len(shards)]
        assert all(vhpack.open(name).verify().ok for name in shards)
        seen.add(len(shards))
        again = compress(*CALL, cwd=work)
        assert (again.code == 0) == (not shards), again
        assert compress(*CALL, "--force", cwd=work).code == 0
        assert files(work) == whole
    else:
        pytest.fail(f"names are given more than {MOST_RUNS} times")
    assert seen == {0, 1, 2, 3}, "the kills came between shards, too"
