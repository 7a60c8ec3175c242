"""Measure vhpack against its floors and its peers, and write `benches/RESULTS.md`. `make bench` runs this.

    python benches/run.py                          # everything: about half an hour, 30 GB of disk
    python benches/run.py --continue               # go on with a full run that was interrupted, at the section it was in
    python benches/run.py --only png json          # two sections, printed; RESULTS.md stays as it is
    python benches/run.py --scale 0.01 --rounds 1  # does it all work? a minute
    python benches/run.py --render                 # write RESULTS.md anew from the last full run's figures

It builds the program `floor`, makes the corpora that are missing (`benches/corpora.py`; folder: $VHPACK_BENCH_DIR, by default
`target/bench`) and the archive that is read (`benches/archives.py`), runs `benches/test_peers.py` under pytest-benchmark, one process a
section, so that an interrupted run keeps what it has measured, and turns its JSON into tables. A peer that is not installed is named in its table and left out. For the peers, Debian and Ubuntu have: zip unzip
p7zip-full libarchive-tools pigz zstd xxhash.

Leave the machine alone meanwhile: the report says how much else ran. What people wrote between the two remark lines of RESULTS.md
stays when it is written again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import archives
import corpora
import report
import trees
import uploading
from contestants import Setting
from results import Results
from sections import SECTIONS

BENCHES = Path(__file__).resolve().parent
QUIET_LOAD = 0.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SECTION", choices=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, help="at most so many, for every section")
    parser.add_argument("--scale", type=float, default=1, help="fraction of the corpora's full size (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="threads (default: all cores)")
    parser.add_argument("--vhpack", type=Path, help="the program to measure (default: the one beside this Python)")
    parser.add_argument("--output", type=Path, help="write the report here (default: RESULTS.md after a full run, else stdout)")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="measure only the sections that are missing")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_vhpack(wanted: Path | None) -> Path:
    found = wanted or shutil.which("vhpack", path=os.fspath(Path(sys.executable).parent)) or shutil.which("vhpack")
    if found is None or not Path(found).exists():
        sys.exit(f"there is no vhpack at {found or 'this Python or on PATH'}; `make build` makes it, --vhpack names it")
    return Path(found).absolute()


def build_floor() -> Path:
    command = ["cargo", "build", "--release", "--quiet", "-p", "vhpack-benches", "--bin", "floor", "--message-format", "json"]
    built = subprocess.run(command, cwd=BENCHES, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit("cargo could not build the floor program; its message is above")
    made = [json.loads(line).get("executable") for line in built.stdout.splitlines()]
    return Path(next(path for path in reversed(made) if path))


def make_sources(names: list[str], base: Path, scale: float, vhpack: Path, jobs: int) -> None:
    """Write corpora that are missing, and pack those that are read from an archive."""
    for name in names:
        for corpus in dict.fromkeys(contestant.corpus for contestant in SECTIONS[name].contestants if contestant.corpus):
            tree = corpora.ensure(corpus, base, scale)
            if SECTIONS[name].source.startswith("archive"):
                archives.ensure(tree, vhpack, jobs)


@contextlib.contextmanager
def server_for(names: list[str], base: Path, into: Path) -> Iterator[Mapping[str, str]]:
    """Run the server that is uploaded to, when some section does."""
    if not any(SECTIONS[name] in uploading.UPLOADING for name in names):
        yield {}
        return
    with uploading.server(uploading.root(into), base / "out" / "state") as known:
        yield known


def measure(setting: Setting, name: str, figures: Path, known: Mapping[str, str]) -> None:
    """Run one section; its figures are there once all of it has been measured."""
    part = figures.with_suffix(".part")
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-c", BENCHES / "pytest.ini", BENCHES / "test_peers.py", "-q"]
    command += ["--base", setting.base, "--floor", setting.floor, "--vhpack", setting.vhpack, "--jobs", str(setting.jobs)]
    command += ["--trees", setting.trees, "--section", name]
    command += ["--benchmark-json", part, "--benchmark-columns=min", "--benchmark-quiet"]
    command += ["--rounds", str(setting.rounds)] if setting.rounds else []
    if subprocess.run(command, cwd=BENCHES, env={**os.environ, **known}).returncode != 0:
        sys.exit(f"the section {name} did not end well; what failed is above")
    part.rename(figures)


def main() -> None:
    options = arguments()
    base = corpora.scaled_base(corpora.default_base(), options.scale).absolute()
    names = options.only or list(SECTIONS)
    complete = options.only is None and options.scale == 1 and options.rounds is None
    kept = base / ("figures" if complete or options.render else "figures-partial")
    figures = {name: kept / f"{name}.json" for name in names}
    vhpack = find_vhpack(options.vhpack)
    if not options.render:
        make_sources(names, base, options.scale, vhpack, options.jobs)
    into = trees.choose(base, corpora.find("png", base))
    setting = Setting(base, options.jobs, build_floor(), vhpack, into, options.rounds)
    if not options.render:
        if os.getloadavg()[0] > QUIET_LOAD:
            say(f"the machine is busy (load {os.getloadavg()[0]:.1f}); figures will be worse than they should be")
        kept.mkdir(parents=True, exist_ok=True)
        if not options.go_on:
            for path in figures.values():
                path.unlink(missing_ok=True)
        missing = [name for name in names if not figures[name].exists()]
        with trees.folder(into), trees.folder(trees.committed(base)), server_for(missing, base, into) as known:
            for name in missing:
                measure(setting, name, figures[name], known)
    target = options.output or (BENCHES / "RESULTS.md" if complete or options.render else None)
    text = report.render(
        Results.read(path for path in figures.values() if path.exists()), setting, report.kept_remarks(BENCHES / "RESULTS.md")
    )
    if target is None:
        print(text)
    else:
        target.write_text(text)
        say(f"wrote {target}")


if __name__ == "__main__":
    main()
