"""Where a run's files are: absolute folders, which stay the same whatever `os.chdir` does later."""

import os
from typing import TYPE_CHECKING

from vhpack import consts, env, runs
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from vhpack.env import Environment
    from vhpack.runs import Run

_JOB_CONFIG = "/valohai/config"
_JOB_INPUTS = "/valohai/inputs"
_JOB_OUTPUTS = "/valohai/outputs"
_JOB_REPOSITORY = "/valohai/repository"


def get_config_path() -> str:
    """Return the folder of `parameters.json`, `inputs.json` and their like: `VH_CONFIG_DIR`, or the usual place.

    Example:
        >>> from vhpack import paths
        >>> paths.get_config_path()
        '/.../.valohai/config'
    """
    environment = env.read()
    return _settled(environment.config_dir, _JOB_CONFIG if environment.job_id else consts.VH_LOCAL_CONFIG_DIR)


def get_inputs_path(input_name: str | None = None) -> str:
    """Return the folder of a step's inputs, or of the one called `input_name`: below `VH_INPUTS_DIR`, or the usual place.

    Locally that is `.valohai/inputs/{step}`, with `default` for a run without `prepare()`.

    Example:
        >>> from vhpack import paths
        >>> paths.get_inputs_path("images")
        '/.../.valohai/inputs/.../images'
    """
    environment = env.read()
    local = f"{consts.VH_LOCAL_INPUTS_DIR}/{folder_name(runs.current().step or 'default')}"
    root = _settled(environment.inputs_dir, _JOB_INPUTS if environment.job_id else local)
    return os.path.join(root, input_name) if input_name else root


def get_outputs_path() -> str:
    """Return the folder of the run's outputs; `outputs_root` has the rules.

    Example:
        >>> import vhpack
        >>> from vhpack import paths
        >>> paths.get_outputs_path() == vhpack.outputs().dir_path
        True
    """
    return outputs_root(env.read(), runs.current())


def get_repository_path() -> str:
    """Return the folder of the source code: `VH_REPOSITORY_DIR`, or the usual place; locally where the run started."""
    environment = env.read()
    return _settled(environment.repository_dir, _JOB_REPOSITORY if environment.job_id else consts.VH_LOCAL_REPOSITORY_DIR)


def get_inputs_config_path() -> str:
    """Return the path of `inputs.json`; it need not exist."""
    return os.path.join(get_config_path(), "inputs.json")


def get_parameters_config_path() -> str:
    """Return the path of `parameters.json`; it need not exist."""
    return os.path.join(get_config_path(), "parameters.json")


def get_distributed_config_path() -> str:
    """Return the path of `distributed.json`; it need not exist."""
    return os.path.join(get_config_path(), "distributed.json")


def get_api_config_path() -> str:
    """Return the path of `api.json`; it need not exist."""
    return os.path.join(get_config_path(), "api.json")


def cache_path() -> str:
    """Return the folder of what was downloaded or unpacked: beside the inputs, so that files move there without a copy.

    In a job whose inputs cannot be written to, it is a folder for temporary files.

    Raises:
        OptionError: that folder is somebody else's.
    """
    environment = env.read()
    usual = _JOB_INPUTS if environment.job_id else consts.VH_LOCAL_INPUTS_DIR
    root = _settled(environment.inputs_dir, usual)
    if environment.job_id and not _is_writable(root):
        import tempfile

        root = os.path.join(tempfile.gettempdir(), f"vhpack-{os.getuid()}")
        _claim(root)
    return os.path.join(root, ".cache")


def models_path() -> str:
    """Return the folder of models that were fetched: beside the inputs, as the cache is, and hidden from them."""
    return os.path.join(os.path.dirname(cache_path()), ".models")


def spool_path() -> str:
    """Return the folder of what is on its way to a model's store: where the run started, and no part of its outputs."""
    return _settled("", consts.VH_LOCAL_SPOOL_DIR)


def outputs_root(environment: "Environment", run: "Run") -> str:
    """Return the absolute folder of all outputs of a run; it need not exist yet.

    `VH_OUTPUTS_DIR` decides alone; else a job (`VH_JOB_ID`) writes to `/valohai/outputs`, and a local run to
    `.valohai/outputs/{hash}` below its base, without the hash when `VH_FLAT_LOCAL_OUTPUTS` is set.

    Example:
        >>> from vhpack.env import Environment
        >>> from vhpack.paths import outputs_root
        >>> from vhpack.runs import Run
        >>> outputs_root(Environment(), Run(hash="20261120-120309-59d23c", base="/home/ann"))
        '/home/ann/.valohai/outputs/20261120-120309-59d23c'
    """
    if environment.outputs_dir:
        place = environment.outputs_dir
    elif environment.job_id:
        place = _JOB_OUTPUTS
    elif environment.flat_local_outputs:
        place = consts.VH_LOCAL_OUTPUTS_DIR
    else:
        place = f"{consts.VH_LOCAL_OUTPUTS_DIR}/{run.hash}"
    return os.path.normpath(os.path.join(run.base, place))


def outputs_folder(root: str, name: str) -> str:
    """Return the absolute folder of the outputs called `name`, a path relative to `root` or an absolute one below it.

    Raises:
        OptionError: the folder would lie outside `root`, where nothing counts as an output.
    """
    folder = os.path.normpath(os.path.join(root, name))
    if folder != root and not folder.startswith(root.rstrip("/") + "/"):
        raise OptionError(f"outputs({name!r}) lies outside the outputs folder {root!r}; give a path relative to it")
    return folder


def name_below(root: str, path: str) -> str:
    """Return an absolute path as a name relative to `root`.

    Raises:
        OptionError: it lies outside `root`.

    Example:
        >>> from vhpack.paths import name_below
        >>> name_below("/outputs", "/outputs/images/1.png")
        'images/1.png'
    """
    if not path.startswith(root.rstrip("/") + "/"):
        raise OptionError(f"{path} lies outside the outputs folder {root!r}, so nothing says what to call it; move it there")
    return path[len(root.rstrip("/")) + 1 :]


def folder_name(step: str) -> str:
    """Return a step's name as that of one folder, which leads nowhere else.

    Example:
        >>> from vhpack.paths import folder_name
        >>> folder_name("train model"), folder_name("../up")
        ('train model', '..-up')
    """
    return step.replace("/", "-").replace("\0", "-") if step not in (".", "..") else "default"


def _claim(folder: str) -> None:
    """Make a folder among everybody's temporary files; one of somebody else's might hold anything under our names."""
    import contextlib
    import stat

    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise OptionError(f"{folder} is somebody else's, and is not used; set TMPDIR to a folder of your own")


def _is_writable(folder: str) -> bool:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK)


def _settled(chosen: str, usual: str) -> str:
    return os.path.normpath(os.path.join(runs.current().base, chosen or usual))
