"""Datums: rows in, records out."""

from __future__ import annotations

import json
import os
import pwd
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select, text

from vhpack.errors import NoTargetError, NotRegisteredError, OptionError
from vhpack.registry import schema
from vhpack.registry.names import Reference, datum_id, is_reference, parse
from vhpack.registry.records import Datum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Row, Table

    from vhpack.registry.records import Output

_D = schema.DATUMS
_AT_ONCE = 500  # numbers in one IN (...): SQLite takes 999 in its oldest versions
OWN = "valohai."
TAGS = "valohai.tags"


def now() -> int:
    """Return the time as rows have it."""
    return time.time_ns() // 1000


def when(stamp: int | None) -> datetime | None:
    """Return a row's time."""
    return None if stamp is None else datetime.fromtimestamp(stamp / 1e6, timezone.utc)


def actor() -> str:
    """Return the user whose process this is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def add(connection: Connection, project: int, run: int | None, outputs: Sequence[Output]) -> Sequence[int]:
    """Register files, and return their numbers, in order."""
    if not outputs:
        return []
    stamp = now()
    numbers = _numbers(connection, len(outputs))
    columns = ("id", "uuid", "project", "run", "name", "size", "sha256", "xxh3_128", "location", "created", "modified")
    rows = [
        (
            number,
            uuid,
            project,
            run,
            each.name,
            each.size,
            each.sha256,
            each.xxh3_128,
            each.location,
            stamp,
            each.modified_ns // 1000,
        )
        for number, uuid, each in zip(numbers, _identities(len(outputs)), outputs, strict=True)
    ]
    insert(connection, _D, columns, rows)
    describe(connection, zip(numbers, outputs, strict=True))
    return numbers


def insert(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Write many rows, by the driver alone: SQLAlchemy's look at each value takes longer than the database does."""
    if not rows:
        return
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    names = ", ".join(f'"{table.c[column].name}"' for column in columns)
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join([mark] * len(columns))})'  # noqa: S608 - our own names
    connection.exec_driver_sql(statement, list(rows))


def describe(connection: Connection, described: Iterable[tuple[int, Output]]) -> None:
    """Write what sidecars say of datums that have nothing yet."""
    properties: list[tuple[object, ...]] = []
    tags: list[tuple[object, ...]] = []
    for number, output in described:
        for name, value in output.properties.items():
            if name == TAGS and isinstance(value, list):
                tags += [(number, tag) for tag in dict.fromkeys(value)]
            elif not name.startswith(OWN):
                properties.append((number, name, json.dumps(value)))
    insert(connection, schema.PROPERTIES, ("datum", "name", "value"), properties)
    insert(connection, schema.TAGS, ("datum", "tag"), tags)


def describe_anew(connection: Connection, described: Sequence[tuple[int, Output]]) -> None:
    """Write what sidecars say of datums, in place of what was said before."""
    for table in (schema.PROPERTIES, schema.TAGS):
        for some in _pieces([number for number, _ in described]):
            connection.execute(table.delete().where(table.c.datum.in_(some)))
    describe(connection, described)


def get(connection: Connection, number: int) -> Datum:
    """Return the datum of a number."""
    return read(connection, _D.c.id == number)[0]


def read(connection: Connection, where: ColumnElement[bool], limit: int | None = None) -> list[Datum]:
    """Return datums with all that is said of them, in the order in which they were registered."""
    run = schema.RUNS.c.hash.label("run_hash")
    statement = select(_D, run).select_from(_D.outerjoin(schema.RUNS, _D.c.run == schema.RUNS.c.id)).where(where)
    rows = connection.execute(statement.order_by(_D.c.id).limit(limit)).all()
    tags, properties = _said(connection, [row.id for row in rows])
    return [record(row, tags.get(row.id, ()), properties.get(row.id, {})) for row in rows]


def record(row: Row[Any], tags: Iterable[str] = (), properties: Mapping[str, object] | None = None) -> Datum:
    """Return a row as a value."""
    created = when(row.created)
    assert created is not None  # noqa: S101 - the column has no nulls
    return Datum(
        id=row.uuid,
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        xxh3_128=row.xxh3_128,
        location=row.location,
        run=row.run_hash,
        created=created,
        file_modified=when(row.modified),
        purged=when(row.purged),
        tags=tuple(sorted(tags)),
        properties=properties or {},
    )


