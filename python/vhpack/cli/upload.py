"""`vhpack upload`: files to object storage, with a bar on a terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import click

from vhpack import destinations, finding, uploading
from vhpack.cli import sending
from vhpack.cli.sections import Command, under
from vhpack.errors import OptionError

_EXAMPLES = """\b
Examples:
  vhpack upload model.bin --to s3://bucket/run-7/   run-7/model.bin
  vhpack upload runs/7 --to s3://bucket/run-7/      every file below runs/7
  vhpack upload 'runs/7/*.zip' --to gs://bucket/run-7/ --remove-after
  vhpack upload a.bin --to s3://b/m/ --option endpoint=http://minio:9000
"""

_what = under("What and where")
_output = under("Output")


@dataclass(frozen=True)
class _Wanted(sending.Sending):
    """The command line, as click read it."""

    paths: tuple[str, ...]
    root: str | None
    remove_after: bool
    json: bool
    quiet: bool


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Send files to object storage.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@sending.where
@_what("--root", metavar="DIR", help="Name files relative to DIR. [default: the named or common folder]")
@_what("--remove-after", is_flag=True, help="Remove each file once it has arrived and is checked.")
@sending.manner
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
    destination = wanted.destination()
    found = [finding.files(os.getcwd(), name) for name in wanted.paths]
    files = list(dict.fromkeys(path for one in found for path in one.files))
    left_out = finding.Found(left_out=list(dict.fromkeys(path for one in found for path in one.left_out)))
    root = _root(wanted, files)
    pairs = destinations.pairs(files, [_name(path, root) for path in files], destination.uri)
    begun = uploading.begin(pairs, destination, remove_after=wanted.remove_after)
    if left_out.left_out:
        sending.warn(left_out.sentence())
    return sending.finished(begun, json=wanted.json, quiet=wanted.quiet, left_out=left_out.left_out)


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
