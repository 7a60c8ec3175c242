"""The books of a project as JSON Lines, on their way out of a registry. Contents stay where they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from vhpack.registry import aliases, bulk, datums, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from vhpack.registry.opening import Registry
    from vhpack.registry.records import AliasChange, Datum

VERSION = 1
_A = schema.ALIASES
_C = schema.ALIAS_CHANGES
_D = schema.DATUMS
_I = schema.RUN_INPUTS
_M = schema.DATASET_MEMBERS
_R = schema.RUNS
_S = schema.DATASETS
_V = schema.DATASET_VERSIONS


def exported(registry: Registry) -> Iterator[dict[str, object]]:
    """Return all that is known of a project, as objects that JSON knows: each after those that it speaks of.

    These are runs, datums, what runs were given, versions of datasets and their aliases, and aliases with their histories, those
    of deleted ones, too.
    """
    with registry.reading() as connection:
        project = registry.project(connection)
        yield {"vhpack_registry": VERSION, "project": registry.place.project}
        yield from _runs(connection, project)
        yield from _datums(connection, project)
        yield from _inputs(connection, project)
        yield from _datasets(connection, project)
        names = list(connection.execute(select(_A.c.name).where(_A.c.project == project).order_by(_A.c.name)).scalars())
        for name in names:
            changes = aliases.history(connection, project, name, registry.shown)
            yield {"kind": "alias", "name": name, "history": [change_fields(change) for change in changes]}


def _runs(connection: Connection, project: int) -> Iterator[dict[str, object]]:
    for row in connection.execute(select(_R).where(_R.c.project == project).order_by(_R.c.id)):
        yield {
            "kind": "run",
            "run": row.hash,
            "step": row.step,
            "status": row.status,
            "created": _time(row.created),
            "finished": _time(row.finished),
            "copied_from": row.copied_from,
            "parameters": json.loads(row.parameters),
        }


def _datums(connection: Connection, project: int) -> Iterator[dict[str, object]]:
    numbers = list(connection.execute(select(_D.c.id).where(_D.c.project == project).order_by(_D.c.id)).scalars())
    # Those that this project only refers to: of another one, whose data it may name by their IDs.
    uses = (
        select(_I.c.datum).join(_R, _R.c.id == _I.c.run).where(_R.c.project == project),
        select(_C.c.new).join(_A, _A.c.id == _C.c.alias).where(_A.c.project == project, _C.c.new.is_not(None)),
        select(_M.c.datum).join(_V, _V.c.id == _M.c.version).join(_S, _S.c.id == _V.c.dataset).where(_S.c.project == project),
    )
    others = select(_D.c.id).where(_D.c.project != project, or_(*(_D.c.id.in_(use) for use in uses))).order_by(_D.c.id)
    numbers += connection.execute(others).scalars()
    for some in bulk.pieces(numbers):
        yield from map(datum_fields, datums.read(connection, _D.c.id.in_(some)))


def _inputs(connection: Connection, project: int) -> Iterator[dict[str, object]]:
    joined = _I.join(_R, _R.c.id == _I.c.run).join(_D, _D.c.id == _I.c.datum)
    columns = (_I, _R.c.hash, _D.c.uuid)
    statement = select(*columns).select_from(joined).where(_R.c.project == project)
    for row in connection.execute(statement.order_by(_I.c.run, _I.c.input, _I.c.position)):
        yield {
            "kind": "input",
            "run": row.hash,
            "input": row.input,
            "position": row.position,
            "requested": row.requested,
            "datum": row.uuid,
            "name": row.name,
            "folder": row.folder,
            "origin": row.origin,
        }


def _datasets(connection: Connection, project: int) -> Iterator[dict[str, object]]:
    joined = _V.join(_S, _S.c.id == _V.c.dataset).outerjoin(_R, _R.c.id == _V.c.run)
    columns = (_V, _S.c.name.label("dataset_name"), _R.c.hash)
    versions = connection.execute(select(*columns).select_from(joined).where(_S.c.project == project).order_by(_V.c.id)).all()
    for row in versions:
        tags = (
            select(schema.DATASET_TAGS.c.tag).where(schema.DATASET_TAGS.c.version == row.id).order_by(schema.DATASET_TAGS.c.tag)
        )
        members = select(_D.c.uuid).join(_M, _M.c.datum == _D.c.id).where(_M.c.version == row.id).order_by(_D.c.id)
        yield {
            "kind": "dataset-version",
            "id": row.uuid,
            "dataset": row.dataset_name,
            "name": row.name,
            "run": row.hash,
            "created": _time(row.created),
            "tags": list(connection.execute(tags).scalars()),
            "data": list(connection.execute(members).scalars()),
        }
    table = schema.DATASET_ALIASES
    joined = table.join(_S, _S.c.id == table.c.dataset).join(_V, _V.c.id == table.c.version)
    fields_of = (table.c.name, table.c.modified, _S.c.name.label("dataset_name"), _V.c.uuid)
    statement = select(*fields_of).select_from(joined).where(_S.c.project == project).order_by(_S.c.name, table.c.name)
    for row in connection.execute(statement):
        fields = {"dataset": row.dataset_name, "name": row.name, "version": row.uuid, "modified": _time(row.modified)}
        yield {"kind": "dataset-alias", **fields}


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


def _time(stamp: int | None) -> str | None:
    moment = datums.when(stamp)
    return None if moment is None else moment.isoformat()
