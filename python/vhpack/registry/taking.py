"""The books of a project as JSON Lines, on their way into a registry: all of them, or nothing. Contents stay where they are."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import select

from vhpack.errors import OptionError, RegistrationError
from vhpack.registry import aliases, bulk, datasets, datums, saying, schema, sharing
from vhpack.registry.names import checked, checked_alias, datum_id
from vhpack.registry.transfer import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from sqlalchemy import Connection

    from vhpack.registry.opening import Registry

_A = schema.ALIASES
_C = schema.ALIAS_CHANGES
_D = schema.DATUMS
_I = schema.RUN_INPUTS
_R = schema.RUNS
_V = schema.DATASET_VERSIONS
_DIGITS = frozenset("0123456789abcdef")
_MOST = 2**63 - 1


def take_in(registry: Registry, lines: Iterable[str], source: str) -> Counter[str]:
    """Take over what `transfer.exported` has given, all or nothing, and return how many entries of each kind are new.

    What is known already is left as it is; the history of an alias that goes on there goes on here.

    Raises:
        RegistrationError: a line makes no sense, or contradicts what is known.
    """
    found = [_Entry(f"{source}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found or found[0].fields.get("vhpack_registry") != VERSION:
        raise RegistrationError(f"{source} is no export of a registry that this vhpack knows: `vhpack data export` writes one")

    def work(connection: Connection, project: int) -> Counter[str]:
        books = _Books(connection, project, registry.shown)
        for kind, entries in groupby(found[1:], lambda entry: entry.kind):
            _TAKE[kind](books, list(entries))
        return books.new

    with registry.store.held():  # whoever sweeps it has to know of the registry that speaks of its contents from now on
        sharing.say_so(registry)
        return registry.write(work)


class _Entry:
    """A line, read as what it should be."""

    def __init__(self, where: str, line: str) -> None:
        self.where = where
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RegistrationError(f"{where} is no JSON: {error}") from None
        if not isinstance(fields, dict):
            raise RegistrationError(f"{where} must be a JSON object, not {type(fields).__name__}")
        self.fields: dict[str, Any] = fields

    @property
    def kind(self) -> str:
        kind = self.fields.get("kind")
        if kind not in _TAKE:
            raise self.wrong(f"kind is {kind!r}; it must be one of {', '.join(_TAKE)}")
        return str(kind)

    def wrong(self, what: str) -> RegistrationError:
        return RegistrationError(f"{self.where}: {what}")

    def inner(self, fields: object) -> _Entry:
        if not isinstance(fields, dict):
            raise self.wrong(f"{fields!r} must be an object")
        found = object.__new__(_Entry)
        found.where, found.fields = self.where, fields
        return found

    def text(self, name: str, *, most: int | None = None) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or "\0" in value or (most is not None and len(value) > most):
            raise self.wrong(f"{name} is {value!r}; it must be text")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.wrong(f"{name} is {value!r}; it must be text") from None
        return value

    def text_or_none(self, name: str, *, most: int | None = None) -> str | None:
        return None if self.fields.get(name) is None else self.text(name, most=most)

    def number(self, name: str, least: int) -> int:
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
            raise self.wrong(f"{name} is {value!r}; it must be a whole number, {least} or more")
        return value

    def time(self, name: str) -> int:
        text = self.text(name)
        try:
            return round(datetime.fromisoformat(text).timestamp() * 1e6)
        except (ValueError, OverflowError):
            raise self.wrong(f"{name} is {text!r}, which is no time as in 2026-11-20T12:03:09+00:00") from None

    def time_or_none(self, name: str) -> int | None:
        return None if self.fields.get(name) is None else self.time(name)

    def identity(self, name: str) -> str:
        found = datum_id(self.text(name))
        if found is None:
            raise self.wrong(f"{name} is {self.fields[name]!r}, which is no UUID")
        return found

    def digest(self, name: str, digits: int) -> str | None:
        found = self.text_or_none(name)
        if found is not None and not (len(found) == digits and _DIGITS.issuperset(found)):
            raise self.wrong(f"{name} is {found!r}; it must have {digits} hexadecimal digits")
        return found

    def json(self, value: object) -> str:
        try:
            return saying.json_text(value)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"has what cannot be written as JSON again: {error}") from None

    def listed(self, name: str) -> list[Any]:
        found = self.fields.get(name)
        if not isinstance(found, list):
            raise self.wrong(f"{name} is {found!r}; it must be a list")
        return found

    def name(self, name: str, what: str) -> str:
        try:
            return checked_alias(self.text(name)) if what == "alias" else checked(self.text(name), what)
        except OptionError as error:
            raise self.wrong(str(error)) from None


class _Books:
    """What a registry knows, while entries are added to it."""

    def __init__(self, connection: Connection, project: int, shown: str) -> None:
        self.connection, self.project, self.shown = connection, project, shown
        runs = connection.execute(select(_R.c.hash, _R.c.id).where(_R.c.project == project))
        self.runs: dict[str, int] = {row.hash: row.id for row in runs}
        data = connection.execute(select(_D.c.uuid, _D.c.id, _D.c.sha256, _D.c.size))
        self.data: dict[str, tuple[int, str | None, int]] = {row.uuid: (row.id, row.sha256, row.size) for row in data}
        self.versions: dict[str, int] = {}
        self.new: Counter[str] = Counter()

    def run(self, entry: _Entry) -> int | None:
        return self.runs.get(entry.text_or_none("run") or "")

    def datum(self, entry: _Entry, uuid: object) -> int:
        known = self.data.get((datum_id(uuid) if isinstance(uuid, str) else None) or "")
        if known is None:
            raise entry.wrong(f"the datum {uuid!r} is neither here nor above")
        return known[0]


def _take_runs(books: _Books, entries: list[_Entry]) -> None:
    for entry in entries:
        run = entry.text("run")
        if "/" in run or run in ("", ".", ".."):
            raise entry.wrong(f"run is {run!r}, which is no folder name")
        if run in books.runs:
            continue
        parameters = entry.fields.get("parameters")
        row = {
            "project": books.project,
            "hash": run,
            "step": entry.text("step"),
            "status": entry.text("status", most=16),
            "created": entry.time("created"),
            "finished": entry.time_or_none("finished"),
            "copied_from": entry.text_or_none("copied_from"),
            "parameters": entry.json(parameters if isinstance(parameters, dict) else {}),
        }
        books.runs[run] = int(books.connection.execute(_R.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]
        books.new["run"] += 1


def _take_data(books: _Books, entries: list[_Entry]) -> None:
    new: dict[str, _Entry] = {}
    for entry in entries:
        uuid, sha256, size = entry.identity("id"), entry.digest("sha256", 64), entry.number("size", -1)
        known = books.data.get(uuid)
        if known is None:
            new[uuid] = entry
            books.data[uuid] = (0, sha256, size)
        elif known[1:] != (sha256, size):
            raise entry.wrong(f"datum {uuid} is known here with other content")
    numbers = datums.numbers(books.connection, len(new))
    columns = ("id", "uuid", "project", "run", "name", "size", "sha256", "xxh3_128", "location", "created", "modified", "purged")
    rows: list[tuple[object, ...]] = []
    described: list[tuple[str, Mapping[str, object]]] = []
    for number, (uuid, entry) in zip(numbers, new.items(), strict=True):
        _, sha256, size = books.data[uuid]
        books.data[uuid] = (number, sha256, size)
        name, place = entry.text("name"), entry.text_or_none("location")
        times = (entry.time("created"), entry.time_or_none("file_modified"), entry.time_or_none("purged"))
        xxh3_128 = entry.digest("xxh3-128", 32)
        rows.append((number, uuid, books.project, books.run(entry), name, size, sha256, xxh3_128, place, *times))
        described.append((entry.where, _said(entry)))
    bulk.insert(books.connection, _D, columns, rows)
    saying.write(books.connection, numbers, saying.read(described, RegistrationError))
    books.new["datum"] += len(new)


def _said(entry: _Entry) -> Mapping[str, object]:
    properties = entry.fields.get("properties")
    if not isinstance(properties, dict):
        raise entry.wrong(f"properties are {properties!r}; they must be an object")
    return {**properties, saying.TAGS: entry.listed("tags")}


def _take_inputs(books: _Books, entries: list[_Entry]) -> None:
    known: dict[tuple[int, str, int], int] = {}
    for some in bulk.pieces(sorted({run for entry in entries if (run := books.run(entry)) is not None})):
        for row in books.connection.execute(select(_I).where(_I.c.run.in_(some))):
            known[row.run, row.input, row.position] = row.datum
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        run, datum = books.run(entry), books.datum(entry, entry.fields.get("datum"))
        if run is None:
            raise entry.wrong(f"run {entry.fields.get('run')!r} is neither here nor above")
        key = (run, entry.text("input"), entry.number("position", 0))
        if key not in known:
            rows.append((*key, entry.text("requested"), datum, entry.text("name"), entry.text("folder"), entry.text("origin")))
        if known.setdefault(key, datum) != datum:
            raise entry.wrong(f"run {entry.fields['run']} was given something else here")
    bulk.insert(books.connection, _I, ("run", "input", "position", "requested", "datum", "name", "folder", "origin"), rows)
    books.new["input"] += len(rows)


def _take_versions(books: _Books, entries: list[_Entry]) -> None:
    for entry in entries:
        uuid, name = entry.identity("id"), entry.name("name", "version")
        dataset = datasets.number(books.connection, books.project, entry.name("dataset", "dataset"))
        members = sorted({books.datum(entry, each) for each in entry.listed("data")})
        same = (_V.c.uuid == uuid) | ((_V.c.dataset == dataset) & (_V.c.name == name))
        found = books.connection.execute(select(_V).where(same)).all()
        if found:
            contents = datasets.contents(books.connection, members)
            if any(datasets.contents_of(books.connection, row.id) != contents for row in found):
                raise entry.wrong(f"version {name!r} of dataset {entry.fields['dataset']!r} is known here with other files")
            books.versions[uuid] = found[0].id
            continue
        row = {"uuid": uuid, "dataset": dataset, "name": name, "run": books.run(entry), "created": entry.time("created")}
        tags = [entry.inner({"tag": tag}).name("tag", "tag") for tag in entry.listed("tags")]
        books.versions[uuid] = datasets.insert(books.connection, row, members, tags)
        books.new["dataset-version"] += 1


def _take_dataset_aliases(books: _Books, entries: list[_Entry]) -> None:
    table = schema.DATASET_ALIASES
    for entry in entries:
        uuid, name = entry.identity("version"), entry.name("name", "version")
        dataset = datasets.number(books.connection, books.project, entry.name("dataset", "dataset"))
        version = books.versions.get(uuid)
        if version is None:
            raise entry.wrong(f"version {uuid} is not above")
        here = (table.c.dataset == dataset, table.c.name == name)
        if books.connection.execute(select(table.c.version).where(*here)).first() is None:
            row = {"dataset": dataset, "name": name, "version": version, "modified": entry.time("modified")}
            books.connection.execute(table.insert().values(row))
            books.new["dataset-alias"] += 1


def _take_aliases(books: _Books, entries: list[_Entry]) -> None:
    for entry in entries:
        name = entry.name("name", "alias")
        changes = [entry.inner(each) for each in entry.listed("history")]
        if not changes:
            raise entry.wrong(f"the alias {name!r} has no history")
        of_name = (_A.c.project == books.project, _A.c.name == name)
        known = books.connection.execute(select(_A).where(*of_name).with_for_update()).first()
        ours = []
        if known is not None:
            history = aliases.history(books.connection, books.project, name, books.shown)
            ours = [(change.old, change.new, change.via) for change in history]
        theirs = [(_uuid(change, "old"), _uuid(change, "new"), change.text("via", most=16)) for change in changes]
        shared = min(len(ours), len(theirs))
        if ours[:shared] != theirs[:shared]:
            raise entry.wrong(f"the alias {name!r} has another history here; delete or rename one of the two")
        if len(theirs) > len(ours):
            _go_on(books, name, None if known is None else known.id, changes, len(ours))
            books.new["alias"] += known is None


def _go_on(books: _Books, name: str, alias: int | None, changes: list[_Entry], done: int) -> None:
    """Write the changes of an alias behind those that are known."""
    last = changes[-1]
    new = _uuid(last, "new")
    state: dict[str, Any] = {
        "datum": None if new is None else books.datum(last, new),
        "changes": len(changes),
        "modified": last.time("at"),
        "deleted": last.time("at") if new is None else None,
    }
    if alias is None:
        row = {"project": books.project, "name": name, "created": changes[0].time("at"), **state}
        alias = int(books.connection.execute(_A.insert().values(row)).inserted_primary_key[0])  # type: ignore[index]
    else:
        books.connection.execute(_A.update().where(_A.c.id == alias).values(state))
    before = None
    for number, change in enumerate(changes, 1):
        old, new = _uuid(change, "old"), _uuid(change, "new")
        if change.number("number", 1) != number or old != before:
            raise change.wrong(f"the history of {name!r} has a gap before change {number}")
        before = new
        if number > done:
            restores = None if change.fields.get("restores") is None else change.number("restores", 1)
            row = {"alias": alias, "number": number, "at": change.time("at"), "restores": restores, "run": books.run(change)}
            row |= {"actor": change.text("actor"), "via": change.text("via", most=16), "note": change.text("note")}
            row |= {side: None if uuid is None else books.datum(change, uuid) for side, uuid in (("old", old), ("new", new))}
            books.connection.execute(_C.insert().values(row))


def _uuid(change: _Entry, side: str) -> str | None:
    return None if change.fields.get(side) is None else change.identity(side)


_TAKE: dict[str, Callable[[_Books, list[_Entry]], None]] = {
    "run": _take_runs,
    "datum": _take_data,
    "input": _take_inputs,
    "dataset-version": _take_versions,
    "dataset-alias": _take_dataset_aliases,
    "alias": _take_aliases,
}
