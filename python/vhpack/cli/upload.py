"""`vhpack upload`: files to object storage, with a bar on a terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import destinations, env, finding, uploading
from vhpack.cli import sending
from vhpack.cli.sections import Command, under
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from vhpack.runs import Destination

_EXAMPLES = """\b
Examples:
  vhpack upload model.bin --to s3://bucket/run-7/   run-7/model.bin
  vhpack upload runs/7 --to s3://bucket/run-7/      every file below runs/7
  vhpack upload 'runs/7/*.zip' --to gs://bucket/run-7/ --remove-after
  vhpack upload a.bin --to s3://b/m/ --option endpoint=http://minio:9000
"""

_what = under("What and where")
_manner = under("Manner")
_output = under("Output")


@dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    paths: tuple[str, ...]
    to: str | None
    root: str | None
    option: tuple[str, ...]
    remove_after: bool
    memory: str | None
    max_bps: str | None
    stall: float | None
    give_up: float | None
    json: bool
    quiet: bool


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Send files to object storage.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@_what("--to", metavar="URI", help="The folder: s3:// gs:// azure:// file:// http(s)://. [default: VHPACK_UPLOAD_URI]")
@_what("--root", metavar="DIR", help="Name files relative to DIR. [default: the named or common folder]")
@_what("--option", metavar="NAME=VALUE", multiple=True, help="Of the server: endpoint, region, profile, part_size, ...")
@_what("--remove-after", is_flag=True, help="Remove each file once it has arrived and is checked.")
@_manner("--memory", metavar="SIZE", help="Bytes of files in memory. [default: 64MiB]")
@_manner("--max-bps", metavar="SIZE", help="Bytes a second, all together. [default: no limit]")
@_manner("--stall", type=float, metavar="SECONDS", help="Ask again when a server takes no byte so long. [default: 60]")
@_manner("--give-up", type=float, metavar="SECONDS", help="Fail after so long without success. [default: 86400]")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def upload(**arguments: Any) -> int:  # noqa: ANN401
    """Send files, folders and what quoted patterns match to the folder that URI names.

    What has arrived is checked against what was sent. Interrupted or killed, vhpack resume goes on where it was.
    """
    wanted = _Wanted(**arguments)
    if not wanted.paths:
        raise click.UsageError("no PATH: name files, folders or quoted patterns")
    return sending.ended(lambda: _upload(wanted), json=wanted.json)


def _upload(wanted: _Wanted) -> int:
    destination = _destination(wanted)
    files = [path for name in wanted.paths for path in finding.files(os.getcwd(), name)]
    files = list(dict.fromkeys(files))
    root = _root(wanted, files)
    pairs = [(path, destinations.below(destination.uri, _name(path, root))) for path in files]
    return sending.finished(
        uploading.begin(pairs, destination, remove_after=wanted.remove_after), json=wanted.json, quiet=wanted.quiet
    )


def _destination(wanted: _Wanted) -> Destination:
    options: dict[str, object] = {
        "memory": wanted.memory,
        "max_bps": wanted.max_bps,
        "stall_seconds": wanted.stall,
        "give_up_seconds": wanted.give_up,
        **sending.read_options(wanted.option),
    }
    uri = wanted.to or env.read().upload_uri
    if not uri:
        raise click.UsageError("no destination: say --to URI, or set VHPACK_UPLOAD_URI")
    return destinations.checked(uri, options)


def _root(wanted: _Wanted, files: list[str]) -> str:
    if wanted.root is not None:
        return os.path.abspath(wanted.root)
    named = os.path.abspath(wanted.paths[0])
    if len(wanted.paths) == 1 and os.path.isdir(named):
        return named
    return os.path.commonpath([os.path.dirname(path) for path in files])


def _name(path: str, root: str) -> str:
    if os.path.commonpath([path, root]) != root:
        raise OptionError(f"{path} is not below {root}, which names are to be relative to; say another --root")
    return os.path.relpath(path, root)
