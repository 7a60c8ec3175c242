"""How a program has ended that Python's own end is told nothing of: noted by a program that is started when this one is over."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vhpack import registrar
from vhpack.errors import PackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack.registry.records import Output
    from vhpack.registry.runs import Facts

_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from vhpack import afterwards; afterwards.take_up(int(sys.argv[1]), int(sys.argv[2]))"
)


def hand_over(facts: Facts, outputs: Sequence[Output]) -> bool:
    """Have the end of a run noted, and what its outputs claim done, when the status of this process is known.

    Args:
        facts: The run, whose outputs are registered already.
        outputs: Those, with what is said of them.

    Returns:
        Whether that can be: not without the GNU C library, and not where this Python is no program of its own.
    """
    program = sys.executable or ""
    if not os.path.basename(program).startswith("python") or getattr(sys, "frozen", False):
        return False
    import json

    from vhpack import _engine

    claiming = [output for output in outputs if any(name.startswith("valohai.") for name in output.properties)]
    text = json.dumps([facts.__dict__, claiming], default=_plain)
    try:
        # A file without a name, which that program inherits.
        descriptor = os.memfd_create("vhpack", 0)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
    except OSError:
        return False
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
    return _engine.run_at_exit([program, *flags, "-c", _PROGRAM.format(path=sys.path), str(descriptor)])


def take_up(descriptor: int, status: int) -> None:
    """Note how a run has ended, in the program that is started for it.

    Args:
        descriptor: What `hand_over` has left.
        status: The exit status of the run's own process.
    """
    import json

    from vhpack import recording
    from vhpack.registry import registering
    from vhpack.registry.records import Output
    from vhpack.registry.runs import Facts

    with open(descriptor, "rb") as file:
        file.seek(0)
        facts, outputs = json.load(file)
    try:
        end = "failed" if status else "succeeded"
        outcome = registering.register(registrar.opened(), Facts(**facts), [Output(*each) for each in outputs], end)
    except PackError as error:
        with contextlib.suppress(OSError):
            print(f"vhpack: the end of run {facts['hash']} is not noted: {error}", file=sys.stderr)  # noqa: T201 - nobody else to tell
            print(f"vhpack: `vhpack runs register {facts['hash']}` does it again", file=sys.stderr)  # noqa: T201
    else:
        recording.say_outcome(outcome)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
