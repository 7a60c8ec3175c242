"""Stored weights on this machine again: fetched once, compared with what was stored whenever they are asked for."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import secrets
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

from vhpack import archive, cache, hashing, packages, paths, registrar, stored
from vhpack.download import Wanted
from vhpack.downloads import Downloads, Order
from vhpack.errors import ContentError, DownloadError, ModelError, PackError

if TYPE_CHECKING:
    from vhpack.registry.records import Datum, ModelVersion

_LISTING = ".listing.json"
_STAGED = ".staged-"


def fetched(version: ModelVersion, *, force: bool = False) -> str:
    """Return the path of a version's bytes: a copy of this machine's own, which is what was stored.

    A copy in which somebody has changed something is left as it is, and another one is made.

    Raises:
        ModelError: the version is not stored, or what is there is not what was stored.
    """
    datum = _datum(version)
    source = version.url
    for number in itertools.count():
        target = os.path.join(paths.models_path(), paths.folder_name(datum.id), str(number), paths.folder_name(version.name))
        if not os.path.lexists(target):
            break
        if not force and _is_what_was_stored(datum, target):
            return target
    checksums = {"sha256": datum.sha256} if datum.sha256 else {}
    wanted = Wanted(datum.uri, source, datum.size if datum.size >= 0 else None, checksums)
    try:
        with closing(Downloads()) as downloads:
            downloads.get([Order(wanted, target)], force=force, title=f"Fetching {version.name}")
    except (DownloadError, ContentError) as error:
        raise ModelError(f"version {version.n} cannot be had: {error}{_damage(version)}") from error
    return target


def unpacked(version: ModelVersion, *, force: bool = False) -> str:
    """Return a folder with the files of a package: of this version, all of them, and none that was altered since.

    A folder in which somebody has changed something is left as it is, and another one is made.

    Raises:
        ModelError: the version is not stored, or what is there is not what was stored.
    """
    path = fetched(version, force=force)
    folder = os.path.dirname(path)
    with cache.alone(f"{folder}/.unpacking"):
        number = 0
        while os.path.lexists(chosen := f"{folder}/files-{number}"):
            if _is_intact(chosen):
                return chosen
            number += 1
        # Nobody else is at it here: what lies there, one that was killed has left.
        for left in glob.glob(f"{glob.escape(folder)}/{_STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        staged = f"{folder}/{_STAGED}{secrets.token_hex(8)}"
        try:
            with archive.open(path) as found:
                packages.refuse_unpacked(found.extract(staged))
            os.makedirs(staged, exist_ok=True)
            _write_listing(chosen, _listing(staged))
            os.rename(staged, chosen)
        except (PackError, OSError) as error:
            raise ModelError(f"version {version.n} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return chosen


def _datum(version: ModelVersion) -> Datum:
    if version.datum is None or version.state == "pruned":
        raise ModelError(f"version {version.n} is {version.state}, so that there is nothing to be had")
    registry = registrar.known()
    from vhpack.registry import datums
    from vhpack.registry.names import Reference

    with registry.reading() as connection:
        number = datums.number_of(connection, registry.project(connection), Reference("datum", version.datum), registry.shown)
        return datums.get(connection, number)


def _is_what_was_stored(datum: Datum, path: str) -> bool:
    try:
        if datum.size >= 0 and os.stat(path).st_size != datum.size:
            return False
        return datum.sha256 is None or hashing.hash_files([path], "sha256")[path] == datum.sha256
    except (OSError, PackError):
        return False


def _damage(version: ModelVersion) -> str:
    """Return which members of a package are damaged, where that can be told."""
    path = stored.local_path(version.url)
    if path is None or version.files is None:
        return ""
    with contextlib.suppress(PackError, OSError), archive.open(path) as found:
        damaged = found.verify().damaged
        if damaged:
            return f"; damaged are {', '.join(name for name, _, _ in damaged[:5])}"
    return ""


def _listing(folder: str) -> dict[str, str]:
    if not any(names or inner for _, inner, names in os.walk(folder)):
        return {}
    try:
        found = hashing.hash_files([folder], hidden=True)
    except PackError:  # folders alone
        return {}
    return {path[len(folder) + 1 :]: digest for path, digest in found.items()}


def _is_intact(folder: str) -> bool:
    try:
        with open(folder + _LISTING, encoding="utf-8", errors="surrogateescape") as file:
            wanted = json.load(file)
    except (OSError, ValueError):
        return False
    return bool(_listing(folder) == wanted)


def _write_listing(folder: str, listing: dict[str, str]) -> None:
    staged = f"{folder}{_LISTING}.staged"
    with open(staged, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(listing, file)
    os.replace(staged, folder + _LISTING)
