"""What `import vhpack` promises: its names, their documentation, and that it costs next to nothing."""

import doctest
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable

import pytest

import vhpack
from vhpack import errors, outbox, runs

EXPECTED = {
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
}
BUILTINS = (ValueError, OSError, RuntimeError, TypeError, ImportError, NotImplementedError, KeyError)
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(vhpack.__path__, "vhpack.") if module.name.rpartition(".")[2][0] != "_"
)
EXAMPLES = [
    example
    for name in ("vhpack._packing", *MODULES)
    for example in doctest.DocTestFinder().find(importlib.import_module(name), name)
    if example.examples
]


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_public_names_are_exactly_these() -> None:
    assert set(vhpack.__all__) == EXPECTED
    assert all(getattr(vhpack, name) is not None for name in EXPECTED)
    assert set(dir(vhpack)) >= EXPECTED


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = vhpack.unknown


NETWORK = ("urllib3", "obstore", "http", "ssl", "socket", "concurrent", "valohai", "requests")
HIDING = ("distributed", "execution", "inputs", "output_properties", "outputs", "parameters", "prepare")


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize(
    "before",
    [
        "import vhpack.{0}",
        "from vhpack.{0} import __doc__",
        "import vhpack; vhpack.{0}; import vhpack.{0}",
        "import importlib; importlib.import_module('vhpack.{0}')",
        "import vhpack.{0}, sys, importlib; importlib.reload(sys.modules['vhpack.{0}'])",
        "import vhpack.{0}, sys; vhpack.{0}; del sys.modules['vhpack.{0}']; import vhpack.{0}",
        "import vhpack; vhpack.install_as_valohai(); from valohai import {0}; import valohai.outputs, valohai.inputs",
        "import vhpack.cli.root, vhpack.supply, vhpack.standin",
    ],
)
def test_what_has_the_name_of_its_module_is_never_hidden_by_it(name: str, before: str) -> None:
    code = f"{before.format(name)}; import vhpack, types; print(isinstance(vhpack.{name}, types.ModuleType), vhpack.{name} is not None)"
    assert run_python(code) == "False True\n"


def test_the_import_loads_one_module_of_ours_and_the_names_load_theirs() -> None:
    code = "import sys; before = set(sys.modules); import vhpack; print(sorted(set(sys.modules) - before - {'types'}))"
    assert run_python(code) == "['vhpack', 'vhpack.env']\n"
    for name in sorted(EXPECTED):
        assert run_python(f"import vhpack; print(vhpack.{name} is vhpack.{name})") == "True\n"


@pytest.mark.parametrize(
    "name",
    [
        *("pack", "outputs", "hash_files", "open", "ArchiveDataset", "prepare", "inputs", "parameters", "logger"),
        *("output_properties", "execution", "reset", "set_status_detail", "install_as_valohai"),
        *("set_upload_destination", "uploads", "wait_for_uploads", "run"),
        *("OutputDir", "map_directory", "read_outputs", "make_directory_output"),
        *("OutputModel", "Model", "query_models"),
    ],
)
def test_public_functions_are_documented_with_an_example(name: str) -> None:
    documentation = inspect.getdoc(getattr(vhpack, name))
    assert documentation is not None
    assert "Example:" in documentation


