"""Datums of the platform's own registry, asked for with the settings of `valohai-cli`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from vhpack import env, registrar, runs
from vhpack.errors import DownloadError, NotRegisteredError, RegistryError

if TYPE_CHECKING:
    from typing import Any

PREFIX = "valohai+"
"""What the address of a datum begins with that is fetched by asking the platform for a URL first."""
_SILENCE = 30.0  # seconds
_NOT_FOUND = 404
_MOST = 1 << 20  # bytes of an answer


@dataclass(frozen=True)
class Datum:
    """A file that the platform knows."""

    id: str
    name: str
    size: int
    """Bytes; -1: the platform does not say."""
    sha256: str | None
    location: str


@dataclass(frozen=True)
class _Settings:
    host: str
    token: str
    project: str
    """The ID of the project that the folder is linked to; empty: to none."""


def datum(uri: str, shown: str) -> Datum:
    """Return what a `datum://` URI, which is not known here, means on the platform.

    Raises:
        NotRegisteredError: nothing, or the platform is not to be asked.
        RegistryError: the platform does not answer, or says no.
    """
    from vhpack.registry.names import parse

    reference = parse(uri)
    if reference.kind == "model":
        how = "`vhpack model list` shows all models, `vhpack model publish --alias` gives one an alias"
        raise NotRegisteredError(f"{uri}: {shown} has no model of this name with this alias; {how}")
    if registrar.is_offline():
        raise NotRegisteredError(
            f"{uri}: {shown} does not know it, and VHPACK_OFFLINE is set; `vhpack alias set`, `vhpack data add` make it known"
        )
    if reference.kind == "dataset":
        raise NotRegisteredError(f"{uri}: {shown} has no such dataset, or no such version or alias in it")
    settings = _settings()
    if settings is None:
        raise NotRegisteredError(
            f"{uri}: {shown} does not know it, and valohai-cli is not set up to ask the platform; `vhpack alias set` and"
            " `vhpack data add` make it known, `vh login` sets that up"
        )
    if reference.kind == "datum":
        answer: object = _ask(settings, f"/api/v0/data/{reference.name}", uri)
    else:
        if not settings.project:
            raise NotRegisteredError(
                f"{uri}: {shown} does not know it, and this folder is linked to no project of the platform; `vh project link`"
            )
        query = f"name={quote(reference.name, safe='')}&project={quote(settings.project, safe='')}"
        answer = _ask(settings, f"/api/v0/datum-aliases/resolve/?{query}", uri).get("datum")
    return _datum(settings, uri, answer)


def url_of(location: str) -> str:
    """Return the URL that a datum can be fetched from at this moment.

    Raises:
        DownloadError: the platform does not say.
    """
    address = location.removeprefix(PREFIX)
    if registrar.is_offline():
        raise DownloadError(None, f"{address} is not fetched, since VHPACK_OFFLINE is set", address)
    settings = _settings()
    if settings is None or _host_of(address) != _host_of(settings.host):
        raise DownloadError(None, f"{address} cannot be asked for: valohai-cli is not logged in there; `vh login`", address)
    try:
        answer = _ask(settings, urlsplit(address).path + "download/", address)
    except (RegistryError, NotRegisteredError) as error:
        raise DownloadError(None, str(error), address) from None
    if not isinstance(answer.get("url"), str):
        raise DownloadError(None, f"the platform has no URL for {address}", address)
    return str(answer["url"])


def _datum(settings: _Settings, uri: str, answer: object) -> Datum:
    from vhpack.registry.names import datum_id

    found = answer if isinstance(answer, dict) else {}
    identity, size, sha256 = datum_id(str(found.get("id") or "")), found.get("size"), found.get("sha256")
    if identity is None:
        raise NotRegisteredError(f"{uri}: {settings.host} has no target for it")
    location = f"{PREFIX}{settings.host.rstrip('/')}/api/v0/data/{identity}/"
    return Datum(
        id=identity,
        name=str(found.get("name") or identity),
        size=size if isinstance(size, int) and size >= 0 else -1,
        sha256=str(sha256).lower() if sha256 else None,
        location=location,
    )


def _ask(settings: _Settings, path: str, uri: str) -> dict[str, Any]:
    from vhpack import web
    from vhpack.remote import RefusedError, UnavailableError

    client = web.Client(silence=_SILENCE, trusted=env.read().ca_bundle)
    url = settings.host.rstrip("/") + path
    try:
        answer = client.request("GET", url, {"Authorization": f"Token {settings.token}", "Accept": "application/json"})
        content = web.content(answer, most=_MOST)
    except (UnavailableError, RefusedError) as error:
        raise RegistryError(f"{uri}: {settings.host} cannot be asked: {error}") from None
    finally:
        client.close()
    if answer.status == _NOT_FOUND:
        raise NotRegisteredError(f"{uri}: neither this registry nor {settings.host} knows it")
    if answer.status >= 400:  # noqa: PLR2004
        raise RegistryError(f"{uri}: {settings.host} says {answer.status} {answer.reason or ''}".strip())
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RegistryError(f"{uri}: {settings.host} gives an answer that makes no sense; is it the platform's address?")
    return found


def _settings() -> _Settings | None:
    environment = env.read()
    folder = environment.valohai_config_dir or os.path.join(environment.config_home, "valohai-cli")
    try:
        with open(os.path.join(folder, "config.json"), "rb") as file:
            stored = json.load(file)
    except (OSError, ValueError):
        stored = {}
    stored = stored if isinstance(stored, dict) else {}
    host, token = environment.valohai_host or stored.get("host"), environment.valohai_token or stored.get("token")
    if not (isinstance(host, str) and isinstance(token, str) and host and token):
        return None
    return _Settings(host, token, _project(stored.get("links")))


def _project(links: object) -> str:
    """Return the project that the nearest folder above the run's is linked to."""
    folder = os.path.abspath(runs.current().base)
    while isinstance(links, dict):
        linked = links.get(folder)
        if isinstance(linked, dict) and linked.get("id"):
            return str(linked["id"])
        if folder == os.path.dirname(folder):
            break
        folder = os.path.dirname(folder)
    return ""


def _host_of(address: str) -> str:
    return urlsplit(address).netloc.lower()
