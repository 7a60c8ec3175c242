"""What headers of tars say beside the plain case: global times, taken-back values, links with data, volumes, unknown kinds."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.read.archives import opened, tar_of
from tests.engine.read.test_sparse import BLOCK, D, block, padded
from tests.engine.trees import noise

USTAR = b"ustar\x0000"
END = bytes(2 * BLOCK)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n"
    length = len(text)
    while len(f"{length}{text}") != length:
        length = len(f"{length}{text}")
    return f"{length}{text}".encode()


def pax(flag: bytes, *records: tuple[str, str]) -> bytes:
    text = b"".join(record(key, value) for key, value in records)
    return block(b"pax", flag, len(text), magic=USTAR) + padded(text)


def file(name: bytes, content: bytes = b"", flag: bytes = b"0", link: bytes = b"") -> bytes:
    head = bytearray(block(name, flag, len(content), magic=USTAR))
    head[157 : 157 + len(link)] = link
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + padded(content)


def written(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts) + END)
    return path


def test_a_global_time_is_that_of_all_who_have_none_of_their_own(work: Path) -> None:
    path = written(
        work / "a.tar",
        file(b"before"),
        pax(b"g", ("mtime", "1000.5"), ("comment", "of nobody")),
        file(b"after"),
        pax(b"x", ("mtime", "7")) + file(b"own"),
        pax(b"x", ("mtime", "")) + file(b"taken back"),
        pax(b"g", ("mtime", "")),
        file(b"last"),
    )
    times = {member.name: member.mtime for member in opened(path).members()}
    assert times == {"before": 0, "after": 1000.5, "own": 7, "taken back": 0, "last": 0}


def test_times_that_gnu_tar_writes_for_all_are_those_that_it_restores(work: Path) -> None:
    needs("tar")
    (work / "tree").mkdir()
    (work / "tree/file").write_bytes(b"content")
    subprocess.run(["tar", "--format=posix", "--pax-option=mtime=1000", "-cf", "a.tar", "tree/file"], check=True)
    with tarfile.open("a.tar") as theirs:
        assert "mtime" in theirs.pax_headers
        assert opened(work / "a.tar").member("tree/file").mtime == theirs.getmember("tree/file").mtime


def test_an_empty_value_takes_back_what_was_said_before(work: Path) -> None:
    records = ("path", "other"), ("path", ""), ("size", "9"), ("size", ""), ("linkpath", "x"), ("linkpath", "")
    archive = opened(written(work / "a.tar", pax(b"x", *records) + file(b"name", b"abc")))
    assert (archive.names(), archive.read("name")) == (["name"], b"abc")


def test_what_pax_says_of_a_name_counts_more_than_what_gnu_says(work: Path) -> None:
    needs("tar")
    for number, pair in enumerate([("x", "L"), ("L", "x")]):
        parts = {"x": pax(b"x", ("path", "by pax")), "L": file(b"long", b"by gnu\0", b"L")}
        path = written(work / "a.tar", *(parts[flag] for flag in pair), file(b"name", b"abc"))
        assert opened(path).names() == ["by pax"]
        (work / str(number)).mkdir()
        subprocess.run(["tar", "-xf", path, "-C", str(number)], check=True)
        assert os.listdir(work / str(number)) == ["by pax"]


def test_a_file_whose_name_ends_with_a_slash_keeps_its_bytes(work: Path) -> None:
    path = written(work / "a.tar", file(b"name/", b"abc"), file(b"old/", flag=b"\0"), file(b"last", b"end"))
    archive = opened(path)
    with tarfile.open(path) as theirs:
        member = theirs.extractfile(theirs.getmembers()[0])
        assert member is not None
        assert archive.read("name/") == member.read() == b"abc"
    assert (archive.names(), archive.member("old/").kind) == (["name/", "last"], "directory")
    assert (archive.extract(os.fsencode(work / "out")).files, archive.verify().ok) == (2, True)
    assert (work / "out/name").read_bytes() == b"abc"
    with pytest.raises(vhpack.UnsafeMemberError, match="also"):
        opened(written(work / "b.tar", file(b"name/", b"abc"), file(b"name/inside"))).extract(os.fsencode(work / "both"))


def test_a_hard_link_with_bytes_is_the_file_that_it_is(work: Path) -> None:
    path = written(
        work / "a.tar",
        file(b"first", b"abc"),
        file(b"with bytes", b"abc", b"1", b"first"),
        file(b"of another archive", D * 3, b"1", b"not here"),
        file(b"without bytes", b"", b"1", b"first"),
        file(b"last", b"end"),
    )
    archive = opened(path)
    wanted = {"first": b"abc", "with bytes": b"abc", "of another archive": D * 3, "without bytes": b"abc", "last": b"end"}
    assert {name: archive.read(name) for name in archive.names()} == wanted
    assert archive.verify().ok
    archive.extract(os.fsencode(work / "out"))
    assert {name: (work / "out" / name).read_bytes() for name in wanted} == wanted


def test_links_find_what_was_named_with_a_dot_in_front_or_without(work: Path) -> None:
    """As in Python's own test archive: who adds to a tar may stand elsewhere, or write the other."""
    path = written(
        work / "a.tar",
        file(b"d/first", b"1"),
        file(b"./d/second", b"2"),
        file(b"./hard", flag=b"1", link=b"./d/first"),
        file(b"hard2", flag=b"1", link=b"d/second"),
        file(b"./soft", flag=b"2", link=b"d/first"),
        file(b"soft2", flag=b"2", link=b"d/second"),
        file(b"d/first", b"3"),
        file(b"last", flag=b"1", link=b"./d/first"),
        file(b"lost", flag=b"1", link=b"./d/none"),
    )
    archive = opened(path)
    with tarfile.open(path) as reader:
        for name, content in {"./hard": b"1", "hard2": b"2", "last": b"3"}.items():
            held = reader.extractfile(name)
            assert held is not None
            assert archive.read(name) == content == held.read()
    assert (archive.read("./soft"), archive.read("soft2")) == (b"3", b"2")
    assert (archive.contains("./soft"), archive.contains("lost")) == (True, False)
    archive.extract(os.fsencode(work / "out"))
    assert [(work / "out" / name).read_bytes() for name in ("hard", "hard2", "last")] == [b"1", b"2", b"3"]


