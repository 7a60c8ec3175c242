"""`vhpack resume`: finish the uploads that a killed job left."""

from __future__ import annotations

import click

from vhpack import outbox, uploading
from vhpack.cli import screen, sending
from vhpack.cli.sections import Command, under

_EXAMPLES = """\b
Examples:
  vhpack resume
  vhpack resume --json
"""

_server = under("Server")
_output = under("Output")


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Finish the uploads that a killed job left.")
@_server("--option", metavar="NAME=VALUE", multiple=True, help="Of the server or the account, for all of them.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def resume(option: tuple[str, ...], json: bool, quiet: bool) -> int:
    """Finish every upload whose process is gone, where it was.

    Parts that had arrived are compared with the file and not sent again. Credentials come from the environment, as for
    vhpack upload; the records of uploads hold none.
    """
    given = sending.read_options(option)

    def work() -> int:
        uploads = uploading.resume(given)
        packing = [record for record in uploading.records() if record["state"] == "packing"]
        for record in packing:
            sending.warn(
                f"{record['uri']} was sent while it was packed, and its process is gone: the same call of compress"
                " goes on with it, `vhpack uploads --sweep` gives it up"
            )
        if uploads:
            return sending.finished(uploads, json=json, quiet=quiet)
        if json:
            screen.put_json({"done": [], "failed": [], "left_out": [], "seconds": 0.0})
        if not quiet and not packing:
            screen.say(f"nothing to resume: no unfinished upload is recorded in {outbox.state_dir()}")
        return 0

    return sending.ended(work, json=json)
