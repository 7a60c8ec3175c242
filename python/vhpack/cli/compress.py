"""`vhpack compress`: pack files into one archive."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from vhpack import _packing, sizes
from vhpack.cli import screen
from vhpack.cli.sections import Command, under
from vhpack.cli.signals import Stop
from vhpack.errors import NoFilesError, OptionError, PackError, PackOSError, SourceNotFoundError

if TYPE_CHECKING:
    from vhpack._engine import PackReport, PlanReport

_EXAMPLES = """\b
Examples:
  vhpack compress 'resized/*.png'      makes resized.zip of a.png, b.png, ...
  vhpack compress 'train/*.png' 'val/*.png' -o sets.zip  of train/a.png, ...
  vhpack compress runs --exclude '*.tmp' --exclude __pycache__ --dry-run
  find . -name '*.npy' -print0 | vhpack compress --files-from - -0 -o npy.zip
"""


class _Size(click.ParamType[int]):
    """An amount of bytes like 256MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        try:
            return sizes.parse(value)
        except OptionError as error:
            self.fail(str(error), param, ctx)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    sources: tuple[str, ...]
    files_from: str | None
    null: bool
    output: str | None
    dry_run: bool
    json: bool
    quiet: bool
    verbose: bool
    settings: _packing.Settings


_SETTINGS = tuple(field.name for field in dataclasses.fields(_packing.Settings))

