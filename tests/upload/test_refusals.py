"""What cannot be sent, and records that cannot be trusted: a clear error that names file and destination, and nothing lost."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vhpack
from tests.conftest import without
from tests.engine.command import VHPACK, run
from tests.engine.trees import noise
from tests.upload.proxy import Fault, Proxy, proxy
from tests.upload.sending import MIB, PART, SECONDS, around, command, recorded, resume, send, sent, started, until
from tests.upload.servers import Server, free_port
from vhpack.runs import Destination
from vhpack.upload import Trouble

CONTENT = noise(PART + MIB, 1)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


@pytest.fixture
def file(work: Path) -> Path:
    (work / "a.bin").write_bytes(CONTENT)
    return work / "a.bin"


@pytest.fixture
def halted(moto: Server) -> Iterator[Proxy]:
    """A proxy that stays where records say the server is."""
    with proxy(moto) as between:
        yield between


def failed(upload: vhpack.Upload, error: type[Exception], path: Path) -> str:
    """The sentence of an upload that failed as it should."""
    with pytest.raises(error) as caught:
        upload.wait(SECONDS)
    assert isinstance(caught.value, vhpack.UploadError)
    assert (upload.state, caught.value.path, caught.value.uri) == ("failed", str(path), upload.uri)
    assert path.name in str(caught.value) or upload.uri in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("uri", ["ftp://host/folder", "bucket/folder", "", "s3:/bucket", "S4://bucket"])
def test_an_unknown_scheme_is_refused_at_once(uri: str, file: Path) -> None:
    with pytest.raises(vhpack.UnknownSchemeError, match="s3://"):
        vhpack.set_upload_destination(uri)
    ended = run([VHPACK, "upload", file, "--to", uri or "x"], file.parent)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "s3://" in ended.err


@pytest.mark.parametrize("uri", ["s3://", "gs:///", "http://"])
def test_a_destination_without_a_bucket_is_refused_at_once(uri: str) -> None:
    with pytest.raises(ValueError, match="names no bucket or host"):
        vhpack.set_upload_destination(uri)


@pytest.mark.parametrize("options", [{"memory": "1"}, {"max_bps": 0}, {"stall_seconds": "soon"}, {"give_up_seconds": -1}])
def test_an_option_out_of_range_is_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(vhpack.OptionError, match=next(iter(options))):
        vhpack.set_upload_destination("s3://bucket/folder", **options)


def test_an_option_that_means_nothing_is_an_error(moto: Server, file: Path) -> None:
    assert "colour" in failed(sent(moto, file, colour="red"), vhpack.BadDestinationError, file)


def test_no_credentials_says_where_they_are_looked_for(moto: Server, file: Path) -> None:
    options = {name: value for name, value in moto.options().items() if "key" not in name}
    (upload,) = vhpack.uploading.begin([(str(file), moto.uri("a.bin"))], Destination(moto.uri(), options))
    assert "access key" in failed(upload, vhpack.NoCredentialsError, file)


def test_a_wrong_secret_is_denied(rclone: Server, file: Path) -> None:
    options = {**rclone.options(), "secret_access_key": "SECRETKEY0002"}
    (upload,) = vhpack.uploading.begin([(str(file), rclone.uri("a.bin"))], Destination(rclone.uri(), options))
    failed(upload, PermissionError, file)


def test_credentials_of_a_profile_are_found(rclone: Server, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = rclone.options()
    account = f"[team]\naws_access_key_id = {options.pop('access_key_id')}\naws_secret_access_key = {options.pop('secret_access_key')}\n"
    (tmp_path / "credentials").write_text(account)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (upload,) = vhpack.uploading.begin(
        [(str(file), rclone.uri("a.bin"))], Destination(rclone.uri(), {**options, "profile": "team"})
    )
    assert upload.wait(SECONDS)
    assert rclone.read("a.bin") == CONTENT


def test_a_profile_that_is_not_there_says_so(moto: Server, file: Path) -> None:
    options = {name: value for name, value in moto.options().items() if "key" not in name}
    (upload,) = vhpack.uploading.begin(
        [(str(file), moto.uri("a.bin"))], Destination(moto.uri(), {**options, "profile": "nobody"})
    )
    assert "nobody" in failed(upload, vhpack.NoCredentialsError, file)


def test_no_such_bucket(s3: Server, file: Path) -> None:
    options = {**s3.options(), "part_size": str(PART)}
    (upload,) = vhpack.uploading.begin([(str(file), "s3://no-such-bucket/a.bin")], Destination("s3://no-such-bucket/", options))
    assert "no-such-bucket" in failed(upload, vhpack.NoSuchBucketError, file)


def test_denied(server: Server, file: Path) -> None:
    with proxy(server, Fault("^(PUT|POST) ", "status", 403, times=-1, body=DENIED)):
        failed(sent(server, file), vhpack.UploadDeniedError, file)
    assert server.read("a.bin") is None


def test_a_refusal_that_comes_before_the_bytes_is_no_broken_network(server: Server, work: Path) -> None:
    """The server answers at sight of the head and closes: what still comes is met by a reset, which may overtake the answer."""
    content = noise(4 * MIB, 2)
    (work / "a.bin").write_bytes(content)
    with proxy(server, Fault("^PUT ", "refuse", 403, times=-1, body=DENIED)) as between:
        failed(sent(server, work / "a.bin"), vhpack.UploadDeniedError, work / "a.bin")
        assert between.count("^PUT ") <= 3
    assert server.read("a.bin") is None


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure", "http"])
def test_an_endpoint_where_nobody_listens_is_given_up(scheme: str, file: Path) -> None:
    options = {"allow_http": "true", "endpoint": f"http://127.0.0.1:{free_port()}"} if scheme != "http" else {}
    account = {
        "s3": {"access_key_id": "a", "secret_access_key": "b"},
        "gs": {"google_skip_signature": "true"},
        "azure": {"account_name": "a", "skip_signature": "true"},
    }
    uri = f"http://127.0.0.1:{free_port()}/a.bin" if scheme == "http" else f"{scheme}://bucket/a.bin"
    options |= {"give_up_seconds": "1", **account.get(scheme, {})}
    (upload,) = vhpack.uploading.begin([(str(file), uri)], Destination(uri, options))
    assert "refused" in failed(upload, vhpack.UnreachableError, file)


def test_what_keeps_an_upload_from_going_on_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vhpack.upload._LASTS", 0.0)
    port = free_port()
    options = {"endpoint": f"http://127.0.0.1:{port}", "access_key_id": "a", "secret_access_key": "b"}
    (upload,) = vhpack.uploading.begin([(str(file), "s3://bucket/a.bin")], Destination("s3://bucket", options))
    until(lambda: upload.trouble)
    trouble = Trouble()
    assert f"127.0.0.1:{port}" in str(trouble.of([upload]))
    assert trouble.of([upload]) is None, "it is said now and then only"
    upload.cancel()
    upload._wait(SECONDS)
    assert upload.trouble is None


def test_a_name_that_is_taken_stays_where_that_is_asked_for(server: Server, file: Path) -> None:
    """Also on a server that takes no notice of the condition; the same content is no conflict."""
    other = file.with_name("other.bin")
    other.write_bytes(noise(200_000, 3))
    for size in (PART + MIB, 200_000):
        key = f"{size}.bin"
        before, after = (file, other) if size > PART else (other, file)
        assert sent(server, before, key, overwrite="false").wait()
        failed(sent(server, after, key, overwrite="false"), vhpack.UploadExistsError, after)
        assert server.read(key) == before.read_bytes()
    assert sent(server, other, key, overwrite="false").skipped
    assert server.unfinished() == 0


def test_a_file_of_5_tib_is_planned_within_the_limits(moto: Server, work: Path) -> None:
    """Planned only: its first parts meet a server that takes nothing."""
    size = 5 << 40
    (work / "huge.bin").touch()
    os.truncate(work / "huge.bin", size)
    with proxy(moto, Fault("^PUT ", "stall", 1000, times=-1)) as between:
        (upload,) = send(moto, {"a.bin": work / "huge.bin"})
        until(lambda: between.count("^PUT ") > 1)
        parts = [passed.length for passed in between.passed if passed.line.startswith("PUT ")]
        assert upload.bytes_total == size
        upload.cancel()
        with pytest.raises(vhpack.UploadCancelledError):
            upload.wait(SECONDS)
    assert all(-(-size // part) <= 10_000 and part <= 5 << 30 for part in parts)
    assert (work / "huge.bin").stat().st_size == size
    assert moto.unfinished() == 0


def test_an_endpoint_that_is_down_is_tried_until_it_is_given_up(server: Server, file: Path) -> None:
    with proxy(server) as between:
        between.upstream = ("127.0.0.1", 1)
        failed(sent(server, file, give_up_seconds=3), ConnectionError, file)


def test_a_stall_without_end_is_given_up(server: Server, file: Path) -> None:
    with proxy(server, Fault("^PUT ", "stall", 1000, times=-1)):
        failed(sent(server, file, stall_seconds=1, give_up_seconds=3), TimeoutError, file)
    assert server.read("a.bin") != CONTENT


def test_a_file_that_vanished_is_missing(server: Server, work: Path) -> None:
    (upload,) = send(server, {"a.bin": work / "a.bin"})
    failed(upload, FileNotFoundError, work / "a.bin")


def _rewrite_in_secret(path: Path) -> None:
    before = path.stat()
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": lambda path: path.write_bytes(CONTENT + b"more"),
    "is truncated": lambda path: os.truncate(path, 1000),
    "is rewritten at the same size": lambda path: path.write_bytes(bytes(len(CONTENT))),
    "is rewritten with its old times": _rewrite_in_secret,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_sent_is_never_published(server: Server, file: Path, change: str) -> None:
    with proxy(server, Fault("^PUT ", "slow", 4 * MIB, times=-1)) as between:
        (upload,) = send(server, {"a.bin": file})
        until(lambda: between.body_bytes() > 100_000)
        CHANGES[change](file)
        assert upload._wait(SECONDS)
        if server.resumes or upload.state != "done":
            failed(upload, vhpack.UploadSourceChangedError, file)
            assert server.read("a.bin") != file.read_bytes()
    if server.resumes:
        assert server.read("a.bin") is None
    elif upload.state == "done":
        # One PUT, all of whose bytes had been read before the file changed: it arrived as it was, and is no mix.
        assert server.read("a.bin") == CONTENT
    assert server.unfinished() == 0


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was(s3: Server, file: Path, change: str) -> None:
    """It is open: another file under its name is none of this upload's business; or the upload says that it changed."""
    (file.parent / "other").write_bytes(b"other")
    with proxy(s3, Fault("^PUT ", "slow", 4 * MIB, times=-1)) as between:
        (upload,) = send(s3, {"a.bin": file})
        until(lambda: between.body_bytes() > 100_000)
        if change == "replaced":
            os.replace(file.parent / "other", file)
        else:
            file.unlink()
        assert upload._wait(SECONDS)
    assert (upload.state == "done") == (s3.read("a.bin") == CONTENT)
    assert upload.state == "done" or isinstance(upload.error, vhpack.UploadSourceChangedError)


