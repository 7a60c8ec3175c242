"""Trees to pack: contents that compress, contents that do not, and what a folder looked like before."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that no codec makes smaller."""
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int = 1) -> bytes:
    """Lines of JSON that deflate to about a fifth."""
    chance = random.Random(seed)
    lines: list[str] = []
    length = 0
    while length < size:
        line = f'{{"label": "{chance.choice(("cat", "dog", "bird"))}", "score": {chance.random():.6f}, "box": [{chance.randrange(640)}, {chance.randrange(480)}]}}\n'
        lines.append(line)
        length += len(line)
        if length > 1 * MIB and length < size:
            block = "".join(lines)
            lines = [block] * (size // length + 1)
            break
    return "".join(lines).encode()[:size]


def png(seed: int = 1, side: int = 32) -> bytes:
    """A real PNG of noise."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    chance = random.Random(seed)
    rows = b"".join(b"\0" + chance.randbytes(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bf16(count: int, seed: int = 1) -> bytes:
    """Weights as a checkpoint holds them: normal deviates cut to bfloat16."""
    chance = random.Random(seed)
    values = [chance.gauss(0.0, 0.02) for _ in range(min(count, 65536))]
    block = b"".join(struct.pack("<f", value)[2:] for value in values)
    shuffled = [block[2 * i : 2 * i + 2] for i in range(len(block) // 2)]
    parts = [block]
    while sum(map(len, parts)) < 2 * count:
        chance.shuffle(shuffled)
        parts.append(b"".join(shuffled))
    return b"".join(parts)[: 2 * count]


def write_tree(base: Path, files: Mapping[str, bytes | None]) -> Path:
    """Write each name with its content below `base`; None makes an empty folder."""
    base.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = base / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return base


def sparse(path: Path, size: int, marks: Mapping[int, bytes] | None = None) -> Path:
    """A file of `size` bytes that takes no room on the disk, with `marks` written at their offsets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in (marks or {}).items():
            file.seek(offset)
            file.write(content)
    return path


def mixed_tree(base: Path) -> Path:
    """The everyday tree: text, images, an empty file, an empty folder, a hidden file, one file above 4 MiB."""
    return write_tree(
        base,
        {
            "labels/train.json": prose(40_000, 1),
            "labels/val.json": prose(9_000, 2),
            "images/0001.png": png(1),
            "images/0002.png": png(2),
            "images/empty": None,
            "empty.txt": b"",
            "short.txt": b"x",
            ".hidden": b"hidden\n",
            "noise.bin": noise(70_000),
            "weights/large.json": prose(5 * MIB, 3),
        },
    )


@dataclass(frozen=True)
class Seen:
    """One name in a folder as it was."""

    kind: str
    mode: int
    inode: int
    modified: int
    content: str


def snapshot(folder: Path) -> dict[str, Seen]:
    """Every name below `folder` with all that a failed pack must not have changed."""
    seen: dict[str, Seen] = {}
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(parent, name)
            found = os.lstat(path)
            kind = stat.filemode(found.st_mode)[0]
            modified = 0 if kind == "d" else found.st_mtime_ns
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(folder)))
            seen[relative] = Seen(kind, found.st_mode, found.st_ino, modified, _content(path, kind))
    return seen


def _content(path: bytes, kind: str) -> str:
    if kind == "l":
        return os.fsdecode(os.readlink(path))
    if kind != "-":
        return ""
    mode = os.lstat(path).st_mode
    if not mode & 0o400:
        return "unreadable"
    with open(path, "rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read()).hexdigest()
        )


def contents(folder: Path) -> dict[str, bytes]:
    """Name and bytes of every regular file below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def folder_names(folder: Path) -> set[str]:
    """Every name below `folder`, hidden ones too."""
    return set(snapshot(folder))
