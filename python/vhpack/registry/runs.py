"""Runs: what they were given, which data their inputs mean for good, and what they made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from vhpack.errors import NoTargetError, NotRegisteredError
from vhpack.registry import bulk, datasets, datums, saying, schema
from vhpack.registry.names import parse
from vhpack.registry.records import Pin, RunRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Row


_R = schema.RUNS
_I = schema.RUN_INPUTS
_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


@dataclass(frozen=True)
class Facts:
    """What is known of a run when it begins."""

    hash: str
    step: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    copied_from: str | None = None
    began: int = 0
    """When it began, as rows have it; 0: when it is written down first."""


@dataclass(frozen=True)
class Foreign:
    """A datum of the platform's own registry."""

    id: str
    name: str
    size: int
    sha256: str | None
    location: str


@dataclass(frozen=True)
class Wanted:
    """Places of one input that the registry knows, in order."""

    input: str
    uris: tuple[str, ...]


def number(connection: Connection, project: int, facts: Facts) -> int:
    """Return the number of a run, whose row is made if there is none."""
    # Locked, where the database locks rows: a run is registered by one at a time.
    statement = select(_R.c.id).where(_R.c.project == project, _R.c.hash == facts.hash)
    found = connection.execute(statement.with_for_update()).scalar()
    if found is not None:
        return int(found)
    row = {
        "project": project,
        "hash": facts.hash,
        "step": facts.step,
        "parameters": _text(facts.parameters),
        "status": "running",
        "copied_from": facts.copied_from,
        "created": facts.began or datums.now(),
        "finished": None,
    }
    return int(connection.execute(_R.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]


def finish(connection: Connection, run: int, facts: Facts, status: str) -> None:
    """Note how a run ended; one that has succeeded stays so."""
    row = {"status": status, "finished": datums.now(), "step": facts.step, "parameters": _text(facts.parameters)}
    connection.execute(_R.update().where(_R.c.id == run, _R.c.status != "succeeded").values(row))


def _text(parameters: Mapping[str, object]) -> str:
    return saying.json_text(json.loads(json.dumps(dict(parameters), default=str)))  # NaN is one of the values, and no JSON


def pinned(connection: Connection, project: int, run_hash: str) -> list[Pin]:
    """Return what the inputs of a run mean, by input and position."""
    rows = _pins(connection, project, run_hash)
    numbers = sorted({row.datum for row in rows})
    known = dict(zip(numbers, datums.of_numbers(connection, numbers), strict=True))
    return [Pin(row.input, row.position, row.requested, known[row.datum], row.name, row.folder, row.origin) for row in rows]


@dataclass(frozen=True)
class Request:
    """What a run asks for."""

    facts: Facts
    wanted: tuple[Wanted, ...]
    foreign: Mapping[str, Foreign]
    """What the platform has said, by URI: for what is not known here."""
    shown: str
    """What the registry is called."""


def pin(connection: Connection, project: int, request: Request) -> tuple[list[Pin], list[str]]:
    """Settle what the inputs of a run mean, unless that has been settled, and return it.

    All is read from one moment, and written at once.

    Returns:
        The pins, and none of them if there are URIs that are known nowhere: those are returned, too.

    Raises:
        NoTargetError: an alias has no target.
    """
    run_hash = request.facts.hash
    earlier = _pins(connection, project, run_hash)
    known = {(row.input, row.requested) for row in earlier}
    rows: list[dict[str, Any]] = []
    unknown: list[str] = []
    for each in request.wanted:
        new = [uri for uri in each.uris if (each.input, uri) not in known]
        for uri in dict.fromkeys(new):
            found = _settled(earlier, uri) if request.facts.copied_from is None else []
            found = found or _resolved(connection, project, uri, request)
            if not found:
                unknown.append(uri)
            rows += [{"input": each.input, "requested": uri, **row} for row in found]
    if unknown:
        return [], unknown
    if rows:
        _write_pins(connection, number(connection, project, request.facts), rows)
    return pinned(connection, project, run_hash), []


def copy_pins(connection: Connection, project: int, facts: Facts, inputs: Sequence[str]) -> None:
    """Let the inputs of a run mean what those of the run mean that it was copied from."""
    assert facts.copied_from is not None  # noqa: S101 - who calls this has looked
    known = {row.input for row in _pins(connection, project, facts.hash)}
    theirs = _pins(connection, project, facts.copied_from)
    names = ("input", "requested", "datum", "name", "folder", "origin")
    rows = [{name: getattr(row, name) for name in names} for row in theirs if row.input in inputs and row.input not in known]
    if rows:
        _write_pins(connection, number(connection, project, facts), rows)


def found(connection: Connection, project: int, run_hash: str, shown: str) -> str:
    """Return the whole hash of a run, of which `run_hash` is the beginning.

    Raises:
        NotRegisteredError: there is no such run, or several.
    """
    pattern = run_hash.translate(_LIKE) + "%"
    statement = select(_R.c.hash).where(_R.c.project == project, _R.c.hash.like(pattern, escape="\\"))
    hashes = list(connection.execute(statement.order_by(_R.c.hash).limit(3)).scalars())
    if run_hash in hashes:
        return run_hash
    if len(hashes) != 1:
        what = f"several runs that begin so ({', '.join(hashes[:2])}, ...)" if hashes else "no such run"
        raise NotRegisteredError(f"{run_hash!r}: {shown} has {what}; `vhpack runs list` shows them")
    return str(hashes[0])


def listed(connection: Connection, project: int) -> list[RunRecord]:
    """Return all runs, the oldest first."""
    counts = select(schema.DATUMS.c.run, func.count().label("outputs")).group_by(schema.DATUMS.c.run).subquery()
    statement = select(_R, counts.c.outputs).outerjoin(counts, counts.c.run == _R.c.id).where(_R.c.project == project)
    return [_record(row) for row in connection.execute(statement.order_by(_R.c.id))]


def get(connection: Connection, project: int, run_hash: str) -> RunRecord:
    """Return a run with its inputs."""
    outputs = select(func.count()).select_from(schema.DATUMS).where(schema.DATUMS.c.run == _R.c.id).scalar_subquery()
    statement = select(_R, outputs.label("outputs")).where(_R.c.project == project, _R.c.hash == run_hash)
    return _record(connection.execute(statement).one(), tuple(pinned(connection, project, run_hash)))


def _record(row: Row[Any], inputs: tuple[Pin, ...] = ()) -> RunRecord:
    created = datums.when(row.created)
    assert created is not None  # noqa: S101 - the column has no nulls
    return RunRecord(
        hash=row.hash,
        step=row.step,
        status=row.status,
        created=created,
        finished=datums.when(row.finished),
        copied_from=row.copied_from,
        parameters=json.loads(row.parameters),
        outputs=row.outputs or 0,
        inputs=inputs,
    )


def _pins(connection: Connection, project: int, run_hash: str) -> Sequence[Row[Any]]:
    joined = _I.join(_R, _R.c.id == _I.c.run)
    statement = select(_I).select_from(joined).where(_R.c.project == project, _R.c.hash == run_hash)
    return connection.execute(statement.order_by(_I.c.input, _I.c.position)).all()


def _settled(earlier: Sequence[Row[Any]], uri: str) -> list[dict[str, Any]]:
    """Return what a URI means in a run that has asked for it before, be it for another input."""
    named = next((row.input for row in earlier if row.requested == uri), None)
    rows = [row for row in earlier if row.requested == uri and row.input == named]
    return [{name: getattr(row, name) for name in ("datum", "name", "folder", "origin")} for row in rows]


def _resolved(connection: Connection, project: int, uri: str, request: Request) -> list[dict[str, Any]]:
    reference = parse(uri)
    if reference.kind == "dataset":
        try:
            version, members = datasets.resolve(connection, project, reference, request.shown)
        except NotRegisteredError:
            return []
        gone = next((row for row in members if row.purged is not None), None)
        if gone is not None:
            datums.refuse_purged(datums.get(connection, gone.id), uri)
        return [{"datum": row.id, "name": row.name, "folder": version, "origin": "local"} for row in members]
    try:
        datum = datums.number_of(connection, project, reference, request.shown)
    except NoTargetError:
        raise
    except NotRegisteredError:
        theirs = request.foreign.get(uri)
        if theirs is None:
            return []
        datum = _import(connection, project, theirs)
        origin = theirs.location
    else:
        origin = "local"
    # Nothing is pinned that cannot be had: once the alias is moved to something that can, the same run gets that.
    record = datums.usable(connection, datum, uri)
    return [{"datum": datum, "name": record.name.rpartition("/")[2], "folder": record.id, "origin": origin}]


def _import(connection: Connection, project: int, theirs: Foreign) -> int:
    table = schema.DATUMS
    known = connection.execute(select(table.c.id).where(table.c.uuid == theirs.id)).scalar()
    if known is not None:
        return int(known)
    row = {
        "uuid": theirs.id,
        "project": project,
        "name": theirs.name,
        "size": theirs.size,
        "sha256": theirs.sha256,
        "location": theirs.location,
        "created": datums.now(),
    }
    return int(connection.execute(table.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]


def _write_pins(connection: Connection, run: int, rows: Sequence[Mapping[str, Any]]) -> None:
    last = dict(connection.execute(select(_I.c.input, func.max(_I.c.position)).where(_I.c.run == run).group_by(_I.c.input)).all())
    columns = ("requested", "datum", "name", "folder", "origin")
    numbered: list[tuple[object, ...]] = []
    for row in rows:
        last[row["input"]] = last.get(row["input"], -1) + 1
        numbered.append((run, row["input"], last[row["input"]], *(row[column] for column in columns)))
    bulk.insert(connection, _I, ("run", "input", "position", *columns), numbered)
