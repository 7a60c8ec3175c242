"""Archives to read: by real writers, and by hand where no writer would make them."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vhpack._engine import Archive


def opened(path: Path, **limits: Any) -> Archive:
    """The archive, as the Python face opens it."""
    return Archive(os.fsencode(path), **limits)


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """A zip by Python's own writer, which lets any name through."""
    with zipfile.ZipFile(path, "w") as writer:
        for name, content in members:
            writer.writestr(name, content)
    return path


def link_in_zip(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    """A symbolic link as zip keeps it: the target is the content."""
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = 0o120777 << 16
    return member, os.fsencode(target)


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    """A tar by Python's own writer."""
    with tarfile.open(path, "w") as writer:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                writer.addfile(member)
            else:
                header = tarfile.TarInfo(member[0])
                header.size = len(member[1])
                writer.addfile(header, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """A tar's member without content."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    member.mode = mode
    return member


def record_at(archive: bytes | bytearray, number: int = 0) -> int:
    """Where the directory's record of a member begins."""
    at = archive.index(b"PK\x01\x02")
    for _ in range(number):
        at = archive.index(b"PK\x01\x02", at + 1)
    return at


def patched(path: Path, change: Callable[[bytearray], None]) -> Path:
    """The same file with some bytes changed."""
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def put(archive: bytearray, at: int, form: str, *values: int) -> None:
    """Write numbers at a place."""
    struct.pack_into(form, archive, at, *values)


def everything_below(folder: Path) -> set[str]:
    """All paths below a folder, links not followed."""
    return {
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, files in os.walk(folder)
        for name in folders + files
    }