def number_of(connection: Connection, project: int, reference: Reference, shown: str) -> int:
    """Return the number of the datum that a reference means now.

    Raises:
        NotRegisteredError: it means none.
    """
    if reference.kind == "dataset":
        raise OptionError(f"{reference.uri} is a dataset's version, and no single file; give datum://ALIAS or datum://ID")
    if reference.kind == "datum":
        found = connection.execute(select(_D.c.id).where(_D.c.uuid == reference.name, _D.c.project == project)).scalar()
        if found is None:
            raise NotRegisteredError(f"{reference.uri}: {shown} has no such datum; `vhpack data list` shows those that it has")
        return int(found)
    name = reference.uri if reference.kind == "model" else reference.name
    table = schema.ALIASES
    alias = connection.execute(
        select(table.c.datum).where(table.c.project == project, table.c.name == name, table.c.deleted.is_(None))
    ).first()
    if alias is None and reference.kind == "model":
        return _of_model(connection, project, reference, shown)
    if alias is None:
        how = "`vhpack alias set` makes it, `vhpack alias list` shows all"
        raise NotRegisteredError(f"{reference.uri}: {shown} has no alias {reference.name!r}; {how}")
    if alias.datum is None:
        raise NoTargetError(f"{reference.uri}: the alias {name!r} has no target; `vhpack alias set` gives it one")
    return int(alias.datum)


def _of_model(connection: Connection, project: int, reference: Reference, shown: str) -> int:
    """Return the number of the datum of `model://ID/NUMBER`: a model's version by its number, which no alias has taken."""
    models, versions = schema.MODELS, schema.MODEL_VERSIONS
    found = None
    if reference.version.isascii() and reference.version.isdigit() and len(reference.version) < 18:  # noqa: PLR2004 - what a column holds
        statement = (
            select(versions.c.datum)
            .join(models, models.c.id == versions.c.model)
            .where(models.c.project == project, models.c.uuid == reference.name, versions.c.number == int(reference.version))
        )
        found = connection.execute(statement).scalar()
    if found is None:
        how = "`vhpack model list` shows all models, `vhpack model publish --alias` gives one an alias"
        raise NotRegisteredError(f"{reference.uri}: {shown} has no model of this name with this alias; {how}")
    return int(found)


def referred(target: str) -> Reference | None:
    """Return what a text refers to if it is a URI or a datum's ID; None if it is something else, like a path.

    Raises:
        OptionError: it is a URI that refers to nothing.
    """
    if is_reference(target):
        return parse(target)
    known = datum_id(target)
    return Reference("datum", known) if known else None


def matching(project: int, *, run: str | None, tag: str | None, sha256: str | None) -> ColumnElement[bool]:
    """Return a condition on datums of a project."""
    parts = [_D.c.project == project]
    if run is not None:
        parts.append(_D.c.run.in_(select(schema.RUNS.c.id).where(schema.RUNS.c.project == project, schema.RUNS.c.hash == run)))
    if tag is not None:
        parts.append(_D.c.id.in_(select(schema.TAGS.c.datum).where(schema.TAGS.c.tag == tag)))
    if sha256 is not None:
        parts.append(_D.c.sha256 == sha256)
    return and_(*parts)


def _identities(count: int) -> Iterator[str]:
    """Return UUIDs of version 4: the module of that name takes a second for 200,000."""
    drawn = os.urandom(16 * count).hex()
    for at in range(0, 32 * count, 32):
        each = drawn[at : at + 32]
        yield f"{each[:8]}-{each[8:12]}-4{each[13:16]}-{'89ab'[int(each[16], 16) & 3]}{each[17:20]}-{each[20:]}"


def _numbers(connection: Connection, count: int) -> Sequence[int]:
    """Return numbers that no datum has, nor will be given: looking each up by its UUID takes as long as the rows."""
    if connection.dialect.name == "sqlite":  # where nobody else writes meanwhile
        last = connection.execute(select(func.max(_D.c.id))).scalar() or 0
        return range(last + 1, last + 1 + count)
    drawn = text("SELECT nextval(pg_get_serial_sequence('datums', 'id')) FROM generate_series(1, :count)")
    return list(connection.execute(drawn, {"count": count}).scalars())


def _said(connection: Connection, numbers: Sequence[int]) -> tuple[dict[int, list[str]], dict[int, dict[str, object]]]:
    tags: dict[int, list[str]] = {}
    properties: dict[int, dict[str, object]] = {}
    for some in _pieces(numbers):
        table = schema.TAGS
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            tags.setdefault(row.datum, []).append(row.tag)
        table = schema.PROPERTIES
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            properties.setdefault(row.datum, {})[row.name] = json.loads(row.value)
    return tags, properties


def _pieces(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield numbers[start : start + _AT_ONCE]
