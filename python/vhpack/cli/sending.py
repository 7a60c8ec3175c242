"""What the commands that send have in common: their bar, their report, and how they end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vhpack import destinations, env, outbox, sizes, uploading
from vhpack._progress import transfers
from vhpack.cli import endings, screen
from vhpack.cli.sections import under
from vhpack.upload import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vhpack.errors import UploadError
    from vhpack.runs import Destination
    from vhpack.upload import Upload, UploadReport

INTERRUPTED = (
    "interrupted; the files are as they were: `vhpack resume` goes on where this was, `vhpack uploads --sweep` gives it up"
)
_LOOKS = 0.2  # seconds between two looks at how far it is
_FIELDS = ("path", "uri", "state", "bytes_sent", "bytes_total", "bytes_reused", "checksum", "skipped", "removed", "kept")


_what = under("What and where")
_manner = under("Manner")


@dataclass(frozen=True)
class Sending:
    """What the command line of every command that sends says, as click read it."""

    to: str | None
    option: tuple[str, ...]
    memory: str | None
    max_bps: str | None
    stall: float | None
    give_up: float | None

    def destination(self) -> Destination:
        """Return where it sends to, with the options that were given."""
        uri = self.to or env.read().upload_uri
        if not uri:
            raise click.UsageError("no destination: say --to URI, or set VHPACK_UPLOAD_URI")
        shared = {
            "memory": self.memory,
            "max_bps": self.max_bps,
            "stall_seconds": self.stall,
            "give_up_seconds": self.give_up,
        }
        return destinations.checked(uri, {**shared, **read_options(self.option)})


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options that say where a command sends to."""
    to = _what("--to", metavar="URI", help="The folder: s3:// gs:// azure:// file:// http(s)://. [default: VHPACK_UPLOAD_URI]")
    option = _what(
        "--option", metavar="NAME=VALUE", multiple=True, help="Of the server: endpoint, region, profile, part_size, ..."
    )
    return to(option(command))


def manner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options that say in which manner a command sends."""
    for declare in (
        _manner("--give-up", type=float, metavar="SECONDS", help="Fail after so long without success. [default: 86400]"),
        _manner("--stall", type=float, metavar="SECONDS", help="Ask again when a server takes no byte so long. [default: 60]"),
        _manner("--max-bps", metavar="SIZE", help="Bytes a second, all together. [default: no limit]"),
        _manner("--memory", metavar="SIZE", help="Bytes of files in memory. [default: 64MiB]"),
    ):
        command = declare(command)
    return command


def ended(work: Callable[[], int], *, json: bool) -> int:
    """Do the work of a command that sends; the program ends with it, and leaves what is unfinished to `vhpack resume`."""
    try:
        return endings.ended(work, json=json, interrupted=INTERRUPTED)
    finally:
        outbox.own().abandoned = True


def read_options(given: Sequence[str]) -> dict[str, object]:
    """Read options from `NAME=VALUE`."""
    options: dict[str, object] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--option {text}: write it as NAME=VALUE, such as region=eu-west-1")
        options[name] = value
    return options


def finished(uploads: Sequence[Upload], *, json: bool, quiet: bool, left_out: Sequence[str] = ()) -> int:
    """Wait for uploads, draw how far they are, report, and return the exit status."""
    since = drawn = time.monotonic()
    trouble = Trouble()
    with transfers("Uploading", wanted=not quiet) as bars:
        for upload in uploads:
            # Looked at one after the other: of many thousand, all at every look would cost as much as sending them.
            while not upload._wait(max(0.0, drawn + _LOOKS - time.monotonic())):  # noqa: SLF001 - failures are counted, not raised
                if (said := trouble.of([upload])) is not None:
                    bars.wipe()
                    warn(said)
                bars.draw(uploads)
                drawn = time.monotonic()
    report = uploading.reported(uploads)
    _report(report, time.monotonic() - since, left_out, json=json, quiet=quiet)
    return 1 if report.failed else 0


def _report(report: UploadReport, seconds: float, left_out: Sequence[str], *, json: bool, quiet: bool) -> None:
    errors = [(upload, error) for upload in report.failed if (error := upload.error) is not None]
    for _, error in errors:
        screen.fail(str(error))
    for upload in report.done:
        if upload.kept is not None:
            warn(upload.kept)
    if json:
        failed = [{**fields(upload), "error": error_fields(error)} for upload, error in errors]
        done = [fields(upload) for upload in report.done]
        screen.put_json({"done": done, "failed": failed, "left_out": [*left_out], "seconds": seconds})
    if quiet:
        return
    sent = sum(upload.bytes_sent - upload.bytes_reused for upload in report.done if not upload.skipped)
    skipped = sum(upload.skipped for upload in report.done)
    reused = sum(upload.bytes_reused for upload in report.done)
    words = [screen.counted(len(report.done), "file") + " uploaded and checked", f"{sizes.text(sent)} sent"]
    words += [f"{sizes.text(reused)} were there from before"] if reused else []
    words += [f"{screen.counted(skipped, 'file')} the same there already"] if skipped else []
    words += [f"{seconds:.2f} s", f"{sizes.text(sent / max(seconds, 1e-6))}/s"]
    screen.say(", ".join(words))


def warn(text: str) -> None:
    """Say what people should know, and what is no failure."""
    screen.say(f"Warning: {screen.visible(text)}")


def fields(upload: Upload) -> dict[str, object]:
    """Return what is to be told of an upload, as JSON has it."""
    return {name: getattr(upload, name) for name in _FIELDS}


def error_fields(error: UploadError) -> dict[str, object]:
    """Return what is to be told of a failure, as JSON has it."""
    return {"kind": error.kind, "message": str(error), "errno": error.errno, "filename": error.path}
