"""`outputs().compress(..., live_upload=True)` that is cut off: the same call sets the mark, and no other is taken for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.command import Ended, run
from tests.engine.trees import contents, prose, write_tree
from tests.faults.scenarios import CALLS
from tests.faults.tracing import calls_made, strace, was_injected
from tests.interop.structure import structure_of, unpacked

FILES = {f"data/{number}.json": prose(300, number) for number in range(5)}
MOST_RUNS = 200


def call(
    out: Path,
    *,
    name: str = "",
    source: str | list[str] = "data/*",
    options: str = "live_upload=True",
    before: Sequence[str] = (),
) -> Ended:
    code = f"import vhpack; print(vhpack.outputs({name!r}).compress({source!r}, {str(out / 'out.zip')!r}, jobs=1, {options}))"
    return run([*before, sys.executable, "-c", code], out, environment={"VH_OUTPUTS_DIR": str(out)})


def held(out: Path) -> dict[str, bytes]:
    archive = out / "out.zip"
    return {f"data/{member.name}": unpacked(archive, member) for member in structure_of(archive).members}


def is_marked(archive: Path) -> bool:
    return archive.stat().st_mode & 0o222 == 0


@pytest.fixture
def unmarked(work: Path) -> Path:
    """Outputs where a call was killed when all originals were gone and the mark was about to be set."""
    write_tree(work, FILES)
    log = work.parent / "log"
    marking = calls_of_marking(work)
    ended = call(work, before=strace(["fchmod"], log, inject=f"signal=KILL:when={marking}"))
    assert was_injected(log), ended
    assert contents(work / "data") == {}
    assert held(work) == FILES
    return work


def calls_of_marking(work: Path) -> int:
    """Which `fchmod` of such a call sets the mark: the last."""
    log = work.parent / "counting"
    assert call(work, before=strace(["fchmod"], log)).code == 0
    assert is_marked(work / "out.zip")
    (work / "out.zip").unlink()
    write_tree(work, FILES)
    return calls_made(log)["fchmod"]


def test_the_same_call_sets_the_mark(unmarked: Path) -> None:
    archive = (unmarked / "out.zip").read_bytes()

    ended = call(unmarked)

    assert ended.code == 0, ended
    assert ended.out.strip() == str(unmarked / "out.zip")
    assert is_marked(unmarked / "out.zip")
    assert (unmarked / "out.zip").read_bytes() == archive
    assert {path.name for path in unmarked.iterdir()} == {"data", "out.zip"}
    # And when that is done, nothing is remembered of it.
    again = call(unmarked)
    assert "NoFilesError" in again.err


@pytest.mark.parametrize("source", ["dat/*", "data/*.jsn", "data/0.json", "other/*", "data"])
def test_another_call_is_not_taken_for_it(unmarked: Path, source: str) -> None:
    """Mistyped, or about something else: that nothing matches is said as ever."""
    archive = (unmarked / "out.zip").read_bytes()

    ended = call(unmarked, source=source)

    assert ended.code == 1, ended
    assert "NoFilesError: No files to compress" in ended.err
    assert (unmarked / "out.zip").read_bytes() == archive
    assert not is_marked(unmarked / "out.zip")
    assert call(unmarked).code == 0


def test_the_same_words_elsewhere_are_another_call(unmarked: Path) -> None:
    (unmarked / "inner").mkdir()

    ended = call(unmarked, name="inner")

    assert "NoFilesError" in ended.err, ended
    assert not is_marked(unmarked / "out.zip")


def test_names_in_another_order_are_the_same_call(work: Path) -> None:
    """A set of names comes in another order in each process."""
    write_tree(work, FILES)
    log = work.parent / "log"
    before = strace(["unlink", "unlinkat"], log, inject=f"signal=KILL:when={len(FILES) + 1}")
    names = sorted(FILES)
    call(work, source=names, before=before)
    assert contents(work / "data") == {}

    ended = call(work, source=names[::-1])

    assert ended.code == 0, ended
    assert is_marked(work / "out.zip")


def test_new_files_do_not_replace_an_archive_that_waits_for_its_mark(unmarked: Path) -> None:
    """Without the mark the platform has never taken it, and it is all that is left of its files."""
    write_tree(unmarked, {"data/new.json": b"new"})

    for options in ("live_upload=True", "live_upload=True, remove_originals=False"):
        refused = call(unmarked, options=options)
        assert refused.code == 1, refused
        assert held(unmarked) == FILES

    # Both ways that it advises work.
    (unmarked / "data/new.json").rename(unmarked / "new.json")
    assert call(unmarked).code == 0
    assert is_marked(unmarked / "out.zip")
    assert held(unmarked) == FILES


def test_an_archive_that_waits_for_its_mark_can_be_moved_away(unmarked: Path) -> None:
    write_tree(unmarked, {"data/new.json": b"new"})
    assert "away" in call(unmarked).err
    (unmarked / "out.zip").rename(unmarked / "earlier.zip")

    assert call(unmarked).code == 0
    assert held(unmarked) == {"data/new.json": b"new"}
    assert is_marked(unmarked / "out.zip")
    (unmarked / "earlier.zip").replace(unmarked / "out.zip")
    assert held(unmarked) == FILES


def test_new_files_make_a_new_archive_beside_a_mark(work: Path) -> None:
    """All of the earlier one's files are gone as they should be, and the platform has been told: an overwrite like any other."""
    write_tree(work, FILES)
    log = work.parent / "log"
    before = strace(["unlink", "unlinkat"], log, inject=f"signal=KILL:when={len(FILES) + 1}")
    assert call(work, before=before).code != 0
    assert is_marked(work / "out.zip")
    write_tree(work, {"data/new.json": b"new"})

    ended = call(work)

    assert ended.code == 0, ended
    assert held(work) == {"data/new.json": b"new"}
    assert is_marked(work / "out.zip")


