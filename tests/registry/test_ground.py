"""Databases that are locked, read-only, elsewhere, of another version, damaged, or none at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

import vhpack
from tests.engine.command import VHPACK, Ended, ordinary_user, run
from tests.engine.command import vhpack as command
from tests.registry.making import close, environment, made, write
from tests.registry.postgres import Server
from vhpack import registrar
from vhpack.errors import MissingExtraError, OptionError, PackError, RegistryError
from vhpack.registry import bulk, opening, schema
from vhpack.registry.records import Place

DATABASE = Path(".valohai/registry.db")


def filled() -> Path:
    """A registry with something in it, and no process that has it open."""
    vhpack.data.add(write("a.txt", "one"), alias="model")
    close()
    return DATABASE


@pytest.mark.usefixtures("local")
class TestFiles:
    @pytest.mark.parametrize(
        "content", [b"", b"no database, but a text of some length " * 50, b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 4080]
    )
    def test_what_is_no_registry_is_said_and_left_as_it_is(self, content: bytes) -> None:
        path = write(DATABASE, content)
        for call in (vhpack.aliases.list, vhpack.data.find, lambda: vhpack.data.add("a.txt"), lambda: made({"a.txt": "a"})):
            write("a.txt")
            with pytest.raises(RegistryError, match=r"cannot be used: it is (no registry|damaged)"):
                call()
        assert path.read_bytes() == content

    def test_a_database_of_another_program_is_said_and_left_as_it_is(self) -> None:
        DATABASE.parent.mkdir()
        with sqlite3.connect(DATABASE) as theirs:
            theirs.execute("CREATE TABLE datums (id)")
        theirs.close()
        before = DATABASE.read_bytes()
        with pytest.raises(RegistryError, match="it is no registry, but something else"):
            vhpack.aliases.list()
        close()
        with sqlite3.connect(DATABASE) as theirs:
            assert [row[0] for row in theirs.execute("SELECT name FROM sqlite_master")] == ["datums"]
        theirs.close()
        assert DATABASE.read_bytes() == before

    def test_a_folder_or_a_link_to_nowhere_in_its_place_is_said(self) -> None:
        DATABASE.mkdir(parents=True)
        with pytest.raises(RegistryError, match="no registry"):
            vhpack.aliases.list()
        DATABASE.rmdir()
        DATABASE.symlink_to("nowhere/else.db")
        with pytest.raises(RegistryError, match="no registry"):
            vhpack.data.add(write("a.txt"))

    @pytest.mark.parametrize("tenths", range(10))
    def test_one_that_was_cut_short_never_gives_less_without_a_word(self, tenths: int) -> None:
        path = filled()
        whole = path.read_bytes()
        assert not path.with_name("registry.db-wal").exists()
        path.write_bytes(whole[: len(whole) * tenths // 10])
        try:
            said = [alias.name for alias in vhpack.aliases.list()], [datum.name for datum in vhpack.data.find()]
        except RegistryError:
            return
        assert said == (["model"], ["a.txt"])

    def test_a_locked_one_is_waited_for_and_then_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = filled()
        monkeypatch.setenv("VHPACK_REGISTRY_URL", f"sqlite:///{path.absolute()}?timeout=0.2")
        writer = sqlite3.connect(path, isolation_level=None)
        try:
            writer.execute("BEGIN IMMEDIATE")
            assert [alias.name for alias in vhpack.aliases.list()] == ["model"], "readers wait for nobody"
            with pytest.raises(RegistryError, match="another process has been writing to it for too long"):
                vhpack.aliases.delete("model")
            with pytest.raises(RegistryError, match="another process"):
                made({"b.txt": "b"})
        finally:
            writer.rollback()
            writer.close()
        made({"b.txt": "b"})
        assert len(vhpack.data.find()) == 2

    def test_a_read_only_one_can_be_read_and_a_write_is_said(self, work: Path) -> None:
        filled()
        for path in (DATABASE, DATABASE.parent, work):
            path.chmod(path.stat().st_mode & 0o555)
        try:
            bound = ordinary_user()
            listed = _as(bound, "alias", "list")
            assert (listed.code, listed.out.split("\t")[0]) == (0, "model"), listed
            for arguments in (
                ("alias", "delete", "model"),
                ("alias", "set", "model", "a.txt"),
                ("data", "purge", "datum://model", "--force"),
            ):
                ended = _as(bound, *arguments)
                assert ended.code == 1, ended
                assert "cannot be written to" in ended.err, ended
                assert "Traceback" not in ended.err
        finally:
            for path in (work, DATABASE.parent, DATABASE):
                path.chmod(path.stat().st_mode | 0o200)
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]

    def test_one_that_was_removed_and_made_again_is_not_written_to_behind_its_name(self) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="old")
        os.rename(".valohai", "moved-away")
        write("b.txt", "two")
        ended = command("data", "add", "b.txt", "--alias", "new", cwd=Path.cwd())
        assert ended.code == 0, ended
        vhpack.data.add("b.txt", alias="newer")
        assert [alias.name for alias in vhpack.aliases.list()] == ["new", "newer"]

    def test_a_full_disk_registers_nothing_and_loses_nothing(self, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VHPACK_REGISTRY_URL", str(small_disk / "registry.db"))
        monkeypatch.setenv("VHPACK_STORE_DIR", str(small_disk / "store"))
        vhpack.data.add(write("a.txt", "one"), alias="model")
        write("large.bin", os.urandom(2 << 20))
        with pytest.raises(PackError, match=r"No space left|the disk is full"):
            vhpack.data.add("large.bin", alias="model")
        assert vhpack.data.find("large.bin") == []
        assert vhpack.data.gc().contents == 0
        assert list((small_disk / "store/.staged").iterdir()) == []
        assert vhpack.data.verify() == []
        close()

    def test_a_registry_is_made_whole_or_not_at_all_and_by_one_of_many(self) -> None:
        code = "import vhpack, sys; vhpack.data.add(sys.argv[1], alias=sys.argv[1])"
        names = [f"{number}.txt" for number in range(4)]
        for name in names:
            write(name, name)
        processes = [subprocess.Popen([sys.executable, "-c", code, name], env=environment()) for name in names]
        assert [process.wait(120) for process in processes] == [0] * 4
        assert [alias.name for alias in vhpack.aliases.list()] == names
        assert sorted(path.name for path in DATABASE.parent.iterdir() if not path.name.startswith("registry.db-")) == [
            "registry.db",
            "store",
        ]

    def test_the_log_of_one_that_was_moved_away_becomes_no_part_of_a_new_one(self) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="old")
        os.rename(DATABASE, "moved.db")
        write("b.txt", "two")
        with pytest.raises(
            RegistryError, match=r"registry\.db-wal has the last changes of a registry that was .*registry\.db; move"
        ):
            vhpack.data.add("b.txt")
        os.rename(f"{DATABASE}-wal", "moved.db-wal")
        vhpack.data.add("b.txt", alias="new")
        assert [alias.name for alias in vhpack.aliases.list()] == ["new"]
        moved = sqlite3.connect("moved.db")
        assert moved.execute("SELECT name FROM aliases").fetchall() == [("old",)]
        moved.close()

    def test_its_mode_is_that_of_any_file(self) -> None:
        filled()
        old = os.umask(0)
        os.umask(old)
        assert stat.S_IMODE(DATABASE.stat().st_mode) == 0o644 & ~old

    def test_a_write_ahead_log_is_used_where_it_works(self) -> None:
        filled()
        connection = sqlite3.connect(DATABASE)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()

    def test_on_another_machines_disk_a_rollback_journal_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mount = f"36 35 98:0 / {Path.cwd()} rw - nfs4 server:/export rw"
        assert opening.journal_mode(mount, str(Path.cwd() / ".valohai")) == "DELETE"
        monkeypatch.setattr(opening, "_journal", lambda path: opening.journal_mode(mount, os.path.dirname(path)))
        filled()
        connection = sqlite3.connect(DATABASE)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        connection.close()
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]

    def test_one_that_was_made_on_another_machines_disk_stays_without_a_write_ahead_log(self) -> None:
        """Where its disk is a local one, other machines may still reach it through that."""
        filled()
        connection = sqlite3.connect(DATABASE)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]
        close()
        connection = sqlite3.connect(DATABASE)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        connection.close()

    def test_one_whose_log_cannot_be_left_on_another_machines_disk_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        filled()
        other = sqlite3.connect(DATABASE)
        assert other.execute("SELECT count(*) FROM aliases").fetchone() == (1,)
        monkeypatch.setattr(opening, "_journal", lambda _: "DELETE")
        monkeypatch.setenv("VHPACK_REGISTRY_URL", f"sqlite:///{DATABASE.absolute()}?timeout=0.2")
        with pytest.raises(RegistryError, match="end the programs that have it open"):
            vhpack.aliases.list()
        other.close()
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "fuse.anything", "virtiofs", "lustre"])
def test_file_systems_of_other_machines_get_no_write_ahead_log(kind: str) -> None:
    mounts = f"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:40 / /home rw - {kind} server:/home rw"
    assert [opening.journal_mode(mounts, folder) for folder in ("/home/ann", "/homes", "/")] == ["DELETE", "WAL", "WAL"]


def test_values_that_no_database_keeps_are_said(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VHPACK_REGISTRY_URL")
    vhpack.data.add(write(work / "a.txt"), alias="model")
    calls = (
        lambda: vhpack.aliases.set("other", "datum://model", note="\udcff"),
        lambda: vhpack.data.find(tag="\udcff"),
        lambda: vhpack.data.add("a.txt", properties={"\udcff": 1}),
        lambda: vhpack.data.add("a.txt", properties={"a": {1}}),
        lambda: vhpack.data.add("a.txt", properties={"a": [{1}]}),
    )
    for call in calls:
        with pytest.raises(PackError):
            call()
    assert len(vhpack.data.find()) == 1
    assert [alias.name for alias in vhpack.aliases.list()] == ["model"]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("count", [1, 150])
def test_rows_that_no_table_takes_are_said_few_or_many(count: int) -> None:
    """Of a datum that is not there, and with a character that PostgreSQL has none of."""
    for tags in ([(0, str(number)) for number in range(count)], [(0, f"\0{number}") for number in range(count)]):
        with pytest.raises(RegistryError, match="cannot be used"):
            registrar.opened().write(lambda connection, _: bulk.insert(connection, schema.TAGS, ("datum", "tag"), tags))  # noqa: B023 - called at once
    assert vhpack.data.add(write("a.txt")).tags == ()


@pytest.mark.parametrize(
    ("url", "error", "match"),
    [
        ("mysql://host/name", OptionError, "registries are in SQLite"),
        ("sqlite://", OptionError, "names no file"),
        ("sqlite:///:memory:", OptionError, "names no file"),
        ("://", OptionError, "must be a path, sqlite"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", RegistryError, "cannot be used"),
        ("sqlite:////proc/nowhere/registry.db", RegistryError, "cannot be made"),
    ],
)
def test_an_address_that_means_nothing_is_said_without_its_password(
    work: Path, monkeypatch: pytest.MonkeyPatch, url: str, error: type[Exception], match: str
) -> None:
    write(work / "a.txt")
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    with pytest.raises(error, match=match) as caught:
        vhpack.data.add("a.txt")
    assert "secret" not in str(caught.value)


def test_postgres_without_its_driver_says_what_to_install(work: Path) -> None:
    ended = run(
        [sys.executable, "-c", "import sys; sys.modules['psycopg'] = None; import vhpack; vhpack.aliases.list()"],
        work,
        environment={"VHPACK_REGISTRY_URL": "postgresql://host/name"},
    )
    assert f"{MissingExtraError.__name__}: a registry in PostgreSQL needs psycopg: pip install 'vhpack[postgres]'" in ended.err


class TestVersions:
    """Both databases go through the same migrations, and end with the tables that the code thinks of."""

    def test_the_migrations_make_the_tables_that_the_code_uses(self, own_registry: str) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        with registrar.opened().reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True})
            assert compare_metadata(context, schema.METADATA) == [], own_registry

    def test_a_registry_of_a_newer_version_is_refused_and_left_as_it_is(self, own_registry: str) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="model")
        registrar.opened().write(
            lambda connection, _: connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
        )
        close()
        with pytest.raises(RegistryError, match=r"was made by a newer vhpack \(revision 9999\); upgrade this one"):
            vhpack.aliases.list()
        with pytest.raises(RegistryError, match="newer vhpack"):
            made({"a.txt": "a"})
        _set_version(own_registry, schema.HEAD)
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]

    def test_a_registry_of_the_first_version_gets_the_tables_of_models(
        self, own_registry: str, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        migrations = work / "migrations"
        shutil.copytree(Path(opening.__file__).parent / "migrations", migrations, ignore=shutil.ignore_patterns("__pycache__"))
        (migrations / "versions/second.py").unlink()
        config = opening._config()
        config.set_main_option("script_location", str(migrations))
        with monkeypatch.context() as patched:
            patched.setattr(opening, "_config", lambda: config)
            patched.setattr(schema, "HEAD", "0001")
            vhpack.data.add(write("a.txt", "one"), alias="model")
            close()
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"], own_registry
        assert vhpack.query_models() == []
        vhpack.Task.init("p", "t")
        vhpack.OutputModel(name="m").update_weights("a.txt", async_enable=False, upload_uri=work / "there")
        assert vhpack.Model("m").versions()[0].state == "stored"

    def test_a_registry_of_an_older_version_is_brought_up_to_date(
        self, own_registry: str, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a migration that there is not yet: one more column, as the next version may have it."""
        vhpack.data.add(write("a.txt", "one"), alias="model")
        migrations = work / "migrations"
        shutil.copytree(Path(opening.__file__).parent / "migrations", migrations, ignore=shutil.ignore_patterns("__pycache__"))
        (migrations / "versions/third.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '0003', '0002'\n"
            "def upgrade():\n    op.add_column('datums', sa.Column('colour', sa.Text))\n"
        )
        config = opening._config()
        config.set_main_option("script_location", str(migrations))
        monkeypatch.setattr(opening, "_config", lambda: config)
        monkeypatch.setattr(schema, "HEAD", "0003")
        close()
        assert [alias.name for alias in vhpack.aliases.list()] == ["model"]
        with registrar.opened().reading() as connection:
            assert connection.execute(text("SELECT name, colour FROM datums")).all() == [("a.txt", None)]
        if own_registry == "sqlite":
            assert vhpack.data.add("a.txt").name == "a.txt"


