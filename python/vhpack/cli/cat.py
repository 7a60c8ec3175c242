"""`vhpack cat`: a member's bytes."""

from __future__ import annotations

from typing import Any

import click

from vhpack import archive as archives
from vhpack.cli import screen
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under

_EXAMPLES = """\b
Examples:
  vhpack cat run.zip metrics.json | python -m json.tool
  vhpack cat images.tar.zst train/0001.png > 0001.png
"""

_PORTION = 1 << 20

_limits = under("Limits")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Print one member of an archive.")
@click.argument("archive")
@click.argument("member")
@_limits("--unsafe-limits", is_flag=True, help="Read what claims to be absurdly large, too.")
def cat(**arguments: Any) -> int:  # noqa: ANN401
    """Print the bytes of one MEMBER, named as vhpack list does.

    The checksum is known at the end only: where it is wrong, the bytes are out already, and the exit status is 1.
    """
    return ended(lambda: _cat(**arguments))


def _cat(archive: str, member: str, *, unsafe_limits: bool) -> int:
    with archives.open(archive, unsafe_limits=unsafe_limits, progress=True) as opened, opened.open(member) as file:
        while portion := file.read(_PORTION):
            screen.put_bytes(portion)
    return 0
