"""Runs to register, made in this process or as a script of their own."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import Ended, run
from vhpack.cli import main
from vhpack.registry import opening

Said = Mapping[str, object]


def close() -> None:
    """Let this process have no registry open."""
    for registry in opening._open.values():
        registry._engine.dispose()
    opening._open.clear()


def write(path: Path | str, content: str | bytes = b"content") -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def output(name: str, content: str | bytes = b"content", said: Said | None = None) -> Path:
    """An output of the run, with a sidecar."""
    path = write(vhpack.outputs().path(name), content)
    if said is not None:
        path.with_name(f"{path.name}.metadata.json").write_text(json.dumps(said))
    return path


def made(files: Mapping[str, str | bytes], said: Mapping[str, Said] | None = None, step: str = "train") -> str:
    """A run that makes these files and succeeds; its hash."""
    with vhpack.run(step=step) as done:
        for name, content in files.items():
            output(name, content, (said or {}).get(name))
    return done.hash


def script(
    folder: Path, text: str, *arguments: str, environment: Mapping[str, str] | None = None, before: tuple[str, ...] = ()
) -> Ended:
    """A script of a user's, run as it is, and as a run of its own."""
    vhpack.reset()
    (folder / "script.py").write_text(text)
    return run([sys.executable, *before, "script.py", *arguments], folder, environment=environment)


def environment() -> dict[str, str]:
    """That of a process which is part of no run."""
    vhpack.reset()
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def ask(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
    """As a process of its own would have ended, but for the second that its start takes."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (environment or {}).items():
            patched.setenv(name, value)
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        code = main(arguments)
    out.flush()
    err.flush()
    return Ended(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def contents(folder: Path | str = ".valohai/store") -> list[Path]:
    """All contents in a store."""
    return sorted(Path(folder).glob("[0-9a-f][0-9a-f]/" + "[0-9a-f]" * 62))


def content_of(target: str) -> str:
    """What a datum's content is, by its place in the store."""
    datum = vhpack.data.get(target)
    assert datum.sha256 is not None
    return Path(os.environ.get("VHPACK_STORE_DIR", ".valohai/store"), datum.sha256[:2], datum.sha256[2:]).read_text()
