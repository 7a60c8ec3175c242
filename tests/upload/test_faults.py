"""What networks and servers do to an upload: it arrives whole and checked, or it says that it did not."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import MIB, PART, SECONDS, check_arrived, send, sent, until
from tests.upload.servers import Server, running

OFFSETS = 500 if SOAK else 50
PART_OFFSETS = 200 if SOAK else 12
"""Of those, in uploads of parts, which are of 5 MiB at least."""
CONTENT = noise(2 * PART + 300_000, 1)
"""Three parts."""
SMALL = noise(200_000, 2)
"""One request."""
CREATE, COMPLETE, ABORT = r"^POST .*\?uploads", r"^POST .*uploadId=", r"^DELETE .*uploadId="
PARTS = r"^PUT .*partNumber="
INTERNAL = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>'


@pytest.fixture
def three(work: Path) -> Path:
    (work / "three.bin").write_bytes(CONTENT)
    return work / "three.bin"


@pytest.fixture
def one(work: Path) -> Path:
    (work / "one.bin").write_bytes(SMALL)
    return work / "one.bin"


def test_it_arrives_and_says_so(server: Server, three: Path) -> None:
    upload = sent(server, three)
    check_arrived(server, upload, CONTENT)
    assert (upload.bytes_sent, upload.bytes_total, upload.path) == (len(CONTENT), len(CONTENT), str(three))
    assert vhpack.wait_for_uploads().done == [upload]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1])
def test_every_size_arrives(server: Server, work: Path, size: int) -> None:
    content = noise(size, 3) if size else b""
    (work / "a.bin").write_bytes(content)
    check_arrived(server, sent(server, work / "a.bin"), content)


@pytest.mark.parametrize("name", ["a b.bin", "100%.bin", "a+b.bin", "ä/日本.bin", "a%20b.bin", "#?&=.bin", "'(x)'~!*;,.bin"])
def test_names_arrive_as_they_are(server: Server, one: Path, name: str) -> None:
    from vhpack import destinations

    server.make_folders(*([name.partition("/")[0]] if "/" in name else []))
    options = {**server.options(), "part_size": str(PART)}
    uri = destinations.below(server.uri(), name)
    (upload,) = vhpack.uploading.begin([(str(one), uri)], vhpack.runs.Destination(server.uri(), options))
    assert upload.wait(SECONDS)
    assert server.names() == [name]
    assert server.read(name) == SMALL


def test_files_arrive_whose_connections_are_reset_after_any_number_of_bytes(server: Server, work: Path) -> None:
    _reset_each(server, work, size=300_000, first=300_000, many=OFFSETS - PART_OFFSETS if server.resumes else OFFSETS)


def test_parts_arrive_whose_connections_are_reset_after_any_number_of_bytes(s3: Server, work: Path) -> None:
    _reset_each(s3, work, size=PART + 100_000, first=PART, many=PART_OFFSETS)


def _reset_each(server: Server, work: Path, *, size: int, first: int, many: int) -> None:
    """Each of many uploads loses one connection, at an offset of its own: anywhere in its first request's body, and at its ends."""
    chosen = random.Random(7)
    offsets = [0, 1, first - 1, first, *(chosen.randrange(first) for _ in range(many - 4))]
    content = noise(size, 4)
    (work / "0000.bin").write_bytes(content)
    names = [f"{number:04}.bin" for number in range(many)]
    for name in names[1:]:
        os.link(work / names[0], work / name)
    # A HEAD or another part is none of these requests' business.
    faults = [Fault(rf"^PUT .*{name}($|\?.*partNumber=1\b)", "reset", at) for name, at in zip(names, offsets, strict=True)]
    with proxy(server, *faults):
        uploads = send(server, {name: work / name for name in names})
        assert vhpack.wait_for_uploads(SECONDS).done == uploads
        assert [fault.done for fault in faults] == [1] * many, "a fault was not reached"
    for name in names:
        assert server.read(name) == content, name


