"""Someone else is at work in the same folders: names appear, vanish and change their meaning between two looks.

Each test stops the packer at a system call, does what the other would do, and lets it go on.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, Ended
from tests.engine.refusals import check_failed
from tests.engine.test_bad_sources import A_STEP
from tests.engine.trees import contents, prose, snapshot, write_tree
from tests.faults.tracing import paused
from tests.interop.structure import structure_of

SYNCS = ("fsync", "fdatasync")
READS = ("read", "pread64")


def command(*options: str, target: str = "out.zip") -> list[str]:
    return [VHPACK, "compress", "data", "-o", target, "--jobs", "1", "--remove-originals", *options]


@pytest.fixture
def tree(work: Path) -> Path:
    """Files that are packed in this order, with more between `a` and `z` than one thread reads ahead."""
    middle = {f"m/{number:04}": prose(200, number) for number in range(400)}
    return write_tree(work / "data", {"a": prose(500), **middle, "y/inner": b"inner", "z": prose(700)})


def test_a_target_that_appears_meanwhile_is_not_replaced(work: Path, tree: Path) -> None:
    with paused(command(), work, calls=SYNCS) as pause:
        (work / "out.zip").write_bytes(b"someone else's")
        before = snapshot(work)

    check_failed(pause.ended, ["out.zip"], A_STEP)
    assert snapshot(work) == before
    assert tree.exists()


def test_a_folder_that_appears_at_the_target_is_not_replaced(work: Path, tree: Path) -> None:
    with paused(command("--force"), work, calls=SYNCS) as pause:
        write_tree(work, {"out.zip/in.txt": b"someone else's"})
        before = snapshot(work)

    check_failed(pause.ended, ["out.zip"], "directory|folder|exists")
    assert snapshot(work) == before
    assert tree.exists()


def test_a_folder_of_the_target_that_vanishes_loses_nothing(work: Path, tree: Path) -> None:
    (work / "target").mkdir()
    with paused(command(target="target/out.zip"), work, calls=SYNCS) as pause:
        (work / "target").rmdir()
        before = snapshot(work)

    check_failed(pause.ended, ["out.zip"], "no such|not exist|gone")
    assert snapshot(work) == before
    assert tree.exists()


@pytest.mark.parametrize("successor", ["fifo", "link", "folder"])
@pytest.mark.parametrize("on_change", ["error", "skip"])
def test_a_file_that_becomes_something_else_is_neither_waited_for_nor_followed(
    work: Path, tree: Path, successor: str, on_change: str
) -> None:
    write_tree(work, {"precious": b"precious"})
    with paused(command("--on-change", on_change), work, calls=READS, paths=[tree / "a"]) as pause:
        (tree / "z").unlink()
        if successor == "fifo":
            os.mkfifo(tree / "z")
        elif successor == "link":
            (tree / "z").symlink_to(work / "precious")
        else:
            (tree / "z").mkdir()
        before = snapshot(work)

    if on_change == "error":
        check_failed(pause.ended, ["data/z"], A_STEP)
        assert snapshot(work) == before
    else:
        assert pause.ended.code == 0, pause.ended
        assert "z" not in structure_of(work / "out.zip").names()
        assert os.path.lexists(tree / "z")
        assert (work / "precious").read_bytes() == b"precious"


def test_a_folder_that_becomes_a_link_costs_nothing_elsewhere(work: Path, tree: Path) -> None:
    """What lies behind the link was never named: it must not be removed, even if it was packed."""
    write_tree(work, {"precious/inner": b"precious"})
    with paused(command(), work, calls=READS, paths=[tree / "a"]) as pause:
        (tree / "y").rename(work / "moved")
        (tree / "y").symlink_to(work / "precious")

    assert isinstance(pause.ended, Ended)
    assert contents(work / "precious") == {"inner": b"precious"}
    assert contents(work / "moved") == {"inner": b"inner"}


@pytest.mark.parametrize("listed", ["", "y"], ids=["the folder", "a folder above it"])
@pytest.mark.parametrize("on_change", ["error", "skip"])
def test_a_folder_that_becomes_a_link_while_the_tree_is_listed_is_not_followed(
    work: Path, tree: Path, listed: str, on_change: str
) -> None:
    """Whoever may write to the tree could have anything packed by its owner, and removed."""
    write_tree(work, {"data/y/deep/inner": b"inner", "precious/p": b"precious", "precious/deep/q": b"precious"})
    # What the caller named was opened before, to know it again.
    when = 1 if listed else 2
    with paused(command("--on-change", on_change), work, calls=["close"], paths=[tree / listed], when=when) as pause:
        (tree / "y").rename(work / "moved")
        (tree / "y").symlink_to(work / "precious")

    if on_change == "error":
        check_failed(pause.ended, ["data/y"], "at rest")
    else:
        assert not any("p" in name or "q" in name for name in structure_of(work / "out.zip").names())
    assert contents(work / "precious") == {"p": b"precious", "deep/q": b"precious"}
    assert contents(work / "moved") == {"inner": b"inner", "deep/inner": b"inner"}


@pytest.mark.parametrize("seen", ["newfstatat", "close"])
def test_a_named_folder_that_becomes_a_link_before_it_is_listed_is_not_followed(work: Path, tree: Path, seen: str) -> None:
    """Also the caller's own word means the folder that was there, and no other."""
    write_tree(work, {"precious/p": b"precious", "precious/deep/q": b"precious"})
    with paused(command(), work, calls=[seen], paths=[tree]) as pause:
        tree.rename(work / "moved")
        tree.symlink_to(work / "precious")

    check_failed(pause.ended, ["data"], "at rest|ot a directory")
    assert contents(work / "precious") == {"p": b"precious", "deep/q": b"precious"}
    assert not (work / "out.zip").exists()


