"""Datums: rows in, records out."""

from __future__ import annotations

import functools
import json
import os
import pwd
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select, text

from vhpack.errors import ContentError, NoTargetError, NotRegisteredError, OptionError
from vhpack.registry import schema
from vhpack.registry.names import Reference, checked
from vhpack.registry.records import Datum

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeVar

    from sqlalchemy import ColumnElement, Connection, CursorResult, Row, Table

    from vhpack.errors import PackError
    from vhpack.registry.records import Output

    Key = TypeVar("Key", int, str)

_D = schema.DATUMS
_AT_ONCE = 500  # numbers in one IN (...): SQLite takes 999 in its oldest versions
_DEEPEST = 200  # levels: what is written has to be read again by whoever's stack is deep already
_PLAIN = (str, int, float, type(None))
_ENCODE = json.JSONEncoder(allow_nan=False).encode
ALIAS = "valohai.alias"
DATASETS = "valohai.dataset-versions"
TAGS = "valohai.tags"
_DONE = frozenset({ALIAS, DATASETS})
"""What sidecars ask for, and say of no file."""

_COLUMNS = ", ".join(f'd."{column.name}"' for column in _D.c)
_OF_RUN = 'LEFT JOIN "runs" r ON r."id" = d."run"'
_MEANT = {
    "datum": f'SELECT {_COLUMNS}, r."hash" AS run_hash FROM "datums" d {_OF_RUN} WHERE d."uuid" = ?',  # noqa: S608 - our own names
    "alias": f'SELECT {_COLUMNS}, r."hash" AS run_hash FROM "aliases" a JOIN "datums" d ON d."id" = a."datum" {_OF_RUN}'  # noqa: S608
    ' WHERE a."project" = ? AND a."name" = ? AND a."deleted" IS NULL',
}


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
    given = numbers(connection, len(outputs))
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
        for number, uuid, each in zip(given, _identities(len(outputs)), outputs, strict=True)
    ]
    insert(connection, _D, columns, rows)
    describe(connection, zip(given, outputs, strict=True))
    return given


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
            if name == TAGS:
                tags.extend((number, tag) for tag in dict.fromkeys(_tags(value)))
            elif name not in _DONE:
                properties.append((number, name, _text(value)))
    insert(connection, schema.PROPERTIES, ("datum", "name", "value"), properties)
    insert(connection, schema.TAGS, ("datum", "tag"), tags)


def check_properties(file: str, properties: Mapping[str, object], error: type[PackError] = OptionError) -> None:
    """Raise `error` if something that is said of a file cannot be written down.

    Args:
        file: What the error names.
        properties: Name to value.
        error: What is raised.
    """
    for name, value in properties.items():
        if not _can_be_called(name):
            raise error(f"{file}: a property cannot be called {name!r}; it must be text")
        if name == TAGS:
            if not isinstance(value, list | tuple):
                raise error(f"{file}: {TAGS} is {value!r}; it must be a list of texts")
            try:
                _tags(value)
            except OptionError as wrong:
                raise error(f"{file}: {TAGS}: {wrong}") from None
        elif not (isinstance(value, _PLAIN) or _is_json(value)):
            raise error(f"{file}: the property {name!r} is no JSON, or nests more than {_DEEPEST} levels deep")


def _tags(value: object) -> list[str]:
    # As they are searched for: of two spellings of one letter, one is written.
    tags = value if isinstance(value, (list, tuple)) else ()
    return [_tag(tag) if isinstance(tag, str) else checked(tag, "tag") for tag in tags]


@functools.lru_cache(1024)  # 200,000 files have a few tags between them
def _tag(tag: str) -> str:
    return checked(tag, "tag")


@functools.lru_cache(1024)
def _can_be_called(name: object) -> bool:
    try:
        return isinstance(name, str) and "\0" not in name and bool(name.encode() or True)
    except UnicodeEncodeError:  # half of a character, which JSON can say and no database keeps
        return False


def _text(value: object) -> str:
    if type(value) is int:  # most are, and the encoder makes another one of itself for each value
        return str(value)
    try:
        return _ENCODE(value)
    except ValueError:  # NaN and infinities, which Python reads and writes, are no JSON to anybody else
        return _ENCODE(json.loads(json.dumps(value), parse_constant=lambda _: None))


