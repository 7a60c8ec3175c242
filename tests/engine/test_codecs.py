"""What is stored, what is deflated, and that the report says what the archive holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import zipfile
from pathlib import Path
from typing import Literal

import pytest
import xxhash

import vhpack
from tests.engine.trees import MIB, bf16, mixed_tree, noise, png, prose, write_tree
from tests.interop.structure import DEFLATED, STORED, structure_of, unpacked

CONTENTS: dict[str, tuple[bytes, int]] = {
    "image.png": (png(1, 64), STORED),
    "noise.txt": (noise(50_000), STORED),
    "large-noise": (noise(5 * MIB), STORED),
    "text.gz": (gzip.compress(prose(200_000)), STORED),
    "text.bz2": (bz2.compress(prose(200_000)), STORED),
    "text.xz": (lzma.compress(prose(200_000)), STORED),
    "photo.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + noise(30_000) + b"\xff\xd9", STORED),
    "empty": (b"", STORED),
    "one-byte": (b"x", STORED),
    "labels.json": (prose(30_000), DEFLATED),
    "really-text.png": (prose(30_000), DEFLATED),
    "large.json": (prose(6 * MIB), DEFLATED),
    "zeros": (bytes(100_000), DEFLATED),
    "large-zeros": (bytes(6 * MIB), DEFLATED),
    "noise-then-text": (noise(5 * MIB) + prose(5 * MIB), DEFLATED),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_and_not_the_name_decides_between_storing_and_deflating(work: Path, name: str) -> None:
    content, method = CONTENTS[name]
    write_tree(work / "data", {name: content})

    report = vhpack.pack("data", "out.zip")

    member = structure_of(work / "out.zip").member(name)
    assert member.method == method
    assert (report.stored, report.deflated) == ((1, 0) if method == STORED else (0, 1))
    assert member.packed <= member.size
    assert unpacked(work / "out.zip", member) == content


@pytest.mark.parametrize("level", [None, 0, 1, 2, 3, 6, 9, 12])
@pytest.mark.parametrize("codec", ["auto", "deflate"])
def test_every_level_gives_back_every_byte(work: Path, codec: str, level: int | None) -> None:
    sizes = (0, 1, 100, 65_535, 65_536, 300_000)
    write_tree(work / "data", {f"{size}.json": prose(size) for size in sizes} | {"noise": noise(70_000)})

    vhpack.pack("data", "out.zip", codec=codec, level=level)  # type: ignore[arg-type]

    structure = structure_of(work / "out.zip")
    for member in structure.members:
        assert unpacked(work / "out.zip", member) == (work / "data" / member.name).read_bytes()
        if level == 0:
            assert member.packed <= member.size + 5 * (1 + member.size // 65_535)


def test_higher_levels_are_no_larger(work: Path) -> None:
    write_tree(work / "data", {"small.json": prose(200_000), "large.json": prose(5 * MIB)})
    sizes = [vhpack.pack("data", f"{level}.zip", codec="deflate", level=level).bytes_out for level in (1, 6, 9, 12)]

    assert sizes == sorted(sizes, reverse=True)


def test_storing_stores_everything(work: Path) -> None:
    mixed_tree(work / "data")

    report = vhpack.pack("data", "out.zip", codec="store")

    structure = structure_of(work / "out.zip")
    assert {member.method for member in structure.members} == {STORED}
    assert (report.stored, report.deflated) == (report.files, 0)


@pytest.mark.parametrize("codec", ["auto", "store", "deflate"])
@pytest.mark.parametrize("count", [1_000, MIB, 3 * MIB], ids=["small", "2 MiB", "in blocks"])
def test_bfloat16_weights_come_back_and_never_grow(work: Path, codec: str, count: int) -> None:
    content = bf16(count)
    write_tree(work / "data", {"model.safetensors": content})

    vhpack.pack("data", "out.zip", codec=codec)  # type: ignore[arg-type]

    member = structure_of(work / "out.zip").member("model.safetensors")
    assert unpacked(work / "out.zip", member) == content
    assert member.packed <= len(content)


@pytest.mark.parametrize("size", [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 5 * MIB - 1, 5 * MIB, 8 * MIB + 1, 9 * MIB])
@pytest.mark.parametrize("codec", ["store", "deflate"])
def test_sizes_around_the_blocks_come_back(work: Path, codec: str, size: int) -> None:
    content = prose(size // 2) + noise(size - size // 2)
    write_tree(work / "data", {"x": content, "y": content[::-1]})

    vhpack.pack("data", "out.zip", codec=codec, jobs=3)  # type: ignore[arg-type]

    structure = structure_of(work / "out.zip")
    assert unpacked(work / "out.zip", structure.member("x")) == content
    assert unpacked(work / "out.zip", structure.member("y")) == content[::-1]


def test_blocks_cost_almost_nothing_in_size(work: Path) -> None:
    """Blocks are primed with what stands before them, so a large file deflates as well as one stream would."""
    import zlib

    content = prose(12 * MIB)
    write_tree(work / "data", {"x": content})

    vhpack.pack("data", "out.zip", codec="deflate", level=6)

    one_stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    alone = len(one_stream.compress(content) + one_stream.flush())
    assert structure_of(work / "out.zip").member("x").packed <= 1.02 * alone


@pytest.mark.parametrize("codec", ["auto", "store"])
def test_the_report_equals_reality(work: Path, codec: str) -> None:
    mixed_tree(work / "data")
    os.mkfifo(work / "data/fifo")

    report = vhpack.pack("data", "out.zip", codec=codec, remove_originals=True)  # type: ignore[arg-type]

    archive = (work / "out.zip").read_bytes()
    with zipfile.ZipFile(work / "out.zip") as reader:
        files = [member for member in reader.infolist() if not member.is_dir()]
        folders = [member for member in reader.infolist() if member.is_dir()]
    assert report.target == str(work / "out.zip")
    assert (report.files, report.directories, report.links) == (len(files), len(folders), 0)
    assert report.bytes_in == sum(member.file_size for member in files)
    assert report.bytes_out == len(archive)
    assert report.stored == sum(member.compress_type == zipfile.ZIP_STORED for member in files)
    assert report.deflated == len(files) - report.stored
    assert report.removed == len(files)
    assert report.kept == []
    assert [os.path.basename(path) for path, _ in report.skipped] == ["fifo"]
    assert report.seconds > 0
    assert report.digest.split(":")[-1] == xxhash.xxh3_128_hexdigest(archive)
    assert "out.zip" in repr(report)


def test_the_digest_is_of_the_file_also_when_headers_were_patched(work: Path) -> None:
    write_tree(work / "data", {"a": noise(40 * MIB), "b": prose(20 * MIB), "c": b"end"})

    report = vhpack.pack("data", "out.zip", jobs=2)

    assert report.digest.split(":")[-1] == xxhash.xxh3_128_hexdigest((work / "out.zip").read_bytes())


def test_progress_ends_at_what_the_report_says(work: Path) -> None:
    write_tree(work / "data", {f"{i}.json": prose(2_000, i) for i in range(300)})
    seen: list[vhpack.Progress] = []

    report = vhpack.pack("data", "out.zip", remove_originals=True, progress=seen.append)

    assert seen, "progress is told at least once, at the end"
    last = seen[-1]
    assert (last.files, last.total_files, last.removed) == (300, 300, 300)
    assert last.bytes_in == report.bytes_in
    assert [step.files for step in seen] == sorted(step.files for step in seen)
    order = ["scan", "pack", "commit", "remove"]
    stages = [order.index(step.stage) for step in seen]
    assert stages == sorted(stages)


def test_an_exception_in_progress_ends_the_pack_and_leaves_nothing(work: Path) -> None:
    write_tree(work / "data", {f"{i}.json": prose(20_000, i) for i in range(50)})
    before = sorted(path.name for path in work.rglob("*"))

    class OwnError(Exception):
        pass

    def stop(_: vhpack.Progress) -> None:
        raise OwnError

    with pytest.raises(OwnError):
        vhpack.pack("data", "out.zip", progress=stop)
    assert sorted(path.name for path in work.rglob("*")) == before


@pytest.mark.parametrize("codec", ["auto", "deflate"])
def test_what_does_not_shrink_as_a_whole_is_stored(work: Path, codec: Literal["auto", "deflate"]) -> None:
    """The samples of this file shrink, at a quarter, the middle and three quarters; the rest of it does not."""
    size = 8 * MIB
    content = bytearray(noise(size))
    for at in (size // 4, size // 2, size // 4 * 3):
        content[at : at + 4096] = bytes(4096)
    # Each block grows by some bytes of framing; three short runs of zeros make up for them, and so the ends are noise.
    write_tree(work / "data", {"shrinks by little.bin": bytes(content), "noise.bin": noise(size, 2)})

    report = vhpack.pack("data", "out.zip", codec=codec)

    structure = structure_of(work / "out.zip")
    for member in structure.members:
        assert member.packed <= member.size
        assert unpacked(work / "out.zip", member) == (work / "data" / member.name).read_bytes()
    if codec == "deflate":
        assert (report.stored, report.deflated) == (1, 1)


def test_deflate_shrinks_a_large_file_whose_samples_do_not(work: Path) -> None:
    size = 8 * MIB
    content = bytearray(size)
    for at in (size // 4, size // 2, size // 4 * 3):
        content[at : at + 4096] = noise(4096)
    write_tree(work / "data", {"zeros with noise.bin": bytes(content)})

    assert vhpack.pack("data", "out.zip", codec="deflate").bytes_out < size // 100


@pytest.mark.parametrize("level", [6, 7, 12])
def test_a_file_of_middle_size_comes_back_at_every_effort(work: Path, level: int) -> None:
    write_tree(work / "data", {f"{size}.txt": prose(size) for size in (512 << 10, (512 << 10) + 1, 3 * MIB, 4 * MIB)})

    vhpack.pack("data", "out.zip", level=level)

    for member in structure_of(work / "out.zip").members:
        assert member.packed < member.size // 2
        assert unpacked(work / "out.zip", member) == (work / "data" / member.name).read_bytes()


def test_a_report_travels_to_another_process(work: Path) -> None:
    write_tree(work / "data", {"a.txt": prose(9000), "link": b""})
    (work / "data/dangling").symlink_to("nowhere")
    report = vhpack.pack("data", "out.zip")

    again = pickle.loads(pickle.dumps(report))

    assert repr(again) == repr(report)
    assert (again.skipped, again.warnings, again.seconds) == (report.skipped, report.warnings, report.seconds)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_the_last_look_raises_does_not_hide_a_pack_that_is_done(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a"})

    def last(progress: vhpack.Progress) -> None:
        if progress.removed:
            raise RuntimeError("too late")

    assert vhpack.pack("data", "out.zip", remove_originals=True, progress=last).removed == 1
