"""What GNU tar and bsdtar write beside plain files comes back as they themselves would bring it back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.interop.shapes import on_disk

WRITERS = {
    "a label": ["tar", "-V", "tape 7"],
    "a label in pax": ["tar", "--format=posix", "-V", "tape 7"],
    "an incremental backup": ["tar", "--format=gnu", "-g", "names"],
    "an incremental backup in pax": ["tar", "--format=posix", "-g", "names"],
    "gnu": ["tar", "--format=gnu"],
    "old gnu": ["tar", "--format=oldgnu"],
    "ustar": ["tar", "--format=ustar"],
    "v7": ["tar", "--format=v7"],
    "posix": ["tar", "--format=posix"],
    "bsdtar": ["bsdtar"],
    "bsdtar's gnu": ["bsdtar", "--format=gnutar"],
}


def fill(tree: Path) -> None:
    (tree / "empty/inside").mkdir(parents=True)
    (tree / "folder").mkdir()
    (tree / "file").write_bytes(b"content")
    (tree / "folder/link").symlink_to("../file")
    # As in a copy by `cp -al`: one link by several names.
    for name in ("folder/same", "again"):
        os.link(tree / "folder/link", tree / name, follow_symlinks=False)
    os.link(tree / "file", tree / "folder/hard")
    (tree / "first").symlink_to("file")
    os.link(tree / "first", tree / "second", follow_symlinks=False)


def ends(tree: Path) -> dict[str, str]:
    return {name: os.readlink(tree / name) for name, found in on_disk(tree).items() if found.kind == "l"}


@pytest.mark.parametrize("writer", WRITERS)
def test_it_comes_back_as_by_the_tool_that_wrote_it(writer: str, work: Path) -> None:
    command = WRITERS[writer]
    needs(command[0])
    fill(work / "tree")
    subprocess.run([*command, "-cf", "a.tar", "-C", "tree", "."], check=True, capture_output=True)
    (work / "theirs").mkdir()
    subprocess.run([command[0], "-xf", "a.tar", "-C", "theirs"], check=True, capture_output=True)

    report = vhpack.open("a.tar").extract("ours")

    # `../file`, one folder further up, leads outside, whoever linked it there.
    assert [(os.path.basename(name), why.partition(":")[0]) for name, why in report.skipped] == [
        ("again", "the link leads outside the destination")
    ]
    (work / "theirs/again").unlink()
    assert on_disk(work / "ours") == on_disk(work / "theirs")
    assert ends(work / "ours") == ends(work / "theirs")
    assert vhpack.open("a.tar").verify().ok
    if writer not in {"v7", "old gnu"}:
        assert vhpack.open("a.tar")["./second"] == b"content"


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("flag", ["gnu", "posix"])
def test_a_tar_of_a_label_alone_is_an_empty_tar(flag: str) -> None:
    needs("tar")
    subprocess.run(["tar", f"--format={flag}", "-V", "tape 7", "-cf", "a.tar", "-T", "/dev/null"], check=True)
    archive = vhpack.open("a.tar")
    assert (archive.members(), archive.verify().ok) == ([], True)
