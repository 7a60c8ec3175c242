"""Several registries may keep contents in one store, and the one that sweeps it has to know what the others need.

So each says in the store that it is there. A registry that is new at the place of another one is another one, too: whoever moves
a damaged database away, and brings it back later, finds his contents.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from vhpack.errors import ContentError, PackError, RegistryError
from vhpack.registry import opening, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from vhpack.registry.opening import Registry

_FOLDER = ".registries"
_D = schema.DATUMS


@dataclass(frozen=True)
class _Note:
    """What a registry has said of itself in the store."""

    path: str
    url: str
    identity: str


def say_so(registry: Registry) -> None:
    """Note in the store that a registry has contents there; to be called while the store is held, before they are.

    Raises:
        ContentError: the store cannot be written to.
    """
    if registry.has_said_so:
        return
    note = _own(registry)
    try:
        if not os.path.exists(note.path):
            os.makedirs(os.path.dirname(note.path), exist_ok=True)
            staged = f"{note.path}.{secrets.token_hex(8)}"
            with open(staged, "w", encoding="utf-8") as file:
                json.dump({"url": note.url, "identity": note.identity}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, note.path)
    except OSError as error:
        message = f"the content store {registry.store.folder} cannot be written to: {error.strerror}"
        raise ContentError(error.errno, message, note.path) from None
    registry.has_said_so = True


def needed_by_others(registry: Registry) -> set[str]:
    """Return the digests of the contents that other registries have in the store of this one.

    Raises:
        RegistryError: one of them cannot be asked, so that nobody knows.
    """
    own, found = _own(registry), set()
    for note in _notes(registry):
        if (note.url, note.identity) != (own.url, own.identity):
            found |= _needed_by(registry, note)
    return found


def needed(registry: Registry) -> set[str]:
    """Return the digests of all contents that datums of a registry, of any project, have in the store."""
    with registry.reading() as connection:
        rows = connection.execute(select(_D.c.sha256).where(_D.c.purged.is_(None), _D.c.location.is_(None)).distinct())
        return {str(sha256) for sha256 in rows.scalars()}


def _needed_by(registry: Registry, note: _Note) -> set[str]:
    try:
        other = opening.opened(replace(registry.place, url=registry.opened_as(note.url)), make=False)
        if other is None:
            why = "it is not there any more"
        elif _identity(other) != note.identity:
            why = "another one is in its place by now"
        else:
            return needed(other)
    except PackError as error:
        why = str(error)
    raise RegistryError(
        f"nothing is removed from {registry.store.folder}, which is also the store of the registry {note.url}: {why}; bring it"
        f" back, or remove {note.path} if nobody needs its contents"
    )


def _own(registry: Registry) -> _Note:
    identity, url = _identity(registry), registry.address
    digest = hashlib.sha256(f"{identity} {url}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return _Note(f"{registry.store.folder}/{_FOLDER}/{digest}.json", url, identity)


def _identity(registry: Registry) -> str:
    """Return what no other registry is called: its first project, and the microsecond at which that was made."""
    table = schema.PROJECTS

    def work(connection: Connection, _: int = 0) -> str:
        found = connection.execute(select(table.c.name, table.c.created).order_by(table.c.id).limit(1)).first()
        return "" if found is None else f"{found.created} {found.name}"

    with registry.reading() as connection:
        found = work(connection)
    return found or registry.write(work)  # which makes the project


def _notes(registry: Registry) -> Iterator[_Note]:
    folder = f"{registry.store.folder}/{_FOLDER}"
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                yield _read(f"{folder}/{name}")


def _read(path: str) -> _Note:
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        return _Note(path, str(found["url"]), str(found["identity"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RegistryError(
            f"nothing is removed from the store, since {path}, which says what other registry it is of, cannot be read ({error})"
        ) from None
