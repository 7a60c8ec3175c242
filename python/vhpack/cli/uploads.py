"""`vhpack uploads`: what is recorded of unfinished uploads, and giving up the stale ones."""

from __future__ import annotations

import time

import click

from vhpack import outbox, sizes, uploading
from vhpack.cli import screen, sending
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under

_EXAMPLES = """\b
Examples:
  vhpack uploads                         what is recorded
  vhpack uploads --sweep --dry-run       what a sweep would give up
  vhpack uploads --sweep --older-than 3600
"""
_DAY = 86_400.0

_sweep = under("Sweep")
_output = under("Output")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="List unfinished uploads, or give up the stale ones.")
@_sweep("--sweep", is_flag=True, help="Give up what no process is at: parts at the store cost money.")
@_sweep(
    "--older-than", type=click.FloatRange(min=0), default=_DAY, metavar="SECONDS", help="Only what is older. [default: 86400]"
)
@_sweep("--dry-run", is_flag=True, help="Say what would be given up, and do nothing.")
@_sweep("--option", metavar="NAME=VALUE", multiple=True, help="Of the server or the account, for all of them.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def uploads(*, sweep: bool, older_than: float, dry_run: bool, option: tuple[str, ...], json: bool, quiet: bool) -> int:
    """List what is recorded of uploads that have not ended.

    A sweep aborts those of them that no process is at, so that the store forgets their parts, and forgets the records.
    Only uploads that vhpack began are ever aborted. The files stay.
    """
    if dry_run and not sweep:
        raise click.UsageError("--dry-run says what --sweep would do; give --sweep, too")
    given = sending.read_options(option)

    def work() -> int:
        found = uploading.swept(older_than=older_than, dry_run=dry_run, given=given) if sweep else uploading.records()
        if json:
            screen.put_json({"swept" if sweep else "uploads": found})
        elif found:
            screen.put_names(map(_given_up if sweep else _line, found))
        if not quiet:
            screen.say(_closing(len(found), sweep=sweep, dry_run=dry_run))
        return 1 if any(record.get("error") for record in found) and sweep else 0

    return ended(work, json=json)


def _line(record: dict[str, object]) -> str:
    sent, total, created = record.get("bytes_sent"), record.get("bytes_total"), record.get("created")
    far = f"{sizes.text(float(str(sent or 0)))} of {sizes.text(float(str(total)))}" if total is not None else "size not known"
    age = f", {time.time() - float(str(created)):,.0f} s old" if created is not None else ""
    who = "under way" if record.get("alive") else "nobody is at it"
    error = f": {record['error']}" if record.get("error") else ""
    return f"{record.get('path')} to {record.get('uri')}: {record.get('state')}, {far}{age}, {who}{error}"


def _given_up(swept: dict[str, object]) -> str:
    how = f"not given up: {swept['error']}" if swept["error"] else ("given up" if swept["aborted"] else "to be given up")
    return f"{swept['uri']}: {float(str(swept['age'])):,.0f} s old, {how}"


def _closing(number: int, *, sweep: bool, dry_run: bool) -> str:
    counted = screen.counted(number, "upload")
    if sweep:
        return f"{counted} would be given up; nothing was done" if dry_run else f"{counted} given up"
    where = f"recorded in {outbox.state_dir()}"
    return f"{counted} {where}" + ("; `vhpack resume` finishes those that nobody is at" if number else "")
