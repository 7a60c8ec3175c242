"""The outputs of a run become datums, and what their sidecars ask for is done: in one transaction, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from vhpack.errors import OptionError, RegistrationError
from vhpack.registry import aliases, datasets, datums, runs, saying, schema
from vhpack.registry.datasets import Claim
from vhpack.registry.names import checked_alias, parse
from vhpack.registry.records import Outcome
from vhpack.registry.saying import ALIAS, DATASETS, Said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from vhpack.registry.opening import Registry
    from vhpack.registry.records import Output
    from vhpack.registry.runs import Facts


class Claims(NamedTuple):
    """What sidecars say of files, and what they ask for beside that."""

    said: Said
    aliases: Mapping[str, str]
    """Which file each is to mean."""
    versions: Mapping[str, Claim]
    """Versions of datasets by their URIs, those before that others go out from."""


def claimed(outputs: Sequence[Output]) -> Claims:
    """Return what the files of a run claim.

    Raises:
        RegistrationError: two files claim one alias, or a sidecar asks for what cannot be.
    """
    said = saying.read([(output.name, output.properties) for output in outputs], RegistrationError)
    described = [output for output in outputs if output.properties]
    return Claims(said, _claimed_aliases(described), _claimed_versions(described))


def register(
    registry: Registry, facts: Facts, outputs: Sequence[Output], status: str | None, claims: Claims | None = None
) -> Outcome:
    """Register a run's outputs, and return what was done.

    Outputs that this run has registered before, with the same content, are not registered again. Aliases are moved and versions
    of datasets made only where the run has succeeded.

    Args:
        registry: Where to.
        facts: The run.
        outputs: Files whose contents are kept already.
        status: How the run ended; None: it goes on, and more will follow.
        claims: What `outputs` claim, if that is known already.

    Raises:
        RegistrationError: two files claim one alias, or a sidecar asks for what cannot be; nothing is registered.
    """
    wanted = claims or claimed(outputs)

    def work(connection: Connection, project: int) -> Outcome:
        run = runs.number(connection, project, facts)
        numbers, new = _registered(connection, project, run, outputs, wanted.said)
        moved: list[tuple[str, int]] = []
        made: list[tuple[str, int]] = []
        if status is not None:
            runs.finish(connection, run, facts, status)
        if status == "succeeded":
            # Before the aliases: who follows one of them finds the version that it was made with.
            for uri, claim in wanted.versions.items():
                own = [numbers[name] for name in claim.files]
                made.append((uri, datasets.make(connection, project, run, claim, own, shown=registry.shown)))
            reason = aliases.Reason(datums.actor(), "run", run=run)
            # In one order for all runs, so that two of them never wait for each other.
            for alias, name in sorted(wanted.aliases.items()):
                if aliases.was_claimed(connection, project, alias, numbers[name], run):
                    continue
                if aliases.move(connection, project, alias, numbers[name], reason):
                    moved.append((alias, numbers[name]))
        records = {number: datums.get(connection, number) for number in {number for _, number in moved}}
        return Outcome(facts.hash, new, tuple((alias, records[number]) for alias, number in moved), tuple(made))

    return registry.write(work)


def _claimed_aliases(outputs: Sequence[Output]) -> dict[str, str]:
    """Return which file each alias is to mean.

    Raises:
        RegistrationError: two files claim one, or it is no alias.
    """
    claims: dict[str, str] = {}
    for output in outputs:
        wanted = output.properties.get(ALIAS)
        if wanted is None:
            continue
        if not isinstance(wanted, str):
            raise RegistrationError(f"{output.name}: {ALIAS} is {wanted!r}; it must be one text")
        try:
            alias = checked_alias(wanted)
        except OptionError as error:
            raise RegistrationError(f"{output.name}: {ALIAS}: {error}") from None
        if claims.setdefault(alias, output.name) != output.name:
            both = f"{claims[alias]} and {output.name} both claim the alias {alias!r}"
            raise RegistrationError(f"{both}; an alias means one file, so leave one of them out")
    return claims


def _claimed_versions(outputs: Sequence[Output]) -> dict[str, Claim]:
    """Return the versions of datasets that files are to be in, by their URIs, those before that others go out from.

    Raises:
        RegistrationError: what a sidecar says of one makes no sense.
    """
    claims: dict[str, Claim] = {}
    for output in outputs:
        wanted = output.properties.get(DATASETS)
        if wanted is None:
            continue
        if not isinstance(wanted, list):
            raise RegistrationError(f"{output.name}: {DATASETS} is {wanted!r}; it must be a list of dataset://NAME/VERSION")
        for version in wanted:
            settings = version if isinstance(version, dict) else {"uri": version}
            _claim(claims, output.name, settings)
    return _in_order(claims)


def _in_order(claims: Mapping[str, Claim]) -> dict[str, Claim]:
    found: dict[str, Claim] = {}
    # One order for all runs, so that two of them never wait for each other.
    pending = dict(sorted(claims.items()))
    while pending:
        ready = {uri: claim for uri, claim in pending.items() if claim.fresh or claim.base not in pending}
        if not ready:
            uri, claim = next(iter(pending.items()))
            raise RegistrationError(f"{claim.files[0]}: {uri} goes out from {claim.base}, and that from {uri} again")
        found |= ready
        pending = {uri: claim for uri, claim in pending.items() if uri not in ready}
    return found


def _claim(claims: dict[str, Claim], file: str, settings: Mapping[str, object]) -> None:
    uri = settings.get("uri")
    strange = sorted(set(settings) - datasets.SETTINGS)
    if strange:
        known = ", ".join(sorted(datasets.SETTINGS))
        raise RegistrationError(f"{file}: {DATASETS}: {uri} has {strange[0]!r}, which is none of {known}")
    try:
        reference = parse(uri) if isinstance(uri, str) else None
    except OptionError as error:
        raise RegistrationError(f"{file}: {DATASETS}: {error}") from None
    if reference is None or reference.kind != "dataset":
        raise RegistrationError(f"{file}: {DATASETS} has {uri!r}; it must be dataset://NAME/VERSION")
    claims.setdefault(reference.uri, Claim(reference)).add(file, dict(settings))


def _registered(
    connection: Connection, project: int, run: int, outputs: Sequence[Output], said: Said
) -> tuple[dict[str, int], int]:
    """Return the number of each output by its name, and how many of them are new."""
    table = schema.DATUMS
    rows = connection.execute(select(table.c.id, table.c.name, table.c.sha256, table.c.purged).where(table.c.run == run)).all()
    if not rows and len({output.name for output in outputs}) == len(outputs):
        numbers = datums.add(connection, project, run, outputs)
        saying.write(connection, numbers, said)
        return dict(zip([output.name for output in outputs], numbers, strict=True)), len(outputs)
    known = {(row.name, row.sha256): row.id for row in rows}
    new = list({key: output for output in outputs if (key := (output.name, output.sha256)) not in known}.values())
    again = sorted({known[key] for output in outputs if (key := (output.name, output.sha256)) in known})
    saying.forget(connection, again)
    # Their contents were given up, and have been kept once more.
    datums.revive(connection, {row.id for row in rows if row.purged is not None}.intersection(again))
    added = datums.add(connection, project, run, new)
    known.update(((output.name, output.sha256), number) for output, number in zip(new, added, strict=True))
    numbers = [known[output.name, output.sha256] for output in outputs]
    # Of a file that was sent to two places there is one datum.
    first = {number: place for place, number in reversed(list(enumerate(numbers)))}
    saying.write(connection, numbers, said.only(set(first.values())))
    return {output.name: number for output, number in zip(outputs, numbers, strict=True)}, len(new)
