"""Originals go only after their archive is on disk, and only those that are still what was packed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, ordinary_user
from tests.engine.trees import contents, noise, prose, snapshot, write_tree
from tests.faults.tracing import calls_made, paused, strace
from tests.interop.structure import structure_of, unpacked

SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range")
REMOVALS = ("unlink", "unlinkat")


def rewrite(path: Path) -> None:
    path.write_bytes(b"rewritten after it was packed")


def replace_by_another_file(path: Path) -> None:
    other = path.with_name("other")
    stat = path.stat()
    other.write_bytes(b"#" * stat.st_size)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def touch(path: Path) -> None:
    os.utime(path)


def replace_by_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


AFTERWARDS: dict[str, Callable[[Path], None]] = {
    "rewritten": rewrite,
    "replaced": replace_by_another_file,
    "touched": touch,
    "replaced by a link": replace_by_a_link,
    "replaced by a folder": replace_by_a_folder,
}


@pytest.mark.parametrize("change", AFTERWARDS)
def test_a_file_that_is_no_longer_the_one_packed_is_kept(work: Path, change: str) -> None:
    """Changed while the archive is being brought to the disk, when every byte of it is packed already."""
    write_tree(work / "data", {"a.txt": prose(900, 1), "b.txt": prose(900, 2), "c.txt": prose(900, 3)})
    for path in (work / "data").iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))
    packed = contents(work / "data")
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--remove-originals", "--json"]

    with paused(command, work, calls=SYNCS) as pause:
        AFTERWARDS[change](work / "data/b.txt")
        before = snapshot(work / "data")["b.txt"]

    assert pause.ended.code == 1, pause.ended
    report = json.loads(pause.ended.out)
    assert [os.path.basename(kept["path"]) for kept in report["kept"]] == ["b.txt"]
    assert report["removed"] == 2
    assert snapshot(work / "data") == {"b.txt": before}
    structure = structure_of(work / "out.zip")
    assert {member.name: unpacked(work / "out.zip", member) for member in structure.members} == packed


def test_a_file_that_someone_else_removed_is_no_failure(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a", "b.txt": b"b"})
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--remove-originals", "--json"]

    with paused(command, work, calls=SYNCS) as pause:
        (work / "data/b.txt").unlink()

    assert pause.ended.code == 0, pause.ended
    assert not contents(work / "data")
    assert structure_of(work / "out.zip").names() == ["a.txt", "b.txt"]


def test_a_file_that_appears_after_the_scan_is_kept(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a"})
    command = [VHPACK, "compress", "data/*", "-o", "out.zip", "--remove-originals"]

    with paused(command, work, calls=SYNCS) as pause:
        write_tree(work / "data", {"late.txt": b"late"})

    assert pause.ended.code == 0, pause.ended
    assert contents(work / "data") == {"late.txt": b"late"}


def test_removal_goes_on_past_what_it_may_not_remove(work: Path) -> None:
    write_tree(work / "data", {f"{folder}/{i}.txt": b"x" for folder in ("a", "shut", "z") for i in range(15)})
    (work / "data/shut").chmod(0o555)

    ended = compress("data", "-o", "out.zip", "--remove-originals", "--json", cwd=work, before=ordinary_user())

    assert ended.code == 1
    assert "Traceback" not in ended.err
    report = json.loads(ended.out)
    assert (report["removed"], len(report["kept"])) == (30, 15)
    assert set(contents(work / "data")) == {f"shut/{i}.txt" for i in range(15)}
    assert sum(f"shut/{i}.txt" in ended.err for i in range(15)) == 10, "ten names, and how many more there are"
    assert len(structure_of(work / "out.zip").names()) == 45


def test_folders_stay_when_their_files_go(work: Path) -> None:
    write_tree(work / "data", {"a/b/c.txt": b"c", "d.txt": b"d", "empty": None})

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    assert set(snapshot(work / "data")) == {"a", "a/b", "empty"}
    assert (report.removed, report.kept) == (2, [])


def test_originals_are_kept_unless_their_removal_is_asked_for(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a"})
    before = snapshot(work / "data")

    report = vhpack.pack("data", "python.zip")
    compress("data", "-o", "command.zip", cwd=work)

    assert report.removed == 0
    assert snapshot(work / "data") == before


@pytest.mark.parametrize("options", [["--remove-originals"], ["--durable"], ["--remove-originals", "--force"]])
def test_archive_and_folder_are_on_disk_before_the_first_original_goes(work: Path, tmp_path: Path, options: list[str]) -> None:
    write_tree(work / "data", {f"{i}.bin": noise(4_000, i) for i in range(20)})
    if "--force" in options:
        write_tree(work, {"out.zip": b"earlier"})
    calls = [*SYNCS, *REMOVALS, "link", "linkat", "rename", "renameat", "renameat2"]
    log = tmp_path / "log"

    ended = compress("data", "-o", "out.zip", *options, cwd=work, before=strace(calls, log))

    assert ended.code == 0, ended
    # The list of what is to be removed comes and goes by the way.
    lines = [line.split(None, 1)[1] for line in log.read_text().splitlines() if ".vhpack-removing" not in line]
    order = [line.split("(")[0] for line in lines if "(" in line[:20]]
    # Whole disks are synced when the originals are gone, before their list goes.
    syncs = [i for i, call in enumerate(order) if call in ("fsync", "fdatasync")]
    names = [i for i, call in enumerate(order) if call.startswith(("link", "rename"))]
    assert syncs[0] < names[0], "the archive has a name before it is on disk"
    assert syncs[-1] > names[-1], "the folder is not brought to the disk after the archive got its name"
    removals = [i for i, call in enumerate(order) if call.startswith("unlink")]
    if "--remove-originals" in options:
        assert len(removals) >= 20
        assert min(removals) > max(syncs), "an original went before the archive was safe"


def test_a_pack_that_keeps_its_originals_does_not_wait_for_the_disk(work: Path, tmp_path: Path) -> None:
    write_tree(work / "data", {"a.bin": noise(4_000)})
    log = tmp_path / "log"

    ended = compress("data", "-o", "out.zip", cwd=work, before=strace(SYNCS, log))

    assert ended.code == 0, ended
    assert not calls_made(log)
