"""How a program with uploads under way forks, ends, fails and is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.engine.command import Ended, python
from tests.engine.trees import noise
from tests.upload.proxy import Fault, Proxy, proxy
from tests.upload.sending import MIB, PART, SECONDS, recorded, resume
from tests.upload.servers import Server

ROUNDS = 50
CONTENT = noise(PART + MIB, 1)
PACE = 3 * MIB
"""Bytes a second, so that the upload of a few lasts a few seconds."""

BEGIN = f"""
import os, sys, time
import vhpack
vhpack.set_upload_destination({{uri!r}}, part_size={PART})
(upload,) = vhpack.outputs().live_upload("model.bin")
print("begun", flush=True)
"""


@pytest.fixture
def site(servers: Callable[[str], Server], work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A slow S3, known to the environment, and a file among the outputs."""
    server = servers("moto")
    server.new_bucket()
    (work / "out").mkdir()
    (work / "out/model.bin").write_bytes(CONTENT)
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(work / "out"))
    with proxy(server, Fault("^PUT ", "slow", PACE, times=-1)) as between:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield Site(server, between, work)


class Site:
    def __init__(self, server: Server, between: Proxy, work: Path) -> None:
        self.server, self.between, self.work = server, between, work

    def program(self, rest: str) -> str:
        return BEGIN.format(uri=self.server.uri("run")) + rest

    def run(self, rest: str) -> Ended:
        return python(self.program(rest), cwd=self.work, timeout=SECONDS)

    def interrupted(self, rest: str, *, times: int) -> Ended:
        """Run a program and send it Ctrl-C, first when it has begun, then when it waits at its end."""
        with subprocess.Popen(
            [sys.executable, "-c", self.program(rest)], cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline() == b"begun\n"
            self.until_it_sends()
            heard = b""
            for number in range(times):
                if number:
                    while b"waiting for" not in heard:
                        line = child.stderr.readline()
                        assert line, f"it does not wait: {heard!r}"
                        heard += line
                child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=SECONDS)
        return Ended(child.returncode, out.decode(), (heard + err).decode())

    def until_it_sends(self) -> None:
        until = time.monotonic() + SECONDS
        while not self.between.body_bytes():
            assert time.monotonic() < until, "it sends nothing"
            time.sleep(0.01)

    def arrived(self) -> bool:
        found = self.server.read("run/model.bin")
        assert found in (None, CONTENT), "half a file under its name"
        return found is not None


def test_the_end_of_the_program_waits_and_says_so(site: Site) -> None:
    ended = site.run("")
    assert (ended.code, site.arrived()) == (0, True), ended
    assert re.fullmatch(r"(vhpack: waiting for 1 upload: .* sent, .*/s; for \d+ s more at most\n)+", ended.err), ended


def test_a_program_that_has_waited_says_nothing(site: Site) -> None:
    ended = site.run("assert upload.wait() and upload.state == 'done'; print(len(vhpack.wait_for_uploads().done))")
    assert (ended.code, ended.out, ended.err, site.arrived()) == (0, "begun\n1\n", "", True)


@pytest.mark.parametrize(("rest", "code"), [("sys.exit(3)", 3), ("raise RuntimeError('boom')", 1)])
def test_a_program_that_fails_still_waits_and_keeps_its_status(site: Site, rest: str, code: int) -> None:
    ended = site.run(rest)
    assert (ended.code, site.arrived()) == (code, True), ended
    assert "waiting for 1 upload" in ended.err
    assert ("boom" in ended.err) == (code == 1)


