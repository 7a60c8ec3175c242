"""A database as a registry: found or made, brought to this version's tables, and read and written in transactions."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import sqlite3
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc, select

from vhpack.errors import MissingExtraError, PackError, RegistryError
from vhpack.registry import addresses, schema
from vhpack.registry.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from sqlalchemy import Connection as Connection  # noqa: PLC0414 - for those who hand in work
    from sqlalchemy import Engine
    from sqlalchemy.engine import URL

    from vhpack.registry.records import Place

    Found = TypeVar("Found")

if int(sa.__version__.partition(".")[0]) < 2 or importlib.util.find_spec("alembic") is None:  # noqa: PLR2004
    raise ImportError(f"SQLAlchemy is {sa.__version__}, or Alembic is missing")

_PATIENCE = 120.0  # seconds that a write waits for others': fifty runs may end at once, each with 200,000 files of some 2 s
_TRIES = 20
_CACHE = 64 << 10  # KiB of SQLite's pages, at most and only when there are so many
_CONNECT = 10  # seconds
_UPGRADING = 0x766870  # the key of PostgreSQL's advisory lock: one process upgrades, the others wait
_AGAIN = frozenset(
    {"40001", "40P01", "23505"}
)  # SQLSTATEs of transactions that met another, and of rows that it was first to make
# File systems of other machines, where SQLite's shared memory does not work; a rollback journal needs only locks.
_REMOTE = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "afs", "ceph", "lustre", "gpfs", "beegfs", "pvfs2"),
        *("ocfs2", "gfs2"),
    }
)
_ROLLBACK = "DELETE"
_SAID = (
    ("database is locked", "another process has been writing to it for too long; try again when that has ended"),
    ("readonly database", "it cannot be written to; see to its permissions and those of its folder"),
    ("unable to open", "it cannot be opened; see to its permissions and those of its folder"),
    ("unsupported file format", "it is no registry, or of a SQLite that is newer than this one"),
    ("not a database", "it is no registry, but something else; move it away, or name another one in VHPACK_REGISTRY_URL"),
    ("malformed", "it is damaged; bring it back from a copy, or move it and its -wal away to begin a new one"),
    ("database or disk is full", "the disk is full; make room, and do it again"),
    ("disk I/O error", "the disk cannot be read or written; see to it"),
)


class Registry:
    """An open registry. Its transactions may be used from any thread, and after a fork."""

    def __init__(self, engine: Engine, place: Place, shown: str) -> None:
        self._engine = engine
        self._process = os.getpid()
        self.place = place
        self.shown = shown
        """What it is called in sentences: a path, or a URL without a password."""
        self.store = Store(place.store)
        self.has_said_so = False
        """The store knows of it; see `sharing`."""
        self._identity = self._found() if self.is_sqlite else None
        self._number = 0
        self._only_read = self.is_sqlite and isinstance(engine.pool, sa.NullPool)

    @property
    def address(self) -> str:
        """Where it is, in the same words whoever has opened it."""
        return addresses.public(self._engine.url)

    def opened_as(self, address: str) -> str:
        """Return the URL of another registry, as it can be opened from here."""
        return addresses.opened_as(address, self._engine.url)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self._engine.dialect.name == "sqlite"

    def is_current(self) -> bool:
        """Whether the file of its name still is the one that was opened: what is written to a removed one is lost."""
        return not self.is_sqlite or self._identity == self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.shown)
        except OSError:
            return None
        return (status.st_dev, status.st_ino)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection on which everything is read from one moment's state."""
        before = self._state()
        with self._telling(), self._connect(writes=False) as connection, connection.begin():
            yield connection
        if before != self._state():
            # Whoever may not write there cannot lock it either, and may have read half of what another user was writing.
            raise RegistryError(f"the registry {self.shown} was written to while it was read; read it again")

    def let_go(self) -> None:
        """Close the connections that nobody uses at this moment: a server has a hundred for all, and a run may take days."""
        if self._process == os.getpid():
            self._engine.dispose()

    def _state(self) -> object:
        """Return what changes when a file that is read without locks is written to."""
        if not self._only_read:
            return None
        try:
            status = os.stat(self.shown)
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns, os.path.exists(f"{self.shown}-wal"))

    def write(self, work: Callable[[Connection, int], Found], *, snapshot: bool = False) -> Found:
        """Do `work`, with the number of the project, in a transaction: all of it is done, or nothing.

        It is done again where another transaction was first to make the same rows; so it must have no other effect.

        Args:
            work: What to do.
            snapshot: All that it reads is of one moment. Otherwise a row that is locked is read as the one before has left it.
        """
        with self._telling():
            for tried in range(_TRIES):
                try:
                    with self._connect(writes=True, snapshot=snapshot) as connection, connection.begin():
                        return work(connection, self._project(connection))
                except exc.DBAPIError as error:  # noqa: PERF203 - a round is a transaction
                    if getattr(error.orig, "sqlstate", None) not in _AGAIN or tried == _TRIES - 1:
                        raise
                    time.sleep(secrets.randbelow(20 * (tried + 1)) / 1000)
            raise AssertionError

    def project(self, connection: Connection) -> int:
        """Return the number of the project; 0, which no row has, if nothing was ever written in it."""
        if not self._number:
            table = schema.PROJECTS
            statement = select(table.c.id).where(table.c.name == self.place.project)
            # One that is there stays. (One that this very transaction makes is not asked for again in it.)
            self._number = connection.execute(statement).scalar() or 0
        return self._number

    def _project(self, connection: Connection) -> int:
        found = self.project(connection)
        if found:
            return found
        row = {"name": self.place.project, "created": time.time_ns() // 1000}
        made = connection.execute(schema.PROJECTS.insert().values(row))
        return int(made.inserted_primary_key[0])  # type: ignore[index]

    def _connect(self, *, writes: bool, snapshot: bool = True) -> Connection:
        if self._process != os.getpid():
            # Connections of the parent must neither be used nor closed here.
            _theirs.append(self._engine.pool)
            self._engine.dispose(close=False)
            self._process = os.getpid()
        if self.is_sqlite:  # one writes at a time, and whoever reads sees one moment
            return self._engine.connect().execution_options(vhpack_writes=writes)
        return self._engine.connect().execution_options(isolation_level="REPEATABLE READ" if snapshot else "READ COMMITTED")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except PackError:
            raise
        except exc.DBAPIError as error:
            raise _told(self.shown, error) from None
        except exc.TimeoutError as error:
            raise RegistryError(f"the registry {self.shown} is used by too many threads at once: {error}") from None
        except (sqlite3.Error, ValueError, OverflowError) as error:  # also of values that no database keeps, or none should have
            raise RegistryError(_sentence(self.shown, str(error))) from None


_theirs: list[object] = []
_open: dict[Place, Registry] = {}
_lock = threading.Lock()


def _before_a_fork() -> None:
    for registry in list(_open.values()):
        if registry.is_sqlite:  # which would take the parent's locks, met in the child, for the child's own
            registry.let_go()


def _in_a_child() -> None:
    global _lock  # noqa: PLW0603 - a thread that the child does not have may have held it
    _lock = threading.Lock()


os.register_at_fork(before=_before_a_fork, after_in_child=_in_a_child)


def opened(place: Place, *, make: bool = True) -> Registry | None:
    """Return the registry at a place, upgraded to this version's tables; one that is not there is made, or None.

    Raises:
        RegistryError: it cannot be opened, or is none, or a newer vhpack made it.
        OptionError: the URL means nothing.
        MissingExtraError: PostgreSQL needs psycopg, which is not installed.
    """
    with _lock:
        known = _open.get(place)
        if known is not None and known.is_current():
            return known
        url = addresses.parsed(place.url)
        found = _of_file(url, place, make=make) if url.drivername.startswith("sqlite") else _of_server(url, place)
        if found is not None:
            _open[place] = found
        return found


def journal_mode(mounts: str, folder: str) -> str:
    """Return how SQLite keeps transactions apart in a folder: by a write-ahead log, but not on another machine's disk.

    Args:
        mounts: What `/proc/self/mountinfo` says.
        folder: An absolute path without links.

    Example:
        >>> from vhpack.registry.opening import journal_mode
        >>> mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw" + chr(10) + "30 21 0:40 / /home rw - nfs4 server:/home rw"
        >>> journal_mode(mounts, "/data"), journal_mode(mounts, "/home/ann")
        ('WAL', 'DELETE')
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:  # noqa: PLR2004
            continue
        point = fields[4].replace("\\040", " ")
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return _ROLLBACK if kind in _REMOTE or kind.startswith("fuse.") else "WAL"


def _of_file(url: URL, place: Place, *, make: bool) -> Registry | None:
    path = os.path.abspath(str(url.database))
    url = url.set(database=path)
    if not os.path.lexists(path):
        if not make:
            return None
        _make_file(url, path)
    _refuse_empty(path)
    registry = Registry(_file_engine(url, path), place, path)
    _check(registry)
    # Not before it is known to be a registry: the mode stays with the file, and it might be another program's. And never back to
    # a write-ahead log: what is a local disk here may be one that other machines reach through this one.
    if _journal(path) == _ROLLBACK and not _is_immutable(path):
        try:
            _set_journal(registry._engine, _ROLLBACK)  # noqa: SLF001 - this module's own
        except (exc.DBAPIError, sqlite3.Error) as error:
            registry._engine.dispose()  # noqa: SLF001
            raise RegistryError(
                f"the registry {path} is on another machine's disk, and cannot be told to do without shared memory ({error}); end"
                " the programs that have it open, and try again"
            ) from None
    return registry


def _refuse_empty(path: str) -> None:
    # SQLite takes an empty file for a new database. Ours get their name when they are complete, so this one was something else.
    try:
        if os.path.isfile(path) and os.path.getsize(path) > 0:
            return
    except OSError as error:
        raise RegistryError(f"{path} cannot be opened: {error.strerror}") from None
    raise RegistryError(_sentence(path, "malformed" if os.path.isfile(path) else "not a database"))


def _make_file(url: URL, path: str) -> None:
    """Make an empty registry: under a name of its own until it is complete, so that nobody ever meets half of one."""
    _refuse_log_of_another(path)
    staged = f"{path}.{secrets.token_hex(8)}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        engine = _file_engine(url.set(database=staged), staged)
        try:
            with engine.connect().execution_options(vhpack_writes=True) as connection, connection.begin():
                _upgrade(connection)
            _set_journal(engine, _journal(path))
        finally:
            engine.dispose()
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(staged, path)
        _sync_folder(os.path.dirname(path))
    except OSError as error:
        raise RegistryError(
            f"{path} cannot be made: {error.strerror}; see to its folder, or name another in VHPACK_REGISTRY_URL"
        ) from None
    except exc.DBAPIError as error:
        raise _told(path, error) from None
    finally:
        for name in (staged, f"{staged}-journal"):
            with contextlib.suppress(OSError):
                os.unlink(name)


def _refuse_log_of_another(path: str) -> None:
    # SQLite would take it for the new one's, and write what is in it over that.
    log = next((f"{path}{end}" for end in ("-wal", "-journal") if os.path.lexists(f"{path}{end}")), None)
    if log is not None and not os.path.lexists(path):
        raise RegistryError(
            f"{log} has the last changes of a registry that was {path}; move it to where that is now, under its name, and try"
            " again"
        )


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_journal(engine: Engine, wanted: str) -> None:
    with contextlib.closing(engine.raw_connection()) as bare:
        cursor = bare.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone() != (wanted.lower(),):
            cursor.execute(f"PRAGMA journal_mode = {wanted}")
        cursor.close()


def _journal(path: str) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return journal_mode(mounts.read(), os.path.realpath(os.path.dirname(path)))


def _file_engine(url: URL, path: str) -> Engine:
    if _is_immutable(path):
        # Anew for each transaction, for whoever may write there can be about to.
        engine = sa.create_engine(url, creator=lambda: _only_reading(path), poolclass=sa.NullPool)
    else:
        engine = sa.create_engine(url, connect_args={} if "timeout" in url.query else {"timeout": _PATIENCE})

    def connected(connection: Any, record: object) -> None:  # noqa: ANN401 - whatever the driver gives
        del record
        connection.isolation_level = None  # the driver would begin transactions where it thinks fit
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA synchronous = FULL")  # what has been said to be registered is on the disk
            cursor.execute("PRAGMA trusted_schema = OFF")  # a registry may come with a repository
            # The keys of 200,000 random UUIDs, which otherwise go back and forth between memory and the log.
            cursor.execute(f"PRAGMA cache_size = -{_CACHE}")
        finally:
            cursor.close()

    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("vhpack_writes", False)
        # At once and not at the first write: two that have read and then want to write would wait for each other.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _only_reading(path: str) -> sqlite3.Connection:
    # A write-ahead log would have files made beside it for every reader.
    how = "immutable=1" if _is_immutable(path) else "mode=ro"
    return sqlite3.connect(f"file:{quote(path)}?{how}", uri=True, check_same_thread=False)


def _is_immutable(path: str) -> bool:
    """Return whether nobody can write to a file here, nor is about to."""
    folder = os.path.dirname(path)
    return (
        os.path.exists(path)
        and not any(os.access(place, os.W_OK) for place in (path, folder))
        and not os.path.exists(f"{path}-wal")
    )


def _of_server(url: URL, place: Place) -> Registry:
    try:
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT})
    except ImportError:
        raise MissingExtraError("a registry in PostgreSQL needs psycopg: pip install 'vhpack[postgres]'") from None
    registry = Registry(engine, place, addresses.public(url))
    _check(registry)
    return registry


def _check(registry: Registry) -> None:
    """See to it that the tables are those of this version; a registry that cannot be used is let go of."""
    try:
        _upgrade_if_older(registry)
    except BaseException:
        registry._engine.dispose()  # noqa: SLF001 - this module's own
        raise


def _upgrade_if_older(registry: Registry) -> None:
    with registry._telling():  # noqa: SLF001 - this module's own
        with registry._connect(writes=False) as connection, connection.begin():  # noqa: SLF001
            found = _revision(connection)
        if found == schema.HEAD:
            return
        if found is None and registry.is_sqlite:
            raise RegistryError(_sentence(registry.shown, "not a database"))
        if found is not None and found not in _revisions():
            raise RegistryError(f"{registry.shown} was made by a newer vhpack (revision {found}); upgrade this one to use it")
        # Without a snapshot, for what another process has made while this one waits for the lock has to be seen.
        with registry._connect(writes=True, snapshot=False) as connection, connection.begin():  # noqa: SLF001
            if not registry.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADING})")
            if _revision(connection) != schema.HEAD:
                _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(schema.VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}").scalar()  # noqa: S608 - our own name
    return None if found is None else str(found)


def load() -> None:
    """Load what makes a registry, which takes longer than to make one."""
    from alembic import command

    del command


def _config() -> Any:  # noqa: ANN401 - a module that is loaded here only
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(__file__), "migrations").replace("%", "%%"))
    return config


def _revisions() -> set[str]:
    with _quietly():
        from alembic.script import ScriptDirectory

        return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _upgrade(connection: Connection) -> None:
    with _quietly():
        from alembic import command

        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Have nothing of Alembic's work in the log of the user's program, which may be one of the files that are registered."""
    import logging

    logger = logging.getLogger("alembic")
    before = logger.level
    logger.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(before)


def _told(shown: str, error: exc.DBAPIError) -> PackError:
    return RegistryError(_sentence(shown, str(error.orig).strip().partition("\n")[0]))


def _sentence(shown: str, said: str) -> str:
    for known, sentence in _SAID:
        if known in said:
            return f"the registry {shown} cannot be used: {sentence}"
    return f"the registry {shown} cannot be used: {said}"
