"""The uploads of a process: begun on a thread that may take its time, known to its end, forgotten by its forks."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import destinations, env, errors, importing
from vhpack.errors import OptionError, PackError, UploadError
from vhpack.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from vhpack import _engine
    from vhpack.destinations import Credentials, Limits

    Server: TypeAlias = tuple[tuple[str, str], ...]


_STARTERS = 4  # threads that begin uploads, each those of one call: fsync of a large file must not keep the next call's waiting
_PLACES = 16  # locks for the names that uploads go to: of two for one name, the later is begun last
_RENEW_SECONDS = 1.0  # between two looks whether a server refuses keys that have expired: it is asked five times, a second apart


@dataclass(frozen=True)
class Plan:
    """How the files of one call are begun."""

    options: dict[str, str]
    before: Callable[[str], None] | None
    remove_after: bool
    root: str
    """The URI of the folder that all of them go to."""


class Outbox:
    """The uploads of one process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.uploads: list[Upload] = []
        self.interrupts = 0
        self._registered = False
        self.endings: list[Callable[[], None]] = []
        """What is to be done at the end of the process, when its uploads have ended."""
        self.limits: Limits | None = None
        self.abandoned = False
        """Whether the end of the program is not to wait: a command that was interrupted ends at once, and resumes later."""
        self._lock = threading.Lock()
        self._engine: _engine.Uploader | None = None
        self._accounts = threading.Lock()
        self._places = [threading.Lock() for _ in range(_PLACES)]
        self._waiting: collections.deque[tuple[list[Upload], Plan]] = collections.deque()
        self._starters = 0
        self._renewer: threading.Thread | None = None
        self._renewed: dict[Credentials, _engine.Upload] = {}
        self._latest: dict[tuple[str, Server], tuple[Upload, tuple[int, ...]]] = {}
        self._profiles: dict[tuple[tuple[str, str], ...], Credentials | None] = {}

    def settle(self, limits: Limits) -> None:
        """Let these limits hold for all uploads."""
        unfinished = self.limits not in (None, limits) and self.unfinished()
        with self._lock:
            if unfinished:
                raise OptionError(
                    f"uploads of this process are under way with {self.limits}, which cannot be changed to {limits}"
                )
            if self.limits != limits:
                if self._engine is not None:
                    self._engine.close()
                self.limits, self._engine = limits, None

    def engine(self) -> _engine.Uploader:
        """Return the engine's part, made if there is none."""
        with importing.alone:
            from vhpack import _engine

        with self._lock:
            if self._engine is None:
                limits = self.limits or destinations.limits_of({}, env.read())[0]
                self.limits = limits
                self._engine = _engine.Uploader(
                    state_dir=state_dir(),
                    memory=limits.memory,
                    max_bps=limits.max_bps,
                    stall_seconds=limits.stall_seconds,
                    give_up_seconds=limits.give_up_seconds,
                )
            return self._engine

    def replace(self, path: str, uri: str, server: Server) -> tuple[Upload, bool]:
        """Return the upload of a file that is under way, if it still is that file, else a new one; and whether it is new."""
        identity = _identity(path)
        # Two servers may have a bucket of the same name.
        place = (uri, server)
        known = self._latest.get(place)
        if known is not None and not known[0]._has_ended():  # noqa: SLF001 - the uploads are this module's
            if identity and known[1] == identity and known[0].path == path:
                return known[0], False
            # That it is cancelled is what was asked for, and no news at the end.
            known[0]._seen = True  # noqa: SLF001
        upload = Upload(path, uri)
        if uri:
            self._latest[place] = (upload, identity)
            upload._place = place  # noqa: SLF001
        return upload, True

    def add(self, begun: list[Upload]) -> None:
        """Know of these."""
        with self._lock:
            if self.interrupts and all(upload._has_ended() for upload in self.uploads):  # noqa: SLF001 - this module's
                self.interrupts = 0
            self.uploads.extend(begun)
        if begun:
            self._register()

    def at_the_end(self, work: Callable[[], None]) -> None:
        """Have this done at the end of the process, when its uploads have ended."""
        self.endings.append(work)
        self._register()

    def _register(self) -> None:
        with self._lock:
            first, self._registered = not self._registered, True
        if first:
            from vhpack import leaving

            leaving.register(_leave)

    def take(self, begun: list[Upload], plan: Plan) -> None:
        """Know of these, and have them begun in this order."""
        if not begun:
            return
        self.add(begun)
        with self._lock:
            self._waiting.append((begun, plan))
            if self._starters == _STARTERS:
                return
            self._starters += 1
        # Not of those that the interpreter waits for before anything else at its end.
        starter = threading.Thread(target=self._start_all, name="vhpack-start", daemon=True)
        try:
            starter.start()
        except RuntimeError:
            # There is no thread to be had, at the interpreter's very end for one: better late than never.
            self._start_all()

    def _start_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._starters -= 1
                    return
                begun, plan = self._waiting.popleft()
            for upload in begun:
                self._start(upload, plan)

    def _start(self, upload: Upload, plan: Plan) -> None:
        path, uri = upload.path, upload.uri
        try:
            if upload._failure is not None:  # noqa: SLF001
                return
            if upload._unwanted:  # noqa: SLF001 - the uploads are this module's
                raise errors.of_upload("cancelled", f"{path} was not sent to {uri}: the upload was cancelled", None, path, uri)  # noqa: TRY301
            if plan.before is not None:
                plan.before(path)
            if uri:
                destinations.make_folders(uri, plan.root)
                options, account = self.account(plan.options, destinations.scheme_of(uri))
                with self._places[hash(upload._place) % _PLACES]:  # noqa: SLF001
                    if self._latest.get(upload._place, (upload,))[0] is not upload:  # noqa: SLF001
                        upload._unwanted = True  # noqa: SLF001
                        raise errors.of_upload("cancelled", f"another upload to {uri} took its place", None, path, uri)  # noqa: TRY301
                    upload._native = self.engine().start(  # noqa: SLF001
                        path, uri, options, credentials=account, remove_after=plan.remove_after
                    )
                if account is not None:
                    self._renew(account, upload._native)  # noqa: SLF001
            upload._cancel_if_unwanted()  # noqa: SLF001 - cancelled while it was begun
        except UploadError as error:
            upload._failure = errors.of_upload(error.kind, str(error), error.errno, path, uri)  # noqa: SLF001
        except PackError as error:
            upload._failure = UploadError(getattr(error, "errno", None), str(error), path, None, uri)  # noqa: SLF001
        except Exception as error:  # noqa: BLE001 - on a thread that nobody watches: it becomes what the upload failed of
            upload._failure = UploadError(None, f"{path} could not be sent to {uri}: {error!r}", path, None, uri)  # noqa: SLF001
        finally:
            upload._begun.set()  # noqa: SLF001

    def _renew(self, account: Credentials, native: _engine.Upload) -> None:
        """See to it that keys which expire are renewed while nobody waits: the engine never calls Python, it is asked."""
        with self._lock:
            # One of them is as good as another: all uploads of an account have the same keys.
            self._renewed[account] = native
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew_all, name="vhpack-keys", daemon=True)
                self._renewer.start()

    def _renew_all(self) -> None:
        while True:
            time.sleep(_RENEW_SECONDS)
            with self._lock:
                natives = list(self._renewed.values())
            for native in natives:
                # What a profile cannot give now, it may give later; until then the server's refusals say enough.
                with contextlib.suppress(Exception):
                    native.renew()

    def account(self, options: dict[str, str], scheme: str) -> tuple[dict[str, str], Credentials | None]:
        """Return what the engine takes: options, and what looks up the keys of a profile, one for all with these options."""
        account = self._credentials(options, scheme)
        own = {name: value for name, value in options.items() if name != "profile"}
        if account is not None and account.region:
            own.setdefault("region", account.region)
        return own, account

    def drop(self, ended: Sequence[Upload]) -> None:
        """Know of these no longer."""
        gone = set(map(id, ended))
        with self._lock:
            self.uploads = [upload for upload in self.uploads if id(upload) not in gone]
            for upload in ended:
                if self._latest.get(upload._place, (None,))[0] is upload:  # noqa: SLF001 - the uploads are this module's
                    del self._latest[upload._place]  # noqa: SLF001

    def _credentials(self, options: dict[str, str], scheme: str) -> Credentials | None:
        key = (("", scheme), *sorted(options.items()))
        # One for all: each of its own would have connections and lanes of its own.
        with self._accounts:
            if key not in self._profiles:
                self._profiles[key] = destinations.credentials_of(options, scheme)
            return self._profiles[key]

    def unheard(self) -> list[Upload]:
        """Return the uploads that failed and whose error nobody has asked for."""
        return [
            upload
            for upload in self.uploads
            if not upload._seen and upload._has_ended() and upload._error() is not None  # noqa: SLF001 - this module's
        ]

    def unremoved(self) -> list[str]:
        """Return why files are still here that were to be removed, as far as nobody has heard of it."""
        return [why for upload in self.uploads if not upload._seen and (why := upload.kept) is not None]  # noqa: SLF001 - this module's

    def wait(self, upload: Upload, seconds: float) -> None:
        """Wait for one upload, whatever becomes of it."""
        upload._wait(seconds)  # noqa: SLF001 - the uploads are this module's

    def unfinished(self) -> list[Upload]:
        """Return the uploads that have not ended."""
        return [upload for upload in self.uploads if not upload._has_ended()]  # noqa: SLF001 - the uploads are this module's

    def interrupted(self) -> None:
        """Count a Ctrl-C: the second one cancels."""
        self.interrupts += 1
        if self.interrupts > 1:
            for upload in self.unfinished():
                upload.cancel()

    def forget(self) -> None:
        """Touch nothing that threads of the parent may have been in the middle of."""
        if self._engine is not None:
            self._engine.forget_in_child()


