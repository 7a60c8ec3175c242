"""However it ends, `vhpack` says so in its exit status, cleans up, and shows no traceback."""

import os
import pty
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, compress

DEADLINE = 60.0  # for what takes milliseconds, on a machine that may be busy
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LAST_CAUGHT = signal.SIGHUP  # the last that vhpack takes over; Python itself has a handler for SIGINT from its start on


SLOWLY = ["--codec", "deflate", "--level", "12", "--jobs", "2"]


def write_work(folder: Path, files: int = 32) -> None:
    """Write what two threads deflate for some seconds at the highest level, when it is 32 files."""
    words = [os.urandom(6) for _ in range(256)]
    content = b"".join(words[byte] for byte in os.urandom(640_000))
    folder.mkdir()
    for number in range(files):
        (folder / str(number)).write_bytes(content)


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def catches(process: subprocess.Popen[bytes], number: int) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_list_is_read_ends_with_its_status(number: signal.Signals, work: Path) -> None:
    process = subprocess.Popen(
        [VHPACK, "compress", "--files-from", "-", "-o", "z.zip"],
        cwd=work,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: catches(process, LAST_CAUGHT))
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number
    assert b"Traceback" not in said
    assert os.listdir(work) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_packing_leaves_everything_as_it_was(number: signal.Signals, work: Path) -> None:
    write_work(work / "big")
    before = sorted((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in (work / "big").iterdir())
    process = subprocess.Popen([VHPACK, "compress", "big", "-o", "z.zip", *SLOWLY], cwd=work, stderr=subprocess.PIPE)
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1)
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number
    assert b"Traceback" not in said
    assert b"nothing is lost" in said
    assert os.listdir(work) == ["big"]
    after = sorted((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in (work / "big").iterdir())
    assert after == before


def test_a_hangup_that_is_ignored_stays_ignored(work: Path) -> None:
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$0" compress --files-from - -o z.zip', VHPACK],
        cwd=work,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: catches(process, signal.SIGTERM) and not catches(process, signal.SIGHUP))
    process.send_signal(signal.SIGHUP)
    (work / "a").write_text("x")
    _, said = process.communicate(b"a\n", timeout=DEADLINE)
    assert process.returncode == 0, said


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "d", "--dry-run"], ["compress", "d", "--json"], ["--version"]])
def test_a_reader_that_has_gone_is_no_traceback(arguments: list[str], work: Path) -> None:
    (work / "d").mkdir()
    for number in range(1500):
        (work / "d" / f"a rather long name, so that a pipe does not take all of them {number}").touch()
    process = subprocess.Popen([VHPACK, *arguments], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(DEADLINE) == 1
    assert b"Traceback" not in said
    assert b"Exception" not in said
    assert b"BrokenPipe" not in said


def test_a_full_disk_under_stdout_is_a_failure_that_is_said(work: Path) -> None:
    (work / "a").write_text("x")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([VHPACK, "compress", "a", "--json"], cwd=work, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"cannot write to standard output" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed: str, work: Path) -> None:
    (work / "a").write_text("x")
    done = subprocess.run(["sh", "-c", f'"$0" compress a -o z.zip {closed}', VHPACK], cwd=work, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (work / "z.zip").exists()
    assert (work / "a").read_text() == "x"


def test_an_unknown_locale_is_no_obstacle(work: Path) -> None:
    (work / "ä").write_text("x")
    done = compress(
        "ä",
        "-v",
        "-o",
        "z.zip",
        cwd=work,
        environment={"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert done.code == 0, done.err
    assert "Traceback" not in done.err


class Terminal:
    """A terminal that vhpack has its stderr on."""

    def __init__(self, arguments: list[str], work: Path, program: Sequence[str | Path] = (VHPACK,)) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        self.process = subprocess.Popen(
            [*program, *arguments], cwd=work, stderr=theirs, stdin=subprocess.DEVNULL, env=environment
        )
        os.close(theirs)

    def got(self, until: str | None = None) -> str:
        """What has been written to it, to the end or until it holds a text."""
        got = b""
        while until is None or until.encode() not in got:
            try:
                got += os.read(self._ours, 65536)
            except OSError:  # on Linux, how a terminal ends
                return got.decode(errors="replace")
        return got.decode(errors="replace")

    def status(self) -> int:
        """Wait for the end of the process."""
        os.close(self._ours)
        return self.process.wait(DEADLINE)


def test_a_terminal_gets_a_bar_and_is_left_as_it_was(work: Path) -> None:
    write_work(work / "big")
    terminal = Terminal(["compress", "big", "-o", "z.zip", *SLOWLY], work)
    assert "/32 files" in terminal.got(until="/32 files")
    terminal.process.send_signal(signal.SIGINT)
    rest = terminal.got()
    assert terminal.status() == 130
    assert "\x1b[?25h" in rest  # the cursor is back
    assert "nothing is lost" in rest.splitlines()[-1]


def test_a_terminal_that_goes_away_ends_no_pack(work: Path) -> None:
    """As when the connection drops of a shell that was told to keep its children."""
    write_work(work / "big", files=8)
    program = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", VHPACK]
    terminal = Terminal(["compress", "big", "-o", "z.zip", "--remove-originals", *SLOWLY], work, program=program)
    terminal.got(until="/8 files")

    assert terminal.status() == 0
    with zipfile.ZipFile(work / "z.zip") as archive:
        assert len(archive.namelist()) == 8
        assert archive.testzip() is None


def test_a_short_pack_draws_no_bar(work: Path) -> None:
    (work / "a").write_text("x")
    terminal = Terminal(["compress", "a", "-o", "z.zip"], work)
    got = terminal.got()
    assert terminal.status() == 0
    assert len(got.splitlines()) == 1
    assert "z.zip: 1 file, " in got


def test_a_quiet_terminal_stays_empty(work: Path) -> None:
    (work / "a").write_text("x")
    terminal = Terminal(["compress", "a", "-q", "-o", "z.zip"], work)
    assert terminal.got() == ""
    assert terminal.status() == 0


def test_a_pipe_gets_no_bar(work: Path) -> None:
    write_work(work / "big", files=4)
    said = compress("big", "-o", "z.zip", *SLOWLY, cwd=work).err
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said
