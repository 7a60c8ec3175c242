"""Uploads in the background: files reach object storage while the job goes on.

`vhpack.outputs().live_upload(...)` begins them, the engine sends them on threads of its own, and `wait_for_uploads` is the
one call that waits. Whatever is unfinished at the end of the program is waited for, and named if that was not enough.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from vhpack import destinations, env, outbox, runs
from vhpack.errors import UploadError, UploadsFailedError
from vhpack.upload import ENDED, Upload, UploadReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vhpack import _engine
    from vhpack.destinations import Credentials
    from vhpack.runs import Destination

_SHOWN = 10  # errors in one message
_SLICE = 0.05  # seconds between two looks, where several uploads are looked at
_ABORTING = 20.0  # seconds that a destination gets to forget what was sent of an archive whose pack has failed
_PATIENCE = 0.03  # seconds that a call waits for its files to be begun: most are by then, and 50 ms is what a loop may lose


def set_upload_destination(uri: str | None, **options: object) -> None:
    """Have the run's outputs sent to `uri` by `live_upload`: each under its path in the outputs folder.

    Args:
        uri: The folder: `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER`, `azure://CONTAINER/FOLDER`, `file:///FOLDER`, `https://HOST/FOLDER`
            (plain PUT); None takes an earlier call back. Without this call it is what `VHPACK_UPLOAD_URI` says; without
            either, the platform's own upload is used on the platform, and none elsewhere.
        options: Of the server: `endpoint`, `region`, `allow_http`, `ca_bundle`. Of the account: `access_key_id`,
            `secret_access_key`, `session_token`, or a `profile` of the shared files, which botocore reads; otherwise the
            environment, and what the machine itself knows. Of the manner: `part_size`, `concurrency`, `checksum`, `overwrite`
            (`False` refuses a name that is taken; the same content there is no conflict). Of all uploads together:
            `memory` (`"64MiB"`), `max_bps` (bytes a second, no limit), `stall_seconds` (60: how long a server may take no
            byte), `give_up_seconds` (86400). Of `https://`: `header:NAME`; for a file in parts, addresses that somebody signed,
            as `part_urls` (apart by spaces), `complete_url`, `abort_url` and `part_size`.

    Raises:
        UnknownSchemeError, BadDestinationError: the URI means nothing.
        OptionError: an option is out of range.

    Example:
        >>> import vhpack
        >>> vhpack.set_upload_destination("s3://my-bucket/run-7", region="eu-west-1")
        >>> vhpack.set_upload_destination(None)
    """
    if uri is None:
        runs.send_to(None)
        return
    destination = destinations.checked(uri, options)
    destinations.limits_of(destination.options, env.read())
    runs.send_to(destination)


def uploads() -> list[Upload]:
    """Return all uploads that this process has begun, in the order in which it did.

    Example:
        >>> import vhpack
        >>> [upload.state for upload in vhpack.uploads()]
        []
    """
    return [upload for upload in outbox.own().uploads if upload.uri]


def wait_for_uploads(timeout: float | None = None, max_uploads: int | None = None, raise_on_error: bool = True) -> UploadReport:  # noqa: FBT001
    """Wait until the uploads that this process has begun have ended, and say how.

    The first Ctrl-C ends the waiting, and the uploads go on; a second one, here or at the end of the program, cancels them
    all. A process that was forked owns none of its parent's uploads, and waits for none.

    Args:
        timeout: Seconds to wait at most; the report names what is pending then.
        max_uploads: Return as soon as so many have ended.
        raise_on_error: Raise what uploads failed of; without it, look at `failed`.

    Raises:
        UploadError: one upload failed or was cancelled; each kind of failure has a class of its own.
        UploadsFailedError: several did.

    Example:
        >>> import vhpack
        >>> vhpack.wait_for_uploads(timeout=60).pending
        []
    """
    known = list(outbox.own().uploads)
    until = None if timeout is None else time.monotonic() + timeout
    with outbox.heeding():
        _wait_until(known, until, len(known) if max_uploads is None else max_uploads)
    report = reported(known)
    failed = [error for upload in report.failed if (error := upload.error) is not None]
    if failed and raise_on_error:
        raise _together(failed)
    for upload in report.done:
        upload._warn_if_kept()  # noqa: SLF001 - the uploads are this module's
    return report


def begin(
    files: Sequence[tuple[str, str | UploadError]],
    destination: Destination | None,
    *,
    before: Callable[[str], None] | None = None,
    remove_after: bool = False,
    patience: float = _PATIENCE,
) -> list[Upload]:
    """Begin uploads of files, each a path and its URI, and return at once.

    Args:
        files: With an empty URI, a file is not sent: only `before` is done. With an error instead of one, it has failed of that.
        destination: Has the options; each file's own URI counts.
        before: Is called with each path on a thread of its own before it is sent: it may take its time.
        remove_after: Remove each file once it has arrived.
        patience: Seconds to wait for what would be wrong at once.

    Raises:
        OptionError: an option is out of range, or contradicts the uploads that there are.
    """
    mine = outbox.own()
    limits, options = destinations.limits_of(destinations.options_of(destination), env.read()) if destination else (None, {})
    if limits is not None:
        mine.settle(limits)
    server = tuple(sorted(options.items()))
    found = [
        mine.replace(path, uri, server, remove_after=remove_after) if isinstance(uri, str) else (failed(path, uri), True)
        for path, uri in files
    ]
    begun = [upload for upload, _ in found]
    root = destination.uri if destination is not None else ""
    mine.take([upload for upload, is_new in found if is_new], outbox.Plan(options, before, remove_after, root))
    if begun:
        begun[-1]._begun.wait(patience)  # noqa: SLF001 - the uploads are this module's
    return begun


def failed(path: str, error: UploadError) -> Upload:
    """Return the upload of a file that has failed before it was begun."""
    upload = Upload(path, error.uri or "")
    upload._failure = error  # noqa: SLF001 - the uploads are this module's
    return upload


def reported(known: Sequence[Upload]) -> UploadReport:
    """Return how these uploads stand."""
    report = UploadReport()
    for upload in known:
        state = upload.state
        if state == "done":
            if upload.uri:
                report.done.append(upload)
        else:
            (report.failed if state in ENDED else report.pending).append(upload)
    return report


def resume(given: Mapping[str, object]) -> list[Upload]:
    """Go on with every upload that is recorded and whose process is gone.

    Args:
        given: Options for all of them, above those that the environment has.
    """
    beneath, above = _everywhere(given)
    return adopt(outbox.own().engine().resume(beneath=beneath, above=above, credentials=_account(beneath, given)))


def records() -> list[dict[str, object]]:
    """Return what is recorded of uploads that have not ended."""
    return outbox.own().engine().records()


def swept(*, older_than: float, dry_run: bool, given: Mapping[str, object]) -> list[dict[str, object]]:
    """Give up uploads of vhpack that no process is at, and return them.

    Args:
        older_than: Seconds; younger ones stay.
        dry_run: Do nothing.
        given: Options for all of them, above those that the environment has.
    """
    beneath, above = _everywhere(given)
    account = _account(beneath, given)
    return outbox.own().engine().sweep(older_than=older_than, dry_run=dry_run, beneath=beneath, above=above, credentials=account)


def _account(beneath: dict[str, dict[str, str]], given: Mapping[str, object]) -> Credentials | None:
    texts = {name: str(value) for name, value in given.items()}
    account = destinations.credentials_of({**beneath.get("s3", {}), **texts})
    if account is not None and account.region:
        beneath["s3"].setdefault("region", account.region)
    return account


def _everywhere(given: Mapping[str, object]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    mine = outbox.own()
    limits, _ = destinations.limits_of({name: str(value) for name, value in given.items()}, env.read())
    mine.settle(limits)
    return destinations.everywhere(given, [str(record["uri"]) for record in records()])


def adopt(found: list[_engine.Upload]) -> list[Upload]:
    """Take uploads of another process, which the engine goes on with, among this process's own."""
    taken = []
    for native in found:
        upload = Upload(native.path, native.uri)
        upload._native = native  # noqa: SLF001 - the uploads are this module's
        upload._begun.set()  # noqa: SLF001
        taken.append(upload)
    outbox.own().add(taken)
    return taken


