"""`vhpack watch`: upload the files of a folder as they become read-only, as the platform does."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import click

from vhpack import destinations, errors, outbox, sizes, uploading
from vhpack.cli import screen, sending
from vhpack.cli.sections import Command, under
from vhpack.cli.signals import Stop, heard
from vhpack.upload import Trouble

if TYPE_CHECKING:
    from vhpack._engine import Watcher
    from vhpack.cli.signals import Heard
    from vhpack.runs import Destination
    from vhpack.upload import Upload

_EXAMPLES = """\b
Examples:
  vhpack watch outputs --to s3://bucket/run-7/ --finish
  vhpack watch outputs --to s3://bucket/run-7/ --once --finish   all there is
  vhpack watch outputs --to s3://bucket/run-7/ --json
SIGINT or SIGTERM ends the watch, with --finish when everything is uploaded;
a second one ends it at once.
"""

_LOOK = 0.2  # seconds that a signal, or the end of an upload, may wait to be noticed
_UNDER_WAY = 256  # uploads begun and not ended: enough for any number of connections, and few enough to be looked at often
_SAY_EVERY = 10.0  # seconds between lines about what is under way
_APART = 5  # files that are named one by one when they arrive together
_STAND_BY = 1.0  # seconds between two tries to take over from another watch

_when = under("When it ends")
_output = under("Output")


@dataclass(frozen=True)
class _Wanted(sending.Sending):
    """The command line, as click read it."""

    folder: str
    finish: bool
    once: bool
    json: bool
    quiet: bool


@click.command(cls=Command, epilog=_EXAMPLES, short_help="Upload files as they become read-only.")
@click.argument("folder", metavar="DIR")
@sending.where
@_when("--finish", is_flag=True, help="At the end, mark and upload everything else that is there.")
@_when("--once", is_flag=True, help="End when what is there now has been looked at and uploaded.")
@sending.manner
@_output("--json", is_flag=True, help="Print a JSON object for each file, and one at the end, a line each.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def watch(**arguments: Any) -> int:  # noqa: ANN401
    """Upload each file below DIR when it is complete: regular, without a write bit, and at rest.

    Each is named by its path in DIR, and uploaded once; again only when it has changed. Sidecars (*.metadata.json,
    valohai.metadata.jsonl) come last; symbolic links, and what vhpack itself has not finished, are left alone. It is a
    process of its own: a training that crashes takes nothing of this down.
    """
    wanted = _Wanted(**arguments)
    return sending.ended(lambda: _watch(wanted), json=wanted.json)


def _watch(wanted: _Wanted) -> int:
    destination = wanted.destination()
    _refuse_itself(wanted.folder, destination.uri)
    stop = click.get_current_context().find_object(Stop) or Stop()
    with heard(stop) as signals:
        watcher = _opened(wanted, destination, signals)
        if watcher is None:
            return 0
        watching = _Watching(wanted, destination, watcher)
        if not wanted.quiet:
            screen.say(f"watching {screen.visible(watcher.root)}, for {screen.visible(destination.uri)}")
        watching.run(signals)
    return watching.close()


def _refuse_itself(folder: str, uri: str) -> None:
    """Refuse to watch what the uploads themselves write into: each would be uploaded again for ever."""
    if uri.startswith("file://"):
        from urllib.parse import unquote

        watched, there = os.path.realpath(folder), os.path.realpath(unquote(uri.removeprefix("file://")))
        if os.path.commonpath([watched, there]) == watched:
            raise errors.of_upload(
                "bad_destination", f"{uri} lies in {folder}, which is watched; choose another", None, folder, uri
            )


def _opened(wanted: _Wanted, destination: Destination, signals: Heard) -> Watcher | None:
    """Begin to watch; where another process does, stand by until that has gone."""
    from vhpack import _engine

    said = False
    options = destinations.options_of(destination)
    while True:
        folder = os.fsencode(os.path.abspath(wanted.folder))
        watcher = _engine.Watcher.of(folder, destination.uri, options, state_dir=outbox.state_dir())
        if watcher is not None or signals.number is not None:
            return watcher
        if wanted.once or not said:
            screen.say(f"{screen.visible(wanted.folder)} is watched by another process for this destination")
        if wanted.once:
            return None
        if not said and not wanted.quiet:
            screen.say("standing by until that ends")
        said = True
        time.sleep(_STAND_BY)


@dataclass
class _Watching:
    """One watch: what is under way, and what has become of the rest."""

    wanted: _Wanted
    destination: Destination
    watcher: Watcher
    under_way: list[tuple[str, Upload]] = field(default_factory=list)
    uploaded: int = 0
    same: int = 0
    sent: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    finishing: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    since: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def run(self, signals: Heard) -> None:
        """Upload what becomes ready, until it is to end and nothing is left to do."""
        while not self._is_over(signals):
            room = _UNDER_WAY - len(self.under_way)
            if room > 0:
                # While something is under way, its end is looked for, too; the engine itself waits in neither case.
                self._begin(self.watcher.ready(room, _LOOK / 4 if self.under_way else _LOOK))
            else:
                self.under_way[0][1]._wait(_LOOK)  # noqa: SLF001 - failures are counted, not raised
            self._look_after()

    def _is_over(self, signals: Heard) -> bool:
        asked = signals.number is not None or (self.wanted.once and self.watcher.rounds > 0)
        if not asked:
            return False
        if self.wanted.finish:
            if not self.finishing:
                self.finishing = True
                self.watcher.finish()
                self._say("finishing: uploading everything that is left")
            return bool(self.watcher.is_finished)
        if signals.number is None:
            return not (self.under_way or self.watcher.waiting)
        # What has been begun is seen to its end, nothing new is.
        while self.under_way:
            self.under_way[0][1]._wait(_LOOK)  # noqa: SLF001
            self._look_after()
        return True

    def _begin(self, ready: list[tuple[str, int]]) -> None:
        files = [(name, uri) for name, _ in ready if (uri := self._uri_of(name)) is not None]
        pairs = [(os.path.join(self.watcher.root, name), uri) for name, uri in files]
        begun = uploading.begin(pairs, self.destination) if pairs else []
        self.under_way += [(name, upload) for (name, _), upload in zip(files, begun, strict=True)]

    def _uri_of(self, name: str) -> str | None:
        try:
            return destinations.below(self.destination.uri, name)
        except errors.UploadError as error:
            self._count_failure(name, error)
            return None

    def _look_after(self) -> None:
        ended: list[tuple[str, Upload]] = []
        left: list[tuple[str, Upload]] = []
        for name, upload in self.under_way:
            # Asked once: one that ends between two questions would be in neither list.
            (ended if upload._has_ended() else left).append((name, upload))  # noqa: SLF001
        if ended:
            self.under_way = left
            uploading.forget([upload for _, upload in ended])
        arrived = [(name, upload) for name, upload in ended if self._has_arrived(name, upload)]
        if (said := self.trouble.of(upload for _, upload in self.under_way[:_APART])) is not None:
            sending.warn(said)
        if len(arrived) > _APART:
            self._say(f"{screen.counted(len(arrived), 'file')} uploaded and checked")
        else:
            for name, upload in arrived:
                what = "is the same there already" if upload.skipped else f"uploaded and checked, {sizes.text(upload.bytes_sent)}"
                self._say(f"{screen.visible(name)}: {what}")
        if self.under_way and time.monotonic() - self.said > _SAY_EVERY:
            on_the_way = sum(upload.bytes_sent for _, upload in self.under_way)
            pace = sum(upload.rate for _, upload in self.under_way)
            self._say(
                f"{screen.counted(len(self.under_way), 'file')} under way, {sizes.text(on_the_way)} of them sent, "
                f"{sizes.text(pace)}/s; {self.watcher.waiting:,} waiting"
            )

    def _has_arrived(self, name: str, upload: Upload) -> bool:
        error = upload.error
        if error is None:
            self._note(name, "done")
            self.failed.pop(name, None)
            self.uploaded += not upload.skipped
            self.same += upload.skipped
            self.sent += 0 if upload.skipped else upload.bytes_sent - upload.bytes_reused
            if self.wanted.json:
                screen.put_json(sending.fields(upload))
            return True
        has_gone = isinstance(error, errors.UploadSourceMissingError)
        has_changed = has_gone or isinstance(error, errors.UploadSourceChangedError)
        # Not complete after all, or gone: what bears the name now is looked at anew, but not for ever.
        if has_changed and (self.watcher.ended(os.fsencode(name), "changed") or has_gone):
            self._say(f"{screen.visible(name)} changed while it was sent; it is looked at again")
            return False
        self._count_failure(name, error, upload)
        return False

    def _count_failure(self, name: str, error: errors.UploadError, upload: Upload | None = None) -> None:
        self._note(name, "failed")
        self.failed[name] = str(error)
        screen.fail(str(error))
        if self.wanted.json:
            told = {"path": name} if upload is None else sending.fields(upload)
            screen.put_json({**told, "error": sending.error_fields(error)})

    def _note(self, name: str, how: Literal["done", "failed"]) -> None:
        try:
            self.watcher.ended(os.fsencode(name), how)
        except errors.JournalError as error:
            # The next watch looks for the file at the destination, and finds it there.
            sending.warn(str(error))

    def _say(self, text: str) -> None:
        self.said = time.monotonic()
        if not self.wanted.quiet:
            screen.say(text)

    def close(self) -> int:
        """Report, and return the exit status."""
        seconds = time.monotonic() - self.since
        if self.wanted.json:
            total = {"uploaded": self.uploaded, "same": self.same, "failed": len(self.failed), "bytes_sent": self.sent}
            screen.put_json({**total, "seconds": seconds})
        words = [screen.counted(self.uploaded, "file") + " uploaded and checked", f"{sizes.text(self.sent)} sent"]
        words += [f"{screen.counted(self.same, 'file')} the same there already"] if self.same else []
        words += [f"{screen.counted(len(self.failed), 'file')} failed"] if self.failed else []
        self._say(", ".join(words))
        return 1 if self.failed else 0