BURSTS = {
    "503": Fault("^(PUT|POST) ", "status", 503, times=4),
    "500": Fault("^(PUT|POST) ", "status", 500, times=3, body=INTERNAL),
    "429 and when to come again": Fault("^PUT ", "status", 429, times=3, headers=("Retry-After: 1",)),
    "a proxy's 502, in HTML": Fault("^(PUT|POST) ", "status", 502, times=3, body=b"<html>Bad Gateway</html>"),
}


@pytest.mark.parametrize("burst", BURSTS)
def test_a_burst_of_refusals_is_ridden_out(server: Server, three: Path, burst: str) -> None:
    fault = BURSTS[burst]
    fault = Fault(fault.match, fault.do, fault.amount, fault.times, body=fault.body, headers=fault.headers)
    with proxy(server, fault):
        upload = sent(server, three)
        assert fault.times == 0, "the burst was not reached"
        check_arrived(server, upload, CONTENT)


@pytest.mark.parametrize("request_", [CREATE, COMPLETE], ids=["create", "complete"])
def test_an_error_under_status_200_is_an_error(s3: Server, three: Path, request_: str) -> None:
    with proxy(s3, Fault(request_, "status", 200, body=INTERNAL)) as between:
        upload = sent(s3, three)
        assert between.faults[0].done == 1
        check_arrived(s3, upload, CONTENT)


@pytest.mark.parametrize("do", ["lose_answer", "cut_answer"])
@pytest.mark.parametrize("request_", [CREATE, PARTS, COMPLETE], ids=["create", "part", "complete"])
def test_an_answer_that_is_lost_is_not_a_failure(s3: Server, three: Path, request_: str, do: str) -> None:
    """What was asked for has been done; some servers say to a second Complete that there is no such upload."""
    with proxy(s3, Fault(request_, do, 30)) as between:
        upload = sent(s3, three)
        assert between.faults[0].done == 1
    assert upload.error is None
    assert s3.read("a.bin") == CONTENT
    _sweep(s3)
    assert s3.unfinished() == 0, "a Create whose answer was lost has made an upload that costs money"


@pytest.mark.parametrize("do", ["lose_answer", "cut_answer"])
def test_an_answer_to_a_whole_file_that_is_lost_is_not_a_failure(server: Server, one: Path, do: str) -> None:
    with proxy(server, Fault("^PUT ", do, 20)) as between:
        upload = sent(server, one)
        assert between.faults[0].done == 1
        check_arrived(server, upload, SMALL)


def test_an_abort_whose_answer_is_lost_leaves_nothing(s3: Server, three: Path) -> None:
    faults = [Fault(PARTS, "stall", 1000, times=-1), Fault(ABORT, "lose_answer")]
    with proxy(s3, *faults) as between:
        (upload,) = send(s3, {"a.bin": three})
        until(lambda: between.count(PARTS) > 0)
        upload.cancel()
        with pytest.raises(vhpack.UploadCancelledError):
            upload.wait(SECONDS)
    assert (upload.state, s3.read("a.bin")) == ("cancelled", None)
    _sweep(s3)
    assert s3.unfinished() == 0
    assert three.read_bytes() == CONTENT


def test_what_is_taken_before_it_was_sent_is_sent_again(s3: Server, three: Path) -> None:
    with proxy(
        s3, Fault("^PUT .*partNumber=2", "refuse", 200, headers=('ETag: "0123456789abcdef0123456789abcdef"',), body=b"")
    ) as between:
        check_arrived(s3, sent(s3, three), CONTENT)
        assert between.count(CREATE) == 1, "all of it was sent again"


@pytest.mark.parametrize("at", [0, 70_000, PART - 1])
def test_a_flipped_byte_in_a_part_is_never_a_success(s3: Server, three: Path, at: int) -> None:
    with proxy(s3, Fault(rf"{PARTS}2\b", "flip", at)) as between:
        upload = sent(s3, three)
        assert between.faults[0].done == 1
    _repaired_or_told(s3, upload, CONTENT)


