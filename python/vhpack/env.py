"""The environment variables that vhpack knows: the only module that reads or writes `os.environ`."""

import os

_RUN_ID = "VHPACK_RUN_ID"
_RUN_BASE = "VHPACK_RUN_BASE"
_RUN_RECORDER = "VHPACK_RUN_RECORDER"
_RUN_COPY_OF = "VHPACK_RUN_COPY_OF"
_CLOUDS = ("AWS_", "GOOGLE_", "AZURE_", "IDENTITY_ENDPOINT")
_NOTEBOOK = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "VALOHAI_NOTEBOOK_INSTANCE_ID")


class Environment:
    """The variables as they were when `read` was called; one that is unset is an empty string.

    An empty variable counts as unset, as it does for the platform's own tools.
    """

    # No dataclass: the module of that name, and all that it loads, would take three quarters of `import vhpack`.
    __slots__ = (
        "cache_days",
        "config_dir",
        "config_home",
        "deployment_port",
        "exit_timeout",
        "flat_local_outputs",
        "inputs_dir",
        "job_id",
        "notebook",
        "offline",
        "outputs_dir",
        "project",
        "registry_url",
        "repository_dir",
        "run_base",
        "run_copy_of",
        "run_id",
        "run_recorder",
        "source_date_epoch",
        "state_dir",
        "state_home",
        "store_dir",
        "timeout",
        "upload",
        "upload_uri",
        "valohai_config_dir",
        "valohai_host",
        "valohai_token",
    )
    job_id: str
    """`VH_JOB_ID`: set by the platform for each job; its presence tells a job from a local run."""
    config_dir: str
    """`VH_CONFIG_DIR`: where `parameters.json` and its like are, whatever the other variables say."""
    inputs_dir: str
    """`VH_INPUTS_DIR`: where inputs are, whatever the other variables say."""
    outputs_dir: str
    """`VH_OUTPUTS_DIR`: where outputs go, whatever the other variables say."""
    repository_dir: str
    """`VH_REPOSITORY_DIR`: where the source code is, whatever the other variables say."""
    flat_local_outputs: str
    """`VH_FLAT_LOCAL_OUTPUTS`: when set, local outputs get no folder for each run."""
    deployment_port: str
    """`VALOHAI_PORT`: set by the platform in a deployment."""
    notebook: str
    """The first that is set of `JPY_PARENT_PID`, `JPY_SESSION_NAME` and `VALOHAI_NOTEBOOK_INSTANCE_ID`."""
    timeout: str
    """`VHPACK_TIMEOUT`: seconds that a server may say nothing before it is asked again."""
    cache_days: str
    """`VHPACK_CACHE_DAYS`: days without use after which what was downloaded or unpacked leaves the cache; unset, it stays."""
    run_id: str
    """`VHPACK_RUN_ID`: the name of this run, shared by a process and its children."""
    run_base: str
    """`VHPACK_RUN_BASE`: the folder that relative places of this run start from."""
    run_copy_of: str
    """`VHPACK_RUN_COPY_OF`: the run whose data the inputs of this one mean, as `vhpack run --copy` says."""
    run_recorder: str
    """`VHPACK_RUN_RECORDER`: the process that registers the outputs of this run at its end."""
    registry_url: str
    """`VHPACK_REGISTRY_URL`: the registry: a path, `sqlite:///PATH`, `postgresql://...`, or `off`."""
    project: str
    """`VHPACK_PROJECT`: whose aliases and datasets count, in a registry of several projects."""
    store_dir: str
    """`VHPACK_STORE_DIR`: the folder of the contents that local runs have registered."""
    offline: str
    """`VHPACK_OFFLINE`: when set, no input is fetched or looked for over a network, and the platform is asked nothing."""
    valohai_host: str
    """`VALOHAI_HOST`: the platform's address, as its own command line has it."""
    valohai_token: str
    """`VALOHAI_TOKEN`: what that is to be asked with."""
    valohai_config_dir: str
    """`VALOHAI_CONFIG_DIR`: the folder of the settings of `valohai-cli`."""
    config_home: str
    """`XDG_CONFIG_HOME`, else `.config` in the home folder: where programs keep their settings."""
    source_date_epoch: str
    """`SOURCE_DATE_EPOCH`: the time of all members of a reproducible archive, in seconds since 1970."""
    upload: str
    """`VHPACK_UPLOAD`: who sends outputs: `platform`, `self` (vhpack) or `off` (nobody)."""
    upload_uri: str
    """`VHPACK_UPLOAD_URI`: where vhpack sends outputs."""
    state_dir: str
    """`VHPACK_STATE_DIR`: the folder of the records from which uploads go on after a crash."""
    exit_timeout: str
    """`VHPACK_EXIT_TIMEOUT`: seconds that the end of the program waits for uploads."""
    state_home: str
    """`XDG_STATE_HOME`, else `.local/state` in the home folder: where programs keep such records."""

    def __init__(self, **values: str) -> None:
        for name in self.__slots__:
            setattr(self, name, values.pop(name, ""))
        if values:
            raise TypeError(f"no variables of these names are known: {', '.join(values)}")