def _identity(path: str) -> tuple[int, ...]:
    """Return what tells one content of a file from another, but not its mark."""
    try:
        known = os.stat(path)
    except OSError:
        return ()
    return (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns)


_own: Outbox | None = None
_making = threading.Lock()


def own() -> Outbox:
    """Return the uploads of this process; a forked one has none of its parent's."""
    global _own  # noqa: PLW0603 - one for each process
    with _making:
        if _own is None or _own.process != os.getpid():
            _own = Outbox()
        return _own


def _after_fork() -> None:
    global _own, _making
    # A thread that is not here may have held the lock.
    theirs, _own, _making = _own, None, threading.Lock()
    if theirs is not None:
        theirs.forget()


os.register_at_fork(after_in_child=_after_fork)


def state_dir() -> str:
    """Return the folder of the records of uploads: outside the outputs folder, all of which is uploaded.

    It is `VHPACK_STATE_DIR`, or `vhpack` where programs keep such things; it need not exist.
    """
    environment = env.read()
    return os.path.abspath(environment.state_dir or os.path.join(environment.state_home, "vhpack"))


@contextlib.contextmanager
def heeding() -> Iterator[None]:
    """Count a Ctrl-C that ends a wait."""
    try:
        yield
    except KeyboardInterrupt:
        own().interrupted()
        raise


def _leave() -> None:
    """Wait for what is unfinished, at the end of the program."""
    from vhpack import leaving

    if _own is not None and _own.process == os.getpid() and not _own.abandoned:
        leaving.drain(_own, timeout=env.read().exit_timeout, records=state_dir())
        for work in _own.endings:
            work()
