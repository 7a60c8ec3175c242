"""What members are called, and which files are members."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import compress, run
from tests.engine.trees import write_tree
from tests.interop.structure import structure_of

TREE: dict[str, bytes | None] = {
    "data/train/a.png": b"1",
    "data/train/b.png": b"2",
    "data/val/a.png": b"3",
    "data/val/deep/c.png": b"4",
    "data/notes.txt": b"5",
    "data/.hidden": b"6",
    "data/.cache/x.png": b"7",
    "data/empty": None,
    "other/d.png": b"8",
}


@pytest.fixture
def tree(work: Path) -> Path:
    return write_tree(work, TREE)


@pytest.mark.parametrize(
    ("sources", "members"),
    [
        (["data/train/*.png"], ["a.png", "b.png"]),
        (["data/train/*.png", "data/val/*.png"], ["train/a.png", "train/b.png", "val/a.png"]),
        (["data/*/a.png"], ["train/a.png", "val/a.png"]),
        (["data/**/*.png"], ["train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"]),
        (["data/train", "data/val"], ["train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"]),
        (["data/val"], ["a.png", "deep/c.png"]),
        (["data/val/"], ["a.png", "deep/c.png"]),
        (["./data/../data/val/."], ["a.png", "deep/c.png"]),
        (
            ["data"],
            [".cache/x.png", ".hidden", "empty/", "notes.txt", "train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"],
        ),
        (["data/train/a.png"], ["a.png"]),
        (["data/train/a.png", "data/train/b.png"], ["a.png", "b.png"]),
        (["data/train/a.png", "data/val/deep/c.png"], ["train/a.png", "val/deep/c.png"]),
        (["data/train/a.png", "data/train"], ["a.png", "b.png"]),
        (["data/notes.txt", "other"], ["data/notes.txt", "other/d.png"]),
        (["data/[tv]*"], ["train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"]),
        (["data/train/*", "data/train/a.png", "./data/train/a.png", "data/../data/train/a.png"], ["a.png", "b.png"]),
    ],
)
def test_members_are_named_from_the_deepest_common_folder(work: Path, tree: Path, sources: list[str], members: list[str]) -> None:
    vhpack.pack(sources, "out.zip")
    vhpack.pack([str(tree / source) for source in sources], "absolute.zip")

    assert structure_of(work / "out.zip").names() == members
    assert structure_of(work / "absolute.zip").names() == members


@pytest.mark.parametrize(
    ("root", "members"),
    [
        (".", ["data/train/a.png", "data/train/b.png"]),
        ("data", ["train/a.png", "train/b.png"]),
        ("data/train", ["a.png", "b.png"]),
        ("..", ["work/data/train/a.png", "work/data/train/b.png"]),
    ],
)
def test_a_root_names_members_from_itself(work: Path, tree: Path, root: str, members: list[str]) -> None:
    vhpack.pack("data/train/*.png", "out.zip", root=root)
    ended = compress("data/train", "--root", root, "-o", "command.zip", cwd=work)

    assert ended.code == 0, ended
    assert structure_of(tree / "out.zip").names() == members
    assert structure_of(tree / "command.zip").names() == members


@pytest.mark.parametrize("root", ["other", "data/val", "data/tra"])
def test_a_source_outside_the_root_is_refused(work: Path, tree: Path, root: str) -> None:
    assert tree.exists()
    with pytest.raises(vhpack.PackError, match="root"):
        vhpack.pack("data/train/*.png", "out.zip", root=root)
    assert not (work / "out.zip").exists()


@pytest.mark.parametrize(
    ("sources", "members"),
    [
        (["data/train/a.png", "other/d.png"], ["a.png", "d.png"]),
        (["data/train"], ["a.png", "b.png"]),
        (["data/val"], ["a.png"]),
        (["data/*"], ["notes.txt"]),
        (["data/**"], ["notes.txt", "train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"]),
        (["data/*/a.png"], ["train/a.png", "val/a.png"]),
        (["data/train/*.png", "other/*.png"], ["a.png", "b.png", "d.png"]),
        (["data/v?l/deep/*"], ["val/deep/c.png"]),
        (["other/d.png", "other/*", "./other/../other/d.png"], ["d.png"]),
    ],
)
def test_outputs_name_members_from_each_source(
    work: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], members: list[str]
) -> None:
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(tree))

    made = vhpack.outputs().compress(sources, "out.zip", remove_originals=False)

    assert made == str(work / "out.zip")
    assert structure_of(Path(made)).names() == members


def test_a_pattern_that_matches_nothing_beside_others_is_a_warning(work: Path, tree: Path) -> None:
    report = vhpack.pack(["data/train/*.png", "data/*.gif"], "out.zip")

    assert len(report.warnings) == 1
    assert "data/*.gif" in report.warnings[0]
    assert structure_of(tree / "out.zip").names() == ["train/a.png", "train/b.png"]
    ended = compress("data/train/*.png", "data/*.gif", "-o", "again.zip", cwd=work)
    assert ended.code == 0
    assert "data/*.gif" in ended.err


@pytest.mark.parametrize(
    ("exclude", "members"),
    [
        (["*.png"], [".cache/", ".hidden", "empty/", "notes.txt", "train/", "val/deep/"]),
        (["train"], [".cache/x.png", ".hidden", "empty/", "notes.txt", "val/a.png", "val/deep/c.png"]),
        (["train/a.png"], [".cache/x.png", ".hidden", "empty/", "notes.txt", "train/b.png", "val/a.png", "val/deep/c.png"]),
        (["*/a.png", ".*"], ["empty/", "notes.txt", "train/b.png", "val/deep/c.png"]),
        (["**/c.png", "*"], None),
        (["val/**", "?idden", "*h*"], ["empty/", "notes.txt", "train/a.png", "train/b.png"]),
        (
            ["nothing-like-it"],
            [".cache/x.png", ".hidden", "empty/", "notes.txt", "train/a.png", "train/b.png", "val/a.png", "val/deep/c.png"],
        ),
    ],
)
def test_what_is_excluded_is_left_out_and_kept(work: Path, tree: Path, exclude: Sequence[str], members: list[str] | None) -> None:
    if members is None:
        with pytest.raises(vhpack.NoFilesError):
            vhpack.pack("data", "out.zip", exclude=exclude, remove_originals=True)
        members = []
    else:
        vhpack.pack("data", "out.zip", exclude=exclude, remove_originals=True)
        assert structure_of(work / "out.zip").names() == members
    for name in TREE:
        if name.startswith("data/") and name != "data/empty":
            assert (tree / name).exists() == (name.removeprefix("data/") not in members), name


def test_hidden_files_are_matched_when_asked(work: Path, tree: Path) -> None:
    vhpack.pack("data/**", "plain.zip")
    vhpack.pack("data/**", "hidden.zip", hidden=True)
    ended = compress("data/**", "--hidden", "-o", "command.zip", cwd=work)

    assert ended.code == 0
    extra = {".hidden", ".cache/x.png"}
    plain, hidden = (set(structure_of(tree / name).names()) for name in ("plain.zip", "hidden.zip"))
    assert not plain & extra
    assert hidden == plain | extra
    assert (tree / "command.zip").read_bytes() == (tree / "hidden.zip").read_bytes()


SIDECARS: dict[str, bytes | None] = {
    "out/a.png": b"1",
    "out/a.png.metadata.json": b"{}",
    "out/valohai.metadata.jsonl": b"{}",
    "out/metadata.json": b"an ordinary file",
    "out/x.metadata.jsonl": b"an ordinary file, too",
}


@pytest.mark.parametrize(
    ("source", "members"),
    [
        ("out/*", ["a.png", "metadata.json", "x.metadata.jsonl"]),
        ("out/**", ["a.png", "metadata.json", "x.metadata.jsonl"]),
        ("out/*.json", ["metadata.json"]),
        ("out/*.metadata.json", ["a.png.metadata.json"]),
        ("out/valohai.metadata.jsonl", ["valohai.metadata.jsonl"]),
        ("out/a.png.metadata.json", ["a.png.metadata.json"]),
        ("o*t/valohai.metadata.jsonl", ["out/valohai.metadata.jsonl"]),
        ("out", ["a.png", "a.png.metadata.json", "metadata.json", "valohai.metadata.jsonl", "x.metadata.jsonl"]),
    ],
)
def test_sidecars_are_packed_only_when_they_are_named(work: Path, source: str, members: list[str]) -> None:
    write_tree(work, SIDECARS)

    report = vhpack.pack(source, "out.zip", remove_originals=True)

    assert structure_of(work / "out.zip").names() == members
    left_out = {"a.png.metadata.json", "valohai.metadata.jsonl"} - {Path(member).name for member in members}
    for name in left_out:
        assert (work / "out" / name).exists()
    if source in ("out/*", "out/**"):
        assert {Path(path).name for path, _ in report.skipped} == left_out


def test_the_archive_is_named_after_the_common_folder(work: Path, tree: Path) -> None:
    for sources, name in (
        (["data/train/*.png"], "train.zip"),
        (["data/train", "data/val"], "data.zip"),
        (["data/notes.txt"], "data.zip"),
        (["."], "work.zip"),
    ):
        (tree / name).unlink(missing_ok=True)
        ended = compress(*sources, cwd=work)
        assert ended.code == 0, ended
        assert (work / name).exists(), sources


def test_a_dry_run_prints_the_members_and_writes_nothing(work: Path, tree: Path) -> None:
    ended = compress("data", "--dry-run", cwd=work)
    vhpack.pack("data", "out.zip")

    assert ended.out.splitlines() == structure_of(tree / "out.zip").names()
    assert not (work / "data.zip").exists()


def test_a_dry_run_reaches_as_deep_as_a_pack(work: Path) -> None:
    (work / "data").mkdir()
    folder = os.open(work / "data", os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=folder)
        inner = os.open("x" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    file = os.open("deep.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.write(file, b"deep")
    os.close(file)
    os.close(folder)

    said = compress("data", "-o", "out.zip", "--dry-run", "--json", cwd=work)
    assert said.code == 0, said
    plan = json.loads(said.out)
    assert (plan["files"], plan["bytes_in"]) == (1, 4)
    assert compress("data", "-o", "out.zip", "--remove-originals", cwd=work).code == 0
    assert structure_of(work / "out.zip").names() == plan["members"]
    run(["rm", "-rf", "data"], work)


def test_members_are_sorted_by_their_bytes(work: Path) -> None:
    names = ["a/b", "a-b", "a.b", "a0", "B", "é", "z", "~", "日", "a/b-c", "a/B"]
    write_tree(work / "data", dict.fromkeys(names, b""))

    vhpack.pack("data", "out.zip")

    assert structure_of(work / "out.zip").names() == sorted(names, key=str.encode)


def test_a_name_longer_than_archives_can_hold_is_refused_where_it_is_found(work: Path) -> None:
    """Also far deeper than one path reaches, and without a name for each of the folders below."""
    (work / "data").mkdir()
    folder = os.open(work / "data", os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d" * 200, dir_fd=folder)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("a.txt", os.O_CREAT, dir_fd=folder))
    os.close(folder)

    with pytest.raises(vhpack.MemberNameError, match=r"65,535 bytes.*deeper folder"):
        vhpack.pack("data", "out.zip")

    assert sorted(path.name for path in work.iterdir()) == ["data"]
    ended = run(["rm", "-rf", "data"], work)
    assert ended.code == 0, ended


@pytest.mark.parametrize(
    ("source", "taken"),
    [("data/*", ["1.txt"]), ("data", ["1.txt", "x.metadata.json"]), ("data/*/*.metadata.json", ["x.metadata.json"])],
)
def test_a_wildcard_takes_no_sidecars_below_the_folders_that_it_takes(work: Path, source: str, taken: list[str]) -> None:
    write_tree(work, {"data/sub/1.txt": b"1", "data/sub/x.metadata.json": b"{}"})

    vhpack.pack(source, "out.zip", remove_originals=True)

    names = [name.rsplit("/")[-1] for name in structure_of(work / "out.zip").names()]
    assert names == taken
    assert (work / "data/sub/x.metadata.json").exists() == ("x.metadata.json" not in taken)
