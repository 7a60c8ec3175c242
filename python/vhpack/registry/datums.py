"""Datums: rows in, records out."""

from __future__ import annotations

import json
import os
import pwd
import time
from datetime import datetime, timezone
from itertools import repeat
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select, text

from vhpack.errors import ContentError, NoTargetError, NotRegisteredError, OptionError
from vhpack.registry import bulk, schema
from vhpack.registry.records import Datum

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, CursorResult, Row

    from vhpack.registry.names import Reference
    from vhpack.registry.records import Output

_D = schema.DATUMS
_OF_VERSION_4 = bytes(byte & 0x0F | 0x40 for byte in range(256))
_OF_VARIANT_1 = bytes(byte & 0x3F | 0x80 for byte in range(256))
_PLACES = [place for place in range(36) if place not in (8, 13, 18, 23)]
"""Where the digits of a UUID stand, among its dashes."""

_FIRST_NS, _END_NS = -62_135_596_800 * 10**9, 253_370_764_800 * 10**9
"""The times that have a date, from year 1 to 9998: what a file system says beyond that is no time of anything."""

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
    """Register files, of which nothing is said yet, and return their numbers, in order."""
    if not outputs:
        return []
    given = numbers(connection, len(outputs))
    names, sizes, sha256, xxh3_128, modified_ns, locations, _ = zip(*outputs, strict=True)
    columns = ("id", "uuid", "project", "run", "name", "size", "sha256", "xxh3_128", "location", "created", "modified")
    same = (repeat(project), repeat(run), repeat(now()))
    identities = _identities(len(outputs))
    modified = [stamp // 1000 if _FIRST_NS <= stamp < _END_NS else None for stamp in modified_ns]
    values = zip(given, identities, same[0], same[1], names, sizes, sha256, xxh3_128, locations, same[2], modified)  # noqa: B905 - some have no end
    bulk.insert(connection, _D, columns, list(values))
    return given


def kept_at(connection: Connection, places: Collection[str]) -> set[str]:
    """Return the URIs, each one of `places` or below one, where contents are that datums have and that were not given up."""
    within = [_D.c.location.startswith(place.rstrip("/") + "/", autoescape=True) for place in places]
    statement = select(_D.c.location).where(_D.c.purged.is_(None), or_(_D.c.location.in_(places), *within))
    return {str(location) for location in connection.execute(statement).scalars()}


def revive(connection: Connection, numbers: Iterable[int]) -> None:
    """Note that contents that were given up are kept again."""
    for some in bulk.pieces(sorted(numbers)):
        connection.execute(_D.update().where(_D.c.id.in_(some)).values(purged=None))


def get(connection: Connection, number: int) -> Datum:
    """Return the datum of a number."""
    return read(connection, _D.c.id == number)[0]


def usable(connection: Connection, number: int, asked: str) -> Datum:
    """Return the datum of a number, whose content nobody gives up before this transaction has ended.

    Raises:
        ContentError: it was given up before; `asked` is what it was to be used for.
    """
    # Locked, where the database locks rows: what is about to mean it cannot be seen by whoever purges yet.
    connection.execute(select(_D.c.id).where(_D.c.id == number).with_for_update(read=True))
    found = get(connection, number)
    refuse_purged(found, asked)
    return found


def refuse_purged(datum: Datum, asked: str) -> None:
    """Raise ContentError where the content of a datum was given up."""
    if datum.purged is not None:
        message = f"{asked}: the content of {datum.uri} ({datum.name}) was purged on {datum.purged:%Y-%m-%d}"
        raise ContentError(None, f"{message}; name another datum, or register the file again", datum.uri)


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
    return [datum for some in bulk.pieces(numbers) for datum in read(connection, _D.c.id.in_(some))]


def read(connection: Connection, where: ColumnElement[bool]) -> list[Datum]:
    """Return datums with all that is said of them, in the order in which they were registered."""
    run = schema.RUNS.c.hash.label("run_hash")
    statement = select(_D, run).select_from(_D.outerjoin(schema.RUNS, _D.c.run == schema.RUNS.c.id)).where(where)
    found = connection.execute(statement.order_by(_D.c.id)).all()
    tags, properties = _said(connection, [row.id for row in found])
    return [record(row, tags.get(row.id, ()), properties.get(row.id, {})) for row in found]


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


def _identities(count: int) -> list[str]:
    """Return UUIDs of version 4: the module of that name takes a second for 200,000."""
    drawn = bytearray(os.urandom(16 * count))
    drawn[6::16] = drawn[6::16].translate(_OF_VERSION_4)
    drawn[8::16] = drawn[8::16].translate(_OF_VARIANT_1)
    digits = drawn.hex().encode()
    # All first digits are put into their places, all second ones, and so on.
    text = bytearray(b"-") * (37 * count)
    for number, place in enumerate(_PLACES):
        text[place::37] = digits[number::32]
    text[36::37] = b"\n" * count
    return text.decode().split("\n")[:-1]


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
    for some in bulk.pieces(numbers):
        table = schema.TAGS
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            tags.setdefault(row.datum, []).append(row.tag)
        table = schema.PROPERTIES
        for row in connection.execute(select(table).where(table.c.datum.in_(some))):
            properties.setdefault(row.datum, {})[row.name] = json.loads(row.value)
    return tags, properties
