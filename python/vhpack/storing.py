"""From a file or a folder to a stored version of a model: snapshot, row, upload, comparison, and only then its end as an original.

The row that says that a version is under way is there before a byte is sent, and says it is stored after what arrived was
compared; so a process may be killed between any two of these steps, and another one goes on (`resume`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from vhpack import destinations, env, gathering, originals, outbox, paths, registrar, runs, sizes, spool, uploading
from vhpack._packing import Settings, plan
from vhpack._packing import run as pack
from vhpack.errors import (
    JobWarning,
    ModelError,
    NoFilesError,
    PackError,
    PackOSError,
    SourceChangedError,
    SourceNotFoundError,
    SpecialFileError,
    UploadError,
)
from vhpack.originals import Originals
from vhpack.registry.records import ModelVersion, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vhpack._engine import PackReport
    from vhpack.registry.models import Draft, Unfinished
    from vhpack.registry.opening import Connection, Registry
    from vhpack.registry.runs import Facts
    from vhpack.runs import Destination
    from vhpack.upload import Upload

MANIFEST = ".manifest.jsonl"
_SILENCE = 60.0  # seconds that a store may say nothing
_LOOK = 0.1  # seconds between two looks at uploads of which none has ended


@dataclass(frozen=True)
class Order:
    """What is to become a version of which model."""

    model: Draft | str
    """A model that is not registered yet, or the ID of one that is."""
    label: str
    """What the model is called."""
    name: str
    """The last part of the URI."""
    destination: Destination
    folder: str
    """The path of the model below the destination; the version's number and the name come behind it."""
    iteration: int | None
    remark: str | None
    snapshot: str = "auto"


@dataclass(frozen=True)
class Contents:
    """The files of a package."""

    sources: tuple[str, ...]
    root: str
    settings: Settings
    remove: bool
    whole: bool
    """All of `root` is packed."""


@dataclass
class Job:
    """A version that is under way in this process."""

    registry: Registry
    key: int
    version: ModelVersion
    label: str
    content: str
    """The file with the bytes that are sent, or that are at their destination already."""
    place: str
    """The file of the spool, which goes when all is done."""
    package: bool
    """It was packed here, and has a manifest beside it."""
    source: str
    """The file or folder that it was made of."""
    sources: str | None
    """What is to be removed when it is stored."""
    facts: Facts | None
    uploads: list[Upload] = field(default_factory=list)
    digests: tuple[str, str] | None = None
    error: PackError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def has_ended(self) -> bool:
        """Return whether all that is sent has arrived, or has failed."""
        return all(upload._has_ended() for upload in self.uploads)  # noqa: SLF001 - the uploads are ours


    def heard(self) -> None:
        """Know that its caller is told what it failed of, which the end of the program need not say again."""
        for upload in self.uploads:
            upload._seen = True  # noqa: SLF001 - the uploads are ours


class _Keeper:
    """The versions that are under way in this process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.jobs: list[Job] = []
        self.remarks: list[str] = []
        """What is to be said of originals that stay."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.spool = spool.Spool(paths.spool_path())
        self._thread: threading.Thread | None = None
        outbox.own().at_the_end(lambda: _leave(self))

    def take(self, job: Job) -> None:
        """See a version to its end."""
        with self.lock:
            self.jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._see_to_all, name="vhpack-models", daemon=True)
                self._thread.start()
            self.changed.notify_all()

    def _see_to_all(self) -> None:
        while True:
            with self.lock:
                waiting = list(self.jobs)
                if not waiting:
                    self._thread = None
                    return
            if not self._see_to_some(waiting):
                waiting[0].uploads[-1]._wait(_LOOK)  # noqa: SLF001 - the uploads are ours

    def _see_to_some(self, waiting: Sequence[Job]) -> bool:
        """Bring what has arrived to its end; else hash one that has not: it takes its time, and arrives meanwhile."""
        for job in waiting:
            if job.has_ended():
                self._end(job)
                return True
        for job in waiting:
            if job.digests is None:
                with contextlib.suppress(PackError, OSError):  # which the end says
                    job.digests = gathering.digest(job.content)
                    return True
        return False

    def _end(self, job: Job) -> None:
        try:
            _end(job, self)
        except Exception as error:  # noqa: BLE001 - on a thread that nobody watches: it becomes what the version failed of
            job.error = error if isinstance(error, PackError) else ModelError(f"{_shown(job)} is not stored: {error!r}")
            with contextlib.suppress(PackError):
                _fail(job.registry, job.key, job.error)
        with self.lock:
            self.jobs.remove(job)
            job.done.set()
            self.changed.notify_all()


