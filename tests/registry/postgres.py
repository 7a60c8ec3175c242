"""A PostgreSQL server of the tests' own: in a folder of its own, reached by a socket there, gone with the process that started it."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.conftest import needs, without

SECONDS = 60


class Server:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def url(self, database: str) -> str:
        return f"postgresql://vhpack@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make a database and return its URL."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Start a server, and stop it; skip what needs it where it is not installed."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [str(Path(shutil.which("postgres") or "").parent)]
    if not (Path(programs[-1]) / "initdb").exists():
        without("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="vhpack-pg-"))
    unprivileged: list[str] = ["setpriv", "--pdeathsig=QUIT"]
    needs("setpriv")
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        shutil.chown(folder, "postgres", "postgres")
        unprivileged += ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
    initdb = [
        *unprivileged,
        f"{programs[-1]}/initdb",
        "-D",
        f"{folder}/rows",
        "-U",
        "vhpack",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    made = subprocess.run([*initdb, "--locale=C.UTF-8"], capture_output=True, text=True, timeout=SECONDS, cwd=folder)
    assert made.returncode == 0, made.stderr
    settings = [
        "listen_addresses=",
        "fsync=off",
        "max_connections=60",
        "shared_buffers=32MB",
        f"unix_socket_directories={folder}",
    ]
    command = [*unprivileged, f"{programs[-1]}/postgres", "-D", f"{folder}/rows"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [*command, *(word for setting in settings for word in ("-c", setting))], stdout=log, stderr=log, cwd=folder
        )
    try:
        found = Server(folder)
        _wait_for(found, server)
        yield found
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody wants what is in it
        server.wait(SECONDS)
        shutil.rmtree(folder)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
        except psycopg.OperationalError:
            assert process.poll() is None, (server.folder / "log").read_text()
            assert time.monotonic() < until, (server.folder / "log").read_text()
            time.sleep(0.05)
        else:
            return
