"""Symbolic and hard links: what is packed, and that nothing behind a link is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import compress, ordinary_user
from tests.engine.refusals import check_failed, check_refused
from tests.engine.test_bad_sources import A_STEP
from tests.engine.trees import contents, snapshot, write_tree
from tests.interop.structure import structure_of, unpacked


@pytest.fixture
def tree(work: Path) -> Path:
    """A tree with links of every kind, and a folder outside of it that they lead to."""
    write_tree(work, {"outside/file.txt": b"outside file", "outside/sub/deep.txt": b"outside deep", "data/a.txt": b"a"})
    data = work / "data"
    (data / "inner").mkdir()
    (data / "inner/b.txt").write_bytes(b"b")
    (data / "file-link").symlink_to("../outside/file.txt")
    (data / "folder-link").symlink_to("../outside")
    (data / "dangling").symlink_to("nowhere")
    (data / "inner/up").symlink_to("..")
    (data / "self").symlink_to("self")
    return data


def reasons(report: vhpack.PackReport) -> dict[str, str]:
    return {os.path.basename(path): reason for path, reason in report.skipped}


def test_following_packs_what_links_lead_to_and_ends_at_loops(work: Path, tree: Path) -> None:
    report = vhpack.pack("data", "out.zip")

    structure = structure_of(work / "out.zip")
    assert structure.names() == [
        "a.txt",
        "file-link",
        "folder-link/file.txt",
        "folder-link/sub/deep.txt",
        "inner/b.txt",
    ]
    assert unpacked(work / "out.zip", structure.member("file-link")) == b"outside file"
    assert set(reasons(report)) == {"dangling", "self", "up"}
    assert all(reasons(report).values())
    assert report.links == 0
    assert tree.exists()


def test_removing_removes_the_link_and_never_what_it_leads_to(work: Path, tree: Path) -> None:
    outside = snapshot(work / "outside")

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    assert snapshot(work / "outside") == outside
    assert set(snapshot(tree)) == {"inner", "inner/up", "folder-link", "dangling", "self"}
    assert {os.path.relpath(path, work) for path, _ in report.kept} == {
        "data/folder-link/file.txt",
        "data/folder-link/sub/deep.txt",
    }
    assert report.removed == 3


def test_kept_files_behind_a_link_are_exit_1_of_a_complete_archive(work: Path, tree: Path) -> None:
    ended = compress("data", "-o", "out.zip", "--remove-originals", cwd=work)

    assert ended.code == 1
    assert "folder-link/file.txt" in ended.err
    assert structure_of(work / "out.zip").member("folder-link/file.txt").size == 12
    assert (tree / "folder-link/file.txt").exists()


def test_what_is_there_by_its_own_name_and_behind_a_link_goes_by_its_own_name(work: Path) -> None:
    write_tree(work / "data", {"a": b"a", "real/x": b"x"})
    (work / "data/link").symlink_to("real")

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    assert structure_of(work / "out.zip").names() == ["a", "link/x", "real/x"]
    assert (report.removed, report.kept) == (2, [])
    assert set(snapshot(work)) == {"data", "data/link", "data/real", "out.zip"}
    write_tree(work / "data", {"new": b"new"})
    assert vhpack.pack("data", "out.zip", remove_originals=True, force=True).files == 1


def test_storing_packs_links_as_links_and_removes_the_links(work: Path, tree: Path) -> None:
    outside = snapshot(work / "outside")

    report = vhpack.pack("data", "out.zip", symlinks="store", remove_originals=True)

    structure = structure_of(work / "out.zip")
    links = {member.name: unpacked(work / "out.zip", member) for member in structure.members if member.is_link}
    assert links == {
        "dangling": b"nowhere",
        "file-link": b"../outside/file.txt",
        "folder-link": b"../outside",
        "inner/up": b"..",
        "self": b"self",
    }
    assert report.links == 5
    assert snapshot(work / "outside") == outside
    assert set(snapshot(tree)) == {"inner"}


def test_skipping_leaves_links_where_they_are(work: Path, tree: Path) -> None:
    report = vhpack.pack("data", "out.zip", symlinks="skip", remove_originals=True)

    assert structure_of(work / "out.zip").names() == ["a.txt", "inner/b.txt"]
    assert set(reasons(report)) == {"file-link", "folder-link", "dangling", "up", "self"}
    assert set(snapshot(tree)) == {"inner", "inner/up", "file-link", "folder-link", "dangling", "self"}


@pytest.mark.parametrize("name", ["dangling", "self"])
def test_a_named_link_that_leads_nowhere_is_refused(work: Path, tree: Path, name: str) -> None:
    before = snapshot(work)

    with pytest.raises(vhpack.PackError, match=name):
        vhpack.pack(["data/a.txt", f"data/{name}"], "out.zip", remove_originals=True)
    ended = compress("data/a.txt", f"data/{name}", "-o", "out.zip", "--remove-originals", cwd=work)

    check_failed(ended, [name], A_STEP)
    assert snapshot(work) == before
    assert tree.exists()


def test_a_loop_that_a_pattern_walks_into_ends(work: Path, tree: Path) -> None:
    report = vhpack.pack("data/**/*.txt", "out.zip", remove_originals=True)

    assert "inner/b.txt" in structure_of(work / "out.zip").names()
    assert report.files < 10
    assert contents(work / "outside") == {"file.txt": b"outside file", "sub/deep.txt": b"outside deep"}
    assert not (tree / "a.txt").exists()


def test_a_link_goes_together_with_the_file_it_leads_to(work: Path) -> None:
    """As in a folder of checkpoints where `latest` leads to one of them."""
    write_tree(work / "data", {"epoch-1.bin": b"1", "epoch-2.bin": b"2"})
    for name in ("best", "latest", "zz-last"):
        (work / "data" / name).symlink_to("epoch-2.bin")

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    structure = structure_of(work / "out.zip")
    assert {member.name: unpacked(work / "out.zip", member) for member in structure.members} == {
        "best": b"2",
        "epoch-1.bin": b"1",
        "epoch-2.bin": b"2",
        "latest": b"2",
        "zz-last": b"2",
    }
    assert report.kept == []
    assert report.removed == 5
    assert snapshot(work / "data") == {}


def test_two_folders_that_link_to_each_other_are_packed_once_each(work: Path) -> None:
    write_tree(work / "data", {"x/1.txt": b"1", "y/2.txt": b"2"})
    (work / "data/x/to-y").symlink_to("../y")
    (work / "data/y/to-x").symlink_to("../x")

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    names = structure_of(work / "out.zip").names()
    assert {"x/1.txt", "y/2.txt"} <= set(names)
    assert report.files <= 6
    assert not contents(work / "data")


def test_a_named_folder_that_is_a_link_keeps_what_it_leads_to(work: Path) -> None:
    write_tree(work, {"outside/a.txt": b"a"})
    (work / "link").symlink_to("outside")

    report = vhpack.pack("link", "out.zip", remove_originals=True)

    assert structure_of(work / "out.zip").names() == ["a.txt"]
    assert (work / "outside/a.txt").exists()
    assert len(report.kept) == 1


def test_hard_links_are_two_members_and_both_names_go(work: Path) -> None:
    write_tree(work, {"data/a.txt": b"the same", "outside.txt": b"linked from within"})
    os.link(work / "data/a.txt", work / "data/b.txt")
    os.link(work / "outside.txt", work / "data/c.txt")

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    structure = structure_of(work / "out.zip")
    assert [unpacked(work / "out.zip", member) for member in structure.members] == [
        b"the same",
        b"the same",
        b"linked from within",
    ]
    assert report.removed == 3
    assert set(snapshot(work)) == {"data", "out.zip", "outside.txt"}


def test_two_names_of_one_file_that_become_one_member_are_refused(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them would stay when the other is removed, and the next call would pack it over the archive of all the rest."""
    write_tree(work, {"a/x": b"x", "a/y": b"only copy of y", "b/z": b"only copy of z"})
    os.link(work / "a/x", work / "b/x")
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(work))
    before = snapshot(work)

    for _ in range(2):
        with pytest.raises(vhpack.MemberCollisionError, match=r"a/x.* and .*b/x"):
            vhpack.outputs().compress([work / "a/*", work / "b/*"], work / "all.zip")
        assert snapshot(work) == before


