"""The URLs of registries: which there are, and what of one may be told to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exc
from sqlalchemy.engine import make_url

from vhpack.errors import OptionError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SQLITE, _POSTGRES = "sqlite+pysqlite", "postgresql+psycopg"
_WHERE = ("host", "port")  # of what may stand behind the `?`: all else says by whom and how, a password among it


def parsed(text: str) -> URL:
    """Return a registry's URL.

    Raises:
        OptionError: it is none, or of another kind of database.
    """
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise OptionError(
            f"VHPACK_REGISTRY_URL is {text!r}; it must be a path, sqlite:///PATH, postgresql://HOST/NAME or off"
        ) from None
    if url.drivername in ("sqlite", _SQLITE):
        if not url.database or url.database == ":memory:":
            raise OptionError(f"VHPACK_REGISTRY_URL is {text!r}, which names no file; say sqlite:///PATH")
        return url.set(drivername=_SQLITE)
    if url.drivername in ("postgresql", "postgres", _POSTGRES):
        return url.set(drivername=_POSTGRES)
    raise OptionError(f"VHPACK_REGISTRY_URL is of {url.drivername}; registries are in SQLite (sqlite:///PATH) or postgresql://")


def public(url: URL) -> str:
    """Return where a registry is, in the same words whoever has opened it: without user, password and settings.

    Example:
        >>> from vhpack.registry.addresses import parsed, public
        >>> public(parsed("postgresql://ann:secret@db:5433/team?sslmode=require")), public(parsed("sqlite:////a/b.db?timeout=1"))
        ('postgresql://db:5433/team', 'sqlite:////a/b.db')
    """
    where = {name: url.query[name] for name in _WHERE if name in url.query and url.drivername == _POSTGRES}
    known = url.set(drivername=url.get_backend_name(), query=where)
    # `set` takes None for what is to stay.
    return known._replace(username=None, password=None).render_as_string(hide_password=False)


def opened_as(address: str, ours: URL) -> str:
    """Return the URL by which a registry can be opened: on our own server, with what ours is opened with."""
    theirs = parsed(address)
    if public(theirs.set(database="")) != public(ours.set(database="")) or ours.drivername != _POSTGRES:
        return address
    return ours.set(database=theirs.database).render_as_string(hide_password=False)
