"""One download: into a cache entry of its own, resumed, asked for again, verified, and complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from vhpack import cache
from vhpack.errors import ChecksumError, DownloadError
from vhpack.remote import Body, RefusedError, RestartError, UnavailableError, UnchangedError, Version

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from typing import Final, Protocol

    class Client(Protocol):
        """Whoever can fetch a URL."""

        def fetch(self, url: str, *, offset: int, partly: Version, known: Version | None) -> Body:
            """Return the file from `offset` on, or from its beginning."""
            ...


TRIES: Final = 6
_FIRST_WAIT = 0.5  # seconds, doubled with each try: some 15 s of a server's restart are sat out
_LONGEST_WAIT = 30.0
_PROGRESS = 1 << 20  # bytes that make a try count as the first again
_SPARE = 1 << 30  # bytes, or a twentieth of the disk if that is less, that a body of unknown size leaves to others
_KNOWN_DIGESTS = ("sha256", "sha1", "md5", "sha512")


@dataclass(frozen=True)
class Wanted:
    """A file to have."""

    url: str
    """What it is known by, which the cache goes by."""
    source: str = ""
    """Where it is fetched from, if that is another URL than the one it is known by."""
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """Of the checksums those that can be compared, in small letters."""
        return {kind: digest.lower() for kind, digest in self.checksums.items() if kind in _KNOWN_DIGESTS}

    @property
    def is_datum(self) -> bool:
        """Whether it is a file of the registry's, of which there never is another one."""
        return self.url.startswith("datum://")

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it: name, password, and the query, where signatures are.

        Example:
            >>> from vhpack.download import Wanted
            >>> Wanted("https://me:word@host/a.zip?signature=x").shown
            'https://host/a.zip'
        """
        scheme, _, rest = self.url.partition("://")
        place, slash, path = rest.partition("/")
        return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


@dataclass(frozen=True)
class Got:
    """A file that is had."""

    path: str
    """Its content in the cache."""
    remark: str = ""
    """What its user should know."""


class StoppedError(Exception):
    """The download was told to stop; what it has got is kept for the next time."""


class Entry:
    """One URL's folder in the cache: `content` and `record.json`, `part` and `part.json` while it is on its way."""

    def __init__(self, root: str, url: str) -> None:
        self.folder = os.path.join(root, hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32])
        self.content = os.path.join(self.folder, "content")
        self.part = os.path.join(self.folder, "part")

    @contextlib.contextmanager
    def locked(self, stop: threading.Event) -> Iterator[None]:
        """Let no other process or thread write here."""

        def pause() -> None:
            if stop.wait(0.1):
                raise StoppedError

        with cache.alone(self.folder, pause):
            yield

    def version(self) -> Version | None:
        """Return the version of the content, if it is there and nobody has touched it since."""
        record = _read(f"{self.folder}/record.json")
        return None if record is None or record.get("stamp") != stamp(self.content) else _version(record)

    def part_version(self) -> Version | None:
        """Return the version that `part` is the beginning of."""
        record = _read(f"{self.folder}/part.json")
        return None if record is None or not os.path.exists(self.part) else _version(record)

    def begin(self, url: str, version: Version) -> None:
        """Note what `part` is about to be the beginning of."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)
        _write(f"{self.folder}/part.json", {"url": url, **asdict(version)})

    def finish(self, url: str, version: Version) -> None:
        """Make `part` the content."""
        os.replace(self.part, self.content)
        _write(f"{self.folder}/record.json", {"url": url, **asdict(version), "stamp": stamp(self.content)})
        self.drop()

    def drop(self) -> None:
        """Forget what has come so far."""
        for name in ("part", "part.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.folder}/{name}")


@dataclass
class Download:
    """Gets one file; `run` does it."""

    wanted: Wanted
    entry: Entry
    client: Client
    stop: threading.Event
    saw: Callable[[int, int | None], object]
    """Called with bytes that came, and the whole size if it is known."""
    force: bool = False
    """Fetch it even if it has not changed."""
    _counted: bool = False

    def run(self) -> Got:
        """Return the file: as it is in the cache where it has not changed, else as it comes.

        Raises:
            ChecksumError: what comes is not what was promised.
            DownloadError: it does not come.
            StoppedError: `stop` was set.
        """
        with self.entry.locked(self.stop):
            known = None if self.force else self.entry.version()
            if known is not None and self._mismatch(self.entry.content) is not None:
                known = None  # whatever its server says of it, it is not what was promised
            # What is known by a digest, or never changes, has no need to be asked for again.
            if known is not None and (self.wanted.digests or self.wanted.is_datum):
                return Got(self.entry.content)
            try:
                return self._insist(known)
            except UnavailableError as error:
                if known is None:
                    raise DownloadError(None, f"cannot download {self.wanted.shown}: {error}", self.wanted.shown) from None
                remark = f"cannot ask whether {self.wanted.shown} has changed ({error}); the copy from before is used"
                return Got(self.entry.content, remark)
            except RefusedError as error:
                raise DownloadError(None, f"cannot download {self.wanted.shown}: {error}", self.wanted.shown) from None

    def _insist(self, known: Version | None) -> Got:
        tries, spoiled = 0, 0
        while True:
            before = self._size()
            try:
                self._try(known)
            except UnchangedError:
                return self._unchanged(known)
            except RestartError:
                self.entry.drop()
                tries = self._again(tries + 1, UnavailableError("the file changes faster than it comes"))
            except UnavailableError as error:
                tries = self._again(1 if self._size() - before >= _PROGRESS else tries + 1, error)
            else:
                wrong = self._mismatch(self.entry.part)
                if wrong is None:
                    version = self.entry.part_version() or Version()
                    self.entry.finish(self.wanted.shown, replace(version, size=self._size()))
                    return Got(self.entry.content)
                self.entry.drop()
                spoiled += 1
                if spoiled > 1:  # twice the same is no accident of the way
                    raise ChecksumError(None, f"{self.wanted.shown} is not what was promised: {wrong}", self.wanted.shown)

    def _unchanged(self, known: Version | None) -> Got:
        if known is None:
            raise RefusedError("the server says that it has not changed, of a file that was never had")
        return Got(self.entry.content)

    def _again(self, tries: int, error: UnavailableError) -> int:
        if tries >= TRIES:
            raise error
        pause = min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        if self.stop.wait(pause if error.after is None else min(max(error.after, pause), 2 * _LONGEST_WAIT)):
            raise StoppedError
        return tries

    def _try(self, known: Version | None) -> None:
        partly = self.entry.part_version()
        offset = self._size() if partly else 0
        if partly is not None and offset and partly.size == offset:  # complete, but for its name
            if not self._counted:
                self._confirm(partly)  # it came in an earlier run, however long ago
            return
        self._receive(offset, partly, known)

    def _confirm(self, whole: Version) -> None:
        """Ask whether a part that is complete still is the file, and fetch the file if not."""
        with contextlib.suppress(UnchangedError):
            self._receive(0, None, whole)

    def _receive(self, offset: int, partly: Version | None, known: Version | None) -> None:
        source = self.wanted.source or self.wanted.url
        body = self.client.fetch(source, offset=offset, partly=partly or Version(), known=known)
        try:
            if known is not None and body.offset == 0 and known.is_same(body.version):
                raise UnchangedError
            # A server that does not heed If-Range would have the rest of another version glued on.
            if body.offset and not (body.offset == offset and partly is not None and partly.is_same(body.version)):
                raise RestartError
            if body.offset == 0:
                self.entry.begin(self.wanted.shown, body.version)
            if not self._counted:
                self._counted = True
                self.saw(body.offset, body.version.size)
            self._take(body)
        finally:
            body.close()

    def _take(self, body: Body) -> None:
        promised = [size for size in (body.version.size, self.wanted.size) if size is not None]
        with open(self.entry.part, "ab") as file:
            for chunk in body.chunks:
                if promised and file.tell() + len(chunk) > min(promised):
                    # It may well go on until the disk is full.
                    self.entry.drop()
                    raise UnavailableError(f"it goes on after the {min(promised):,} bytes that were promised")
                if not promised and _fills_the_disk(file.fileno(), len(chunk)):
                    came = file.tell()
                    self.entry.drop()
                    raise RefusedError(
                        f"it goes on after {came:,} bytes without having said how many there are, and fills the disk; make room"
                    )
                file.write(chunk)
                self.saw(len(chunk), None)
                if self.stop.is_set():
                    raise StoppedError
            file.flush()
            os.fdatasync(file.fileno())
        if self.stop.is_set():  # a connection that was cut may look like a file that has ended
            raise StoppedError
        if body.version.size is not None and self._size() != body.version.size:
            raise UnavailableError(f"it ended after {self._size():,} of {body.version.size:,} bytes")

    def _size(self) -> int:
        try:
            return os.stat(self.entry.part).st_size
        except FileNotFoundError:
            return 0

    def take_local(self, path: str) -> Got:
        """Return a file that is on this machine, of which the registry has promised what it is.

        Raises:
            ChecksumError: it is another one, or is gone.
            StoppedError: `stop` was set.
        """
        try:
            wrong = self._mismatch(path)
        except FileNotFoundError:
            wrong = "it is gone: it was removed, or is in the store of another machine"
        if wrong is not None:
            message = f"{self.wanted.shown} is not what was registered: {wrong} ({path})"
            raise ChecksumError(None, message, path)
        self.saw(os.stat(path).st_size, os.stat(path).st_size)
        return Got(path)

    def _mismatch(self, path: str) -> str | None:
        """Return how a file differs from what was promised of it, or None."""
        size = os.stat(path).st_size
        if self.wanted.size is not None and size != self.wanted.size:
            return f"it has {size:,} bytes instead of {self.wanted.size:,}"
        promised = self.wanted.digests
        found = self._digests(path, tuple(promised)) if promised else {}
        wrong = [f"its {kind} is {found[kind]} instead of {digest}" for kind, digest in promised.items() if found[kind] != digest]
        return wrong[0] if wrong else None

    def _digests(self, path: str, kinds: tuple[str, ...]) -> dict[str, str]:
        hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                for each in hashes.values():
                    each.update(chunk)
                if self.stop.is_set():
                    raise StoppedError
        return {kind: each.hexdigest() for kind, each in hashes.items()}


def _fills_the_disk(descriptor: int, more: int) -> bool:
    """Return whether so many bytes more would leave others of the disk too little."""
    found = os.fstatvfs(descriptor)
    whole, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return whole > 0 and free - more < min(_SPARE, whole // 20)  # some file systems do not say


def stamp(path: str) -> list[int] | None:
    """Return what changes when a file is written to or replaced, or None where there is none.

    The last two, size and time, are the same in a copy that keeps times.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    # Not the device: its number is another one after the next mount.
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _read(path: str) -> dict[str, object] | None:
    try:
        with open(path, "rb") as file:
            record = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _write(path: str, record: dict[str, object]) -> None:
    with open(f"{path}.staged", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{path}.staged", path)


def _version(record: dict[str, object]) -> Version:
    size = record.get("size")
    return Version(str(record.get("etag", "")), str(record.get("modified", "")), size if isinstance(size, int) else None)