def test_a_mark_that_could_not_be_set_is_set_by_the_same_call(work: Path) -> None:
    write_tree(work, FILES)
    log = work.parent / "log"

    ended = call(work, before=strace(["fchmod"], log, inject="error=EPERM"))

    assert "PackOSError" in ended.err
    assert "same call again" in ended.err
    assert held(work) == FILES
    assert call(work).code == 0
    assert is_marked(work / "out.zip")
    assert {path.name for path in work.iterdir()} == {"data", "out.zip"}


def test_what_could_not_be_removed_does_not_keep_the_mark_away(work: Path) -> None:
    write_tree(work, FILES)
    log = work.parent / "log"

    ended = call(work, before=strace(["unlinkat", "unlink"], log, inject="error=EPERM:when=2"))

    assert ended.code == 0, ended
    assert "could not be removed" in ended.err
    assert is_marked(work / "out.zip")
    assert len(contents(work / "data")) == 1


@pytest.mark.parametrize("options", ["live_upload=True", "live_upload=True, shard_size=600"], ids=["one", "shards"])
def test_a_kill_at_any_call_is_made_good_by_the_same_call(tmp_path: Path, options: str) -> None:
    log = tmp_path / "log"
    out = tmp_path / "out"
    write_tree(out, FILES)
    ended = call(out, options=options, before=strace(CALLS, log))
    assert ended.code == 0, ended
    kills = 0
    for name, count in calls_made(log).items():
        for k in range(1, min(count, MOST_RUNS) + 1):
            moment = f"killed at {name} number {k}"
            for path in out.glob("*.zip"):
                path.unlink()
            write_tree(out, FILES)
            call(out, options=options, before=strace([name], log, inject=f"signal=KILL:when={k}"))
            if not was_injected(log):
                continue
            kills += 1
            check_nothing_lost(out, moment)

            ended = call(out, options=options)

            assert ended.code == 0 or "NoFilesError" in ended.err, f"{moment}: {ended}"
            check_nothing_lost(out, moment)
            assert contents(out / "data") == {}, moment
            archives = list(out.glob("*.zip"))
            assert archives, f"{moment}: {ended}"
            assert all(map(is_marked, archives)), f"{moment}: {ended}"
            assert not [path for path in out.iterdir() if path.name.startswith(".")], moment
    assert kills >= 10, "the faults were not reached"


def check_nothing_lost(out: Path, moment: str) -> None:
    packed: dict[str, bytes] = {}
    for archive in out.glob("*.zip"):
        packed |= {f"data/{member.name}": unpacked(archive, member) for member in structure_of(archive).members}
    left = {f"data/{name}": content for name, content in contents(out / "data").items()}
    assert {**packed, **left} == FILES, moment
