"""The journal of a stage: a line for each thing that is done, so that a killed process has none done again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import NamedTuple

from vhpack import committed

_VERSION = 1
_quoted = json.encoder.encode_basestring_ascii


class Stamped(NamedTuple):
    """A finished file, as it was then; the same values mean that nobody has touched it."""

    name: str
    size: int
    mtime_ns: int


class Finished(NamedTuple):
    """One thing that is done."""

    id: str
    files: tuple[Stamped, ...]
    source: str | None = None
    stamp: tuple[int, ...] = ()
    """What tells whether it would be made of the same again."""


@dataclass
class Told:
    """What a journal says."""

    by: str = ""
    boot: str = ""
    finished: dict[str, tuple[int, Finished]] = field(default_factory=dict)
    """By id, each with the place of its line."""
    synced: int = 0
    """What the lines up to here are about is on disk."""
    committing: str = ""
    """The digest of the manifest with which the stage was to take the directory's place."""


def head(by: str, boot: str) -> str:
    """Return the first line: who writes, and since which start of the machine."""
    return json.dumps({"vhpack_stage": _VERSION, "by": by, "boot": boot})


def line(each: Finished) -> str:
    """Return the line for something that is done."""
    # By hand, in half the time: there is one for each of hundreds of thousands of files.
    files = ", ".join(f"[{_quoted(file.name)}, {file.size}, {file.mtime_ns}]" for file in each.files)
    more = "" if each.source is None else f', "source": {_quoted(each.source)}'
    more += f', "stamp": {[*each.stamp]}' if each.stamp else ""
    return f'{{"id": {_quoted(each.id)}, "files": [{files}]{more}}}'


def gone(id: str) -> str:  # noqa: A002
    """Return the line for something that has to be done again."""
    return json.dumps({"gone": id})


def synced(length: int) -> str:
    """Return the line that says that what the first `length` bytes are about is on disk."""
    return json.dumps({"synced": length})


def committing(digest: str) -> str:
    """Return the line that says with which manifest the stage is to take the directory's place."""
    return json.dumps({"committing": digest})


def read(descriptor: int) -> Told:
    """Read a journal, up to where its writing was cut off."""
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        text = file.read()
    told = Told()
    place = 0
    for each in text.splitlines(keepends=True):
        try:
            said = json.loads(each) if each.endswith(b"\n") else None
            if not isinstance(said, dict) or (place == 0 and said["vhpack_stage"] != _VERSION):
                break
            _take(told, place, said)
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        place += len(each)
    return told


def _take(told: Told, place: int, said: dict[str, object]) -> None:
    if "vhpack_stage" in said:
        told.by, told.boot = str(said["by"]), str(said["boot"])
    elif "gone" in said:
        told.finished.pop(str(said["gone"]), None)
    elif "synced" in said:
        told.synced = int(str(said["synced"]))
    elif "committing" in said:
        told.committing = str(said["committing"])
    else:
        each = _finished(said)
        told.finished[each.id] = place, each


def _finished(said: dict[str, object]) -> Finished:
    files, stamp, source = said["files"], said.get("stamp", []), said.get("source")
    if not isinstance(files, list) or not isinstance(stamp, list):
        raise TypeError("no line of a journal")
    stamped = tuple(Stamped(str(name), int(size), int(mtime)) for name, size, mtime in files)
    if not all(committed.is_safe(file.name) for file in stamped):
        raise ValueError("no names of files in a directory")
    return Finished(str(said["id"]), stamped, None if source is None else str(source), tuple(map(int, stamp)))
