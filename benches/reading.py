"""Open a zip, or read random members of it, again and again in one process, and print medians as JSON on one line.

    python reading.py open READER ARCHIVE FOLDER
    python reading.py members READER ARCHIVE FOLDER JOBS

The clock and the books are this process's own, since starting Python is not the point. FOLDER has the files that were packed.

`open` takes the time from the path to the first name found, so that no index is put off till later. Its memory is that of the first open
in a fresh process: by how much the peak of what was resident, pages of the page cache that are mapped included, lies above what was
resident before (`peak_growth`), and how much more anonymous memory there is while the archive is open (`held`).

`members` reads the same 10,000 members in the same random order. zipfile, vhpack and os.pread read one by one and forget each; os.pread is
given their places and checks nothing: what the kernel and Python's bytes cost. zipfile-batches and vhpack-batches keep 256 at a time, as a
loader does, which costs fresh memory; vhpack-batches asks `read_many` for them, on JOBS threads. Every reader goes through all once,
compared with the files, before the clock starts.
"""

from __future__ import annotations

import gc
import json
import os
import struct
import sys
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from random import Random
from statistics import median

import vhpack

REPEATS = 5
MEMBERS = 10_000
BATCH = 256
"""What a loader asks for at a time."""
LOCAL_HEADER = 30

Read = Callable[[list[str]], Iterable[bytes]]


# --- open -----------------------------------------------------------------------------------------------------------------------


def open_zipfile(path: str, name: str) -> AbstractContextManager[object]:
    archive = zipfile.ZipFile(path)
    archive.getinfo(name)
    return archive


def open_vhpack(path: str, name: str) -> AbstractContextManager[object]:
    archive = vhpack.open(path)
    if name not in archive:
        raise KeyError(name)
    return archive


def measure_open(reader: str, path: str, folder: Path) -> dict[str, object]:
    # Not all names: the memory that a list leaves free would not be counted when the archive takes it.
    with os.scandir(folder) as entries:
        name = next(entries).name
    memory = open_once(reader, path, name)
    seconds = []
    for _ in range(REPEATS):
        gc.collect()
        started = time.perf_counter()
        archive = opened(reader, path, name)
        seconds.append(time.perf_counter() - started)
        with archive:
            pass
        del archive
    return {**memory, "phases": {"open": {"wall": median(seconds)}}}


def opened(reader: str, path: str, name: str) -> AbstractContextManager[object]:
    return open_zipfile(path, name) if reader == "zipfile" else open_vhpack(path, name)


def open_once(reader: str, path: str, name: str) -> dict[str, object]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    resident, anonymous = pages("status", "VmRSS"), pages("smaps_rollup", "Anonymous")
    with opened(reader, path, name):
        peak, held = pages("status", "VmHWM"), pages("smaps_rollup", "Anonymous")
    return {"peak_growth": peak - resident, "held": held - anonymous}


def pages(file: str, field: str) -> int:
    """Give a figure of this process's memory in bytes."""
    for line in Path("/proc/self", file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/self/{file} has no line {field}")


# --- members --------------------------------------------------------------------------------------------------------------------


def measure_members(reader: str, path: str, folder: Path, jobs: int) -> dict[str, object]:
    files = sorted(os.listdir(folder))
    names = Random(20_261_120).sample(files, min(MEMBERS, len(files)))
    read = reading(reader, path, names, jobs)
    for name, contents in zip(names, read(names), strict=True):
        if contents != (folder / name).read_bytes():
            sys.exit(f"{reader} gives other bytes for {name} than the file has")
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        deque(read(names), maxlen=0)
        seconds.append(time.perf_counter() - started)
    return {"members": len(names), "phases": {"read": {"wall": median(seconds)}}}


def reading(reader: str, path: str, names: list[str], jobs: int) -> Read:
    if reader.startswith("zipfile"):
        opened = zipfile.ZipFile(path)
        if reader == "zipfile":
            return lambda wanted: map(opened.read, wanted)
        return lambda wanted: chain.from_iterable(list(map(opened.read, batch)) for batch in batches(wanted))
    if reader == "os.pread":
        places = stored_places(path, names)
        descriptor = os.open(path, os.O_RDONLY)
        return lambda wanted: (os.pread(descriptor, size, offset) for offset, size in map(places.__getitem__, wanted))
    archive = vhpack.open(path)
    if reader == "vhpack":
        return lambda wanted: map(archive.__getitem__, wanted)
    return lambda wanted: chain.from_iterable(archive.read_many(batch, jobs=jobs) for batch in batches(wanted))


def batches(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def stored_places(path: str, names: list[str]) -> dict[str, tuple[int, int]]:
    """Give offset and size of the bytes of stored members."""
    places = {}
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for member in map(archive.getinfo, names):
            file.seek(member.header_offset)
            name_length, extra_length = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
            places[member.filename] = (member.header_offset + LOCAL_HEADER + name_length + extra_length, member.compress_size)
    return places


def main() -> None:
    what, reader, path, folder, *jobs = sys.argv[1:]
    if what == "open":
        report = measure_open(reader, path, Path(folder))
    else:
        report = measure_members(reader, path, Path(folder), int(jobs[0]))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
