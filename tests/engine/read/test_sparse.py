"""Maps of sparse files that lie: each ends in an error that names the member and its offset, and costs no memory."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.engine.read.archives import opened

BLOCK = 512


def block(name: bytes, flag: bytes, size: int, old: bytes = b"", magic: bytes = b"ustar  \0") -> bytes:
    """A header; what GNU's old form has of a map stands from byte 386 on."""
    head = bytearray(BLOCK)
    for at, field in (
        (0, name),
        (100, b"0000644\0"),
        (124, b"%011o\0" % size),
        (136, b"%011o\0" % 0),
        (148, b" " * 8),
        (156, flag),
        (257, magic),
        (386, old),
    ):
        head[at : at + len(field)] = field
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def old_map(stretches: list[tuple[int, int]], size: int, more: bool = False) -> bytes:
    entries = b"".join(b"%011o\0%011o\0" % stretch for stretch in stretches[:4])
    return entries.ljust(96, b"\0") + bytes([more]) + b"%011o\0" % size


def old(stretches: list[tuple[int, int]], size: int, data: bytes) -> bytes:
    """A member in GNU's old form."""
    rest = [stretches[at : at + 21] for at in range(4, len(stretches), 21)]
    tar = block(b"bad", b"S", len(data), old_map(stretches, size, bool(rest)))
    for number, part in enumerate(rest, 1):
        entries = b"".join(b"%011o\0%011o\0" % stretch for stretch in part).ljust(504, b"\0")
        tar += padded(entries + bytes([number < len(rest)]))
    return tar + padded(data)


def pax(data: bytes, *records: tuple[str, object], flag: bytes = b"0") -> bytes:
    """A member with pax records of GNU.sparse."""
    text = b""
    for key, value in records:
        record = f" GNU.sparse.{key}={value}\n".encode()
        length = len(record) + len(str(len(record) + 3))
        text += str(length).encode() + record
        assert len(str(length).encode() + record) == length
    head = block(b"pax", b"x", len(text), magic=b"ustar\x0000") + padded(text)
    return head + block(b"bad", flag, len(data), magic=b"ustar\x0000") + padded(data)


def one(data: bytes, size: int = 4096, *more: tuple[str, object]) -> bytes:
    return pax(data, ("major", 1), ("minor", 0), ("realsize", size), *more)


D = b"d" * BLOCK

GOOD = {
    "old": old([(0, 512), (1024, 512), (4096, 0)], 4096, D + D),
    "old, more": old([(at * 1024, 512) for at in range(40)], 40_960, D * 40),
    "0.0": pax(D, ("size", 4096), ("numblocks", 1), ("offset", 512), ("numbytes", 512)),
    "0.1": pax(D, ("size", 4096), ("numblocks", 1), ("map", "512,512")),
    "0.1 of nothing": pax(b"", ("size", 4096), ("numblocks", 0), ("map", "")),
    "1.0": one(padded(b"2\n0\n512\n4096\n0\n") + D),
}

BAD = {
    "old: overlap": old([(0, 512), (256, 512)], 4096, D + D),
    "old: out of order": old([(1024, 512), (0, 512)], 4096, D + D),
    "old: beyond the size": old([(3800, 512)], 4096, D),
    "old: less data than the map has": old([(0, 512), (1024, 512)], 4096, D),
    "old: more data than the map has": old([(0, 512)], 4096, D + D),
    "old: goes on behind its end": block(b"bad", b"S", 0, old_map([], 4096, more=True)) + bytes(BLOCK),
    "old: a gap among its entries": block(b"bad", b"S", 512, bytes(24) + old_map([(0, 512)], 4096)[:72] + b"\0%011o\0" % 4096)
    + D,
    "old: no numbers": block(b"bad", b"S", 512, b"x" * 24 + old_map([], 4096)[24:]) + D,
    "old: negative": block(b"bad", b"S", 512, b"\xff" * 24 + old_map([], 4096)[24:]) + D,
    "old: a negative size": block(b"bad", b"S", 0, bytes(97) + b"\xff" * 12),
    "old: largest numbers": block(
        b"bad", b"S", 512, (b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7) * 2 + bytes(72) + b"\0%011o\0" % 4096
    )
    + D,
    "old: ends inside the map": block(b"bad", b"S", 0, old_map([(0, 512)] * 4, 4096, more=True)),
    "0.0: no size": pax(D, ("numblocks", 1), ("offset", 512), ("numbytes", 512)),
    "0.0: another count": pax(D, ("size", 4096), ("numblocks", 1 << 40), ("offset", 512), ("numbytes", 512)),
    "0.0: two offsets": pax(D, ("size", 4096), ("offset", 512), ("offset", 512), ("numbytes", 512)),
    "0.0: no offset": pax(D, ("size", 4096), ("numbytes", 512)),
    "0.0: an offset alone": pax(D, ("size", 4096), ("offset", 512)),
    "0.1: odd": pax(D, ("size", 4096), ("map", "512,512,1")),
    "0.1: words": pax(D, ("size", 4096), ("map", "a,b")),
    "0.1: signs": pax(D, ("size", 4096), ("map", "+512,512")),
    "0.1: twice": pax(D, ("size", 4096), ("map", "512,512"), ("map", "512,512")),
    "0.1: beyond all measure": pax(D, ("size", 4096), ("map", f"{1 << 63},512")),
    "0.1: wraps around": pax(D, ("size", (1 << 63) - 1), ("map", f"{(1 << 63) - 2},{(1 << 63) - 1}")),
    "0.1: missing": pax(D, ("size", 4096), ("numblocks", 3)),
    "1.0: a count alone": one(padded(b"99999999999999\n")),
    "1.0: a count of half of all numbers": one(padded(b"4611686018427387904\n0\n512\n") + D),
    "1.0: no end of line": one(padded(b"1" * 400)),
    "1.0: words": one(padded(b"1\nx\n512\n") + D),
    "1.0: empty lines": one(padded(b"1\n\n\n") + D),
    "1.0: no data": one(b""),
    "1.0: two maps": one(padded(b"1\n0\n512\n") + D, 4096, ("map", "0,512")),
    "1.0: overlap": one(padded(b"2\n0\n512\n100\n512\n") + D + D),
    "1.0: no size": pax(padded(b"1\n0\n512\n") + D, ("major", 1), ("minor", 0)),
    "of a folder": pax(b"", ("size", 4096), ("map", ""), flag=b"5"),
    "of a link": pax(b"", ("size", 4096), ("map", ""), flag=b"2"),
    "two forms": pax(b"", ("size", 4096), ("map", ""))[: 2 * BLOCK] + old([(0, 512)], 4096, D),
}


