"""A directory of many small files: written plainly, and committed as a whole.

    python directories.py plain|vhpack FOLDER

Both write the same files from memory, with one thread of their own. The plain one brings the folders' names to the disk, and of the
files nothing: that is the least that a job can do who wants to find its files by their names after a crash.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from random import Random

from contestants import Command, Contestant, Place, Section

COUNT = 100_000
SIZE = 1_000
IN_A_FOLDER = 1_000


def files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes, no two alike."""
    noise = Random(7).randbytes(COUNT + SIZE)
    for number in range(COUNT):
        yield f"{number // IN_A_FOLDER:03}/{number:06}.bin", noise[number : number + SIZE]


def plainly(folder: str) -> None:
    made = {folder}
    os.makedirs(folder)
    for name, content in files():
        path = os.path.join(folder, name)
        above = os.path.dirname(path)
        if above not in made:
            os.makedirs(above)
            made.add(above)
        with open(path, "wb") as file:
            file.write(content)
    for above in made:
        descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)


def committed(folder: str) -> None:
    import vhpack

    with vhpack.OutputDir(folder) as out:
        for name, content in files():
            out.write_bytes(name, content)


def command(how: str) -> Command:
    def words(place: Place) -> list[str]:
        return [sys.executable, os.path.abspath(__file__), how, os.fspath(place.output)]

    return words


DIRECTORY = Section(
    "directory",
    "100,000 files of 1 KB, written from memory",
    (
        Contestant("plain files, folders synced", command("plain"), ""),
        Contestant("vhpack.OutputDir", command("vhpack"), ""),
    ),
    leaves="directory",
    note="The commit has every file on disk, with its digest in a manifest; the plain one has the names there, and no bytes.\n",
)


def main() -> None:
    how, folder = sys.argv[1:]
    since = time.perf_counter()
    {"plain": plainly, "vhpack": committed}[how](folder)
    print(json.dumps({"files": COUNT, "phases": {"write": {"wall": time.perf_counter() - since}}}))


if __name__ == "__main__":
    main()