def test_what_is_unfinished_when_time_is_up_is_named_and_resumed(
    site: Site, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VHPACK_EXIT_TIMEOUT", "0.5")
    ended = site.run("while not upload.bytes_total: time.sleep(0.01)")
    assert (ended.code, site.arrived()) == (120, False), ended
    assert "1 upload is unfinished" in ended.err
    assert f"VHPACK_STATE_DIR={state} vhpack resume" in ended.err
    assert "model.bin" in ended.err
    site.between.faults.clear()
    again = resume(os.environ, site.work)
    assert (again.code, site.arrived()) == (0, True), again
    assert recorded(os.environ, site.work) == []


def test_an_upload_that_failed_unheard_is_told_at_the_end(site: Site) -> None:
    site.between.faults[:] = [Fault("^(PUT|POST) ", "status", 403, times=-1, body=b"<Error><Code>AccessDenied</Code></Error>")]
    ended = site.run("")
    assert ended.code == 120, ended
    assert ended.err.count("model.bin") >= 1
    assert "Traceback" not in ended.err
    heard = site.run(
        "try: upload.wait()\nexcept PermissionError as error: print(type(error).__name__, error.path == upload.path, error.uri == upload.uri)"
    )
    assert (heard.code, heard.out, heard.err) == (0, "begun\nUploadDeniedError True True\n", "")


def test_the_first_ctrl_c_leaves_the_wait_and_the_upload_goes_on(site: Site) -> None:
    ended = site.interrupted("vhpack.wait_for_uploads()", times=1)
    assert (ended.code, site.arrived()) == (-signal.SIGINT, True), ended
    assert "KeyboardInterrupt" in ended.err
    assert "waiting for 1 upload" in ended.err


@pytest.mark.parametrize("rest", ["vhpack.wait_for_uploads()", "upload.wait()", "time.sleep(60)"])
def test_the_second_ctrl_c_cancels(site: Site, rest: str) -> None:
    ended = site.interrupted(rest, times=2)
    assert (ended.code, site.arrived()) == (-signal.SIGINT, False), ended
    assert "the uploads are cancelled" in ended.err
    site.between.faults.clear()
    assert resume(os.environ, site.work).code == 0
    assert not site.arrived(), "what was cancelled is not resumed"
    assert site.server.unfinished() == 0
    assert (site.work / "out/model.bin").read_bytes() == CONTENT


def test_two_interrupted_waits_cancel(site: Site) -> None:
    rest = """
import signal, threading
for number in range(2):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        upload.wait()
    except KeyboardInterrupt:
        print("left", upload.state, flush=True)
try:
    upload.wait()
except vhpack.UploadCancelledError:
    print("cancelled")
"""
    ended = site.run(rest)
    said = ended.out.split("\n")
    assert said[1].startswith("left "), ended
    assert said[1] != "left cancelled"
    assert (said[3], ended.code, site.arrived()) == ("cancelled", 0, False)


def test_no_call_but_wait_holds_up_a_training_loop(site: Site) -> None:
    """Compared with a call that does nothing under the same load; the limit is for machines that do much else."""
    rest = """
import gc
gc.disable()
def took(call):
    times = []
    for _ in range(20):
        began = time.perf_counter(); call(); times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]
for name in ("state", "bytes_sent", "bytes_total", "rate", "eta", "checksum", "error"):
    print(name, took(lambda: getattr(upload, name)) < 0.05)
print("again", took(lambda: vhpack.outputs().live_upload("model.bin")) < 0.05)
print("uploads", took(vhpack.uploads) < 0.05)
"""
    ended = site.run(rest)
    assert (ended.code, "False" in ended.out, ended.out.count("True")) == (0, False, 9), ended


FORKS = """
import signal
def child(number):
    assert vhpack.uploads() == [], vhpack.uploads()
    report = vhpack.wait_for_uploads(timeout=10)
    assert (report.done, report.failed, report.pending) == ([], [], []), report
    if number == 0:
        with open("out/child.bin", "wb") as file:
            file.write(b"child" * 1000)
        (mine,) = vhpack.outputs().live_upload("child.bin")
        assert mine.wait(30)
    if number % 2:
        os._exit(0)
    sys.exit(0)
began = upload.state
for round in range(ROUNDS):
    children = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            child(number if round % 10 == 0 else number + 8)
        children.append(pid)
    for pid in children:
        _, status = os.waitpid(pid, 0)
        assert status == 0, (round, status)
assert began != "failed"
assert upload.wait(60)
"""


def test_forks_during_an_upload_neither_hang_nor_send_it_again(site: Site) -> None:
    site.between.faults[0].amount = PACE // 2
    rounds = ROUNDS * 4 if SOAK else ROUNDS
    ended = python(site.program(FORKS.replace("ROUNDS", str(rounds))), cwd=site.work, timeout=SECONDS * 2)
    assert (ended.code, ended.err) == (0, ""), ended
    assert site.arrived()
    again = site.between.body_bytes(r"^PUT .*model\.bin") - len(CONTENT)
    assert again < 1000, "a child has sent it, too"
    assert site.server.read("run/child.bin") == b"child" * 1000


def test_a_child_may_import_what_an_upload_was_importing_when_it_was_forked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    package = site.work / "packages/botocore"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(0.5)\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    rest = """
import signal
while not os.path.exists("importing"):
    time.sleep(0.01)
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    import botocore
    os._exit(0)
print(os.waitpid(pid, 0)[1], flush=True)
os._exit(0)
"""
    assert site.run(rest).out == "begun\n0\n"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_of_multiprocessing_finish_their_own_uploads(site: Site, method: str) -> None:
    """Such processes end without the interpreter's own end."""
    (site.work / "job.py").write_text(
        f"""
import multiprocessing, vhpack
def work():
    vhpack.set_upload_destination({site.server.uri("run")!r}, part_size={PART})
    vhpack.outputs().live_upload("model.bin")
if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join(60)
    print(process.exitcode)
"""
    )
    ended = python("import runpy; runpy.run_path('job.py', run_name='__main__')", cwd=site.work) if method == "fork" else None
    if ended is None:
        done = subprocess.run([sys.executable, "job.py"], cwd=site.work, capture_output=True, text=True, timeout=SECONDS)
        ended = Ended(done.returncode, done.stdout, done.stderr)
    assert (ended.out, site.arrived()) == ("0\n", True), ended


def test_a_worker_whose_upload_failed_says_so_by_its_status(site: Site) -> None:
    site.between.faults[:] = [Fault("^(PUT|POST) ", "status", 403, times=-1, body=b"<Error><Code>AccessDenied</Code></Error>")]
    rest = """
import multiprocessing
def work():
    vhpack.set_upload_destination(DESTINATION)
    vhpack.outputs().live_upload("model.bin")
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(60)
print(process.exitcode, flush=True)
os._exit(0)
"""
    ended = site.run(rest.replace("DESTINATION", repr(site.server.uri("worker"))))
    assert ended.out == "begun\n120\n", ended


def test_a_handle_of_the_parent_says_whose_it_is(site: Site) -> None:
    rest = """
pid = os.fork()
if pid == 0:
    try:
        upload.state
    except vhpack.UploadError as error:
        print("process" in str(error), "process" in repr(upload), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert site.run(rest).out == "begun\nTrue True\n"
