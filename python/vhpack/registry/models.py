"""Models and their versions: rows in, records out. A version becomes the current one in the transaction that has it stored."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from vhpack.errors import ModelError, NotRegisteredError
from vhpack.registry import bulk, datums, schema, sweeping
from vhpack.registry.records import ModelRecord, ModelVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Row

    from vhpack.registry.records import Output

_M = schema.MODELS
_V = schema.MODEL_VERSIONS
THERE = ("stored", "registered")
"""States of versions that can be had."""
BEGUN = ("packing", "uploading")
"""States of versions that somebody is at, or was when it was killed."""
_SHORTEST = 4  # characters of the beginning of an ID


@dataclass(frozen=True)
class Draft:
    """A model that is not registered yet, or what is to be changed of one."""

    id: str
    name: str
    task: str
    task_name: str
    project: str
    comment: str = ""
    framework: str | None = None
    config_text: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    destination: str | None = None
    connected: str | None = None


@dataclass(frozen=True)
class Begun:
    """A version that is about to be made."""

    kind: str
    """`file`, `package`, or `place`: something that is elsewhere already."""
    state: str
    name: str
    place: Callable[[int], str]
    """From the version's number to its URI."""
    iteration: int | None
    size: int | None = None
    """Bytes of the snapshot, by which one that was cut short is known."""
    snapshot: str | None = None
    """The file that is sent: a copy of the caller's, or an archive."""
    sources: str | None = None
    """What is to be removed when it is stored."""
    remark: str | None = None
    """A line for the model's comment when it is stored."""


@dataclass(frozen=True)
class Unfinished:
    """A version that has not come to its end."""

    key: int
    version: ModelVersion
    label: str
    """What the model is called."""
    kind: str
    snapshot: str | None
    sources: str | None


def find(connection: Connection, project: int, uuid: str) -> ModelRecord | None:
    """Return a model by its whole ID, or None."""
    row = connection.execute(select(_M).where(_M.c.project == project, _M.c.uuid == uuid)).first()
    return None if row is None else _records(connection, [row])[0]


def named(connection: Connection, project: int, text: str, shown: str) -> ModelRecord:
    """Return a model by its ID, else by a name that only one has, else by the beginning of its ID.

    Raises:
        NotRegisteredError: there is none, or there are several.
    """
    conditions = [_M.c.uuid == text, _M.c.name == text]
    if len(text) >= _SHORTEST and text.isalnum():
        conditions.append(_M.c.uuid.like(f"{text}%"))
    rows: Sequence[Row[Any]] = ()
    for condition in conditions:  # what is called so is meant before what only begins so
        rows = rows or connection.execute(select(_M).where(_M.c.project == project, condition).order_by(_M.c.id)).all()
    if len(rows) != 1:
        what = f"several models of this name ({', '.join(row.uuid for row in rows[:3])}, ...)" if rows else "no such model"
        raise NotRegisteredError(f"{text!r}: {shown} has {what}; `vhpack model list` shows them with their IDs")
    return _records(connection, rows)[0]


def listed(
    connection: Connection,
    project: int,
    *,
    name: str | None = None,
    tags: Iterable[str] = (),
    published: bool | None = None,
    task: str | None = None,
) -> list[ModelRecord]:
    """Return the models that fit, the oldest first; `name` is a pattern."""
    condition: ColumnElement[bool] = _M.c.project == project
    if published is not None:
        condition &= _M.c.published.is_not(None) if published else _M.c.published.is_(None)
    if task is not None:
        condition &= _M.c.task == task
    wanted = set(tags)
    rows = connection.execute(select(_M).where(condition).order_by(_M.c.id)).all()
    rows = [row for row in rows if name is None or fnmatch.fnmatchcase(row.name, name)]
    return [found for found in _records(connection, rows) if wanted <= set(found.tags)]


def given_to(connection: Connection, project: int, run: str) -> list[ModelRecord]:
    """Return the models whose versions are inputs of a run."""
    inputs, table = schema.RUN_INPUTS, schema.RUNS
    joined = _M.join(_V, _V.c.model == _M.c.id).join(inputs, inputs.c.datum == _V.c.datum).join(table, table.c.id == inputs.c.run)
    statement = select(_M).select_from(joined).where(_M.c.project == project, table.c.hash == run).distinct().order_by(_M.c.id)
    return _records(connection, connection.execute(statement).all())


def versions(connection: Connection, project: int, uuids: Sequence[str]) -> dict[str, list[ModelVersion]]:
    """Return, by the IDs of models, their versions, the first one first."""
    found: dict[str, list[ModelVersion]] = {uuid: [] for uuid in uuids}
    for some in bulk.pieces(uuids):
        for version in _versions(connection, (_M.c.project == project) & _M.c.uuid.in_(some)):
            found[version.model].append(version)
    return found


