"""Uploads to be disturbed: in this process, and by the command."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import vhpack
from tests.engine.command import VHPACK, Ended, run
from tests.upload.servers import Server, end_with_parent
from vhpack import uploading
from vhpack.runs import Destination

MIB = 1 << 20
PART = 5 * MIB
"""The smallest part that S3 takes."""
SECONDS = 60.0
"""After which an upload of these tests hangs."""


def send(server: Server, files: Mapping[str, Path], **options: object) -> list[vhpack.Upload]:
    """Begin the upload of each file under its key."""
    texts = {"part_size": str(PART), **{name: str(value) for name, value in options.items()}, **server.options()}
    pairs = [(str(path), server.uri(key)) for key, path in files.items()]
    return uploading.begin(pairs, Destination(server.uri(), texts))


def sent(server: Server, path: Path, key: str = "a.bin", **options: object) -> vhpack.Upload:
    """Upload one file and wait for its end."""
    (upload,) = send(server, {key: path}, **options)
    assert upload._wait(SECONDS), f"it hangs: {upload}"
    return upload


def check_arrived(server: Server, upload: vhpack.Upload, content: bytes, key: str = "a.bin") -> None:
    assert upload.error is None
    assert upload.state == "done"
    assert server.read(key) == content
    assert server.unfinished() == 0


def command(server: Server, path: Path | str, key_folder: str = "", *options: str) -> list[str | bytes | Path]:
    """The command that uploads a file into a folder of the bucket, by way of the environment that `around` gives."""
    return [VHPACK, "upload", path, "--to", server.uri(key_folder), "--option", f"part_size={PART}", "--json", "-q", *options]


def around(server: Server, state: Path) -> dict[str, str]:
    """The environment of such a command."""
    return {**os.environ, **server.environment(), "VHPACK_STATE_DIR": str(state), "PYTHONDONTWRITEBYTECODE": "1"}


def started(words: Sequence[str | bytes | Path], environment: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start a command that will not end by itself in time; it ends with the tests."""
    return subprocess.Popen(
        [os.fsencode(word) for word in words],
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
    )


def until(true: Callable[[], object]) -> None:
    """Wait for what is to come."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it does not come that far"
        time.sleep(0.01)


def resume(environment: Mapping[str, str], cwd: Path) -> Ended:
    return run([VHPACK, "resume", "--json", "-q"], cwd, environment=environment, timeout=SECONDS)


def recorded(environment: Mapping[str, str], cwd: Path) -> list[dict[str, object]]:
    """What is recorded of unfinished uploads."""
    ended = run([VHPACK, "uploads", "--json", "-q"], cwd, environment=environment, timeout=SECONDS)
    assert ended.code == 0, ended
    found = json.loads(ended.out)["uploads"]
    assert isinstance(found, list)
    return found
