"""Archives made to deceive: nothing is written outside the destination, and each ends in an error that says where."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

import vhpack
from tests.engine.read.archives import (
    everything_below,
    link_in_zip,
    opened,
    patched,
    put,
    record_at,
    special,
    tar_of,
    zip_of,
)

OUTSIDE = ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "C:\\evil", "\\evil", "a\\..\\..\\evil", ".."]


def refused(archive: Path, work: Path, error: type[vhpack.PackError] = vhpack.UnsafeMemberError, **options: object) -> str:
    """Extraction raises, and leaves neither a file in the destination nor one outside."""
    before = everything_below(work)
    with pytest.raises(error) as raised:
        opened(archive).extract(os.fsencode(work / "out"), **options)  # type: ignore[arg-type]
    assert everything_below(work) - before <= {"out"}
    assert archive.name in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_refused_in_zips(work: Path, name: str) -> None:
    said = refused(zip_of(work / "bad.zip", ("good", b"1"), (name, b"2")), work)
    assert "at offset 35" in said
    assert "would refuse 1 of the members" in opened(work / "bad.zip").verify().warnings[0]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_refused_in_tars(work: Path, name: str) -> None:
    assert "at offset 1024" in refused(tar_of(work / "bad.tar", ("good", b"1"), (name, b"2")), work)


def test_a_nul_in_a_name_is_refused(work: Path) -> None:
    archive = zip_of(work / "bad.zip", ("a_b", b"1"))
    patched(archive, lambda content: content.__setitem__(slice(None), content.replace(b"a_b", b"a\0b")))
    assert "NUL" in refused(archive, work)


@pytest.mark.parametrize("target", ["/etc", "../..", "..", "a/../../..", ""])
def test_links_that_lead_outside_are_not_made(work: Path, target: str) -> None:
    for archive in (
        zip_of(work / "bad.zip", link_in_zip("link", target)),
        tar_of(work / "bad.tar", special("link", tarfile.SYMTYPE, target)),
    ):
        report = opened(archive).extract(os.fsencode(work / "out"))
        assert ([name for name, _ in report.skipped], report.refused) == (["link"], 1)
        assert everything_below(work / "out") == set()
        checked = opened(archive).verify()
        assert (checked.ok, "the link " in checked.warnings[0]) == (True, True)


def test_nothing_is_written_through_a_link_of_the_archive(work: Path) -> None:
    (work / "elsewhere").mkdir()
    refused(zip_of(work / "bad.zip", link_in_zip("a/link", "."), ("a/link/file", b"1")), work)
    refused(tar_of(work / "bad.tar", special("link", tarfile.SYMTYPE, "x"), ("link/file", b"1")), work)


def test_nothing_is_written_through_links_that_were_there_before(work: Path) -> None:
    (work / "outside").mkdir()
    (work / "outside" / "kept").write_bytes(b"kept")
    (work / "out").mkdir()
    (work / "out" / "folder").symlink_to(work / "outside")
    (work / "out" / "file").symlink_to(work / "outside" / "kept")
    archive = opened(zip_of(work / "a.zip", ("folder/file", b"new")))
    for existing in ("error", "overwrite", "skip"):
        with pytest.raises(vhpack.TargetExistsError, match="folder"):
            archive.extract(os.fsencode(work / "out"), existing=existing)
    assert everything_below(work / "outside") == {"kept"}

    opened(zip_of(work / "b.zip", ("file", b"new"))).extract(os.fsencode(work / "out"), existing="overwrite")

    assert (work / "outside" / "kept").read_bytes() == b"kept"
    assert not (work / "out" / "file").is_symlink()
    assert (work / "out" / "file").read_bytes() == b"new"


def test_hard_links_reach_only_what_was_extracted(work: Path) -> None:
    (work / "secret").write_text("secret")
    for target in ("../secret", str(work / "secret"), "not-there"):
        archive = tar_of(work / "bad.tar", ("a", b"1"), special("link", tarfile.LNKTYPE, target))
        report = opened(archive).extract(os.fsencode(work / "bad"), existing="overwrite")
        assert ([name for name, _ in report.skipped], everything_below(work / "bad")) == (["link"], {"a"})
    archive = tar_of(work / "good.tar", ("a", b"1"), special("link", tarfile.LNKTYPE, "a"))
    report = opened(archive).extract(os.fsencode(work / "out"))
    assert report.links == 1
    assert (work / "out" / "link").stat().st_ino == (work / "out" / "a").stat().st_ino


def test_devices_and_fifos_are_skipped_and_reported(work: Path) -> None:
    members = [
        special(name, kind) for name, kind in (("fifo", tarfile.FIFOTYPE), ("disk", tarfile.BLKTYPE), ("tty", tarfile.CHRTYPE))
    ]
    report = opened(tar_of(work / "a.tar", ("file", b"1"), *members)).extract(os.fsencode(work / "out"))
    assert [name for name, _ in report.skipped] == ["fifo", "disk", "tty"]
    assert everything_below(work / "out") == {"file"}


def test_set_id_and_sticky_bits_are_dropped(work: Path) -> None:
    member = zipfile.ZipInfo("program")
    member.create_system = 3
    member.external_attr = 0o107755 << 16
    opened(zip_of(work / "a.zip", (member, b"1"))).extract(os.fsencode(work / "out"))
    folder = special("folder", tarfile.DIRTYPE, mode=0o7755)
    opened(tar_of(work / "a.tar", folder)).extract(os.fsencode(work / "out2"))
    assert stat.S_IMODE((work / "out" / "program").stat().st_mode) == 0o755
    assert stat.S_IMODE((work / "out2" / "folder").stat().st_mode) == 0o755


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused_in_zips_and_told_of_tars(work: Path) -> None:
    archive = zip_of(work / "bad.zip", ("a", b"1"), ("a", b"2"))
    assert "`a`" in refused(archive, work)
    assert not opened(archive).verify().ok
    report = opened(tar_of(work / "a.tar", ("a", b"1"), ("b", b""), ("a", b"2"))).extract(os.fsencode(work / "out"))
    assert (work / "out" / "a").read_bytes() == b"2"
    assert "same name" in report.warnings[0]


def test_names_that_are_one_where_case_does_not_count_are_refused(work: Path) -> None:
    # A composed letter, both small sigmas and the capital, long s, the sign for Kelvin, the capital sharp s.
    sigma, final, capital = "\u03c3", "\u03c2", "\u03a3"
    pairs = [("A", "a"), ("Ä", "ä"), ("é", "e\u0301"), (sigma, final), (f"Ä{capital}", f"ä{sigma}"), ("\u017f", "s")]
    for number, (first, second) in enumerate([*pairs, ("\u212a", "k"), ("ß", "\u1e9e")]):
        for ending in ("", "/x", "/y"):
            archive = tar_of(work / f"{number}.tar", (first + ending[:2], b"1"), (second + ending.replace("x", "z"), b"2"))
            assert "case or accents" in refused(archive, work)
    opened(tar_of(work / "a.tar", (sigma, b"1"), ("s", b"2"), ("ß", b"3"), ("é", b"4"), ("e", b"5"))).extract(
        os.fsencode(work / "two")
    )


def test_verifying_tells_of_all_that_extraction_would_refuse(work: Path) -> None:
    kinds = [special("d", tarfile.CHRTYPE), special("f", tarfile.FIFOTYPE), special("l", tarfile.SYMTYPE, "..")]
    for number, member in enumerate(kinds):
        archive = opened(tar_of(work / f"{number}.tar", ("good", b"1"), member))
        report = archive.extract(os.fsencode(work / f"{number}"))
        [(name, reason)] = report.skipped
        [warning] = archive.verify().warnings
        assert "would refuse 1" in warning
        assert f"`{name}`: {reason.partition(':')[0]}" in warning


def test_one_path_in_two_spellings_is_one_path(work: Path) -> None:
    refused(zip_of(work / "bad.zip", ("a/b", b"1"), ("a//./b", b"2")), work)


def test_a_file_that_is_also_a_folder_is_refused(work: Path) -> None:
    refused(zip_of(work / "bad.zip", ("a", b"1"), ("a/b", b"2")), work)
    refused(tar_of(work / "bad.tar", ("a/b", b"1"), ("a", b"2")), work)


def test_members_that_share_bytes_are_refused(work: Path) -> None:
    archive = zip_of(work / "bad.zip", ("a", b"1" * 100), ("b", b"2" * 100))
    patched(archive, lambda content: put(content, record_at(content, 1) + 42, "<I", 0))
    with pytest.raises(vhpack.CorruptArchiveError, match="overlaps"):
        opened(archive)


@pytest.mark.parametrize(
    ("field", "form", "value", "said"),
    [
        (10, "<H", 8, "method"),
        (16, "<I", 7, "CRC"),
        (24, "<I", 99, "sizes differ"),
        (8, "<H", 1, "encrypted"),
        (10, "<H", 12, "method 12"),
        (46, "<B", ord("x"), "name"),
    ],
)
def test_a_directory_that_contradicts_the_local_header_is_refused(
    work: Path, field: int, form: str, value: int, said: str
) -> None:
    archive = zip_of(work / "bad.zip", ("a", b"1" * 100))
    patched(archive, lambda content: put(content, record_at(content) + field, form, value))
    reader = opened(archive)
    with pytest.raises((vhpack.CorruptArchiveError, vhpack.UnsupportedArchiveError), match=said):
        reader.read(reader.names()[0])
    [(_, offset, reason)] = reader.verify().damaged
    assert offset == 0
    assert said in reason


@pytest.mark.parametrize(
    ("field", "form", "value"), [(10, "<H", 9), (8, "<H", 0), (12, "<I", 5), (16, "<I", 1), (4, "<H", 1), (12, "<I", 1 << 31)]
)
def test_an_end_record_that_lies_is_refused(work: Path, field: int, form: str, value: int) -> None:
    archive = zip_of(work / "bad.zip", ("a", b"1"), ("b", b"2"))
    patched(archive, lambda content: put(content, content.index(b"PK\x05\x06") + field, form, value))
    with pytest.raises((vhpack.CorruptArchiveError, vhpack.UnsupportedArchiveError), match=r"bad\.zip"):
        opened(archive)


def test_a_bomb_is_refused_before_it_fills_a_disk(work: Path, small_disk: Path) -> None:
    with zipfile.ZipFile(work / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as writer, writer.open("zeros", "w") as member:
        for _ in range(1100):
            member.write(bytes(1 << 20))
    bomb = opened(work / "bomb.zip")
    assert [member.size for member in bomb.members()] == [1100 << 20]
    for dest in (small_disk, small_disk / "not/yet"):
        with pytest.raises(vhpack.LimitExceededError, match=r"half of the disk .*--unsafe-limits"):
            bomb.extract(os.fsencode(dest))
    assert os.listdir(small_disk) == []
    with pytest.raises(vhpack.NoSpaceError):
        opened(work / "bomb.zip", max_ratio=0).extract(os.fsencode(small_disk))
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize("target", ["zeros.zip", "zeros.tar.gz", "zeros.tar.zst"])
def test_zeros_that_were_packed_come_out_again(target: str, work: Path) -> None:
    size = 1100 << 20
    with (work / "zeros").open("wb") as file:
        file.truncate(size)
    report = vhpack.pack("zeros", target)
    assert size / report.bytes_out > 200, "as dense as a bomb"
    with vhpack.open(target) as archive:
        assert archive.names() == ["zeros"]
        assert archive._native().verify().ok
        with archive.open("zeros") as member:
            assert (member.seek(-3, os.SEEK_END), member.read()) == (size - 3, bytes(3))
        assert archive.extract("out").bytes == size
    assert (work / "out/zeros").stat().st_size == size


def test_a_size_without_bytes_takes_no_memory(work: Path) -> None:
    header = tarfile.TarInfo("huge")
    header.size = 1 << 50
    (work / "bad.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(vhpack.PackError, match="huge"):
        opened(work / "bad.tar")


def test_many_names_of_one_hash_or_none_are_no_trouble(work: Path) -> None:
    archive = opened(zip_of(work / "empty.zip"))
    assert (len(archive), archive.names(), archive.contains("")) == (0, [], False)
    (work / "empty").write_bytes(b"")
    with pytest.raises(vhpack.UnsupportedArchiveError, match="no archive"):
        opened(work / "empty")
    with pytest.raises(FileNotFoundError, match="cannot open"):
        opened(work / "missing.zip")
    with pytest.raises(vhpack.UnsupportedArchiveError, match="a folder"):
        opened(work)
