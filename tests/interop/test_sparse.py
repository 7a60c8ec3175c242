"""Files with holes, as GNU tar and bsdtar write them: whole again in every way in which they are read."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.trees import MIB, noise, sparse
from tests.interop.shapes import on_disk

WRITERS = {
    "old gnu": ["tar", "-S", "--format=oldgnu"],
    "gnu": ["tar", "-S", "--format=gnu"],
    **{f"pax {version}": ["tar", "-S", "--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")},
    "bsdtar": ["bsdtar"],
    "bsdtar's pax": ["bsdtar", "--format=pax"],
}
PACKERS = {".tar": ["cat"], ".tar.gz": ["gzip", "-1"], ".tar.zst": ["zstd", "-q", "-1"]}
LONG = "folder/" * 20 + "a name that no header has room for"


def fill(tree: Path) -> None:
    tree.mkdir()
    # Holes at the front, at the end, in the middle, everywhere; more stretches than a header of the old form has room for,
    # and more than a block behind it has; a length that is no multiple of a block; nothing at all.
    sparse(tree / "front", 3 * MIB, {3 * MIB - 5000: noise(5000)})
    sparse(tree / "end", 5 * MIB + 7, {0: noise(70_000)})
    sparse(tree / "middle", 4 * MIB + 1, {0: b"first", 2 * MIB: noise(9000), 4 * MIB: b"!"})
    sparse(tree / "hole", 2 * MIB)
    sparse(tree / "many", 12 * MIB, {at * 65_536: bytes([at % 251 + 1]) * 4096 for at in range(0, 180, 2)})
    sparse(tree / "small", 300_000, {200_000: b"small"})
    (tree / "whole").write_bytes(noise(3000))
    (tree / "empty").touch()
    (tree / LONG).parent.mkdir(parents=True)
    sparse(tree / LONG, 2 * MIB, {MIB: b"far"})
    (tree / LONG).with_name("whole, behind as many folders").write_bytes(b"as far")
    os.link(tree / "middle", tree / "other name")


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_files_with_holes_are_read_as_their_writer_found_them(writer: str, ending: str, work: Path) -> None:
    command, packer = WRITERS[writer], PACKERS[ending]
    needs(command[0], packer[0])
    fill(work / "tree")
    subprocess.run([*command, "-cf", "plain", "-C", "tree", "."], check=True, capture_output=True)
    path = f"a{ending}"
    with open("plain", "rb") as source, open(path, "wb") as packed:
        subprocess.run(packer, stdin=source, stdout=packed, check=True)
    contents = {f"./{file.relative_to('tree')}": file.read_bytes() for file in Path("tree").rglob("*") if file.is_file()}

    archive = vhpack.open(path)
    assert {name: archive[name] for name in archive} == contents
    assert sum(member.codec == "sparse" for member in archive.members()) >= 6
    names = sorted(contents, reverse=True)
    assert archive.read_many(names) == [contents[name] for name in names]
    for name, content in contents.items():
        info = archive.info(name)
        if info.kind == "file":
            assert (info.size, info.packed <= len(content) + 512 * 40) == (len(content), True)
        with archive.open(name) as file:
            for at in (len(content) - 3000, len(content) // 2 - 100, 0, 2 * MIB - 10, 65_530):
                file.seek(max(at, 0))
                assert file.read(5000) == content[max(at, 0) : max(at, 0) + 5000]
    assert (archive.verify().ok, archive.verify().warnings) == (True, [])
    report = archive.extract("ours")
    assert (report.files + report.links, report.refused) == (len(contents), 0)

    (work / "theirs").mkdir()
    for reader in ("tar", "bsdtar"):
        needs(reader)
        subprocess.run([reader, "-xf", "plain", "-C", "theirs"], check=True)
        assert on_disk(work / "ours") == on_disk(work / "theirs")
    with tarfile.open("plain") as reading:
        python = {member.name: reading.extractfile(member) for member in reading if member.isreg()}
        for stated, member in python.items():
            # Where a long path follows the map's own name, Python keeps the one for readers who know no sparse files.
            name = re.sub(r"GNUSparseFile\.\d+/", "", stated)
            assert member is not None
            assert member.read() == contents[name if name.startswith("./") else f"./{name}"]


def test_a_hole_takes_no_room_on_disk_and_comes_out_of_cat_as_zeros(work: Path) -> None:
    needs("tar")
    sparse(work / "image", 300 * MIB, {150 * MIB: b"middle"})
    subprocess.run(["tar", "-Scf", "a.tar", "image"], check=True)
    vhpack.open("a.tar").extract("out")
    found = (work / "out/image").stat()
    assert (found.st_size, found.st_blocks * 512 < MIB) == (300 * MIB, True)
    subprocess.run(["cmp", "image", "out/image"], check=True)
    with vhpack.open("a.tar").open("image") as reading, open("image", "rb") as file:
        while portion := file.read(8 * MIB):
            assert reading.read(8 * MIB) == portion
