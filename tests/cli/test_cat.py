"""`vhpack cat`: a member's bytes, and nothing else."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, vhpack
from tests.reading.made import FORMATS, LARGE, contents, make


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [LARGE, "empty", "ü ä.txt"])
def test_the_bytes_are_the_member_s(kind: str, name: str, work: Path) -> None:
    make(work / f"made.{kind}")
    done = subprocess.run([VHPACK, "cat", f"made.{kind}", name], cwd=work, capture_output=True, check=True)
    assert done.stdout == contents()[name]
    assert done.stderr == b""


@pytest.mark.parametrize("name", ["missing", "folder/"])
def test_what_has_no_bytes_is_one_line_and_status_1(name: str, work: Path) -> None:
    done = vhpack("cat", make(work / "made.zip"), name, cwd=work)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1


def test_damage_is_status_1(work: Path) -> None:
    path = work / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 5000)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"x" * 5000, b"x" * 4000 + b"y" * 1000))
    done = vhpack("cat", "made.zip", "a", cwd=work)
    assert done.code == 1
    assert "made.zip" in done.err


def test_a_reader_that_has_gone_is_no_traceback(work: Path) -> None:
    make(work / "made.zip")
    process = subprocess.Popen([VHPACK, "cat", "made.zip", LARGE], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert said == b""


@pytest.mark.parametrize("command", ['cat made.zip "ü ä.txt"', "list made.zip", "list -0 made.zip", "list --json made.zip"])
def test_what_nobody_could_read_is_no_success(command: str, work: Path) -> None:
    make(work / "made.zip")
    done = subprocess.run(["sh", "-c", f'"$0" {command} >&-', VHPACK], cwd=work, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "standard output is closed" in done.stderr
