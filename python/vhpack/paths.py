"""Where a run's files are."""

import os.path
from typing import TYPE_CHECKING

from vhpack.errors import OptionError

if TYPE_CHECKING:
    from vhpack.env import Environment
    from vhpack.runs import Run

_JOB_OUTPUTS = "/valohai/outputs"
_LOCAL_OUTPUTS = ".valohai/outputs"


def outputs_root(environment: "Environment", run: "Run") -> str:
    """Return the absolute folder of all outputs of a run; it need not exist yet.

    `VH_OUTPUTS_DIR` decides alone; else a job (`VH_JOB_ID`) writes to `/valohai/outputs`, and a local run to
    `.valohai/outputs/{hash}` below its base, without the hash when `VH_FLAT_LOCAL_OUTPUTS` is set.

    Example:
        >>> from vhpack.env import Environment
        >>> from vhpack.paths import outputs_root
        >>> from vhpack.runs import Run
        >>> local = Environment("", "", "", "", "", "")
        >>> outputs_root(local, Run(hash="20261120-120309-59d23c", base="/home/ann"))
        '/home/ann/.valohai/outputs/20261120-120309-59d23c'
    """
    if environment.outputs_dir:
        place = environment.outputs_dir
    elif environment.job_id:
        place = _JOB_OUTPUTS
    elif environment.flat_local_outputs:
        place = _LOCAL_OUTPUTS
    else:
        place = f"{_LOCAL_OUTPUTS}/{run.hash}"
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
