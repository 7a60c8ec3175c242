"""What a package is made of, and what it is known to hold."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack._packing import encode, plan
from vhpack.errors import ModelError, SourceChangedError, SourceNotFoundError, SpecialFileError, UnsafeMemberError
from vhpack.stored import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack._engine import ExtractReport
    from vhpack._packing import Settings

_SIDECARS = (".metadata.json", "/valohai.metadata.jsonl")


@dataclass(frozen=True)
class Contents:
    """The files of a package."""

    sources: tuple[str, ...]
    root: str
    settings: Settings
    remove: bool
    whole: bool
    """All of `root` is packed."""

    def encoded(self) -> bytes:
        """Return the sources as the engine takes them."""
        return encode(self.sources)

    def check(self) -> None:
        """Look at what would be packed, before anything is.

        Raises:
            PackError: it cannot be packed as a whole.
        """
        refuse_left_out(plan(self.encoded(), b"", None, self.settings).skipped)


def refuse_left_out(skipped: Sequence[tuple[str, str]]) -> None:
    """Refuse a package that would lack something of the folder: who unpacks it would not know.

    Raises:
        SourceNotFoundError: a link leads nowhere. SpecialFileError: something is no file. SourceChangedError: anything else.
    """
    for path, why in skipped:
        # Of sidecars, wildcards take none anywhere.
        if not os.path.lexists(path) or path.endswith(_SIDECARS):
            continue
        if os.path.islink(path) and not os.path.exists(path):
            raise SourceNotFoundError(2, f"{path} is a link that leads nowhere; remove it, or exclude it", path)
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise SpecialFileError(None, f"{path} is no file; remove it, or exclude it", path)
        raise SourceChangedError(None, f"{path} cannot be packed: {why}; exclude it", path)


def refuse_unpacked(report: ExtractReport) -> None:
    """Refuse what was unpacked, if that is not all of the package: who uses it would not know.

    Raises:
        UnsafeMemberError: something of it cannot be extracted, such as a link that leads out.
    """
    if report.skipped:
        path, why = report.skipped[0]
        more = f", and {len(report.skipped) - 1:,} more" if report.skipped[1:] else ""
        raise UnsafeMemberError(f"{path!r} is left out{more}: {why}; take the archive as it is, with extract_archive=False")


def digests(package: str) -> tuple[dict[str, str], list[str]]:
    """Return the xxh3-128 of each file of a package, as its manifest has it, and the names of its folders."""
    from vhpack import _engine

    files: dict[str, str] = {}
    folders: list[str] = []
    for member in _engine.Manifest(os.fsencode(package + MANIFEST)):
        if member.kind == "directory":
            folders.append(member.name)
        else:
            files[member.name] = member.digest
    return files, folders


def count(path: str) -> int:
    """Return how many files an archive has.

    Raises:
        PackError: it is none, or cannot be read.
    """
    from vhpack import archive

    with archive.open(path) as found:
        return len(found)


def refuse_other(package: str, digest: str) -> None:
    """Refuse a package that is not the one that its manifest is about.

    Raises:
        ModelError: it is another one.
    """
    from vhpack import _engine

    wanted = _engine.Manifest(os.fsencode(package + MANIFEST)).digest
    if wanted != digest:
        raise ModelError(f"{package} is not what was packed: its xxh3-128 is {digest}, and {wanted} in its manifest")
