"""Targets that cannot be written: each is refused with a reason, and what is there stays as it is."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, ordinary_user, python, run
from tests.engine.refusals import check_failed, check_refused, check_words
from tests.engine.test_bad_sources import A_STEP
from tests.engine.trees import contents, noise, snapshot, write_tree
from tests.faults.tracing import strace
from tests.interop.structure import structure_of


@pytest.fixture
def tree(work: Path) -> Path:
    return write_tree(work / "data", {"a.txt": b"a", "sub/b.bin": noise(300_000)})


@pytest.mark.parametrize("target", ["out", "out.rar", "out.zip.bak", "out.7z", ".zip", "out."])
def test_an_unknown_suffix_is_refused_with_the_known_ones(work: Path, tree: Path, target: str) -> None:
    assert tree.exists()
    check_refused(work, ["data"], target, vhpack.UnknownFormatError, says=[target, ".zip"], next_step=A_STEP)


@pytest.mark.parametrize("target", ["out.ZIP", "a.v1.2.Zip"])
def test_the_suffix_may_be_in_capitals(work: Path, tree: Path, target: str) -> None:
    vhpack.pack(tree, target)

    assert structure_of(work / target).names() == ["a.txt", "sub/b.bin"]


def test_an_existing_target_is_refused(work: Path, tree: Path) -> None:
    write_tree(work, {"out.zip": b"the earlier archive"})
    assert tree.exists()
    check_refused(work, ["data"], "out.zip", vhpack.TargetExistsError, says=["out.zip"], next_step="force")


def test_a_dangling_link_at_the_target_is_an_existing_target(work: Path, tree: Path) -> None:
    (work / "out.zip").symlink_to("nowhere/else.zip")
    assert tree.exists()
    check_refused(work, ["data"], "out.zip", vhpack.PackError, says=["out.zip"], next_step=A_STEP)


def test_force_replaces_an_earlier_archive(work: Path, tree: Path) -> None:
    write_tree(work, {"out.zip": b"the earlier archive"})

    vhpack.pack(tree, "out.zip", force=True)

    assert structure_of(work / "out.zip").names() == ["a.txt", "sub/b.bin"]


@pytest.mark.parametrize("force", [False, True])
def test_a_target_that_is_a_folder_is_refused(work: Path, tree: Path, force: bool) -> None:
    write_tree(work, {"out.zip/keep.txt": b"keep"})
    assert tree.exists()
    check_refused(
        work,
        ["data"],
        "out.zip",
        vhpack.TargetIsDirectoryError,
        says=["out.zip"],
        next_step=A_STEP,
        options=["--force"] if force else [],
        force=force,
    )


def test_a_target_in_a_missing_folder_is_refused(work: Path, tree: Path) -> None:
    assert tree.exists()
    check_refused(work, ["data"], "no/such/out.zip", vhpack.SourceNotFoundError, says=["no/such"], next_step=A_STEP)


def test_a_target_below_a_file_is_refused(work: Path, tree: Path) -> None:
    assert tree.exists()
    check_refused(work, ["data"], "data/a.txt/out.zip", vhpack.PackError, says=["data/a.txt"], next_step=A_STEP)


def test_a_target_name_that_no_file_can_have_is_refused(work: Path, tree: Path) -> None:
    assert tree.exists()
    check_refused(work, ["data"], "n" * 300 + ".zip", vhpack.PackError, says=["n" * 40], next_step=A_STEP)


def test_the_longest_target_name_is_fine(work: Path, tree: Path) -> None:
    target = "n" * 251 + ".zip"

    vhpack.pack(tree, target)
    vhpack.pack(tree, target, force=True)

    assert structure_of(work / target).names() == ["a.txt", "sub/b.bin"]


@pytest.mark.parametrize("force", [False, True])
def test_a_target_in_a_read_only_folder_is_refused(work: Path, tree: Path, force: bool) -> None:
    write_tree(work, {"shut/old.zip": b"old"})
    (work / "shut").chmod(0o555)
    target = "shut/old.zip" if force else "shut/out.zip"
    before = snapshot(work)

    ended = compress(
        "data", "-o", target, "--remove-originals", *(["--force"] if force else []), cwd=work, before=ordinary_user()
    )

    check_failed(ended, ["shut"], A_STEP)
    assert snapshot(work) == before
    assert tree.exists()


def test_the_target_among_its_own_sources_is_left_out(work: Path) -> None:
    """The call that eats its own archive elsewhere: the same pattern twice, originals removed."""
    write_tree(work, {"data/a.txt": b"a", "data/b.txt": b"b"})
    vhpack.pack("data/*", "data/images.zip", remove_originals=True)
    assert contents(work / "data").keys() == {"images.zip"}
    write_tree(work, {"data/c.txt": b"c"})

    report = vhpack.pack("data/*", "data/images.zip", force=True)

    assert [path for path, _ in report.skipped if path.endswith("images.zip")]
    assert structure_of(work / "data/images.zip").names() == ["c.txt"]
    assert contents(work / "data").keys() == {"c.txt", "images.zip"}


@pytest.mark.parametrize("sources", ["data/*", "data/**", "data"])
def test_a_second_run_that_would_pack_only_the_archive_keeps_it(work: Path, sources: str) -> None:
    write_tree(work, {"data/a.txt": b"a", "data/b.txt": b"b"})
    vhpack.pack(sources, "data/images.zip", remove_originals=True)
    before = snapshot(work)

    with pytest.raises(vhpack.NoFilesError):
        vhpack.pack(sources, "data/images.zip", remove_originals=True, force=True)
    ended = compress(sources, "-o", "data/images.zip", "--remove-originals", "--force", cwd=work)

    check_failed(ended, [], A_STEP)
    assert snapshot(work) == before


def test_an_archive_of_files_is_not_replaced_by_one_of_the_folders_left_behind(work: Path) -> None:
    """Folders outlive the removal of their files, so the same call again finds something, but no file."""
    write_tree(work, {"data/sub/a.txt": b"a"})
    vhpack.pack("data/*", "data/images.zip", remove_originals=True)
    before = snapshot(work)

    with pytest.raises(vhpack.NoFilesError):
        vhpack.pack("data/*", "data/images.zip", remove_originals=True, force=True)

    assert snapshot(work) == before


@pytest.mark.parametrize("spelling", ["data/images.zip", "./data/../data/images.zip", "link/images.zip", "absolute"])
def test_the_target_is_recognised_under_any_name(work: Path, tree: Path, spelling: str) -> None:
    (work / "link").symlink_to("data")
    target = str(tree / "images.zip") if spelling == "absolute" else spelling
    vhpack.pack("data", "data/images.zip")

    report = vhpack.pack("data", target, force=True)

    assert [path for path, _ in report.skipped if path.endswith("images.zip")]
    assert structure_of(tree / "images.zip").names() == ["a.txt", "sub/b.bin"]


@pytest.mark.parametrize("target", ["tree/out/a.zip", "tree/out/deep/a.zip", "tree/a.zip"])
def test_an_archive_in_its_own_tree_is_the_same_the_second_time(work: Path, target: str) -> None:
    write_tree(work, {"tree/x": b"x", "tree/empty": None})
    (work / target).parent.mkdir(parents=True, exist_ok=True)
    first = vhpack.pack("tree", target)

    assert vhpack.pack("tree", target, force=True).digest == first.digest
    assert structure_of(work / target).names() == ["empty/", "x"]


def test_naming_the_target_as_a_source_loses_nothing(work: Path) -> None:
    write_tree(work, {"only.zip": b"precious"})
    before = snapshot(work)

    with pytest.raises(vhpack.PackError):
        vhpack.pack("only.zip", "only.zip", force=True, remove_originals=True)

    assert snapshot(work) == before


@pytest.mark.parametrize("where", ["python", "command"])
def test_a_full_disk(work: Path, small_disk: Path, where: str) -> None:
    write_tree(work, {"data/a.bin": noise(700_000, 1), "data/b.bin": noise(700_000, 2)})
    write_tree(small_disk, {"old.zip": b"old"})
    before, room = snapshot(work), os.statvfs(small_disk).f_bfree
    target = small_disk / "old.zip"

    if where == "python":
        with pytest.raises(vhpack.NoSpaceError) as caught:
            vhpack.pack("data", target, force=True, remove_originals=True)
        assert caught.value.errno == errno.ENOSPC
        check_words(str(caught.value), ["old.zip"], "space|room")
    else:
        ended = compress("data", "-o", target, "--force", "--remove-originals", cwd=work)
        check_failed(ended, ["old.zip"], "space|room")

    assert snapshot(work) == before
    assert contents(small_disk) == {"old.zip": b"old"}
    assert os.statvfs(small_disk).f_bfree == room, "room is still taken on the small disk"


@pytest.mark.parametrize("size", [300_000, 6_000_000], ids=["small files", "a file in blocks"])
def test_a_limit_on_the_size_of_files(work: Path, size: int) -> None:
    write_tree(work, {"data/a.bin": noise(size), "data/b.bin": noise(1000)})
    before = snapshot(work)
    code = (
        "import resource, vhpack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: vhpack.pack('data', 'out.zip', remove_originals=True)\n"
        "except vhpack.PackError as error: print(error.errno, error)\n"
    )

    ended = python(code, cwd=work)

    assert ended.code == 0, ended
    assert ended.out.startswith(f"{errno.EFBIG} "), ended
    assert "out.zip" in ended.out
    assert snapshot(work) == before


def test_the_archive_has_the_mode_that_the_umask_leaves(work: Path, tree: Path) -> None:
    assert tree.exists()
    for mask, mode in (("022", 0o644), ("002", 0o664), ("077", 0o600)):
        ended = run(["sh", "-c", f"umask {mask} && exec '{VHPACK}' compress data -o {mask}.zip"], work)
        assert ended.code == 0, ended
        assert (work / f"{mask}.zip").stat().st_mode & 0o7777 == mode


def test_a_read_only_target_is_replaced_on_force(work: Path, tree: Path) -> None:
    write_tree(work, {"out.zip": b"uploaded"})
    (work / "out.zip").chmod(0o444)

    ended = compress("data", "-o", "out.zip", "--force", cwd=work, before=ordinary_user())

    assert ended.code == 0, ended
    assert structure_of(work / "out.zip").names() == ["a.txt", "sub/b.bin"]
    assert tree.exists()


def test_few_open_files_are_enough(work: Path) -> None:
    write_tree(work / "data", {f"{i:03}/{j}.txt": b"x" for i in range(60) for j in range(5)})
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = "import resource, vhpack; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); print(vhpack.pack('data', 'out.zip', jobs=16).files)"

    ended = python(code, cwd=work)

    assert ended.out.strip() == "300", (ended, limit)

    fault = strace(["openat"], work.parent / "log", inject="error=EMFILE:when=4", paths=[work / "data/000"])
    ended = compress("data", "-o", "other.zip", cwd=work, before=fault)

    check_failed(ended, ["open files"], "fewer jobs")
    assert not (work / "other.zip").exists()
