"""What is believed of a server: a file is removed only where what arrived was compared; and the ways to send that others sign."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import PART, SECONDS
from tests.upload.servers import Server
from vhpack.errors import PackWarning
from vhpack.runs import Destination

SMALL = noise(200_000, 1)
LARGE = noise(2 * PART + 1000, 2)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


@pytest.fixture(params=["one request", "parts"])
def content(request: pytest.FixtureRequest) -> bytes:
    return SMALL if request.param == "one request" else LARGE


@pytest.fixture
def file(work: Path, content: bytes) -> Path:
    (work / "a.bin").write_bytes(content)
    return work / "a.bin"


def begun(path: Path, uri: str, *, remove_after: bool = False, **options: str) -> vhpack.Upload:
    (upload,) = vhpack.uploading.begin([(str(path), uri)], Destination(uri, options), remove_after=remove_after)
    return upload


def to(server: Server, path: Path, *, remove_after: bool) -> vhpack.Upload:
    return begun(path, server.uri("a.bin"), remove_after=remove_after, part_size=str(PART), **server.options())


def test_a_file_that_arrived_is_removed_when_asked_for(server: Server, file: Path, content: bytes) -> None:
    upload = to(server, file, remove_after=True)
    assert upload.wait(SECONDS)
    assert (upload.removed, upload.kept, file.exists()) == (True, None, False)
    assert server.read("a.bin") == content


def test_a_file_whose_arrival_nobody_shows_stays(server: Server, file: Path, content: bytes) -> None:
    """The server takes bytes and says nothing about them that could be compared: no tag, nothing to read."""
    with proxy(server, Fault("^(HEAD|GET) ", "status", 403, times=-1, body=DENIED)):
        upload = to(server, file, remove_after=True)
        told_by_tag = server.resumes and content is SMALL
        if told_by_tag:
            # The tag of an object that was sent by one request is the MD5 of all of it.
            assert upload.wait(SECONDS)
        else:
            with pytest.warns(PackWarning, match=r"a\.bin.*was not removed"):
                assert upload.wait(SECONDS)
    assert (upload.state, upload.removed, file.exists()) == ("done", told_by_tag, not told_by_tag)
    assert server.read("a.bin") == content


def test_of_a_large_object_only_ends_and_seams_are_read_back(rclone: Server, work: Path) -> None:
    """Each part's tag was compared; reading all of it would cost as much as sending it."""
    (work / "a.bin").write_bytes(noise(PART, 3) * 13 + b"the last part")
    with proxy(rclone) as seen:
        upload = to(rclone, work / "a.bin", remove_after=False)
        assert upload.wait(SECONDS)
    spans = [
        re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d+)", passed.head) for passed in seen.passed if passed.line.startswith("GET ")
    ]
    assert len(spans) == 2 + 13
    assert all(span is not None and int(span[2]) - int(span[1]) < 1 << 16 for span in spans)


def test_google_is_spoken_to_by_its_xml(servers: Callable[[str], Server], file: Path, content: bytes) -> None:
    """What Google's XML interface shares with S3; that it checks checksums, and signs by tokens, is not seen here."""
    server = servers("moto")
    server.new_bucket()
    upload = begun(
        file,
        f"gs://{server.bucket}/folder/a b.bin",
        endpoint=server.url,
        google_skip_signature="true",
        part_size=str(PART),
    )
    assert upload.wait(SECONDS)
    assert server.read("folder/a b.bin") == content
    assert server.unfinished() == 0


@pytest.mark.parametrize("flip", [False, True])
def test_parts_go_to_addresses_that_somebody_signed(s3: Server, work: Path, flip: bool) -> None:
    """Without credentials here; a part that arrives changed is sent again, or the upload fails and says so."""
    (work / "a.bin").write_bytes(LARGE)
    with proxy(s3, *[Fault("^PUT .*partNumber=2", "flip", 5)] if flip else []) as between:
        client: Any = s3.client(between.url)  # type: ignore[attr-defined]
        at = {"Bucket": s3.bucket, "Key": "a.bin"}
        at["UploadId"] = client.create_multipart_upload(**at)["UploadId"]
        parts = [client.generate_presigned_url("upload_part", {**at, "PartNumber": number}) for number in (1, 2, 3)]
        upload = begun(
            work / "a.bin",
            f"{s3.url}/{s3.bucket}/a.bin",
            part_urls=" ".join(parts),
            complete_url=client.generate_presigned_url("complete_multipart_upload", at),
            abort_url=client.generate_presigned_url("abort_multipart_upload", at),
            part_size=str(PART),
        )
        assert upload._wait(SECONDS)
        assert between.count("^PUT .*partNumber=2") >= 1 + flip
    if flip and upload.error is not None:
        assert isinstance(upload.error, vhpack.UploadCorruptError)
        assert s3.read("a.bin") is None
    else:
        assert (upload.state, upload.error) == ("done", None)
        assert s3.read("a.bin") == LARGE
    assert s3.unfinished() == 0
