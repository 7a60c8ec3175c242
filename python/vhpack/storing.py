"""From a file or a folder to a stored version of a model: snapshot, row, upload, comparison, and only then the original's end.

The row that says that a version is under way is there before a byte is sent, and says it is stored after what arrived was
compared; so a process may be killed between any two of these steps, and another one goes on (`resuming`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack import (
    destinations,
    env,
    gathering,
    originals,
    outbox,
    packages,
    paths,
    registrar,
    runs,
    sizes,
    spool,
    stored,
    uploading,
)
from vhpack._packing import run as pack
from vhpack.errors import JobWarning, ModelError, PackError
from vhpack.originals import Originals
from vhpack.registry.records import Output
from vhpack.stored import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vhpack._engine import PackReport
    from vhpack.errors import UploadError
    from vhpack.packages import Contents
    from vhpack.registry.models import Draft
    from vhpack.registry.opening import Connection, Registry
    from vhpack.registry.records import ModelVersion
    from vhpack.registry.runs import Facts
    from vhpack.runs import Destination
    from vhpack.upload import Upload

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


@dataclass(eq=False)
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
    told: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def has_ended(self) -> bool:
        """Return whether all that is sent has arrived, or has failed."""
        return all(upload._has_ended() for upload in self.uploads)  # noqa: SLF001 - the uploads are ours

    def heard(self) -> None:
        """Know that its caller is told what it failed of, which the end of the program need not say again."""
        for upload in self.uploads:
            upload._seen = True  # noqa: SLF001 - the uploads are ours
        self.told = True


class Keeper:
    """The versions that are under way in this process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.jobs: list[Job] = []
        self._begun: set[str] = set()
        self.failed: list[Job] = []
        """Those whose error nobody was told yet."""
        self.remarks: list[str] = []
        """What is to be said of originals that stay."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.spool = spool.Spool(_spool_root())
        self._thread: threading.Thread | None = None
        outbox.own().at_the_end(lambda: _leave(self))

    def take(self, job: Job) -> None:
        """See a version to its end."""
        for before in self.untold():
            if before.key == job.key:
                before.heard()  # it is tried again
        with self.lock:
            self.jobs.append(job)
            if not self.is_alive():
                self._thread = threading.Thread(target=self._see_to_all, name="vhpack-models", daemon=True)
                self._thread.start()
            self.changed.notify_all()

    @contextlib.contextmanager
    def beginning(self, place: str) -> Iterator[None]:
        """Have others of this process leave a version alone whose row is there, and that is no job yet, by its place."""
        with self.lock:
            self._begun.add(place)
        try:
            yield
        finally:
            with self.lock:
                self._begun.discard(place)

    def places(self) -> set[str]:
        """Return the places of the versions that this process is at."""
        with self.lock:
            return {job.place for job in self.jobs} | self._begun

    def untold(self) -> list[Job]:
        """Return what has failed, and of which nobody was told so yet."""
        with self.lock:
            self.failed = [job for job in self.failed if not job.told]
            return list(self.failed)

    def is_alive(self) -> bool:
        """Return whether somebody sees to the versions."""
        return self._thread is not None and self._thread.is_alive()

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
                with contextlib.suppress(Exception):  # which the end says
                    job.digests = gathering.digest(job.content)
                    return True
        return False

    def _end(self, job: Job) -> None:
        try:
            _end(job, self)
        except Exception as error:  # noqa: BLE001 - on a thread that nobody watches: it becomes what the version failed of
            job.error = error if isinstance(error, PackError) else ModelError(f"{_shown(job)} is not stored: {error!r}")
            with contextlib.suppress(Exception):  # the row stays as it is, and the next one who resumes finds it
                fail(job.registry, job.key, job.error)
        with self.lock:
            self.jobs.remove(job)
            if job.error is not None:
                self.failed.append(job)
            job.done.set()
            self.changed.notify_all()


def _spool_root() -> str:
    """Return the folder of snapshots that rows of this registry and project speak of: `resuming` removes others there."""
    place = registrar.place()
    known = "" if place is None else f"{place.url}\n{place.project}"
    return f"{paths.spool_path()}/{zlib.crc32(known.encode()):08x}"


_keeper: Keeper | None = None
_making = threading.Lock()


def keeper() -> Keeper:
    """Return what is under way in this process; a forked one has none of its parent's."""
    global _keeper  # noqa: PLW0603 - one for each process
    with _making:
        known = None if _keeper is None or _keeper.process != os.getpid() else _keeper
        if known is not None and not known.places() and known.spool.root != _spool_root():
            known.spool.close()  # of a run that has ended
            known = None
        _keeper = known or Keeper()
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


