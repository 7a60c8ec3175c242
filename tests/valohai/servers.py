"""Real servers on loopback: one for HTTP that can be told to misbehave, and one for S3."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What a path answers."""

    content: bytes = b""
    etag: bool = True
    modified: str = ""
    status: int = 200
    location: str = ""
    failures: list[int] = field(default_factory=list)
    """Statuses of the first answers, before the real ones."""
    retry_after: str = ""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the first answers break off."""
    stalls: int = 0
    """How many of the first answers say nothing at all."""
    ranges: bool = True
    heeds: bool = True
    """Whether If-Range is heeded."""
    lengths: bool = True
    pause: float = 0.0
    """Seconds between pieces of 1 KiB."""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    """All that is sent, as it is."""


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Message
    body: bytes = b""


class Site:
    """The server's pages, and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.url = ""

    def put(self, path: str, content: bytes = b"", **more: object) -> str:
        """Serve a page, and return its URL."""
        self.pages[path] = Page(content, **more)  # type: ignore[arg-type]
        return self.url + path

    def count(self, path: str) -> int:
        return sum(asked.path.partition("?")[0] == path for asked in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        site = self.site
        with site.lock:
            site.asked.append(Asked(self.command, self.path, self.headers, body))
            site.at_once += 1
            site.most_at_once = max(site.most_at_once, site.at_once)
        try:
            self._answer(site.pages.get(self.path.partition("?")[0]) or Page(b"no such page", status=404))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with site.lock:
                site.at_once -= 1

    do_POST = do_GET  # noqa: N815

    def _answer(self, page: Page) -> None:
        if page.stalls:
            page.stalls -= 1
            self.site.ended.wait(60)
            self.close_connection = True
            return
        if page.raw:
            self.wfile.write(page.raw)
            self.close_connection = True
        elif page.failures:
            more = {"Retry-After": page.retry_after} if page.retry_after else {}
            self._send(page.failures.pop(0), b"not now", None, **more)
        elif page.location:
            self._send(302, b"", Location=page.location)
        elif page.status != 200:
            self._send(page.status, page.content)
        else:
            self._serve(page)

    def _serve(self, page: Page) -> None:
        etag = f'"{hashlib.md5(page.content).hexdigest()}"' if page.etag else ""
        known = {
            **({"ETag": etag} if etag else {}),
            **({"Last-Modified": page.modified} if page.modified else {}),
            **page.headers,
        }
        if (etag and self.headers.get("If-None-Match") == etag) or (
            page.modified and self.headers.get("If-Modified-Since") == page.modified
        ):
            self._send(304, b"", None, **known)
            return
        asked, wants = self.headers.get("Range", ""), self.headers.get("If-Range")
        if asked and page.ranges and (not page.heeds or wants in (None, etag, page.modified or None)):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(page.content):
                self._send(416, b"")
                return
            known["Content-Range"] = f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"
            self._send(206, page.content[start:], page, **known)
        else:
            self._send(200, page.content, page, **known)

    def _send(self, status: int, content: bytes, page: Page | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if page is not None and not page.lengths:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = page.cuts.pop(0) if page is not None and page.cuts else None
        if cut is not None:
            content = content[:cut]
            self.close_connection = True
        if page is not None and page.pause:
            for start in range(0, len(content), 1024):
                self.wfile.write(content[start : start + 1024])
                time.sleep(page.pause)
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away: some tests make them."""


@contextlib.contextmanager
def http_site(context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server; with a context, one of HTTPS."""
    site = Site()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