_keeper: _Keeper | None = None
_making = threading.Lock()


def keeper() -> _Keeper:
    """Return what is under way in this process; a forked one has none of its parent's."""
    global _keeper  # noqa: PLW0603 - one for each process
    with _making:
        if _keeper is None or _keeper.process != os.getpid() or (not _keeper.jobs and _keeper.spool.root != paths.spool_path()):
            _keeper = _Keeper()
        return _keeper


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - a thread that is not here may have held it
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def under_way(model: str | None = None) -> list[Job]:
    """Return what is under way in this process, of one model or of all."""
    if _keeper is None or _keeper.process != os.getpid():
        return []
    with _keeper.lock:
        return [job for job in _keeper.jobs if model in (None, job.version.model)]


def store_file(order: Order, path: str, *, remove: bool, package: bool = False) -> Job:
    """Send a file as it is now; it stays where it is until the version is stored, and longer unless it is to be removed."""
    registry, mine = registrar.opened(), keeper()
    from vhpack.registry import models

    made = mine.spool.snapshot(path, order.name, order.snapshot)
    sources = Originals(path).text() if remove else None
    try:
        files = _members_of(made) if package else None
        begun = models.Begun(
            kind="package" if package else "file",
            state="uploading",
            name=order.name,
            place=_placed(order),
            iteration=order.iteration,
            size=os.stat(made).st_size,
            snapshot=made,
            sources=sources,
            remark=order.remark,
        )

        def work(connection: Connection, project: int) -> tuple[int, ModelVersion]:
            key, version = models.begin(connection, project, order.model, begun)
            if files is not None:
                models.packed(connection, key, files=files, size=int(begun.size or 0), remark=order.remark)
            return key, version

        key, version = registry.write(work)
    except BaseException:
        mine.spool.drop(made)
        raise
    job = Job(registry, key, version, order.label, made, made, False, path, sources, _facts())
    _send(job, order.destination)
    mine.take(job)
    return job


def store_package(order: Order, contents: Contents) -> Job:
    """Pack files straight to the destination, or into what is sent while it is packed."""
    _refuse_left_out(plan(_encoded(contents), b"", None, contents.settings).skipped)
    registry, mine = registrar.opened(), keeper()
    from vhpack.registry import models

    # The place tells others that this process is at it, whether a file comes to lie there or not.
    made = mine.spool.place(order.name)
    sources = Originals(contents.root, contents.whole).text() if contents.remove else None
    begun = models.Begun(
        kind="package",
        state="packing",
        name=order.name,
        place=_placed(order),
        iteration=order.iteration,
        snapshot=made,
        sources=sources,
        remark=order.remark,
    )
    try:
        key, version = registry.write(lambda connection, project: models.begin(connection, project, order.model, begun))
    except BaseException:
        mine.spool.drop(made)
        raise
    here = local_path(version.url)
    job = Job(registry, key, version, order.label, here or made, made, True, contents.root, sources, _facts())
    try:
        report = _pack(job, contents, order.destination)
        about = f"({report.files:,} files, {sizes.text(report.bytes_in)})"
        remark = None if order.remark is None else f"{order.remark.removesuffix(' stored')} {about} stored"

        def work(connection: Connection, project: int) -> None:
            del project
            models.packed(connection, key, files=report.files, size=report.bytes_out, remark=remark)

        registry.write(work)
    except BaseException as error:
        _forget_bytes(job)
        with contextlib.suppress(PackError):
            registry.write(lambda connection, project: _failed_of(connection, key, error))
        raise
    mine.take(job)
    return job


def register_place(order: Order, output: Output) -> ModelVersion:
    """Let a version be what is elsewhere already."""
    registry = registrar.opened()
    from vhpack.registry import models

    begun = models.Begun("place", "uploading", order.name, lambda _: str(output.location), order.iteration, remark=order.remark)
    facts = _facts()

    def work(connection: Connection, project: int) -> ModelVersion:
        key, _ = models.begin(connection, project, order.model, begun)
        found = models.finish(connection, project, key, output, run=_run(connection, project, facts), state="registered")
        assert found is not None  # noqa: S101 - it was made in this transaction
        return found

    return registry.write(work)


