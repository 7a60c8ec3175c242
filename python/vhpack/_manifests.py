"""An archive held against the manifest beside it."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from vhpack import hashing
from vhpack.errors import CorruptArchiveError, PackError

if TYPE_CHECKING:
    from vhpack._engine import ManifestMember, Member
    from vhpack.archive import Archive

SUFFIX = ".manifest.jsonl"

_PORTION = 1 << 20


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
    from vhpack import _engine

    # It stands beside the archive, and so not where a link to that stands.
    place = os.path.realpath(archive.path) + SUFFIX
    head = _engine.Manifest(os.fsencode(place))
    told = {line.name: line for line in head}
    if len(told) != head.members:
        raise CorruptArchiveError(f"{place!r} is no whole manifest: it lists a name twice; pack anew with --manifest")
    (digest,) = hashing.hash_files([archive.path], jobs=jobs).values()
    found = {member.name: member for member in archive.members()}
    changes = [(name, 0, "is in the manifest, and missing from the archive") for name in told if name not in found]
    same = digest == head.digest and os.stat(archive.path).st_size == head.size
    for name, member in found.items():
        why = _change(archive, member, told.get(name), contents=not same)
        if why:
            changes.append((name, member.offset, why))
    if not same:
        changes.append((os.path.basename(archive.path), 0, f"has the digest {digest}, and {head.digest} in its manifest"))
    return changes


def _change(archive: Archive, member: Member, told: ManifestMember | None, *, contents: bool) -> str | None:
    if told is None:
        return "is in the archive, and missing from the manifest"
    seen: dict[str, tuple[object, object]] = {"kind": (member.kind, told.kind)}
    if member.kind == "file":
        seen["size"] = member.size, told.size
        try:
            crc = _crc(archive, member.name) if contents else member.crc32
        except PackError as error:
            return str(error)
        if crc is not None:
            seen["crc32"] = f"{crc:08x}", f"{told.crc32:08x}"
    for what, (value, wanted) in seen.items():
        if value != wanted:
            return f"{what} is {value}, and {wanted} in the manifest"
    return None


def _crc(archive: Archive, name: str) -> int:
    crc = 0
    with archive.open(name) as file:
        while portion := file.read(_PORTION):
            crc = zlib.crc32(portion, crc)
    return crc