@pytest.mark.parametrize(
    "function",
    [
        *(vhpack.pack, type(vhpack.outputs()).compress, vhpack.prepare, vhpack.inputs, type(vhpack.inputs("x")).paths),
        *(type(vhpack.outputs()).live_upload, vhpack.set_upload_destination, vhpack.wait_for_uploads, vhpack.run),
        *(vhpack.aliases.set, vhpack.aliases.rollback, vhpack.data.add, vhpack.data.find, vhpack.data.purge, vhpack.data.gc),
        *(
            type(vhpack.outputs()).directory,
            vhpack.OutputDir,
            vhpack.OutputDir.done,
            vhpack.OutputDir.add,
            vhpack.OutputDir.write_bytes,
        ),
        *(vhpack.map_directory, vhpack.read_outputs, vhpack.make_directory_output),
        *(vhpack.OutputModel, vhpack.OutputModel.update_weights, vhpack.OutputModel.update_weights_package),
        *(vhpack.OutputModel.update_design, vhpack.OutputModel.connect, vhpack.OutputModel.wait_for_uploads),
        *(vhpack.Model, vhpack.Model.get_weights, vhpack.Model.get_weights_package, vhpack.Model.set_alias),
        *(vhpack.query_models, vhpack.Task.init),
    ],
)
def test_every_argument_is_documented(function: Callable[..., object]) -> None:
    documentation = inspect.getdoc(function) or ""
    undocumented = [name for name in inspect.signature(function).parameters if f"    {name}: " not in documentation]
    assert undocumented in ([], ["self"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: doctest.DocTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VHPACK_REGISTRY_URL")
    monkeypatch.setattr(outbox, "_own", None)  # what another example has sent is not this one's
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert said == []


def test_every_error_is_a_pack_error_and_a_builtin() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        if not name.endswith("Warning") and name != "PackError":
            assert issubclass(error, errors.PackError)
            assert any(issubclass(error, builtin) for builtin in BUILTINS)


def test_an_engine_failure_becomes_the_builtin_with_errno_and_filename() -> None:
    error = errors._from_engine("target_exists", "`a.zip` exists; say force", 17, "a.zip")
    assert isinstance(error, FileExistsError)
    assert (str(error), error.errno, error.filename) == ("`a.zip` exists; say force", 17, "a.zip")


def test_an_engine_failure_without_errno_keeps_its_sentence() -> None:
    error = errors._from_engine("changed", "`a` grew while it was read", None, "a")
    assert isinstance(error, OSError)
    assert (str(error), error.errno, error.filename) == ("`a` grew while it was read", None, "a")
    assert str(errors._from_engine("no_files", "No files to compress", None, None)) == "No files to compress"


def test_errors_survive_pickling_as_pools_of_processes_need() -> None:
    import pickle

    failed = errors.of_upload("denied", "s3://b/a.zip is denied", 13, "a.zip", "s3://b/a.zip")
    again = pickle.loads(pickle.dumps(failed))
    assert (type(again), str(again), again.path, again.uri) == (type(failed), "s3://b/a.zip is denied", "a.zip", "s3://b/a.zip")
    for kind in ("target_exists", "no_files", "member_not_found", "unsupported"):
        error = errors._from_engine(kind, "a sentence", 17, "a.zip")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
        assert getattr(again, "filename", None) == getattr(error, "filename", None)


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, json; before = set(sys.modules); import vhpack; print(json.dumps(list(set(sys.modules) - before)))"
    loaded = {name.partition(".")[0] for name in json.loads(run_python(code))}
    assert "vhpack._vhpack" not in loaded
    assert not loaded & {
        "click",
        "rich",
        "sqlalchemy",
        "alembic",
        "tempfile",
        "pathlib",
        "subprocess",
        "logging",
        "asyncio",
        "zipfile",
        "json",
        *NETWORK,
    }


def test_import_names_the_run_for_every_child() -> None:
    code = (
        "import os, subprocess, sys; import vhpack; from vhpack import runs;"
        "child = 'from vhpack import runs; print(runs.current().hash)';"
        "print(runs.current().hash == subprocess.check_output([sys.executable, '-c', child], text=True).strip())"
    )
    assert run_python(code) == "True\n"


def test_import_keeps_the_name_that_a_parent_gave() -> None:
    code = "from vhpack import runs; print(runs.current().hash)"
    given = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "VHPACK_RUN_ID": "20261120-120309-59d23c"},
    )
    assert given.stdout == "20261120-120309-59d23c\n"


def test_a_forked_child_shares_the_run() -> None:
    code = (
        "import os, sys; import vhpack\n"
        "from vhpack import runs\n"
        "child = os.fork()\n"
        "print(runs.current().hash, flush=True)\n"
        "child and os.waitpid(child, 0)\n"
    )
    assert len(set(run_python(code).split())) == 1


def test_reset_begins_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_RUN_ID", "before")
    monkeypatch.setenv("VHPACK_RUN_BASE", "/somewhere")
    runs.reset()
    assert runs.current().hash != "before"
    assert runs.current().base == os.getcwd()