def read() -> Environment:
    """Read the variables as they are now."""
    return Environment(
        job_id=os.environ.get("VH_JOB_ID", ""),
        config_dir=os.environ.get("VH_CONFIG_DIR", ""),
        inputs_dir=os.environ.get("VH_INPUTS_DIR", ""),
        outputs_dir=os.environ.get("VH_OUTPUTS_DIR", ""),
        repository_dir=os.environ.get("VH_REPOSITORY_DIR", ""),
        flat_local_outputs=os.environ.get("VH_FLAT_LOCAL_OUTPUTS", ""),
        deployment_port=os.environ.get("VALOHAI_PORT", ""),
        notebook=next((os.environ[name] for name in _NOTEBOOK if os.environ.get(name)), ""),
        timeout=os.environ.get("VHPACK_TIMEOUT", ""),
        cache_days=os.environ.get("VHPACK_CACHE_DAYS", ""),
        run_id=os.environ.get(_RUN_ID, ""),
        run_base=os.environ.get(_RUN_BASE, ""),
        run_copy_of=os.environ.get(_RUN_COPY_OF, ""),
        run_recorder=os.environ.get(_RUN_RECORDER, ""),
        registry_url=os.environ.get("VHPACK_REGISTRY_URL", ""),
        project=os.environ.get("VHPACK_PROJECT", ""),
        store_dir=os.environ.get("VHPACK_STORE_DIR", ""),
        offline=os.environ.get("VHPACK_OFFLINE", ""),
        valohai_host=os.environ.get("VALOHAI_HOST", ""),
        valohai_token=os.environ.get("VALOHAI_TOKEN", ""),
        valohai_config_dir=os.environ.get("VALOHAI_CONFIG_DIR", ""),
        config_home=os.environ.get("XDG_CONFIG_HOME", "") or os.path.join(os.path.expanduser("~"), ".config"),
        source_date_epoch=os.environ.get("SOURCE_DATE_EPOCH", ""),
        upload=os.environ.get("VHPACK_UPLOAD", ""),
        upload_uri=os.environ.get("VHPACK_UPLOAD_URI", ""),
        state_dir=os.environ.get("VHPACK_STATE_DIR", ""),
        exit_timeout=os.environ.get("VHPACK_EXIT_TIMEOUT", ""),
        state_home=os.environ.get("XDG_STATE_HOME", "") or _state_home(),
    )


def _state_home() -> str:
    home = os.path.expanduser("~")
    # Containers run users that nobody knows; the working folder is no place for what has to be found again.
    return os.path.join(home, ".local", "state") if os.path.isabs(home) else f"/var/tmp/vhpack-{os.geteuid()}"  # noqa: S108


def of_clouds() -> dict[str, str]:
    """Return the variables by which the clouds' own tools are told about accounts and servers, unless they are empty."""
    return {name: value for name, value in os.environ.items() if value and name.startswith(_CLOUDS)}


def name_run() -> None:
    """Give the run a name that this process and its children share, unless a parent process has.

    `%Y%m%d-%H%M%S-xxxxxx` in local time, so that folders named after runs sort by age.
    """
    if not os.environ.get(_RUN_ID):
        import time

        os.environ[_RUN_ID] = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"


def share_base(run_base: str) -> None:
    """Hand a run's base folder to this process's children, unless one is set already."""
    if not os.environ.get(_RUN_BASE):
        os.environ[_RUN_BASE] = run_base


def take_recording() -> bool:
    """Make this process the one that registers the run, unless another is; return whether it is this one."""
    return os.environ.setdefault(_RUN_RECORDER, str(os.getpid())) == str(os.getpid())


def forget_run() -> None:
    """Unset what tells this process and its children of the run."""
    for name in (_RUN_ID, _RUN_BASE, _RUN_RECORDER, _RUN_COPY_OF):
        os.environ.pop(name, None)


def with_on_path(folder: str, *, copy_of: str = "") -> dict[str, str]:
    """Return all variables for a program whose Python looks for modules in `folder` first, and which copies a run's data."""
    paths = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    more = {_RUN_COPY_OF: copy_of} if copy_of else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **more}
