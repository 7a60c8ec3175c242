"""The files that a name, a folder or a pattern means to what sends them."""

from __future__ import annotations

import glob
import os

from vhpack.errors import NoFilesError, PackOSError, SourceNotFoundError

_SIDECARS = (".metadata.json", "valohai.metadata.jsonl")


def files(folder: str, name: str) -> list[str]:
    """Return the absolute paths of files: of one, of all below a folder, or of those that a pattern matches.

    A name that exists is no pattern. Symbolic links are neither followed nor returned, hidden files below a named folder are
    like others. Sidecars come first, so that they are there when the files that they are about arrive.

    Raises:
        SourceNotFoundError: the name does not exist.
        NoFilesError: nothing matches, or the folder has no file.
        PackOSError: a folder cannot be read.
    """
    full = os.path.normpath(os.path.join(folder, name))
    if os.path.isdir(full) and not os.path.islink(full):
        found = _below(full)
    elif os.path.lexists(full):
        found = [full]
    elif glob.has_magic(name):
        found = [os.path.normpath(path) for path in glob.glob(os.path.join(glob.escape(folder), name), recursive=True)]
    else:
        raise SourceNotFoundError(2, f"nothing to upload: {full} does not exist; name a file, a folder or a pattern", full)
    regular = [path for path in found if os.path.isfile(path) and not os.path.islink(path)]
    if not regular:
        raise NoFilesError(f"nothing to upload: {full} is, has or matches no file (symbolic links are not followed)")
    return sorted(regular, key=lambda path: (not path.endswith(_SIDECARS), path))


def sidecar_of(path: str) -> str | None:
    """Return the path of a file's sidecar, if it has one."""
    sidecar = path + _SIDECARS[0]
    return sidecar if os.path.isfile(sidecar) else None


def _below(folder: str) -> list[str]:
    def fail(error: OSError) -> None:
        raise PackOSError(error.errno, f"the folder {error.filename} cannot be read: {error.strerror}", error.filename) from None

    return [os.path.join(place, name) for place, _, names in os.walk(folder, onerror=fail) for name in names]
