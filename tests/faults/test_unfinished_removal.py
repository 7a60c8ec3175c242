"""A removal that was cut off: the archive is the only copy of what is gone already, and no later call may forget that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import without
from tests.engine.command import VHPACK, Ended, compress, ordinary_user, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, prose, snapshot, write_tree
from tests.faults.tracing import strace, was_injected
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number}.json": prose(400, number) for number in range(9)} | {"sub/deep.json": prose(400, 9)}
LIST = ".out.zip.vhpack-removing"
SAME_CALL = ["data", "-o", "out.zip", "--remove-originals"]


def held(work: Path) -> dict[str, bytes]:
    archive = work / "out.zip"
    return {member.name: unpacked(archive, member) for member in structure_of(archive).members}


@pytest.fixture
def cut_off(work: Path) -> Path:
    """A folder where a pack was killed when it had removed four of ten originals."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    kill = strace(["unlink", "unlinkat"], log, inject="signal=KILL:when=5")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    assert was_injected(log)
    assert len(contents(work / "data")) == 6
    assert held(work) == FILES
    return work


def test_a_copy_of_the_archive_in_its_place_is_as_good(cut_off: Path) -> None:
    """Restored from a backup it is another file, and its bytes say that it holds the originals."""
    archive = (cut_off / "out.zip").read_bytes()
    (cut_off / "copy").write_bytes(archive)
    (cut_off / "copy").replace(cut_off / "out.zip")

    ended = compress(*SAME_CALL, cwd=cut_off)

    assert ended.code == 0, ended
    assert contents(cut_off / "data") == {}
    assert held(cut_off) == FILES


def test_originals_that_were_kept_are_not_packed_over_the_only_copy_of_the_others(work: Path) -> None:
    """One could not be removed and has been written to since: the list stays, and so does the archive."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    refuse = strace(["unlink", "unlinkat"], log, inject="error=EPERM:when=3")
    assert run([*refuse, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work).code == 1
    [kept] = contents(work / "data")
    (work / "data" / kept).write_bytes(b"rewritten")
    archive = (work / "out.zip").read_bytes()

    for _ in range(2):
        ended = compress(*SAME_CALL, "--force", cwd=work)
        assert ended.code == 1, ended
        assert (work / "out.zip").read_bytes() == archive
        assert (work / "data" / kept).read_bytes() == b"rewritten"


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
def test_the_same_call_again_finishes_it(cut_off: Path, force: list[str]) -> None:
    archive = (cut_off / "out.zip").read_bytes()

    ended = compress(*SAME_CALL, *force, cwd=cut_off)

    assert ended.code == 0, ended
    assert (cut_off / "out.zip").read_bytes() == archive
    assert set(snapshot(cut_off)) == {"data", "data/sub", "out.zip"}


@pytest.mark.parametrize("again", ["data", "data/*", "other", "other/*.txt"])
@pytest.mark.parametrize("removing", [[], ["--remove-originals"]], ids=["keeping", "removing"])
def test_no_call_replaces_the_only_copy(cut_off: Path, again: str, removing: list[str]) -> None:
    write_tree(cut_off, {"other/x.txt": b"x", "data/new.json": b"new"})
    archive = (cut_off / "out.zip").read_bytes()

    for _ in range(2):
        ended = compress(again, "-o", "out.zip", "--force", *removing, cwd=cut_off)
        check_failed(ended, ["out.zip"], "move it|choose")
        assert (cut_off / "out.zip").read_bytes() == archive
        assert (cut_off / "other/x.txt").exists()
        assert (cut_off / "data/new.json").exists()
        assert {**held(cut_off), **{name: FILES[name] for name in contents(cut_off / "data") if name in FILES}} == FILES


def test_an_original_that_has_changed_since_is_kept(cut_off: Path) -> None:
    left = sorted((cut_off / "data").glob("*.json"))
    left[0].write_bytes(b"rewritten")
    os.utime(left[1])

    ended = compress(*SAME_CALL, cwd=cut_off)

    assert ended.code == 1, ended
    assert set(contents(cut_off / "data")) == {left[0].name, left[1].name}
    assert held(cut_off) == FILES


def test_an_original_that_was_brought_back_is_no_longer_lost(cut_off: Path) -> None:
    """All of them are there again, so that the archive is not the only copy of any."""
    write_tree(cut_off / "data", FILES)

    ended = compress(*SAME_CALL, "--force", cwd=cut_off)

    assert {**held(cut_off), **contents(cut_off / "data")} == FILES, ended


def test_a_dry_run_finishes_nothing(cut_off: Path) -> None:
    before = snapshot(cut_off)

    compress(*SAME_CALL, "--force", "--dry-run", cwd=cut_off)

    assert snapshot(cut_off) == before


@pytest.mark.parametrize("change", ["replaced", "rewritten", "moved away"])
def test_a_list_of_another_archive_removes_nothing(cut_off: Path, change: str) -> None:
    """What lies at the target now is not what the originals were packed into."""
    target = cut_off / "out.zip"
    if change == "replaced":
        (cut_off / "new").write_bytes(target.read_bytes())
        (cut_off / "new").replace(target)
    elif change == "rewritten":
        target.write_bytes(b"something else")
    else:
        target.rename(cut_off / "backup.zip")
    left = contents(cut_off / "data")

    ended = compress("data", "-o", "out.zip", cwd=cut_off)

    assert ended.code == (0 if change == "moved away" else 1), ended
    assert contents(cut_off / "data") == left


@pytest.mark.parametrize("change", ["cut", "one bit"])
def test_a_damaged_list_removes_nothing(cut_off: Path, change: str) -> None:
    listed = cut_off / LIST
    content = bytearray(listed.read_bytes())
    if change == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    listed.write_bytes(content)
    left = contents(cut_off / "data")

    ended = compress(*SAME_CALL, cwd=cut_off)

    check_failed(ended, ["out.zip"], "force|choose")
    assert contents(cut_off / "data") == left


def test_a_list_that_another_user_wrote_removes_nothing(cut_off: Path) -> None:
    """Whoever may write into a shared folder must not get others to remove their files."""
    if os.geteuid() != 0:
        without("only root can give a file away")
    os.chown(cut_off / LIST, 65534, 65534)
    left = contents(cut_off / "data")

    compress(*SAME_CALL, cwd=cut_off)

    assert contents(cut_off / "data") == left


def test_nobody_else_may_write_to_the_list(work: Path) -> None:
    write_tree(work / "data", FILES)
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=5")
    previous = os.umask(0)
    try:
        run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    finally:
        os.umask(previous)
    assert (work / LIST).stat().st_mode & 0o777 == 0o600


def test_a_folder_in_which_no_list_can_be_kept_keeps_its_originals(work: Path) -> None:
    """The list does not fit on the disk, so nothing that depends on it is done."""
    write_tree(work / "data", FILES)
    calls = strace(["openat"], work.parent / "log", inject="error=ENOSPC", paths=[LIST])

    ended = run([*calls, VHPACK, "compress", *SAME_CALL], work)

    assert was_injected(work.parent / "log")
    check_failed(ended, ["out.zip", "nothing was published"], "keep the originals")
    assert contents(work / "data") == FILES
    assert not (work / "out.zip").exists()


def test_removal_that_is_refused_leaves_no_list(work: Path) -> None:
    write_tree(work / "data", FILES)
    (work / "data").chmod(0o555)
    (work / "data/sub").chmod(0o555)

    ended: Ended = compress(*SAME_CALL, cwd=work, before=ordinary_user())

    assert ended.code == 1
    assert {path.name for path in work.iterdir()} == {"data", "out.zip"}
    assert contents(work / "data") == FILES