def test_a_link_that_is_replaced_while_it_is_packed_keeps_its_successor(work: Path, tree: Path) -> None:
    """With an end of the same length, and in a tree where links are packed as what they are."""
    (tree / "link").symlink_to("z")
    with paused(command("--symlinks", "store", "--on-change", "skip"), work, calls=["readlinkat"], paths=[tree]) as pause:
        (tree / "link").unlink()
        (tree / "link").symlink_to("a")

    assert "data/link" in pause.ended.err
    assert "link" not in structure_of(work / "out.zip").names()
    assert os.readlink(tree / "link") == "a"


@pytest.mark.parametrize("source", ["data/y", "data/y/inner"])
@pytest.mark.parametrize("on_change", ["error", "skip"])
def test_a_named_source_that_vanishes_while_it_is_looked_up_is_left_out_when_asked(
    work: Path, tree: Path, source: str, on_change: str
) -> None:
    words = [VHPACK, "compress", "data/a", source, "-o", "out.zip", "--json", "--on-change", on_change]
    with paused(words, work, calls=["newfstatat"], paths=[work / source]) as pause:
        (tree / "y").rename(work / "moved")

    if on_change == "error":
        check_failed(Ended(pause.ended.code, "", pause.ended.err), ["data/y"], "no such|not there")
        assert not (work / "out.zip").exists()
    else:
        assert pause.ended.code == 0, pause.ended
        assert source in pause.ended.out
        assert structure_of(work / "out.zip").names() == ["a"]


def test_a_folder_that_becomes_a_link_before_the_removal_costs_nothing_elsewhere(work: Path, tree: Path) -> None:
    write_tree(work, {"precious/inner": b"inner"})
    seen = (tree / "y/inner").stat()
    os.utime(work / "precious/inner", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    with paused(command(), work, calls=SYNCS) as pause:
        (tree / "y").rename(work / "moved")
        (tree / "y").symlink_to(work / "precious")

    assert pause.ended.code == 1, "an original was not where it had been"
    assert contents(work / "precious") == {"inner": b"inner"}
    assert contents(work / "moved") == {"inner": b"inner"}
    assert structure_of(work / "out.zip").member("y/inner").size == 5


def test_a_source_folder_that_moves_away_ends_the_pack(work: Path, tree: Path) -> None:
    with paused(command(), work, calls=READS, paths=[tree / "a"]) as pause:
        tree.rename(work / "moved")
        before = snapshot(work)

    # What is open already may still be read, so only the rest is sure to be missed.
    check_failed(pause.ended, ["data/"], A_STEP)
    assert snapshot(work) == before