def test_a_flipped_byte_in_a_whole_file_is_never_a_success(s3: Server, one: Path) -> None:
    with proxy(s3, Fault("^PUT ", "flip", 77_777)) as between:
        upload = sent(s3, one)
        assert between.faults[0].done == 1
    _repaired_or_told(s3, upload, SMALL)


def test_bytes_that_are_flipped_every_time_are_told(s3: Server, three: Path) -> None:
    with proxy(s3, Fault(rf"{PARTS}2\b", "flip", 5, times=-1)):
        upload = sent(s3, three, give_up_seconds=10)
    assert isinstance(upload.error, vhpack.UploadError)
    assert upload.state == "failed"
    assert s3.read("a.bin") is None


def test_a_server_that_is_killed_and_comes_back_gets_the_file(server: Server, three: Path, tmp_path: Path) -> None:
    """It has forgotten what it had of the upload, as these servers do; the proxy's port is what stays."""
    with running(server.name, tmp_path) as doomed, running(server.name, tmp_path) as later:
        doomed.new_bucket()
        later.new_bucket(doomed.bucket)
        with proxy(doomed, Fault("^PUT ", "slow", 4 * MIB, times=2)) as between:
            (upload,) = send(doomed, {"a.bin": three})
            until(lambda: between.body_bytes() > 500_000)
            doomed.stop()
            time.sleep(0.3)
            between.upstream = ("127.0.0.1", later.port)
            assert upload.wait(SECONDS)
        assert later.read("a.bin") == CONTENT


def test_only_a_stall_is_taken_for_one(server: Server, three: Path) -> None:
    with proxy(server, Fault("^PUT ", "stall", 100_000)) as between:
        began = time.monotonic()
        upload = sent(server, three, stall_seconds=1)
        assert time.monotonic() - began >= 1
        check_arrived(server, upload, CONTENT)
        fault = between.faults[0]
        assert fault.done == 1


def test_a_slow_server_is_no_stall(moto: Server, work: Path) -> None:
    """20 KB/s and a stall of 60 seconds, twenty times as fast: for longer than a stall may last, one request and no second."""
    content = noise(2_000_000, 5)
    (work / "a.bin").write_bytes(content)
    with proxy(moto, Fault("^PUT ", "slow", 400_000, times=-1), window=8192) as between:
        upload = sent(moto, work / "a.bin", stall_seconds=3)
        check_arrived(moto, upload, content)
        assert between.count("^PUT ") == 1


def _repaired_or_told(server: Server, upload: vhpack.Upload, content: bytes) -> None:
    if upload.state == "done":
        assert server.read("a.bin") == content, "success was reported of bytes that are wrong"
    else:
        assert isinstance(upload.error, vhpack.UploadCorruptError)


def _sweep(server: Server) -> None:
    vhpack.uploading.swept(older_than=0, dry_run=False, given=server.options())


FORGOTTEN = b"<Error><Code>NoSuchUpload</Code><Message>The upload does not exist.</Message></Error>"


def test_an_old_object_of_the_same_length_is_not_taken_for_the_new_one(moto: Server, work: Path) -> None:
    """A server that has forgotten the upload when it is to be completed still has what another client had put there."""
    old = noise(14 * PART, 3)
    new = bytearray(old)
    # Neither at an end nor where parts meet.
    new[7 * PART + PART // 2] ^= 1
    client = moto.client()  # type: ignore[attr-defined]
    client.put_object(Bucket=moto.bucket, Key="a.bin", Body=old)
    (work / "a.bin").write_bytes(new)
    with proxy(moto, Fault(COMPLETE, "status", 404, body=FORGOTTEN)) as between:
        check_arrived(moto, sent(moto, work / "a.bin"), bytes(new))
        assert between.count(COMPLETE) == 2


def test_a_name_that_a_lost_connection_still_locks_is_waited_for(servers: Callable[[str], Server], one: Path) -> None:
    """rclone says so for as long as it has not noticed that nobody is at the other end."""
    server = servers("webdav")
    server.new_bucket()
    with proxy(server, Fault("^PUT ", "status", 423, times=2, body=b"Locked")):
        check_arrived(server, sent(server, one), SMALL)
