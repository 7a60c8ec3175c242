"""What runs against what: the terms of every section, and those that pack, with the command line of every contestant."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import archives

ROUNDS = 3


@dataclass(frozen=True)
class Setting:
    """What holds for the whole run."""

    base: Path
    jobs: int
    floor: Path
    vhpack: Path
    trees: Path
    """Where extracted trees go; see `trees.py`."""
    rounds: int | None = None
    """Instead of each section's own number, for quick checks."""


@dataclass(frozen=True)
class Place:
    """Where one run reads and writes."""

    setting: Setting
    source: Path
    output: Path

    @property
    def jobs(self) -> str:
        return str(self.setting.jobs)

    @property
    def archive(self) -> str:
        """Name the zip of the corpus, which `archives.py` made."""
        return os.fspath(archives.path(self.source))

    @property
    def only_file(self) -> str:
        return os.fspath(self.source / "model.safetensors")


Command = Callable[[Place], list[str]]


@dataclass(frozen=True)
class Contestant:
    """One program with its options, on one corpus."""

    name: str
    command: Command
    corpus: str
    program: str = ""
    """What must be installed, when that is not part of the project: a program, or `import NAME`."""
    suffix: str = ".zip"
    rounds: int | None = None
    """Fewer than the section's, for what takes minutes."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """Say what is missing on this machine, or nothing."""
        if self.program.startswith("import "):
            module = self.program.removeprefix("import ")
            return "" if importlib.util.find_spec(module) else f"the Python module {module} is not installed"
        return "" if not self.program or shutil.which(self.program) else f"{self.program} is not installed"


@dataclass(frozen=True)
class Section:
    """Contestants that are compared with each other, in turn, round after round."""

    name: str
    title: str
    contestants: tuple[Contestant, ...]
    rounds: int = ROUNDS
    source: Literal["corpus", "clone", "archive", "archive and corpus"] = "corpus"
    """What is in the page cache when the clock starts; a clone is for contestants that remove their source, and on disk before."""
    leaves: Literal["archive", "tree", "directory", "lines", "report", "objects", "one object"] = "archive"
    """A tree goes into a new folder below `Setting.trees`, and must have every file; a directory lies on the corpora's disk until all has
    run, since ext4 is slow to create files where as many were removed; of lines on stdout there is one a file. Objects
    are on the server of `uploading.py`, under a prefix of the run's own, and must be every file, or one archive of them."""
    note: str = ""
    """What a reader of the table must know, above it."""


# --- command lines --------------------------------------------------------------------------------------------------------------


def vhpack(pattern: str = "*", *options: str) -> Command:
    def command(place: Place) -> list[str]:
        source = os.fspath(place.source / pattern) if pattern else os.fspath(place.source)
        jobs = () if "--jobs" in options else ("--jobs", place.jobs)
        return [os.fspath(place.setting.vhpack), "compress", source, "-o", os.fspath(place.output), *jobs, "--json", *options]

    return command


def floor(subcommand: str, *options: str) -> Command:
    def command(place: Place) -> list[str]:
        source = place.only_file if subcommand == "copy" else os.fspath(place.source)
        output = [] if subcommand in {"unlink", "read"} else [os.fspath(place.output)]
        return [os.fspath(place.setting.floor), subcommand, source, *output, "--threads", place.jobs, *options]

    return command


def tar(place: Place) -> list[str]:
    return ["tar", "-cf", os.fspath(place.output), "-C", os.fspath(place.source.parent), place.source.name]


def bsdtar(place: Place) -> list[str]:
    options = ["--format", "zip", "--options", "zip:compression=store"]
    return ["bsdtar", *options, "-cf", os.fspath(place.output), "-C", os.fspath(place.source.parent), place.source.name]


def seven_zip(level: int) -> Command:
    def command(place: Place) -> list[str]:
        options = ["-tzip", f"-mx{level}", f"-mmt{place.jobs}", "-bso0", "-bsp0"]
        return ["7z", "a", *options, os.fspath(place.output), os.fspath(place.source)]

    return command


def info_zip(level: int) -> Command:
    return lambda place: ["zip", "-q", f"-{level}", "-r", os.fspath(place.output), os.fspath(place.source)]


VALOHAI = "import sys, valohai; valohai.outputs().compress(sys.argv[1], sys.argv[2], remove_originals=False)"


def valohai(place: Place) -> list[str]:
    return [sys.executable, "-c", VALOHAI, os.fspath(place.source / "*"), os.fspath(place.output)]


def pigz(place: Place) -> list[str]:
    return ["sh", "-c", 'exec pigz -1 -p "$1" -c "$2" > "$3"', "sh", place.jobs, place.only_file, os.fspath(place.output)]


def cp(place: Place) -> list[str]:
    return ["cp", place.only_file, os.fspath(place.output)]


def rm(place: Place) -> list[str]:
    return ["rm", "-rf", os.fspath(place.source)]