def unfinished(connection: Connection, project: int, uuid: str | None = None) -> list[Unfinished]:
    """Return versions, of one model or of all, that are not stored, or of which something is left to be removed."""
    left = _V.c.state.in_((*BEGUN, "failed")) | _V.c.sources.is_not(None) | _V.c.snapshot.is_not(None)
    condition = (_M.c.project == project) & left
    if uuid is not None:
        condition &= _M.c.uuid == uuid
    rows = connection.execute(_selected().where(condition).order_by(_V.c.id)).all()
    return [_unfinished(row) for row in rows]


def change(connection: Connection, project: int, uuid: str, *, although_published: bool, **columns: object) -> None:
    """Change what is said of a model.

    Raises:
        ModelError: it is published, and this is what a published one keeps.
    """
    row = _held(connection, project, uuid)
    if not although_published:
        refuse_published(row)
    if columns.get("connected") is not None:
        # One model of a task for each key: the one before is that no longer.
        theirs = _M.update().where(_M.c.project == project, _M.c.task == row.task, _M.c.connected == columns["connected"])
        connection.execute(theirs.values(connected=None))
    connection.execute(_M.update().where(_M.c.id == row.id).values(**columns, modified=datums.now()))


def begin(connection: Connection, project: int, draft: Draft | str, begun: Begun) -> tuple[int, ModelVersion]:
    """Add a version to a model, given by its ID, or registered here and now; return its key and what is known of it.

    Raises:
        ModelError: the model is published.
    """
    uuid = draft if isinstance(draft, str) else draft.id
    if not isinstance(draft, str):
        register(connection, project, draft)
    row = _held(connection, project, uuid)
    refuse_published(row)
    number, stamp = row.versions + 1, datums.now()
    made = {
        "model": row.id,
        "number": number,
        "state": begun.state,
        "kind": begun.kind,
        "name": begun.name,
        "uri": begun.place(number),
        "iteration": begun.iteration,
        "size": begun.size,
        "snapshot": begun.snapshot,
        "sources": begun.sources,
        "remark": begun.remark,
        "created": stamp,
    }
    key = int(connection.execute(_V.insert().values(made)).inserted_primary_key[0])  # type: ignore[index]
    connection.execute(_M.update().where(_M.c.id == row.id).values(versions=number, modified=stamp))
    return key, _version(connection.execute(_selected().where(_V.c.id == key)).one())


def register(connection: Connection, project: int, draft: Draft) -> None:
    """Register a model, unless it is."""
    if connection.execute(select(_M.c.id).where(_M.c.uuid == draft.id)).first() is not None:
        return
    stamp = datums.now()
    row = {
        "uuid": draft.id,
        "project": project,
        "name": draft.name,
        "task": draft.task,
        "task_name": draft.task_name,
        "task_project": draft.project,
        "comment": draft.comment,
        "framework": draft.framework,
        "config": draft.config_text,
        "labels": json.dumps(dict(draft.labels)),
        "tags": json.dumps(list(draft.tags)),
        "destination": draft.destination,
        "versions": 0,
        "created": stamp,
        "modified": stamp,
    }
    connection.execute(_M.insert().values(row))
    if draft.connected is not None:
        change(connection, project, draft.id, although_published=False, connected=draft.connected)


def packed(connection: Connection, key: int, *, files: int, size: int, remark: str | None) -> None:
    """Note that a package is complete, and on its way."""
    changed = {"state": "uploading", "files": files, "size": size, "remark": remark}
    connection.execute(_V.update().where(_V.c.id == key).values(changed))


def of_datum(connection: Connection, project: int, number: int, uri: str) -> ModelVersion:
    """Return the version that a datum is.

    Raises:
        ModelError: it is none.
    """
    found = _versions(connection, (_M.c.project == project) & (_V.c.datum == number))
    if not found:
        raise ModelError(f"{uri} is no version of a model; vhpack.data.get() says what it is")
    return found[0]


