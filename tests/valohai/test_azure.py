"""Inputs from Azure: obstore's own client against a server that answers as Azure's Blob service does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

import vhpack
from tests.valohai.test_inputs import prepared
from vhpack import download

WHEN = "Fri, 20 Nov 2026 10:00:00 GMT"
BIG = b"cat" * 5_000_000  # two pieces
BLOBS = {"cats/1.jpg": BIG, "cats/2.jpg": b"2", "cats/small/1.jpg": b"3", "cats/a b.txt": b"4"}


class _Blobs(BaseHTTPRequestHandler):
    """The three calls that reading needs: properties, a part under a condition, and a list in pages of two."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        _, account, container, name = ([*unquote(parts.path).split("/", 3), "", ""])[:4]
        if (account, container) != ("devstoreaccount1", "photos"):
            self._answer(404, b"", **{"x-ms-error-code": "ContainerNotFound"})
        elif query.get("comp") == "list":
            self._list(query)
        elif name not in self.blobs:
            self._answer(404, b"", **{"x-ms-error-code": "BlobNotFound"})
        else:
            self._blob(self.blobs[name])

    do_HEAD = do_GET  # noqa: N815

    def _blob(self, content: bytes) -> None:
        tag = f'"0x{hashlib.md5(content).hexdigest()[:15].upper()}"'
        known = {"ETag": tag, "Last-Modified": WHEN, "x-ms-blob-type": "BlockBlob", "Content-Type": "image/jpeg"}
        if self.headers.get("If-Match", tag) != tag:
            self._answer(412, b"", **{"x-ms-error-code": "ConditionNotMet"})
            return
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        if asked is None:
            self._answer(200, content, **known)
            return
        start, end = map(int, asked.removeprefix("bytes=").split("-"))
        part = content[start : end + 1]
        self._answer(206, part, **known, **{"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"})

    def _list(self, query: dict[str, str]) -> None:
        names = sorted(name for name in self.blobs if name.startswith(query.get("prefix", "")))
        names = [name for name in names if name >= query.get("marker", "")]
        items = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{WHEN}</Creation-Time><Last-Modified>{WHEN}</Last-Modified>"
            f"<Etag>0x8D</Etag><Content-Length>{len(self.blobs[name])}</Content-Length><Content-Type>image/jpeg</Content-Type>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in names[:2]
        )
        marker = escape(names[2]) if len(names) > 2 else ""
        text = (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="photos">'
            f"<Blobs>{items}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        )
        self._answer(200, text.encode(), **{"Content-Type": "application/xml"})

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "x-ms-version": "2023-11-03"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@contextlib.contextmanager
def azure() -> Iterator[type[_Blobs]]:
    served: type[_Blobs] = type("Served", (_Blobs,), {"blobs": dict(BLOBS), "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    os.environ["AZURITE_BLOB_STORAGE_URL"] = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Blobs]]:
    """A storage account with a container `photos`, and the environment in which `azure://` leads to it."""
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", "")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)
    with azure() as served:
        yield served


def test_an_object_comes_in_pieces_and_again_when_it_has_changed(service: type[_Blobs]) -> None:
    path = prepared("azure://devstoreaccount1/photos/cats/1.jpg").path()
    assert path is not None
    assert path == os.path.join(vhpack.inputs("data").dir_path(), "1.jpg")
    assert Path(path).read_bytes() == BIG
    before = os.stat(path).st_ino
    prepared("azure://devstoreaccount1/photos/cats/1.jpg").path()
    assert os.stat(path).st_ino == before
    assert sum(asked.startswith("GET") for asked in service.asked) == 2
    service.blobs["cats/1.jpg"] = b"other"
    prepared("azure://devstoreaccount1/photos/cats/1.jpg").path()
    assert Path(path).read_bytes() == b"other"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("cats/*.jpg", ["1.jpg", "2.jpg"]), ("cats/**/*.jpg", ["1.jpg", "2.jpg", "small/1.jpg"]), ("**.txt", ["cats/a b.txt"])],
)
def test_wildcards_name_objects_and_folders_stay(service: type[_Blobs], pattern: str, names: list[str]) -> None:
    data = prepared(f"azure://devstoreaccount1/photos/{pattern}")
    assert [os.path.relpath(path, data.dir_path()) for path in data.paths()] == names
    assert sum("comp=list" in asked for asked in service.asked) > 1


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("place", ["photos/none.jpg", "nowhere/cats/1.jpg"])
def test_an_object_that_is_not_there_is_an_error(place: str) -> None:
    with pytest.raises(vhpack.DownloadError, match="no such object"):
        prepared(f"azure://devstoreaccount1/{place}").path()
