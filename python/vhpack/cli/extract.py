"""`vhpack extract`: members of an archive, written to a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import archive as archives
from vhpack import sizes
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under

if TYPE_CHECKING:
    from vhpack._engine import ExtractReport

_EXAMPLES = """\b
Examples:
  vhpack extract run7.zip -d there      everything, below there/
  vhpack extract run7.zip logs '**/*.json'
  vhpack extract run7.tar.zst -d here --strip 1 --skip-existing
"""

_INTERRUPTED = "interrupted; the files extracted so far are complete and stay"

_files = under("Files")
_output = under("Output")


@dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    archive: str
    globs: tuple[str, ...]
    directory: str
    overwrite: bool
    skip_existing: bool
    strip: int
    allow_collisions: bool
    jobs: int | None
    unsafe_limits: bool
    json: bool
    quiet: bool


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Extract an archive, or some of its members.")
@click.argument("archive")
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@_files("-d", "--directory", metavar="DIR", default=".", help="Where to; made if missing. [default: here]")
@_files("--overwrite", is_flag=True, help="Replace files that are there already.")
@_files("--skip-existing", is_flag=True, help="Keep files that are there already.")
@_files("--strip", type=click.IntRange(0, 512), metavar="N", default=0, help="Take N folders off the front of each name.")
@_files("--allow-collisions", is_flag=True, help="Write names that differ in case or accents alone, too.")
@_files("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads. [default: one for each core]")
@_files("--unsafe-limits", is_flag=True, help="Extract what claims to be absurdly large, too.")
@_output("--json", is_flag=True, help="Print the report as one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def extract(**arguments: Any) -> int:  # noqa: ANN401
    """Extract a zip or tar, or the members, folders and quoted patterns that are named.

    Nothing is ever written outside DIR, whatever the archive says. A file that is there already ends the call before
    anything is written, unless it is to be replaced or kept. Devices and links that lead outside DIR are left
    out and reported, files that are encrypted or packed by an unknown method are named at the end, and the exit status is 1.
    """
    wanted = _Wanted(**arguments)
    if wanted.overwrite and wanted.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other; give one of them")
    return ended(lambda: _extract(wanted), json=wanted.json, interrupted=_INTERRUPTED)


def _extract(wanted: _Wanted) -> int:
    with archives.open(wanted.archive, unsafe_limits=wanted.unsafe_limits, progress=not wanted.quiet) as archive:
        report = archive.extract(
            wanted.directory,
            wanted.globs or None,
            existing="overwrite" if wanted.overwrite else "skip" if wanted.skip_existing else "error",
            strip=wanted.strip,
            allow_collisions=wanted.allow_collisions,
            jobs=wanted.jobs,
            progress=not wanted.quiet,
        )
    if report.refused:
        screen.fail(f"{screen.counted(report.refused, 'member')} of {wanted.archive} could not be extracted")
    if not wanted.quiet:
        for warning in report.warnings:
            screen.say(f"Warning: {screen.visible(warning)}")
        if report.skipped:
            screen.say_pairs(f"Left out {len(report.skipped):,}", report.skipped)
        screen.say(_closing(report))
    if wanted.json:
        fields = {
            name: getattr(report, name)
            for name in ("dest", "files", "directories", "links", "bytes", "refused", "warnings", "seconds")
        }
        screen.put_json({**fields, "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped]})
    return 1 if report.refused else 0


def _closing(report: ExtractReport) -> str:
    done = [screen.counted(report.files, "file")]
    if report.directories:
        done.append(screen.counted(report.directories, "folder"))
    if report.links:
        done.append(screen.counted(report.links, "link"))
    rate = f"{report.bytes / max(report.seconds, 1e-6) / 1e6:,.0f} MB/s"
    return f"{screen.visible(report.dest)}: {', '.join([*done, sizes.text(report.bytes), f'{report.seconds:.2f} s', rate])}"