def aliases_of(connection: Connection, project: int, uuids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return, by the IDs of models, the aliases of their versions, and the numbers of these."""
    table = schema.ALIASES
    joined = table.join(_V, _V.c.datum == table.c.datum).join(_M, _M.c.id == _V.c.model)
    found: dict[str, dict[str, int]] = {uuid: {} for uuid in uuids}
    for some in bulk.pieces(uuids):
        statement = select(_M.c.uuid, table.c.name, _V.c.number).select_from(joined)
        statement = statement.where(_M.c.project == project, _M.c.uuid.in_(some)).order_by(table.c.name)
        for row in connection.execute(statement):
            found[row.uuid][row.name] = row.number
    return found


def number_of(connection: Connection, project: int, uuid: str, version: int | None) -> int:
    """Return the number of the datum that a version is, or the current one.

    Raises:
        ModelError: there is no such version, or it is not stored.
    """
    record = find(connection, project, uuid)
    wanted = version if version is not None else record.current.n if record is not None and record.current is not None else 0
    statement = select(_V.c.datum).join(_M, _M.c.id == _V.c.model).where(_M.c.uuid == uuid, _V.c.number == wanted)
    found = connection.execute(statement.where(_V.c.state.in_(THERE))).scalar()
    if found is None:
        which = f"version {version}" if version is not None else "version"
        raise ModelError(f"the model {uuid} has no {which} that is stored; `vhpack model versions {uuid}` shows all")
    return int(found)


def finish(
    connection: Connection, project: int, key: int, output: Output, *, run: int | None, state: str = "stored"
) -> ModelVersion | None:
    """Let a version be stored, and be the current one if no later one is; None: it was given up. Done twice, it is done once.

    Args:
        connection: In a transaction.
        project: The number of the project.
        key: The version's.
        output: What is stored, and where.
        run: The run that made it.
        state: `registered`, of what is somebody else's.
    """
    row = connection.execute(select(_V).where(_V.c.id == key).with_for_update()).one()
    if row.state in THERE:
        return _version(connection.execute(_selected().where(_V.c.id == key)).one())
    if row.state not in (*BEGUN, "failed"):
        return None
    (datum,) = datums.add(connection, project, run, [output])
    stamp = datums.now()
    ended = {
        "state": state,
        "datum": datum,
        "size": output.size if output.size >= 0 else None,
        "stored": stamp,
        "error": None,
        "remark": None,
    }
    connection.execute(_V.update().where(_V.c.id == key).values(ended))
    model = connection.execute(select(_M).where(_M.c.id == row.model).with_for_update()).one()
    changed: dict[str, object] = {"modified": stamp}
    # What was published stays what it was, whatever was on its way then.
    if model.published is None:
        if model.current is None or model.current < row.number:
            changed["current"] = row.number
        if row.remark:
            changed["comment"] = f"{row.remark}\n{model.comment}" if model.comment else row.remark
    connection.execute(_M.update().where(_M.c.id == row.model).values(changed))
    return _version(connection.execute(_selected().where(_V.c.id == key)).one())


def fail(connection: Connection, key: int, error: str) -> None:
    """Note what a version failed of; one that is stored is not touched."""
    connection.execute(_V.update().where(_V.c.id == key, _V.c.state.in_(BEGUN)).values(state="failed", error=error))


def again(connection: Connection, key: int) -> None:
    """Note that a version that had failed is sent again."""
    connection.execute(_V.update().where(_V.c.id == key, _V.c.state == "failed").values(state="uploading", error=None))


def cleared(connection: Connection, key: int) -> None:
    """Note that nothing is left to be removed of a version."""
    connection.execute(_V.update().where(_V.c.id == key).values(snapshot=None, sources=None))


def publish(connection: Connection, project: int, uuid: str) -> None:
    """Let a model never change any more; one that is published stays as it is.

    Raises:
        ModelError: it has no version that is stored, or one that is on its way.
    """
    row = _held(connection, project, uuid)
    if row.published is not None:
        return
    on_its_way = connection.execute(
        select(_V.c.number).where(_V.c.model == row.id, _V.c.state.in_(BEGUN)).order_by(_V.c.number)
    ).scalar()
    if on_its_way is not None:
        raise ModelError(
            f"{_shown(row)} is not published: version {on_its_way} is on its way; wait_for_uploads(), or resume_uploads()"
        )
    if row.current is None:
        raise ModelError(f"{_shown(row)} has no stored version, and nothing to publish; update_weights() stores one")
    stamp = datums.now()
    connection.execute(_M.update().where(_M.c.id == row.id).values(published=stamp, modified=stamp))


def prune(
    connection: Connection, project: int, uuid: str, keep: int, removable: Callable[[str], bool]
) -> tuple[list[Unfinished], list[str]]:
    """Give up all versions but the last ones and those that something refers to.

    Those that failed go, too, where later ones are stored. What is given up is noted as `pruning`, and `pruned` when its
    bytes are gone.

    Args:
        connection: In a transaction.
        project: The number of the project.
        uuid: The model.
        keep: How many stored versions stay.
        removable: Whether the bytes at a URI can be removed.

    Returns:
        Versions whose bytes are to be removed, those of an earlier call that was cut off among them, and why others stay.
    """
    model = _held(connection, project, uuid)
    rows = connection.execute(_selected().where(_V.c.model == model.id).order_by(_V.c.number.desc())).all()
    there = [row for row in rows if row.state in THERE]
    kept = {row.id for row in there[:keep]} | {row.id for row in there if row.number == model.current}
    newest = max((row.number for row in there), default=0)
    due, why = [row for row in rows if row.state == "pruning"], []
    for row in there:
        if row.id in kept:
            continue
        # Locked, where the database locks rows: who lets an alias mean it waits, or is seen here.
        connection.execute(select(schema.DATUMS.c.id).where(schema.DATUMS.c.id == row.datum).with_for_update())
        reason = sweeping.why_kept(connection, row.datum)
        if reason is None and row.state == "stored" and not removable(row.uri):
            reason = f"nothing is removed at {row.uri.partition(':')[0]}://"
        if reason is not None:
            why.append(f"version {row.number} stays: {reason}")
        else:
            due.append(row)
    due += [row for row in rows if row.state == "failed" and row.number < newest]
    for row in due:
        connection.execute(_V.update().where(_V.c.id == row.id).values(state="pruning", sources=None))
        if row.datum is not None:
            table = schema.DATUMS
            connection.execute(
                table.update().where(table.c.id == row.datum, table.c.purged.is_(None)).values(purged=datums.now())
            )
    return [_unfinished(row) for row in due], why


def pruned(connection: Connection, key: int) -> None:
    """Note that the bytes of a version are gone."""
    connection.execute(_V.update().where(_V.c.id == key).values(state="pruned", snapshot=None))


def refuse_published(row: Row[Any] | ModelRecord) -> None:
    """Refuse to change a model that is published.

    Raises:
        ModelError: it is.
    """
    if row.published is not None:
        raise ModelError(f"{_shown(row)} is published and cannot be changed; make another OutputModel")


def _shown(row: Row[Any] | ModelRecord) -> str:
    return f"the model {row.name!r} ({row.id if isinstance(row, ModelRecord) else row.uuid})"


def _held(connection: Connection, project: int, uuid: str) -> Row[Any]:
    # Locked, where the database locks rows: versions of a model are numbered one after the other.
    row = connection.execute(select(_M).where(_M.c.project == project, _M.c.uuid == uuid).with_for_update()).first()
    if row is None:
        raise ModelError(f"there is no model {uuid!r}; `vhpack model list` shows all")
    return row


def _selected() -> Any:  # noqa: ANN401 - SQLAlchemy's types name every column
    model = (_M.c.uuid.label("uuid"), _M.c.name.label("model_name"))
    columns = (_V, *model, schema.DATUMS.c.uuid.label("datum_uuid"), schema.DATUMS.c.sha256.label("sha256"))
    joined = _V.join(_M, _M.c.id == _V.c.model).outerjoin(schema.DATUMS, schema.DATUMS.c.id == _V.c.datum)
    return select(*columns).select_from(joined)


def _unfinished(row: Row[Any]) -> Unfinished:
    return Unfinished(row.id, _version(row), row.model_name, row.kind, row.snapshot, row.sources)


def _versions(connection: Connection, condition: ColumnElement[bool]) -> list[ModelVersion]:
    return [_version(row) for row in connection.execute(_selected().where(condition).order_by(_V.c.model, _V.c.number))]


def _version(row: Row[Any]) -> ModelVersion:
    created = datums.when(row.created)
    assert created is not None  # noqa: S101 - the column has no nulls
    return ModelVersion(
        model=row.uuid,
        n=row.number,
        state="pruned" if row.state == "pruning" else row.state,
        name=row.name,
        url=row.uri,
        iteration=row.iteration,
        size=row.size,
        files=row.files,
        sha256=row.sha256,
        datum=row.datum_uuid,
        created=created,
        stored=datums.when(row.stored),
        error=row.error,
    )


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelRecord]:
    current: dict[str, ModelVersion] = {}
    for start in range(0, len(rows), 500):
        some = [row.id for row in rows[start : start + 500]]
        for found in _versions(connection, _M.c.id.in_(some) & (_M.c.current == _V.c.number)):
            current[found.model] = found
    return [_record(row, current.get(row.uuid)) for row in rows]


def _record(row: Row[Any], current: ModelVersion | None) -> ModelRecord:
    created, modified = datums.when(row.created), datums.when(row.modified)
    assert created is not None and modified is not None  # noqa: S101, PT018 - the columns have no nulls
    return ModelRecord(
        id=row.uuid,
        name=row.name,
        task=row.task,
        task_name=row.task_name,
        project=row.task_project,
        connected=row.connected,
        comment=row.comment,
        framework=row.framework,
        config_text=row.config,
        labels=json.loads(row.labels),
        tags=tuple(json.loads(row.tags)),
        destination=row.destination,
        current=current,
        created=created,
        modified=modified,
        published=datums.when(row.published),
    )