def test_a_mapped_file_that_changes_while_it_is_sent_is_never_published(moto: Server, work: Path) -> None:
    """Pages that a mapping has written to before change without a new time."""
    if b"tmpfs" in subprocess.run(["stat", "-fc", "%T", work], capture_output=True, check=True).stdout:
        without("mapped writes to tmpfs leave no trace")
    with (work / "a.bin").open("w+b") as file:
        file.truncate(2 * PART + MIB)
        with (
            mmap.mmap(file.fileno(), 2 * PART + MIB) as mapped,
            proxy(moto, Fault("^PUT ", "slow", 16 * MIB, times=-1)) as between,
        ):
            mapped[:] = b"1" * len(mapped)
            (upload,) = send(moto, {"a.bin": work / "a.bin"}, concurrency=1)
            until(lambda: between.body_bytes() > PART)
            mapped[:] = b"2" * len(mapped)
            failed(upload, vhpack.UploadSourceChangedError, work / "a.bin")
    assert moto.read("a.bin") is None


def test_a_folder_of_the_target_name_is_told(work: Path, file: Path) -> None:
    (work / "there/a.bin").mkdir(parents=True)
    uri = f"{work.as_uri()}/there/a.bin"
    (upload,) = vhpack.uploading.begin([(str(file), uri)], Destination(uri))
    failed(upload, vhpack.UploadError, file)
    assert list((work / "there").rglob("*")) == [work / "there/a.bin"]


