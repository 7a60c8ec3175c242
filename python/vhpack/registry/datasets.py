"""Datasets: versions of files that never change once they are made, and aliases of versions."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from vhpack.errors import NotRegisteredError, OptionError, RegistrationError
from vhpack.registry import bulk, datums, schema
from vhpack.registry.names import Reference, checked, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Row

_V = schema.DATASET_VERSIONS
_M = schema.DATASET_MEMBERS
_S = schema.DATASETS
_D = schema.DATUMS
SETTINGS = frozenset({"uri", "from", "start_fresh", "exclude", "targeting_aliases", "packaging", "valohai.tags"})
"""What the platform documents of a dataset's version in a sidecar."""


@dataclass
class Claim:
    """A version of a dataset, as the files of a run ask for it together."""

    reference: Reference
    files: list[str] = field(default_factory=list)
    """Names of the run's files that are in it."""
    base: str = ""
    """The URI of the version that it goes out from."""
    fresh: bool = False
    """It goes out from none, whatever `base` says."""
    exclude: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)

    def add(self, file: str, settings: dict[str, object]) -> None:
        """Let a file be in the version, and take over what it says of that.

        Raises:
            RegistrationError: it says something else than another file, or nothing that is known.
        """
        self.files.append(file)
        base = settings.get("from")
        if base is not None and not isinstance(base, str):
            raise RegistrationError(f"{file}: the `from` of {self.reference.uri} is {base!r}; it must be dataset://NAME/VERSION")
        base = _spelled(file, base) if base else ""
        if base and self.base and base != self.base:
            raise RegistrationError(
                f"{self.files[0]} and {file} say that {self.reference.uri} goes out from {self.base} and {base}"
            )
        self.base = base or self.base
        fresh = settings.get("start_fresh") or False
        if not isinstance(fresh, bool):
            raise RegistrationError(f"{file}: start_fresh of {self.reference.uri} is {fresh!r}; it must be true or false")
        self.fresh = self.fresh or fresh
        for key, into, what in (
            ("exclude", self.exclude, None),
            ("targeting_aliases", self.aliases, "alias"),
            ("valohai.tags", self.tags, "tag"),
        ):
            values = settings.get(key) or []
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise RegistrationError(f"{file}: {key} of {self.reference.uri} is {values!r}; it must be a list of texts")
            try:
                into.update(checked(value, what) if what else value for value in values)
            except OptionError as error:
                raise RegistrationError(f"{file}: {key} of {self.reference.uri}: {error}") from None


def _spelled(file: str, uri: str) -> str:
    """Return the URI of a version in the one way in which it is compared with others."""
    try:
        return parse(uri).uri
    except OptionError as error:
        raise RegistrationError(f"{file}: {error}") from None


def make(connection: Connection, project: int, run: int, claim: Claim, own: Sequence[int], *, shown: str) -> int:
    """Make a version, and return how many files it has. One that has the very same files already is left as it is.

    Raises:
        RegistrationError: there is another one of its name; a version never changes.
    """
    dataset = number(connection, project, claim.reference.name)
    found = connection.execute(select(_V).where(_V.c.dataset == dataset, _V.c.name == claim.reference.version)).first()
    if found is not None and found.run == run:
        there = set(connection.execute(select(_M.c.datum).where(_M.c.version == found.id)).scalars())
        if there.issuperset(own):  # registered again: what it went out from may be called otherwise by now
            return len(there)
    members = {*_inherited(connection, project, claim, shown), *own}
    if found is not None:
        if contents(connection, list(members)) != contents_of(connection, found.id):
            raise RegistrationError(
                f"{claim.files[0]}: {claim.reference.uri} exists, and has other files; a version never changes, so name a new one"
            )
        return len(members)
    _make_version(connection, dataset, run, claim, sorted(members))
    return len(members)


def insert(connection: Connection, row: Mapping[str, object], members: Iterable[int], tags: Iterable[str]) -> int:
    """Write down a version, and return its number."""
    version = int(connection.execute(_V.insert().values(dict(row))).inserted_primary_key[0])  # type: ignore[index]
    bulk.insert(connection, _M, ("version", "datum"), [(version, each) for each in members])
    bulk.insert(connection, schema.DATASET_TAGS, ("version", "tag"), [(version, tag) for tag in dict.fromkeys(tags)])
    return version


