"""Every shape of archive that a job can bring forth, from an empty file to 4 GiB in one member."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.trees import MIB, bf16, mixed_tree, noise, png, prose, sparse, write_tree

GIB = 1 << 30
NOTHING: frozenset[str] = frozenset()
SLOW_ON_HUGE = frozenset({"unzip", "bsdtar from a pipe", "jar from a stream", "zipfile"})


@dataclass(frozen=True)
class Shape:
    """How to make a tree, which of it to pack, and under which options."""

    name: str
    fill: Callable[[Path], object]
    options: dict[str, object] = field(default_factory=dict)
    first: int | None = None
    """Pack this many of the tree's files, named one by one, instead of the tree; shapes with one `fill` share its tree."""
    readers_in_soak: frozenset[str] = NOTHING
    """Readers that would take long on it, asked in `make soak` only."""
    whole_in_soak: bool = False


def seconds(path: Path, when: int) -> None:
    """Set a file's time of modification."""
    os.utime(path, ns=(when * 10**9, when * 10**9), follow_symlinks=False)


def only_empty_folders(tree: Path) -> None:
    write_tree(tree, {"a": None, "b/c/d": None, "é": None})


def one_empty_file(tree: Path) -> None:
    write_tree(tree, {"nothing.txt": b""})


def text(tree: Path) -> None:
    write_tree(tree, {f"{i:02}.json": prose(2_000 * i, i) for i in range(1, 12)})


def incompressible(tree: Path) -> None:
    write_tree(tree, {f"{i:02}.png": png(i) for i in range(12)} | {"raw.bin": noise(200_000)})


def hostile_names(tree: Path) -> None:
    names = [
        "run[1].txt",
        "all*.txt",
        "who?.txt",
        "a\nb.txt",
        "-rf",
        "--help",
        " lead and trail ",
        "tab\there",
        "[!]",
        "%41",
        "a;b",
        "#",
        "~",
        "'\"$(x)`",
    ]
    write_tree(tree, {name: name.encode() for name in names} | {f"d {name}/in": b"x" for name in names[:6]})


def backslash_names(tree: Path) -> None:
    # Not one at the end of a name: libarchive, which has no hint of the system in a stream, reads that as a folder.
    write_tree(tree, {"a\\b.txt": b"1", "c\\d\\e": b"2", "plain": b"3"})


def unicode_names(tree: Path) -> None:
    names = ["é.txt", "e\u0301-decomposed.txt", "日本語/猫.png", "🦀.bin", "ж/ж/ж", "\u202egnp.exe", "ﬁ", "ascii"]
    write_tree(tree, {name: name.encode() for name in names})


def long_names_and_deep_trees(tree: Path) -> None:
    write_tree(
        tree,
        {
            "n" * 255: b"255 bytes of name",
            "é" * 127: b"254 bytes of name",
            "/".join(["deep"] * 60) + "/file": b"60 folders down",
            "/".join(["w" * 200] * 15) + "/file": b"3 KB of path",
        },
    )


TIMES = {
    "1901-before-32-bit": -2_200_000_000,
    "1969": -86_401,
    "1970": 0,
    "1979-last-second": 315_532_799,
    "1980-first-second": 315_532_800,
    "odd-second": 1_700_000_001,
    "2038-last-32-bit": 2**31 - 1,
    "2038-first-beyond": 2**31,
    "2099": 4_080_000_000,
    "2107-last-second": 4_354_819_199,
    "2108": 4_354_819_200,
    "2400": 13_569_465_600,
}


def odd_times(tree: Path) -> None:
    for name, when in TIMES.items():
        write_tree(tree, {name: b"x"})
        seconds(tree / name, when)


def stored_links(tree: Path) -> None:
    write_tree(tree, {"files/real.txt": b"real\n"})
    (tree / "to-file").symlink_to("files/real.txt")
    (tree / "to-folder").symlink_to("files")
    (tree / "dangling").symlink_to("../elsewhere/é")
    (tree / "loop").symlink_to(".")


def modes(tree: Path) -> None:
    for mode in (0o755, 0o644, 0o600, 0o700, 0o444, 0o777, 0o4755):
        write_tree(tree, {f"{mode:o}": b"#!/bin/sh\n"})
        (tree / f"{mode:o}").chmod(mode)
    write_tree(tree, {"shut": None})
    (tree / "shut").chmod(0o700)


def around_the_block_size(tree: Path) -> None:
    """Files at the size from which a file is packed in blocks, of either kind of content."""
    for size in (4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB):
        write_tree(tree, {f"prose-{size}": prose(size), f"noise-{size}": noise(size)})


