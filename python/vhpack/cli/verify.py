"""`vhpack verify`: archives read to the last byte and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import _manifests, sizes
from vhpack import archive as archives
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import PackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack._engine import VerifyReport

_EXAMPLES = """\b
Examples:
  vhpack verify run7.zip
  vhpack verify run7.tar.zst --manifest
  vhpack verify shards/*.tar -q         says which are damaged, and where
"""

_SHOWN = 20  # damaged members of one archive; --json has all

_reading = under("Reading")
_output = under("Output")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Check that archives are sound.")
@click.argument("paths", nargs=-1, required=True, metavar="ARCHIVE...")
@_reading("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads. [default: one for each core]")
@_reading("--manifest", is_flag=True, help="Compare with the manifest beside each archive, too.")
@_reading("--unsafe-limits", is_flag=True, help="Read what claims to be absurdly large, too.")
@_output("--json", is_flag=True, help="JSON Lines: one object for each archive.")
@_output("-q", "--quiet", is_flag=True, help="Print damage and errors only.")
def verify(**arguments: Any) -> int:  # noqa: ANN401
    """Read every member of zips and tars, and check headers, sizes and checksums.

    Prints OK or FAILED for each archive and exits with 1 unless all are sound. A plain tar has no checksums of contents: there,
    a sound archive is one that is complete and whose headers are right.
    """
    wanted = _Wanted(**arguments)
    return ended(lambda: _verify(wanted))


@dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    paths: tuple[str, ...]
    jobs: int | None
    manifest: bool
    unsafe_limits: bool
    json: bool
    quiet: bool


def _verify(wanted: _Wanted) -> int:
    # One after the other, each on all cores; one that cannot be opened is no reason to leave out the rest.
    sound = [_one(path, wanted) for path in wanted.paths]
    return 0 if all(sound) else 1


def _one(path: str, wanted: _Wanted) -> bool:
    try:
        with archives.open(path, unsafe_limits=wanted.unsafe_limits, progress=not wanted.quiet) as archive:
            report = archive.verify(jobs=wanted.jobs, progress=not wanted.quiet)
            changes = _manifests.differences(archive, wanted.jobs) if wanted.manifest else []
    except PackError as error:
        _put_failure(path, error, json=wanted.json)
        return False
    sound = report.ok and not changes
    if wanted.json:
        _put_object(path, report, changes)
        return sound
    if not sound:
        screen.put(f"{screen.visible(path)}: FAILED")
    elif not wanted.quiet:
        screen.put(f"{screen.visible(path)}: OK")
    if not wanted.quiet:
        for warning in report.warnings:
            screen.say(f"Warning: {screen.visible(warning)}")
        rate = f"{report.bytes / max(report.seconds, 1e-6) / 1e6:,.0f} MB/s"
        screen.say(f"{screen.counted(report.members, 'member')}, {sizes.text(report.bytes)}, {report.seconds:.2f} s, {rate}")
    _say_places(f"{path}: {screen.counted(len(report.damaged), 'damaged member')}", report.damaged)
    _say_places(f"{path}: {screen.counted(len(changes), 'difference')} from the manifest", changes)
    return sound


def _say_places(title: str, places: Sequence[tuple[str, int, str]]) -> None:
    if places:
        screen.fail(title)
    for name, offset, why in places[:_SHOWN]:
        screen.say(f"  {screen.visible(name)} (at byte {offset:,}): {screen.visible(why)}")
    if len(places) > _SHOWN:
        screen.say(f"  ... and {len(places) - _SHOWN:,} more (all of them with --json)")


def _put_failure(path: str, error: PackError, *, json: bool) -> None:
    if json:
        screen.fail(str(error))
        screen.put_json({"archive": path, "ok": False, "error": {"kind": error.kind, "message": str(error)}})
    else:
        screen.put(f"{screen.visible(path)}: FAILED")
        screen.fail(str(error))


def _put_object(path: str, report: VerifyReport, changes: Sequence[tuple[str, int, str]]) -> None:
    fields = {name: getattr(report, name) for name in ("members", "files", "bytes", "warnings", "seconds")}
    sound = report.ok and not changes
    screen.put_json({"archive": path, "ok": sound, **fields, "damaged": _placed(report.damaged), "changed": _placed(changes)})


def _placed(places: Sequence[tuple[str, int, str]]) -> list[dict[str, object]]:
    return [{"name": name, "offset": offset, "reason": why} for name, offset, why in places]
