"""What users do with files, shards and archives after a removal did not come to its end: rename, move away, bring back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, compress, ordinary_user, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, prose, write_tree
from tests.faults.tracing import strace, was_injected
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number}.json": prose(400, number) for number in range(10)}
CALL = ("data", "-o", "out.zip", "--remove-originals", "--force")
IN_SHARDS = (*CALL, "--shard-size", "1k")
UNLINK = ("unlink", "unlinkat")
LIST = ".out.zip.vhpack-removing"


def everything(work: Path) -> set[bytes]:
    """What files and archives still hold, whatever they are called now."""
    found = {body for folder in ("data", "elsewhere") for body in contents(work / folder).values()}
    for archive in work.rglob("*.zip"):
        found |= {unpacked(archive, member) for member in structure_of(archive).members}
    return found


def cut_off(work: Path, removed: int, call: tuple[str, ...] = CALL) -> None:
    """Kill a pack when it has removed so many originals."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    kill = strace(UNLINK, log, inject=f"signal=KILL:when={removed + 1}")
    run([*kill, VHPACK, "compress", *call, "--jobs", "1"], work)
    assert was_injected(log)
    assert len(contents(work / "data")) == len(FILES) - removed


@pytest.mark.parametrize("moved", ["renamed", "to another folder", "into a folder of the sources"])
@pytest.mark.parametrize("left", [1, 2])
def test_originals_that_are_left_and_moved_are_not_taken_for_removed(work: Path, moved: str, left: int) -> None:
    """None is where it was, as when all had been removed; but an archive of them is none of the others."""
    cut_off(work, len(FILES) - left)
    archive = (work / "out.zip").read_bytes()
    where = {"renamed": "data", "to another folder": "elsewhere", "into a folder of the sources": "data/sub"}[moved]
    (work / where).mkdir(exist_ok=True)
    for name in contents(work / "data"):
        (work / "data" / name).rename(work / where / f"moved-{name}")

    source = "elsewhere" if moved == "to another folder" else "data"
    for options in ([], ["--on-change", "skip"], ["--codec", "store"]):
        refused = compress(source, *CALL[1:], *options, cwd=work)
        check_failed(refused, ["moved-"], "move those elsewhere")
        assert (work / "out.zip").read_bytes() == archive

    # What it says works.
    (work / "elsewhere").mkdir(exist_ok=True)
    for path in list((work / "data").rglob("moved-*")):
        path.rename(work / "elsewhere" / path.name)
    ended = compress(*CALL, cwd=work)
    assert ended.code == 0, ended
    assert (work / "out.zip").read_bytes() == archive
    assert not (work / LIST).exists()