def test_a_disk_without_room_for_the_record_is_told(moto: Server, file: Path, small_disk: Path) -> None:
    with (small_disk / "full").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        filler.writelines(bytes(4096) for _ in range(1000))
    # Another process: what it holds open would keep the disk from being taken away.
    ended = run(command(moto, file, ""), file.parent, environment=around(moto, small_disk / "state"), timeout=SECONDS)
    assert ended.code == 1, ended
    assert json.loads(ended.out)["failed"][0]["error"]["kind"] == "journal"
    assert str(small_disk) in ended.err
    assert moto.read("a.bin") is None
    assert file.read_bytes() == CONTENT
    assert moto.unfinished() == 0


FULL = """
import os, signal, sys
from vhpack import uploading
from vhpack.runs import Destination

uri, options, folder, filler = sys.argv[1], {"endpoint": sys.argv[2], "access_key_id": "a", "secret_access_key": "b"}, *sys.argv[3:]

def begin(number):
    path = os.path.join(folder, f"{number:0100}")
    open(path, "wb").close()
    (upload,) = uploading.begin([(path, f"{uri}/{number:0100}")], Destination(uri, options))
    assert upload._begun.wait(60)
    return upload

begin(0)
with open(filler, "wb", buffering=0) as full:
    try:
        while full.write(bytes(4096)):
            pass
    except OSError:
        pass
for number in range(1, 100):
    if begin(number)._failure is not None:
        break
else:
    sys.exit("there was room for all")
os.unlink(filler)
begin(100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_record_that_a_full_disk_cut_off_takes_none_behind_it_along(work: Path, small_disk: Path) -> None:
    """Written behind half a line, what was asked for later would not be believed."""
    environment = {**os.environ, "VHPACK_STATE_DIR": str(small_disk / "state")}
    words = ["s3://bucket/x", f"http://127.0.0.1:{free_port()}", str(work), str(small_disk / "filler")]
    ended = run([sys.executable, "-c", FULL, *words], work, environment=environment, timeout=SECONDS)
    assert ended.code == -signal.SIGKILL, ended
    found = sorted(str(record["path"])[-3:] for record in recorded(environment, work))
    assert found[-1] == "100"
    assert len(found) > 2


@pytest.mark.parametrize(
    "hostile", [b"", b"\0" * 5000, b"{}\n" * 3, b'{"v":99}\n', b"\xff\xfe{[" * 1000, b'{"hdr"', b"[" * 100_000]
)
def test_records_that_mean_nothing_are_told_and_stop_nobody(
    moto: Server, file: Path, state: Path, halted: Proxy, hostile: bytes
) -> None:
    """Whatever lies in the folder of records, what is sound there is resumed."""
    environment = _killed_halfway(halted, moto, file, state)
    records = [path for path in state.rglob("*") if path.is_file() and path.stat().st_size]
    assert records
    for name in [*(f"{first}{record.name}" for record in records for first in "0z"), "noise", "noise.json"]:
        records[0].with_name(name).write_bytes(hostile)
    listed = run([VHPACK, "uploads"], file.parent, environment=environment, timeout=SECONDS)
    assert "Traceback" not in listed.err
    resume(environment, file.parent)
    assert moto.read("folder/a.bin") == CONTENT


def test_a_record_torn_at_any_byte_is_resumed_or_begun_again(moto: Server, file: Path, state: Path, halted: Proxy) -> None:
    for number, share in enumerate((0.1, 0.5, 0.9, 0.99)):
        folder = f"folder-{number}"
        environment = _killed_halfway(halted, moto, file, state, folder)
        for record in state.rglob("*"):
            if record.is_file():
                os.truncate(record, int(record.stat().st_size * share))
        ended = resume(environment, file.parent)
        assert "Traceback" not in ended.err
        again = run(command(moto, file, folder), file.parent, environment=environment, timeout=SECONDS)
        assert again.code == 0, again
        assert moto.read(f"{folder}/a.bin") == CONTENT
        assert [record for record in recorded(environment, file.parent) if record["state"] not in ("done", "failed")] == []


def test_two_processes_with_one_target_do_not_disturb_each_other(s3: Server, file: Path, state: Path) -> None:
    with proxy(s3, Fault("^PUT ", "slow", 8 * MIB, times=-1)):
        both = [started(command(s3, file, "folder"), around(s3, state), file.parent) for _ in range(2)]
        ends = [process.communicate(timeout=SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert s3.read("folder/a.bin") == CONTENT
    assert s3.unfinished() == 0


def test_many_threads_may_begin_uploads(moto: Server, work: Path) -> None:
    found: list[vhpack.Upload] = []

    def begin(number: int) -> None:
        (work / f"{number}.bin").write_bytes(noise(1000, number))
        found.extend(send(moto, {f"{number}.bin": work / f"{number}.bin"}))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(vhpack.wait_for_uploads(SECONDS).done) == 16
    assert sorted(moto.names()) == sorted(f"{number}.bin" for number in range(16))


def _killed_halfway(between: Proxy, server: Server, file: Path, state: Path, folder: str = "folder") -> dict[str, str]:
    """Kill an upload when its first part has arrived; the environment to go on in."""
    between.faults[:] = [Fault(r"^PUT .*partNumber=2", "stall", 1000, times=-1)]
    between.passed.clear()
    environment = around(server, state)
    process = started(command(server, file, folder), environment, file.parent)
    until(lambda: any("partNumber=1&" in f"{passed.line}&" and passed.status for passed in between.passed))
    time.sleep(0.2)
    process.kill()
    process.communicate()
    between.faults.clear()
    assert server.read(f"{folder}/a.bin") is None
    return environment
