"""The books as JSON Lines: out of one registry, into another. Contents stay where they are."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from vhpack.errors import RegistrationError
from vhpack.registry import aliases, datums, schema
from vhpack.registry.names import checked_alias, datum_id
from vhpack.registry.records import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sqlalchemy import Connection

    from vhpack.registry.opening import Registry
    from vhpack.registry.records import AliasChange, Datum

VERSION = 1
_D = schema.DATUMS
_C = schema.ALIAS_CHANGES
_AT_ONCE = 500


def exported(registry: Registry) -> Iterator[dict[str, object]]:
    """Return the project's datums, and its aliases with their histories, each as an object that JSON knows."""
    with registry.reading() as connection:
        project = registry.project(connection)
        yield {"vhpack_registry": VERSION, "project": registry.place.project}
        last = 0
        while True:
            condition = (_D.c.project == project) & (_D.c.id > last)
            numbers = list(connection.execute(select(_D.c.id).where(condition).order_by(_D.c.id).limit(_AT_ONCE)).scalars())
            if not numbers:
                break
            yield from map(datum_fields, datums.read(connection, _D.c.id.in_(numbers)))
            last = numbers[-1]
        for alias in aliases.listed(connection, project):
            changes = aliases.history(connection, project, alias.name, registry.shown)
            yield {"kind": "alias", "name": alias.name, "history": [change_fields(change) for change in changes]}


def datum_fields(datum: Datum) -> dict[str, object]:
    """Return a datum as JSON has it."""
    return {
        "kind": "datum",
        "id": datum.id,
        "uri": datum.uri,
        "name": datum.name,
        "size": datum.size,
        "sha256": datum.sha256,
        "xxh3-128": datum.xxh3_128,
        "location": datum.location,
        "run": datum.run,
        "created": datum.created.isoformat(),
        "file_modified": datum.file_modified and datum.file_modified.isoformat(),
        "purged": datum.purged and datum.purged.isoformat(),
        "tags": list(datum.tags),
        "properties": dict(datum.properties),
    }


def change_fields(change: AliasChange) -> dict[str, object]:
    """Return a change of an alias as JSON has it."""
    return {
        "number": change.number,
        "old": change.old,
        "new": change.new,
        "at": change.at.isoformat(),
        "actor": change.actor,
        "via": change.via,
        "run": change.run,
        "restores": change.restores,
        "note": change.note,
    }


def take_in(registry: Registry, lines: Iterable[str], source: str) -> tuple[int, int]:
    """Take over what `exported` has given, all or nothing, and return how many datums and aliases are new.

    What is known already is left as it is.

    Raises:
        RegistrationError: a line makes no sense, or contradicts what is known.
    """
    found = [(f"{source}:{number}", _object(f"{source}:{number}", line)) for number, line in enumerate(lines, 1) if line.strip()]
    if not found or found[0][1].get("vhpack_registry") != VERSION:
        raise RegistrationError(f"{source} is no export of a registry that this vhpack knows: `vhpack data export` writes one")

    def work(connection: Connection, project: int) -> tuple[int, int]:
        counts = [0, 0]
        for where, entry in found[1:]:
            kind = entry.get("kind")
            try:
                if kind == "datum":
                    counts[0] += _take_datum(connection, project, where, entry)
                elif kind == "alias":
                    counts[1] += _take_alias(connection, project, where, entry, registry.shown)
                else:
                    raise RegistrationError(f"{where}: kind is {kind!r}; it must be datum or alias")
            except (KeyError, TypeError, AttributeError) as error:
                if isinstance(error, RegistrationError):
                    raise
                raise RegistrationError(f"{where}: the entry lacks something, or has what it should not: {error}") from None
        return counts[0], counts[1]

    return registry.write(work)


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise RegistrationError(f"{where} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise RegistrationError(f"{where} must be a JSON object, not {type(found).__name__}")
    return found


def _take_datum(connection: Connection, project: int, where: str, entry: dict[str, Any]) -> int:
    identity = datum_id(entry["id"])
    if identity is None:
        raise RegistrationError(f"{where}: the id {entry['id']!r} is no UUID")
    known = connection.execute(select(_D).where(_D.c.uuid == identity)).first()
    if known is not None:
        if (known.sha256, known.size) != (entry["sha256"], entry["size"]):
            raise RegistrationError(f"{where}: datum {identity} is known here with other content")
        return 0
    row = {
        "uuid": identity,
        "project": project,
        "name": entry["name"],
        "size": int(entry["size"]),
        "sha256": entry["sha256"],
        "xxh3_128": entry["xxh3-128"],
        "location": entry["location"],
        "created": _stamp(where, entry["created"]),
        "modified": _stamp(where, entry["file_modified"]),
        "purged": _stamp(where, entry["purged"]),
    }
    number = int(connection.execute(_D.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]
    properties = {**entry["properties"], datums.TAGS: entry["tags"]}
    datums.describe(connection, [(number, Output(entry["name"], 0, "", "", 0, None, properties))])
    return 1


def _take_alias(connection: Connection, project: int, where: str, entry: dict[str, Any], shown: str) -> int:
    name = checked_alias(entry["name"])
    table = schema.ALIASES
    known = connection.execute(select(table.c.id).where(table.c.project == project, table.c.name == name)).first()
    if known is not None:
        ours = [(change.old, change.new, change.via) for change in aliases.history(connection, project, name, shown)]
        theirs = [(change["old"], change["new"], change["via"]) for change in entry["history"]]
        if ours[: len(theirs)] == theirs:
            return 0
        raise RegistrationError(f"{where}: the alias {name!r} has another history here; delete or rename one of the two")
    numbers = {change[side] for change in entry["history"] for side in ("old", "new")} - {None}
    ids = {
        uuid: connection.execute(select(_D.c.id).where(_D.c.uuid == uuid, _D.c.project == project)).scalar() for uuid in numbers
    }
    missing = next((uuid for uuid, number in ids.items() if number is None), None)
    if missing is not None:
        raise RegistrationError(f"{where}: the alias {name!r} meant datum {missing}, which is neither here nor above")
    last = entry["history"][-1]
    row = {
        "project": project,
        "name": name,
        "datum": ids.get(last["new"]),
        "changes": len(entry["history"]),
        "created": _stamp(where, entry["history"][0]["at"]),
        "modified": _stamp(where, last["at"]),
    }
    alias = int(connection.execute(table.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]
    before = None
    for number, change in enumerate(entry["history"], 1):
        if change["number"] != number or change["old"] != before:
            raise RegistrationError(f"{where}: the history of {name!r} has a gap before change {number}")
        before = change["new"]
        values = {"alias": alias, "number": number, "old": ids.get(change["old"]), "new": ids.get(change["new"])}
        values |= {"at": _stamp(where, change["at"]), "actor": str(change["actor"]), "via": str(change["via"])[:16]}
        connection.execute(_C.insert().values({**values, "restores": change["restores"], "note": str(change["note"])}))
    return 1


def _stamp(where: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e6)
    except ValueError:
        raise RegistrationError(f"{where}: {text!r} is no time as in 2026-11-20T12:03:09+00:00") from None
