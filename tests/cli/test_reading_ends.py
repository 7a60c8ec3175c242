"""Readers that take long are ended by a signal at once, whatever they are at, and leave no half file."""

import gzip
import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.cli.test_ends import LAST_CAUGHT, catches, wait_until
from tests.engine.command import VHPACK

HUGE = 1 << 40
PART = 64 << 20

VERBS = {
    "list": ["list", "slow.tar.gz"],
    "open to verify": ["verify", "slow.tar.gz"],
    "verify": ["verify", "huge.tar"],
    "extract": ["extract", "huge.tar", "-d", "out"],
    "cat": ["cat", "huge.tar", "large"],
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar whose member is a hole of a TiB, and a tar.gz that unpacks to 12 GiB; neither takes room."""
    folder = tmp_path_factory.mktemp("archives")
    header = tarfile.TarInfo("large")
    header.size = HUGE
    with (folder / "huge.tar").open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + HUGE + 1024)
    header.size = 200 * PART
    part = gzip.compress(bytes(PART), 1)
    parts = [gzip.compress(header.tobuf(tarfile.GNU_FORMAT)), *[part] * 200, gzip.compress(bytes(1024))]
    (folder / "slow.tar.gz").write_bytes(b"".join(parts))
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_ends_a_reader_with_its_status(verb: str, number: signal.Signals, archives: Path, work: Path) -> None:
    for name in os.listdir(archives):
        (work / name).symlink_to(archives / name)
    process = subprocess.Popen([VHPACK, *VERBS[verb]], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    wait_until(lambda: catches(process, LAST_CAUGHT))
    if verb == "cat":  # which writes to a pipe that is full by the time the signal comes
        assert process.stdout.read(1) == b"\0"
    else:
        wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1)
    process.send_signal(number)
    wait_until(lambda: process.poll() is not None)
    _, said = process.communicate()
    assert process.returncode == 128 + number
    assert said.startswith(b"Error: interrupted")
    assert said.count(b"\n") == 1
    assert not (work / "out").exists() or os.listdir(work / "out") == []
