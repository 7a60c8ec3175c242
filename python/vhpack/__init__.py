"""The job layer and the archives of an ML job: parameters, inputs, metrics, outputs, and packing without losing a file.

`vhpack.prepare(...)` says what a step has, `vhpack.inputs(...)` and `vhpack.parameters(...)` give it, `vhpack.outputs(...)`
knows where outputs go and packs them; `vhpack.pack(...)` packs any files to any place; `vhpack.open(...)` reads archives, and
`vhpack.ArchiveDataset(...)` gives their files to training loops; `vhpack.map_directory(...)` makes one directory of another;
`vhpack.aliases` and `vhpack.data` keep the books about what runs have made, and `vhpack.OutputModel` about models. Importing
this module names the run (see `vhpack.runs`) and loads nothing else: each name comes with its module when it is first used.
"""

import sys
from types import ModuleType

from vhpack import env

TYPE_CHECKING = False  # as type checkers know it; the module `typing` would cost as much as all the rest here
if TYPE_CHECKING:
    from vhpack import aliases, config, consts, errors, metadata, paths, runs, types
    from vhpack import datums as data
    from vhpack._engine import ExtractReport, Member, PackReport, Progress, VerifyReport, __version__
    from vhpack._packing import pack
    from vhpack.archive import Archive
    from vhpack.archive import open as open  # noqa: A004 - not in `__all__`: a star import must not hide the builtin
    from vhpack.committed import read_outputs
    from vhpack.controller_api import set_status_detail
    from vhpack.dataset import ArchiveDataset
    from vhpack.directory import OutputDir
    from vhpack.directory_tasks import make_directory_output
    from vhpack.distributed import distributed
    from vhpack.errors import (
        BadDestinationError,
        ChecksumError,
        ConfigError,
        ContentError,
        CorruptArchiveError,
        DistributedError,
        DownloadError,
        FunctionError,
        JobWarning,
        JournalError,
        LimitExceededError,
        MemberCollisionError,
        MemberNameError,
        MemberNotFoundError,
        MissingExtraError,
        ModelError,
        NoCredentialsError,
        NoFilesError,
        NoSpaceError,
        NoSuchBucketError,
        NoTargetError,
        NotRegisteredError,
        OptionError,
        PackError,
        PackOSError,
        PackPermissionError,
        PackWarning,
        PropertyError,
        RegistrationError,
        RegistryError,
        SourceChangedError,
        SourceNotFoundError,
        SpecialFileError,
        StalledError,
        StepError,
        TargetExistsError,
        TargetIsDirectoryError,
        UnknownFormatError,
        UnknownSchemeError,
        UnreachableError,
        UnsafeMemberError,
        UnsupportedArchiveError,
        UploadCancelledError,
        UploadCorruptError,
        UploadDeniedError,
        UploadError,
        UploadExistsError,
        UploadOutsideError,
        UploadRejectedError,
        UploadsFailedError,
        UploadSourceChangedError,
        UploadSourceMissingError,
        UploadTooLargeError,
        YamlError,
    )
    from vhpack.execution import execution
    from vhpack.hashing import hash_files
    from vhpack.inputs import inputs
    from vhpack.mapping import Summary, map_directory
    from vhpack.metadata import logger
    from vhpack.models import Model, query_models
    from vhpack.output_model import OutputModel
    from vhpack.output_properties import output_properties
    from vhpack.outputs import outputs
    from vhpack.parameters import parameters
    from vhpack.prepare import prepare
    from vhpack.recording import run
    from vhpack.runs import reset
    from vhpack.standin import install_as_valohai
    from vhpack.tasks import Task
    from vhpack.upload import Upload, UploadReport
    from vhpack.uploading import set_upload_destination, uploads, wait_for_uploads