def wait(timeout: float | None, most: int | None) -> list[Job]:
    """Wait until what is under way in this process has ended, or so many of it have, and return those that failed."""
    import time

    known = under_way()
    if not known or _keeper is None:
        return []
    until = None if timeout is None else time.monotonic() + timeout
    enough = len(known) if most is None else min(most, len(known))
    with outbox.heeding(), _keeper.changed:
        while sum(job.done.is_set() for job in known) < enough:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            _keeper.changed.wait(0.1 if left is None else min(left, 0.1))
    say_remarks()
    return [job for job in known if job.done.is_set() and job.error is not None]


def say_remarks() -> None:
    """Warn of originals that were to be removed, and stay."""
    if _keeper is not None and _keeper.process == os.getpid():
        while _keeper.remarks:
            warnings.warn(_keeper.remarks.pop(), JobWarning, stacklevel=3)


def resume() -> int:
    """Go on with what processes that are gone have left, and with what failed; return how many versions that are."""
    registry = registrar.existing()
    if registry is None:
        return 0
    from vhpack.registry import models

    mine, begun = keeper(), 0
    with registry.reading() as connection:
        left = models.unfinished(connection, registry.project(connection))
    busy = {job.key for job in under_way()}
    for each in left:
        if each.key in busy or each.snapshot is None:
            continue
        if mine.spool.takes(each.snapshot):
            begun += _go_on(registry, mine, each)
        elif mine.spool.is_gone(each.snapshot) and each.version.state in models.BEGUN:
            _fail(registry, each.key, ModelError("what was to be sent is there no longer; call update_weights() again"))
    mine.spool.sweep({str(each.snapshot) for each in left})
    return begun


def remove(registry: Registry, given_up: Unfinished) -> None:
    """Remove the bytes of a version that was given up, and note that they are gone.

    Raises:
        PackOSError: they cannot be removed; the version is to be removed once more.
    """
    from vhpack.registry import models

    if given_up.kind != "place" and given_up.version.datum is not None:
        remove_bytes(given_up.version.url)
    if given_up.snapshot is not None and keeper().spool.takes(given_up.snapshot):
        keeper().spool.drop(given_up.snapshot)
    registry.write(lambda connection, project: models.pruned(connection, given_up.key))


