"""Tars, plain and compressed, are what other people's readers take for tars, down to the last member."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import struct
import subprocess
import tarfile
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

import vhpack
from tests.conftest import needs
from tests.engine.trees import MIB, mixed_tree, noise, prose, sparse, write_tree
from tests.interop.shapes import (
    GIB,
    backslash_names,
    hostile_names,
    long_names_and_deep_trees,
    modes,
    odd_times,
    on_disk,
    only_empty_folders,
    seconds,
    stored_links,
    unicode_names,
)

SUFFIXES = [".tar", ".tar.gz", ".tar.zst"]

OPENED_BY: dict[str, list[str]] = {".gz": ["gzip", "-dc"], ".zst": ["zstd", "-dcq"]}


def everything(tree: Path) -> None:
    """All that a tar can get wrong, in one tree."""
    mixed_tree(tree)
    hostile_names(tree / "hostile")
    backslash_names(tree / "backslash")
    unicode_names(tree / "unicode")
    modes(tree / "modes")
    odd_times(tree / "times")
    only_empty_folders(tree / "empty")
    long_names_and_deep_trees(tree / "long")
    stored_links(tree / "links")
    (tree / "links/far").symlink_to("é" * 80)
    (tree / "links/bytes").symlink_to(os.fsdecode(b"\xff" * 120))
    write_tree(tree, {"large/prose": prose(6 * MIB), "large/noise": noise(6 * MIB + 3), "large/zeros": bytes(9 * MIB)})
    write_tree(tree, {f"sizes/{size}": noise(size) for size in (0, 1, 511, 512, 513, 1023, 1024, 4 * MIB, 4 * MIB + 512)})
    for length in range(90, 262):
        name = ("d" * (length // 2) + "/" + "f" * length)[:length]
        write_tree(tree / "lengths", {name: b"x"})
    for number, path in enumerate(sorted(tree.rglob("*"))):
        if path.parent.name != "times":
            seconds(path, 1_000_000_001 + number)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tars") / "tree"
    everything(base)
    return base


@pytest.fixture(params=SUFFIXES)
def archive(request: pytest.FixtureRequest, tmp_path: Path, tree: Path) -> Path:
    """The tree, packed with its links as links."""
    path = tmp_path / f"all{request.param}"
    vhpack.pack(tree, path, symlinks="store")
    return path


def plain(archive: Path) -> Path:
    """The tar inside, taken out by the reference tool of its codec."""
    command = OPENED_BY.get(archive.suffix)
    if command is None:
        return archive
    needs(command[0])
    bare = archive.with_name(archive.name + ".plain")
    with bare.open("wb") as file:
        done = subprocess.run([*command, str(archive)], stdout=file, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return bare


def words_that_matter(stderr: bytes) -> list[bytes]:
    """GNU tar remarks on times far from now, and on the mark of a link that is no UTF-8, and restores them rightly."""
    return [line for line in stderr.splitlines() if b"time stamp" not in line and b"hdrcharset" not in line]


def gnu_tar(archive: Path, folder: Path) -> list[str]:
    return ["tar", "-xf", str(archive), "-C", str(folder)]


def libarchive(archive: Path, folder: Path) -> list[str]:
    return ["bsdtar", "-xpf", str(archive), "-C", str(folder)]


def there(back: Path, name: str) -> Path:
    return back / name if (back / name).exists() else back / unicodedata.normalize("NFC", name)


def check_same(tree: Path, back: Path) -> None:
    """All is there again; libarchive composes accents as it extracts."""
    before = on_disk(tree)
    after = {name if name in before else unicodedata.normalize("NFD", name): found for name, found in on_disk(back).items()}
    assert set(after) == set(before)
    for name, wanted in before.items():
        found = after[name]
        assert (found.kind, found.size) == (wanted.kind, wanted.size), name
        if wanted.kind == "l":
            assert os.readlink(tree / name) == os.readlink(back / name)
            continue
        assert found.mode == wanted.mode, name
        if wanted.kind == "-":
            assert found.modified == wanted.modified, name
            assert there(back, name).read_bytes() == (tree / name).read_bytes(), name


@pytest.mark.parametrize("extract", [gnu_tar, libarchive], ids=lambda extract: extract.__name__)
def test_extractors_restore_contents_times_modes_and_links(
    tmp_path: Path, tree: Path, archive: Path, extract: Callable[[Path, Path], list[str]]
) -> None:
    back = tmp_path / "back"
    back.mkdir()
    command = extract(archive, back)
    needs(command[0])

    done = subprocess.run(command, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert words_that_matter(done.stderr) == []
    check_same(tree, back)


def test_tarfile_reads_every_member(tree: Path, archive: Path) -> None:
    wanted = on_disk(tree)

    with tarfile.open(plain(archive), "r:") as reader:
        members = reader.getmembers()
        names = [member.name + ("/" if member.isdir() else "") for member in members]
        assert names == sorted(wanted, key=os.fsencode)
        for name, member in zip(names, members, strict=True):
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mode & 0o7000 == 0
            if member.isreg():
                content = reader.extractfile(member)
                assert content is not None
                assert content.read() == (tree / name).read_bytes()
                assert member.mtime == wanted[name].modified
            elif member.issym():
                assert member.linkname == os.readlink(tree / name)


def test_nothing_but_zeros_follows_the_last_member(archive: Path) -> None:
    tar = plain(archive)
    with tarfile.open(tar, "r:") as reader:
        last = reader.getmembers()[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    content = tar.read_bytes()

    assert content[end:] == bytes(1024)


def test_gnu_tar_finds_no_difference_to_the_disk(tree: Path, archive: Path) -> None:
    needs("tar")
    done = subprocess.run(["tar", "--numeric-owner", "-df", str(archive), "-C", str(tree)], capture_output=True)

    # Owners and set-id bits are left out on purpose.
    lines = words_that_matter(done.stdout + done.stderr)
    assert [line for line in lines if b"id differs" not in line and line != b"modes/4755: Mode differs"] == []


def test_pax_headers_stand_only_where_ustar_does_not_suffice(tmp_path: Path) -> None:
    plain_names = ["a", "n" * 100, "p" * 150 + "/" + "n" * 99]
    write_tree(tmp_path / "plain", dict.fromkeys(plain_names, b"x"))
    write_tree(tmp_path / "pax", {"n" * 101: b"x", "é": b"x"})
    seconds(tmp_path / "plain/a", 8**11 - 1)
    for name in ("plain", "pax"):
        vhpack.pack(name, f"{name}.tar")

    assert Path("plain.tar").stat().st_size == 3 * 1024 + 1024
    assert b"@PaxHeader" not in Path("plain.tar").read_bytes()
    assert Path("pax.tar").read_bytes().count(b"@PaxHeader") == 2


def test_a_member_of_8_gib_is_listed_with_its_size(tmp_path: Path) -> None:
    needs("tar", "bsdtar")
    sparse(tmp_path / "data/large", 8 * GIB, {0: b"first", 8 * GIB - 5: b"last!"})
    write_tree(tmp_path / "data", {"next": b"after it"})
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 12 * GIB or "VHPACK_SOAK" not in os.environ:
        pytest.skip("8 GiB are written in `make soak`")
    vhpack.pack("data", "large.tar")

    for program in ("tar", "bsdtar"):
        done = subprocess.run([program, "-tvf", "large.tar"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert str(8 * GIB) in done.stdout
        assert "next" in done.stdout


def test_any_tree_comes_back(tmp_path: Path) -> None:
    needs("tar")
    chance = random.Random(5)
    for round_number in range(12):
        base = tmp_path / f"{round_number}"
        files: dict[str, bytes | None] = {}
        for number in range(chance.randrange(1, 60)):
            name = "/".join(chance.choice(["a", "bé", "c" * 90]) for _ in range(chance.randrange(4))) + f"/{number}"
            files[name.lstrip("/")] = noise(chance.choice([0, 1, 700, 90_000, 1_500_000]), number)
        write_tree(base / "tree", files)
        for suffix in SUFFIXES:
            back = base / f"back{suffix}"
            back.mkdir()
            vhpack.pack(base / "tree", base / f"all{suffix}", jobs=chance.randrange(1, 5))
            done = subprocess.run(gnu_tar(base / f"all{suffix}", back), capture_output=True)
            assert (done.returncode, done.stderr) == (0, b"")
            check_same(base / "tree", back)


def frames_of(content: bytes) -> list[tuple[int, int, int]]:
    """The seek table, read from the end as the format says: packed length, length and checksum of each frame."""
    count, descriptor, magic = struct.unpack("<IBI", content[-9:])
    assert (descriptor, magic) == (0x80, 0x8F92EAB1)
    start = len(content) - 9 - 12 * count
    assert struct.unpack("<II", content[start - 8 : start]) == (0x184D2A5E, 12 * count + 9)
    frames = [struct.unpack_from("<III", content, start + 12 * number) for number in range(count)]
    assert sum(packed for packed, _, _ in frames) == start - 8
    return frames


def test_every_frame_stands_for_itself_and_holds_whole_members(tmp_path: Path) -> None:
    needs("zstd")
    files = {f"small/{i:04}": prose(500 + 97 * i, i) for i in range(300)}
    files |= {f"medium/{i}": noise(900_000, i) for i in range(4)} | {"large": prose(7 * MIB), "mid": prose(9 * MIB + 1)}
    write_tree(tmp_path / "data", files)
    vhpack.pack("data", "out.tar.zst")
    content = (tmp_path / "out.tar.zst").read_bytes()

    tar, at, starts = b"", 0, []
    for packed, length, checksum in frames_of(content):
        frame = content[at : at + packed]
        raw = subprocess.run(["zstd", "-dcq"], input=frame, capture_output=True, check=True).stdout
        assert len(raw) == length
        assert xxhash.xxh64_intdigest(raw) & 0xFFFFFFFF == checksum == int.from_bytes(frame[-4:], "little")
        starts.append(len(tar))
        tar += raw
        at += packed

    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as reader:
        members = reader.getmembers()
    headers = {member.offset for member in members}
    large = [range(member.offset_data, member.offset_data + member.size) for member in members if member.size > 4 * MIB]
    assert len(large) == 2
    assert all(start in headers or start == len(tar) - 1024 or any(start in inside for inside in large) for start in starts)
    assert {inside.start - 512 for inside in large} <= set(starts)
    sizes = [b - a for a, b in zip(starts, [*starts[1:], len(tar)], strict=True)]
    assert all(size <= 5 * MIB for size in sizes)
    assert sum(size < MIB for size in sizes) <= 1 + 2 * len(large) + 1


@pytest.mark.parametrize(
    "command", [["zstd", "-tq"], ["tar", "--zstd", "-tf"], ["bsdtar", "-tf"], ["7z", "t", "-bd"]], ids=" ".join
)
def test_readers_that_know_no_seek_table_take_the_frames_as_one(tree: Path, command: list[str]) -> None:
    needs(command[0], "zstd")
    vhpack.pack(tree, "all.tar.zst", symlinks="store")

    done = subprocess.run([*command, "all.tar.zst"], capture_output=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("level", [None, 1, 6, 9, 12])
def test_the_gzip_stream_is_one_member_that_every_reader_finds_sound(tree: Path, level: int | None) -> None:
    needs("gzip")
    vhpack.pack(tree, "all.tar.gz", symlinks="store", level=level)
    content = Path("all.tar.gz").read_bytes()

    for command in (["gzip", "-t"], ["tar", "-tzf"], *([["pigz", "-t"]] if shutil.which("pigz") else [])):
        done = subprocess.run([*command, "all.tar.gz"], capture_output=True)
        assert (done.returncode, words_that_matter(done.stderr)) == (0, [])
    one = zlib.decompressobj(31)
    tar = one.decompress(content)
    assert one.eof
    assert one.unused_data == b""
    assert content[4:8] == bytes(4), "no time"
    assert len(tar) % 512 == 0
    assert gzip.decompress(content) == tar
    blocks = len(tar) / MIB
    assert len(content) <= 1.01 * len(zlib.compress(tar, min(level or 5, 9))) + 100 * blocks


@pytest.mark.parametrize("length", [MIB - 1024 - 512, 2 * MIB - 1536 - 1024, 5 * MIB - 512, 5 * MIB - 1536])
def test_a_tar_that_ends_with_a_block_is_whole(tmp_path: Path, length: int) -> None:
    write_tree(tmp_path / "data", {"x": noise(length)})
    for suffix in SUFFIXES:
        vhpack.pack("data", f"out{suffix}")
        with tarfile.open(plain(tmp_path / f"out{suffix}"), "r:") as reader:
            content = reader.extractfile("x")
            assert content is not None
            assert content.read() == noise(length)
