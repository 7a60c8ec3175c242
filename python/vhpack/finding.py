"""The files that a name, a folder or a pattern means to what sends them."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack.errors import NoFilesError, PackOSError, SourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIDECARS = (".metadata.json", "valohai.metadata.jsonl")
_STAGED = (".vhpack-staged", ".vhpack-removing", ".vhpart")  # what archives and uploads are called before they are complete
_SHOWN = 5


@dataclass
class Found:
    """What there is to send."""

    files: list[str] = field(default_factory=list)
    """Absolute paths of regular files, sidecars first: they are to be there when the files that they are about arrive."""
    left_out: list[str] = field(default_factory=list)
    """Those of symbolic links and of what is no file."""

    def sentence(self) -> str:
        """Return what is to be said of those that are left out; empty if none are."""
        if not self.left_out:
            return ""
        rest = f" and {len(self.left_out) - _SHOWN} more" if len(self.left_out) > _SHOWN else ""
        names = ", ".join(map(repr, self.left_out[:_SHOWN]))
        return f"{len(self.left_out)} left out, since they are symbolic links or no regular files: {names}{rest}"


def files(folder: str, name: str) -> Found:
    """Return the files that are meant: one, all below a folder, or those that a pattern matches.

    A name that exists is no pattern. Symbolic links are neither followed nor sent; hidden files below a named folder are
    like others, except for those that vhpack itself has not completed.

    Raises:
        SourceNotFoundError: the name does not exist.
        NoFilesError: nothing matches, or the folder has no file.
        PackOSError: a folder cannot be read.
    """
    full = os.path.normpath(os.path.join(folder, name))
    if os.path.isdir(full) and not os.path.islink(full):
        found = _sorted(_below(full))
    elif os.path.lexists(full):
        found = _sorted([(full, os.path.isfile(full) and not os.path.islink(full))])
    elif glob.has_magic(name):
        matches = glob.iglob(os.path.join(glob.escape(folder), name), recursive=True)
        modes = ((os.path.normpath(path), _mode(path)) for path in matches)
        found = _sorted((path, stat.S_ISREG(mode)) for path, mode in modes if not stat.S_ISDIR(mode))
    else:
        raise SourceNotFoundError(2, f"nothing to upload: {full} does not exist; name a file, a folder or a pattern", full)
    if not found.files:
        raise NoFilesError(f"nothing to upload: {full} is, has or matches no file (symbolic links are not followed)")
    return found


def sidecar_of(path: str) -> str | None:
    """Return the path of a file's sidecar, if it has one."""
    sidecar = path + _SIDECARS[0]
    return sidecar if os.path.isfile(sidecar) else None


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0  # gone by now, which is no regular file


def _sorted(paths: Iterator[tuple[str, bool]] | list[tuple[str, bool]]) -> Found:
    found = Found()
    for path, is_regular in paths:
        if not (path.endswith(_STAGED) and os.path.basename(path).startswith(".")):
            (found.files if is_regular else found.left_out).append(path)
    found.files.sort(key=lambda path: (not path.endswith(_SIDECARS), path))
    found.left_out.sort()
    return found


def _below(folder: str) -> Iterator[tuple[str, bool]]:
    folders = [folder]
    while folders:
        place = folders.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry.path, entry.is_file(follow_symlinks=False)
        except OSError as error:
            raise PackOSError(error.errno, f"the folder {place} cannot be read: {error.strerror}", place) from None
