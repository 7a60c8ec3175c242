"""Zips that not every reader takes, or that some can map into memory: only on request, and right for those that do."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.command import compress
from tests.engine.trees import MIB, mixed_tree, noise, prose, write_tree

ZSTD = 93


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = mixed_tree(tmp_path_factory.mktemp("zip") / "data")
    write_tree(
        base, {"large/prose": prose(9 * MIB + 5), "large/half": prose(4 * MIB) + noise(3 * MIB), "large/noise": noise(5 * MIB)}
    )
    write_tree(base, {f"buffers/{size}": prose(size) for size in (131_071, 131_072, 131_073, 262_144, 6 * MIB)})
    return base


def contents(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def read_by(command: list[str], folder: Path) -> dict[str, bytes]:
    needs(command[0])
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    return contents(folder)


@pytest.mark.parametrize("level", [None, 1, 12])
def test_readers_that_know_zstd_give_back_every_byte(tmp_path: Path, tree: Path, level: int | None) -> None:
    report = vhpack.pack(tree, "out.zip", codec="zstd", level=level)
    (tmp_path / "bsdtar").mkdir()

    assert read_by(["7z", "x", "-bd", "-o7z", "out.zip"], Path("7z")) == contents(tree)
    assert read_by(["bsdtar", "-xf", "out.zip", "-C", "bsdtar"], Path("bsdtar")) == contents(tree)
    with zipfile.ZipFile("out.zip") as reader:
        members = reader.infolist()
    deflated = [member.file_size for member in members if member.compress_type == zipfile.ZIP_DEFLATED]
    assert {size % 131_072 for size in deflated} == {0}, "libarchive cannot read those in zstd"
    assert report.deflated == len(deflated)
    assert all(member.extract_version == (63 if member.compress_type == ZSTD else 20) for member in members)
    assert report.zstd == sum(member.compress_type == ZSTD for member in members)
    assert report.stored == report.files - report.zstd - report.deflated


def test_readers_of_streams_find_it_sound(tree: Path) -> None:
    needs("bsdtar", "7z")
    vhpack.pack(tree, "out.zip", codec="zstd")
    with open("out.zip", "rb") as file:
        done = subprocess.run(["bsdtar", "-xOf", "-"], stdin=file, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    wanted = [content for _, content in sorted(contents(tree).items(), key=lambda pair: os.fsencode(pair[0]))]
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(b"".join(wanted)).digest()
    assert b"Everything is Ok" in subprocess.run(["7z", "t", "-bd", "out.zip"], capture_output=True).stdout


def test_each_member_is_one_frame(tree: Path) -> None:
    """Python 3.14 stops at the end of the first."""
    needs("zstd")
    vhpack.pack(tree, "out.zip", codec="zstd")
    content = Path("out.zip").read_bytes()
    with zipfile.ZipFile("out.zip") as reader:
        for member in reader.infolist():
            if member.compress_type != ZSTD:
                continue
            name, extra = struct.unpack_from("<HH", content, member.header_offset + 26)
            start = member.header_offset + 30 + name + extra
            Path("frame.zst").write_bytes(content[start : start + member.compress_size])
            said = subprocess.run(["zstd", "-lv", "frame.zst"], capture_output=True, text=True).stdout
            assert "Frames: 1" in said or "# Zstandard Frames: 1" in said, said
            assert f"({member.file_size} B)" in said
    if sys.version_info >= (3, 14):
        with zipfile.ZipFile("out.zip") as reader:
            assert reader.testzip() is None


def test_the_report_warns_of_the_readers_that_refuse_it_and_only_then(tree: Path, work: Path) -> None:
    write_tree(work / "noise", {"x": noise(9_000)})

    (warning,) = vhpack.pack(tree, "zstd.zip", codec="zstd").warnings
    assert all(reader in warning for reader in ("unzip", "Java", "Python", "7-Zip", "bsdtar"))
    assert vhpack.pack(tree, "auto.zip").warnings == []
    assert vhpack.pack("noise", "stored.zip", codec="zstd").warnings == []
    with pytest.warns(vhpack.PackWarning, match="Java"):
        vhpack.outputs().compress(str(tree / "labels"), "out.zip", codec="zstd", remove_originals=False)


@pytest.mark.parametrize("options", [{"codec": "zstd"}, {"align": 64}, {"align": 4096, "codec": "store"}], ids=str)
def test_any_number_of_threads_and_any_memory_give_the_same_bytes(tree: Path, options: dict[str, object]) -> None:
    vhpack.pack(tree, "one.zip", jobs=1, **options)  # type: ignore[arg-type]
    for jobs in (1, 2, 3, 16):
        for memory in ("1MiB", "256MiB"):
            vhpack.pack(tree, "other.zip", jobs=jobs, memory=memory, force=True, **options)  # type: ignore[arg-type]
            assert Path("other.zip").read_bytes() == Path("one.zip").read_bytes(), f"{jobs} {memory}"


@pytest.mark.parametrize("align", [64, 4096])
def test_stored_members_begin_where_they_can_be_mapped(work: Path, tree: Path, align: int) -> None:
    needs("unzip", "7z", "bsdtar")
    ended = compress(str(tree), "-o", "out.zip", "--align", str(align), cwd=work)
    assert ended.code == 0, ended
    content = Path("out.zip").read_bytes()

    with zipfile.ZipFile("out.zip") as reader:
        assert reader.testzip() is None
        stored = 0
        for member in reader.infolist():
            name, extra = struct.unpack_from("<HH", content, member.header_offset + 26)
            start = member.header_offset + 30 + name + extra
            if member.compress_type == zipfile.ZIP_STORED and member.file_size:
                assert start % align == 0, member.filename
                assert content[start : start + member.file_size] == (tree / member.filename).read_bytes()
                stored += 1
            assert b"\x35\xd9" not in member.extra, "the central directory has no padding"
        assert stored >= 4
    for command in (["unzip", "-tqq", "out.zip"], ["7z", "t", "-bd", "out.zip"], ["bsdtar", "-tf", "out.zip"]):
        done = subprocess.run(command, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alignments_that_mean_nothing_are_refused(work: Path, tree: Path) -> None:
    for target, align in (("out.zip", 3), ("out.zip", 1), ("out.zip", 8192), ("out.tar", 64), ("out.tar.zst", 64)):
        with pytest.raises(vhpack.OptionError, match=r"align|4096"):
            vhpack.pack(tree, target, align=align)
    assert list(work.iterdir()) == []
