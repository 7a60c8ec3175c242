"""Archives of other writers: the same members, bytes, times and modes as their own readers see."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.read.archives import link_in_zip, opened, patched, put, special, tar_of, zip_of
from tests.engine.trees import noise, prose, write_tree

KIB = 1 << 10

TREE = {
    "a.txt": prose(3000),
    "empty": b"",
    "folder/noise.bin": noise(70 * KIB),
    "folder/deep/er/long.txt": prose(300 * KIB),
    "folder/" + "n" * 120 + "/" + "m" * 120: b"long name",
    "ünïcode/ñame": b"unicode",
}

WRITERS = {
    "zip": "cd tree && zip -qr ../made.zip .",
    "zip stored": "cd tree && zip -qr0 ../made.zip .",
    "7z": "cd tree && 7z a -bd -tzip ../made.zip . > /dev/null",
    "bsdtar zip": "cd tree && bsdtar --format zip -cf ../made.zip *",
    "jar": "cd tree && jar cfM ../made.zip *",
    "jar stored": "cd tree && jar cfM0 ../made.zip *",
    "gnu tar": "tar -C tree --format=gnu -cf made.tar .",
    "pax tar": "tar -C tree --format=pax -cf made.tar .",
    "bsdtar": "bsdtar -C tree -cf made.tar .",
    "gzip": "tar -C tree -czf made.tar.gz .",
    "gzip in two members": "tar -C tree -cf made.tar . && split -b 100000 made.tar part && gzip part* && cat part*.gz > made.tar.gz && rm made.tar",
    "zstd": "tar -C tree -cf - . | zstd -q -o made.tar.zst",
    "zstd in two frames": "tar -C tree -cf made.tar . && split -b 100000 made.tar part && zstd -q part* && cat part*.zst > made.tar.zst && rm made.tar",
}


@pytest.fixture
def made(work: Path, request: pytest.FixtureRequest) -> Path:
    """The archive that one writer makes of the tree."""
    command = WRITERS[request.param]
    needs(*({"zip", "7z", "bsdtar", "jar", "tar", "gzip", "zstd"} & set(command.replace("&&", " ").split())))
    write_tree(work / "tree", TREE)
    (work / "tree" / "a.txt").chmod(0o640)
    subprocess.run(command, shell=True, check=True, cwd=work)
    [found] = work.glob("made.*")
    return found


def names(archive: vhpack._engine.Archive) -> dict[str, str]:
    """The archive's spelling of each name: tars of `.` begin with `./`."""
    return {name.removeprefix("./"): name for name in archive.names()}


@pytest.mark.parametrize("made", WRITERS, indirect=True)
def test_members_of_every_writer_are_read(made: Path) -> None:
    archive = opened(made)
    spelled = names(archive)

    assert set(spelled) == set(TREE)
    assert len(archive) == len(TREE)
    for name, content in TREE.items():
        assert archive.contains(spelled[name])
        assert archive.read(spelled[name]) == content
        assert archive.member(spelled[name]).size == len(content)
    assert archive.read_many([spelled[name] for name in TREE]) == list(TREE.values())
    report = archive.verify()
    assert (report.ok, report.damaged, report.warnings) == (True, [], [])
    assert report.files == len(TREE)


@pytest.mark.parametrize("made", WRITERS, indirect=True)
def test_what_every_writer_packed_is_extracted(made: Path, work: Path) -> None:
    report = opened(made).extract(os.fsencode(work / "out"))

    assert report.files == len(TREE)
    assert report.bytes == sum(map(len, TREE.values()))
    for name, content in TREE.items():
        path = work / "out" / name
        assert path.read_bytes() == content
        if made.suffix != ".zip":
            assert path.stat().st_mtime == pytest.approx((work / "tree" / name).stat().st_mtime, abs=1)
    if made.suffix != ".zip":
        assert stat.S_IMODE((work / "out" / "a.txt").stat().st_mode) == 0o640


def test_tarfile_and_the_engine_agree_on_every_field(work: Path) -> None:
    write_tree(work / "tree", TREE)
    (work / "tree" / "link").symlink_to("a.txt")
    os.link(work / "tree" / "a.txt", work / "tree" / "z-hard")
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(work / "made.tar", "w", format=form) as writer:
            writer.add(work / "tree", "tree")
        with tarfile.open(work / "made.tar") as reader:
            expected = {member.name: member for member in reader}
        found = {member.name.rstrip("/"): member for member in opened(work / "made.tar").members()}
        assert list(found) == list(expected)
        for name, member in expected.items():
            ours = found[name]
            assert (ours.offset, ours.mode, ours.link or "") == (member.offset, member.mode, member.linkname)
            assert ours.mtime == pytest.approx(member.mtime)
            kinds = {"file": member.isreg(), "directory": member.isdir(), "link": member.issym(), "hardlink": member.islnk()}
            assert kinds[ours.kind]