def resolve(connection: Connection, project: int, reference: Reference, shown: str) -> tuple[str, Sequence[Any]]:
    """Return the UUID of the version that a reference means now, and number, name, UUID and end of its datums by their names.

    Raises:
        NotRegisteredError: it means none.
    """
    found = _version(connection, project, reference)
    if found is None:
        raise NotRegisteredError(f"{reference.uri}: {shown} has no such dataset, or no such version or alias in it")
    statement = select(_D.c.id, _D.c.name, _D.c.uuid, _D.c.purged).join(_M, _D.c.id == _M.c.datum)
    return found.uuid, connection.execute(statement.where(_M.c.version == found.id).order_by(_D.c.name, _D.c.id)).all()


def _inherited(connection: Connection, project: int, claim: Claim, shown: str) -> set[int]:
    if not claim.base or claim.fresh:
        return set()
    base = parse(claim.base)
    found = _version(connection, project, base) if base.kind == "dataset" else None
    if found is None:
        raise RegistrationError(
            f"{claim.files[0]}: {claim.reference.uri} goes out from {claim.base}, which {shown} does not have"
        )
    rows = connection.execute(
        select(_D.c.id, _D.c.uuid, _D.c.name).join(_M, _M.c.datum == _D.c.id).where(_M.c.version == found.id)
    )
    # A file of the run takes the place of the one that had its name.
    out = {*claim.exclude, *claim.files}
    return {row.id for row in rows if not out & {row.name, row.uuid, f"datum://{row.uuid}"}}


def _version(connection: Connection, project: int, reference: Reference) -> Row[Any] | None:
    of_dataset = select(_S.c.id).where(_S.c.project == project, _S.c.name == reference.name).scalar_subquery()
    found = connection.execute(select(_V).where(_V.c.dataset == of_dataset, _V.c.name == reference.version)).first()
    if found is not None:
        return found
    table = schema.DATASET_ALIASES
    by_alias = select(_V).join(table, table.c.version == _V.c.id)
    return connection.execute(by_alias.where(table.c.dataset == of_dataset, table.c.name == reference.version)).first()


def number(connection: Connection, project: int, name: str) -> int:
    """Return the number of a dataset, whose row is made if there is none."""
    found = connection.execute(select(_S.c.id).where(_S.c.project == project, _S.c.name == name).with_for_update()).scalar()
    if found is None:
        made = connection.execute(_S.insert().values({"project": project, "name": name}))
        found = made.inserted_primary_key[0]  # type: ignore[index]
    return int(found)


def _make_version(connection: Connection, dataset: int, run: int, claim: Claim, members: Sequence[int]) -> None:
    table = schema.DATASET_ALIASES
    of_name = (table.c.dataset == dataset, table.c.name == claim.reference.version)
    if connection.execute(select(table.c.version).where(*of_name)).first() is not None:
        raise RegistrationError(
            f"{claim.files[0]}: {claim.reference.uri} is an alias of a version; name the new version otherwise"
        )
    stamp = datums.now()
    row = {"uuid": str(uuid.uuid4()), "dataset": dataset, "name": claim.reference.version, "run": run, "created": stamp}
    version = insert(connection, row, members, sorted(claim.tags))
    for alias in sorted(claim.aliases):
        if connection.execute(select(_V.c.id).where(_V.c.dataset == dataset, _V.c.name == alias)).first() is not None:
            raise RegistrationError(f"{claim.files[0]}: {alias!r} is a version of dataset {claim.reference.name!r}, and no alias")
        moved = {"version": version, "modified": stamp}
        if not connection.execute(table.update().where(table.c.dataset == dataset, table.c.name == alias).values(moved)).rowcount:
            connection.execute(table.insert().values({"dataset": dataset, "name": alias, **moved}))


def contents(connection: Connection, numbers: Sequence[int]) -> set[tuple[str, str | None]]:
    """Return names and digests of datums: what two versions of the same files have in common."""
    found: set[tuple[str, str | None]] = set()
    for start in range(0, len(numbers), 500):
        some = numbers[start : start + 500]
        found |= {(row.name, row.sha256) for row in connection.execute(select(_D.c.name, _D.c.sha256).where(_D.c.id.in_(some)))}
    return found


def contents_of(connection: Connection, version: int) -> set[tuple[str, str | None]]:
    """Return names and digests of what is in a version."""
    statement = select(_D.c.name, _D.c.sha256).join(_M, _M.c.datum == _D.c.id).where(_M.c.version == version)
    return {(row.name, row.sha256) for row in connection.execute(statement)}
