"""The program `vhpack` itself: its commands, `--version`, `--help`, and how each way to end becomes an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from vhpack.cli import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack.cli.signals import Stop

_COMMANDS = {
    "compress": "vhpack.cli.compress",
    "list": "vhpack.cli.list",
    "extract": "vhpack.cli.extract",
    "cat": "vhpack.cli.cat",
    "verify": "vhpack.cli.verify",
    "hash": "vhpack.cli.hash",
    "upload": "vhpack.cli.upload",
    "uploads": "vhpack.cli.uploads",
    "resume": "vhpack.cli.resume",
    "watch": "vhpack.cli.watch",
    "run": "vhpack.cli.run",
    "alias": "vhpack.cli.alias",
    "data": "vhpack.cli.datums",
    "runs": "vhpack.cli.runs",
    "model": "vhpack.cli.models",
    "yaml": "vhpack.cli.yaml",
}
# Commands of one subject share a line of the help, which is to fit a screen.
_TOGETHER = {
    "uploads": (("uploads", "resume"), "List, finish or give up unfinished uploads."),
    "alias": (("alias", "data", "runs", "model"), "Name data, register files, look at runs and models."),
}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_EXAMPLES = """\b
Examples:
  vhpack compress 'resized/*.png'      the images of a folder: resized.zip
  vhpack upload run7.zip --to s3://bucket/runs/
"""


class _Commands(click.Group):
    """Loads a command's module when the command is called, so that `--version` is quick however many there are."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, or for several of one subject."""
        behind = {name for names, _ in _TOGETHER.values() for name in names[1:]}
        rows: list[tuple[str, str]] = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if name in _TOGETHER:
                rows.append((", ".join(_TOGETHER[name][0]), _TOGETHER[name][1]))
            elif name not in behind and command is not None:
                rows.append((name, command.get_short_help_str(limit=formatter.width)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    del parameter
    if wanted and not ctx.resilient_parsing:
        from vhpack import _engine

        libraries = ", ".join(f"{name} {version}" for name, version in sorted(_engine.versions().items()) if name != "vhpack")
        screen.put(f"vhpack {_engine.__version__} ({libraries})")
        ctx.exit()


@click.group(cls=_Commands, context_settings=_SETTINGS, epilog=_EXAMPLES)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions of vhpack and of its codecs, and exit.",
)
def program() -> None:
    """Pack the files that a job leaves behind, fast, and read them back."""


def run(arguments: Sequence[str] | None, stop: Stop) -> int:
    """Run a command and return the exit status."""
    screen.prepare()
    try:
        status = program.main(arguments, prog_name="vhpack", standalone_mode=False, obj=stop)
        return status if isinstance(status, int) else os.EX_OK
    except (KeyboardInterrupt, click.Abort):
        return stop.status
    except click.UsageError as error:
        given = sys.argv[1:] if arguments is None else list(arguments)
        # What follows `run` are a script's own words.
        _say_usage(error, json="--json" in given and given[:1] != ["run"])
        return error.exit_code
    except (OSError, SystemExit) as error:  # SystemExit is click's own way out of a broken pipe
        screen.drop_stdout()
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            screen.fail(_reason(error))
        return 1


def _reason(error: OSError) -> str:
    """Sources and archives have a PackError by now; what is left is the working directory or a stream of our own."""
    if error.filename is not None:
        return f"{screen.visible(os.fsdecode(error.filename))}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return "the working directory is not there any more; change to a folder that is, and call again"
    return f"cannot write to standard output: {error.strerror or error}"


def _say_usage(error: click.UsageError, *, json: bool) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        screen.say(error.format_message())
        return
    if error.ctx is not None:
        screen.say(error.ctx.get_usage())
        screen.say(f"Try '{error.ctx.command_path} --help' for help.\n")
    from vhpack.errors import OptionError

    screen.fail_as(json, OptionError(error.format_message()))
