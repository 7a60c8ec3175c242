"""A run: one execution of a step, with a name of its own, the folder it started in, and what it was given."""

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack import env
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhpack.given import GivenInput
    from vhpack.values import Value


@dataclass(frozen=True)
class Run:
    """What tells one run from another."""

    hash: str
    """`%Y%m%d-%H%M%S-xxxxxx` in local time, so that folders named after runs sort by age."""
    base: str
    """Absolute folder that relative places start from, whatever `os.chdir` does later."""
    step: str = ""
    """The step's name, once `prepare()` has said it."""
    parameters: "Mapping[str, Value]" = field(default_factory=dict)
    """Name to value, once they are settled."""
    inputs: "Mapping[str, GivenInput]" = field(default_factory=dict)
    """Name to what it consists of, once they are settled."""
    had: set[str] = field(default_factory=set, compare=False)
    """Paths of what was downloaded in this run, which is not asked for again."""


@dataclass(frozen=True)
class Settled:
    """What a run was given, by whichever of code, files and command line has the last word."""

    step: str
    parameters: "Mapping[str, Value]"
    inputs: "Mapping[str, GivenInput]"
    had: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Destination:
    """Where outputs are sent."""

    uri: str
    options: "Mapping[str, str]" = field(default_factory=dict)
    """What to know of the server and the account, each a text; `vhpack.set_upload_destination` lists them."""


# Where this process and its forks send outputs, when the script has said so.
_destination: Destination | None = None

# Where this program, and its forks, were when they first asked for the run.
_here: str | None = None

# What `prepare()` settles holds for this process and its forks; the default run is the only one that has it.
_settled: Settled | None = None


def begin() -> None:
    """Name the run, unless a parent process has.

    `import vhpack` does this, so that a child (forked, spawned or a program of its own) that packs before its parent
    does still writes into the parent's run.
    """
    env.name_run()


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
    global _here  # noqa: PLW0603 - the default instance
    begin()
    if not env.read().run_base:
        env.share_base(os.getcwd())
    known = env.read()
    if _here is None:
        _here = known.run_base if _is_worker() else os.getcwd()
    if known.run_id in (".", "..") or "/" in known.run_id:
        raise OptionError(f"VHPACK_RUN_ID is {known.run_id!r}, which is no folder name; unset it, or set it to one")
    base = os.path.abspath(known.run_base)
    if _settled is None:
        return Run(hash=known.run_id, base=base)
    return Run(known.run_id, base, _settled.step, _settled.parameters, _settled.inputs, _settled.had)


def here() -> str:
    """Return the absolute folder that the local places of inputs start from, whatever `os.chdir` does later.

    It is the base of the run; in a program of its own that a run has started, with a run's name from there, it is the folder that
    that program was started in, as whoever wrote its command line meant.
    """
    current()
    return os.path.abspath(_here or os.curdir)


def _is_worker() -> bool:
    """Return whether this is a process of multiprocessing, which is to do what its parent would, wherever that has gone to."""
    loaded = sys.modules.get("multiprocessing.process")
    # By its name, too: while a spawned one imports the program it has no parent yet.
    return loaded is not None and (loaded.parent_process() is not None or loaded.current_process().name != "MainProcess")


def settle(given: Settled) -> None:
    """Let the default run be given this; what it was given before is forgotten."""
    global _settled  # noqa: PLW0603 - the default instance
    _settled = given


def is_settled() -> bool:
    """Return whether the default run was given anything, if only nothing."""
    return _settled is not None


def send_to(destination: Destination | None) -> None:
    """Let the run's outputs be sent there."""
    global _destination  # noqa: PLW0603 - the default instance
    _destination = destination


def destination() -> Destination | None:
    """Return where the script has said that the run's outputs are sent."""
    return _destination


def reset() -> None:
    """Forget the run, its step, parameters and inputs: the next use starts a new one, in the working directory then.

    Nothing on disk is touched. Notebooks and tests that go through several runs in one process need this.

    Example:
        >>> import vhpack
        >>> before = vhpack.runs.current()
        >>> vhpack.reset()
        >>> vhpack.runs.current().hash != before.hash
        True
    """
    global _settled, _destination, _here  # noqa: PLW0603 - the default instances
    _settled = _here = None
    _destination = None
    env.forget_run()
