"""Other people's readers, each asked in the way that makes it strictest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.conftest import needs

Reader = Callable[[Path], None]
LIMIT_SECONDS = 300


def unzip(archive: Path) -> None:
    """Info-ZIP checks every CRC and finds no error and nothing to warn of."""
    needs("unzip")
    done = _ask(["unzip", "-tqq", str(archive)])
    assert done.returncode == 0, _words(done)
    assert not done.stderr, _words(done)


def seven_zip(archive: Path) -> None:
    """7-Zip tests it, and neither warns nor finds anything odd about headers or tail."""
    needs("7z")
    done = _ask(["7z", "t", "-bd", str(archive)])
    words = _words(done)
    assert done.returncode == 0, words
    assert b"Everything is Ok" in done.stdout, words
    assert b"warning" not in (done.stdout + done.stderr).lower(), words


def bsdtar_list(archive: Path) -> None:
    """libarchive lists as many members as the central directory has; it writes a newline in a name as backslash n."""
    needs("bsdtar")
    done = _ask(["bsdtar", "-tf", str(archive)])
    assert done.returncode == 0, _words(done)
    assert not done.stderr, _words(done)
    with zipfile.ZipFile(archive) as reader:
        assert done.stdout.count(b"\n") == len(reader.namelist())


def bsdtar_stream(archive: Path) -> None:
    """libarchive reads it from a pipe, where it has the local headers only, and gets every byte."""
    needs("bsdtar")
    wanted = hashlib.sha256()
    with zipfile.ZipFile(archive) as reader:
        for member in reader.infolist():
            with reader.open(member) as content:
                while block := content.read(1 << 20):
                    wanted.update(block)
    with (
        subprocess.Popen(["cat", str(archive)], stdout=subprocess.PIPE) as pipe,
        subprocess.Popen(["bsdtar", "-xOf", "-"], stdin=pipe.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading,
    ):
        assert reading.stdout is not None
        assert reading.stderr is not None
        got = hashlib.sha256()
        while block := reading.stdout.read(1 << 20):
            got.update(block)
        errors = reading.stderr.read()
        code = reading.wait(LIMIT_SECONDS)
    assert code == 0, errors
    assert not errors, errors
    assert got.digest() == wanted.digest(), "the streamed bytes are other than the archive's"


def jar_file(archive: Path) -> None:
    """Java lists it by its central directory."""
    needs("jar")
    done = _ask(["jar", "tf", str(archive)])
    assert done.returncode == 0, _words(done)
    assert done.stdout.count(b"\n") == _lines_of_names(archive)


def jar_stream(archive: Path) -> None:
    """Java reads it as a stream: local headers only, every CRC checked on the way."""
    needs("jar")
    with archive.open("rb") as file:
        done = _ask(["jar", "t"], stdin=file.fileno())
    assert done.returncode == 0, _words(done)
    assert done.stdout.count(b"\n") == _lines_of_names(archive)


def python_zipfile(archive: Path) -> None:
    """Python's own reader finds every CRC right."""
    with zipfile.ZipFile(archive) as reader:
        assert reader.testzip() is None
        assert reader.comment == b""


READERS: dict[str, Reader] = {
    "unzip": unzip,
    "7z": seven_zip,
    "bsdtar": bsdtar_list,
    "bsdtar from a pipe": bsdtar_stream,
    "jar": jar_file,
    "jar from a stream": jar_stream,
    "zipfile": python_zipfile,
}


def _lines_of_names(archive: Path) -> int:
    """Lines that jar prints: a newline inside a name makes one more."""
    with zipfile.ZipFile(archive) as reader:
        return sum(1 + name.count("\n") for name in reader.namelist())


def _ask(command: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return subprocess.run(command, stdin=stdin, capture_output=True, env=environment, timeout=LIMIT_SECONDS)


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    return f"exit {done.returncode}\n{os.fsdecode(done.stdout[-2000:])}\n{os.fsdecode(done.stderr[-2000:])}"
