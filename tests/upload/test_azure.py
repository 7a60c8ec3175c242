"""`azure://`, against a stand-in that follows what the service documents: see `blobs`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import PART, SECONDS, around, check_arrived, command, resume, send, sent, started, until
from tests.upload.servers import Server

LARGE = noise(2 * PART + 1000, 1)
SMALL = noise(200_000, 2)
BLOCKS, LIST = r"^PUT .*comp=block$", r"^PUT .*comp=blocklist"


@pytest.fixture
def azure(servers: Callable[[str], Server]) -> Server:
    server = servers("azure")
    server.new_bucket()
    return server


@pytest.fixture(params=["one request", "blocks"])
def content(request: pytest.FixtureRequest) -> bytes:
    return SMALL if request.param == "one request" else LARGE


@pytest.fixture
def file(work: Path, content: bytes) -> Path:
    (work / "a.bin").write_bytes(content)
    return work / "a.bin"


def test_the_stand_in_is_understood_by_another_client(azure: Server, content: bytes) -> None:
    import obstore

    store = azure.store()  # type: ignore[attr-defined]
    obstore.put(store, "a b%.bin", content, chunk_size=PART)
    assert obstore.get(store, "a b%.bin").bytes().to_bytes() == content
    assert obstore.get_range(store, "a b%.bin", start=5, length=7).to_bytes() == content[5:12]
    assert azure.read("a b%.bin") == content


@pytest.mark.parametrize("name", ["a.bin", "folder/a b%+ü.bin"])
def test_it_arrives_and_is_not_sent_again(azure: Server, file: Path, content: bytes, name: str) -> None:
    check_arrived(azure, sent(azure, file, name), content, name)
    if content is SMALL:
        assert sent(azure, file, name).skipped


def test_a_wrong_key_and_a_missing_container_are_told(azure: Server, file: Path) -> None:
    options = {**azure.options(), "account_key": "d3Jvbmc=", "part_size": str(PART)}
    (upload,) = vhpack.uploading.begin([(str(file), azure.uri("a.bin"))], vhpack.runs.Destination(azure.uri(), options))
    with pytest.raises(vhpack.UploadDeniedError, match="AuthenticationFailed"):
        upload.wait(SECONDS)
    azure.bucket = "nowhere"
    with pytest.raises(vhpack.NoSuchBucketError, match="ContainerNotFound"):
        sent(azure, file).wait()


def test_a_name_that_is_taken_stays_where_that_is_asked_for(azure: Server, file: Path, work: Path) -> None:
    (work / "b.bin").write_bytes(b"before")
    assert sent(azure, work / "b.bin").wait()
    with pytest.raises(vhpack.UploadExistsError):
        sent(azure, file, overwrite="false").wait()
    assert azure.read("a.bin") == b"before"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("^PUT ", "status", 503, times=2),
        Fault("^PUT ", "reset", 100_000),
        Fault("^PUT ", "lose_answer"),
        Fault(LIST, "lose_answer"),
        Fault("^PUT ", "flip", 1000),
    ],
    ids=["503", "reset", "lost answer", "lost answer to the list", "flipped byte"],
)
def test_it_arrives_all_the_same(azure: Server, file: Path, content: bytes, fault: Fault) -> None:
    fault = Fault(fault.match, fault.do, fault.amount, fault.times)
    with proxy(azure, fault):
        check_arrived(azure, sent(azure, file), content)
    assert fault.done or content is SMALL


def test_a_file_goes_once_what_arrived_was_compared(azure: Server, file: Path, content: bytes) -> None:
    (upload,) = vhpack.uploading.begin(
        [(str(file), azure.uri("a.bin"))],
        vhpack.runs.Destination(azure.uri(), {**azure.options(), "part_size": str(PART)}),
        remove_after=True,
    )
    assert upload.wait(SECONDS)
    assert (upload.removed, file.exists(), azure.read("a.bin")) == (True, False, content)


def test_a_killed_upload_is_gone_on_with(azure: Server, work: Path, state: Path) -> None:
    (work / "a.bin").write_bytes(LARGE)
    with proxy(azure, Fault(BLOCKS, "stall", 1000, times=-1, skip=2)) as between:
        environment = around(azure, state)
        process = started(command(azure, work / "a.bin"), environment, work)
        until(lambda: b"".join(journal.read_bytes() for journal in state.glob("*.jsonl")).count(b'"t":"part"') == 2)
        process.kill()
        process.communicate()
        between.faults.clear()
        ended = resume(environment, work)
        assert ended.code == 0, ended
        assert between.body_bytes() <= len(LARGE) + PART
    assert azure.read("a.bin") == LARGE


def test_a_cancelled_upload_shows_nothing(azure: Server, work: Path) -> None:
    (work / "a.bin").write_bytes(LARGE)
    with proxy(azure, Fault(BLOCKS, "stall", 1000, times=-1)):
        (upload,) = send(azure, {"a.bin": work / "a.bin"})
        upload.cancel()
        with pytest.raises(vhpack.UploadCancelledError):
            upload.wait(SECONDS)
    assert azure.read("a.bin") is None