def stages(place: Place) -> list[str]:
    script = Path(__file__).with_name("stages.py")
    return [sys.executable, os.fspath(script), os.fspath(place.source), os.fspath(place.output), place.jobs]


def python(code: str) -> Command:
    return lambda _: [sys.executable, "-c", code]


# --- sections -------------------------------------------------------------------------------------------------------------------

VALOHAI_HOME = {"VH_OUTPUTS_DIR": "/"}
"""Sources and target are absolute; this keeps valohai-utils from making its folders in the working directory."""

PNG = Section(
    "png",
    "200,000 PNG images of about 11 KB",
    (
        Contestant("floor", floor("pack"), "png", suffix=".bytes"),
        Contestant("vhpack", vhpack(), "png"),
        Contestant("tar cf", tar, "png", "tar", suffix=".tar"),
        Contestant("bsdtar, stored zip", bsdtar, "png", "bsdtar"),
        Contestant("7z -tzip -mx0", seven_zip(0), "png", "7z"),
        Contestant("zip -0", info_zip(0), "png", "zip", rounds=2),
        Contestant("valohai-utils", valohai, "png", "import valohai", rounds=1, environment=VALOHAI_HOME),
    ),
    rounds=5,
)

JSON = Section(
    "json",
    "20,000 JSON files of about 11 KB",
    (
        Contestant("floor, level 2", floor("pack", "--level", "2"), "json", suffix=".bytes"),
        Contestant("vhpack --level 2", vhpack("*", "--level", "2"), "json"),
        Contestant("vhpack", vhpack(), "json"),
        Contestant("7z -tzip -mx1", seven_zip(1), "json", "7z"),
        Contestant("zip -1", info_zip(1), "json", "zip"),
        Contestant("valohai-utils", valohai, "json", "import valohai", rounds=2, environment=VALOHAI_HOME),
    ),
    rounds=5,
)

LEVELS = Section(
    "levels",
    "The same JSON files at every level",
    tuple(
        contestant
        for level in range(13)
        for contestant in (
            Contestant(f"floor, level {level}", floor("pack", "--level", str(level)), "json", suffix=".bytes"),
            Contestant(f"vhpack --level {level}", vhpack("*", "--level", str(level)), "json"),
        )
    ),
    rounds=1,
)

CHECKPOINT = Section(
    "checkpoint",
    "One bf16 checkpoint of 2 GiB, stored",
    (
        Contestant("cp", cp, "checkpoint", "cp", suffix=".copy"),
        Contestant("floor copy", floor("copy"), "checkpoint", suffix=".copy"),
        Contestant("vhpack --codec store", vhpack("*", "--codec", "store"), "checkpoint"),
        Contestant("vhpack", vhpack(), "checkpoint"),
        Contestant("tar cf", tar, "checkpoint", "tar", suffix=".tar"),
        Contestant("7z -tzip -mx0", seven_zip(0), "checkpoint", "7z"),
    ),
    rounds=5,
)

DEFLATE = Section(
    "deflate",
    "The same checkpoint, deflated at level 1",
    (
        Contestant("vhpack, 1 thread", vhpack("*", "--codec", "deflate", "--level", "1", "--jobs", "1"), "checkpoint"),
        Contestant("vhpack, all threads", vhpack("*", "--codec", "deflate", "--level", "1"), "checkpoint"),
        Contestant("pigz -1", pigz, "checkpoint", "pigz", suffix=".gz"),
    ),
    rounds=2,
)

REMOVAL = Section(
    "removal",
    "The PNG images, packed and removed",
    (
        Contestant("floor, sync, unlink", floor("pack", "--sync", "--unlink"), "png", suffix=".bytes"),
        Contestant("vhpack --remove-originals", vhpack("*", "--remove-originals"), "png"),
        Contestant("rm -rf", rm, "png", "rm"),
        Contestant("vhpack, removal alone", stages, "png"),
    ),
    rounds=2,
    source="clone",
)

SMALL = Section(
    "small",
    "Text files of 1 KB: does the time for each stay the same?",
    (
        Contestant("floor, 100,000 files", floor("pack"), "small-100k", suffix=".bytes"),
        Contestant("vhpack, 100,000 files", vhpack(""), "small-100k"),
        Contestant("floor, 1,000,000 files", floor("pack"), "small-1m", suffix=".bytes"),
        Contestant("vhpack, 1,000,000 files", vhpack(""), "small-1m"),
    ),
)

START = Section(
    "start",
    "What a process costs before it does anything",
    (
        Contestant("python -c pass", python("pass"), ""),
        Contestant("python -c 'import vhpack'", python("import vhpack"), ""),
        Contestant("vhpack --version", lambda place: [os.fspath(place.setting.vhpack), "--version"], ""),
    ),
    rounds=15,
)

PACKING = (PNG, JSON, LEVELS, CHECKPOINT, DEFLATE, REMOVAL, SMALL, START)
