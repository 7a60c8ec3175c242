"""Registries to try things in: each test that asks for `registry` runs in SQLite and in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.postgres import Server, running
from vhpack import registrar


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Server) -> str:
    """The name of a database that has the tables."""
    from vhpack.registry.opening import opened
    from vhpack.registry.records import Place

    url = postgres.new_database()
    registry = opened(Place(url, "default", "/nowhere"))
    assert registry is not None
    registry._engine.dispose()
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture(params=["sqlite", "postgres"])
def registry(request: pytest.FixtureRequest, work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry that nothing is in; the working directory is the run's."""
    url = "registry.db"
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        url = server.new_database(request.getfixturevalue("template"))
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    yield request.param
    registrar.opened()._engine.dispose()


@pytest.fixture
def local(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry that a folder has by itself."""
    monkeypatch.delenv("VHPACK_REGISTRY_URL", raising=False)
    return work
