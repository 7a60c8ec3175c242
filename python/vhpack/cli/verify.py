"""`vhpack verify`: archives read to the last byte and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vhpack import archive as archives
from vhpack import sizes
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import PackError

if TYPE_CHECKING:
    from vhpack._engine import VerifyReport

_EXAMPLES = """\b
Examples:
  vhpack verify run7.zip
  vhpack verify shards/*.tar -q         says which are damaged, and where
"""

_SHOWN = 20  # damaged members of one archive; --json has all

_reading = under("Reading")
_output = under("Output")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Check that archives are sound.")
@click.argument("paths", nargs=-1, required=True, metavar="ARCHIVE...")
@_reading("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads. [default: one for each core]")
@_reading("--unsafe-limits", is_flag=True, help="Read what claims to be absurdly large, too.")
@_output("--json", is_flag=True, help="JSON Lines: one object for each archive.")
@_output("-q", "--quiet", is_flag=True, help="Print damage and errors only.")
def verify(**arguments: Any) -> int:  # noqa: ANN401
    """Read every member of zips and tars, and check headers, sizes and checksums.

    Prints OK or FAILED for each archive and exits with 1 unless all are sound. A plain tar has no checksums of contents: there,
    a sound archive is one that is complete and whose headers are right.
    """
    return ended(lambda: _verify(**arguments))


def _verify(paths: tuple[str, ...], jobs: int | None, *, unsafe_limits: bool, json: bool, quiet: bool) -> int:
    sound = True
    for path in paths:
        # One after the other, each on all cores; one that cannot be opened is no reason to leave out the rest.
        sound &= _one(path, jobs, unsafe_limits=unsafe_limits, json=json, quiet=quiet)
    return 0 if sound else 1


def _one(path: str, jobs: int | None, *, unsafe_limits: bool, json: bool, quiet: bool) -> bool:
    try:
        with archives.open(path, unsafe_limits=unsafe_limits) as archive:
            report = archive.verify(jobs=jobs, progress=not quiet)
    except PackError as error:
        _put_failure(path, error, json=json)
        return False
    if json:
        _put_object(path, report)
        return report.ok
    if not report.ok:
        screen.put(f"{screen.visible(path)}: FAILED")
    elif not quiet:
        screen.put(f"{screen.visible(path)}: OK")
    if not quiet:
        for warning in report.warnings:
            screen.say(f"Warning: {screen.visible(warning)}")
        rate = f"{report.bytes / max(report.seconds, 1e-6) / 1e6:,.0f} MB/s"
        screen.say(f"{screen.counted(report.members, 'member')}, {sizes.text(report.bytes)}, {report.seconds:.2f} s, {rate}")
    _say_damage(path, report)
    return report.ok


def _say_damage(path: str, report: VerifyReport) -> None:
    if report.damaged:
        screen.fail(f"{path}: {screen.counted(len(report.damaged), 'damaged member')}")
    for name, offset, why in report.damaged[:_SHOWN]:
        screen.say(f"  {screen.visible(name)} (at byte {offset:,}): {screen.visible(why)}")
    if len(report.damaged) > _SHOWN:
        screen.say(f"  ... and {len(report.damaged) - _SHOWN:,} more (all of them with --json)")


def _put_failure(path: str, error: PackError, *, json: bool) -> None:
    if json:
        screen.fail(str(error))
        screen.put_json({"archive": path, "ok": False, "error": {"kind": error.kind, "message": str(error)}})
    else:
        screen.put(f"{screen.visible(path)}: FAILED")
        screen.fail(str(error))


def _put_object(path: str, report: VerifyReport) -> None:
    damaged = [{"name": name, "offset": offset, "reason": why} for name, offset, why in report.damaged]
    fields = {name: getattr(report, name) for name in ("ok", "members", "files", "bytes", "warnings", "seconds")}
    screen.put_json({"archive": path, **fields, "damaged": damaged})
