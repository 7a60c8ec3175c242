"""`vhpack.data`: files that are registered, found again by what is known of them.

A datum never changes: adding a file once more makes another one. Its content is in the content store (`.valohai/store`), or
where it was uploaded to. What is registered here, `datum://ID` names for good, and an alias (`vhpack.aliases`) as long as it
points there.
"""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING

from vhpack import registrar
from vhpack.errors import OptionError, SourceNotFoundError, SpecialFileError
from vhpack.registry import names
from vhpack.registry.records import Datum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    from vhpack.registry.opening import Connection
    from vhpack.registry.sweeping import Swept

    Target: TypeAlias = str | os.PathLike[str] | Datum

__all__ = ["Datum", "add", "find", "gc", "get", "purge", "verify"]


def add(
    file: str | os.PathLike[str],
    *,
    name: str | None = None,
    alias: str | None = None,
    tags: Iterable[str] = (),
    properties: Mapping[str, object] | None = None,
) -> Datum:
    """Register a file, and keep a copy of its content; the file itself stays as it is.

    Args:
        file: Its path.
        name: What to call it; by default the last part of its path.
        alias: An alias that is to mean it from now on.
        tags: Words to find it by.
        properties: Name to anything that JSON knows.

    Raises:
        SourceNotFoundError, SpecialFileError: there is no such file.
        OptionError: a name, alias or tag cannot be one.
        ContentError: the file changes, or cannot be kept.
        RegistryError: the registry cannot be used.

    Example:
        >>> import vhpack
        >>> with open("cats.csv", "w") as file:
        ...     print("name,age", file=file)
        >>> datum = vhpack.data.add("cats.csv", alias="cats", tags=["raw"])
        >>> vhpack.data.get("datum://cats") == datum
        True
    """
    return register([file], name=name, alias=alias, tags=tags, properties=properties)[0]


def register(
    files: Sequence[str | os.PathLike[str]],
    *,
    name: str | None = None,
    alias: str | None = None,
    note: str = "",
    tags: Iterable[str] = (),
    properties: Mapping[str, object] | None = None,
) -> list[Datum]:
    """Register files, all of them or none, and move an alias, if one is given, to the last; `add` has the rest."""
    wanted = None if alias is None else names.checked_alias(alias)
    found = [_file(file, name) for file in files]
    registry = registrar.opened()
    from vhpack import gathering
    from vhpack.registry import aliases, datums, keeping, saying
    from vhpack.registry.records import Output
    from vhpack.registry.store import Content

    described = {**(properties or {}), saying.TAGS: [names.checked(tag, "tag") for tag in tags]}
    said = saying.read([(called, described) for _, called in found])
    outputs, contents = [], []
    for path, called in found:
        status = os.stat(path)
        sha256, xxh3_128 = gathering.digest(path)
        outputs.append(Output(called, status.st_size, sha256, xxh3_128, status.st_mtime_ns))
        # Never a link: whoever has the file may go on writing to it.
        contents.append(Content(os.path.realpath(path), sha256, status.st_size, status.st_mtime_ns, may_link=False))

    def work(connection: Connection, project: int) -> list[Datum]:
        numbers = datums.add(connection, project, None, outputs)
        saying.write(connection, numbers, said)
        if wanted is not None:
            aliases.move(connection, project, wanted, numbers[-1], aliases.Reason(datums.actor(), "set", note))
        return datums.of_numbers(connection, list(numbers))

    with keeping.kept(registry, contents, gathering.disk()):
        return registry.write(work)


def _file(file: str | os.PathLike[str], name: str | None) -> tuple[str, str]:
    """Return the path of a file that is to be registered, and what it is called."""
    path = os.path.abspath(os.fspath(file))
    called = names.checked(os.path.basename(path) if name is None else name, "name")
    if not os.path.exists(path):
        raise SourceNotFoundError(2, f"{path} does not exist; name a file", path)
    if not os.path.isfile(path):
        raise SpecialFileError(None, f"{path} is no file; name a file", path)
    return path, called


def get(target: Target) -> Datum:
    """Return what is registered of a datum.

    Args:
        target: `datum://ALIAS`, `datum://ID`, an ID, or a datum.

    Raises:
        NotRegisteredError: there is none.
        OptionError: it is none of these.

    Example:
        >>> import vhpack
        >>> with open("cats.csv", "w") as file:
        ...     print("name,age", file=file)
        >>> datum = vhpack.data.add("cats.csv")
        >>> vhpack.data.get(datum.id).size
        9
    """
    reference = reference_to(target)
    registry = registrar.known()
    from vhpack.registry import datums

    with registry.reading() as connection:
        return datums.resolved(connection, registry.project(connection), reference, registry.shown)


