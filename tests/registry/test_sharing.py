"""One content store for several registries: no sweep of one takes away what another needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import vhpack
from tests.registry.making import ask, close, write
from tests.registry.postgres import Server
from vhpack.errors import RegistryError
from vhpack.registry.addresses import opened_as, parsed, public

pytestmark = pytest.mark.usefixtures("local")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setenv("VHPACK_STORE_DIR", os.path.abspath("store"))

    def use(registry: str) -> None:
        monkeypatch.setenv("VHPACK_REGISTRY_URL", registry)

    return use


def purge_all() -> None:
    for datum in vhpack.data.find():
        vhpack.data.purge(datum, force=True)


def test_what_another_registry_has_stays(at: Callable[[str], None]) -> None:
    at("ours.db")
    vhpack.data.add(write("shared.txt", "shared"))
    vhpack.data.add(write("ours.txt", "ours"))
    at("theirs.db")
    vhpack.data.add(write("shared.txt", "shared"))
    theirs = vhpack.data.add(write("theirs.txt", "theirs"))
    purge_all()
    assert vhpack.data.gc().contents == 0
    vhpack.data.add("theirs.txt")
    at("ours.db")
    assert vhpack.data.verify() == []
    assert vhpack.data.gc(unused_for=0, dry_run=True).contents == 2
    assert vhpack.data.gc(unused_for=0).contents == 2, "and what both have given up goes"
    at("theirs.db")
    assert [datum for datum, _ in vhpack.data.verify()] == []
    assert vhpack.data.get(theirs.id).purged is not None


@pytest.mark.parametrize("instead", ["nothing", "a new one", "damage"])
def test_a_registry_that_is_moved_away_finds_its_contents_when_it_comes_back(at: Callable[[str], None], instead: str) -> None:
    at("registry.db")
    vhpack.data.add(write("a.txt", "one"))
    close()
    os.rename("registry.db", "moved-away.db")
    if instead == "damage":
        write("registry.db", "damage")
    at("registry.db" if instead == "a new one" else "other.db")
    new = vhpack.data.add(write("b.txt", "two"))
    for call in (vhpack.data.gc, lambda: vhpack.data.purge(new)):
        with pytest.raises(RegistryError, match=r"which is also the store of the registry sqlite:///.*registry\.db") as caught:
            call()
    assert vhpack.data.get(new.id).purged is None
    ended = ask("data", "gc", "--unused", "--older-than", "0")
    assert (ended.code, ended.err.count("\n")) == (1, 1), ended
    note = Path(str(caught.value).partition("or remove ")[2].partition(" if nobody")[0])
    os.unlink(note)
    assert vhpack.data.gc().contents == 1, "nobody needs it, as was said"


def test_what_cannot_be_read_of_another_registry_keeps_everything(at: Callable[[str], None]) -> None:
    at("registry.db")
    vhpack.data.add(write("a.txt", "one"))
    (note,) = Path("store/.registries").iterdir()
    for content in (b"", b"[]", b"{}", b"\xff"):
        write(note.with_name("other.json"), content)
        with pytest.raises(RegistryError, match=r"other\.json, which says what other registry it is of, cannot be read"):
            vhpack.data.gc()


def test_books_that_were_taken_over_keep_the_contents_that_they_speak_of(at: Callable[[str], None]) -> None:
    at("ours.db")
    vhpack.data.add(write("a.txt", "one"))
    write("books.jsonl", ask("data", "export").out)
    at("theirs.db")
    assert ask("data", "import", "books.jsonl").code == 0
    at("ours.db")
    purge_all()
    at("theirs.db")
    assert vhpack.data.verify() == []


def test_a_registry_is_one_to_its_store_whoever_opens_it(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another user has noted could not be asked by this one, and nothing would ever be removed."""
    url = postgres.new_database()
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE bob SUPERUSER LOGIN")
    for user in ("vhpack", "bob:secret"):
        monkeypatch.setenv("VHPACK_REGISTRY_URL", url.replace("vhpack@", f"{user}@") + "&application_name=x")
        vhpack.data.add(write("a.txt"))
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("ALTER ROLE bob NOLOGIN")
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    assert vhpack.data.gc().contents == 0
    assert len(list(Path(".valohai/store/.registries").iterdir())) == 1
    assert "bob" not in next(Path(".valohai/store/.registries").iterdir()).read_text()
    close()


def test_another_database_of_the_same_server_is_asked_as_this_one_is() -> None:
    ours = parsed("postgresql://ann:secret@db/team?sslmode=require")
    assert opened_as("postgresql://db/other", ours) == "postgresql+psycopg://ann:secret@db/other?sslmode=require"
    assert opened_as("postgresql://elsewhere/other", ours) == "postgresql://elsewhere/other"
    assert opened_as("sqlite:////a/b.db", ours) == "sqlite:////a/b.db"
    assert public(parsed("postgresql://db/team?user=ann&password=secret&host=x")) == "postgresql://db/team?host=x"
