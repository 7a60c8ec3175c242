"""What was committed is read by its manifest, and what is wrong with it is never passed over."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import pytest

import vhpack
from vhpack.committed import MANIFEST

FILES = {"a.txt": b"one", "b/c.txt": b"two", "empty": b"", "ü.txt": b"three"}


@pytest.fixture
def curves(work: Path) -> Path:
    with vhpack.OutputDir(work / "curves") as out:
        for name, content in FILES.items():
            out.write_bytes(name, content)
    return work / "curves"


def test_files_come_in_the_order_of_their_names_one_by_one(curves: Path) -> None:
    reading = vhpack.read_outputs(curves)
    assert next(reading) == ("a.txt", b"one")
    assert [name for name, _ in reading] == ["b/c.txt", "empty", "ü.txt"]


def test_what_lies_there_and_is_not_listed_is_not_read(curves: Path) -> None:
    (curves / "stray.txt").write_bytes(b"stray")
    assert dict(vhpack.read_outputs(curves, verify=True)) == FILES


def test_decode_makes_values_and_its_none_is_passed_over(curves: Path) -> None:
    values = list(vhpack.read_outputs(curves, lambda name, content: None if name == "empty" else len(content)))
    assert values == [3, 3, 5]
    with pytest.raises(vhpack.FunctionError, match=r"curves/a\.txt: ZeroDivisionError") as caught:
        list(vhpack.read_outputs(curves, lambda name, content: 1 / 0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.source == str(curves / "a.txt")


def test_archives_are_read_by_the_manifest_that_they_hold(curves: Path) -> None:
    (curves / "stray.txt").write_bytes(b"stray")
    for suffix in ("zip", "tar.gz"):
        vhpack.pack(curves, f"curves.{suffix}")
        assert dict(vhpack.read_outputs(f"curves.{suffix}", verify=True)) == FILES
        vhpack.pack(curves, f"inner.{suffix}", root=curves.parent)
        assert dict(vhpack.read_outputs(f"inner.{suffix}")) == FILES
    vhpack.pack("curves/*.txt", "plain.zip")
    assert sorted(name for name, _ in vhpack.read_outputs("plain.zip")) == ["a.txt", "stray.txt", "ü.txt"]


def test_an_archive_that_lacks_a_listed_file_is_damaged(curves: Path) -> None:
    (curves / "a.txt").unlink()
    vhpack.pack(curves, "curves.zip")
    with pytest.raises(vhpack.CorruptArchiveError, match=r"a\.txt"):
        list(vhpack.read_outputs("curves.zip"))


@pytest.mark.parametrize("verify", [False, True])
def test_a_file_that_is_missing_or_of_another_size_is_named(curves: Path, verify: bool) -> None:
    (curves / "b/c.txt").write_bytes(b"longer")
    with pytest.raises(vhpack.CorruptArchiveError, match=r"b/c\.txt"):
        list(vhpack.read_outputs(curves, verify=verify))
    (curves / "b/c.txt").unlink()
    with pytest.raises(vhpack.CorruptArchiveError, match=r"b/c\.txt.*missing"):
        list(vhpack.read_outputs(curves, verify=verify))


def test_a_flipped_bit_is_found_before_the_first_file_is_given(curves: Path) -> None:
    (curves / "ü.txt").write_bytes(b"thref")
    with pytest.raises(vhpack.CorruptArchiveError, match="ü"):
        next(vhpack.read_outputs(curves, verify=True))


def test_what_is_no_committed_directory_is_said(work: Path) -> None:
    (work / "folder").mkdir()
    for name in ("folder", "nowhere"):
        with pytest.raises(vhpack.SourceNotFoundError, match=name):
            next(vhpack.read_outputs(name))
    (work / "text").write_text("no archive")
    with pytest.raises(vhpack.UnsupportedArchiveError, match="text"):
        next(vhpack.read_outputs("text"))


def test_who_reads_while_the_directory_is_replaced_gets_no_mix(curves: Path) -> None:
    reading = vhpack.read_outputs(curves)
    assert next(reading) == ("a.txt", b"one")
    with vhpack.OutputDir(curves) as out:
        for name in FILES:
            out.write_bytes(name, b"new")
    with pytest.raises(vhpack.SourceChangedError, match="read it again"):
        next(reading)
    assert set(dict(vhpack.read_outputs(curves)).values()) == {b"new"}


def manifest(*lines: object, files: int | None = None, version: object = 1) -> bytes:
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    count = len(lines) if files is None else files
    head = {"vhpack_directory": version, "files": count, "bytes": 0, "crc32": f"{zlib.crc32(body):08x}"}
    return json.dumps(head).encode() + b"\n" + body


def nested(depth: int) -> bytes:
    body = b"[" * depth + b"\n"
    return json.dumps({"vhpack_directory": 1, "files": 1, "bytes": 0, "crc32": f"{zlib.crc32(body):08x}"}).encode() + b"\n" + body


def line(name: object, size: object = 1) -> dict[str, object]:
    return {"name": name, "size": size, "xxh3-128": "0" * 32}


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"\n",
            b"[]\n",
            b"{}\n",
            b"\xff\n",
            manifest(version="x"),
            b"[" * 200_000 + b"\n",
            manifest(line("a"), files=2),
            manifest(line("a"), line("a")),
        ),
        *(manifest(line(name)) for name in ("../a", "/etc/passwd", "a/../b", "", ".", "a\0", MANIFEST, 7, None)),
        *(manifest(line("a", size)) for size in (-1, "1", None)),
        *(nested(200_000), manifest("text"), manifest([]), manifest({"name": "a"}), manifest(line("a"))[:-5]),
    ],
)
def test_a_manifest_that_is_none_or_lies_is_refused(work: Path, text: bytes) -> None:
    (work / "curves").mkdir()
    (work / "curves" / MANIFEST).write_bytes(text)
    with pytest.raises(vhpack.CorruptArchiveError, match="curves"):
        list(vhpack.read_outputs("curves"))


def test_a_manifest_of_a_later_version_is_told(work: Path) -> None:
    (work / "curves").mkdir()
    (work / "curves" / MANIFEST).write_bytes(manifest(version=2))
    with pytest.raises(vhpack.UnsupportedArchiveError, match="update vhpack"):
        list(vhpack.read_outputs("curves"))


def test_a_fifo_in_the_place_of_a_file_does_not_block(curves: Path) -> None:
    (curves / "a.txt").unlink()
    os.mkfifo(curves / "a.txt")
    with pytest.raises(vhpack.CorruptArchiveError, match=r"a\.txt"):
        list(vhpack.read_outputs(curves))