def _is_json(value: object) -> bool:
    try:
        text = _text(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return text.count("[") + text.count("{") <= _DEEPEST or _depth(value) <= _DEEPEST


def _depth(value: object) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        found, depth = pending.pop()
        deepest = max(deepest, depth)
        inside = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
        pending += [(each, depth + 1) for each in inside if isinstance(each, dict | list | tuple)]
    return deepest


def kept_at(connection: Connection, places: Collection[str]) -> set[str]:
    """Return the URIs, each one of `places` or below one, where contents are that datums have and that were not given up."""
    within = [_D.c.location.startswith(place.rstrip("/") + "/", autoescape=True) for place in places]
    statement = select(_D.c.location).where(_D.c.purged.is_(None), or_(_D.c.location.in_(places), *within))
    return {str(location) for location in connection.execute(statement).scalars()}


def revive(connection: Connection, numbers: Iterable[int]) -> None:
    """Note that contents that were given up are kept again."""
    for some in pieces(sorted(numbers)):
        connection.execute(_D.update().where(_D.c.id.in_(some)).values(purged=None))


def describe_anew(connection: Connection, described: Sequence[tuple[int, Output]]) -> None:
    """Write what sidecars say of datums, in place of what was said before."""
    for table in (schema.PROPERTIES, schema.TAGS):
        for some in pieces([number for number, _ in described]):
            connection.execute(table.delete().where(table.c.datum.in_(some)))
    describe(connection, described)


def get(connection: Connection, number: int) -> Datum:
    """Return the datum of a number."""
    return read(connection, _D.c.id == number)[0]


def usable(connection: Connection, number: int) -> Datum:
    """Return the datum of a number, whose content nobody gives up before this transaction has ended.

    Raises:
        ContentError: it was given up before.
    """
    # Locked, where the database locks rows: what is about to mean it cannot be seen by whoever purges yet.
    connection.execute(select(_D.c.id).where(_D.c.id == number).with_for_update(read=True))
    found = get(connection, number)
    if found.purged is not None:
        message = f"{found.uri} ({found.name}) was purged on {found.purged:%Y-%m-%d}; an alias needs a content"
        raise ContentError(None, message, found.uri)
    return found


def resolved(connection: Connection, project: int, reference: Reference, shown: str) -> Datum:
    """Return the datum that a reference means now.

    Raises:
        NotRegisteredError: it means none.
    """
    if reference.kind not in _MEANT:
        return get(connection, number_of(connection, project, reference, shown))
    # By the driver alone, as `insert`: this is what a program may ask for thousands of times.
    where, values = _MEANT[reference.kind], (project, reference.name)
    found = _asked(connection, where, values[-where.count("?") :]).first()
    if found is None:
        return get(connection, number_of(connection, project, reference, shown))  # which says what is wrong
    tags = _asked(connection, 'SELECT "tag" FROM "tags" WHERE "datum" = ?', (found.id,)).scalars()
    said = _asked(connection, 'SELECT "name", "value" FROM "properties" WHERE "datum" = ?', (found.id,))
    return record(found, tags, {row.name: json.loads(row.value) for row in said})


def _asked(connection: Connection, statement: str, values: tuple[object, ...]) -> CursorResult[Any]:
    marked = statement if connection.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
    return connection.exec_driver_sql(marked, values)


def of_numbers(connection: Connection, numbers: Sequence[int]) -> list[Datum]:
    """Return the datums of numbers, in the order of these, which is to be an ascending one."""
    return [datum for some in pieces(numbers) for datum in read(connection, _D.c.id.in_(some))]


def read(connection: Connection, where: ColumnElement[bool]) -> list[Datum]:
    """Return datums with all that is said of them, in the order in which they were registered."""
    run = schema.RUNS.c.hash.label("run_hash")
    statement = select(_D, run).select_from(_D.outerjoin(schema.RUNS, _D.c.run == schema.RUNS.c.id)).where(where)
    rows = connection.execute(statement.order_by(_D.c.id)).all()
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
        # Of whichever project: an ID means one file, and two projects may have got the same one from the platform.
        found = connection.execute(select(_D.c.id).where(_D.c.uuid == reference.name)).scalar()
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


def numbers(connection: Connection, count: int) -> Sequence[int]:
    """Return numbers that no datum has, nor will be given: looking each up by its UUID takes as long as the rows."""
    if connection.dialect.name == "sqlite":  # where nobody else writes meanwhile
        last = connection.execute(select(func.max(_D.c.id))).scalar() or 0
        return range(last + 1, last + 1 + count)
    drawn = text("SELECT nextval(pg_get_serial_sequence('datums', 'id')) FROM generate_series(1, :count)")
    return list(connection.execute(drawn, {"count": count}).scalars())


def _said(connection: Connection, numbers: Sequence[int]) -> tuple[dict[int, list[str]], dict[int, dict[str, object]]]:
    tags: dict[int, list[str]] = {}
    properties: dict[int, dict[str, object]] = {}
    for some in pieces(numbers):
        table = schema.TAGS
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            tags.setdefault(row.datum, []).append(row.tag)
        table = schema.PROPERTIES
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            properties.setdefault(row.datum, {})[row.name] = json.loads(row.value)
    return tags, properties


def pieces(wanted: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Return numbers or IDs, as many at a time as one statement takes."""
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]