def just_above_the_block_size(tree: Path) -> None:
    write_tree(tree, {"prose": prose(4 * MIB + 1), "half": prose(3 * MIB) + noise(2 * MIB), "bf16": bf16(MIB), "s": prose(99)})


def member_above_4_gib(tree: Path) -> None:
    """The first member is above 4 GiB, the second begins beyond 4 GiB."""
    sparse(tree / "a.bin", 4 * GIB + 5, {0: b"first", 2 * GIB: b"middle", 4 * GIB: b"last!"})
    write_tree(tree, {"b.txt": prose(5_000)})


def archive_above_4_gib(tree: Path) -> None:
    """No member is large, but the last ones and the central directory lie beyond 4 GiB."""
    for name in ("a.bin", "b.bin", "c.bin"):
        sparse(tree / name, 1536 * MIB, {7: name.encode()})
    write_tree(tree, {"d.txt": prose(5_000), "e.txt": b""})


def edges_of_32_bits(tree: Path) -> None:
    """The last size that fits into 32 bits, the one that is the mark for zip64, and the next."""
    for size in (2**32 - 2, 2**32 - 1, 2**32):
        sparse(tree / f"{size}.bin", size, {size - 3: b"end"})


def seventy_thousand(tree: Path) -> None:
    tree.mkdir(parents=True)
    for number in range(70_000):
        descriptor = os.open(tree / f"{number:06}", os.O_WRONLY | os.O_CREAT, 0o644)
        if number % 1000 == 0:
            os.write(descriptor, b"not empty")
        os.close(descriptor)


LEVELS = [
    Shape(f"block size, {codec}, level {level}", around_the_block_size, {"codec": codec, "level": level})
    for codec, level in (("store", None), ("auto", None), ("deflate", 0), ("deflate", 1), ("deflate", 6))
] + [
    Shape(f"just above the block size, level {level}", just_above_the_block_size, {"codec": "deflate", "level": level})
    for level in (2, 9, 12)
]

HUGE = [
    Shape(
        "member above 4 GiB, stored",
        member_above_4_gib,
        {"codec": "store"},
        readers_in_soak=SLOW_ON_HUGE - {"zipfile"},
    ),
    Shape("member above 4 GiB, deflated", member_above_4_gib, {"level": 1}, readers_in_soak=SLOW_ON_HUGE | {"7z"}),
    Shape("archive above 4 GiB", archive_above_4_gib, {"codec": "store"}, whole_in_soak=True),
    Shape("edges of 32 bits, stored", edges_of_32_bits, {"codec": "store"}, whole_in_soak=True),
    Shape("edges of 32 bits, deflated", edges_of_32_bits, {"codec": "deflate", "level": 1}, whole_in_soak=True),
]

SHAPES = [
    Shape("only empty folders", only_empty_folders),
    Shape("one empty file", one_empty_file),
    Shape("text", text),
    Shape("incompressible", incompressible),
    Shape("mixed", mixed_tree),
    Shape("mixed, stored", mixed_tree, {"codec": "store"}),
    Shape("mixed, reproducible", mixed_tree, {"reproducible": True}),
    Shape("hostile names", hostile_names),
    Shape("backslash names", backslash_names),
    Shape("unicode names", unicode_names),
    Shape("long names and deep trees", long_names_and_deep_trees),
    Shape("odd times", odd_times),
    Shape("odd times, reproducible", odd_times, {"reproducible": True}),
    Shape("stored links", stored_links, {"symlinks": "store"}),
    Shape("modes", modes),
    *LEVELS,
    *(Shape(f"{count} members", seventy_thousand, first=count) for count in (65_534, 65_535, 65_536, 70_000)),
    *HUGE,
]


@dataclass(frozen=True)
class OnDisk:
    """A member as the tree on disk says it must be."""

    kind: str
    mode: int
    modified: int
    size: int


def on_disk(tree: Path) -> dict[str, OnDisk]:
    """Return every file, link and empty folder of a tree under its member name."""
    found: dict[str, OnDisk] = {}
    for parent, folders, files in os.walk(tree):
        for name in folders + files:
            path = os.path.join(parent, name)
            seen = os.lstat(path)
            if stat.S_ISDIR(seen.st_mode) and os.listdir(path):
                continue
            kind = stat.filemode(seen.st_mode)[0]
            member = os.path.relpath(path, tree) + ("/" if kind == "d" else "")
            found[member] = OnDisk(kind, seen.st_mode & 0o777, int(seen.st_mtime // 1), seen.st_size)
    return found
