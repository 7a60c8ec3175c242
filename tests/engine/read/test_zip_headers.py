"""Headers of zips that readers may understand in two ways: one that could hide a member is refused, an odd one is read."""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.read.archives import opened, patched, put, record_at, zip_of

FULL = 0xFFFFFFFF


def end_of(content: bytes | bytearray) -> int:
    return content.rindex(b"PK\x05\x06")


def wide_end(count: int, length: int, offset: int) -> bytes:
    """A zip64 end record."""
    return b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, length, offset)


def locator(at: int) -> bytes:
    return b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)


def with_zip64_ends(content: bytearray, *ends: bytes, stated: int) -> None:
    """Put zip64 end records in front of the end record, which refers to them for everything."""
    at = end_of(content)
    put(content, at + 8, "<HHII", 0xFFFF, 0xFFFF, FULL, FULL)
    content[at:at] = b"".join(ends) + locator(stated)


def test_one_zip64_end_record_where_the_locator_says_or_before_it_is_right(work: Path) -> None:
    for front in (b"", b"#!/bin/sh\n"):
        path = zip_of(work / "a.zip", ("a", b"1"))

        def wide(content: bytearray, front: bytes = front) -> None:
            at = end_of(content)
            length, offset = struct.unpack_from("<II", content, at + 12)
            with_zip64_ends(content, wide_end(1, length, offset), stated=at)
            content[:0] = front

        assert opened(patched(path, wide)).read("a") == b"1"


def test_two_zip64_end_records_are_two_archives_and_refused(work: Path) -> None:
    path = zip_of(work / "bad.zip", ("seen", b"1"), ("hidden", b"2"))

    def doubled(content: bytearray) -> None:
        at, second = end_of(content), record_at(content, 1)
        length, offset = struct.unpack_from("<II", content, at + 12)
        one = wide_end(1, at - second, second)
        with_zip64_ends(content, wide_end(2, length, offset), one, stated=at)

    with pytest.raises(vhpack.CorruptArchiveError, match="two zip64 end records") as raised:
        opened(patched(path, doubled))
    assert "bad.zip` at offset 174" in str(raised.value)


def test_a_directory_behind_its_own_end_is_refused(work: Path) -> None:
    path = zip_of(work / "bad.zip", ("a", b"1"))

    def behind(content: bytearray) -> None:
        end, record = end_of(content), record_at(content)
        directory = bytes(content[record:end])
        put(content, end + 16, "<I", len(content))
        put(content, end + 20, "<H", len(directory))
        content[record : record + 4] = b"none"
        content += directory

    with pytest.raises(vhpack.CorruptArchiveError, match="record of its own end"):
        opened(patched(path, behind))


@pytest.mark.parametrize("kept", [4, 7, 16, 20])
@pytest.mark.parametrize("front", [b"", b"#!/bin/sh\n"], ids=["alone", "prefixed"])
def test_an_end_record_that_was_never_filled_makes_no_empty_archive_of_a_full_one(front: bytes, kept: int, work: Path) -> None:
    path = zip_of(work / "bad.zip", ("a", b"1"))

    def unfilled(content: bytearray) -> None:
        at = end_of(content)
        put(content, at + 8, "<HHI", 0, 0, 0)
        content[at + kept :] = bytes(22 - kept)
        content[:0] = front

    with pytest.raises(vhpack.CorruptArchiveError, match=r"counts no members, and .* bytes stand before it"):
        opened(patched(path, unfilled))


@pytest.mark.parametrize("stated", [1 << 63, (1 << 64) - 60])
def test_places_that_no_file_has_are_damage_of_the_archive_and_no_failure_of_the_system(stated: int, work: Path) -> None:
    path = zip_of(work / "bad.zip", ("a", b"1"))

    def far(content: bytearray) -> None:
        at = end_of(content)
        with_zip64_ends(content, wide_end(1, 46, stated), stated=at)

    with pytest.raises(vhpack.CorruptArchiveError):
        opened(patched(path, far))


def streamed(path: Path, crc: int, packed: int, size: int) -> Path:
    """A stored member with a descriptor, beside which its local header has these values."""
    zip_of(path, ("a", b"1" * 100))

    def late(content: bytearray) -> None:
        put(content, 6, "<H", 8)
        put(content, 14, "<III", crc, packed, size)
        put(content, record_at(content) + 8, "<H", 8)
        directory = record_at(content)
        content[directory:directory] = b"PK\x07\x08" + struct.pack("<III", zlib.crc32(b"1" * 100), 100, 100)
        end = end_of(content)
        put(content, end + 16, "<I", directory + 16)

    return patched(path, late)


