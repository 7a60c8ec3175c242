"""Two at once: what one is about to refer to, the other does not give up; and processes that fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection

import vhpack
from tests.registry.making import close, write
from tests.registry.test_many import ended, forked
from vhpack import registrar
from vhpack.errors import ContentError, RegistryError
from vhpack.registry import aliases, datums, opening, sweeping
from vhpack.registry import runs as rows
from vhpack.registry.names import Reference
from vhpack.registry.runs import Facts, Request, Wanted

Work = Callable[[Connection, int], object]
SECONDS = 60
A_WHILE = 0.3


def between(registry: str, first: Work, meanwhile: Callable[[], object], then: Work, *, snapshot: bool = False) -> Future[object]:
    """Do half of a transaction, let others begin something else, and do the rest; what the others come to."""
    del registry
    with ThreadPoolExecutor(1) as other:
        begun: list[Future[object]] = []

        def work(connection: Connection, project: int) -> None:
            first(connection, project)
            if not begun:
                begun.append(other.submit(meanwhile))
                threading.Event().wait(A_WHILE)  # it either waits for this transaction, or is through by then
            then(connection, project)

        registrar.opened().write(work, snapshot=snapshot)
        begun[0].exception(SECONDS)
    return begun[0]


def numbered(datum: vhpack.data.Datum) -> int:
    registry = registrar.opened()
    with registry.reading() as connection:
        return datums.number_of(connection, registry.project(connection), Reference("datum", datum.id), "here")


@pytest.mark.parametrize("how", ["purge", "gc"])
def test_what_an_alias_is_about_to_mean_is_not_given_up(registry: str, how: str) -> None:
    datum = vhpack.data.add(write("a.txt"))
    number = numbered(datum)

    def move(connection: Connection, project: int) -> None:
        aliases.move(connection, project, "model", number, aliases.Reason("me", "set"))

    def give_up() -> object:
        return vhpack.data.purge(datum) if how == "purge" else vhpack.data.gc(unused_for=0)

    found = between(registry, lambda connection, _: datums.usable(connection, number, "model"), give_up, move)
    if how == "purge":
        assert isinstance(found.exception(), RegistryError)
    else:
        swept = found.result()
        assert isinstance(swept, sweeping.Swept)
        assert swept.purged == ()
    assert vhpack.aliases.get("model").datum == datum
    assert vhpack.data.verify() == []


def test_what_a_run_is_about_to_be_given_is_not_given_up(registry: str) -> None:
    datum = vhpack.data.add(write("a.txt"))
    request = Request(Facts("run", "use"), (Wanted("data", (datum.uri,)),), {}, "here")
    found = between(
        registry,
        lambda connection, project: rows.pin(connection, project, request),
        lambda: vhpack.data.gc(unused_for=0),
        lambda *_: None,
        snapshot=True,
    )
    swept = found.result()
    assert isinstance(swept, sweeping.Swept)
    assert swept.purged == ()
    assert vhpack.data.verify() == []


def test_a_rollback_undoes_the_last_change_and_not_one_before(registry: str) -> None:
    made = [vhpack.data.add(write(f"{name}.txt", name), alias="model") for name in ("one", "two")]
    three = vhpack.data.add(write("three.txt", "three"))
    number = numbered(three)

    def move(connection: Connection, project: int) -> None:
        aliases.move(connection, project, "model", number, aliases.Reason("me", "set"))

    between(registry, move, lambda: vhpack.aliases.rollback("model"), lambda *_: None)
    assert vhpack.aliases.get("model").datum == made[1]
    assert [change.new for change in vhpack.aliases.history("model")] == [made[0].id, made[1].id, three.id, made[1].id]


@pytest.mark.usefixtures("registry")
def test_a_rollback_to_what_was_given_up_is_refused() -> None:
    first = vhpack.data.add(write("one.txt", "one"), alias="model")
    second = vhpack.data.add(write("two.txt", "two"), alias="model")
    vhpack.data.purge(first, force=True)
    with pytest.raises(ContentError, match="was purged"):
        vhpack.aliases.rollback("model")
    assert vhpack.aliases.get("model").datum == second


@pytest.mark.usefixtures("local")
def test_a_fork_inherits_no_open_database() -> None:
    """SQLite would take the parent's locks for the child's own, and others would check its log away from under it."""
    vhpack.data.add(write("a.txt"), alias="model")
    assert vhpack.aliases.get("model").name == "model"

    def look() -> None:
        names = [
            os.readlink(f"/proc/self/fd/{name}")
            for name in os.listdir("/proc/self/fd")
            if Path(f"/proc/self/fd/{name}").is_symlink()
        ]
        print([name for name in names if "registry.db" in name])
        vhpack.aliases.set("child", "datum://model")

    assert ended(forked(look)) == (0, "[]\n")
    assert vhpack.aliases.get("child").name == "child"


@pytest.mark.usefixtures("local")
def test_a_fork_while_another_thread_opens_the_registry_does_not_wait_for_ever() -> None:
    vhpack.data.add(write("a.txt"), alias="model")
    with opening._lock:  # as by a thread that the child does not have
        child = forked(lambda: print(vhpack.aliases.get("model").name))
    assert ended(child) == (0, "model\n")


@pytest.mark.usefixtures("local")
def test_who_may_only_read_sees_each_change_and_never_half_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    first = vhpack.data.add(write("one.txt", "one"), alias="model")
    close()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "_is_immutable", lambda path: not os.path.exists(f"{path}-wal"))
        reading = registrar.opened()
        assert vhpack.aliases.get("model").datum == first
        second = write_as_another(monkeypatch)
        assert vhpack.aliases.get("model").datum == vhpack.data.get(second)
        with (  # noqa: PT012 - it is the end that raises
            pytest.raises(RegistryError, match="was written to while it was read; read it again"),
            reading.reading() as connection,
        ):
            aliases.listed(connection, 1)
            write_as_another(monkeypatch)
    close()


def write_as_another(monkeypatch: pytest.MonkeyPatch) -> str:
    """By a process that may write."""
    del monkeypatch
    code = (
        "import os, vhpack; open('new.txt', 'w').write(os.urandom(9).hex()); print(vhpack.data.add('new.txt', alias='model').id)"
    )
    from tests.registry.making import script

    done = script(Path.cwd(), code)
    assert done.code == 0, done
    return done.out.strip()
