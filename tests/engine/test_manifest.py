"""A manifest says what its archive holds, down to the byte, and never speaks of another archive."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import xxhash

import vhpack
from tests.engine.command import VHPACK, compress
from tests.engine.test_formats import tar_of
from tests.engine.trees import MIB, mixed_tree, noise, prose, snapshot, write_tree
from tests.faults.tracing import strace
from tests.interop.shapes import hostile_names, unicode_names

WAYS: dict[str, dict[str, Any]] = {
    "out.zip": {},
    "zstd.zip": {"codec": "zstd"},
    "stored.zip": {"codec": "store", "align": 64},
    "out.tar": {},
    "out.tar.gz": {},
    "out.tar.zst": {"on_change": "skip"},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = mixed_tree(tmp_path_factory.mktemp("manifest") / "data")
    hostile_names(base / "hostile")
    unicode_names(base / "unicode")
    write_tree(base, {"large/half": prose(6 * MIB) + noise(3 * MIB), "large/noise": noise(5 * MIB), "line\u2028end": b"x"})
    (base / "link").symlink_to("é/elsewhere")
    return base


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = path.read_text("utf-8").splitlines()
    head, *members = map(json.loads, lines)
    return head, members


def content_of(tree: Path, name: str) -> bytes:
    path = tree / name
    if path.is_symlink():
        return os.fsencode(os.readlink(path))
    return b"" if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("target", WAYS)
def test_every_line_is_true(tree: Path, target: str) -> None:
    report = vhpack.pack(tree, target, manifest=True, symlinks="store", **WAYS[target])
    head, members = read(Path(f"{target}.manifest.jsonl"))
    archive = Path(target).read_bytes()

    assert report.manifests == [f"{report.target}.manifest.jsonl"]
    assert head == {
        "vhpack_manifest": 1,
        "archive": target,
        "format": target.partition(".")[2],
        "size": len(archive),
        "xxh3-128": xxhash.xxh3_128_hexdigest(archive),
        "members": report.files + report.links + report.directories,
    }
    assert len(members) == head["members"]
    stream = archive if target.endswith(".zip") else tar_of(Path(target))
    for member in members:
        content = content_of(tree, member["name"])
        assert member["size"] == len(content), member
        assert member["xxh3-128"] == xxhash.xxh3_128_hexdigest(content), member
        assert member["crc32"] == f"{zlib.crc32(content):08x}", member
        at = member["offset"]
        if target.endswith(".zip"):
            method, packed, length = (*struct.unpack_from("<H", stream, at + 8), *struct.unpack_from("<I4xH", stream, at + 18))
            assert {0: "stored", 8: "deflate", 93: "zstd"}[method] == member["codec"]
            assert packed == member["packed"]
            assert stream[at + 30 : at + 30 + length].decode() == member["name"]
        else:
            assert stream[at + 257 : at + 262] == b"ustar"
            assert member["codec"] == {"tar": "stored", "gz": "deflate", "zst": "zstd"}[target.rpartition(".")[2]]
    kinds = {member["name"]: member["kind"] for member in members}
    assert (kinds["link"], kinds["images/empty/"], kinds["short.txt"]) == ("link", "directory", "file")


@pytest.mark.parametrize("target", ["out.zip", "out.tar.zst"])
def test_it_costs_the_archive_no_byte_and_depends_on_no_thread(tree: Path, target: str) -> None:
    wanted = vhpack.pack(tree, target)
    vhpack.pack(tree, target, manifest=True, jobs=1, force=True)
    one = Path(f"{target}.manifest.jsonl").read_bytes()

    assert vhpack.pack(tree, target, manifest=True, jobs=3, memory="1MiB", force=True).digest == wanted.digest
    assert Path(f"{target}.manifest.jsonl").read_bytes() == one


def test_each_shard_has_its_own(work: Path) -> None:
    write_tree(work / "data", {f"{i}": noise(1000, i) for i in range(10)})

    report = vhpack.pack("data", "out.zip", shard_size=4000, manifest=True, remove_originals=True)

    assert [os.path.basename(path) for path in report.manifests] == [f"out-{i:05}.zip.manifest.jsonl" for i in range(3)]
    for archive, digest, manifest in zip(report.targets, report.digests, report.manifests, strict=True):
        head, members = read(Path(manifest))
        assert (head["archive"], head["xxh3-128"]) == (os.path.basename(archive), digest)
        with zipfile.ZipFile(archive) as reader:
            assert [member["name"] for member in members] == reader.namelist()


def test_an_archive_that_is_replaced_takes_its_manifest_along(work: Path) -> None:
    write_tree(work / "data", {"a": b"a"})
    vhpack.pack("data", "out.zip", manifest=True)
    manifest = work / "out.zip.manifest.jsonl"
    assert manifest.exists()

    vhpack.pack("data", "out.zip", force=True)
    assert not manifest.exists()

    manifest.write_text('{"somebody": "else"}\n')
    vhpack.pack("data", "out.zip", force=True)
    assert manifest.read_text() == '{"somebody": "else"}\n'


def test_a_place_that_is_taken_is_refused_before_anything_is_written(work: Path) -> None:
    write_tree(work / "data", {"a": b"a"})
    write_tree(work, {"out.zip.manifest.jsonl": b"mine"})
    write_tree(work, {"folder.zip.manifest.jsonl/x": b"x"})
    before = snapshot(work)

    with pytest.raises(vhpack.TargetExistsError, match="manifest"):
        vhpack.pack("data", "out.zip", manifest=True)
    for force in (False, True):
        with pytest.raises(vhpack.TargetIsDirectoryError, match="manifest"):
            vhpack.pack("data", "folder.zip", manifest=True, force=force)
    with pytest.raises(vhpack.OptionError, match="too long"):
        vhpack.pack("data", "n" * 245 + ".zip", manifest=True)
    assert snapshot(work) == before
    vhpack.pack("data", "out.zip", manifest=True, force=True)
    assert read(work / "out.zip.manifest.jsonl")[0]["archive"] == "out.zip"


def test_wildcards_do_not_pack_the_manifest_of_the_target(work: Path) -> None:
    write_tree(work, {"a": b"a"})
    first = vhpack.pack("*", "out.zip", manifest=True)
    again = vhpack.pack("*", "out.zip", manifest=True, force=True)

    assert (again.files, again.digest) == (1, first.digest)
    assert [os.path.basename(path) for path, _ in again.skipped] == ["out.zip", "out.zip.manifest.jsonl"]


def test_the_command_and_outputs_write_it(work: Path) -> None:
    write_tree(work / "data", {"a": b"a"})
    ended = compress("data", "-o", "out.tar.zst", "--manifest", "--json", cwd=work)
    assert json.loads(ended.out)["manifests"] == [str(work / "out.tar.zst.manifest.jsonl")]

    Path(vhpack.outputs("o").path("x.txt")).write_text("x")
    packed = vhpack.outputs("o").compress("*.txt", "o.zip", manifest=True)
    assert read(Path(f"{packed}.manifest.jsonl"))[1][0]["name"] == "x.txt"
    # That a wildcard takes neither the archive nor its manifest is no news: a warning would be an error here.
    Path(vhpack.outputs("o").path("y.txt")).write_text("y")
    vhpack.outputs("o").compress("*", "o.zip", manifest=True)
    assert [member["name"] for member in read(Path(f"{packed}.manifest.jsonl"))[1]] == ["y.txt"]


def test_originals_go_after_the_manifest_is_on_disk(work: Path) -> None:
    write_tree(work / "data", {f"{i}": noise(100, i) for i in range(3)})
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--manifest", "--remove-originals", "--jobs", "1"]
    log = work / "trace"
    done = subprocess.run([*strace(["linkat", "fdatasync", "fsync", "unlinkat"], log), *command], cwd=work, capture_output=True)
    assert done.returncode == 0, done.stderr

    lines = log.read_text().splitlines()
    first_removed = next(number for number, line in enumerate(lines) if "unlinkat" in line and '"0"' in line)
    named = next(number for number, line in enumerate(lines) if "linkat" in line and "manifest.jsonl" in line)
    synced = [number for number, line in enumerate(lines) if "sync(" in line and number > named]
    assert named < synced[0] < first_removed


def test_a_manifest_whose_archive_was_moved_away_is_nobodys_to_remove(work: Path) -> None:
    write_tree(work, {"data/a": b"a"})
    vhpack.pack("data", "out.zip", manifest=True)
    (work / "out.zip").rename(work / "kept.zip")
    before = (work / "out.zip.manifest.jsonl").read_bytes()

    vhpack.pack("data", "out.zip")
    assert (work / "out.zip.manifest.jsonl").read_bytes() == before
    vhpack.pack("data", "out.zip", force=True)
    assert not (work / "out.zip.manifest.jsonl").exists()