def test_one_name_that_is_reached_on_two_ways_is_packed_once(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(work, {"a/x": b"x", "a/y": b"y"})
    (work / "b").symlink_to("a")
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(work))

    vhpack.outputs().compress([work / "a/*", work / "b/*"], work / "all.zip")

    assert structure_of(work / "all.zip").names() == ["x", "y"]
    assert contents(work / "a") == {}


def test_folders_that_link_to_each_other_are_refused_before_their_paths_fill_the_memory(work: Path) -> None:
    """Twelve folders with a link to each other one are reached on a billion ways, none of them a loop."""
    for one in range(12):
        (work / f"data/{one}").mkdir(parents=True)
        for other in range(12):
            if other != one:
                (work / f"data/{one}/{other}").symlink_to(f"../{other}")
    (work / "data/0/a.txt").write_bytes(b"a")

    check_refused(work, ["data"], "out.zip", vhpack.PackOSError, says=["data/", "links"], next_step="symlinks|exclude")
    assert vhpack.pack("data", "out.zip", symlinks="store").links == 12 * 11


def test_a_target_that_is_a_link_inside_its_sources_is_not_packed(work: Path) -> None:
    write_tree(work, {"data/a.txt": b"a", "elsewhere/old.zip": b"an earlier archive"})
    (work / "data/out.zip").symlink_to("../elsewhere/old.zip")

    ended = compress("data", "-o", "data/out.zip", "--force", "--remove-originals", cwd=work)

    assert ended.code == 0, ended
    assert (work / "data/out.zip").is_symlink()
    assert structure_of(work / "elsewhere/old.zip").names() == ["a.txt"]


@pytest.mark.parametrize("options", [[], ["--on-change", "skip"]], ids=["", "skip"])
@pytest.mark.parametrize("behind", ["shut/x", "shut"])
def test_a_link_of_which_nobody_can_say_where_it_leads_ends_the_pack(work: Path, options: list[str], behind: str) -> None:
    """As behind the name of a file that cannot be read there may be something; left out, it would be nowhere."""
    write_tree(work, {"data/a": b"a", "data/b": b"b", "outer/shut/x": b"x"})
    (work / "data/link").symlink_to(f"../outer/{behind}")
    (work / "outer").chmod(0)
    before = snapshot(work / "data")
    try:
        ended = compress("data", "-o", "out.zip", "--remove-originals", *options, cwd=work, before=ordinary_user())
    finally:
        (work / "outer").chmod(0o755)

    check_failed(ended, ["data/link"], A_STEP)
    assert snapshot(work / "data") == before
    assert not (work / "out.zip").exists()
