"""An archive held against the manifest beside it."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from vhpack import hashing
from vhpack.errors import CorruptArchiveError, PackError, PackOSError, SourceNotFoundError, UnsupportedArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhpack._engine import Member
    from vhpack.archive import Archive

SUFFIX = ".manifest.jsonl"

_VERSION = 1
_PORTION = 1 << 20
_LONGEST_LINE = 1 << 20  # sixteen times the longest name, escaped


def differences(archive: Archive, jobs: int | None = None) -> list[tuple[str, int, str]]:
    """Return how an archive differs from what its manifest says: names, offsets and sentences.

    Where the archive's own digest is the manifest's, its bytes are those that were packed. Where it is not, the list of
    members and their contents tell what has changed.

    Raises:
        SourceNotFoundError: there is no manifest.
        CorruptArchiveError: the manifest is none, or is cut short.
        UnsupportedArchiveError: the manifest is of a version that came later.
        PackOSError: the manifest cannot be read.
    """
    lines = _lines(archive.path + SUFFIX)
    head = next(lines, {})
    _check_head(head, archive.path + SUFFIX)
    told = {str(line.get("name")): line for line in lines}
    if len(told) != head.get("members"):
        raise _corrupt(archive.path + SUFFIX, f"its head promises {head.get('members')} members, and it lists {len(told)}")
    (digest,) = hashing.hash_files([archive.path], jobs=jobs).values()
    found = {member.name: member for member in archive.members()}
    changes = [(name, 0, "is in the manifest, and missing from the archive") for name in told if name not in found]
    same = digest == head.get("xxh3-128") and os.stat(archive.path).st_size == head.get("size")
    for name, member in found.items():
        why = _change(archive, member, told.get(name), contents=not same)
        if why:
            changes.append((name, member.offset, why))
    if not same:
        changes.append(
            (os.path.basename(archive.path), 0, f"has the digest {digest}, and {head.get('xxh3-128')} in its manifest")
        )
    return changes


def _change(archive: Archive, member: Member, told: dict[str, object] | None, *, contents: bool) -> str | None:
    if told is None:
        return "is in the archive, and missing from the manifest"
    seen: dict[str, object] = {"kind": member.kind}
    if member.kind == "file":
        seen["size"] = member.size
        try:
            crc = _crc(archive, member.name) if contents else member.crc32
        except PackError as error:
            return str(error)
        if crc is not None:
            seen["crc32"] = f"{crc:08x}"
    for what, value in seen.items():
        if value != told.get(what):
            return f"{what} is {value}, and {told.get(what)} in the manifest"
    return None


def _crc(archive: Archive, name: str) -> int:
    crc = 0
    with archive.open(name) as file:
        while portion := file.read(_PORTION):
            crc = zlib.crc32(portion, crc)
    return crc


def _check_head(head: dict[str, object], path: str) -> None:
    version = head.get("vhpack_manifest")
    if not isinstance(version, int):
        raise _corrupt(path, "it does not begin with the head of one")
    if version > _VERSION:
        message = f"the manifest {path!r} is of version {version}, and this vhpack reads {_VERSION}; use a newer one"
        raise UnsupportedArchiveError(message)


def _lines(path: str) -> Iterator[dict[str, object]]:
    import json

    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            while line := file.readline(_LONGEST_LINE):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise _corrupt(path, "a line of it is no object")
                yield value
    except FileNotFoundError as error:
        message = f"there is no manifest {path!r}; a pack with --manifest writes one"
        raise SourceNotFoundError(error.errno, message, path) from None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read the manifest {path!r}: {error.strerror}", path) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, PackError):
            raise
        raise _corrupt(path, "a line of it is no JSON") from None


def _corrupt(path: str, why: str) -> CorruptArchiveError:
    return CorruptArchiveError(f"{path!r} is no whole manifest: {why}")
