"""Packs the files that a job leaves behind into one archive that anyone can open, fast, and without losing one.

`vhpack.outputs(...)` knows where a run's outputs go and packs them; `vhpack.pack(...)` packs any files to any place.
Importing this module names the run (see `vhpack.runs`) and loads nothing heavy: the engine comes with the first call.
"""

from typing import TYPE_CHECKING

from vhpack import errors, runs
from vhpack._packing import pack
from vhpack.archive import Archive

# Not in `__all__`: a star import must not hide the builtin.
from vhpack.archive import open as open  # noqa: A004
from vhpack.dataset import ArchiveDataset
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
from vhpack.hashing import hash_files

# The function of this name hides the module of this name, which must therefore be loaded here and not later: loading it
# would put the module over the function.
from vhpack.outputs import outputs

if TYPE_CHECKING:
    from vhpack._engine import ExtractReport, Member, PackReport, Progress, VerifyReport, __version__

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

_FROM_ENGINE = frozenset({"ExtractReport", "Member", "PackReport", "Progress", "VerifyReport", "__version__"})

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
runs.begin()


def __getattr__(name: str) -> object:
    if name not in _FROM_ENGINE:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from vhpack import _engine

    return getattr(_engine, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_ENGINE})