def test_zipfile_and_the_engine_agree_on_every_field(work: Path) -> None:
    write_tree(work / "tree", TREE)
    with zipfile.ZipFile(work / "made.zip", "w", zipfile.ZIP_DEFLATED) as writer:
        for name in TREE:
            writer.write(work / "tree" / name, name)
    with zipfile.ZipFile(work / "made.zip") as reader:
        for theirs, ours in zip(reader.infolist(), opened(work / "made.zip").members(), strict=True):
            assert (ours.name, ours.size, ours.packed) == (theirs.filename, theirs.file_size, theirs.compress_size)
            assert (ours.crc32, ours.offset, ours.codec) == (theirs.CRC, theirs.header_offset, "deflate")
            assert ours.mode == theirs.external_attr >> 16 & 0o7777


def test_a_jar_with_a_manifest_that_was_updated_reads_as_zipfile_has_it(work: Path) -> None:
    needs("jar")
    write_tree(work / "tree", TREE)
    subprocess.run(["jar", "cfe", "a.jar", "some.Main", "-C", "tree", "."], check=True)
    (work / "tree/a.txt").write_bytes(b"other")
    (work / "more").write_bytes(noise(40 * KIB))
    subprocess.run(["jar", "uf", "a.jar", "more", "-C", "tree", "a.txt"], check=True)
    with zipfile.ZipFile("a.jar") as theirs, vhpack.open("a.jar") as ours:
        wanted = {member.filename: theirs.read(member) for member in theirs.infolist() if not member.is_dir()}
        assert {"META-INF/MANIFEST.MF", "more", "a.txt"} < set(wanted)
        assert [member.name for member in ours.members()] == theirs.namelist()
        assert dict(ours) == wanted
        assert ours.read_many(ours.names()) == list(ours.values())
        for name, content in wanted.items():
            with ours.open(name) as file:
                half = len(content) // 2
                assert (file.seek(half), file.read(), file.seek(0), file.read(half)) == (half, content[half:], 0, content[:half])
        report = ours.verify()
        assert (report.ok, report.warnings) == (True, [])
        ours.extract("back")
        assert {name: (work / "back" / name).read_bytes() for name in wanted} == wanted


def test_zip64_and_descriptors_and_bytes_in_front(work: Path) -> None:
    class Pipe(io.RawIOBase):
        """Cannot seek, so zipfile writes descriptors."""

        def __init__(self, path: Path) -> None:
            self.file = path.open("wb")

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            return self.file.write(data)

    pipe = Pipe(work / "made.zip")
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as writer:
        for name in ("a", "b"):
            with writer.open(name, "w", force_zip64=name == "b") as member:
                member.write(prose(5000))
    pipe.file.close()
    archive = opened(work / "made.zip")
    assert archive.read("a") == archive.read("b") == prose(5000)
    assert archive.verify().ok

    (work / "prefixed.zip").write_bytes(b"#!/bin/sh\nexit\n" + (work / "made.zip").read_bytes())
    prefixed = opened(work / "prefixed.zip")
    assert prefixed.read("b") == prose(5000)
    assert prefixed.member("a").offset == 15
    report = prefixed.verify()
    assert report.ok
    assert "15 bytes stand in front" in report.warnings[0]


def test_seventy_thousand_members_with_a_comment(work: Path) -> None:
    with zipfile.ZipFile(work / "many.zip", "w") as writer:
        for number in range(70_000):
            writer.writestr(f"{number:05}", str(number))
        writer.comment = b"a comment with PK\x05\x06 in it"
    archive = opened(work / "many.zip")
    assert len(archive) == 70_000
    for number in random.Random(1).sample(range(70_000), 500):
        assert archive.read(f"{number:05}") == str(number).encode()
    assert archive.glob("0000?") == [f"{number:05}" for number in range(10)]


