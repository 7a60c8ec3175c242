"""The servers that uploads go to, and a process that knows of no earlier upload."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.upload.servers import Server, running
from vhpack import outbox


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Starts each server once, when it is first asked for."""
    with contextlib.ExitStack() as stack:
        ground = tmp_path_factory.mktemp("servers")
        yield functools.cache(lambda kind: stack.enter_context(running(kind, ground)))


@pytest.fixture(params=["moto", "rclone", "webdav"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """Each server in turn, with an empty bucket."""
    chosen = servers(request.param)
    chosen.new_bucket()
    return chosen


@pytest.fixture(params=["moto", "rclone"])
def s3(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """Each server that speaks S3, with an empty bucket."""
    chosen = servers(request.param)
    chosen.new_bucket()
    return chosen


@pytest.fixture
def moto(servers: Callable[[str], Server]) -> Server:
    """The one of them that is most like Amazon, with an empty bucket."""
    server = servers("moto")
    server.new_bucket()
    return server


@pytest.fixture
def rclone(servers: Callable[[str], Server]) -> Server:
    """The one of them that checks signatures, with an empty bucket."""
    server = servers("rclone")
    server.new_bucket()
    return server


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records and profiles of the test's own, and an uploader that has done nothing."""
    folder = tmp_path / "state"
    monkeypatch.setenv("VHPACK_STATE_DIR", str(folder))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(outbox, "_own", None)
    return folder
