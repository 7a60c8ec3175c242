"""An archive held against the manifest beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vhpack import hashing
from vhpack.errors import CorruptArchiveError

if TYPE_CHECKING:
    from vhpack._engine import ManifestMember, Member
    from vhpack.archive import Archive

SUFFIX = ".manifest.jsonl"


def differences(archive: Archive, jobs: int | None = None) -> list[tuple[str, int, str]]:
    """Return how an archive differs from what its manifest says: names, offsets and sentences.

    All that the manifest says of members is held against them, contents among it, whether or not the archive's own digest is
    the manifest's: its lines may have been changed as well as the archive.

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
    same = digest == head.digest and os.stat(archive.path).st_size == head.size
    native = archive._native()  # noqa: SLF001
    sums = native.digests(jobs=jobs)
    found = {member.name: (member, known) for member, known in zip(native.members(), sums, strict=True)}
    changes = [(name, 0, "is in the manifest, and missing from the archive") for name in told if name not in found]
    for name, (member, known) in found.items():
        why = _change(member, known, told.get(name), placed=same)
        if why:
            changes.append((name, member.offset, why))
    if not same:
        changes.append((os.path.basename(archive.path), 0, f"has the digest {digest}, and {head.digest} in its manifest"))
    return changes


def _change(member: Member, known: tuple[int, str, str | None], told: ManifestMember | None, *, placed: bool) -> str | None:
    """What is not as the manifest says; places count where the archive is the manifest's own."""
    if told is None:
        return "is in the archive, and missing from the manifest"
    crc, digest, unreadable = known
    if unreadable:
        return unreadable
    seen: dict[str, tuple[object, object]] = {"kind": (member.kind, told.kind)}
    if placed:
        seen["offset"] = member.offset, told.offset
    if member.kind == "file":
        seen["size"] = member.size, told.size
        if placed:
            seen["packed"] = member.packed, told.packed
    seen["crc32"] = f"{crc:08x}", f"{told.crc32:08x}"
    seen["xxh3-128"] = digest, told.digest
    for what, (value, wanted) in seen.items():
        if value != wanted:
            return f"{what} is {value}, and {wanted} in the manifest"
    return None
