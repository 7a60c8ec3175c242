"""Ground rules of the suite: a private folder, a clean environment, and no reader that goes missing unnoticed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import vhpack

SOAK = os.environ.get("VHPACK_SOAK") == "1"
"""Widens the same tests: more examples, more faults, the slow readers of huge archives."""


# A shell that starts the suite in the background, or nohup, has it ignore signals, and what the tests start would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def without(reason: str) -> NoReturn:
    """Skip the test for want of something on this machine; with CI=true fail it, since there everything is installed."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{reason} (skipped outside CI)")
    pytest.skip(reason)


def needs(*programs: str) -> None:
    """Go on only when every program is installed."""
    for program in programs:
        if shutil.which(program) is None:
            without(f"{program} is not installed")


@pytest.fixture(autouse=True)
def private_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in `tmp_path` under an environment that says nothing about a job, a platform or a fixed clock."""
    for name in list(os.environ):
        if name.startswith(("VH_", "VHPACK_", "VALOHAI_", "JPY_", "AWS_")) or name == "SOURCE_DATE_EPOCH":
            monkeypatch.delenv(name)
    # What is not about the registry does without: a script that has one looks at its outputs once more at its end.
    monkeypatch.setenv("VHPACK_REGISTRY_URL", "off")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(sys, "argv", ["test.py"])
    vhpack.reset()
    yield
    vhpack.reset()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, of which nothing but the test knows."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own, gone after the test; needs the right to mount."""
    needs("mount", "umount")
    folder = tmp_path / "small-disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "vhpack-test", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        without(f"this user may not mount a small disk: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