@pytest.mark.parametrize("kind", ["stored", "deflated", "tar", "tar.gz"])
def test_portions_come_from_any_position(work: Path, kind: str) -> None:
    content = prose(400 * KIB)
    path = work / "a"
    if kind.startswith("tar"):
        tar_of(path, ("first", noise(5 * KIB)), ("m", content))
        if kind == "tar.gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED) as writer:
            writer.writestr("m", content)
    archive = opened(path)
    reader = archive.open("m")
    for offset, length in ((0, 100), (100, 70_000), (300_000, 10), (5, 200_000), (len(content) - 3, 100), (1 << 60, 1)):
        assert reader.read_at(offset, length) == content[offset : offset + length]
        assert archive.read_range("m", offset, length) == content[offset : offset + length]


def test_one_archive_serves_threads_and_forked_processes(work: Path) -> None:
    contents = {f"{number:03}": noise(3000 + number, number) for number in range(200)}
    archive = opened(zip_of(work / "a.zip", *contents.items()))
    wrong: list[str] = []

    def look(seed: int) -> None:
        chosen = random.Random(seed).choices(list(contents), k=500)
        wrong.extend(name for name in chosen if archive.read(name) != contents[name])

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        look(9)
        os._exit(bool(wrong))
    for thread in threads:
        thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wrong == []


def test_patterns_names_and_strip_choose_what_is_extracted(work: Path) -> None:
    archive = opened(zip_of(work / "a.zip", ("top/a.png", b"1"), ("top/b.txt", b"2"), ("top/in/c.png", b"3"), ("d.png", b"4")))

    archive.extract(os.fsencode(work / "one"), patterns=["**/*.png"])
    archive.extract(os.fsencode(work / "two"), names=["top/b.txt"], strip=1)
    archive.extract(os.fsencode(work / "three"), strip=1)

    def files(folder: str) -> list[str]:
        return sorted(str(path.relative_to(work / folder)) for path in (work / folder).rglob("*") if path.is_file())

    assert files("one") == ["d.png", "top/a.png", "top/in/c.png"]
    assert files("two") == ["b.txt"]
    assert files("three") == ["a.png", "b.txt", "in/c.png"]
    assert [member.name for member in archive.members(["top/*"])] == ["top/a.png", "top/b.txt"]
    with pytest.raises(KeyError, match="no member `none`"):
        archive.extract(os.fsencode(work / "four"), names=["none"])
    assert not (work / "four").exists()


def test_existing_files_are_refused_kept_or_replaced(work: Path) -> None:
    archive = opened(zip_of(work / "a.zip", ("a", b"new"), ("b", b"new")))
    (work / "out").mkdir()
    (work / "out" / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="out/b"):
        archive.extract(os.fsencode(work / "out"))
    assert not (work / "out" / "a").exists()

    report = archive.extract(os.fsencode(work / "out"), existing="skip")
    assert (report.files, len(report.skipped), (work / "out" / "b").read_bytes()) == (1, 1, b"old")

    archive.extract(os.fsencode(work / "out"), existing="overwrite")
    assert (work / "out" / "b").read_bytes() == b"new"
    assert sorted(os.listdir(work / "out")) == ["a", "b"]


def test_a_full_disk_leaves_no_half_file(work: Path, small_disk: Path) -> None:
    archive = opened(zip_of(work / "a.zip", *((f"{number:02}", noise(100 * KIB)) for number in range(20))))
    with pytest.raises(vhpack.NoSpaceError, match="files were extracted"):
        archive.extract(os.fsencode(small_disk / "out"))
    assert {path.stat().st_size for path in (small_disk / "out").iterdir()} == {100 * KIB}


def test_damage_is_listed_with_name_place_and_reason(work: Path) -> None:
    zip_of(work / "a.zip", ("good", b"1" * 50), ("bad", b"2" * 50), ("fine", b"3" * 50))
    content = (work / "a.zip").read_bytes()
    (work / "a.zip").write_bytes(content.replace(b"2" * 50, b"2" * 49 + b"x", 1))
    report = opened(work / "a.zip").verify()
    [(name, offset, reason)] = report.damaged
    assert (name, offset, report.ok) == ("bad", content.index(b"PK\x03\x04", 1), False)
    assert "CRC" in reason
    with pytest.raises(vhpack.CorruptArchiveError, match="`bad` at offset 84"):
        opened(work / "a.zip").extract(os.fsencode(work / "out"))
    assert not (work / "out" / "bad").exists()


