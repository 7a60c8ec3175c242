"""Calls of the platform that a job may make, with the addresses and tokens that `api.json` has ready for it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from vhpack import env, paths
from vhpack.errors import ConfigError, DownloadError
from vhpack.given import read_object

if TYPE_CHECKING:
    from typing import Any

_SILENCE = 30.0  # seconds; a status is not worth waiting longer for


def set_status_detail(status_detail: str) -> None:
    """Show a text beside the execution's status on the platform; outside of the platform nothing happens.

    A text that does not arrive is a warning: no job should end because of it.

    Example:
        >>> import vhpack
        >>> vhpack.set_status_detail("epoch 3 of 10")
    """
    try:
        call("set_status_detail", json={"status_detail": status_detail})
    except FileNotFoundError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the job goes on
        warnings.warn(f"Status detail send failed: {error}", stacklevel=2)


def input_urls(input_id: str) -> dict[str, list[str]]:
    """Return, for an input that is fetched only when it is asked for, each file name with the URLs of files of that name.

    Raises:
        DownloadError: the platform does not say.
    """
    urls: dict[str, list[str]] = {}
    try:
        answer = call("input_request", params={"inputs": [input_id]})
        for file in (file for found in answer for file in found["files"]):
            if file.get("input_id") in (None, input_id):
                urls.setdefault(file["filename"], []).append(file["url"])
    except (OSError, ConfigError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DownloadError(None, f"cannot ask the platform for the files of input {input_id}: {error}", input_id) from None
    return urls


def call(endpoint: str, *, params: dict[str, Any] | None = None, json: object = None) -> Any:  # noqa: ANN401 - JSON
    """Make one of the calls that `api.json` lists, and return its answer's JSON, or None for an empty answer.

    Raises:
        FileNotFoundError: there is no such file, since this is no job of the platform.
        ConfigError: the file does not list the call.
        OSError: the platform cannot be reached, or refuses.
    """
    import json as coding
    from urllib.parse import urlencode

    from vhpack import web
    from vhpack.remote import RefusedError, UnavailableError

    path = paths.get_api_config_path()
    listed = read_object(path)
    if listed is None:
        raise FileNotFoundError(2, "there is no", path)
    request = listed.get(endpoint)
    if not isinstance(request, dict) or not request.get("url"):
        raise ConfigError(f"{path} lists no call {endpoint!r}")
    query = urlencode({**(request.get("params") or {}), **(params or {})}, doseq=True)
    url = str(request["url"]) + (("&" if "?" in request["url"] else "?") + query if query else "")
    client = web.Client(silence=_SILENCE, trusted=env.read().ca_bundle)
    try:
        headers = {str(name): str(value) for name, value in (request.get("headers") or {}).items()}
        more = {} if json is None else {"json": json}
        answer = client.request(str(request.get("method") or "GET"), url, headers, **more)
        content = web.content(answer)
    except (UnavailableError, RefusedError) as error:
        raise OSError(f"{endpoint}: {error}") from None
    finally:
        client.close()
    if answer.status >= 400:  # noqa: PLR2004
        raise OSError(f"{endpoint}: the platform says {answer.status} {answer.reason or ''}".strip())
    return coding.loads(content) if content.strip() else None