def find(
    name: str | None = None,
    *,
    tag: str | None = None,
    run: str | None = None,
    sha256: str | None = None,
    properties: Mapping[str, object] | None = None,
) -> list[Datum]:
    """Return the datums that fit all that is given, the oldest first.

    Args:
        name: A pattern of names as in `fnmatch`; `*` crosses folders.
        tag: A tag that they have.
        run: The run that made them.
        sha256: The digest of their content.
        properties: Properties that they have, with these values.

    Example:
        >>> import vhpack
        >>> with open("cats.csv", "w") as file:
        ...     print("name,age", file=file)
        >>> _ = vhpack.data.add("cats.csv", tags=["raw"], properties={"rows": 1})
        >>> [datum.name for datum in vhpack.data.find("*.csv", tag="raw", properties={"rows": 1})]
        ['cats.csv']
    """
    registry = registrar.existing()
    if registry is None:
        return []
    from vhpack.registry import datums

    with registry.reading() as connection:
        condition = datums.matching(registry.project(connection), run=run, tag=tag, sha256=sha256)
        found = datums.read(connection, condition)
    wanted = dict(properties or {})
    return [
        datum
        for datum in found
        if (name is None or fnmatch.fnmatchcase(datum.name, name))
        and all(key in datum.properties and datum.properties[key] == value for key, value in wanted.items())
    ]


def verify(*targets: Target) -> list[tuple[Datum, str]]:
    """Read the contents of datums, of all where none is given, and return those that are not what they were, and why.

    Contents that were uploaded are not fetched, and those that were purged are not missed.

    Raises:
        NotRegisteredError: there is no such datum.

    Example:
        >>> import vhpack
        >>> vhpack.data.verify()
        []
    """
    registry = registrar.known() if targets else registrar.existing()
    if registry is None:
        return []
    chosen = [get(target) for target in targets] if targets else find()
    here = [datum for datum in chosen if datum.location is None and datum.sha256 and (datum.purged is None or targets)]
    problems: dict[str, str | None] = {}
    for datum in here:
        if datum.sha256 is not None and datum.sha256 not in problems:
            problems[datum.sha256] = registry.store.problem(datum.sha256, datum.size)
    return [(datum, why) for datum in here if (why := problems[str(datum.sha256)]) is not None]


def purge(target: Target, *, force: bool = False) -> Datum:
    """Give up the content of a datum, and return what stays known of it: all but that.

    The content is removed from the store, unless another datum has the same. What was uploaded stays where it is.

    Args:
        target: As for `get`.
        force: Also where an alias means it or can be rolled back to it, a run was given it, or a dataset has it; these fail then.

    Raises:
        NotRegisteredError: there is no such datum.
        RegistryError: something refers to it.

    Example:
        >>> import vhpack
        >>> with open("cats.csv", "w") as file:
        ...     print("name,age", file=file)
        >>> vhpack.data.purge(vhpack.data.add("cats.csv")).purged is None
        False
    """
    return give_up([target], force=force)[0]


def give_up(targets: Sequence[Target], *, force: bool) -> list[Datum]:
    """Give up the contents of all targets, or of none; `purge` has the rest."""
    references = [reference_to(target) for target in targets]
    registry = registrar.known()
    from vhpack.registry import datums, sweeping

    with registry.reading() as connection:
        project = registry.project(connection)
        wanted = {datums.number_of(connection, project, reference, registry.shown): reference.uri for reference in references}
    return sweeping.purge(registry, wanted, force=force)


def gc(*, unused_for: float | None = None, dry_run: bool = False) -> Swept:
    """Remove contents that no datum has: what killed processes have left.

    Args:
        unused_for: Purge datums, too, that are older than so many seconds and that nothing refers to: no alias, be it by an
            earlier target, no input of a run, no version of a dataset.
        dry_run: Remove nothing; only say what would go.

    Returns:
        `purged`, the datums whose content went; `contents` and `size`, how many and how many bytes; `staged`, unfinished copies.

    Example:
        >>> import vhpack
        >>> vhpack.data.gc().contents
        0
    """
    registry = registrar.opened()
    from vhpack.registry import sweeping

    return sweeping.sweep(registry, unused_for=unused_for, dry_run=dry_run)


def reference_to(target: Target) -> names.Reference:
    """Return what a target refers to.

    Raises:
        OptionError: it is no URI and no ID.
    """
    if isinstance(target, Datum):
        return names.Reference("datum", target.id)
    text = os.fspath(target)
    if names.is_reference(text):
        return names.parse(text)
    known = names.datum_id(text)
    if known is None:
        raise OptionError(f"{text!r} is no datum; give datum://ALIAS, datum://ID or an ID")
    return names.Reference("datum", known)
