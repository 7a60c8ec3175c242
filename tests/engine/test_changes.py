"""A file that changes under the packer's hands ends the pack, or is left out; it is never packed half and removed.

The packer is stopped by strace inside the system call named, the file is changed, and the packer goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, Ended
from tests.engine.refusals import check_failed
from tests.engine.test_bad_sources import A_STEP
from tests.engine.trees import MIB, noise, prose, snapshot, write_tree
from tests.faults.tracing import paused
from tests.interop.structure import structure_of, unpacked

READS = ("read", "pread64", "readv", "preadv", "preadv2")
SIZES = {"small": 30_000, "in blocks": 9 * MIB}
CODECS = ("store", "deflate")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


CHANGES: dict[str, Callable[[Path], None]] = {"shrinks": shrink, "grows": grow, "is emptied": cut_to_nothing}


def pack_while(work: Path, change: Callable[[Path], None], options: Sequence[str]) -> tuple[Ended, dict[str, bytes]]:
    """Change `data/b` when the packer has first read from it; also returns the contents that must survive."""
    path = work / "data/b"
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--jobs", "2", "--remove-originals", "--json", *options]
    with paused(command, work, calls=READS, paths=[path]) as pause:
        change(path)
        survivors = {file.name: file.read_bytes() for file in (work / "data").iterdir()}
    return pause.ended, survivors


@pytest.fixture(params=SIZES)
def tree(request: pytest.FixtureRequest, work: Path) -> Path:
    content = prose(SIZES[request.param])
    return write_tree(work / "data", {"a": prose(5_000), "b": content, "c": noise(5_000)})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_its_first_read_ends_the_pack(work: Path, tree: Path, change: str, codec: str) -> None:
    ended, survivors = pack_while(work, CHANGES[change], ["--codec", codec])

    check_failed(Ended(ended.code, "", ended.err), ["data/b"], A_STEP)
    assert {file.name: file.read_bytes() for file in tree.iterdir()} == survivors
    assert set(snapshot(work)) == {"data", "data/a", "data/b", "data/c"}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_its_first_read_is_left_out_when_asked(work: Path, tree: Path, change: str, codec: str) -> None:
    ended, survivors = pack_while(work, CHANGES[change], ["--codec", codec, "--on-change", "skip"])

    report = json.loads(ended.out)
    assert "data/b" in json.dumps(report["skipped"])
    assert {file.name: file.read_bytes() for file in tree.iterdir()} == {"b": survivors["b"]}
    structure = structure_of(work / "out.zip")
    assert structure.names() == ["a", "c"]
    for member in structure.members:
        assert unpacked(work / "out.zip", member) == survivors[member.name]


@pytest.mark.parametrize("on_change", ["error", "skip"])
def test_a_file_that_vanishes_before_it_is_opened(work: Path, on_change: str) -> None:
    """It is gone after the scan: the packer has begun to read another."""
    files = {f"{number:05}": prose(300, number) for number in range(3_000)}
    tree = write_tree(work / "data", {"a": prose(300), "b": b"", **{f"x/{name}": body for name, body in files.items()}})
    gone = tree / "x" / "02999"
    options = ["data", "-o", "out.zip", "--jobs", "1", "--memory", "1MiB", "--remove-originals", "--json"]
    with paused([VHPACK, "compress", *options, "--on-change", on_change], work, calls=READS, paths=[tree / "a"]) as pause:
        gone.unlink()
        before = snapshot(work)

    if on_change == "error":
        check_failed(Ended(pause.ended.code, "", pause.ended.err), ["data/x/02999"], A_STEP)
        assert snapshot(work) == before
    else:
        assert "data/x/02999" in json.dumps(json.loads(pause.ended.out)["skipped"])
        assert len(structure_of(work / "out.zip").names()) == 3_001
        assert not [path for path in tree.rglob("*") if path.is_file()]


def test_a_file_rewritten_at_its_old_size_is_not_packed_half_old_half_new(work: Path) -> None:
    size = 9 * MIB
    tree = write_tree(work / "data", {"b": noise(size, 1)})
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--jobs", "1", "--codec", "store", "--remove-originals"]

    with paused(command, work, calls=READS, paths=[tree / "b"]) as pause:
        with (tree / "b").open("r+b") as file:
            file.seek(size - MIB)
            file.write(noise(MIB, 2))
        after = (tree / "b").read_bytes()

    check_failed(pause.ended, ["data/b"], A_STEP)
    assert (tree / "b").read_bytes() == after
    assert set(snapshot(work)) == {"data", "data/b"}


def test_a_file_that_is_replaced_while_it_is_read_keeps_its_successor(work: Path) -> None:
    """The name holds another file than the one that was packed, so the name stays."""
    tree = write_tree(work / "data", {"a": b"a", "b": prose(30_000, 1)})
    write_tree(work, {"next": prose(30_000, 2)})
    seen = (tree / "b").stat()
    os.utime(work / "next", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    successor = (work / "next").read_bytes()
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--jobs", "1", "--remove-originals", "--json"]

    with paused(command, work, calls=READS, paths=[tree / "b"]) as pause:
        (work / "next").replace(tree / "b")

    assert (tree / "b").read_bytes() == successor
    assert pause.ended.code == 1


def test_a_pack_whose_every_file_vanishes_publishes_nothing(work: Path) -> None:
    """Left out one by one, as asked, there is none left: an empty archive would look like a success."""
    tree = write_tree(work / "data", {"a": prose(300), "b": prose(300)})
    options = ["data", "-o", "out.zip", "--jobs", "1", "--on-change", "skip", "--remove-originals"]
    with paused([VHPACK, "compress", *options], work, calls=READS, paths=[tree / "a"]) as pause:
        (tree / "a").write_bytes(b"another")
        (tree / "b").unlink()

    check_failed(pause.ended, ["out.zip"], A_STEP)
    assert set(snapshot(work)) == {"data", "data/a"}


def test_what_a_block_is_primed_with_is_what_the_block_before_holds(work: Path) -> None:
    """The end of a block is read twice, for itself and to prime the next; rewritten in between it would not inflate."""
    size = 9 * MIB
    tree = write_tree(work / "data", {"b": prose(size)})
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--jobs", "1", "--codec", "deflate", "--remove-originals"]
    with paused(command, work, calls=["pread64"], paths=[tree / "b"]) as pause:
        seen = (tree / "b").stat()
        with (tree / "b").open("r+b") as file:
            file.seek(MIB - 1000)
            file.write(noise(1000))
        # Nothing but the content tells.
        os.utime(tree / "b", ns=(seen.st_atime_ns, seen.st_mtime_ns))

    check_failed(pause.ended, ["data/b"], A_STEP)
    assert set(snapshot(work)) == {"data", "data/b"}
