"""Contents that nobody needs any more: which they are, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from vhpack.errors import RegistryError
from vhpack.registry import bulk, datums, schema, sharing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection

    from vhpack.registry.opening import Registry
    from vhpack.registry.records import Datum

_D = schema.DATUMS


@dataclass(frozen=True)
class Swept:
    """What a sweep has removed, or would have."""

    purged: tuple[Datum, ...]
    """Datums that nothing refers to, whose content was given up."""
    contents: int
    """Contents removed from the store."""
    size: int
    """Their bytes."""
    staged: int
    """Files that killed processes had left half-way."""


def why_kept(connection: Connection, number: int) -> str | None:
    """Return what refers to a datum, or None."""
    aliases, changes, inputs, members = schema.ALIASES, schema.ALIAS_CHANGES, schema.RUN_INPUTS, schema.DATASET_MEMBERS
    name = connection.execute(select(aliases.c.name).where(aliases.c.datum == number).limit(1)).scalar()
    if name is not None:
        return f"the alias {name!r} means it"
    joined = inputs.join(schema.RUNS, schema.RUNS.c.id == inputs.c.run)
    run = connection.execute(select(schema.RUNS.c.hash).select_from(joined).where(inputs.c.datum == number).limit(1)).scalar()
    if run is not None:
        return f"run {run} was given it"
    versions = members.join(schema.DATASET_VERSIONS, schema.DATASET_VERSIONS.c.id == members.c.version).join(
        schema.DATASETS, schema.DATASETS.c.id == schema.DATASET_VERSIONS.c.dataset
    )
    columns = (schema.DATASETS.c.name, schema.DATASET_VERSIONS.c.name.label("version"))
    found = connection.execute(select(*columns).select_from(versions).where(members.c.datum == number).limit(1)).first()
    if found is not None:
        return f"the dataset {found.name!r} has it in version {found.version!r}"
    past = (
        select(aliases.c.name)
        .join(changes, changes.c.alias == aliases.c.id)
        .where(aliases.c.deleted.is_(None), changes.c.new == number)
    )
    name = connection.execute(past.limit(1)).scalar()
    return None if name is None else f"the alias {name!r} meant it, and can be rolled back to it"


def model_of(connection: Connection, number: int) -> str | None:
    """Return which version of which model a datum is, or None."""
    models, versions = schema.MODELS, schema.MODEL_VERSIONS
    joined = versions.join(models, models.c.id == versions.c.model)
    condition = (versions.c.datum == number, versions.c.state.in_(("stored", "registered")))
    found = connection.execute(
        select(models.c.name, models.c.uuid, versions.c.number).select_from(joined).where(*condition)
    ).first()
    return None if found is None else f"it is version {found.number} of the model {found.name!r} ({found.uuid})"


def purge(registry: Registry, wanted: Mapping[int, str], *, force: bool) -> list[Datum]:
    """Give up the contents of datums, of all or none; what is known of them stays.

    Args:
        registry: Where they are registered.
        wanted: Their numbers, and what errors call each.
        force: Also of those that something refers to.

    Raises:
        RegistryError: something refers to one, or the store is that of other registries, too, and one of them cannot be asked.
    """
    with registry.store.held(alone=True):
        theirs = sharing.needed_by_others(registry)

        def work(connection: Connection, project: int) -> list[Datum]:
            del project
            # Locked, where the database locks rows, and in one order: who lets an alias mean one waits, or is seen here.
            for number in sorted(wanted):
                connection.execute(select(_D.c.id).where(_D.c.id == number).with_for_update())
            for number, shown in wanted.items():
                why = None if force else why_kept(connection, number) or model_of(connection, number)
                if why is not None:
                    raise RegistryError(f"{shown} is not purged: {why}; say so with force (--force) to purge it all the same")
                connection.execute(_D.update().where(_D.c.id == number, _D.c.purged.is_(None)).values(purged=datums.now()))
            return [datums.get(connection, number) for number in wanted]

        purged = registry.write(work)
        needed = theirs | sharing.needed(registry)
        for datum in purged:
            if datum.sha256 is not None and datum.location is None and datum.sha256 not in needed:
                registry.store.remove(datum.sha256)
    return purged


def sweep(registry: Registry, *, unused_for: float | None, dry_run: bool) -> Swept:
    """Remove contents that no datum has; with `unused_for`, purge datums older than so many seconds that nothing refers to.

    Raises:
        RegistryError: the store is that of other registries, too, and one of them cannot be asked.
    """
    with registry.store.held(alone=True):
        theirs = sharing.needed_by_others(registry)
        before = None if unused_for is None else datums.now() - int(unused_for * 1e6)
        purged = [] if before is None else _purge_unused(registry, before, dry_run=dry_run)
        needed = sharing.needed(registry) | theirs
        if dry_run:
            needed -= {datum.sha256 for datum in purged} - _needed_besides(registry, purged) - theirs
        orphans = [(sha256, size) for sha256, size in registry.store.names() if sha256 not in needed]
        staged = 0
        if not dry_run:
            for sha256, _ in orphans:
                registry.store.remove(sha256)
            staged = registry.store.sweep()
    return Swept(tuple(purged), len(orphans), sum(size for _, size in orphans), staged)


def _purge_unused(registry: Registry, before: int, *, dry_run: bool) -> list[Datum]:
    def work(connection: Connection, project: int) -> list[Datum]:
        unused = select(_D.c.id).where(_unreferred(), _D.c.project == project, _D.c.created <= before)
        if not dry_run:
            # Locked, where the database locks rows, and then looked at again: who lets an alias or a run mean one of them
            # meanwhile waits, or is seen by the second look.
            locked = set(connection.execute(unused.with_for_update()).scalars())
            numbers = [number for number in connection.execute(unused).scalars() if number in locked]
        else:
            numbers = list(connection.execute(unused).scalars())
        found = datums.of_numbers(connection, sorted(numbers))
        if not dry_run:
            for some in bulk.pieces(numbers):
                connection.execute(_D.update().where(_D.c.id.in_(some)).values(purged=datums.now()))
        return found

    return registry.write(work)


def _unreferred() -> ColumnElement[bool]:
    aliases, changes = schema.ALIASES, schema.ALIAS_CHANGES
    living = select(aliases.c.id).where(aliases.c.deleted.is_(None))
    uses = (
        select(aliases.c.datum).where(aliases.c.datum.is_not(None)),
        select(changes.c.new).where(changes.c.new.is_not(None), changes.c.alias.in_(living)),
        select(schema.RUN_INPUTS.c.datum),
        select(schema.DATASET_MEMBERS.c.datum),
        select(schema.MODEL_VERSIONS.c.datum).where(schema.MODEL_VERSIONS.c.datum.is_not(None)),
    )
    return _D.c.purged.is_(None) & _D.c.location.is_(None) & ~or_(*(_D.c.id.in_(use) for use in uses))


def _needed_besides(registry: Registry, besides: Iterable[Datum]) -> set[str | None]:
    """Return the digests of the contents that other datums have in the store."""
    left_out = {datum.id for datum in besides}
    with registry.reading() as connection:
        rows = connection.execute(select(_D.c.uuid, _D.c.sha256).where(_D.c.purged.is_(None), _D.c.location.is_(None)))
        return {row.sha256 for row in rows if row.uuid not in left_out}