def test_an_empty_database_of_a_server_becomes_a_registry_though_many_ask_at_once(postgres: Server, work: Path) -> None:
    url = postgres.new_database()
    code = "import vhpack, sys; vhpack.data.add(sys.argv[1], alias=sys.argv[1])"
    names = [f"{number}.txt" for number in range(4)]
    for name in names:
        write(work / name, name)
    shared = {**environment(), "VHPACK_REGISTRY_URL": url}
    processes = [subprocess.Popen([sys.executable, "-c", code, name], env=shared) for name in names]
    assert [process.wait(120) for process in processes] == [0] * 4
    registry = opening.opened(Place(url, "default", str(work)))
    assert registry is not None
    with registry.reading() as connection:
        from vhpack.registry import aliases

        assert [alias.name for alias in aliases.listed(connection, registry.project(connection))] == names
    registry._engine.dispose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of connections that the server has closed
def test_a_server_that_went_away_is_said_and_asked_again(postgres: Server, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    url = postgres.new_database()
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    vhpack.data.add(write(work / "a.txt"), alias="model")
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )
    assert [alias.name for alias in vhpack.aliases.list()] == ["model"]
    registrar.opened()._engine.dispose()


def _as(bound: list[str], *arguments: str) -> Ended:
    return run([*bound, VHPACK, *arguments], Path.cwd())


def _set_version(kind: str, version: str) -> None:
    where = registrar.place()
    assert where is not None
    if kind == "sqlite":
        with sqlite3.connect(where.url.removeprefix("sqlite:///")) as connection:
            connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = ?", (version,))
        connection.close()
    else:
        import psycopg

        with psycopg.connect(where.url) as server:
            server.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'")
