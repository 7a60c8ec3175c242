"""The job layer and the archives of an ML job: parameters, inputs, metrics, outputs, and packing without losing a file.

`vhpack.prepare(...)` says what a step has, `vhpack.inputs(...)` and `vhpack.parameters(...)` give it, `vhpack.outputs(...)`
knows where outputs go and packs them; `vhpack.pack(...)` packs any files to any place. Importing this module names the run
(see `vhpack.runs`) and loads nothing heavy: engine and network come with the first call that needs them.
"""

from typing import TYPE_CHECKING

from vhpack import errors, metadata, paths, runs
from vhpack._packing import pack

# A function or instance of its module's name hides that module, which must therefore be loaded here and not later: loading
# it would put the module over the function.
from vhpack.distributed import distributed
from vhpack.errors import (
    ConfigError,
    DistributedError,
    JobWarning,
    MemberCollisionError,
    MemberNameError,
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
    YamlError,
)
from vhpack.execution import execution
from vhpack.metadata import logger
from vhpack.output_properties import output_properties
from vhpack.outputs import outputs
from vhpack.parameters import parameters
from vhpack.prepare import prepare
from vhpack.runs import reset

if TYPE_CHECKING:
    from vhpack._engine import PackReport, Progress, __version__

__all__ = [
    "ConfigError",
    "DistributedError",
    "JobWarning",
    "MemberCollisionError",
    "MemberNameError",
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
    "YamlError",
    "__version__",
    "distributed",
    "errors",
    "execution",
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
]

_FROM_ENGINE = frozenset({"PackReport", "Progress", "__version__"})

# Of `valohai-utils`, and there only when that is installed; `from vhpack import *` must work without.
_FROM_EXTRA = frozenset({"Pipeline", "triggers", "webhooks"})

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
runs.begin()


def __getattr__(name: str) -> object:
    if name in _FROM_EXTRA:
        from vhpack import incumbent

        return incumbent.take(name)
    if name not in _FROM_ENGINE:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from vhpack import _engine

    return getattr(_engine, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_ENGINE, *_FROM_EXTRA})
