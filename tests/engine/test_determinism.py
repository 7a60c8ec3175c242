"""The same files and options give the same bytes, whatever the machine does meanwhile."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.conftest import SOAK
from tests.engine.command import compress
from tests.engine.trees import MIB, bf16, mixed_tree, noise, prose, write_tree

OPTIONS: dict[str, dict[str, Any]] = {
    "by default": {},
    "stored": {"codec": "store"},
    "deflated at 1": {"codec": "deflate", "level": 1},
    "deflated at 6": {"codec": "deflate", "level": 6},
    "reproducible": {"reproducible": True},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = mixed_tree(tmp_path_factory.mktemp("determinism") / "data")
    write_tree(
        base,
        {
            "large/noise.bin": noise(9 * MIB + 17),
            "large/bf16.bin": bf16(3 * MIB),
            "large/half.bin": prose(3 * MIB) + noise(3 * MIB),
            **{f"many/{i:04}.json": prose(50 + 37 * i, i) for i in range(400)},
            **{f"many/{i:04}.bin": noise(i, i) for i in range(0, 400, 7)},
        },
    )
    for number, path in enumerate(sorted(base.rglob("*"))):
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    return base


@pytest.mark.parametrize("options", OPTIONS)
def test_any_number_of_threads_and_any_memory_give_the_same_bytes(tmp_path: Path, tree: Path, options: str) -> None:
    vhpack.pack(tree, tmp_path / "one.zip", jobs=1, **OPTIONS[options])
    wanted = (tmp_path / "one.zip").read_bytes()
    memories = ["1MiB", "5MiB", "24MiB", "256MiB", "2GiB"]
    ways = [(jobs, memory) for jobs in (1, 2, 3, 16) for memory in (memories if SOAK else memories[jobs % 2 :: 2])]

    for jobs, memory in ways:
        vhpack.pack(tree, tmp_path / "other.zip", jobs=jobs, memory=memory, force=True, **OPTIONS[options])
        assert (tmp_path / "other.zip").read_bytes() == wanted, f"jobs={jobs}, memory={memory}"


def test_the_same_call_again_gives_the_same_bytes(tmp_path: Path, tree: Path) -> None:
    for name in ("a.zip", "b.zip"):
        vhpack.pack(tree, tmp_path / name, jobs=16)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_quoted_pattern_an_expanded_list_and_a_list_from_stdin_give_the_same_bytes(work: Path) -> None:
    names = [f"data/{kind}/{i:03}.png" for kind in ("train", "val") for i in range(150)]
    write_tree(work, {name: noise(200, i) for i, name in enumerate(names)})
    listed = os.fsencode("\0".join(reversed(names)))

    for archive, arguments, stdin in (
        ("quoted.zip", ["data/train/*.png", "data/val/*.png"], b""),
        ("expanded.zip", names, b""),
        ("shuffled.zip", sorted(names, key=lambda name: name[::-1]), b""),
        ("null.zip", ["--files-from", "-", "-0"], listed),
        ("lines.zip", ["--files-from", "-"], listed.replace(b"\0", b"\n") + b"\n"),
        ("both.zip", ["data/val/*.png", "--files-from", "-", "-0"], listed),
        ("folders.zip", ["data/train", "data/val/"], b""),
        ("absolute.zip", [str(work / "data/*/*.png")], b""),
    ):
        ended = compress(*arguments, "-o", archive, cwd=work, stdin=stdin)
        assert ended.code == 0, ended
        assert (work / archive).read_bytes() == (work / "quoted.zip").read_bytes(), archive

    vhpack.pack((name for name in names), "python.zip")
    assert (work / "python.zip").read_bytes() == (work / "quoted.zip").read_bytes()


def test_a_list_in_a_file_reads_as_one_from_stdin(work: Path) -> None:
    write_tree(work, {"data/a b.txt": b"1", "data/*.txt": b"2", "list": b"data/a b.txt\n\ndata/*.txt"})

    ended = compress("--files-from", "list", "-o", "out.zip", cwd=work)
    again = compress("--files-from", "-", "-o", "again.zip", cwd=work, stdin=(work / "list").read_bytes())

    assert (ended.code, again.code) == (0, 0), (ended, again)
    assert (work / "out.zip").read_bytes() == (work / "again.zip").read_bytes()


def test_reproducible_archives_differ_by_contents_and_names_only(work: Path) -> None:
    for base, when, mode in (("one", 1_400_000_000, 0o600), ("two", 1_700_000_000, 0o664)):
        tree = write_tree(work / base, {"a.txt": b"a", "sub/run.sh": b"#!/bin/sh\n", "empty": None})
        (tree / "a.txt").chmod(mode)
        (tree / "sub/run.sh").chmod(mode | 0o100)
        for path in tree.rglob("*"):
            os.utime(path, (when, when))

    for base in ("one", "two"):
        vhpack.pack(base, f"{base}.zip", reproducible=True)
        vhpack.pack(base, f"{base}-as-is.zip")

    assert (work / "one.zip").read_bytes() == (work / "two.zip").read_bytes()
    with zipfile.ZipFile("one.zip") as reader:
        assert {member.filename: stat.S_IMODE(member.external_attr >> 16) for member in reader.infolist()} == {
            "a.txt": 0o644,
            "empty/": 0o755,
            "sub/run.sh": 0o755,
        }
        assert {member.date_time for member in reader.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert (work / "one-as-is.zip").read_bytes() != (work / "two-as-is.zip").read_bytes()


def test_locale_time_zone_and_umask_do_not_reach_the_bytes(work: Path) -> None:
    write_tree(work / "data", {"é.txt": b"1", "Z": b"2", "a": b"3"})
    os.utime(work / "data/a", (1_700_000_000, 1_700_000_000))
    for number, environment in enumerate(
        ({"TZ": "UTC", "LC_ALL": "C.UTF-8"}, {"TZ": "Pacific/Auckland", "LC_ALL": "C"}, {"TZ": "America/Lima"})
    ):
        ended = compress("data", "-o", f"{number}.zip", cwd=work, environment=environment)
        assert ended.code == 0, ended

    assert (work / "0.zip").read_bytes() == (work / "1.zip").read_bytes() == (work / "2.zip").read_bytes()


def test_source_date_epoch_dates_every_member(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(work / "data", {"a.txt": b"1"})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")

    vhpack.pack("data", "out.zip", reproducible=True)

    with zipfile.ZipFile("out.zip") as reader:
        assert reader.getinfo("a.txt").date_time == (2020, 9, 13, 12, 26, 40)
