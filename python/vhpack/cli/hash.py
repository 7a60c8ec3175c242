"""`vhpack hash`: digests of files, and lists of them checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import hashing
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import PackOSError, SourceNotFoundError

if TYPE_CHECKING:
    from vhpack.hashing import Algorithm

_EXAMPLES = """\b
Examples:
  vhpack hash images > images.xxh3      every file below images/
  vhpack hash --check images.xxh3 -q    says what is missing or differs
  vhpack hash 'data/**/*.npy' --algorithm sha256 > SHA256SUMS
  sha256sum -c SHA256SUMS               others read it, and vhpack theirs
"""

_what = under("What")
_output = under("Output")


@dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    paths: tuple[str, ...]
    algorithm: Algorithm | None
    check: str | None
    exclude: tuple[str, ...]
    hidden: bool
    jobs: int | None
    json: bool
    quiet: bool

    @property
    def progress(self) -> bool:
        # On one terminal, lines and a bar would run into each other.
        return not self.quiet and not (screen.stdout_is_terminal() and not self.json)


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Hash files, or check a list of digests.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@_what("--algorithm", metavar="NAME", type=click.Choice(hashing.ALGORITHMS), help="xxh3-128 (default), blake3, sha256 or crc32.")
@_what("--check", metavar="FILE", help="Check the files that FILE or - (stdin) lists.")
@_what("--exclude", metavar="GLOB", multiple=True, help="Leave out names, or whole paths if GLOB has a /.")
@_what("--hidden", is_flag=True, help="Let wildcards match names that start with a dot.")
@_what("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads. [default: one for each core]")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print no OK in a check, no bar, nothing left out.")
def hash(**arguments: Any) -> int:  # noqa: A001, ANN401
    """Print the digests of files, of all files in folders, and of what quoted patterns match.

    A lone - is stdin. Lines are those that sha256sum, b3sum, xxhsum and rhash write. A check reads them, and tagged ones,
    and exits with 1 unless every file is there and the same.
    """
    wanted = _Wanted(**arguments)
    if bool(wanted.paths) == (wanted.check is not None):
        raise click.UsageError("name files, folders or quoted patterns, or a list with --check; and not both")
    if wanted.check is not None and (wanted.exclude or wanted.hidden):
        raise click.UsageError("--exclude and --hidden are about PATHs; --check takes what its list names")
    return ended(lambda: _hash(wanted) if wanted.check is None else _check(wanted, wanted.check), json=wanted.json)


def _hash(wanted: _Wanted) -> int:
    stdin = wanted.paths == ("-",)
    algorithm = wanted.algorithm or "xxh3-128"
    report = hashing.run(
        wanted.paths,
        algorithm,
        exclude=wanted.exclude,
        hidden=wanted.hidden,
        stdin=stdin,
        jobs=wanted.jobs,
        write=None if wanted.json else screen.put_lines,
        progress=wanted.progress,
    )
    if not wanted.quiet:
        for warning in report.warnings:
            screen.say(f"Warning: {screen.visible(warning)}")
        if report.skipped:
            screen.say_pairs(f"Left out {len(report.skipped):,}", report.skipped)
    for _, why in report.failed:
        screen.fail(why)
    if wanted.json:
        skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
        screen.put_json(
            {
                "algorithm": algorithm,
                "files": report.files,
                "bytes_in": report.bytes_in,
                "seconds": report.seconds,
                "digests": dict(report.digests),
                "skipped": skipped,
                "warnings": report.warnings,
            }
        )
    return 1 if report.failed else 0


def _check(wanted: _Wanted, source: str) -> int:
    try:
        lines = screen.read_stdin() if source == "-" else _read(source)
    except FileNotFoundError as error:
        raise SourceNotFoundError(error.errno, f"the list {source} does not exist; give a file or -", source) from None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read the list {source}: {error.strerror}", source) from None
    report = hashing.check(
        lines,
        wanted.algorithm,
        quiet=wanted.quiet,
        jobs=wanted.jobs,
        write=None if wanted.json else screen.put_lines,
        progress=wanted.progress,
    )
    if wanted.json:
        failed = [{"path": path, "reason": reason} for path, reason in report.failed]
        counts = {name: getattr(report, name) for name in ("same", "differing", "unreadable", "malformed", "bytes_in", "seconds")}
        screen.put_json({**counts, "failed": failed})
    else:
        _say_failures(report.differing, report.unreadable, report.malformed)
    if report.differing and not report.same and wanted.algorithm is None and _may_be_md5(lines):
        screen.say(
            "Digests of 32 digits were taken for xxh3-128. Those of MD5 are as long, and vhpack cannot check them: md5sum -c can."
        )
    return 1 if report.failed or report.malformed else 0


def _say_failures(differing: int, unreadable: int, malformed: list[int]) -> None:
    if differing:
        screen.fail(f"{screen.counted(differing, 'file')} with another digest than the list's")
    if unreadable:
        screen.fail(f"{screen.counted(unreadable, 'listed file')} missing or unreadable")
    if malformed:
        screen.fail(f"{screen.counted(len(malformed), 'line')} without a digest and a name; the first is line {malformed[0]}")


def _may_be_md5(lines: bytes) -> bool:
    import re

    return re.search(rb"^\\?[0-9A-Fa-f]{32} [ *]", lines, re.MULTILINE) is not None


def _read(source: str) -> bytes:
    with open(source, "rb") as file:
        return file.read()
