"""The servers and the proxy themselves: a fault that does nothing would let every other test pass."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.servers import Server

BODY = noise(300_000, 1)


def put(url: str, body: bytes = BODY) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=20) as answer:
        return answer.status, answer.read()


@pytest.fixture
def webdav(servers: object) -> Server:
    assert callable(servers)
    server = servers("webdav")
    assert isinstance(server, Server)
    server.new_bucket()
    return server


def test_a_proxy_without_faults_passes_everything(webdav: Server) -> None:
    with proxy(webdav) as between:
        assert put(webdav.uri("a.bin"))[0] == 201
        assert [(passed.line, passed.sent, passed.status) for passed in between.passed] == [
            (f"PUT /{webdav.bucket}/a.bin", len(BODY), 201)
        ]
    assert webdav.read("a.bin") == BODY


@pytest.mark.parametrize("amount", [0, 1, 100_000, 300_000])
@pytest.mark.parametrize("fault", ["reset", "lose_answer", "cut_answer"])
def test_a_cut_reaches_the_client_and_what_it_says_is_true(webdav: Server, fault: str, amount: int) -> None:
    with proxy(webdav, Fault("PUT", fault, amount % 100)) as between:
        if fault == "reset":
            between.faults[0].amount = amount
        with pytest.raises((OSError, urllib.error.URLError, ValueError)):
            put(webdav.uri("a.bin"))
        assert put(webdav.uri("b.bin"))[0] == 201
    assert webdav.read("b.bin") == BODY
    if fault != "reset":
        assert webdav.read("a.bin") == BODY, "the server has done it, and nobody was told"
    elif amount < len(BODY):
        assert webdav.read("a.bin") != BODY


def test_a_flipped_byte_arrives_and_a_plain_server_is_content(webdav: Server) -> None:
    with proxy(webdav, Fault("PUT", "flip", 123_456)):
        assert put(webdav.uri("a.bin"))[0] == 201
    stored = webdav.read("a.bin")
    assert stored is not None
    assert [at for at in range(len(BODY)) if stored[at] != BODY[at]] == [123_456]


def test_a_status_is_said_as_often_as_asked_and_after_those_that_pass(webdav: Server) -> None:
    with proxy(webdav, Fault("PUT", "status", 503, times=2, skip=1)):
        statuses = []
        for name in "abcd":
            try:
                statuses.append(put(webdav.uri(name))[0])
            except urllib.error.HTTPError as error:
                statuses.append(error.code)
                error.close()
        assert statuses == [201, 503, 503, 201]


def test_a_stall_takes_nothing_more(webdav: Server) -> None:
    with proxy(webdav, Fault("PUT", "stall", 1000)), pytest.raises(OSError, match="timed out"):
        urllib.request.urlopen(urllib.request.Request(webdav.uri("a.bin"), noise(8 << 20, 1), method="PUT"), timeout=1)
    assert len(webdav.read("a.bin") or b"") < 8 << 20


def test_the_servers_keep_what_another_client_sends(s3: Server) -> None:
    s3.client().put_object(Bucket=s3.bucket, Key="ä b%20+.bin", Body=BODY)  # type: ignore[attr-defined]
    assert s3.read("ä b%20+.bin") == BODY
    assert s3.names() == ["ä b%20+.bin"]
    client, at = s3.client(), {"Bucket": s3.bucket, "Key": "part.bin"}  # type: ignore[attr-defined]
    at["UploadId"] = client.create_multipart_upload(**at)["UploadId"]
    client.upload_part(**at, PartNumber=1, Body=BODY)
    assert s3.unfinished() == 1
    client.abort_multipart_upload(**at)
    assert s3.unfinished() == 0
