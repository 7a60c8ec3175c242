"""HTTP: one client for downloads and for calls of the platform, whose connections another thread can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from vhpack.remote import Body, RefusedError, RestartError, UnavailableError, UnchangedError, Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import urllib3
    from urllib3.connection import HTTPConnection
    from urllib3.response import BaseHTTPResponse

_CHUNK = 1 << 18
_CONNECT = 10.0  # seconds; a server that takes longer to accept is asked again
_REDIRECTS = 10
_PACKED = (".gz", ".tgz", ".zst", ".tzst")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# What is said to a server that another one leads to; all else may be a secret between the first and us.
_HARMLESS = frozenset(
    {"user-agent", "accept-encoding", "range", "if-range", "if-none-match", "if-modified-since", "content-type"}
)


class Client:
    """Asks servers over HTTP; every connection of it ends when it is cut."""

    def __init__(self, *, silence: float, connections: int = 8, trusted: str = "") -> None:
        self._silence = silence
        self._trusted = trusted
        self._connections = connections
        self._open: set[HTTPConnection] = set()
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def fetch(self, url: str, *, offset: int, partly: Version, known: Version | None) -> Body:
        """Return a file from `offset` on, if the server still has the version `partly`, else from its beginning.

        Raises:
            UnchangedError: the file still is the version `known`.
            RestartError: there is nothing from `offset` on.
            UnavailableError: asking again may help.
            RefusedError: it will not.
        """
        headers = {"Accept-Encoding": "identity"}
        # A weak tag does not promise equal bytes, and must not be resumed on.
        firm = partly.etag if not partly.etag.startswith("W/") else ""
        if offset and (firm or partly.modified):
            headers |= {"Range": f"bytes={offset}-", "If-Range": firm or partly.modified}
        elif known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        elif known is not None and known.modified:
            headers["If-Modified-Since"] = known.modified
        response = self.request("GET", url, headers)
        try:
            return _body(response, raw=url.partition("?")[0].lower().endswith(_PACKED))
        except BaseException:
            response.close()
            raise

    def request(self, method: str, url: str, headers: dict[str, str] | None = None, **more: object) -> BaseHTTPResponse:
        """Send a request and return the answer's head; its body is read from it.

        Redirections are followed here, and not by urllib3: each address may be behind another proxy, or behind none, and one
        of another server is told nothing that may be secret.

        Raises:
            UnavailableError: the server cannot be reached.
            RefusedError: it leads elsewhere without end, or the URL is none.
        """
        try:
            sent = {"User-Agent": "vhpack", **_credentials(url), **(headers or {})}
        except ValueError as error:
            raise RefusedError(str(error)) from None
        for _ in range(_REDIRECTS + 1):
            answer = self._ask(method, url, sent, more)
            place = answer.get_redirect_location()
            if not place:
                return answer
            answer.close()  # whatever is in it; connections for the next address are others anyway
            if answer.status == 303:  # noqa: PLR2004
                method, more = "GET", {}
            url, sent = _led(url, place, sent)
        raise RefusedError(f"more than {_REDIRECTS} redirections")

    def _ask(self, method: str, url: str, headers: dict[str, str], more: dict[str, object]) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError
        from urllib3.util import Timeout

        try:
            return self._pool(url).request(
                method,
                _bare(url),
                headers=headers,
                retries=False,
                redirect=False,
                timeout=Timeout(connect=_CONNECT, read=self._silence),
                preload_content=False,
                decode_content=False,
                **more,  # type: ignore[arg-type]
            )
        except (LocationValueError, LocationParseError) as error:
            raise RefusedError(_reason(error)) from None
        except (HTTPError, OSError) as error:
            raise UnavailableError(_reason(error)) from None
        except ValueError as error:  # a URL, of ours or that of a redirection, or a header that is none
            raise RefusedError(_reason(error)) from None

    def cut(self) -> None:
        """End every connection, whatever its thread waits for."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            # By the plain socket's method: that of a TLS socket would pull the state away under the thread that reads.
            with contextlib.suppress(OSError):
                if isinstance(connection.sock, socket.socket):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give all connections back."""
        for pool in self._pools.values():
            pool.clear()
        with self._lock:
            left = list(self._open)
        for connection in left:  # of answers that were never read, as that before a redirection to nowhere
            connection.close()

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy(url)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str) -> urllib3.PoolManager:
        import urllib3

        settings: dict[str, Any] = {"maxsize": self._connections, "block": False, **_believed(self._trusted)}
        if proxy:
            word = _credentials(proxy).get("Authorization")
            known = {"Proxy-Authorization": word} if word else {}
            manager: urllib3.PoolManager = urllib3.ProxyManager(_bare(proxy), proxy_headers=known, **settings)
        else:
            manager = urllib3.PoolManager(**settings)
        manager.pool_classes_by_scheme = {scheme: self._listed(kind) for scheme, kind in manager.pool_classes_by_scheme.items()}
        return manager

    def _listed(self, pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
        """Return a kind of pool whose connections are listed while they are open."""
        client = self

        class Listed(pool.ConnectionCls):  # type: ignore[misc, name-defined]
            def connect(self) -> None:
                super().connect()
                with client._lock:
                    client._open.add(self)

            def close(self) -> None:
                with client._lock:
                    client._open.discard(self)
                super().close()

        return type(pool.__name__, (pool,), {"ConnectionCls": Listed})


def is_http(url: str) -> bool:
    """Return whether `url` is one that this module fetches."""
    return url.lower().startswith(("http://", "https://"))


def content(answer: BaseHTTPResponse, *, most: int = 1 << 26) -> bytes:
    """Return an answer's body, of which no more than `most` bytes are read.

    Raises:
        UnavailableError: it breaks off.
    """
    from urllib3.exceptions import HTTPError

    try:
        return answer.read(most)
    except (HTTPError, OSError) as error:
        raise UnavailableError(_reason(error)) from None


def _body(response: BaseHTTPResponse, *, raw: bool) -> Body:
    status, headers = response.status, response.headers
    if status == 304:  # noqa: PLR2004
        raise UnchangedError
    if status == 416:  # noqa: PLR2004
        raise RestartError
    if status in _PASSING:
        raise UnavailableError(f"the server says {status} {response.reason or ''}".strip(), _seconds(headers.get("Retry-After")))
    if status not in (200, 206):
        raise RefusedError(f"the server says {status} {response.reason or ''}".strip())
    offset, size = 0, _number(headers.get("Content-Length"))
    if status == 206:  # noqa: PLR2004
        offset, size = _range(headers.get("Content-Range", ""))
    encoding = headers.get("Content-Encoding", "").strip().lower() or "identity"
    # Asked for as it is, and yet sent packed. Of what is called a.csv.gz the packed bytes are meant; else the file is unpacked,
    # and cannot be continued: the weak tag says so.
    if encoding == "identity" or raw:
        version = Version(headers.get("ETag", ""), headers.get("Last-Modified", ""), size)
        return Body(version, offset, _chunks(response, unpack=False), response.close)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RefusedError(f"the server sends it encoded as {encoding}, which was not asked for")
    if offset:
        raise RestartError
    etag = headers.get("ETag", "")
    version = Version(f"W/{etag.removeprefix('W/')}" if etag else "", "", None)
    return Body(version, 0, _chunks(response, unpack=True), response.close)


def _range(text: str) -> tuple[int, int]:
    """Read `bytes 5-9/10`; where the end of the file is not said, nobody could tell whether the part reaches it."""
    import re

    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", text.strip(), re.ASCII)
    if found is None:
        raise RestartError
    return int(found[1]), int(found[2])


def _number(text: str | None) -> int | None:
    """Read a number of bytes or seconds; what is none, or none of this world, is left out of account."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004


