"""A registry and a store of the test's own, a task, and a store that is slow or fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vhpack
from tests.upload.conftest import servers as servers  # noqa: PLC0414 - a fixture
from tests.upload.conftest import state as state  # noqa: PLC0414
from tests.upload.proxy import Proxy, proxy
from tests.upload.servers import Server
from vhpack import registrar, storing, tasks
from vhpack.registry import opening


@pytest.fixture(autouse=True)
def ground(work: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with nothing in it."""
    del state
    monkeypatch.delenv("VHPACK_REGISTRY_URL")
    monkeypatch.setattr(storing, "_keeper", None)
    for name, value in (("_open", None), ("_open_run", ""), ("_begun", 0), ("_prepared", None)):
        monkeypatch.setattr(tasks, name, value)
    yield work
    vhpack.OutputModel.set_default_upload_uri(None)
    for registry in opening._open.values():
        registry._engine.dispose()
    opening._open.clear()


@pytest.fixture
def task(ground: Path) -> vhpack.Task:
    del ground
    return vhpack.Task.init("cats", "train")


@pytest.fixture
def there(ground: Path) -> Path:
    """A folder to send to."""
    return ground / "there"


@pytest.fixture
def slow(servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A real S3 server behind a proxy that does as its `faults` say; models go to `s3://BUCKET`."""
    server = servers("moto")
    server.new_bucket()
    with proxy(server) as between:
        server.via = between.port
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.port}")
        vhpack.set_upload_destination(server.uri().rstrip("/"))
        yield between
        between.faults.clear()
        storing.wait(30, None)
        server.via = 0


def rows(table: str) -> int:
    """How many rows a table has."""
    from sqlalchemy import text

    registry = registrar.existing()
    if registry is None:
        return 0
    with registry.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)


def left_in_spool() -> list[str]:
    """What lies in the spool, besides locks."""
    return [str(path) for path in Path(".valohai/spool").rglob("*") if path.is_file() and path.name != "lock"]
