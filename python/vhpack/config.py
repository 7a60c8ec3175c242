"""Where this process runs: in a job, in a deployment, in a notebook, or on somebody's machine."""

import os

from vhpack import env

_DEPLOYMENT_FILE = "/valohai/valohai-metadata.json"


def is_running_in_valohai() -> bool:
    """Return whether this is a job of the platform: `VH_JOB_ID` is set and not empty.

    Example:
        >>> from vhpack.config import is_running_in_valohai
        >>> is_running_in_valohai()
        False
    """
    return bool(env.read().job_id)


def is_valohai_deployment() -> bool:
    """Return whether this is a deployment of the platform: `VALOHAI_PORT` is set, or its metadata file is there."""
    return bool(env.read().deployment_port) or os.path.exists(_DEPLOYMENT_FILE)


def is_flat_output_path() -> bool:
    """Return whether local outputs go without a folder for each run: `VH_FLAT_LOCAL_OUTPUTS` is set and not empty."""
    return bool(env.read().flat_local_outputs)


def is_in_notebook() -> bool:
    """Return whether this process, or one above it, is a notebook's."""
    return bool(env.read().notebook)