def test_a_hard_link_that_states_a_size_and_has_no_bytes_is_a_link_as_for_gnu_tar(work: Path) -> None:
    """GNU tar's own old archives have them; what follows is the next header, and no content."""
    stated = file(b"link", b"x" * 1000, b"1", b"first")[:BLOCK]
    for behind in (file(b"last", b"end"), pax(b"x", ("path", "last")) + file(b"l", b"end"), b""):
        path = written(work / "a.tar", file(b"first", b"abc"), stated, behind)
        archive = opened(path)
        assert archive.read("link") == b"abc"
        assert archive.names() == ["first", "link", *(["last"] if behind else [])]
        with tarfile.open(path) as theirs:
            assert theirs.getnames() == archive.names()


def test_a_hard_link_to_nothing_takes_no_name_away(work: Path) -> None:
    """GNU tar, too, says that it cannot make the link, and leaves what there is."""
    needs("tar")
    lost = file(b"name", flag=b"1", link=b"none") + file(b"name", flag=b"1", link=b"nor this")
    for kind, before in (("file", file(b"name", b"abc")), ("link", file(b"name", flag=b"2", link=b"last"))):
        path = written(work / "a.tar", before, lost, file(b"last", b"end"), file(b"again", flag=b"1", link=b"gone"))
        archive = opened(path)
        assert archive.names() == (["name", "last"] if kind == "file" else ["last"])
        assert (len(archive), archive.member("name").kind) == (len(archive.names()), kind)
        assert archive.read("name") == (b"abc" if kind == "file" else b"end")
        report = archive.extract(os.fsencode(work / kind))
        assert [name for name, _ in report.skipped] == ["name", "name", "again"]
        assert (report.refused, report.warnings) == (3, [])
        (work / f"{kind} by tar").mkdir()
        subprocess.run(["tar", "-xf", path, "-C", f"{kind} by tar"], capture_output=True)
        for folder in (work / kind, work / f"{kind} by tar"):
            assert (folder / "name").read_bytes() == archive.read("name")
        assert "`name`: a hard link to no file" in archive.verify().warnings[0]
    # Where a file comes later, the link is nothing that anybody misses.
    archive = opened(written(work / "a.tar", lost, file(b"name", b"abc")))
    assert (archive.read("name"), archive.verify().warnings) == (b"abc", [])
    assert archive.extract(os.fsencode(work / "later")).refused == 0


