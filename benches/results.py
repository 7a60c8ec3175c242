"""Outcomes of one run of the suite, and the arithmetic on them: medians, paired ratios, targets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from measure import Outcome

MIB = 1 << 20
Measure = Callable[[Outcome], float]


def wall(outcome: Outcome) -> float:
    """Whole process, from start to end."""
    return outcome.wall


def strict(outcome: Outcome) -> float:
    """The floor's own clock: no process start, no listing of names."""
    return sum(seconds for phase, seconds in outcome.phases.items() if phase != "list")


def inside(phase: str) -> Measure:
    """Give the seconds of one phase, by the process's own clock."""
    return lambda outcome: outcome.phases.get(phase, math.nan)


removal, opening, reading, step, registering, resolving, calling = map(
    inside, ("remove", "open", "read", "step", "register", "resolve", "call")
)


def peak_growth(outcome: Outcome) -> float:
    return float(outcome.said.get("peak_growth", math.nan))


def memory(outcome: Outcome) -> float:
    return float(outcome.peak_memory)


def per_file(outcome: Outcome) -> float:
    return outcome.wall / outcome.files


class Results:
    """Outcomes by section, contestant and round."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.failures = {(outcome.section, outcome.contestant): outcome.failure for outcome in outcomes if outcome.failure}
        self.sections: dict[str, dict[str, dict[int, Outcome]]] = {}
        for outcome in outcomes:
            if not outcome.failure:
                self.sections.setdefault(outcome.section, {}).setdefault(outcome.contestant, {})[outcome.round] = outcome

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Results:
        """Read what pytest-benchmark wrote, a file a section."""
        known = {field.name for field in fields(Outcome)}
        outcomes = []
        for record in (record for path in paths for record in json.loads(path.read_text())["benchmarks"]):
            found: dict[str, Any] = {name: value for name, value in record["extra_info"].items() if name in known}
            outcomes.append(Outcome(**found))
        return cls(outcomes)

    def of(self, section: str, contestant: str) -> list[Outcome]:
        return list(self.sections.get(section, {}).get(contestant, {}).values())

    def values(self, section: str, contestant: str, measure: Measure = wall) -> list[float]:
        return [measure(outcome) for outcome in self.of(section, contestant)]

    def ratio(self, section: str, one: tuple[str, Measure], other: tuple[str, Measure]) -> float | None:
        """Give the median of one/other over the rounds in which both ran."""
        ones, others = (self.sections.get(section, {}).get(name, {}) for name, _ in (one, other))
        shared = sorted(set(ones) & set(others))
        return median(one[1](ones[number]) / other[1](others[number]) for number in shared) if shared else None

    def size(self, section: str, contestant: str) -> int | None:
        sizes = [outcome.size for outcome in self.of(section, contestant)]
        return max(sizes) if sizes else None


@dataclass(frozen=True)
class Target:
    """One promise, and what came of it."""

    section: str
    promise: str
    limit: float
    value: float | None
    shown: str = "{:.3f}"

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.value <= self.limit else "**missed**"


def targets(results: Results) -> list[Target]:
    """Every promise of a speed, a size or a bound, in the order of the sections."""
    every = (
        *png(results),
        *json_files(results),
        *checkpoint(results),
        *removal_targets(results),
        *small(results),
        *start(results),
        *random_access(results),
        *archive(results),
        *zstandard(results),
        *hashes(results),
        *uploads(results),
        *directories(results),
        *registry(results),
        *models(results),
    )
    return [target for target in every if target.section in results.sections]


def png(results: Results) -> list[Target]:
    def against(name: str, measure: Measure = wall) -> float | None:
        return results.ratio("png", ("vhpack", wall), (name, measure))

    return [
        Target("png", "time ≤ 1.3 x floor (the floor without listing and process start)", 1.3, against("floor", strict)),
        Target("png", "time ≤ 1/15 of valohai-utils", 1 / 15, against("valohai-utils")),
        Target("png", "time ≤ 1/3 of `7z -mx0`", 1 / 3, against("7z -tzip -mx0")),
        Target("png", "faster than `tar cf`", 1, against("tar cf")),
    ]


def json_files(results: Results) -> list[Target]:
    ours = "vhpack --level 2"

    def against(name: str, measure: Measure = wall) -> float | None:
        return results.ratio("json", (ours, wall), (name, measure))

    def size_against(name: str) -> float | None:
        our_size, their_size = results.size("json", ours), results.size("json", name)
        return our_size / their_size if our_size and their_size else None

    return [
        Target("json", "time ≤ 1.15 x second floor at level 2", 1.15, against("floor, level 2", strict)),
        Target("json", "time ≤ 1/5 of valohai-utils", 1 / 5, against("valohai-utils")),
        Target("json", "a smaller archive than valohai-utils", 1, size_against("valohai-utils")),
        Target("json", "time ≤ 0.36 x `7z -mx1`", 0.36, against("7z -tzip -mx1")),
        Target("json", "no larger than `7z -mx1`", 1, size_against("7z -tzip -mx1")),
    ]


def checkpoint(results: Results) -> list[Target]:
    stored = results.ratio("checkpoint", ("vhpack --codec store", wall), ("cp", wall))
    one_thread = results.ratio("deflate", ("vhpack, all threads", wall), ("vhpack, 1 thread", wall))
    pigz = results.ratio("deflate", ("vhpack, all threads", wall), ("pigz -1", wall))
    return [
        Target("checkpoint", "stored: time ≤ 1.3 x `cp`", 1.3, stored),
        Target("deflate", "all threads ≥ 1.8 x as fast as one (time ≤ 1/1.8)", 1 / 1.8, one_thread),
        Target("deflate", "faster than `pigz -1` on as many threads", 1, pigz),
    ]


def removal_targets(results: Results) -> list[Target]:
    whole = results.ratio("removal", ("vhpack --remove-originals", wall), ("floor, sync, unlink", strict))
    alone = results.ratio("removal", ("vhpack, removal alone", removal), ("rm -rf", wall))
    return [
        Target("removal", "time ≤ 1.15 x (floor + fdatasync + parallel unlink)", 1.15, whole),
        Target("removal", "the removal alone ≤ 0.8 x `rm -rf`", 0.8, alone),
    ]


def small(results: Results) -> list[Target]:
    many = "vhpack, 1,000,000 files"
    each = results.ratio("small", (many, per_file), ("vhpack, 100,000 files", per_file))
    bound = [outcome.peak_memory / (256 * MIB + 200 * outcome.files) for outcome in results.of("small", many)]
    return [
        Target("small", "1,000,000 files: time for each ≤ 1.15 x that of 100,000", 1.15, each),
        Target("small", "1,000,000 files: peak memory ≤ 256 MiB + 200 bytes a file", 1, max(bound, default=None)),
    ]


def start(results: Results) -> list[Target]:
    version = results.values("start", "vhpack --version")
    imported, bare = (results.values("start", name) for name in ("python -c 'import vhpack'", "python -c pass"))
    over = median(imported) - median(bare) if imported and bare else None
    return [
        Target("start", "`vhpack --version` ≤ 150 ms", 150, 1000 * median(version) if version else None, "{:.0f} ms"),
        Target("start", "`import vhpack` ≤ 40 ms over bare Python", 40, 1000 * over if over is not None else None, "{:.0f} ms"),
    ]


def random_access(results: Results) -> list[Target]:
    def opened(measure: Measure) -> float | None:
        return results.ratio("open", ("vhpack", measure), ("zipfile", measure))

    def members(ours: str, theirs: str) -> float | None:
        return results.ratio("members", (ours, reading), (theirs, reading))

    return [
        Target("open", "time ≤ 1/50 of `zipfile.ZipFile`", 1 / 50, opened(opening), "{:.4f}"),
        Target("open", "extra memory ≤ 1/10 of `zipfile.ZipFile`", 1 / 10, opened(peak_growth)),
        Target("members", "one by one ≥ 8 x as fast as `zipfile` (time ≤ 1/8)", 1 / 8, members("vhpack", "zipfile")),
        Target("members", "in batches, on one thread: the same", 1 / 8, members("vhpack, batches, 1 thread", "zipfile, batches")),
    ]


def archive(results: Results) -> list[Target]:
    def extract(name: str, measure: Measure = wall) -> float | None:
        return results.ratio("extract", ("vhpack extract", wall), (name, measure))

    verify = results.ratio("verify", ("vhpack verify", wall), ("unzip -tqq", wall))
    return [
        Target("extract", "time ≤ 1.5 x the create floor, strict", 1.5, extract("floor create", strict)),
        Target("extract", "time ≤ 1/4 of `unzip`", 1 / 4, extract("unzip")),
        Target("extract", "time ≤ 1/3 of `bsdtar -xf`", 1 / 3, extract("bsdtar -xf")),
        Target("extract", "time ≤ 1/3 of `7z x`", 1 / 3, extract("7z x")),
        Target("verify", "time ≤ 1/5 of `unzip -tqq`", 1 / 5, verify),
    ]


def zstandard(results: Results) -> list[Target]:
    found = []
    for section, peer, time_limit, size_limit in (
        ("json-zstd", "tar into zstd -3", 0.8, 1.05),
        ("checkpoint-zstd", "zstd -3", 1.0, 1.02),
    ):
        our_size, their_size = results.size(section, "vhpack"), results.size(section, peer)
        size = our_size / their_size if our_size and their_size else None
        time = results.ratio(section, ("vhpack", wall), (peer, wall))
        found += [
            Target(section, f"time ≤ {time_limit} x {peer}", time_limit, time),
            Target(section, f"size ≤ {size_limit} x {peer}", size_limit, size),
        ]
    return found


def hashes(results: Results) -> list[Target]:
    def against(name: str, measure: Measure = wall) -> float | None:
        return results.ratio("hash", ("vhpack hash", wall), (name, measure))

    return [
        Target("hash", "time ≤ 1.15 x the read floor, strict", 1.15, against("floor read", strict)),
        Target("hash", "time ≤ 0.5 x `xxhsum -H2`", 0.5, against("xxhsum -H2")),
    ]


def uploads(results: Results) -> list[Target]:
    others = ("rclone copy", "rclone copy, 8 at once", "boto3", "obstore")

    def worst(section: str, measure: Measure) -> float | None:
        """Against the best of the others: the largest of the ratios."""
        ratios = [results.ratio(section, ("vhpack upload", measure), (name, measure)) for name in others]
        return max((ratio for ratio in ratios if ratio is not None), default=None)

    alone = [
        results.ratio("upload-pack", ("pack and upload at once", wall), (name, wall)) for name in ("pack alone", "upload alone")
    ]
    return [
        Target("upload", "one file: as fast as the fastest of the others", 1, worst("upload", wall)),
        Target("upload", "one file: peak memory ≤ 1/2 of each of the others'", 0.5, worst("upload", memory)),
        Target("upload-small", "many files: as fast as the fastest of the others", 1, worst("upload-small", wall)),
        Target("upload-pack", "time ≤ 1.15 x the slower of the two alone", 1.15, min(filter(None, alone), default=None)),
        Target(
            "upload-loop",
            "a step ≤ 1.1 x one alone",
            1.1,
            results.ratio("upload-loop", ("while uploading", step), ("the loop alone", step)),
        ),
    ]


def directories(results: Results) -> list[Target]:
    commit = results.ratio("directory", ("vhpack.OutputDir", wall), ("plain files, folders synced", wall))
    return [Target("directory", "time ≤ 1.5 x the files alone, with only their folders on disk", 1.5, commit)]


def models(results: Results) -> list[Target]:
    package = results.ratio("package", ("update_weights_package", wall), ("vhpack compress", wall))
    called = results.ratio("package", ("update_weights_package", calling), ("vhpack compress", wall))
    peak = results.values("package", "update_weights_package", memory)
    used = max(peak) / MIB if peak else None
    return [
        Target("package", "time of the call ≤ 1.2 x `vhpack compress` of the same tree", 1.2, called),
        Target("package", "time until it is stored, read again for SHA-256, ≤ 1.2 x the same", 1.2, package),
        Target("package", "memory ≤ 500 MB", 500, used, "{:.0f} MB"),
    ]


def registry(results: Results) -> list[Target]:
    def seconds(section: str, name: str, measure: Measure) -> float | None:
        found = results.values(section, name, measure)
        return median(found) if found else None

    found = seconds("resolve", "vhpack.data.get", resolving)
    return [
        Target(
            "register", "one properties file: ≤ 10 s", 10, seconds("register", "one properties file", registering), "{:.1f} s"
        ),
        Target("register", "a sidecar each: ≤ 10 s", 10, seconds("register", "a sidecar each", registering), "{:.1f} s"),
        Target("resolve", "≤ 2 ms", 2, None if found is None else 1000 * found, "{:.2f} ms"),
    ]
