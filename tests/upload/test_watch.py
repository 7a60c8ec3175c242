"""`vhpack watch`: each file once, whatever becomes of the trainer, of the watch, and of the kernel's events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.engine.command import VHPACK, run
from tests.upload.proxy import proxy
from tests.upload.sending import MIB, PART, SECONDS, around, started
from tests.upload.servers import Server, end_with_parent

FILES = 20_000 if SOAK else 600
FLOOD = 20_000  # events: more than any queue holds


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def command(folder: Path, to: str, *options: str) -> list[str | bytes | Path]:
    return [VHPACK, "watch", folder, "--to", to, "--json", *options]


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "VHPACK_STATE_DIR": str(state), "PYTHONDONTWRITEBYTECODE": "1"}


def mark(path: Path, content: bytes = b"content") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def arrived(there: Path) -> dict[str, bytes]:
    """What lies there under its own name; what is still being written has another."""
    names = [path for path in there.rglob("*") if path.suffix != ".vhpart" and path.is_file()]
    return {str(path.relative_to(there)): path.read_bytes() for path in names}


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> tuple[int, Counter[str], dict[str, object]]:
    """End a watch: its status, how often it names each file, and what it says at the end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    return process.returncode, Counter(line["path"] for line in lines[:-1]), lines[-1]


def test_files_arrive_when_they_are_marked_and_the_rest_at_the_end(
    watched: Path, there: Path, state: Path, tmp_path: Path
) -> None:
    mark(watched / "before.bin")
    process = started(command(watched, f"file://{there}", "--finish"), environment(state), tmp_path)
    wait_for(lambda: "before.bin" in arrived(there), process)
    mark(watched / "deep" / "er" / "later.bin", b"2")
    (watched / "unmarked.bin").write_bytes(b"3")
    (watched / "valohai.metadata.jsonl").write_bytes(b"{}")
    (watched / "link").symlink_to("before.bin")
    wait_for(lambda: "deep/er/later.bin" in arrived(there), process)
    assert "unmarked.bin" not in arrived(there)
    status, named, last = ended(process)
    names = ["before.bin", "deep/er/later.bin", "unmarked.bin", "valohai.metadata.jsonl"]
    assert sorted(arrived(there)) == names
    assert named == {str(watched / name): 1 for name in names}
    assert (status, last["uploaded"], last["failed"]) == (0, 4, 0)
    assert all((watched / name).stat().st_mode & 0o222 == 0 for name in names)


def test_without_finish_what_is_not_marked_stays(watched: Path, there: Path, state: Path, tmp_path: Path) -> None:
    mark(watched / "a")
    (watched / "b").write_bytes(b"unmarked")
    process = started(command(watched, f"file://{there}"), environment(state), tmp_path)
    wait_for(lambda: bool(arrived(there)), process)
    status, _, last = ended(process, signal.SIGINT)
    assert (status, last["uploaded"], list(arrived(there))) == (0, 1, ["a"])
    assert (watched / "b").stat().st_mode & 0o222


@pytest.mark.parametrize("round_", range(5 if SOAK else 1))
def test_events_that_are_lost_lose_no_file_and_send_none_twice(
    watched: Path, there: Path, state: Path, tmp_path: Path, round_: int
) -> None:
    del round_
    mark(watched / "0" / "first")
    for name in ("x", "y"):
        (watched / name).write_bytes(b"")
    told = tmp_path / "told"
    with told.open("wb") as out:
        # Not a pipe, which nobody would read while thousands of lines are written.
        words = [os.fsencode(word) for word in command(watched, f"file://{there}", "-q")]
        process = subprocess.Popen(
            words,
            env=environment(state),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
        )
    wait_for(lambda: bool(arrived(there)), process)
    process.send_signal(signal.SIGSTOP)
    for number in range(FLOOD):
        os.chmod(watched / "xy"[number % 2], 0o600 + number % 64)
    for name in ("x", "y"):
        os.chmod(watched / name, 0o600)
    process.send_signal(signal.SIGCONT)
    for number in range(FILES):
        mark(watched / str(number % 10) / f"{number}", b"%d" % number)
    wait_for(lambda: told.read_bytes().count(b"\n") >= FILES + 1, process)
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=SECONDS)[1], process.returncode) == (b"", 0)
    lines = [json.loads(line) for line in told.read_bytes().splitlines()]
    named, last = Counter(line["path"] for line in lines[:-1]), lines[-1]
    assert (len(named), set(named.values()), last["uploaded"]) == (FILES + 1, {1}, FILES + 1)
    assert arrived(there) == {"0/first": b"content", **{f"{n % 10}/{n}": b"%d" % n for n in range(FILES)}}


