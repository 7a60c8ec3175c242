"""`vhpack run`: a script that says `import valohai`, with vhpack in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from vhpack import env, incumbent, registrar
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under

if TYPE_CHECKING:
    from typing import NoReturn

_EXAMPLES = """\b
Examples:
  vhpack run train.py --epochs 10
  vhpack run train.py --learning-rate=.002 --images 'test/*.jpg'
  vhpack run --copy 20261120-120309-59d23c train.py
  python -X dev -m vhpack run train.py
"""


@click.command(
    cls=Command,
    epilog=_EXAMPLES,
    short_help="Run a script that imports valohai, with vhpack.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("script", type=click.Path())
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@under("Data")("--copy", metavar="RUN", help="Give its inputs the data that RUN was given from the registry.")
def run(script: str, arguments: tuple[str, ...], *, copy: str | None) -> int:
    """Run a Python SCRIPT with its ARGUMENTS; where it imports valohai, it gets vhpack.

    The same holds for every Python program that it starts. The script takes this process over, so that its exit status,
    its signals and its tracebacks are its own.
    """
    if not os.path.isfile(script):
        raise click.UsageError(f"{script} is no file; name the script to run, and its arguments behind it")
    if sys.flags.ignore_environment:
        message = "python -E and -I ignore PYTHONPATH, by which the script would get vhpack; leave them out, or call"
        raise click.UsageError(f"{message} vhpack.install_as_valohai() in the script")
    if copy is None:
        return _take_over(script, arguments, "")
    # What is no run is said now, and not by the script.
    return ended(lambda: _take_over(script, arguments, _found(copy)))


def _found(run_hash: str) -> str:
    registry = registrar.known()
    from vhpack.registry import runs

    with registry.reading() as connection:
        return runs.found(connection, registry.project(connection), run_hash, registry.shown)


def _take_over(script: str, arguments: tuple[str, ...], copy_of: str) -> NoReturn:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
    flags += ["-u"] if getattr(sys.stdout, "write_through", False) else []
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *flags, script, *arguments], env.with_on_path(incumbent.FOLDER, copy_of=copy_of))  # noqa: S606
