"""A run: one execution of a step, with a name of its own and the folder it started in."""

import os
import time
from dataclasses import dataclass

from vhpack import env
from vhpack.errors import OptionError


@dataclass(frozen=True)
class Run:
    """What tells one run from another."""

    hash: str
    """`%Y%m%d-%H%M%S-xxxxxx` in local time, so that folders named after runs sort by age."""
    base: str
    """Absolute folder that relative places start from, whatever `os.chdir` does later."""


def begin() -> None:
    """Name the run, unless a parent process has.

    `import vhpack` does this, so that a child (forked, spawned or a program of its own) that packs before its parent
    does still writes into the parent's run.
    """
    if not env.read().run_id:
        env.share_run(run_id=_new_hash())


def current() -> Run:
    """Return the run that this process and its children share.

    The first call settles the run's base: the working directory at that moment.

    Raises:
        OptionError: `VHPACK_RUN_ID` was set by hand to something that cannot be a folder's name.

    Example:
        >>> import os
        >>> from vhpack import runs
        >>> run = runs.current()
        >>> os.path.isabs(run.base), run == runs.current()
        (True, True)
    """
    begin()
    if not env.read().run_base:
        env.share_run(run_base=os.getcwd())
    known = env.read()
    if known.run_id in (".", "..") or "/" in known.run_id:
        raise OptionError(f"VHPACK_RUN_ID is {known.run_id!r}, which is no folder name; unset it, or set it to one")
    return Run(hash=known.run_id, base=os.path.abspath(known.run_base))


def reset() -> None:
    """Forget the run: the next use starts a new one, in the working directory at that moment.

    Example:
        >>> from vhpack import runs
        >>> before = runs.current()
        >>> runs.reset()
        >>> runs.current().hash != before.hash
        True
    """
    env.forget_run()


def _new_hash() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