def tar(path: Path, member: bytes) -> Path:
    path.write_bytes(block(b"good", b"0", 3) + padded(b"abc") + member + bytes(2 * BLOCK))
    return path


@pytest.mark.parametrize("name", GOOD)
def test_maps_made_by_hand_are_read(name: str, work: Path) -> None:
    archive = opened(tar(work / "a.tar", GOOD[name]))
    content = archive.read("bad")
    assert (len(content), archive.verify().ok) == (archive.member("bad").size, True)
    assert content.count(b"d") == archive.member("bad").packed // BLOCK * BLOCK - (BLOCK if name == "1.0" else 0)


@pytest.mark.parametrize("name", BAD)
def test_a_map_that_lies_is_refused(name: str, work: Path) -> None:
    with pytest.raises(vhpack.CorruptArchiveError, match=r"bad\.tar`, member `bad/?` at offset 1024: "):
        opened(tar(work / "bad.tar", BAD[name]))


@pytest.mark.parametrize(
    "member",
    [
        old([(0, 5), (1024, 5)], 4096, b"AAAAABBBBB"),
        pax(D, ("major", 2), ("minor", 0), ("realsize", 4096)),
        pax(D, ("major", 1), ("minor", 7), ("realsize", 4096)),
    ],
)
def test_what_readers_disagree_on_or_nobody_knows_is_unsupported(member: bytes, work: Path) -> None:
    with pytest.raises(vhpack.UnsupportedArchiveError, match="member `bad` at offset 1024"):
        opened(tar(work / "bad.tar", member))


def test_the_size_counts_against_the_limits_and_the_data_against_the_archive(work: Path) -> None:
    path = tar(work / "a.tar", pax(D, ("size", 1 << 45), ("map", "512,512")))
    with pytest.raises(vhpack.LimitExceededError, match="member `bad` at offset 1024"):
        opened(path)
    archive = opened(tar(work / "a.tar", pax(D, ("size", 1 << 43), ("map", "512,512"))))
    reads: list[Callable[[], object]] = [
        lambda: archive.read("bad"),
        lambda: archive.open("bad").read_at(0, 1 << 43),
        lambda: vhpack.open(path).open("bad").read(),
    ]
    for read in reads:
        with pytest.raises(vhpack.LimitExceededError):
            read()
    assert archive.open("bad").read_at(510, 4) == b"\0\0dd"
    assert archive.open("bad").read_at((1 << 43) - 3, 10) == b"\0\0\0"
    cut = work / "cut.tar"
    cut.write_bytes(path.read_bytes()[: 1024 + 3 * BLOCK + 100])
    with pytest.raises(vhpack.CorruptArchiveError):
        opened(cut, max_total=0).open("bad")
    assert next(name for name, *_ in opened(cut, max_total=0).verify().damaged) == "bad"


def test_a_map_of_no_bytes_at_all_is_bounded(work: Path) -> None:
    """Six bytes of map are sixteen of memory, and zstd makes them out of nothing."""
    text = b"40000000\n" + b"0\n0\n" * (40 << 20)
    (work / "a").write_bytes(one(padded(text)))
    subprocess.run(["zstd", "-q", "--rm", "-1", "a", "-o", "a.tar.zst"], check=True, cwd=work)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(vhpack.LimitExceededError, match="maps of sparse files"):
        opened(work / "a.tar.zst")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
