"""How the commands that read end: what a failure prints, and which status it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vhpack.cli import screen
from vhpack.cli.signals import Stop
from vhpack.errors import OptionError, PackError

if TYPE_CHECKING:
    from collections.abc import Callable


def ended(work: Callable[[], int], *, json: bool = False, interrupted: str = "interrupted") -> int:
    """Do the work of a command and return its exit status: its own, 1 or 2 for an error, or that of a signal."""
    try:
        return work()
    except PackError as error:
        screen.fail_as(json, error)
        return 2 if isinstance(error, OptionError) else 1
    except KeyboardInterrupt:
        screen.end_line()
        screen.fail(interrupted)
        return (click.get_current_context().find_object(Stop) or Stop()).status
