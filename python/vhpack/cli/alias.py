"""`vhpack alias`: names of data, and where they point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vhpack import aliases
from vhpack.cli import screen, tables
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under

if TYPE_CHECKING:
    from vhpack.registry.records import Alias, AliasChange

_EXAMPLES = """\b
Examples:
  vhpack alias set model-prod model.pt     registers the file first
  vhpack alias list
  vhpack alias history model-prod
  vhpack alias rollback model-prod
"""
_SET_EXAMPLES = """\b
Examples:
  vhpack alias set model-prod .valohai/outputs/20261120-120309-59d23c/model.pt
  vhpack alias set model-prod datum://model-staging --note 'passed all checks'
  vhpack alias set model-prod 0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1
"""

_what = under("What")
_output = under("Output")


@click.group("alias", epilog=_EXAMPLES, short_help="Name data, and move the names.")
def alias() -> None:
    """Set, list, roll back and delete aliases: datum://NAME is the file that an alias means when a run is created."""


@alias.command("set", cls=Command, epilog=_SET_EXAMPLES, short_help="Let an alias mean a file from now on.")
@click.argument("name")
@click.argument("target")
@_what("--note", default="", metavar="TEXT", help="Why, for the history.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def set_alias(name: str, target: str, *, note: str, json: bool) -> int:
    """Let the alias NAME, made if there is none, mean TARGET: a file, a datum:// URI or a datum's ID.

    Runs that were created before keep what they have.
    """

    def work() -> int:
        _put_moved(aliases.set(name, target, note=note), json=json)
        return 0

    return ended(work, json=json)


@alias.command("list", cls=Command, short_help="List all aliases.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def list_aliases(*, json: bool) -> int:
    """List the aliases and what they mean."""

    def work() -> int:
        found = aliases.list()
        if json:
            screen.put_json({"aliases": [_fields(each) for each in found]})
        else:
            rows = [(each.name, *_target(each), tables.when(each.modified)) for each in found]
            tables.put(("Alias", "File", "Datum", "Moved"), rows)
        return 0

    return ended(work, json=json)


@alias.command("show", cls=Command, short_help="Show what an alias means.")
@click.argument("name")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def show_alias(name: str, *, json: bool) -> int:
    """Show the alias NAME."""

    def work() -> int:
        found = aliases.get(name)
        if json:
            screen.put_json(_fields(found))
            return 0
        file, datum = _target(found)
        moved, made = tables.when(found.modified), tables.when(found.created)
        tables.put_fields((("alias", found.name), ("file", file), ("datum", datum), ("moved", moved), ("made", made)))
        return 0

    return ended(work, json=json)


@alias.command("history", cls=Command, short_help="Show all changes of an alias.")
@click.argument("name")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def show_history(name: str, *, json: bool) -> int:
    """Show every change of the alias NAME, the last one first."""

    def work() -> int:
        changes = aliases.history(name)[::-1]
        if json:
            from vhpack.registry.transfer import change_fields

            screen.put_json({"alias": name, "history": [change_fields(change) for change in changes]})
        else:
            tables.put(("Change", "When", "Who", "By", "Datum", "Note"), [_row(change) for change in changes])
        return 0

    return ended(work, json=json)


@alias.command("rollback", cls=Command, short_help="Undo the last change of an alias.")
@click.argument("name")
@_what("--to", type=click.IntRange(min=1), metavar="CHANGE", help="Bring back the outcome of this change.")
@_what("--note", default="", metavar="TEXT", help="Why, for the history.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def roll_back(name: str, *, to: int | None, note: str, json: bool) -> int:
    """Let the alias NAME mean what it did before its last change. That is a change, too: history is never cut."""

    def work() -> int:
        _put_moved(aliases.rollback(name, to=to, note=note), json=json)
        return 0

    return ended(work, json=json)


@alias.command("delete", cls=Command, short_help="Delete an alias, and no data.")
@click.argument("name")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def delete_alias(name: str, *, json: bool) -> int:
    """Delete the alias NAME. Its data and its history stay; setting it again brings it back."""

    def work() -> int:
        aliases.delete(name)
        if json:
            screen.put_json({"deleted": name})
        else:
            screen.say(f"the alias {screen.visible(name)} is deleted")
        return 0

    return ended(work, json=json)


def _put_moved(found: Alias, *, json: bool) -> None:
    if json:
        screen.put_json(_fields(found))
        return
    file, datum = _target(found)
    screen.say(f"{screen.visible(found.uri)} is {screen.visible(file)} now ({datum})")


def _target(found: Alias) -> tuple[str, str]:
    return ("-", "no target") if found.datum is None else (found.datum.name, found.datum.uri)


def _fields(found: Alias) -> dict[str, object]:
    from vhpack.registry.transfer import datum_fields

    datum = None if found.datum is None else datum_fields(found.datum)
    times = {"created": found.created.isoformat(), "modified": found.modified.isoformat()}
    return {"name": found.name, "uri": found.uri, "datum": datum, **times}


def _row(change: AliasChange) -> tuple[str, ...]:
    by = change.via if change.run is None else f"{change.via} {change.run}"
    return (str(change.number), tables.when(change.at), change.actor, by, change.new or "deleted", change.note)
