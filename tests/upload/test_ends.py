"""How uploads end that do not arrive: cancelled, refused, cut off, outlived by their files. Nobody waits for them in vain, and nothing stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, python, run
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import PART, SECONDS, around, check_arrived, command, recorded, resume, send, sent, started, until
from tests.upload.servers import Server
from vhpack import outbox
from vhpack.runs import Destination

LARGE = noise(2 * PART + 1000, 1)
SMALL = noise(100_000, 2)
CREATE, COMPLETE, ABORT = r"^POST .*\?uploads", r"^POST .*uploadId=", r"^DELETE .*uploadId="


@pytest.fixture
def large(work: Path) -> Path:
    (work / "large.bin").write_bytes(LARGE)
    return work / "large.bin"


@pytest.fixture
def small(work: Path) -> Path:
    (work / "small.bin").write_bytes(SMALL)
    return work / "small.bin"


def cancelled(upload: vhpack.Upload) -> None:
    upload.cancel()
    with pytest.raises(vhpack.UploadCancelledError):
        upload.wait(SECONDS)


def sweep(server: Server) -> None:
    vhpack.uploading.swept(older_than=0, dry_run=False, given=server.options())
    assert vhpack.uploading.records() == []


def test_one_that_is_cancelled_while_it_is_begun_leaves_nothing(rclone: Server, large: Path) -> None:
    with proxy(rclone, Fault(CREATE, "delay", 1000)) as between:
        (upload,) = send(rclone, {"a.bin": large})
        until(lambda: between.count(CREATE))
        cancelled(upload)
        until(lambda: between.passed[-1].status or rclone.unfinished() == 0)
    sweep(rclone)
    assert rclone.unfinished() == 0


def test_one_that_is_cancelled_while_the_server_is_down_is_not_gone_on_with(s3: Server, large: Path, state: Path) -> None:
    with proxy(s3, Fault("^PUT .*partNumber=3", "stall", times=-1)) as between:
        (upload,) = send(s3, {"a.bin": large})
        until(lambda: between.count("partNumber=3"))
        between.faults[:] = [Fault(ABORT, "reset", times=-1)]
        cancelled(upload)
        between.faults.clear()
        ended = resume(around(s3, state), large.parent)
    assert ended.code == 0, ended
    assert (s3.read("a.bin"), s3.unfinished()) == (None, 0)
    assert large.read_bytes() == LARGE


def test_one_that_waits_its_turn_ends_when_it_is_cancelled(moto: Server, work: Path, state: Path) -> None:
    names = [f"{number}.bin" for number in range(10)]
    for name in names:
        (work / name).write_bytes(LARGE)
    with proxy(moto, Fault("^PUT ", "stall", times=-1)) as between:
        uploads = send(moto, {name: work / name for name in names})
        until(lambda: between.count("^PUT "))
        assert uploads[-1].state == "queued"
        cancelled(uploads[-1])
        assert b"9.bin" not in b"".join(path.read_bytes().split(b'"t":"done"')[-1] for path in state.glob("*.asked.*"))
        for upload in uploads[:-1]:
            upload.cancel()
        assert vhpack.wait_for_uploads(SECONDS, raise_on_error=False).pending == []


def test_a_destination_that_is_down_keeps_no_other_waiting(moto: Server, work: Path) -> None:
    names = [f"{number}.bin" for number in range(150)]
    for name in names:
        (work / name).write_bytes(SMALL)
    (work / "there").mkdir()
    with proxy(moto, Fault(".", "stall", times=-1)):
        stuck = send(moto, {name: work / name for name in names})
        uri = f"{(work / 'there').as_uri()}/a.bin"
        (other,) = vhpack.uploading.begin([(str(work / "0.bin"), uri)], Destination(uri))
        assert other.wait(SECONDS)
        for upload in stuck:
            upload.cancel()
        assert vhpack.wait_for_uploads(SECONDS, raise_on_error=False).pending == []


def test_a_record_that_could_not_be_written_blocks_no_later_upload(moto: Server, small: Path, state: Path) -> None:
    state.write_bytes(b"a file where the folder would be")
    with pytest.raises(vhpack.JournalError):
        sent(moto, small).wait()
    state.unlink()
    check_arrived(moto, sent(moto, small), SMALL)


def killed(server: Server, file: Path, state: Path, match: str) -> dict[str, str]:
    """Kill an upload when a request that matches is under way; the environment to go on in."""
    with proxy(server, Fault(match, "stall", times=-1)) as between:
        environment = {**around(server, state), "AWS_ENDPOINT_URL_S3": server.url}
        words = [*command(server, file, ""), "--option", f"endpoint={between.url}", "--remove-after"]
        process = started(words, environment, file.parent)
        until(lambda: between.count(match))
        process.kill()
        process.communicate()
    return environment


@pytest.mark.parametrize("size", ["small", "large"])
def test_another_file_under_the_name_is_neither_sent_nor_removed(
    moto: Server, size: str, small: Path, large: Path, state: Path
) -> None:
    file = small if size == "small" else large
    environment = killed(moto, file, state, "^PUT ")
    file.write_bytes(b"half of what another run writes")
    ended = run(
        [VHPACK, "resume", "-q", "--option", f"endpoint={moto.url}"], file.parent, environment=environment, timeout=SECONDS
    )
    assert ended.code == 1, ended
    assert file.name in ended.err
    assert file.read_bytes() == b"half of what another run writes"
    assert moto.names() == []


@pytest.mark.parametrize("size", ["small", "large"])
def test_of_two_runs_that_were_killed_the_later_one_is_gone_on_with(
    moto: Server, size: str, small: Path, large: Path, state: Path
) -> None:
    file = small if size == "small" else large
    with proxy(moto, Fault("^PUT ", "stall", times=-1)) as between:
        environment = {**around(moto, state), "AWS_ENDPOINT_URL_S3": between.url}
        for run_of in (b"1", b"2"):
            file.write_bytes(run_of * file.stat().st_size)
            between.passed.clear()
            process = started(command(moto, file, ""), environment, file.parent)
            until(lambda: between.count("^PUT "))
            process.kill()
            process.communicate()
        between.faults.clear()
        ended = resume(environment, file.parent)
        assert ended.code == 0, ended
        assert moto.read(file.name) == file.read_bytes()
        assert recorded(environment, file.parent) == []


@pytest.mark.parametrize("removals", [(True, False), (False, True), (True, True)])
def test_a_file_under_way_is_removed_only_if_every_call_says_so(moto: Server, small: Path, removals: tuple[bool, bool]) -> None:
    with proxy(moto, Fault("^PUT ", "stall", times=-1)) as between:
        destination = Destination(moto.uri(), {**moto.options(), "stall_seconds": "0.5"})
        pairs = [(str(small), moto.uri("a.bin"))]
        (first,) = vhpack.uploading.begin(pairs, destination, remove_after=removals[0])
        until(lambda: between.count("^PUT "))
        (second,) = vhpack.uploading.begin(pairs, destination, remove_after=removals[1])
        assert second._begun.wait(SECONDS)
        between.faults.clear()
        assert first._wait(SECONDS)
        assert second._wait(SECONDS)
    assert first.error is None
    assert second.error is None
    assert moto.read("a.bin") == SMALL
    assert small.exists() != all(removals)
    assert (second.kept is not None) == (removals == (False, True))


def test_what_failed_and_was_sent_later_is_not_sent_once_more(moto: Server, small: Path, state: Path) -> None:
    with proxy(moto) as between:
        between.upstream = ("127.0.0.1", 1)
        upload = sent(moto, small, stall_seconds=1, give_up_seconds=1)
        assert isinstance(upload.error, vhpack.UnreachableError)
        assert len(vhpack.uploading.records()) == 1
        between.upstream = ("127.0.0.1", moto.port)
        check_arrived(moto, sent(moto, small, stall_seconds=1, give_up_seconds=1), SMALL)
    assert vhpack.uploading.records() == []
    assert not any(state.iterdir())


def test_a_file_that_shrank_leaves_no_parts_of_what_it_was(rclone: Server, large: Path, state: Path) -> None:
    with proxy(rclone, Fault("^PUT .*partNumber=2", "stall", times=-1)) as between:
        process = started(command(rclone, large, ""), around(rclone, state), large.parent)
        until(lambda: between.count("^PUT .*partNumber=2"))
        process.kill()
        process.communicate()
        assert rclone.unfinished() == 1
        large.write_bytes(SMALL)
        check_arrived(rclone, sent(rclone, large, "large.bin"), SMALL, "large.bin")


def test_a_record_of_what_has_arrived_meanwhile_goes_when_it_is_resumed(s3: Server, large: Path, state: Path) -> None:
    environment = killed(s3, large, state, "^PUT .*partNumber=2")
    assert sent(s3, large, "large.bin").error is None
    ended = run(
        [VHPACK, "resume", "-q", "--option", f"endpoint={s3.url}"], large.parent, environment=environment, timeout=SECONDS
    )
    assert ended.code == 0, ended
    assert recorded(environment, large.parent) == []
    assert s3.unfinished() == 0
    assert s3.read("large.bin") == LARGE


def test_a_sweep_takes_what_a_small_file_left_beside_its_target(work: Path, state: Path) -> None:
    (work / "there").mkdir()
    (work / "a.bin").write_bytes(SMALL)
    staged = work / "there" / f".a.bin.{'0' * 32}.vhpart"
    staged.write_bytes(b"half")
    uri = f"{(work / 'there').as_uri()}/a.bin"
    program = f"""
