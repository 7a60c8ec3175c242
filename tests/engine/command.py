"""The command as a user runs it, and Python programs that call the module in a process of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import needs, without

VHPACK = str(Path(sysconfig.get_path("scripts")) / "vhpack")


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it said."""

    code: int
    out: str
    err: str


def run(
    arguments: Sequence[str | bytes | Path],
    cwd: Path,
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Ended:
    """Run a process to its end; a hang fails the test."""
    done = subprocess.run(
        [os.fsencode(argument) for argument in arguments],
        cwd=cwd,
        input=stdin,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        capture_output=True,
        timeout=timeout,
    )
    return Ended(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


def compress(
    *arguments: str | bytes | Path,
    cwd: Path,
    before: Sequence[str | Path] = (),
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Ended:
    """Run `vhpack compress ARGUMENTS` in `cwd`; `before` goes in front of it on the command line."""
    return run([*before, VHPACK, "compress", *arguments], cwd, stdin=stdin, environment=environment, timeout=timeout)


def vhpack(
    *arguments: str | bytes | Path,
    cwd: Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Ended:
    """Run `vhpack ARGUMENTS` in `cwd`."""
    return run([VHPACK, *arguments], cwd, stdin=stdin, environment=environment, timeout=timeout)


def python(code: str, *arguments: str | Path, cwd: Path, before: Sequence[str | Path] = (), timeout: float = 120) -> Ended:
    """Run a Python program that may import vhpack."""
    return run([*before, sys.executable, "-c", code, *arguments], cwd, timeout=timeout)


def ordinary_user() -> list[str]:
    """What to put in front of a command so that permission bits bind it, also when the tests run as root."""
    if os.geteuid() != 0:
        return []
    needs("setpriv")
    bound = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    tried = subprocess.run([*bound, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        without(f"root may not give up its capabilities here: {tried.stderr.strip()}")
    return bound