def test_beside_a_descriptor_a_local_header_knows_nothing_or_the_same(work: Path) -> None:
    crc = zlib.crc32(b"1" * 100)
    for number, values in enumerate([(0, 0, 0), (crc, 100, 100), (0, 100, 100), (0, FULL, FULL), (0, 0, 100)]):
        archive = opened(streamed(work / f"{number}.zip", *values))
        assert (archive.read("a"), archive.verify().ok) == (b"1" * 100, True), values
    for number, values in enumerate([(0, 5, 5), (0, 100, 5), (7, 0, 0)]):
        archive = opened(streamed(work / f"bad{number}.zip", *values))
        with pytest.raises(vhpack.CorruptArchiveError, match="its local header has another"):
            archive.read("a")
        assert not archive.verify().ok


def test_nothing_hides_behind_a_signature(work: Path) -> None:
    path = zip_of(work / "bad.zip", ("a", b"1"), ("b", b"2"))

    def signed(content: bytearray) -> None:
        end, second = end_of(content), record_at(content, 1)
        (length,) = struct.unpack_from("<I", content, end + 12)
        put(content, end + 8, "<HHI", 1, 1, length + 6)
        content[second:second] = b"PK\x05\x05\0\0"

    with pytest.raises(vhpack.CorruptArchiveError, match="no record of the directory"):
        opened(patched(path, signed))


@pytest.mark.parametrize(("disk", "is_read"), [(0, True), (1, False)])
def test_the_number_of_a_disk_may_be_in_the_zip64_field(disk: int, is_read: bool, work: Path) -> None:
    member = zipfile.ZipInfo("a")
    member.extra = struct.pack("<HHI", 1, 4, disk)
    path = patched(zip_of(work / "a.zip", (member, b"1")), lambda content: put(content, record_at(content) + 34, "<H", 0xFFFF))
    if is_read:
        assert opened(path).read("a") == b"1"
    else:
        with pytest.raises(vhpack.UnsupportedArchiveError, match="one part of several"):
            opened(path)


def test_what_came_through_a_pipe_is_a_file(work: Path) -> None:
    """`zip` gives a member that it reads from standard input the kind of a pipe."""
    needs("zip")
    subprocess.run(["zip", "-q", "a.zip", "-"], input=b"content", check=True, cwd=work)
    archive = opened(work / "a.zip")
    assert (archive.names(), archive.read("-"), archive.verify().ok) == (["-"], b"content", True)
    archive.extract(os.fsencode(work / "out"))
    assert (work / "out/-").read_bytes() == b"content"


def test_a_checksum_that_looks_like_a_signature_is_one_where_no_signature_stands(work: Path) -> None:
    content = bytes.fromhex("ac 0a 7a d5")
    assert zlib.crc32(content) == 0x08074B50
    for signature in (b"", b"PK\x07\x08"):
        path = zip_of(work / "a.zip", ("a", content))

        def late(content: bytearray, signature: bytes = signature) -> None:
            put(content, 6, "<HH", 8, 0)
            directory = record_at(content)
            put(content, directory + 8, "<H", 8)
            content[directory:directory] = signature + struct.pack("<III", 0x08074B50, 4, 4)
            put(content, end_of(content) + 16, "<I", directory + len(signature) + 12)

        archive = opened(patched(path, late))
        assert (archive.read("a"), archive.verify().ok, archive.verify().warnings) == (content, True, [])


def test_a_folder_by_its_mode_alone_that_has_bytes_is_a_file_as_for_unzip(work: Path) -> None:
    needs("unzip")
    members = [zipfile.ZipInfo(name) for name in ("with", "without", "slash/")]
    for member in members:
        member.external_attr = 0o40755 << 16
    path = zip_of(work / "a.zip", (members[0], b"1"), (members[1], b""), (members[2], b"2"))
    archive = opened(path)
    assert archive.names() == ["with"]
    report = archive.extract(os.fsencode(work / "out"))
    assert (report.files, report.directories) == (1, 2)
    assert [(name, reason.partition(",")[0]) for name, reason in report.skipped] == [("slash/", "it is a folder")]
    assert archive.verify().warnings == ["Folders with bytes, which extraction leaves out: 1."]
    subprocess.run(["unzip", "-qq", path, "-d", "theirs"], check=True)
    for folder in ("out", "theirs"):
        assert (work / folder / "with").read_bytes() == b"1"
        assert (work / folder / "slash").is_dir()


def test_what_others_may_take_for_the_end_is_told(work: Path) -> None:
    path = zip_of(work / "a.zip", ("a", b"1"))
    with zipfile.ZipFile(path, "a") as writer:
        writer.comment = b"PK\x05\x06" + bytes(18) + b"and more"
    with zipfile.ZipFile(path) as theirs:
        assert theirs.namelist() == []
    archive = opened(path)
    assert (archive.read("a"), archive.verify().ok) == (b"1", True)
    [warning] = archive.verify().warnings
    assert f"at byte {path.stat().st_size - 30}" in warning