def remove_bytes(uri: str, folders: int = 2) -> None:
    """Remove a stored object with its manifest, and the folders that are empty then.

    Raises:
        PackOSError: it cannot be removed.
    """
    path = local_path(uri)
    if path is None:
        from vhpack import stores
        from vhpack.remote import RefusedError, UnavailableError

        client = stores.Client(silence=_SILENCE)
        try:
            for each in (uri + MANIFEST, uri):
                client.delete(each)
        except (RefusedError, UnavailableError) as error:
            raise PackOSError(None, f"{uri} cannot be removed: {error}", uri) from None
        return
    try:
        for each in (path + MANIFEST, path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
    except OSError as error:
        raise PackOSError(error.errno, f"{path} cannot be removed: {error.strerror}", path) from None
    for _ in range(folders):
        path = os.path.dirname(path)
        with contextlib.suppress(OSError):
            os.rmdir(path)


def is_removable(uri: str) -> bool:
    """Return whether what is at a URI can be removed from here."""
    return uri.partition("://")[0].lower() in ("file", "s3", "gs")


def local_path(uri: str) -> str | None:
    """Return the path of a `file://` URI, or None."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else None


def check_writable(uri: str) -> None:
    """See to it that a folder of this machine is there, and can be written to; other places are asked when something is sent.

    Raises:
        BadDestinationError: it cannot.
    """
    folder = local_path(uri)
    if folder is None:
        return
    import tempfile

    from vhpack import errors

    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{folder} cannot be written to: {error.strerror}; name another destination"
        raise errors.of_upload("bad_destination", message, error.errno, None, uri) from None


def _send(job: Job, destination: Destination) -> None:
    path = local_path(job.version.url)
    if path is not None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    pairs: list[tuple[str, str | UploadError]] = [(job.content, job.version.url)]
    if job.package:
        pairs.append((job.content + MANIFEST, job.version.url + MANIFEST))
    job.uploads += uploading.begin(pairs, destination, before=spool.bring_to_disk)


def _pack(job: Job, contents: Contents, destination: Destination) -> PackReport:
    here, sources, target = local_path(job.version.url), _encoded(contents), os.fsencode(job.content)
    if here is not None:
        os.makedirs(os.path.dirname(here), exist_ok=True)
        report = pack(sources, b"", target, contents.settings)
        _refuse_left_out(report.skipped)
        return report
    with uploading.following(job.content, job.version.url, destination) as following:
        report = pack(sources, b"", target, contents.settings, follow=following)
        _refuse_left_out(report.skipped)
    job.uploads += [upload for upload in outbox.own().uploads if upload.uri == job.version.url]
    manifest = (job.content + MANIFEST, job.version.url + MANIFEST)
    job.uploads += uploading.begin([manifest], destination)
    return report


def _end(job: Job, mine: _Keeper) -> None:
    """Let a version be stored that has arrived, and its originals go; or say what it failed of."""
    failed = next((error for upload in job.uploads if (error := upload._error()) is not None), None)  # noqa: SLF001 - ours
    if failed is not None:
        # The snapshot stays: `resume` sends it once more.
        job.error = failed
        _fail(job.registry, job.key, failed)
        return
    if job.digests is None:
        job.digests = gathering.digest(job.content)
    sha256, xxh3_128 = job.digests
    if job.package:
        _refuse_other(job, xxh3_128)
    status = os.stat(job.content)
    here = local_path(job.version.url)
    if here is not None:
        _protect(here)
    name = f"{paths.folder_name(job.label)}/{job.version.n}/{job.version.name}"
    output = Output(name, status.st_size, sha256, xxh3_128, status.st_mtime_ns, job.version.url)
    from vhpack.registry import models

    def work(connection: Connection, project: int) -> ModelVersion | None:
        return models.finish(connection, project, job.key, output, run=_run(connection, project, job.facts))

    job.registry.write(work)
    with contextlib.suppress(PackError):  # it is stored; what is left of it here, the next look finds
        _clear(job.registry, mine, job.key, job.sources, job.place, (job.content, xxh3_128))


def _clear(registry: Registry, mine: _Keeper, key: int, sources: str | None, place: str, content: tuple[str, str]) -> None:
    """Remove the originals of what is stored, and the snapshot."""
    from vhpack.registry import models

    try:
        why = [] if sources is None else _remove(key, Originals.of(sources), *content)
    except (PackError, OSError) as error:
        why = [f"{Originals.of(str(sources)).path} stays: {error}"]
    if why:
        mine.remarks.append(f"{why[0]}; and {len(why) - 1:,} more" if len(why) > 1 else why[0])
    mine.spool.drop(place)
    registry.write(lambda connection, project: models.cleared(connection, key))


def _remove(key: int, found: Originals, content: str, digest: str) -> list[str]:
    # What another version still waits to be made of is that one's, which may not want it to be removed.
    if any(job.key != key and job.source == found.path for job in under_way()):
        return []
    if os.path.exists(content + MANIFEST):
        return originals.remove_files(found, *_digests(content + MANIFEST))
    stays = originals.remove_file(found.path, digest)
    return [] if stays is None else [stays]


def _go_on(registry: Registry, mine: _Keeper, left: Unfinished) -> int:
    from vhpack.registry import models

    version, place = left.version, str(left.snapshot)
    here = local_path(version.url)
    in_place = here is not None and left.kind == "package" and not os.path.exists(place)
    content = str(here) if in_place else place
    if version.state == "packing":
        if in_place:
            with contextlib.suppress(PackError):
                remove_bytes(version.url)
        _fail(registry, left.key, ModelError("it was killed while it packed; all files are where they were: call it again"))
        registry.write(lambda connection, project: models.cleared(connection, left.key))
        mine.spool.drop(place)
        return 0
    if version.state in models.THERE:
        digest = ("", "") if not os.path.exists(content) else gathering.digest(content)
        _clear(registry, mine, left.key, left.sources if digest[1] else None, place, (content, digest[1]))
        return 0
    if version.state == "pruned":
        return 0
    if not os.path.exists(content) or os.stat(content).st_size != version.size:
        _fail(registry, left.key, ModelError("what was to be sent is not whole any more; call update_weights() again"))
        return 0
    is_ours = os.path.exists(content + MANIFEST)
    source = Originals.of(left.sources).path if left.sources else ""
    job = Job(registry, left.key, version, left.label, content, place, is_ours, source, left.sources, None)
    registry.write(lambda connection, project: models.again(connection, left.key))
    if not in_place:
        folder = version.url[: -len(version.url.rpartition("/")[2])]
        destination = destinations.chosen(folder, env.read())
        assert destination is not None  # noqa: S101 - `to` was given
        _send(job, destination)
    mine.take(job)
    return 1


def _refuse_other(job: Job, digest: str) -> None:
    from vhpack import _engine

    wanted = _engine.Manifest(os.fsencode(job.content + MANIFEST)).digest
    if wanted != digest:
        raise ModelError(f"{job.content} is not what was packed: its xxh3-128 is {digest}, and {wanted} in its manifest")


def _refuse_left_out(skipped: Sequence[tuple[str, str]]) -> None:
    """Refuse a package that would lack something of the folder: who unpacks it would not know.

    Raises:
        SourceNotFoundError: a link leads nowhere. SpecialFileError: something is no file. SourceChangedError: anything else.
    """
    import stat

    for path, why in skipped:
        if not os.path.lexists(path):
            continue
        if os.path.islink(path) and not os.path.exists(path):
            raise SourceNotFoundError(2, f"{path} is a link that leads nowhere; remove it, or exclude it", path)
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise SpecialFileError(None, f"{path} is no file; remove it, or exclude it", path)
        raise SourceChangedError(None, f"{path} cannot be packed: {why}; exclude it", path)


def _digests(manifest: str) -> tuple[dict[str, str], list[str]]:
    from vhpack import _engine

    files: dict[str, str] = {}
    folders: list[str] = []
    for member in _engine.Manifest(os.fsencode(manifest)):
        if member.kind == "directory":
            folders.append(member.name)
        else:
            files[member.name] = member.digest
    return files, folders


def _members_of(path: str) -> int:
    from vhpack import archive

    with archive.open(path) as found:
        return len(found)


def _encoded(contents: Contents) -> bytes:
    from vhpack._packing import encode

    if not contents.sources:
        raise NoFilesError("no files to pack")
    return encode(contents.sources)


def _placed(order: Order) -> Callable[[int], str]:
    return lambda number: destinations.below(order.destination.uri, f"{order.folder}/{number}/{order.name}")


def _protect(path: str) -> None:
    """Let nobody change by mistake what is stored; a file system that knows no modes is none the worse."""
    for each in (path, path + MANIFEST):
        with contextlib.suppress(OSError):
            os.chmod(each, os.stat(each).st_mode & 0o555)


def _forget_bytes(job: Job) -> None:
    if local_path(job.version.url) is not None:
        with contextlib.suppress(PackError):
            remove_bytes(job.version.url)
    keeper().spool.drop(job.place)


def _failed_of(connection: Connection, key: int, error: BaseException) -> None:
    from vhpack.registry import models

    models.fail(connection, key, str(error) or type(error).__name__)
    models.cleared(connection, key)


def _fail(registry: Registry, key: int, error: PackError) -> None:
    from vhpack.registry import models

    registry.write(lambda connection, project: models.fail(connection, key, str(error)))


def _facts() -> Facts | None:
    """Return what the registry is to know of the run that makes a version, if it is one that is registered."""
    if not runs.is_settled() or not registrar.is_on():
        return None
    from vhpack.registry.runs import Facts

    run = runs.current()
    return Facts(run.hash, run.step, run.parameters, env.read().run_copy_of or None)


def _run(connection: Connection, project: int, facts: Facts | None) -> int | None:
    if facts is None:
        return None
    from vhpack.registry import runs as records

    return records.number(connection, project, facts)


def _shown(job: Job) -> str:
    return f"version {job.version.n} of the model {job.label!r}"


def _leave(mine: _Keeper) -> None:
    """At the end of the program, when all uploads have ended: let what has arrived be stored, and name what is not."""
    import sys

    if mine.process != os.getpid():
        return
    while any(job.has_ended() for job in under_way()):
        with mine.changed:
            mine.changed.wait(_LOOK)
    for job in under_way():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"vhpack: {_shown(job)} is not stored yet; `vhpack model resume` goes on with it", file=sys.stderr)  # noqa: T201
    for remark in mine.remarks:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"vhpack: {remark}", file=sys.stderr)  # noqa: T201
    mine.spool.close()