@pytest.mark.parametrize("calls", ["all", "one of the rest", "the rest and new"])
@pytest.mark.parametrize("removed", range(1, len(FILES)))
def test_shards_of_which_some_originals_stay_are_replaced_by_no_advice(work: Path, removed: int, calls: str) -> None:
    """Of one shard all originals may go and of the next none: neither is to give way to an archive of the rest."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    refuse = strace(UNLINK, log, inject=f"error=EPERM:when={removed + 1}..{len(FILES)}")
    first = run([*refuse, VHPACK, "compress", *IN_SHARDS, "--jobs", "1"], work)
    assert first.code == 1, first
    kept = sorted(contents(work / "data"))
    assert len(kept) == len(FILES) - removed
    before = set(FILES.values())
    call = IN_SHARDS
    if calls == "one of the rest":
        call = (f"data/{kept[0]}", *IN_SHARDS[1:])
    if calls == "the rest and new":
        # A new file makes new shards, as it would make a new archive; that there may be fewer of them is no reason to lose one.
        shutil.copytree(work, work.parent / "aside", ignore=shutil.ignore_patterns("data"))
        write_tree(work / "data", {"new.json": b"new"})
        before |= {b"new"}

    ended = compress(*call, cwd=work)
    for number in range(6):
        if ended.code == 0:
            break
        if calls != "the rest and new":
            assert everything(work) >= before, ended
        said = " ".join(ended.err.split())
        named = re.search(r"out-\d+\.zip", said)
        assert named, ended
        assert " away" in said, ended
        (work / f"away-{number}").mkdir()
        for shard in list(work.glob("out-*.zip")):
            behind = "those behind it" in said and shard.name > named[0]
            if "the other shards" in said or shard.name == named[0] or behind:
                shard.rename(work / f"away-{number}" / shard.name)
        ended = compress(*call, cwd=work)

    assert ended.code == 0, ended
    found = everything(work)
    if calls == "the rest and new":
        found |= everything(work.parent / "aside")
    assert found >= before, ended


def test_a_shard_alone_still_says_whose_originals_are_gone(work: Path) -> None:
    """The others were moved away, against what is advised, and with them all that says which files are new."""
    write_tree(work / "data", FILES)
    refuse = strace(UNLINK, work.parent / "log", inject=f"error=EPERM:when=3..{len(FILES)}")
    assert run([*refuse, VHPACK, "compress", *IN_SHARDS, "--jobs", "1"], work).code == 1
    (work / "away").mkdir()
    for shard in sorted(work.glob("out-*.zip"))[1:]:
        shard.rename(work / "away" / shard.name)

    check_failed(compress(*IN_SHARDS, cwd=work), ["out-00000.zip"], "away")

    assert everything(work) >= set(FILES.values())


@pytest.mark.parametrize("list_too", [False, True], ids=["archive", "archive and list"])
@pytest.mark.parametrize("removed", [2, 8, 9, "8, ended"])
def test_a_shard_that_was_moved_away_alone_costs_none_of_the_others(work: Path, removed: int | str, list_too: bool) -> None:
    """All originals of the others may be gone: what is left of the one that is away does not say so."""
    if removed == "8, ended":
        write_tree(work / "data", FILES)
        refuse = strace(UNLINK, work.parent / "log", inject=f"error=EPERM:when=9..{len(FILES)}")
        assert run([*refuse, VHPACK, "compress", *IN_SHARDS, "--jobs", "1"], work).code == 1
    else:
        cut_off(work, int(removed), IN_SHARDS)
    (work / "away").mkdir()
    for name in ["out-00004.zip", *([".out-00004.zip.vhpack-removing"] if list_too else [])]:
        (work / name).rename(work / "away" / name)

    for options in ([], ["--on-change", "skip"], ["--shard-size", "3k"]):
        refused = compress(*IN_SHARDS, *options, cwd=work)
        check_failed(refused, ["out-0000"], "and the other shards away")
        assert everything(work) >= set(FILES.values())
    # A single archive in the place of a shard knows as little of the others.
    compress("data", "-o", "out-00000.zip", "--force", "--remove-originals", cwd=work)
    assert everything(work) >= set(FILES.values())

    # What it says works.
    for shard in work.glob("out-*.zip"):
        shard.rename(work / "away" / shard.name)
    ended = compress(*IN_SHARDS, cwd=work)
    assert ended.code == 0, ended
    assert everything(work) >= set(FILES.values())


def test_a_copy_that_was_brought_back_under_another_name_keeps_its_protection(work: Path) -> None:
    cut_off(work, 4)
    shutil.copy(work / "out.zip", work.parent / "backup")
    (work / "out.zip").unlink()
    shutil.copy(work.parent / "backup", work / "again.zip")

    for options in ([], ["--remove-originals"]):
        check_failed(compress("data", "-o", "again.zip", "--force", *options, cwd=work), [LIST], "remove the list")
        assert everything(work) >= set(FILES.values())
    # Beside the archive that the list is about, a copy of it is a file like any other.
    shutil.copy(work.parent / "backup", work / "out.zip")
    assert compress("data", "-o", "again.zip", "--force", cwd=work).code == 0
    assert everything(work) >= set(FILES.values())


def test_a_list_that_cannot_be_read_protects_an_archive_that_may_be_its_own(work: Path) -> None:
    """Another user's removal was cut off, and the archive renamed: to who may not read the list it may be about any."""
    cut_off(work, 4)
    (work / "out.zip").rename(work / "kept.zip")
    (work / LIST).chmod(0)

    ended = compress("data", "-o", "kept.zip", "--force", cwd=work, before=ordinary_user())
    check_failed(ended, ["kept.zip", LIST], "remove the list")
    assert everything(work) >= set(FILES.values())
    # Beside its own archive it says nothing of others.
    (work / "kept.zip").rename(work / "out.zip")
    write_tree(work, {"other.zip": b"PK"})
    ended = compress("data", "-o", "other.zip", "--force", cwd=work, before=ordinary_user())
    assert ended.code == 0, ended


def test_a_copy_is_on_the_disk_before_what_it_holds_is_removed(work: Path) -> None:
    """Bytes that were copied a second ago may be in memory alone."""
    cut_off(work, 4)
    shutil.copy(work / "out.zip", work / "copy")
    (work / "copy").replace(work / "out.zip")
    log = work.parent / "log"

    assert compress(*CALL, "--jobs", "1", cwd=work, before=strace([*UNLINK, "fsync"], log)).code == 0

    calls = [line.split("(")[0].split()[-1] for line in log.read_text().splitlines() if "(" in line]
    assert calls.index("fsync") < min(calls.index(call) for call in UNLINK if call in calls), calls


def test_a_list_that_was_about_to_be_replaced_is_not_taken_for_a_strange_one(work: Path) -> None:
    """A pack that is killed when it has written what is left puts nobody off: its originals are back, and are packed again."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    also = ["unlinkat:error=EPERM:when=3", "renameat:signal=KILL:when=1", "renameat2:signal=KILL:when=1"]
    words = strace([], log, also=["?" + one if one.startswith("renameat2") else one for one in also])
    run([*words, VHPACK, "compress", *CALL, "--jobs", "1"], work)
    assert was_injected(log)
    assert len(list(work.glob(".*vhpack-removing"))) == 2
    write_tree(work / "data", FILES)

    ended = compress(*CALL, cwd=work)

    assert ended.code == 0, ended
    assert contents(work / "data") == {}
    assert everything(work) >= set(FILES.values())
    assert not list(work.glob(".*"))


@pytest.mark.parametrize("error", ["EMFILE", "ENOMEM", "ESTALE"])
def test_a_look_for_the_list_that_fails_is_no_word_that_there_is_none(work: Path, error: str) -> None:
    """A process at its limit of open files, or a disk that does not answer: the k-th opening fails, for every k."""
    cut_off(work, 4)
    log = work.parent / "log"
    for k in range(1, 60):
        fault = strace(["openat"], log, inject=f"error={error}:when={k}", paths=[work])
        ended = compress(*CALL, "--jobs", "1", cwd=work, before=fault)
        assert everything(work) >= set(FILES.values()), ended
        assert "Traceback" not in ended.err
        if ended.code == 0:
            break
        assert ended.code == 1
    else:
        pytest.fail("it never came through")
