"""One run of one contestant: a clean start, the clock, and what there is to say afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import corpora
import memory
import trees
import uploading
from contestants import Contestant, Place, Section, Setting

QUIET_SPAN = 0.3
"""Seconds of rest that are asked for before a run."""
QUIET_SHARE = 0.15
"""Of one core; ticks of 10 ms make the figure coarse."""
QUIET_PATIENCE = 60


@dataclass
class Outcome:
    """What one run took and made."""

    section: str
    contestant: str
    round: int
    wall: float = 0
    """Seconds of the whole process, measured by the launcher."""
    cpu: float = 0
    peak_memory: int = 0
    size: int = 0
    files: int = 0
    bytes_in: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds inside the process, when it reports them: the floor's strict figures."""
    said: dict[str, Any] = field(default_factory=dict)
    """The report that the contestant printed as JSON."""
    failure: str = ""
    """Why there are no figures."""
    others_cpu: float = 0
    """Seconds of CPU that anything else took meanwhile, the kernel's writers included."""
    stolen_cpu: float = 0
    """Seconds of CPU that the host took away meanwhile."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Run:
    """Prepare, start and clean up one run; only `start` is timed."""

    def __init__(self, setting: Setting, section: Section, contestant: Contestant, number: int) -> None:
        self.setting, self.section, self.contestant = setting, section, contestant
        self.scratch = setting.base / "out"
        self.place = Place(setting, self._source(number), self._output(number))
        self.outcome = Outcome(section.name, contestant.name, number)

    def _source(self, number: int) -> Path:
        if self.section.source == "clone":
            position = self.section.contestants.index(self.contestant)
            return self.scratch / f"clone-{number}-{position}"
        return self.setting.base / self.contestant.corpus

    def _output(self, number: int) -> Path:
        position = self.section.contestants.index(self.contestant)
        if self.section.leaves == "tree":
            return self.setting.trees / f"{self.section.name}-{number}-{position}"
        if self.section.leaves == "directory":
            return trees.committed(self.setting.base) / f"{self.section.name}-{number}-{position}"
        if self.contestant.name == "pack alone":
            # Where the one that is also uploaded is packed to.
            return self.scratch / f"pack-{number}"
        if self.section in uploading.UPLOADING:
            return uploading.root(self.setting.trees) / uploading.BUCKET / f"{self.section.name}-{number}-{position}"
        return self.scratch / f"out{self.contestant.suffix}"

    def prepare(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        if self.section.leaves == "tree" or self.contestant.name == "pack alone":
            self.place.output.mkdir(parents=True)
        elif self.section.leaves == "directory":
            os.sync()
            wait_for_quiet()
        elif self.section not in uploading.UPLOADING:
            self.place.output.unlink(missing_ok=True)
        if self.contestant.corpus:
            tree = corpora.find(self.contestant.corpus, self.setting.base)
            if tree is None:
                raise FileNotFoundError(f"the corpus {self.contestant.corpus} is not complete; benches/corpora.py makes it")
            self.outcome.files, self.outcome.bytes_in = tree.files, tree.bytes
            os.sync()
            wait_for_quiet()
            memory.touch_free_memory(tree.bytes)
            if self.section.source.startswith("archive"):
                ask_floor(self.setting, "copy", self.place.archive, os.devnull)
            if self.section.source != "archive":
                warm(self.setting, self.place.source)

    def start(self) -> None:
        try:
            self._start()
        except RuntimeError as error:
            self.outcome.failure = str(error)

    def _start(self) -> None:
        printed = self.scratch / "stdout"
        command = self.contestant.command(self.place)
        busy, stolen = cpu_seconds()
        launched = subprocess.run(
            [self.setting.floor, "run", "--stdout", printed, "--", *command],
            capture_output=True,
            text=True,
            env={**os.environ, **self.contestant.environment},
            cwd=self.scratch,
        )
        if launched.returncode != 0 or not launched.stdout:
            raise RuntimeError(f"the launcher failed: {launched.stderr.strip()}")
        usage = json.loads(launched.stdout)
        if usage["exit"] != 0:
            raise RuntimeError(f"`{' '.join(command)}` exited with {usage['exit']}: {launched.stderr.strip()[-500:]}")
        self.outcome.wall = usage["wall"]
        self.outcome.cpu = usage["user"] + usage["system"]
        self.outcome.peak_memory = usage["peak_memory"]
        later_busy, self.outcome.stolen_cpu = (
            after - before for after, before in zip(cpu_seconds(), (busy, stolen), strict=True)
        )
        self.outcome.others_cpu = max(0.0, later_busy - self.outcome.cpu)
        self._read_report(printed)

    def _read_report(self, printed: Path) -> None:
        lines = printed.read_text(errors="replace").splitlines()
        self._read_json(lines)
        if self.section.leaves == "lines" and self.outcome.said.get("files", len(lines)) != self.outcome.files:
            raise RuntimeError(f"{self.outcome.files:,} files, and {len(lines):,} lines about them")

    def _read_json(self, lines: list[str]) -> None:
        if lines and lines[-1].startswith("{"):
            said = json.loads(lines[-1])
            self.outcome.phases = {name: phase["wall"] for name, phase in said.pop("phases", {}).items()}
            self.outcome.said = {name: value for name, value in said.items() if isinstance(value, int | float | str)}

    def clean(self) -> None:
        if self.section.leaves == "tree" or self.section in uploading.UPLOADING:
            self._clean_tree()
        elif self.section.leaves == "directory":
            self.outcome.size = sum(os.lstat(path).st_size for path in files_below(self.place.output))
        elif self.place.output.exists():
            self.outcome.size = self.place.output.stat().st_size
            self.place.output.unlink()
        if self.section.source == "clone":
            shutil.rmtree(self.place.source, ignore_errors=True)

    def _clean_tree(self) -> None:
        if self.section.leaves == "report":
            shutil.rmtree(self.place.output, ignore_errors=True)
            return
        sizes = [os.lstat(path).st_size for path in files_below(self.place.output)]
        self.outcome.size = sum(sizes)
        whole = len(sizes) == 1 if self.section.leaves == "one object" else sizes_match(sizes, self.outcome)
        if not self.outcome.failure and not whole:
            self.outcome.failure = f"it left {len(sizes):,} files of {sum(sizes):,} bytes, which are not those of the corpus"
        shutil.rmtree(self.place.output, ignore_errors=self.section in uploading.UPLOADING)


def sizes_match(sizes: list[int], outcome: Outcome) -> bool:
    return (len(sizes), sum(sizes)) == (outcome.files, outcome.bytes_in)


def files_below(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names)


def warm(setting: Setting, source: Path) -> None:
    """Read every file into the page cache, once before every run: kernels that page out what is cold leave none there for long."""
    ask_floor(setting, "pack", os.fspath(source), os.devnull)


def clone(setting: Setting, run: Run) -> None:
    """Put a fresh copy of the corpus on disk for a run that will remove it; the first read also settles its access times."""
    shutil.rmtree(run.place.source, ignore_errors=True)
    run.scratch.mkdir(parents=True, exist_ok=True)
    ask_floor(setting, "clone", os.fspath(setting.base / run.contestant.corpus), os.fspath(run.place.source))
    warm(setting, run.place.source)


def ask_floor(setting: Setting, *arguments: str) -> dict[str, Any]:
    finished = subprocess.run([setting.floor, *arguments], capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(finished.stderr.strip())
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def wait_for_quiet() -> None:
    """Wait until nothing else runs, but not for ever: a busy machine gets bad figures, and the report says that it was busy."""
    deadline = time.monotonic() + QUIET_PATIENCE
    while time.monotonic() < deadline:
        before, _ = cpu_seconds()
        time.sleep(QUIET_SPAN)
        if (cpu_seconds()[0] - before) / QUIET_SPAN < QUIET_SHARE:
            return


def cpu_seconds() -> tuple[float, float]:
    """Give the seconds that all cores have worked, and those that the host has taken."""
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + interrupts + soft) / ticks, stolen / ticks
