"""The command line, `vhpack`: one module for each group of commands, loaded when one of its commands is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 1 a failure, 2 wrong usage, 128 + n the end by signal n (130 for Ctrl-C). Nothing that can be expected
    to happen shows a traceback.
    """
    from vhpack.cli.signals import stopping

    # Before click is loaded: a signal in these milliseconds is to end in the same way as one later.
    with stopping() as stop:
        try:
            from vhpack.cli.root import run

            return run(arguments, stop)
        except KeyboardInterrupt:
            return stop.status