def untold(model: str) -> list[Job]:
    """Return versions of a model that have failed in this process, and of which nobody was told so yet."""
    if _keeper is None or _keeper.process != os.getpid():
        return []
    return [job for job in _keeper.untold() if job.version.model == model]


def store_file(order: Order, path: str, *, remove: bool, package: bool = False) -> Job:
    """Send a file as it is now; it stays where it is until the version is stored, and longer unless it is to be removed."""
    registry, mine = registrar.opened(), keeper()
    from vhpack.registry import models

    made = mine.spool.snapshot(path, order.name, order.snapshot)
    sources = Originals(path).text() if remove else None
    with mine.beginning(made):
        try:
            files = packages.count(made) if package else None
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
        try:
            send(job, order.destination)
        except BaseException as error:
            _give_up(job, error)
            raise
        mine.take(job)
    return job


def store_package(order: Order, contents: Contents) -> Job:
    """Pack files straight to the destination, or into what is sent while it is packed."""
    contents.check()
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
    with mine.beginning(made):
        try:
            key, version = registry.write(lambda connection, project: models.begin(connection, project, order.model, begun))
        except BaseException:
            mine.spool.drop(made)
            raise
        here = stored.local_path(version.url)
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
            _give_up(job, error)
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
    """Wait until what is under way in this process has ended, or so many of it have.

    Returns:
        Versions that have failed, and of which nobody was told so, also those that had before this call.
    """
    import time

    if _keeper is None or _keeper.process != os.getpid():
        return []
    known = under_way()
    until = None if timeout is None else time.monotonic() + timeout
    enough = len(known) if most is None else min(most, len(known))
    with outbox.heeding(), _keeper.changed:
        while sum(job.done.is_set() for job in known) < enough:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            _keeper.changed.wait(0.1 if left is None else min(left, 0.1))
    say_remarks()
    return _keeper.untold()


def say_remarks() -> None:
    """Warn of originals that were to be removed, and stay."""
    if _keeper is not None and _keeper.process == os.getpid():
        while _keeper.remarks:
            warnings.warn(_keeper.remarks.pop(), JobWarning, stacklevel=3)


def send(job: Job, destination: Destination, adopted: Sequence[Upload] = ()) -> None:
    """Begin the upload of what is in the spool, but for what another process had begun, and goes on."""
    stored.make_folder_of(job.version.url)
    known = {upload.uri: upload for upload in adopted if upload.state not in ("failed", "cancelled")}
    ends = ("", MANIFEST) if job.package else ("",)
    job.uploads += [known[job.version.url + end] for end in ends if job.version.url + end in known]
    pairs: list[tuple[str, str | UploadError]] = [
        (job.content + end, job.version.url + end) for end in ends if job.version.url + end not in known
    ]
    if pairs:
        # Nobody waits for the disk: what is wrong is the version's, and said where that is asked for.
        job.uploads += uploading.begin(pairs, destination, before=spool.bring_to_disk, patience=0)


def _pack(job: Job, contents: Contents, destination: Destination) -> PackReport:
    here, sources, target = stored.local_path(job.version.url), contents.encoded(), os.fsencode(job.content)
    if here is not None:
        stored.make_folder_of(job.version.url)
        report = pack(sources, b"", target, contents.settings)
        packages.refuse_left_out(report.skipped)
        return report
    with uploading.following(job.content, job.version.url, destination) as following:
        report = pack(sources, b"", target, contents.settings, follow=following)
        packages.refuse_left_out(report.skipped)
    job.uploads += [upload for upload in outbox.own().uploads if upload.uri == job.version.url]
    manifest = (job.content + MANIFEST, job.version.url + MANIFEST)
    job.uploads += uploading.begin([manifest], destination)
    return report


def _end(job: Job, mine: Keeper) -> None:
    """Let a version be stored that has arrived, and its originals go; or say what it failed of."""
    failed = next((error for upload in job.uploads if (error := upload._error()) is not None), None)  # noqa: SLF001 - ours
    if failed is not None:
        # The snapshot stays: `resuming` sends it once more.
        job.error = failed
        fail(job.registry, job.key, failed)
        return
    if job.digests is None:
        job.digests = gathering.digest(job.content)
    sha256, xxh3_128 = job.digests
    if job.package:
        packages.refuse_other(job.content, xxh3_128)
    status = os.stat(job.content)
    here = stored.local_path(job.version.url)
    if here is not None:
        stored.protect(here)
    name = f"{paths.folder_name(job.label)}/{job.version.n}/{job.version.name}"
    output = Output(name, status.st_size, sha256, xxh3_128, status.st_mtime_ns, job.version.url)
    from vhpack.registry import models

    def work(connection: Connection, project: int) -> ModelVersion | None:
        return models.finish(connection, project, job.key, output, run=_run(connection, project, job.facts))

    # Another process may have given it up meanwhile: its files are where they were, and stay there.
    sources = job.sources if job.registry.write(work) is not None else None
    with contextlib.suppress(PackError):  # it is stored; what is left of it here, the next look finds
        clear(job.registry, mine, job.key, sources=sources, place=job.place, content=(job.content, xxh3_128))


