"""A stand-in for Azure's block blobs, in memory: no emulator of it is to be had from the registries that this project uses.

It signs for itself what a request says, compares MD5s, and puts blobs together of the blocks that are named, as the service is
documented to; another client than ours is tried against it. `python blobs.py PORT` serves the account below.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from xml.sax.saxutils import escape

ACCOUNT, KEY = "devstoreaccount1", base64.b64encode(b"a key of this account alone").decode()
_SIGNED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


class Blob:
    """What a name has: its bytes, once there are any, and the blocks that nobody has named yet."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.headers: dict[str, str] = {}
        self.waiting: dict[str, bytes] = {}


class Refused(Exception):  # noqa: N818 - no fault of this program's
    """A refusal with the service's own code."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    containers: ClassVar[dict[str, dict[str, Blob]]] = {}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base's
        del format, args

    def handle_one(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            self.check_signature(url.path, query)
            _, _, container, *name = urllib.parse.unquote(url.path).split("/", 3)
            self.serve(container, "".join(name), query, body)
        except Refused as refused:
            status, code = refused.args
            self.answer(status, b"", {"x-ms-error-code": code})

    do_GET = do_HEAD = do_PUT = handle_one  # noqa: N815 - the base's names

    def check_signature(self, path: str, query: dict[str, str]) -> None:
        found = {name.lower(): value for name, value in self.headers.items()}
        if found.get("content-length") == "0":
            del found["content-length"]
        lines = [self.command, *(found.get(name, "") for name in _SIGNED)]
        lines += [f"{name}:{value}" for name, value in sorted(found.items()) if name.startswith("x-ms-")]
        lines += [f"/{ACCOUNT}{path}", *(f"{name.lower()}:{value}" for name, value in sorted(query.items()))]
        made = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
        if found.get("authorization") != f"SharedKey {ACCOUNT}:{base64.b64encode(made).decode()}":
            raise Refused(403, "AuthenticationFailed")

    def serve(self, container: str, name: str, query: dict[str, str], body: bytes) -> None:
        if not name:
            known = self.containers.setdefault(container, {})
            self.answer(200, "\n".join(name for name, blob in known.items() if blob.content is not None).encode())
            return
        if container not in self.containers:
            raise Refused(404, "ContainerNotFound")
        blobs = self.containers[container]
        if self.command == "PUT":
            self.check_md5(body)
            self.put(blobs.setdefault(name, Blob()), query, body)
        elif query.get("comp") == "blocklist":
            if name not in blobs:
                raise Refused(404, "BlobNotFound")
            self.list_blocks(blobs[name])
        else:
            self.get(blobs.get(name))

    def check_md5(self, body: bytes) -> None:
        told = self.headers.get("content-md5")
        if told and base64.b64decode(told) != hashlib.md5(body).digest():
            raise Refused(400, "Md5Mismatch")

    def put(self, blob: Blob, query: dict[str, str], body: bytes) -> None:
        if query.get("comp") == "block":
            lengths = {len(other) for other in blob.waiting}
            if lengths and lengths != {len(query["blockid"])}:
                raise Refused(400, "InvalidBlobOrBlock")
            blob.waiting[query["blockid"]] = body
            self.answer(201)
            return
        if self.headers.get("if-none-match") == "*" and blob.content is not None:
            raise Refused(409, "BlobAlreadyExists")
        headers = {name: value for name, value in self.headers.items() if name.lower().startswith("x-ms-meta-")}
        if query.get("comp") == "blocklist":
            named = re.findall(r"<(?:Latest|Uncommitted)>([^<]*)<", body.decode())
            if not set(named) <= set(blob.waiting):
                raise Refused(400, "InvalidBlockList")
            blob.content = b"".join(blob.waiting[block] for block in named)
        else:
            blob.content = body
            headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        blob.headers, blob.waiting = headers, {}
        self.answer(201, b"", {"ETag": f'"{hashlib.md5(blob.content).hexdigest()}"'})

    def list_blocks(self, blob: Blob) -> None:
        blocks = "".join(
            f"<Block><Name>{escape(name)}</Name><Size>{len(content)}</Size></Block>" for name, content in blob.waiting.items()
        )
        text = f'<?xml version="1.0"?><BlockList><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>'
        self.answer(200, text.encode())

    def get(self, blob: Blob | None) -> None:
        if blob is None or blob.content is None:
            raise Refused(404, "BlobNotFound")
        content, status, ranged = blob.content, 200, dict[str, str]()
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range") or self.headers.get("x-ms-range") or ""):
            first, last = int(found[1]), min(int(found[2]), len(content) - 1)
            ranged = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
            content, status = content[first : last + 1], 206
        known = {**blob.headers, **ranged, "ETag": '"x"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        self.answer(status, content, known)

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Serving(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    Serving(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