@contextlib.contextmanager
def following(target: str, uri: str, destination: Destination) -> Iterator[_engine.Following]:
    """Upload the archive that is packed meanwhile, and shards of it each to a URI of its own.

    Where the pack fails, nothing of it stays at the destination: that is waited for, since the process may end with it.

    Args:
        target: The archive.
        uri: Where it goes.
        destination: Has the options.
    """
    mine = outbox.own()
    limits, options = destinations.limits_of(destinations.options_of(destination), env.read())
    mine.settle(limits)
    options, account = mine.account(options, destinations.scheme_of(uri))
    name = os.fsencode(os.path.basename(target))
    follow = mine.engine().follow(name, uri, options, credentials=account)
    try:
        yield follow
    except BaseException:
        until = time.monotonic() + _ABORTING
        for upload in follow.uploads:
            upload.wait(max(0.0, until - time.monotonic()))
        raise
    adopt(follow.uploads)


def forget(ended: Sequence[Upload]) -> None:
    """Drop uploads that have ended and whose errors were told: who begins them without end keeps none."""
    outbox.own().drop(ended)


def _wait_until(known: Sequence[Upload], until: float | None, enough: int) -> None:
    every = enough >= len(known)
    for upload in known if every else ():
        if not upload._wait(None if until is None else max(0.0, until - time.monotonic())):  # noqa: SLF001 - this module's
            return
    while not every and sum(upload._has_ended() for upload in known) < enough:  # noqa: SLF001
        if until is not None and time.monotonic() >= until:
            return
        # All may have ended since they were counted.
        next((upload for upload in known if not upload._has_ended()), known[0])._wait(_SLICE)  # noqa: SLF001


def _together(failed: Sequence[UploadError]) -> UploadError:
    if len(failed) == 1:
        return failed[0]
    rest = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    error = UploadsFailedError(None, f"{len(failed)} uploads failed: {'; '.join(map(str, failed[:_SHOWN]))}{rest}", None)
    error.errors = tuple(failed)
    return error
