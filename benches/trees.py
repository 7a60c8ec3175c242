"""Where extracted trees go: into memory where it has the room.

ext4 skips recently deleted inodes one by one: the same `bsdtar -xf` of 200,000 files took 12.7 s on tmpfs, and 73 to 91 s on an ext4
where as many files had just been removed. A bench that extracts again and again would measure that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import memory
from corpora import Tree

SHARED_MEMORY = Path("/dev/shm")
ROOM_A_FILE = 4096
"""Half a page is lost at the end of a file, on average; its inode and its name take about 1 KiB."""


def choose(base: Path, tree: Tree | None) -> Path:
    """Give a folder of this process on tmpfs when the tree fits there beside its cached archive, else one on the corpora's disk."""
    needed = tree.bytes + ROOM_A_FILE * tree.files if tree else 0
    archive = tree.bytes if tree else 0
    room = shutil.disk_usage(SHARED_MEMORY).free if os.path.ismount(SHARED_MEMORY) else 0
    fits = room > needed and memory.available_bytes() > needed + archive
    return SHARED_MEMORY / f"vhpack-bench-{os.getpid()}" if fits else base / "out" / "trees"


def committed(base: Path) -> Path:
    """Give the folder, on the corpora's disk, of directories that are removed when all has run."""
    return base / "out" / "directories"


@contextmanager
def folder(chosen: Path) -> Iterator[None]:
    """Have it there meanwhile, for this user alone; what an interrupted run left in it goes with it."""
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(chosen, ignore_errors=True)