def test_hidden_bytes_are_told(work: Path) -> None:
    zip_of(work / "a.zip", ("a", b"1"), ("b", b"2"))
    content = (work / "a.zip").read_bytes()
    (work / "a.zip").write_bytes(content + b"trailing")
    [warning] = opened(work / "a.zip").verify().warnings
    assert "8 bytes follow" in warning
    end = content.index(b"PK\x05\x06")
    directory, length = struct.unpack_from("<II", content, end + 12)[::-1]
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, length, directory)
    for hidden, at_end in (
        ((b"hidden", b""), b""),
        ((b"hidden", b""), wide + struct.pack("<4sIQI", b"PK\x06\x07", 0, end + 6, 1)),
        ((b"", b"hidden"), wide + b"hidden" + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)),
    ):
        (work / "a.zip").write_bytes(content[:end] + hidden[0] + at_end + content[end:])
        archive = opened(work / "a.zip")
        assert [archive.read(name) for name in archive.names()] == [b"1", b"2"]
        report = archive.verify()
        assert (report.ok, report.warnings) == (True, ["6 bytes in 1 places belong to no member."])


def test_a_file_that_vanishes_while_it_is_open_can_still_be_read(work: Path) -> None:
    archive = opened(zip_of(work / "a.zip", ("a", b"1")))
    shutil.move(work / "a.zip", work / "b.zip")
    assert archive.read("a") == b"1"
    (work / "b.zip").write_bytes(b"")
    with pytest.raises(vhpack.CorruptArchiveError, match="changed since"):
        archive.read("a")


def test_hard_links_read_as_what_they_lead_to(work: Path) -> None:
    write_tree(work / "tree", {"a": b"content"})
    os.link(work / "tree" / "a", work / "tree" / "b")
    subprocess.run(["tar", "-cf", "a.tar", "-C", "tree", "a", "b"], check=True, cwd=work)
    archive = opened(work / "a.tar")
    assert (archive.names(), archive.contains("b"), archive.member("b").link) == (["a", "b"], True, "a")
    assert (len(archive), archive.glob("*"), archive.verify().files) == (2, ["a", "b"], 2)
    assert archive.read("b") == b"content"
    assert archive.read_many(["b", "a"]) == [b"content"] * 2


def test_a_hard_link_has_the_bytes_that_its_target_had_when_it_was_packed(work: Path) -> None:
    hard = [special(name, tarfile.LNKTYPE, target) for name, target in (("b", "a"), ("c", "b"), ("d", "later"), ("e", "link"))]
    link = special("link", tarfile.SYMTYPE, "a")
    path = tar_of(
        work / "a.tar", ("a", b"first"), link, *hard[:2], ("a", b"second"), special("f", tarfile.LNKTYPE, "a"), *hard[2:]
    )
    archive = opened(path)
    assert [archive.read(name) for name in "abcf"] == [b"second", b"first", b"first", b"second"]
    assert archive.names() == ["b", "c", "a", "f"]
    assert (archive.member("e").kind, archive.member("e").link) == ("link", "a"), "a link to a link is that link"
    for dangling in "d":
        assert not archive.contains(dangling)
        with pytest.raises(vhpack.UnsupportedArchiveError, match="leads to no file"):
            archive.read(dangling)


def test_symbolic_links_read_as_the_file_that_they_lead_to(work: Path) -> None:
    links = {"a/up": "../b", "a/twice": "up", "out": "/b", "above": "../b", "none": "c", "round": "round", "folder": "a"}
    for form in ("zip", "tar", "dotted tar"):
        if form == "zip":
            path = zip_of(work / "a.zip", ("b", b"content"), *(link_in_zip(name, target) for name, target in links.items()))
        else:
            dot = "./" if form == "dotted tar" else ""
            symbolic = [special(dot + name, tarfile.SYMTYPE, target) for name, target in links.items()]
            path = tar_of(work / "a.tar", (dot + "b", b"content"), *symbolic)
        archive, dot = opened(path), "./" if form == "dotted tar" else ""
        assert [archive.read(dot + name) for name in ("a/up", "a/twice")] == [b"content"] * 2
        assert archive.open(dot + "a/up").read_at(3, 9) == b"tent"
        assert archive.names() == [dot + "b"]
        for name in ("out", "above", "none", "round", "folder"):
            with pytest.raises(vhpack.UnsupportedArchiveError, match="link"):
                archive.read(dot + name)