def test_a_killed_watch_is_gone_on_with_and_two_are_never_at_it(watched: Path, there: Path, state: Path, tmp_path: Path) -> None:
    words = command(watched, f"file://{there}")
    mark(watched / "a")
    first = started(words, environment(state), tmp_path)
    wait_for(lambda: "a" in arrived(there), first)
    # Whether it was noted, too, cannot be seen from here: a line says so.
    assert first.stdout is not None
    assert json.loads(first.stdout.readline())["path"] == str(watched / "a")
    second = started(words, environment(state), tmp_path)
    assert second.stderr is not None
    assert b"watched by another process" in second.stderr.readline()
    mark(watched / "b")
    wait_for(lambda: "b" in arrived(there), first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    mark(watched / "c")
    wait_for(lambda: "c" in arrived(there), second)
    status, named, _ = ended(second)
    assert status == 0
    assert str(watched / "a") not in named
    assert named[str(watched / "c")] == 1
    assert arrived(there) == dict.fromkeys("abc", b"content")


def test_a_file_that_another_process_uploads_is_not_sent_again(
    servers: Callable[[str], Server], watched: Path, state: Path, tmp_path: Path
) -> None:
    server = servers("moto")
    server.new_bucket()
    content = os.urandom(3 * PART)
    with proxy(server) as between:
        server.via = between.port
        around_it: Mapping[str, str] = around(server, state)
        mark(watched / "a.bin", content)
        words: list[str | bytes | Path] = [VHPACK, "upload", watched / "a.bin", "--to", server.uri("run"), "-q"]
        own = started(words, around_it, tmp_path)
        process = started(command(watched, server.uri("run"), "--once"), around_it, tmp_path)
        out, err = process.communicate(timeout=SECONDS)
        said = own.communicate(timeout=SECONDS)[1]
        assert process.returncode == 0, err
        assert said == b""
        assert own.returncode == 0
        assert between.body_bytes("^PUT .*a.bin") <= len(content) + PART
    assert json.loads(out.splitlines()[-1])["failed"] == 0
    assert server.read("run/a.bin") == content


def test_a_version_is_sent_once_and_a_new_one_again(watched: Path, there: Path, state: Path, tmp_path: Path) -> None:
    words = command(watched, f"file://{there}", "--once")
    mark(watched / "a", b"1" * MIB)
    for content, times in ((b"1" * MIB, 1), (b"1" * MIB, 0), (b"22", 1)):
        if (watched / "a").read_bytes() != content:
            (watched / "a").chmod(0o644)
            mark(watched / "a", content)
        done = run(words, tmp_path, environment=environment(state), timeout=SECONDS)
        assert done.code == 0, done
        assert len(done.out.splitlines()) == times + 1
        assert arrived(there) == {"a": content}


def test_what_cannot_be_sent_is_said_and_the_rest_arrives(watched: Path, there: Path, state: Path, tmp_path: Path) -> None:
    mark(watched / "good")
    mark(Path(os.fsdecode(os.fsencode(watched) + b"/bad\xff")))
    mark(watched / "taken" / "file")
    (there / "taken").write_bytes(b"a file where a folder would be")
    done = run(command(watched, f"file://{there}", "--once"), tmp_path, environment=environment(state), timeout=SECONDS)
    assert done.code == 1, done
    assert arrived(there)["good"] == b"content"
    last = json.loads(done.out.splitlines()[-1])
    assert (last["uploaded"], last["failed"]) == (1, 2)
    assert "not UTF-8" in done.err
    assert "taken" in done.err


def test_a_folder_is_not_watched_into_itself(watched: Path, state: Path, tmp_path: Path) -> None:
    mark(watched / "a")
    (watched / "there").mkdir()
    (tmp_path / "link").symlink_to(watched)
    for to in (f"file://{watched}/there", f"file://{tmp_path}/link"):
        done = run(command(watched, to, "--once"), tmp_path, environment=environment(state), timeout=SECONDS)
        assert (done.code, "which is watched" in done.err) == (1, True), done
    assert arrived(watched) == {"a": b"content"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing", "--to", "file:///tmp"], 1, "cannot watch"),
        ([".", "--to", "gopher://x/y"], 1, "destination"),
        (["."], 2, "no destination"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], code: int, said: str, state: Path, tmp_path: Path) -> None:
    done = run([VHPACK, "watch", *words], tmp_path, environment={**environment(state), "VHPACK_UPLOAD_URI": ""}, timeout=SECONDS)
    assert done.code == code, done
    assert said in done.err
