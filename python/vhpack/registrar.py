"""The registry that counts here, found by the environment, and opened when it is first needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

from vhpack import consts, env, runs
from vhpack.errors import MissingExtraError, NotRegisteredError, RegistryError
from vhpack.registry.records import Place

if TYPE_CHECKING:
    from vhpack.registry.opening import Registry

OFF = "off"


def place() -> Place | None:
    """Return where the registry is; None: there is to be none.

    It is `VHPACK_REGISTRY_URL`, or `.valohai/registry.db` where the run began; the project is `VHPACK_PROJECT`; contents are in
    `VHPACK_STORE_DIR`, or `.valohai/store`.
    """
    environment, base = env.read(), runs.current().base
    url = environment.registry_url or consts.VH_LOCAL_REGISTRY
    if url == OFF:
        return None
    if "://" not in url:
        url = f"sqlite:///{_escaped(os.path.join(base, url))}"
    elif url.startswith("sqlite:///") and not url.startswith(("sqlite:////", "sqlite:///:")):
        url = f"sqlite:///{os.path.join(_escaped(base), url.removeprefix('sqlite:///'))}"
    store = os.path.normpath(os.path.join(base, environment.store_dir or consts.VH_LOCAL_STORE_DIR))
    return Place(url, environment.project or "default", store)


def own_paths() -> set[str]:
    """Return the files and folders that the registry, and all else that is kept of runs here, consist of."""
    where, base = place(), runs.current().base
    found = {os.path.join(base, os.path.dirname(consts.VH_LOCAL_REGISTRY))}
    if where is not None:
        path = unquote(where.url.partition("?")[0].removeprefix("sqlite:///"))
        found |= {where.store, *(path + end for end in ("", "-wal", "-shm", "-journal"))}
    return found


def file() -> str | None:
    """Return the path of the registry, where it is a file."""
    where = place()
    if where is None or not where.url.startswith("sqlite:///"):
        return None
    return where.url.removeprefix("sqlite:///").replace("%3F", "?").replace("%25", "%")


def is_on() -> bool:
    """Return whether runs are registered here: not on the platform, which does that itself, unless a registry is named."""
    environment = env.read()
    return environment.registry_url != OFF and (bool(environment.registry_url) or not environment.job_id)


def is_offline() -> bool:
    """Return whether no input may be fetched or looked for over a network."""
    return bool(env.read().offline)


def opened() -> Registry:
    """Return the registry, made if it is not there.

    Raises:
        RegistryError: it cannot be used, or there is to be none.
        MissingExtraError: what it needs is not installed.
    """
    found = _found(make=True)
    assert found is not None  # noqa: S101 - it is made
    return found


def existing() -> Registry | None:
    """Return the registry if there is one.

    Raises:
        RegistryError: it cannot be used, or there is to be none.
        MissingExtraError: what it needs is not installed.
    """
    return _found(make=False)


def load() -> None:
    """Load what opens or makes a registry: now, where a training begins, and not in the middle of its first epochs.

    Raises:
        RegistryError: it cannot be used, or there is to be none.
        MissingExtraError: what it needs is not installed.
    """
    if existing() is None:
        from vhpack.registry import opening

        opening.load()


def known() -> Registry:
    """Return the registry, to look something up in it.

    Raises:
        NotRegisteredError: there is none, so that nothing can be in it.
        RegistryError: it cannot be used, or there is to be none.
        MissingExtraError: what it needs is not installed.
    """
    found = existing()
    if found is None:
        where = place()
        raise NotRegisteredError(
            f"there is no registry at {where.url.removeprefix('sqlite:///') if where else OFF}; `vhpack data add` begins one"
        )
    return found


def _found(*, make: bool) -> Registry | None:
    where = place()
    if where is None:
        raise RegistryError("VHPACK_REGISTRY_URL is off, so that there is no registry; unset it, or name one")
    try:
        from vhpack.registry import opening
    except ImportError as error:
        raise MissingExtraError(
            f"datum://, dataset://, models and the registry need SQLAlchemy and Alembic ({error}): pip install 'vhpack[registry]'"
        ) from None
    return opening.opened(where, make=make)


def _escaped(path: str) -> str:
    # What a URL would take for its query.
    return path.replace("%", "%25").replace("?", "%3F")
