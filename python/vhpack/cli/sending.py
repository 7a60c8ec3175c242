"""What the commands that send have in common: their bar, their report, and how they end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from vhpack import outbox, sizes, uploading
from vhpack._progress import transfers
from vhpack.cli import endings, screen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vhpack.errors import UploadError
    from vhpack.upload import Upload, UploadReport

INTERRUPTED = (
    "interrupted; the files are as they were: `vhpack resume` goes on where this was, `vhpack uploads --sweep` gives it up"
)
_LOOKS = 0.2  # seconds between two looks at how far it is
_FIELDS = ("path", "uri", "state", "bytes_sent", "bytes_total", "bytes_reused", "checksum", "skipped", "removed", "kept")


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


def finished(uploads: Sequence[Upload], *, json: bool, quiet: bool) -> int:
    """Wait for uploads, draw how far they are, report, and return the exit status."""
    since = time.monotonic()
    with transfers("Uploading", wanted=not quiet) as bars:
        left = list(uploads)
        while left:
            left[0]._wait(_LOOKS)  # noqa: SLF001 - failures are counted, not raised
            left = [upload for upload in left if not upload._has_ended()]  # noqa: SLF001
            bars.draw(uploads)
    report = uploading.reported(uploads)
    _report(report, time.monotonic() - since, json=json, quiet=quiet)
    return 1 if report.failed else 0


def _report(report: UploadReport, seconds: float, *, json: bool, quiet: bool) -> None:
    errors = [(upload, error) for upload in report.failed if (error := upload.error) is not None]
    for _, error in errors:
        screen.fail(str(error))
    for upload in report.done:
        if upload.kept is not None:
            screen.fail(f"Warning: {upload.kept}")
    if json:
        failed = [{**fields(upload), "error": error_fields(error)} for upload, error in errors]
        screen.put_json({"done": [fields(upload) for upload in report.done], "failed": failed, "seconds": seconds})
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


def fields(upload: Upload) -> dict[str, object]:
    """Return what is to be told of an upload, as JSON has it."""
    return {name: getattr(upload, name) for name in _FIELDS}


def error_fields(error: UploadError) -> dict[str, object]:
    """Return what is to be told of a failure, as JSON has it."""
    return {"kind": error.kind, "message": str(error), "errno": error.errno, "filename": error.path}
