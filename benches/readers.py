"""The sections that read archives and trees, and those that write tar.zst.

Where contestants differ in what they do, the section's note says so. `7z` and `zstd` are allowed as many threads as vhpack; the other
peers have one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from contestants import Command, Contestant, Place, Section, floor, vhpack

# --- command lines --------------------------------------------------------------------------------------------------------------


def opens(reader: str) -> Command:
    return lambda place: reading(place, "open", reader)


def reads_members(reader: str, jobs: int | None = None) -> Command:
    return lambda place: [*reading(place, "members", reader), place.jobs if jobs is None else str(jobs)]


def reading(place: Place, what: str, reader: str) -> list[str]:
    script = Path(__file__).with_name("reading.py")
    return [sys.executable, os.fspath(script), what, reader, place.archive, os.fspath(place.source)]


def on_archive(subcommand: str) -> Command:
    def command(place: Place) -> list[str]:
        into = ["-d", os.fspath(place.output)] if subcommand == "extract" else []
        return [os.fspath(place.setting.vhpack), subcommand, place.archive, *into, "--jobs", place.jobs, "-q"]

    return command


def vhpack_hash(place: Place) -> list[str]:
    return [
        os.fspath(place.setting.vhpack),
        "hash",
        os.fspath(place.source),
        "--algorithm",
        "xxh3-128",
        "--jobs",
        place.jobs,
        "-q",
    ]


def unzip(place: Place) -> list[str]:
    return ["unzip", "-qq", place.archive, "-d", os.fspath(place.output)]


def unzip_test(place: Place) -> list[str]:
    return ["unzip", "-tqq", place.archive]


def bsdtar_extract(place: Place) -> list[str]:
    return ["bsdtar", "-xf", place.archive, "-C", os.fspath(place.output)]


def seven_zip_extract(place: Place) -> list[str]:
    return ["7z", "x", f"-mmt{place.jobs}", "-bso0", "-bsp0", f"-o{place.output}", place.archive]


def seven_zip_test(place: Place) -> list[str]:
    return ["7z", "t", f"-mmt{place.jobs}", "-bso0", "-bsp0", place.archive]


def tar_to_zstd(place: Place) -> list[str]:
    pipe = 'tar -cf - -C "$1" "$2" | zstd -q -3 -T"$3" -o "$4"'
    words = [os.fspath(place.source.parent), place.source.name, place.jobs, os.fspath(place.output)]
    return ["bash", "-o", "pipefail", "-c", pipe, "bash", *words]


def zstd(place: Place) -> list[str]:
    return ["zstd", "-q", "-3", f"-T{place.jobs}", place.only_file, "-o", os.fspath(place.output)]


def xxhsum(*options: str) -> Command:
    pipe = 'cd "$1" && shift && find . -type f -print0 | xargs -0 "$@" xxhsum -H2'

    def command(place: Place) -> list[str]:
        words = [place.jobs if option == "JOBS" else option for option in options]
        return ["bash", "-o", "pipefail", "-c", pipe, "bash", os.fspath(place.source), *words]

    return command


# --- sections -------------------------------------------------------------------------------------------------------------------

OPEN = Section(
    "open",
    "Opening the zip of the 200,000 PNG images",
    (
        Contestant("zipfile", opens("zipfile"), "png"),
        Contestant("vhpack", opens("vhpack"), "png"),
    ),
    source="archive",
    leaves="report",
    note="""\
From the path to the first name found, by the clock of one Python process: the median of five opens in it. Memory is that of the process's
first open: by how much the peak of its resident memory rose (mapped pages of the page cache included), and how much more anonymous memory
it has while the archive is open.
""",
)

MEMBERS = Section(
    "members",
    "10,000 random members of that zip",
    (
        Contestant("os.pread", reads_members("os.pread"), "png"),
        Contestant("zipfile", reads_members("zipfile"), "png"),
        Contestant("vhpack", reads_members("vhpack"), "png"),
        Contestant("zipfile, batches", reads_members("zipfile-batches"), "png"),
        Contestant("vhpack, batches, 1 thread", reads_members("vhpack-batches", jobs=1), "png"),
        Contestant("vhpack, batches", reads_members("vhpack-batches"), "png"),
    ),
    source="archive",
    leaves="report",
    note="""\
The same members in the same order, by the clock of one Python process, after opening: the median of five passes, behind one that compares
every byte. Read one by one and forgotten; or in batches of 256 that are kept until the next, as a loader does it, vhpack's by `read_many`.
`os.pread` is told where they lie, and checks nothing.
""",
)

EXTRACT = Section(
    "extract",
    "Extracting that zip",
    (
        Contestant("floor create", floor("create"), "png"),
        Contestant("vhpack extract", on_archive("extract"), "png"),
        Contestant("7z x", seven_zip_extract, "png", "7z"),
        Contestant("bsdtar -xf", bsdtar_extract, "png", "bsdtar"),
        Contestant("unzip", unzip, "png", "unzip", rounds=2),
    ),
    rounds=3,
    source="archive",
    leaves="tree",
    note="""\
Into a new folder each time, on the file system named above; all files are counted afterwards. Nobody waits for a disk. The floor creates,
writes and closes files of the same names and sizes: it reads no archive, checks no CRC-32 and sets no times. All others check, and set
times and modes; `unzip`, `bsdtar` and `7z` take one thread for it.
""",
)

VERIFY = Section(
    "verify",
    "Verifying that zip",
    (
        Contestant("vhpack verify", on_archive("verify"), "png"),
        Contestant("7z t", seven_zip_test, "png", "7z"),
        Contestant("unzip -tqq", unzip_test, "png", "unzip"),
    ),
    rounds=3,
    source="archive",
    leaves="report",
    note="All read every member and compare its CRC-32; `unzip` and `7z` take one thread for it.\n",
)

JSON_ZSTD = Section(
    "json-zstd",
    "The JSON files as tar.zst",
    (
        Contestant("vhpack", vhpack(), "json", suffix=".tar.zst"),
        Contestant("tar into zstd -3", tar_to_zstd, "json", "zstd", suffix=".tar.zst"),
    ),
    note="""\
vhpack at its default level, in frames of whole members with a seek table. `tar cf - … | zstd -3 -T` makes one frame, in which nothing can
be found without reading all before it; `tar` is a process of its own, beside zstd's threads. Both add a checksum of the contents.
""",
)

CHECKPOINT_ZSTD = Section(
    "checkpoint-zstd",
    "The checkpoint as tar.zst",
    (
        Contestant("vhpack", vhpack(), "checkpoint", suffix=".tar.zst"),
        Contestant("zstd -3", zstd, "checkpoint", "zstd", suffix=".zst"),
    ),
    rounds=3,
    note="`zstd` compresses the bare file, with no tar around it, into one frame. Both add a checksum of the contents.\n",
)

HASH = Section(
    "hash",
    "XXH3-128 of the PNG images",
    (
        Contestant("floor read", floor("read"), "png"),
        Contestant("vhpack hash", vhpack_hash, "png"),
        Contestant("xxhsum -H2", xxhsum(), "png", "xxhsum"),
        Contestant("xxhsum -H2, several processes", xxhsum("-n", "2000", "-P", "JOBS"), "png", "xxhsum"),
    ),
    leaves="lines",
    note="""\
The floor opens, reads and closes every file, hashes nothing and prints nothing. `find` names the files for `xxhsum`, which takes one
thread and prints them unsorted; several processes at once mix their lines.
""",
)

READING = (OPEN, MEMBERS, EXTRACT, VERIFY, JSON_ZSTD, CHECKPOINT_ZSTD, HASH)
