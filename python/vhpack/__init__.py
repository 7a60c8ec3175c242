"""Packs the files that a job leaves behind into one archive that anyone can open, fast, and without losing one.

`vhpack.outputs(...)` knows where a run's outputs go and packs them; `vhpack.pack(...)` packs any files to any place;
`vhpack.open(...)` reads archives, and `vhpack.ArchiveDataset(...)` gives their files to training loops.
Importing this module names the run (see `vhpack.runs`) and loads nothing heavy: the engine comes with the first call.
"""

from typing import TYPE_CHECKING

from vhpack import errors, runs
from vhpack._packing import pack
from vhpack.errors import (
    CorruptArchiveError,
    LimitExceededError,
    MemberCollisionError,
    MemberNameError,
    MemberNotFoundError,
    NoFilesError,
    NoSpaceError,
    OptionError,
    PackError,
    PackOSError,
    PackPermissionError,
    PackWarning,
    SourceChangedError,
    SourceNotFoundError,
    SpecialFileError,
    TargetExistsError,
    TargetIsDirectoryError,
    UnknownFormatError,
    UnsafeMemberError,
    UnsupportedArchiveError,
)

# The function of this name hides the module of this name, which must therefore be loaded here and not later: loading it
# would put the module over the function.
from vhpack.outputs import outputs

if TYPE_CHECKING:
    from vhpack._engine import ExtractReport, Member, PackReport, Progress, VerifyReport, __version__
    from vhpack.archive import Archive
    from vhpack.archive import open as open  # noqa: A004 - not in `__all__`: a star import must not hide the builtin
    from vhpack.dataset import ArchiveDataset
    from vhpack.hashing import hash_files

__all__ = [
    "Archive",
    "ArchiveDataset",
    "CorruptArchiveError",
    "ExtractReport",
    "LimitExceededError",
    "Member",
    "MemberCollisionError",
    "MemberNameError",
    "MemberNotFoundError",
    "NoFilesError",
    "NoSpaceError",
    "OptionError",
    "PackError",
    "PackOSError",
    "PackPermissionError",
    "PackReport",
    "PackWarning",
    "Progress",
    "SourceChangedError",
    "SourceNotFoundError",
    "SpecialFileError",
    "TargetExistsError",
    "TargetIsDirectoryError",
    "UnknownFormatError",
    "UnsafeMemberError",
    "UnsupportedArchiveError",
    "VerifyReport",
    "__version__",
    "errors",
    "hash_files",
    "outputs",
    "pack",
    "runs",
]

_LATER = {
    **dict.fromkeys(("ExtractReport", "Member", "PackReport", "Progress", "VerifyReport", "__version__"), "vhpack._engine"),
    **dict.fromkeys(("Archive", "open"), "vhpack.archive"),
    "ArchiveDataset": "vhpack.dataset",
    "hash_files": "vhpack.hashing",
}

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
runs.begin()


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from importlib import import_module

    return globals().setdefault(name, getattr(import_module(_LATER[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
