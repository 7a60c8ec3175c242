"""`vhpack list`: what an archive holds."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import archive as archives
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack._engine import Member

_EXAMPLES = """\b
Examples:
  vhpack list images.zip                every member, one a line
  vhpack list images.zip 'train/*.png' --long
  vhpack list run.tar '**/*.json' -0 | xargs -0 -n 1 vhpack cat run.tar
"""

_TYPES = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "special": stat.S_IFCHR,
}
_MAGIC = frozenset("*?[")
_FIELDS = ("name", "kind", "size", "packed", "codec", "mode", "mtime", "crc32", "link", "offset")

_output = under("Output")


@dataclass(frozen=True)
class _Wanted:
    """The command line, as click read it."""

    archive: str
    globs: tuple[str, ...]
    long: bool
    json: bool
    null: bool
    unsafe_limits: bool
    quiet: bool


@click.command(cls=Command, epilog=_EXAMPLES, short_help="List the members of an archive.")
@click.argument("archive")
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@_output("-l", "--long", is_flag=True, help="Modes, sizes, codecs, times (UTC) and names.")
@_output("--json", is_flag=True, help="JSON Lines: one object for each member.")
@_output("-0", "--null", is_flag=True, help="End names with NUL (for xargs -0).")
@_output("--unsafe-limits", is_flag=True, help="Open what claims to be absurdly large, too.")
@_output("-q", "--quiet", is_flag=True, help="Print names and errors only.")
def list(**arguments: Any) -> int:  # noqa: A001, ANN401
    """List the members of a zip or tar, or those that match a quoted GLOB or lie in a folder of that name, in its order.

    * does not cross a /, ** does. Folders end with a /. A terminal gets control characters as escapes; files and pipes get
    names as they are.
    """
    wanted = _Wanted(**arguments)
    if wanted.long + wanted.json + wanted.null > 1:
        raise click.UsageError("--long, --json and -0 are three ways to print; give one of them")
    return ended(lambda: _list(wanted), json=wanted.json)


def _list(wanted: _Wanted) -> int:
    with archives.open(wanted.archive, unsafe_limits=wanted.unsafe_limits, progress=not wanted.quiet) as archive:
        members = _members(archive, wanted.globs)
        warnings = archive.warnings
    for warning in [] if wanted.quiet else warnings:
        screen.say(f"Warning: {screen.visible(warning)}")
    if wanted.globs and not members:
        raise MemberNotFoundError(f"no member of {wanted.archive} matches {' or '.join(wanted.globs)}")
    if wanted.json:
        _put_objects(members)
    elif wanted.long:
        _put_table(members)
    elif wanted.null:
        screen.put_bytes(b"".join(os.fsencode(member.name) + b"\0" for member in members))
    else:
        _put_names(members)
    return 0


def _members(archive: archives.Archive, globs: Sequence[str]) -> Sequence[Member]:
    """The members that match, and all below the folders that are named."""
    below = tuple(glob.removeprefix("./").rstrip("/") + "/" for glob in globs if _MAGIC.isdisjoint(glob))
    if not below:
        return archive.members(globs or None)
    matching = {member.offset for member in archive.members(globs)}
    everything = archive.members()
    return [one for one in everything if one.offset in matching or one.name.removeprefix("./").startswith(below)]


def _put_names(members: Sequence[Member]) -> None:
    if screen.stdout_is_terminal():
        screen.put_names(member.name for member in members)
    else:
        screen.put_bytes(b"".join(os.fsencode(member.name) + b"\n" for member in members))


def _put_objects(members: Sequence[Member]) -> None:
    import json

    lines = (json.dumps({field: getattr(member, field) for field in _FIELDS}) for member in members)
    screen.put_bytes("".join(line + "\n" for line in lines).encode("ascii"))


def _put_table(members: Sequence[Member]) -> None:
    size = max((len(f"{member.size:,}") for member in members), default=0)
    packed = max((len(f"{member.packed:,}") for member in members), default=0)
    codec = max((len(member.codec) for member in members), default=0)
    lines = []
    for member in members:
        mode = stat.filemode(_TYPES[member.kind] | stat.S_IMODE(member.mode))
        columns = f"{mode}  {member.size:>{size},}  {member.packed:>{packed},}  {member.codec:<{codec}}  {_when(member.mtime)}"
        leads = "" if member.link is None else f" -> {screen.visible(member.link)}"
        lines.append(f"{columns}  {screen.visible(member.name)}{leads}")
    screen.put("\n".join(lines))


def _when(mtime: float | None) -> str:
    if mtime is None:
        return " " * 19
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(mtime))
    except (OverflowError, OSError, ValueError):  # beyond what a calendar here can name
        return f"{mtime:<19.0f}"
