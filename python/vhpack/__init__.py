"""Packs the files that a job leaves behind into one archive that anyone can open, fast, and without losing one.

`vhpack.outputs(...)` knows where a run's outputs go and packs them; `vhpack.pack(...)` packs any files to any place.
Importing this module names the run (see `vhpack.runs`) and loads nothing heavy: the engine comes with the first call.
"""

from typing import TYPE_CHECKING

from vhpack import errors, runs
from vhpack._packing import pack
from vhpack.errors import (
    MemberCollisionError,
    MemberNameError,
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
    StepError,
    TargetExistsError,
    TargetIsDirectoryError,
    UnknownFormatError,
)

# The function of this name hides the module of this name, which must therefore be loaded here and not later: loading it
# would put the module over the function.
from vhpack.outputs import outputs

if TYPE_CHECKING:
    from vhpack._engine import PackReport, Progress, __version__

__all__ = [
    "MemberCollisionError",
    "MemberNameError",
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
    "StepError",
    "TargetExistsError",
    "TargetIsDirectoryError",
    "UnknownFormatError",
    "__version__",
    "errors",
    "outputs",
    "pack",
    "runs",
]

_FROM_ENGINE = frozenset({"PackReport", "Progress", "__version__"})

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
runs.begin()


def __getattr__(name: str) -> object:
    if name not in _FROM_ENGINE:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from vhpack import _engine

    return getattr(_engine, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_ENGINE})