def clear(registry: Registry, mine: Keeper, key: int, *, sources: str | None, place: str, content: tuple[str, str]) -> None:
    """Remove the originals of what is stored, and the snapshot."""
    from vhpack import recording
    from vhpack.registry import models

    try:
        with recording.undisturbed():
            why = [] if sources is None else _remove(registry, key, Originals.of(sources), *content)
    except (PackError, OSError) as error:
        why = [f"{Originals.of(str(sources)).path} stays: {error}"]
    if why:
        mine.remarks.append(f"{why[0]}; and {len(why) - 1:,} more" if len(why) > 1 else why[0])
    mine.spool.drop(place)
    registry.write(lambda connection, _: models.cleared(connection, key))


def _remove(registry: Registry, key: int, found: Originals, content: str, digest: str) -> list[str]:
    # What another version still waits to be made of is that one's, which may not want it to be removed.
    if any(job.key != key and job.source == found.path for job in under_way()):
        return []
    kept = _kept_at(registry, found.path) | {os.path.realpath(upload.path) for upload in outbox.own().unfinished()}
    if os.path.exists(content + MANIFEST):
        return originals.remove_files(found, *packages.digests(content), kept)
    if os.path.realpath(found.path) in kept:
        return [f"{found.path} stays: {originals.NEEDED}"]
    stays = originals.remove_file(found.path, digest)
    return [] if stays is None else [stays]


def _kept_at(registry: Registry, path: str) -> set[str]:
    """Return the files, at a path or below it, that are themselves what is stored, as `register_uri` has named some."""
    from pathlib import Path

    from vhpack.registry import datums

    # As vhpack writes URIs, and as a person may.
    places = {
        write(each) for each in (path, os.path.realpath(path)) for write in (lambda each: Path(each).as_uri(), "file://{}".format)
    }
    places = {place for place in places if place.isprintable()}
    with registry.reading() as connection:
        return {os.path.realpath(str(stored.local_path(uri))) for uri in datums.kept_at(connection, places)}


def _placed(order: Order) -> Callable[[int], str]:
    return lambda number: destinations.below(order.destination.uri, f"{order.folder}/{number}/{order.name}")


def _give_up(job: Job, error: BaseException) -> None:
    """Leave nothing of a version that was never under way but a row that says so: its caller has the error and the files."""
    if job.package and stored.local_path(job.version.url) is not None:
        with contextlib.suppress(PackError):
            stored.remove_bytes(job.version.url)
    keeper().spool.drop(job.place)
    from vhpack.registry import models

    def work(connection: Connection, project: int) -> None:
        del project
        models.fail(connection, job.key, str(error) or type(error).__name__)
        models.cleared(connection, job.key)

    with contextlib.suppress(PackError):
        job.registry.write(work)


def fail(registry: Registry, key: int, error: PackError) -> None:
    """Note what a version failed of."""
    from vhpack.registry import models

    registry.write(lambda connection, _: models.fail(connection, key, str(error)))


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


def _leave(mine: Keeper) -> None:
    """At the end of the program, when all uploads have ended: let what has arrived be stored, and name what is not."""
    import sys

    from vhpack import leaving

    if mine.process != os.getpid():
        return
    while mine.is_alive() and any(job.has_ended() for job in under_way()):
        with mine.changed:
            mine.changed.wait(_LOOK)
    for job in under_way():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"vhpack: {_shown(job)} is not stored yet; `vhpack model resume` goes on with it", file=sys.stderr)  # noqa: T201
    for job in mine.untold():
        if not any(upload._error() is not None for upload in job.uploads):  # noqa: SLF001 - which is said already
            leaving.end_with_120()
            with contextlib.suppress(OSError, ValueError, AttributeError):
                print(f"vhpack: {_shown(job)} is not stored: {job.error}", file=sys.stderr)  # noqa: T201
    for remark in mine.remarks:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"vhpack: {remark}", file=sys.stderr)  # noqa: T201
    mine.spool.close()