@pytest.mark.parametrize("flag", ["gnu", "posix"])
def test_a_later_volume_is_refused_and_a_first_one_is_cut_short(flag: str, work: Path) -> None:
    needs("tar")
    (work / "large").write_bytes(noise(60_000, 1))
    (work / "small").write_bytes(b"content")
    command = ["tar", f"--format={flag}", "-M", "-L", "40", "-cf", "1.tar", "-f", "2.tar", "-f", "3.tar", "small", "large"]
    subprocess.run(command, check=True, capture_output=True)
    first = vhpack.open("1.tar")
    assert first["small"] == b"content"
    assert [name for name, *_ in first.verify().damaged][:1] == ["large"]
    with pytest.raises(vhpack.CorruptArchiveError, match="`large` at offset"):
        first["large"]
    with pytest.raises(vhpack.UnsupportedArchiveError, match=r"2\.tar.* at offset \d+: .*tar -xM"):
        vhpack.open("2.tar")


def test_what_nobody_knows_is_a_file_as_for_other_readers(work: Path) -> None:
    needs("tar")
    path = written(work / "a.tar", file(b"odd", b"content", b"Z"), file(b"contiguous", b"more", b"7"))
    report = opened(path).extract(os.fsencode(work / "ours"))
    assert (report.files, report.refused) == (2, 0)
    (work / "theirs").mkdir()
    subprocess.run(["tar", "-xf", "a.tar", "-C", "theirs"], check=True, capture_output=True)
    for name in ("odd", "contiguous"):
        assert (work / "ours" / name).read_bytes() == (work / "theirs" / name).read_bytes()


def star(stretches: list[tuple[int, int]], size: int, data: bytes, *, in_header: bool = True) -> bytes:
    """A sparse member as star writes it: its map stands elsewhere in the header than GNU's, or behind it."""
    entries = [b"%011o %011o " % stretch for stretch in stretches]
    head = bytearray(block(b"sparse", b"S", len(data), magic=USTAR))
    here = entries[:4] if in_header else []
    rest = entries[len(here) :]
    for at, field in (
        (345, b"" if in_header else b"folder"),
        (355, bytes([bool(rest)]) if in_header else b""),
        (356, b"".join(here)),
        (452, b"%011o " % size),
        (476, b"%011o %011o " % (0, 0)),
        (508, b"tar\0"),
    ):
        head[at : at + len(field)] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    tar = bytes(head)
    for at in range(0, len(rest), 21):
        tar += padded(b"".join(rest[at : at + 21]).ljust(504, b"\0") + bytes([at + 21 < len(rest)]))
    return tar + padded(data)


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (star([(0, 512), (1024, 512), (4096, 0)], 4096, D + D), "sparse"),
        (star([*((at * 1024, 512) for at in range(40)), (40_960, 0)], 40_960, D * 40), "sparse"),
        (star([(512, 512), (4096, 0)], 4096, D, in_header=False), "folder/sparse"),
    ],
    ids=["in the header", "behind it", "with a long name"],
)
def test_sparse_files_of_star_are_those_that_gnu_tar_finds(member: bytes, name: str, work: Path) -> None:
    needs("tar")
    path = written(work / "a.tar", file(b"first", b"abc"), member, file(b"last", b"end"))
    subprocess.run(["tar", "-xf", path], check=True, cwd=work)
    archive = opened(path)
    assert archive.names() == ["first", name, "last"]
    assert archive.read(name) == (work / name).read_bytes()
    assert archive.verify().ok


def test_archives_of_nothing_are_mappings_of_nothing(work: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w"):
        pass
    (work / "a.tar").write_bytes(buffer.getvalue())
    for name, command in {"a.tar.gz": "gzip -k a.tar", "a.tar.zst": "zstd -q a.tar", "b.tar": "cp a.tar b.tar"}.items():
        needs(command.split()[0])
        subprocess.run(command.split(), check=True)
        with vhpack.open(name) as archive:
            assert (len(archive), list(archive), "" in archive, archive.glob("**")) == (0, [], False, [])
            assert archive.verify().ok
            assert archive.extract("out").files == 0


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tail_of_zeros_that_no_writer_leaves_is_told(suffix: str, work: Path) -> None:
    content = tar_of(work / "all.tar", ("a", b"1"), ("b", b"2")).read_bytes()
    cut = content[:1024]  # all of a, and where b's header should be, zeros up to the length that the file would have
    for zeros, is_told in ((10_240, False), (1 << 20, False), (2 << 20, True)):
        path = work / f"bad.{suffix}"
        path.write_bytes((gzip.compress if suffix == "tar.gz" else bytes)(cut + bytes(zeros)))
        archive = opened(path)
        assert [*archive.names()] == ["a"]
        report = archive.verify()
        assert report.ok, "nobody knows whether there was more"
        assert any("may never have been written" in line for line in report.warnings) == is_told
        assert report.warnings == archive.warnings