__all__ = [
    "Archive",
    "ArchiveDataset",
    "BadDestinationError",
    "ChecksumError",
    "ConfigError",
    "ContentError",
    "CorruptArchiveError",
    "DistributedError",
    "DownloadError",
    "ExtractReport",
    "FunctionError",
    "JobWarning",
    "JournalError",
    "LimitExceededError",
    "Member",
    "MemberCollisionError",
    "MemberNameError",
    "MemberNotFoundError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "NoCredentialsError",
    "NoFilesError",
    "NoSpaceError",
    "NoSuchBucketError",
    "NoTargetError",
    "NotRegisteredError",
    "OptionError",
    "OutputDir",
    "OutputModel",
    "PackError",
    "PackOSError",
    "PackPermissionError",
    "PackReport",
    "PackWarning",
    "Progress",
    "PropertyError",
    "RegistrationError",
    "RegistryError",
    "SourceChangedError",
    "SourceNotFoundError",
    "SpecialFileError",
    "StalledError",
    "StepError",
    "Summary",
    "TargetExistsError",
    "TargetIsDirectoryError",
    "Task",
    "UnknownFormatError",
    "UnknownSchemeError",
    "UnreachableError",
    "UnsafeMemberError",
    "UnsupportedArchiveError",
    "Upload",
    "UploadCancelledError",
    "UploadCorruptError",
    "UploadDeniedError",
    "UploadError",
    "UploadExistsError",
    "UploadOutsideError",
    "UploadRejectedError",
    "UploadReport",
    "UploadSourceChangedError",
    "UploadSourceMissingError",
    "UploadTooLargeError",
    "UploadsFailedError",
    "VerifyReport",
    "YamlError",
    "__version__",
    "aliases",
    "config",
    "consts",
    "data",
    "distributed",
    "errors",
    "execution",
    "hash_files",
    "inputs",
    "install_as_valohai",
    "logger",
    "make_directory_output",
    "map_directory",
    "metadata",
    "output_properties",
    "outputs",
    "pack",
    "parameters",
    "paths",
    "prepare",
    "query_models",
    "read_outputs",
    "reset",
    "run",
    "runs",
    "set_status_detail",
    "set_upload_destination",
    "types",
    "uploads",
    "wait_for_uploads",
]

# Where each name comes from. A function or instance of its module's name hides that module.
_HIDING = ("distributed", "execution", "inputs", "output_properties", "outputs", "parameters", "prepare")
_MODULES = ("aliases", "config", "consts", "errors", "metadata", "paths", "runs", "types")
_LATER = {
    **dict.fromkeys(("ExtractReport", "Member", "PackReport", "Progress", "VerifyReport", "__version__"), "vhpack._engine"),
    **dict.fromkeys(("Archive", "open"), "vhpack.archive"),
    **dict.fromkeys(("Model", "query_models"), "vhpack.models"),
    **dict.fromkeys(("Summary", "map_directory"), "vhpack.mapping"),
    **dict.fromkeys(("Upload", "UploadReport"), "vhpack.upload"),
    **dict.fromkeys(("set_upload_destination", "uploads", "wait_for_uploads"), "vhpack.uploading"),
    **{name: f"vhpack.{name}" for name in _HIDING},
    **{name: "vhpack.errors" for name in __all__ if name.endswith(("Error", "Warning"))},
    "ArchiveDataset": "vhpack.dataset",
    "OutputDir": "vhpack.directory",
    "OutputModel": "vhpack.output_model",
    "Task": "vhpack.tasks",
    "hash_files": "vhpack.hashing",
    "install_as_valohai": "vhpack.standin",
    "logger": "vhpack.metadata",
    "make_directory_output": "vhpack.directory_tasks",
    "pack": "vhpack._packing",
    "read_outputs": "vhpack.committed",
    "reset": "vhpack.runs",
    "run": "vhpack.recording",
    "set_status_detail": "vhpack.controller_api",
}

# Modules that are known by another name: data are datums.
_RENAMED = {"data": "vhpack.datums"}

# Of `valohai-utils`, and there only when that is installed; `from vhpack import *` must work without.
_FROM_EXTRA = frozenset({"Pipeline", "triggers", "webhooks"})


class _Package(ModuleType):
    """This package, whose functions stay when a module of their name is loaded, at whatever time and by whom."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system sets each module as an attribute of its package once it is loaded.
        if name not in _HIDING or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

# An import with a side effect, on purpose: children inherit the name of the run only if it is there before they are.
env.name_run()


def __getattr__(name: str) -> object:
    if name in _FROM_EXTRA:
        from vhpack import incumbent

        return incumbent.take(name)
    if name not in _LATER and name not in _MODULES and name not in _RENAMED:
        raise AttributeError(f"module 'vhpack' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_LATER.get(name) or _RENAMED.get(name, f"vhpack.{name}"))
    return globals().setdefault(name, getattr(module, name) if name in _LATER else module)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_MODULES, *_RENAMED, *_FROM_EXTRA})
