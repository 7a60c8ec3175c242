"""`vhpack data`: registered files."""

from __future__ import annotations

import contextlib
import json as coding
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import datums, registrar, sizes
from vhpack.cli import screen, tables
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import PackError, PackOSError, SourceNotFoundError

if TYPE_CHECKING:
    from vhpack.registry.records import Datum

_EXAMPLES = """\b
Examples:
  vhpack data add cats.csv --alias cats --tag raw
  vhpack data list --tag raw
  vhpack data verify
  vhpack data export > books.jsonl
"""
_ADD_EXAMPLES = """\b
Examples:
  vhpack data add cats.csv
  vhpack data add model.pt --alias model-prod --tag resnet --property accuracy=0.93
"""
_DAY = 86_400.0

_what = under("What")
_output = under("Output")


@dataclass(frozen=True)
class _Added:
    """The command line of `add`, as click read it."""

    files: tuple[str, ...]
    name: str | None
    alias: str | None
    tag: tuple[str, ...]
    property: tuple[str, ...]
    json: bool


@click.group("data", epilog=_EXAMPLES, short_help="Register files, and find them again.")
def data() -> None:
    """Add, find, check and give up registered files. Their contents never change; datum://ID is one of them for good."""


@data.command("add", cls=Command, epilog=_ADD_EXAMPLES, short_help="Register files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_what("--name", metavar="NAME", help="What to call it. [default: its own name]")
@_what("--alias", metavar="NAME", help="An alias that is to mean it.")
@_what("--tag", metavar="TAG", multiple=True, help="A word to find it by; several may be given.")
@_what("--property", metavar="NAME=VALUE", multiple=True, help="A property; a value that is JSON is taken as such.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def add(**arguments: Any) -> int:  # noqa: ANN401
    """Register each FILE, all or none, and keep a copy of its content. The files stay as they are."""
    wanted = _Added(**arguments)
    if len(wanted.files) > 1 and (wanted.name or wanted.alias):
        raise click.UsageError("--name and --alias are for one FILE")
    properties = dict(_property(text) for text in wanted.property)

    def work() -> int:
        added = datums.register(wanted.files, name=wanted.name, alias=wanted.alias, tags=wanted.tag, properties=properties)
        _put(added, json=wanted.json)
        return 0

    return ended(work, json=wanted.json)


@data.command("list", cls=Command, short_help="List registered files.")
@click.argument("glob", required=False)
@_what("--tag", metavar="TAG", help="Only those that have it.")
@_what("--run", metavar="RUN", help="Only those that it made.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def list_data(glob: str | None, *, tag: str | None, run: str | None, json: bool) -> int:
    """List the registered files, or those whose name matches a quoted GLOB; * crosses folders."""

    def work() -> int:
        _put(datums.find(glob, tag=tag, run=run), json=json)
        return 0

    return ended(work, json=json)


@data.command("show", cls=Command, short_help="Show what is known of a file.")
@click.argument("target")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def show(target: str, *, json: bool) -> int:
    """Show all that is known of TARGET: a datum:// URI or a datum's ID."""

    def work() -> int:
        found = datums.get(target)
        fields = _fields(found)
        if json:
            screen.put_json(fields)
        else:
            texts = [(name, coding.dumps(value) if isinstance(value, dict) else _text(value)) for name, value in fields.items()]
            tables.put_fields([(name, text) for name, text in texts if name != "kind"])
        return 0

    return ended(work, json=json)


@data.command("verify", cls=Command, short_help="Read contents, and tell which are damaged.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def verify(targets: tuple[str, ...], *, json: bool) -> int:
    """Read the contents of each TARGET, or of all that are in the store, and exit with 1 unless all are what they were."""

    def work() -> int:
        wrong = datums.verify(*targets)
        if json:
            screen.put_json({"damaged": [{**_fields(datum), "problem": why} for datum, why in wrong]})
        for datum, why in wrong:
            screen.fail(f"{datum.uri} ({datum.name}): its content {why}")
        if not wrong and not json:
            screen.say("all contents are what they were")
        return 1 if wrong else 0

    return ended(work, json=json)


@data.command("purge", cls=Command, short_help="Give up the content of files.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@_what("--force", is_flag=True, help="Also what aliases, runs or datasets refer to.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def purge(targets: tuple[str, ...], *, force: bool, json: bool) -> int:
    """Give up the content of each TARGET, of all or none; what is known stays, and so does what was uploaded."""

    def work() -> int:
        _put(datums.give_up(targets, force=force), json=json)
        return 0

    return ended(work, json=json)


@data.command("gc", cls=Command, short_help="Remove contents that nobody needs.")
@_what("--unused", is_flag=True, help="Purge files, too, that no alias, run or dataset refers to.")
@_what("--older-than", type=click.FloatRange(min=0), default=_DAY, metavar="SECONDS", help="Only older ones. [default: 86400]")
@_what("--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def gc(*, unused: bool, older_than: float, dry_run: bool, json: bool) -> int:
    """Remove contents of the store that no registered file has: what killed processes have left."""

    def work() -> int:
        swept = datums.gc(unused_for=older_than if unused else None, dry_run=dry_run)
        if json:
            counts = {"contents": swept.contents, "bytes": swept.size, "staged": swept.staged}
            screen.put_json({"purged": [_fields(datum) for datum in swept.purged], **counts, "dry_run": dry_run})
            return 0
        would = "would be " if dry_run else ""
        purged = f"{screen.counted(len(swept.purged), 'file')} {would}purged, " if unused else ""
        screen.say(f"{purged}{screen.counted(swept.contents, 'content')} of {sizes.text(swept.size)} {would}removed")
        return 0

    return ended(work, json=json)


@data.command("export", cls=Command, short_help="Write the books as JSON Lines.")
@_output("-o", "--output", "output", metavar="FILE", help="Write to FILE and not to stdout.")
def export(*, output: str | None) -> int:
    """Write all that is known of the project as JSON Lines.

    That is runs and the data that they were given, registered files, versions of datasets, and aliases with their histories.
    Contents are not in it, nor is what `vhpack model` knows.
    """

    def work() -> int:
        registry = registrar.known()
        from vhpack.registry import transfer

        lines = (coding.dumps(entry) + "\n" for entry in transfer.exported(registry))
        if output is None:
            screen.put_bytes("".join(lines).encode())
        else:
            _write(output, lines)
        return 0

    return ended(work)


@data.command("import", cls=Command, short_help="Take over what export has written.")
@click.argument("file")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def take_in(file: str, *, json: bool) -> int:
    """Take over an export, FILE or - (stdin), all or nothing. What is known already stays as it is."""

    def work() -> int:
        lines = _lines(file)
        registry = registrar.opened()
        from vhpack.registry import taking

        new = taking.take_in(registry, lines, file)
        files, names, runs = new["datum"], new["alias"], new["run"]
        if json:
            counts = {"datums": files, "aliases": names, "runs": runs, "dataset_versions": new["dataset-version"]}
            screen.put_json(counts)
        else:
            aliases = f"{names:,} {'alias' if names == 1 else 'aliases'}"
            others = f"{screen.counted(runs, 'run')}, {screen.counted(new['dataset-version'], 'dataset version')}"
            screen.say(f"{screen.counted(files, 'file')}, {aliases}, {others} taken over")
        return 0

    return ended(work, json=json)


def _property(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--property {text!r} must be NAME=VALUE")
    try:
        return name, coding.loads(value)
    except ValueError:
        return name, value


def _put(found: list[Datum], *, json: bool) -> None:
    if json:
        screen.put_json({"data": [_fields(datum) for datum in found]})
        return
    rows = [
        (
            datum.name,
            sizes.text(datum.size),
            "purged" if datum.purged else datum.run or "added",
            tables.when(datum.created),
            datum.uri,
        )
        for datum in found
    ]
    tables.put(("Name", "Size", "From", "Registered", "Datum"), rows)


def _fields(datum: Datum) -> dict[str, object]:
    from vhpack.registry.transfer import datum_fields

    return datum_fields(datum)


def _text(value: object) -> str:
    return "-" if value in (None, [], {}) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(file: str) -> list[str]:
    try:
        if file == "-":
            content = screen.read_stdin()
        else:
            with open(file, "rb") as source:
                content = source.read()
    except FileNotFoundError as error:
        raise SourceNotFoundError(error.errno, f"the export {file} does not exist; give a file or -", file) from None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read the export {file}: {error.strerror}", file) from None
    return content.decode("utf-8", "surrogateescape").split("\n")


def _write(output: str, lines: Any) -> None:  # noqa: ANN401 - an iterator of texts
    staged = f"{output}.{os.getpid()}.staged"
    try:
        with open(staged, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, output)
    except OSError as error:
        if isinstance(error, PackError):
            raise
        raise PackOSError(error.errno, f"cannot write {output}: {error.strerror}", output) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