import os
from vhpack import uploading
from vhpack.runs import Destination
(upload,) = uploading.begin([({str(work / "a.bin")!r}, {uri!r})], Destination({uri!r}, {{"max_bps": "1000"}}))
upload._begun.wait()
os.kill(os.getpid(), 9)
"""
    assert python(program, cwd=work, timeout=SECONDS).code == -9
    vhpack.uploading.swept(older_than=0, dry_run=False, given={})
    assert [path.name for path in (work / "there").iterdir() if path.name != "a.bin"] == []
    assert not any(state.iterdir())


def test_a_complete_that_takes_longer_than_a_stall_is_waited_for(s3: Server, large: Path) -> None:
    """Its server may forget the upload before it shows the object."""
    with proxy(s3, Fault(COMPLETE, "delay", 2500)) as between:
        upload = sent(s3, large, stall_seconds=1)
        assert between.body_bytes() == len(LARGE), "it was sent again"
    check_arrived(s3, upload, LARGE)


def test_one_that_is_cancelled_while_it_is_completed_is_done_or_gone(s3: Server, large: Path) -> None:
    with proxy(s3, Fault(COMPLETE, "delay", 500)) as between:
        (upload,) = send(s3, {"a.bin": large})
        until(lambda: between.count(COMPLETE))
        upload.cancel()
        assert upload._wait(SECONDS)
    assert (upload.state == "done") == (s3.read("a.bin") == LARGE)


def test_a_server_whose_tags_are_of_another_kind_gets_each_part_once_it_is_known(s3: Server, work: Path) -> None:
    content = noise(8 * PART, 3)
    (work / "a.bin").write_bytes(content)
    with proxy(s3, Fault("^(PUT|HEAD) ", "retag", times=-1)) as between:
        upload = sent(s3, work / "a.bin", concurrency=2)
        # The server itself knows nothing of the proxy's tags, and refuses to complete by them.
        lines = [passed.line for passed in between.passed]
    first = next(number for number, line in enumerate(lines) if re.search(COMPLETE, line))
    assert sum(line.startswith("PUT ") for line in lines[:first]) <= 8 + 3 * 2
    assert isinstance(upload.error, vhpack.UploadCorruptError)
    assert s3.read("a.bin") is None


def test_a_file_is_never_removed_from_under_itself(work: Path, small: Path) -> None:
    (work / "link").symlink_to(work)
    for folder in (work, work / "link"):
        words: list[str | bytes | Path] = [VHPACK, "upload", small, "--to", f"{folder.as_uri()}/", "--remove-after", "-q"]
        ended = run(words, work, timeout=SECONDS)
        assert ended.code == 1, ended
        assert "the file itself" in ended.err
        assert small.read_bytes() == SMALL


def test_many_small_files_that_are_there_are_not_sent_again(s3: Server, work: Path) -> None:
    names = [f"folder/{number}.bin" for number in range(200)]
    (work / "folder").mkdir()
    for number, name in enumerate(names):
        (work / name).write_bytes(noise(1000, number))
    send(s3, {name: work / name for name in names})
    assert len(vhpack.wait_for_uploads(SECONDS).done) == 200
    (work / names[7]).write_bytes(b"another")
    outbox._own = None
    with proxy(s3) as between:
        again = send(s3, {name: work / name for name in names})
        assert len(vhpack.wait_for_uploads(SECONDS).done) == 200
        assert between.count("^PUT ") == 1
    assert [upload.skipped for upload in again] == [number != 7 for number in range(200)]