def _chunks(response: BaseHTTPResponse, *, unpack: bool) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    try:
        while chunk := response.read(_CHUNK, decode_content=unpack):
            yield chunk
    except (HTTPError, OSError) as error:
        raise UnavailableError(_reason(error)) from None
    response.release_conn()


def _led(url: str, place: str, sent: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return where a redirection leads, and what is said there.

    Raises:
        RefusedError: it leads to nothing that is asked over HTTP.
    """
    from urllib.parse import urljoin

    shown = repr(place.partition("?")[0])  # a signature may be behind it
    try:
        onward = urljoin(url, place)
        same = _is_same_server(url, onward)
    except ValueError as error:
        raise RefusedError(f"the server leads to {shown}: {error}") from None
    if not is_http(onward):
        raise RefusedError(f"the server leads to {shown}, which is none of http and https")
    kept = {name: word for name, word in sent.items() if same or name.lower() in _HARMLESS}
    return onward, {**kept, **_credentials(onward)}


def _is_same_server(one: str, other: str) -> bool:
    """Return whether both URLs are of one server, or the second of its encrypted twin."""
    from urllib.parse import urlsplit

    ports = {"http": 80, "https": 443}
    first, second = (
        (parts.hostname, parts.scheme, parts.port or ports.get(parts.scheme)) for parts in (urlsplit(one), urlsplit(other))
    )
    return first == second or (first[0] == second[0] and (first[1:], second[1:]) == (("http", 80), ("https", 443)))


def _proxy(url: str) -> str:
    """Return the proxy that the environment names for a URL, or nothing."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return ""
    known = getproxies()
    others = known.get("all", "")
    proxy = known.get(parts.scheme) or ("" if others.lower().startswith("socks") else others)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _believed(path: str) -> dict[str, str]:
    """Return what urllib3 is told of the certificates in a file or folder that the environment names.

    Raises:
        RefusedError: it is not there.
    """
    import os

    if path and not os.path.exists(path):
        raise RefusedError(f"REQUESTS_CA_BUNDLE, or CURL_CA_BUNDLE, is {path!r}, which does not exist; correct it or unset it")
    return {"ca_cert_dir" if os.path.isdir(path) else "ca_certs": path} if path else {}


def _bare(url: str) -> str:
    """Return a URL without the name and password in it, which belong into a header."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _credentials(url: str) -> dict[str, str]:
    """Return the header with the name and password that are in a URL."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.username is None:
        return {}
    from urllib3.util import make_headers

    words = make_headers(basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return {"Authorization": words["authorization"]}


def _seconds(text: str | None) -> float | None:
    """Read a Retry-After; its other form, a date, is rare and no reason to fail."""
    return _number(text)


def _reason(error: object) -> str:
    """Return what an error says, less the object that urllib3 begins its sentences with."""
    import re

    text = str(error) or type(error).__name__
    return re.sub(r"^\w+\(host=.*?\): ", "", text).rpartition(">: ")[2] or text