_archive = under("Archive and originals")
_files = under("Files")
_method = under("Method")
_output = under("Output")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Pack files into one archive.")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@_archive("-o", "--output", metavar="FILE", help="A .zip, .tar, .tar.gz or .tar.zst. [default: the common folder's name + .zip]")
@_archive("--shard-size", type=_Size(), metavar="SIZE", help="Make numbered archives of at most SIZE of files each.")
@_archive("--manifest", is_flag=True, help="Write FILE.manifest.jsonl beside it: members and digests.")
@_archive("--force", is_flag=True, help="Replace an existing archive.")
@_archive("--remove-originals", is_flag=True, help="Remove the files once their archive is on disk.")
@_archive("--durable", is_flag=True, help="Return only when the archive is on disk.")
@_files("--root", metavar="DIR", help="Name members relative to DIR. [default: common folder]")
@_files("--exclude", metavar="GLOB", multiple=True, help="Leave out names, or whole paths if GLOB has a /.")
@_files("--hidden", is_flag=True, help="Let wildcards match names that start with a dot.")
@_files("--files-from", metavar="FILE", help="Read more paths, no patterns, from FILE or - (stdin).")
@_files("-0", "--null", is_flag=True, help="In that list, names end with NUL (find -print0).")
@_files(
    "--symlinks",
    metavar="HOW",
    type=click.Choice(["skip", "follow", "store"]),
    default="follow",
    help="follow (pack what they lead to), store, or skip.",
)
@_files(
    "--on-change",
    metavar="HOW",
    type=click.Choice(["error", "skip"]),
    default="error",
    help="A file changes while it is read: error, or skip it.",
)
@_method(
    "--codec",
    metavar="HOW",
    type=click.Choice(["auto", "store", "deflate", "zstd"]),
    default="auto",
    help="auto (by content), store, deflate, or zstd.",
)
@_method("--level", type=click.IntRange(0, 12), metavar="0-12", help="Effort: 0 stores, 12 is smallest. [default: 5; zstd: 3]")
@_method("--align", type=click.IntRange(0), metavar="N", help="Let stored members begin at multiples of 64 or 4096.")
@_method("--jobs", type=click.IntRange(1), metavar="N", help="Threads. [default: one for each core]")
@_method("--memory", type=_Size(), metavar="SIZE", help="Memory for buffers. [default: 256MiB]")
@_method("--reproducible", is_flag=True, help="Same bytes on every machine: one time, plain modes.")
@_output("--dry-run", is_flag=True, help="Print the member names, write nothing.")
@_output("--json", is_flag=True, help="Print the report as one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@_output("-v", "--verbose", is_flag=True, help="List the members, and all that was left out.")
def compress(**arguments: Any) -> int:  # noqa: ANN401
    """Pack files, folders and what quoted patterns match into one archive.

    A folder is packed with everything below it; patterns follow Python's glob rules, ** included. A file's codec is
    chosen by its content. The archive appears complete or not at all.
    """
    try:
        settings = _packing.Settings(**{name: arguments.pop(name) for name in _SETTINGS})
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    wanted = _Wanted(settings=settings, **arguments)
    if wanted.quiet and wanted.verbose:
        raise click.UsageError("-q and -v contradict each other; give one of them")
    if not wanted.sources and wanted.files_from is None:
        raise click.UsageError("no SOURCE: name files, folders or quoted patterns, or give --files-from")
    if wanted.null and wanted.files_from is None:
        raise click.UsageError("-0 says how --files-from is read; give --files-from, too")
    try:
        return _compress(wanted)
    except PackError as error:
        message, filename = str(error), getattr(error, "filename", None)
        if wanted.files_from is not None and str(filename).endswith("\r"):
            message += f"; the lines of {wanted.files_from} end as on Windows: remove the carriage returns"
        _fail(wanted, error.kind, message, getattr(error, "errno", None), filename)
        return 2 if isinstance(error, OptionError) else 1
    except KeyboardInterrupt:
        screen.end_line()
        _fail(wanted, "interrupted", "interrupted; nothing is lost: originals go only after their archive is complete")
        return (click.get_current_context().find_object(Stop) or Stop()).status


def _compress(wanted: _Wanted) -> int:
    sources = _packing.encode(wanted.sources)
    literals = b"" if wanted.files_from is None else _listed(wanted.files_from, null=wanted.null)
    if not sources and not literals:
        raise NoFilesError(f"No files to compress: the list {wanted.files_from} names none")
    target = None if wanted.output is None else os.fsencode(wanted.output)
    if wanted.dry_run:
        return _show_plan(wanted, _packing.plan(sources, literals, target, wanted.settings))
    if wanted.verbose:
        _say_members(wanted, sources, literals, target)
    return _show_report(wanted, _packing.run(sources, literals, target, wanted.settings, progress=not wanted.quiet))


def _say_members(wanted: _Wanted, sources: bytes, literals: bytes, target: bytes | None) -> None:
    # What stands in the way of the plan, the pack itself says, unless it is to finish an earlier removal.
    with contextlib.suppress(PackError):
        screen.say_names(_packing.plan(sources, literals, target, wanted.settings).members)


def _listed(source: str, *, null: bool) -> bytes:
    """Read a list of paths into the engine's form; a million names stay one object."""
    try:
        content = _read(source)
    except FileNotFoundError as error:
        raise SourceNotFoundError(error.errno, f"the list {source} does not exist; give a file or -", source) from None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read the list {source}: {error.strerror}", source) from None
    if not null:
        if b"\0" in content:
            raise OptionError(f"the list {source} holds NUL bytes; say -0 when its names end with NUL")
        content = content.replace(b"\n", b"\0")
    return content.strip(b"\0")  # empty lines between others mean nothing to the engine


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read() if sys.stdin else b""
    with open(source, "rb") as file:
        return file.read()


def _show_plan(wanted: _Wanted, plan: PlanReport) -> int:
    if wanted.json:
        screen.put_json(_fields(plan, "target members files directories links bytes_in skipped warnings"))
    else:
        screen.put_names(plan.members)
    if not wanted.quiet:
        _say_remarks(wanted, plan)
        screen.say(
            f"{screen.visible(plan.target)}: would hold {screen.counted(plan.files, 'file')},"
            f" {sizes.text(plan.bytes_in)}; nothing was written"
        )
    return 0


def _show_report(wanted: _Wanted, report: PackReport) -> int:
    if not wanted.quiet:
        _say_remarks(wanted, report)
        screen.say(screen.closing(report))
    if report.kept:
        screen.say_pairs(
            f"Error: the archive is complete, but {screen.counted(len(report.kept), 'original')} could not be removed",
            report.kept,
            everything=wanted.verbose,
        )
    if wanted.json:
        screen.put_json(
            _fields(
                report,
                "target targets manifests files directories links bytes_in bytes_out seconds stored deflated zstd resumed"
                " removed kept skipped warnings digest digests",
            )
        )
    return 1 if report.kept else 0


def _say_remarks(wanted: _Wanted, report: PackReport | PlanReport) -> None:
    for warning in report.warnings:
        screen.say(f"Warning: {screen.visible(warning)}")
    if report.skipped:
        screen.say_pairs(f"Left out {len(report.skipped):,}", report.skipped, everything=wanted.verbose)


def _fields(report: PackReport | PlanReport, names: str) -> dict[str, object]:
    fields = {name: getattr(report, name) for name in names.split()}
    for name in ("kept", "skipped"):
        if name in fields:
            fields[name] = [{"path": path, "reason": reason} for path, reason in fields[name]]
    return fields


def _fail(wanted: _Wanted, kind: str, message: str, errno: int | None = None, filename: str | None = None) -> None:
    screen.fail(message)
    if wanted.json:
        screen.put_json({"error": {"kind": kind, "message": message, "errno": errno, "filename": filename}})
