"""Registries to try things in: each test that asks for `registry` runs in SQLite and in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.postgres import Server, running
from vhpack import registrar
from vhpack.registry import opening, schema


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def shared(postgres: Server) -> str:
    """A database that one test after the other uses: to make one, and to remove it, takes longer than most of them."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def registry(request: pytest.FixtureRequest, work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry that nothing is in; the working directory is the run's."""
    del work
    url = "registry.db" if request.param == "sqlite" else request.getfixturevalue("shared")
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    if request.param == "postgres":
        registrar.opened().write(_empty)
    yield request.param
    registrar.opened()._engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def own_registry(request: pytest.FixtureRequest, work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One whose tables a test may change."""
    del work
    url = "registry.db"
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        url = server.new_database()
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    yield request.param
    for opened in opening._open.values():
        opened._engine.dispose()
    opening._open.clear()


@pytest.fixture
def local(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry that a folder has by itself."""
    monkeypatch.delenv("VHPACK_REGISTRY_URL", raising=False)
    return work


def _empty(connection: opening.Connection, _: int) -> None:
    for table in reversed(schema.METADATA.sorted_tables):
        if table is not schema.PROJECTS:  # which never go
            connection.execute(table.delete())
