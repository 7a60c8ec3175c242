"""The job layer and the archives of an ML job: parameters, inputs, metrics, outputs, and packing without losing a file.

`vhpack.prepare(...)` says what a step has, `vhpack.inputs(...)` and `vhpack.parameters(...)` give it, `vhpack.outputs(...)`
knows where outputs go and packs them; `vhpack.pack(...)` packs any files to any place; `vhpack.open(...)` reads archives, and
`vhpack.ArchiveDataset(...)` gives their files to training loops. Importing this module names the run (see `vhpack.runs`) and
loads nothing heavy: engine and network come with the first call that needs them.
"""

from typing import TYPE_CHECKING

from vhpack import config, consts, errors, metadata, paths, runs, types
from vhpack._packing import pack
from vhpack.controller_api import set_status_detail

# A function or instance of its module's name hides that module, which must therefore be loaded here and not later: loading
# it would put the module over the function.
from vhpack.distributed import distributed
from vhpack.errors import (
    ChecksumError,
    ConfigError,
    CorruptArchiveError,
    DistributedError,
    DownloadError,
    JobWarning,
    LimitExceededError,
    MemberCollisionError,
    MemberNameError,
    MemberNotFoundError,
    MissingExtraError,
    NoFilesError,
    NoSpaceError,
    OptionError,
    PackError,
    PackOSError,
    PackPermissionError,
    PackWarning,
    PropertyError,
    SourceChangedError,
    SourceNotFoundError,
    SpecialFileError,
    StepError,
    TargetExistsError,
    TargetIsDirectoryError,
    UnknownFormatError,
    UnsafeMemberError,
    UnsupportedArchiveError,
    YamlError,
)
from vhpack.execution import execution
from vhpack.inputs import inputs
from vhpack.metadata import logger
from vhpack.output_properties import output_properties
from vhpack.outputs import outputs
from vhpack.parameters import parameters
from vhpack.prepare import prepare
from vhpack.runs import reset

if TYPE_CHECKING:
    from vhpack._engine import ExtractReport, Member, PackReport, Progress, VerifyReport, __version__
    from vhpack.archive import Archive
    from vhpack.archive import open as open  # noqa: A004 - not in `__all__`: a star import must not hide the builtin
    from vhpack.dataset import ArchiveDataset
    from vhpack.hashing import hash_files
    from vhpack.standin import install_as_valohai

__all__ = [
    "Archive",
    "ArchiveDataset",
    "ChecksumError",
    "ConfigError",
    "CorruptArchiveError",
    "DistributedError",
    "DownloadError",
    "ExtractReport",
    "JobWarning",
    "LimitExceededError",
    "Member",
    "MemberCollisionError",
    "MemberNameError",
    "MemberNotFoundError",
    "MissingExtraError",
    "NoFilesError",
    "NoSpaceError",
    "OptionError",
    "PackError",
    "PackOSError",
    "PackPermissionError",
    "PackReport",
    "PackWarning",
    "Progress",
    "PropertyError",
    "SourceChangedError",
    "SourceNotFoundError",
    "SpecialFileError",
    "StepError",
    "TargetExistsError",
    "TargetIsDirectoryError",
    "UnknownFormatError",
    "UnsafeMemberError",
    "UnsupportedArchiveError",
    "VerifyReport",
    "YamlError",
    "__version__",
    "config",
    "consts",
    "distributed",
    "errors",
    "execution",
    "hash_files",
    "inputs",
    "install_as_valohai",
    "logger",
    "metadata",
    "output_properties",
    "outputs",
    "pack",
    "parameters",
    "paths",
    "prepare",
    "reset",
    "runs",
    "set_status_detail",
    "types",
]

_LATER = {
    **dict.fromkeys(("ExtractReport", "Member", "PackReport", "Progress", "VerifyReport", "__version__"), "vhpack._engine"),
    **dict.fromkeys(("Archive", "open"), "vhpack.archive"),
    "ArchiveDataset": "vhpack.dataset",
    "hash_files": "vhpack.hashing",
    "install_as_valohai": "vhpack.standin",
}

# Of `valohai-utils`, and there only when that is installed; `from vhpack import *` must work without.
_FROM_EXTRA = frozenset({"Pipeline", "triggers", "webhooks"})

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
runs.begin()


def __getattr__(name: str) -> object:
    if name in _FROM_EXTRA:
        from vhpack import incumbent

        return incumbent.take(name)
    if name not in _LATER:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from importlib import import_module

    return globals().setdefault(name, getattr(import_module(_LATER[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FROM_EXTRA})
