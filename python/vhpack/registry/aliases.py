"""Aliases: each move is a row of its history, written with it, and numbered without a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exc, select

from vhpack.errors import NotRegisteredError
from vhpack.registry import datums, schema
from vhpack.registry.records import Alias, AliasChange

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Connection, Row

_A = schema.ALIASES
_C = schema.ALIAS_CHANGES


@dataclass(frozen=True)
class Reason:
    """Why an alias is moved, and by whom."""

    actor: str
    via: str
    note: str = ""
    run: int | None = None
    restores: int | None = None


def move(connection: Connection, project: int, name: str, datum: int | None, reason: Reason) -> bool:
    """Let an alias, made if there is none, mean a datum; return whether it did not before.

    None is the end of the alias, until it is moved again.
    """
    stamp = datums.now()
    row = _held(connection, project, name)
    if row is None:
        row = _made(connection, project, name, stamp)
    # One that is deleted, and one that was never moved, mean no datum; only the first can be deleted again.
    if row.datum == datum and (datum is not None or row.deleted is not None):
        return False
    number = row.changes + 1
    change = {
        "alias": row.id,
        "number": number,
        "old": row.datum,
        "new": datum,
        "at": max(stamp, row.modified),  # a clock that was set back does not turn history round
        "actor": reason.actor,
        "via": reason.via,
        "run": reason.run,
        "restores": reason.restores,
        "note": reason.note,
    }
    connection.execute(_C.insert().values(change))
    state = {"datum": datum, "changes": number, "modified": change["at"], "deleted": change["at"] if datum is None else None}
    connection.execute(_A.update().where(_A.c.id == row.id).values(state))
    return True


def was_claimed(connection: Connection, project: int, name: str, datum: int, run: int) -> bool:
    """Return whether a run has moved an alias to a datum before: registered again, it must not move it back."""
    statement = (
        select(_C.c.id)
        .join(_A, _A.c.id == _C.c.alias)
        .where(_A.c.project == project, _A.c.name == name, _C.c.run == run, _C.c.new == datum)
    )
    return connection.execute(statement.limit(1)).first() is not None


def roll_back(connection: Connection, project: int, name: str, to: int | None, reason: Reason, *, shown: str) -> None:
    """Let an alias mean what it did after change `to`, or before its last change that has not been rolled back yet.

    Raises:
        NotRegisteredError: there is no such alias, no such change, or nothing before it.
        ContentError: the content of what it meant then was given up.
    """
    _existing(connection, project, name, shown)
    # Locked before its history is read: what is rolled back is the last change, and no other that came between.
    row = _held(connection, project, name)
    assert row is not None  # noqa: S101 - rows of aliases never go
    changes = {change.number: change for change in connection.execute(select(_C).where(_C.c.alias == row.id))}
    if to is None:
        latest = row.changes
        while changes[latest].restores is not None:
            latest = changes[latest].restores
        to = latest - 1
    found = changes.get(to)
    if found is None or found.new is None:
        what = f"no change {to} that gave it a target" if to else "nothing to go back to"
        raise NotRegisteredError(f"the alias {name!r} has {what}; `vhpack alias history {name}` shows its changes")
    datums.usable(connection, found.new, name)
    restored = Reason(reason.actor, "rollback", reason.note or f"to change {to}", reason.run, to)
    if not move(connection, project, name, found.new, restored):
        raise NotRegisteredError(f"the alias {name!r} has the target of change {to} already")


def delete(connection: Connection, project: int, name: str, reason: Reason, shown: str) -> None:
    """End an alias; its history stays.

    Raises:
        NotRegisteredError: there is none.
    """
    _existing(connection, project, name, shown)
    move(connection, project, name, None, reason)


def get(connection: Connection, project: int, name: str, shown: str) -> Alias:
    """Return an alias.

    Raises:
        NotRegisteredError: there is none.
    """
    return _records(connection, [_existing(connection, project, name, shown)])[0]


def listed(connection: Connection, project: int) -> list[Alias]:
    """Return all aliases, by name."""
    rows = connection.execute(select(_A).where(_A.c.project == project, _A.c.deleted.is_(None)).order_by(_A.c.name)).all()
    return _records(connection, rows)


def history(connection: Connection, project: int, name: str, shown: str) -> list[AliasChange]:
    """Return the changes of an alias, of a deleted one, too, the first one first.

    Raises:
        NotRegisteredError: there never was one.
    """
    row = connection.execute(select(_A).where(_A.c.project == project, _A.c.name == name)).first()
    if row is None:
        raise _unknown(name, shown)
    old, new = schema.DATUMS.alias("old_datum"), schema.DATUMS.alias("new_datum")
    joined = (
        _C.outerjoin(old, old.c.id == _C.c.old)
        .outerjoin(new, new.c.id == _C.c.new)
        .outerjoin(schema.RUNS, schema.RUNS.c.id == _C.c.run)
    )
    columns = (_C, old.c.uuid.label("old_uuid"), new.c.uuid.label("new_uuid"), schema.RUNS.c.hash.label("run_hash"))
    statement = select(*columns).select_from(joined).where(_C.c.alias == row.id).order_by(_C.c.number)
    return [_change(found) for found in connection.execute(statement)]


def _change(row: Row[Any]) -> AliasChange:
    at = datums.when(row.at)
    assert at is not None  # noqa: S101 - the column has no nulls
    return AliasChange(row.number, row.old_uuid, row.new_uuid, at, row.actor, row.via, row.run_hash, row.restores, row.note)


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[Alias]:
    numbers = sorted({row.datum for row in rows if row.datum is not None})
    found: dict[int, Any] = dict(zip(numbers, datums.of_numbers(connection, numbers), strict=True))
    return [
        Alias(row.name, found.get(row.datum), datums.when(row.created), datums.when(row.modified))  # type: ignore[arg-type]
        for row in rows
    ]


def _held(connection: Connection, project: int, name: str) -> Row[Any] | None:
    # Locked, where the database locks rows: what is read here is what the change goes out from.
    return connection.execute(select(_A).where(_A.c.project == project, _A.c.name == name).with_for_update()).first()


def _made(connection: Connection, project: int, name: str, stamp: int) -> Row[Any]:
    row = {"project": project, "name": name, "datum": None, "changes": 0, "created": stamp, "modified": stamp, "deleted": None}
    connection.execute(_A.insert().values(row))
    made = _held(connection, project, name)
    if made is None:
        raise exc.NoResultFound
    return made


def _existing(connection: Connection, project: int, name: str, shown: str) -> Row[Any]:
    row = connection.execute(select(_A).where(_A.c.project == project, _A.c.name == name, _A.c.deleted.is_(None))).first()
    if row is None:
        raise _unknown(name, shown)
    return row


def _unknown(name: str, shown: str) -> NotRegisteredError:
    return NotRegisteredError(f"{shown} has no alias {name!r}; `vhpack alias list` shows those that it has")
