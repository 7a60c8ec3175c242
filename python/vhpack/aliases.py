"""`vhpack.aliases`: names for data that can be moved, each with its history.

Where an input says `datum://model-prod`, it gets the file that the alias `model-prod` means when the run is created. Moving
the alias changes no code, and no run that has begun. Aliases are those of one project.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vhpack import datums, registrar
from vhpack.registry import names
from vhpack.registry.records import Alias, AliasChange, Datum

if TYPE_CHECKING:
    import builtins

    from vhpack.datums import Target
    from vhpack.registry.opening import Connection

__all__ = ["Alias", "AliasChange", "delete", "get", "history", "list", "rollback", "set"]


def get(name: str) -> Alias:
    """Return an alias; its `datum` is what it means now.

    Raises:
        NotRegisteredError: there is none of this name.
        OptionError: no alias can have this name.

    Example:
        >>> import vhpack
        >>> with open("model.txt", "w") as file:
        ...     print("weights", file=file)
        >>> _ = vhpack.aliases.set("model-prod", "model.txt")
        >>> vhpack.aliases.get("model-prod").datum.name
        'model.txt'
    """
    wanted = names.checked_alias(name)
    registry = registrar.known()
    from vhpack.registry import aliases

    with registry.reading() as connection:
        return aliases.get(connection, registry.project(connection), wanted, registry.shown)


def set(name: str, target: Target, *, note: str = "") -> Alias:  # noqa: A001 - always said with its module
    """Let an alias, made if there is none, mean a datum from now on. Runs that were created before keep what they have.

    Args:
        name: The alias: any text that is neither empty nor reads as a UUID, without control characters.
        target: A datum, `datum://ID`, `datum://OTHER-ALIAS`, an ID, or the path of a file, which is registered first.
        note: Why, for the history.

    Raises:
        OptionError: no alias can have this name.
        NotRegisteredError: there is no such datum.
        ContentError: the datum's content was given up.
        SourceNotFoundError: there is no such file.
        RegistryError: the registry cannot be used.

    Example:
        >>> import vhpack
        >>> with open("model.txt", "w") as file:
        ...     print("weights", file=file)
        >>> vhpack.aliases.set("model-prod", vhpack.data.add("model.txt"), note="passed all checks").uri
        'datum://model-prod'
    """
    wanted = names.checked_alias(name)
    reference = _reference(target)
    if reference is None:
        assert not isinstance(target, Datum)  # noqa: S101 - which is a reference
        datums.register([target], alias=wanted, note=note)
        return get(wanted)
    registry = registrar.opened()
    from vhpack.registry import aliases
    from vhpack.registry import datums as rows

    def work(connection: Connection, project: int) -> Alias:
        number = rows.number_of(connection, project, reference, registry.shown)
        rows.usable(connection, number, wanted)
        aliases.move(connection, project, wanted, number, aliases.Reason(rows.actor(), "set", note))
        return aliases.get(connection, project, wanted, registry.shown)

    return registry.write(work)


def history(name: str) -> builtins.list[AliasChange]:
    """Return all changes of an alias, the first one first; those of a deleted one, too.

    Raises:
        NotRegisteredError: there never was one of this name.

    Example:
        >>> import vhpack
        >>> with open("model.txt", "w") as file:
        ...     print("weights", file=file)
        >>> _ = vhpack.aliases.set("model-prod", "model.txt", note="first")
        >>> [(change.number, change.via, change.note) for change in vhpack.aliases.history("model-prod")]
        [(1, 'set', 'first')]
    """
    wanted = names.checked_alias(name)
    registry = registrar.known()
    from vhpack.registry import aliases

    with registry.reading() as connection:
        return aliases.history(connection, registry.project(connection), wanted, registry.shown)


def rollback(name: str, *, to: int | None = None, note: str = "") -> Alias:
    """Let an alias mean what it did before its last change; said again, what it did before that.

    A rollback is a change, too: nothing of the history goes.

    Args:
        name: The alias.
        to: The number of the change whose outcome is to be brought back, instead.
        note: Why, for the history.

    Raises:
        NotRegisteredError: there is no such alias or change, or nothing to go back to.
        ContentError: the content of what it meant then was given up.

    Example:
        >>> import vhpack
        >>> for text in ("good", "bad"):
        ...     with open(f"{text}.txt", "w") as file:
        ...         print(text, file=file)
        ...     _ = vhpack.aliases.set("model-prod", f"{text}.txt")
        >>> vhpack.aliases.rollback("model-prod").datum.name
        'good.txt'
    """
    wanted = names.checked_alias(name)
    registry = registrar.known()
    from vhpack.registry import aliases
    from vhpack.registry import datums as rows

    def work(connection: Connection, project: int) -> Alias:
        aliases.roll_back(connection, project, wanted, to, aliases.Reason(rows.actor(), "rollback", note), shown=registry.shown)
        return aliases.get(connection, project, wanted, registry.shown)

    return registry.write(work)


def list() -> builtins.list[Alias]:  # noqa: A001 - always said with its module
    """Return all aliases, by name.

    Example:
        >>> import vhpack
        >>> [alias.name for alias in vhpack.aliases.list()]
        []
    """
    registry = registrar.existing()
    if registry is None:
        return []
    from vhpack.registry import aliases

    with registry.reading() as connection:
        return aliases.listed(connection, registry.project(connection))


def delete(name: str) -> None:
    """End an alias; its data and its history stay, and `set` brings it back.

    Raises:
        NotRegisteredError: there is none of this name.

    Example:
        >>> import vhpack
        >>> with open("model.txt", "w") as file:
        ...     print("weights", file=file)
        >>> _ = vhpack.aliases.set("model-prod", "model.txt")
        >>> vhpack.aliases.delete("model-prod")
        >>> vhpack.aliases.list()
        []
    """
    wanted = names.checked_alias(name)
    registry = registrar.known()
    from vhpack.registry import aliases
    from vhpack.registry import datums as rows

    def work(connection: Connection, project: int) -> None:
        aliases.delete(connection, project, wanted, aliases.Reason(rows.actor(), "delete"), registry.shown)

    registry.write(work)


def _reference(target: Target) -> names.Reference | None:
    """Return what a target refers to; None for a path."""
    if isinstance(target, Datum):
        return names.Reference("datum", target.id)
    text = os.fspath(target)
    if names.is_reference(text):
        return names.parse(text)
    if os.path.lexists(text):
        return None
    known = names.datum_id(text)
    return names.Reference("datum", known) if known else None
