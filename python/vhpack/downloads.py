"""Many downloads at once: in threads that end with the call, under one bar, and each file under its name at the end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from vhpack import _progress, cache, durations, env, paths, stores, web
from vhpack.cloning import clone
from vhpack.download import Download, Entry, Got, StoppedError, Wanted, stamp
from vhpack.errors import ChecksumError, DownloadError
from vhpack.remote import RefusedError, UnavailableError, UnchangedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from typing import Final

    from vhpack.remote import Body, Version

_AT_ONCE: Final = 8
_SILENCE: Final = 60.0
_NOTES = ".downloaded"


@dataclass(frozen=True)
class Order:
    """A file to have, and the path that it is to be had under."""

    wanted: Wanted
    target: str


class Downloads:
    """The clients of one call, which share their connections."""

    def __init__(self) -> None:
        environment = env.read()
        timeout = environment.timeout
        silence = durations.parse("VHPACK_TIMEOUT", timeout, "seconds", below=1e6) if timeout else _SILENCE
        self._stop = threading.Event()
        self._web = web.Client(silence=silence, connections=_AT_ONCE, trusted=environment.ca_bundle)
        self._stores = stores.Client(silence=silence)

    def expand(self, url: str) -> list[tuple[str, str]]:
        """Return URL and name of each file that a URL means: itself, or what its wildcards match.

        Raises:
            DownloadError: the store does not answer.
        """
        if not stores.has_wildcards(url):
            name = url.partition("?")[0].partition("#")[0].rpartition("/")[2]
            return [(url, name if name not in ("", ".", "..") else "download")]
        if env.read().offline:
            raise DownloadError(None, f"{url} is not listed, since VHPACK_OFFLINE is set; name the files", url)
        try:
            return self._stores.expand(url)
        except (UnavailableError, RefusedError) as error:
            raise DownloadError(None, f"cannot list {url}: {error}", url) from None

    def get(self, orders: Sequence[Order], *, force: bool, title: str) -> list[str]:
        """Have all files under their paths, and return what should be said of them.

        Each appears complete or not at all. A file at such a path that was put there by hand stays, unless `force`
        says otherwise. Ctrl-C ends all threads; what has come by then is kept in the cache, and the next call goes on.

        Raises:
            DownloadError: one does not come; the others that were on their way are ended, too.
        """
        root = paths.cache_path()
        cache.prune(root, env.read().cache_days)
        due: list[Order] = []
        remarks: list[str] = []
        for order in orders:
            # Whatever else lies under the path of what a run was given for good is not that.
            if force or order.wanted.is_datum or not is_by_hand(root, order.target):
                due.append(order)
            else:
                remarks.append(f"{order.target} was put there by hand, and is taken as it is")
        if due:
            remarks += self._all(due, root, force, title)
        return remarks

    def close(self) -> None:
        """Give all connections back."""
        self._web.close()

    def _all(self, orders: Sequence[Order], root: str, force: bool, title: str) -> list[str]:  # noqa: FBT001
        from concurrent.futures import ThreadPoolExecutor

        ended: list[Future[Got]] = []
        over = threading.Event()

        def note(run: Future[Got]) -> None:
            ended.append(run)
            if len(ended) == len(orders) or run.cancelled() or run.exception() is not None:
                over.set()

        with _progress.transferring(title, len(orders)) as bar, ThreadPoolExecutor(min(_AT_ONCE, len(orders))) as threads:
            # The bar is drawn by this thread alone; the others only count.
            runs = [threads.submit(self._one, order, root, force, bar.saw) for order in orders]
            try:
                for run in runs:
                    run.add_done_callback(note)
                # Told by them, and not by asking each: of 20,000 that took longer than what they do.
                while not over.wait(0.1):
                    bar.draw(len(ended))
                bar.draw(len(ended))
            finally:
                if any(not run.done() for run in runs):
                    self._stop.set()
                    for run in runs:
                        run.cancel()
                    self._web.cut()
        for run in runs:
            error = None if run.cancelled() else run.exception()
            if error is not None and not isinstance(error, StoppedError):
                raise error
        return [run.result().remark for run in runs if run.result().remark]

    def _one(self, order: Order, root: str, force: bool, saw: _progress.Saw) -> Got:  # noqa: FBT001
        wanted = order.wanted
        entry = Entry(root, wanted.url)
        source = wanted.source or wanted.url
        if wanted.is_datum:
            try:
                source = stores.as_read(source, env.of_clouds().get("AZURE_STORAGE_ACCOUNT_NAME", ""))
            except RefusedError as error:
                raise DownloadError(None, f"cannot download {wanted.shown} from {source}: {error}", wanted.shown) from None
            wanted = replace(wanted, source=source)
        client = self._client(wanted, source)
        download = Download(wanted, entry, client, self._stop, saw, force)
        try:
            altered = False
            if wanted.is_datum and wanted.checksums and not force and os.path.exists(order.target):
                # By its content, and not by its times: those can be set.
                try:
                    return download.take_local(order.target)
                except ChecksumError:
                    altered = True
            local = source.startswith("file://")
            got = download.take_local(unquote(source.removeprefix("file://"))) if local else download.run()
            manner = _Manner(not local or _is_protected(got.path), is_checked=wanted.is_datum and bool(wanted.checksums))
            _place(root, got.path, order.target, self._stop, manner, anew=altered)
        except DownloadError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                entry.drop()  # what has come would only keep the disk full
            place = error.filename or entry.folder
            message = f"cannot download {wanted.shown} to {order.target}: {error.strerror} ({place!r})"
            raise DownloadError(error.errno, message, order.target) from None
        return got

    def _client(self, wanted: Wanted, source: str) -> web.Client | stores.Client | _Offline | _Platform:
        """Return who fetches a file from where it is."""
        if env.read().offline or (wanted.is_datum and source.startswith("file://")):
            return _Offline()
        if source.startswith("valohai+"):
            return _Platform(self._web)
        if web.is_http(source):
            return self._web
        if stores.is_store(source):
            return self._stores
        raise DownloadError(None, f"cannot download {wanted.shown}: {_why_not(source)}", wanted.shown)


class _Offline:
    """Fetches nothing, since nothing may be fetched; what is in the cache has been asked for before."""

    def fetch(self, url: str, *, offset: int, partly: Version, known: Version | None) -> Body:
        """Have what is known stay, and refuse the rest."""
        del url, offset, partly
        if known is not None:
            raise UnchangedError
        raise RefusedError("VHPACK_OFFLINE is set, and no earlier run has fetched it")


class _Platform:
    """Fetches what the platform has to give a URL for first."""

    def __init__(self, client: web.Client) -> None:
        self._client = client

    def fetch(self, url: str, *, offset: int, partly: Version, known: Version | None) -> Body:
        """Fetch from the URL of this moment."""
        from vhpack import platform_api

        return self._client.fetch(platform_api.url_of(url), offset=offset, partly=partly, known=known)


def _is_protected(content: str) -> bool:
    """Return whether nobody can write to a content by a second name of it; before root, no mode protects."""
    return os.geteuid() != 0 and not os.stat(content).st_mode & 0o222


def _why_not(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme.lower() == "file":
        return "there is no such file here"
    return f"{scheme}:// is none of http, https, s3, gs, azure and file"


@dataclass(frozen=True)
class _Manner:
    """How a content is given its path."""

    may_link: bool
    """As the same file, where that can be."""
    is_checked: bool
    """Every run compares the file with its digest: one that a loss of power has emptied is made again."""


def _place(root: str, content: str, target: str, stop: threading.Event, manner: _Manner, *, anew: bool) -> None:
    """Give a content its path, at once.

    What is there already as it was put there stays, unless it has to be done `anew`.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    noted, made_of, there = _noted(root, target), stamp(content), stamp(target)
    same = manner.may_link and _is_same(content, target)
    if anew or there is None or not (same or (there in noted.left and noted.made_of == made_of)):
        staged = f"{os.path.dirname(target)}/.{secrets.token_hex(8)}"
        try:
            _link_or_copy(content, staged, stop, manner)
            # Before it is there, and with what is there still: whoever looks, or is killed, in between sees a download.
            _take_note(root, target, _Note([*noted.left, stamp(staged)]))
            os.replace(staged, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
    _take_note(root, target, _Note([stamp(target)], made_of))


@dataclass(frozen=True)
class _Note:
    """What is known of a path that a download was put under."""

    left: list[object]
    """Stamps that a download has left there, or is about to leave."""
    made_of: object = None
    """The stamp of the content in the cache."""


def _take_note(root: str, target: str, noted: _Note) -> None:
    note = _note(root, target)
    os.makedirs(os.path.dirname(note), exist_ok=True)
    staged = f"{note}.{secrets.token_hex(8)}"
    with open(staged, "w", encoding="ascii") as file:
        json.dump([noted.left, noted.made_of], file)
    os.replace(staged, note)


def _noted(root: str, target: str) -> _Note:
    try:
        with open(_note(root, target), encoding="ascii") as file:
            left, made_of = json.load(file)
    except (FileNotFoundError, TypeError, ValueError):
        return _Note([])
    return _Note(left if isinstance(left, list) else [], made_of)


def _link_or_copy(content: str, staged: str, stop: threading.Event, manner: _Manner) -> None:
    """Give a content a second name, and a third as a copy: whoever writes to one input's file must not change another's.

    A copy is on disk before it gets its name: one that a loss of power has emptied would look like a file put there by hand.
    """
    try:
        if manner.may_link and os.stat(content).st_nlink == 1:
            os.link(content, staged)
            return
    except OSError:  # another file system, or one without links
        pass
    cloned = clone(content, staged)
    with open(content, "rb") as source, open(staged, "ab" if cloned else "xb") as copy:
        while not cloned and (chunk := source.read(1 << 20)):
            copy.write(chunk)
            if stop.is_set():
                raise StoppedError
        copy.flush()
        os.fchmod(copy.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
        if not manner.is_checked:
            os.fdatasync(copy.fileno())


def _is_same(content: str, target: str) -> bool:
    try:
        return os.path.samefile(content, target)
    except FileNotFoundError:
        return False


def is_by_hand(root: str, target: str) -> bool:
    """Return whether a file is at `target` that is not, or not any more, as a download left it; `root` is the cache."""
    found = stamp(target)
    # Size and time alone: who copies a project copies its downloads, and has put none of them there by hand.
    known = [left[-2:] for left in _noted(root, target).left if isinstance(left, list)]
    return found is not None and found[-2:] not in known


def _note(root: str, target: str) -> str:
    """Return where the note on a path is: beside the cache, which anyone may remove without making downloads strangers.

    It goes by the path in the inputs, wherever those are moved to.
    """
    import hashlib

    inputs = os.path.dirname(root)
    name = hashlib.sha256(os.fsencode(os.path.relpath(target, inputs))).hexdigest()[:32]
    return os.path.join(inputs, _NOTES, name)