def test_a_file_that_gnu_tar_was_given_twice_is_one_member(work: Path) -> None:
    write_tree(work / "d", {"a": b"content", "b": b"other"})
    os.link(work / "d" / "b", work / "d" / "c")
    subprocess.run(["tar", "-cf", "dup.tar", "d", "d/a", "d/c"], check=True, cwd=work)
    assert (
        "link to d/a" in subprocess.run(["tar", "-tvf", "dup.tar"], check=True, cwd=work, capture_output=True, text=True).stdout
    )
    archive = opened(work / "dup.tar")
    assert sorted(archive.names()) == ["d/a", "d/b", "d/c"]
    assert archive.extract(os.fsencode(work / "out")).files == 2
    assert (work / "out" / "d" / "a").read_bytes() == b"content"
    assert (work / "out" / "d" / "c").read_bytes() == b"other"


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_an_exception_in_progress_ends_the_call_and_leaves_whole_files(work: Path, form: str) -> None:
    content = noise(100 * KIB)
    names = [f"{number:04}" for number in range(1500)]
    if form == "zip":
        path = zip_of(work / "a.zip", *((name, content) for name in names))
    else:
        path = tar_of(work / "a.tar", *((name, content) for name in names))
        path.write_bytes(gzip.compress(path.read_bytes(), 0))
    archive = opened(path)

    class Enough(Exception):  # noqa: N818
        """Raised by the caller's own code."""

    def stop(progress: vhpack.Progress) -> None:
        if progress.files:
            raise Enough

    before = threading.active_count()
    try:
        archive.extract(os.fsencode(work / "out"), progress=stop)
    except Enough:
        assert {file.stat().st_size for file in (work / "out").iterdir()} <= {100 * KIB}
    assert threading.active_count() == before


def test_names_that_are_not_utf8_round_trip(work: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (work / "tree").mkdir()
    (work / "tree" / name).write_bytes(b"1")
    subprocess.run(["tar", "-cf", "a.tar", "-C", "tree", "."], check=True, cwd=work)
    archive = opened(work / "a.tar")
    assert archive.names() == ["./" + name]
    assert archive.read("./" + name) == b"1"
    archive.extract(os.fsencode(work / "out"))
    assert os.listdir(os.fsencode(work / "out")) == [b"caf\xe9.txt"]


def test_members_beyond_4_gib_and_behind_them(work: Path) -> None:
    size = 5 << 30
    with zipfile.ZipFile(work / "huge.zip", "w") as writer:
        hole = zipfile.ZipInfo("hole")
        hole.file_size = hole.compress_size = size
        hole.CRC = 0x12345678
        hole.header_offset = 0
        assert writer.fp is not None
        writer.fp.write(hole.FileHeader(zip64=True))
        writer.fp.seek(size, os.SEEK_CUR)
        writer.filelist.append(hole)
        writer.NameToInfo["hole"] = hole
        writer.start_dir = writer.fp.tell()
        writer.writestr("behind", b"content")
    archive = opened(work / "huge.zip")
    assert archive.member("hole").size == size
    assert archive.member("behind").offset > size
    assert archive.read("behind") == b"content"
    assert archive.read_range("hole", size - 10, 100) == bytes(10)


@pytest.mark.parametrize("length", [0, 3, 200])
def test_a_digital_signature_behind_the_directory_is_no_record(work: Path, length: int) -> None:
    archive = zip_of(work / "a.zip", ("a", b"1"))

    def signed(content: bytearray) -> None:
        end = content.index(b"PK\x05\x06")
        (directory,) = struct.unpack_from("<I", content, end + 12)
        put(content, end + 12, "<I", directory + 6 + length)
        content[end:end] = b"PK\x05\x05" + struct.pack("<H", length) + b"s" * length

    reader = opened(patched(archive, signed))
    assert (reader.names(), reader.read("a"), reader.verify().ok) == (["a"], b"1", True)


@pytest.mark.parametrize(("name", "field"), [("?.txt", "é.txt"), ("safe.txt", "other.txt"), ("plain.txt", "")])
def test_names_are_those_that_unzip_takes_from_the_unicode_field(work: Path, name: str, field: str) -> None:
    needs("unzip")
    member = zipfile.ZipInfo(name)
    content = field.encode()
    member.extra = struct.pack("<HHBI", 0x7075, 5 + len(content), 1, zlib.crc32(name.encode())) + content
    archive = zip_of(work / "a.zip", (member, b"1"))
    listed = subprocess.run(["unzip", "-Z1", archive], capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=True)
    assert opened(archive).names() == [listed.stdout.decode().rstrip("\n")] == [field or name]
