"""Versions that were cut off, gone on with; and those that were given up, removed."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from vhpack import destinations, env, gathering, registrar, stored, storing, uploading
from vhpack.errors import ModelError, PackOSError, UploadError
from vhpack.originals import Originals
from vhpack.stored import MANIFEST, local_path, remove_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack.registry.models import Unfinished
    from vhpack.registry.opening import Registry
    from vhpack.registry.records import ModelVersion
    from vhpack.storing import Job, Keeper
    from vhpack.upload import Upload

_ID = re.compile(r"[0-9a-f]{32}")
_SILENT = timedelta(days=2)
"""Uploads give up after a day."""
_BELOW = 6
"""Parts of a version's URI below its destination: project, task, `models`, model, number and name."""


def resume() -> int:
    """Go on with what processes that are gone have left, and with what failed; return how many versions that are.

    Where the records of uploads name such a version, all that is recorded of processes that are gone goes on, as with
    `vhpack resume`.
    """
    registry = registrar.existing()
    if registry is None:
        return 0
    from vhpack.registry import models

    mine, begun = storing.keeper(), 0
    busy = mine.places()
    with registry.reading() as connection:
        left = models.unfinished(connection, registry.project(connection))
    busy |= mine.places()  # what has begun meanwhile, and what has ended
    left = [each for each in left if each.snapshot is not None and each.snapshot not in busy]
    ours = [each for each in left if mine.spool.takes(str(each.snapshot))]
    adopted = _adopted({str(each.snapshot) for each in ours})
    for each in left:
        if each in ours:
            begun += _go_on(registry, mine, each, adopted)
        elif each.version.state in models.BEGUN and _is_lost(mine, each):
            storing.fail(registry, each.key, ModelError("what was to be sent is there no longer; call update_weights() again"))
    with registry.reading() as connection:
        needed = {str(each.snapshot) for each in models.unfinished(connection, registry.project(connection))}
    mine.spool.sweep(needed)
    return begun


def remove(registry: Registry, given_up: Unfinished) -> None:
    """Remove the bytes of a version that was given up, and note that they are gone.

    Raises:
        PackOSError: they cannot be removed; the version is to be removed once more.
    """
    from vhpack.registry import models

    if given_up.kind != "place" and given_up.version.datum is not None:
        if not _is_a_versions_own(given_up.version):
            url, number = given_up.version.url, given_up.version.n
            raise PackOSError(None, f"{url} is no place of version {number}, and is not removed; mend the registry", url)
        remove_bytes(given_up.version.url)
    busy = any(job.key == given_up.key for job in storing.under_way())
    if given_up.snapshot is not None and not busy and storing.keeper().spool.takes(given_up.snapshot):
        storing.keeper().spool.drop(given_up.snapshot)
    registry.write(lambda connection, _: models.pruned(connection, given_up.key))


def _is_a_versions_own(version: ModelVersion) -> bool:
    """Return whether a URI is one that `storing` makes: whatever a registry says, nothing else is removed on its word."""
    own = rf"/{re.escape(version.model)}/{version.n}/[^/]+\Z"
    return _ID.fullmatch(version.model) is not None and re.search(own, version.url) is not None


def _is_lost(mine: Keeper, left: Unfinished) -> bool:
    """Return whether nobody will go on with a version: its snapshot is gone, or was elsewhere, on a machine that is silent."""
    age = datetime.now(timezone.utc) - left.version.created
    is_here = os.path.lexists(os.path.dirname(os.path.dirname(str(left.snapshot))))
    return mine.spool.is_gone(str(left.snapshot)) or (not is_here and age > _SILENT)


def _adopted(snapshots: set[str]) -> list[Upload]:
    """Return uploads that are recorded and go on, if one of these is among them.

    Begun anew, they would be recorded twice, and the first record would be of a file that is gone when all is done.
    """
    if not snapshots:
        return []
    dead = {str(record["path"]) for record in uploading.records() if not record.get("alive")}
    recorded = any(snapshot in dead or snapshot + MANIFEST in dead for snapshot in snapshots)
    return uploading.resume({}) if recorded else []


def _go_on(registry: Registry, mine: Keeper, left: Unfinished, adopted: Sequence[Upload]) -> int:
    from vhpack.registry import models

    version, place = left.version, str(left.snapshot)
    here = local_path(version.url)
    in_place = here is not None and left.kind == "package" and not os.path.exists(place)
    content = str(here) if in_place else place
    if version.state == "packing":
        if here is not None and _is_a_versions_own(version):
            # Its own, with whatever the pack had staged there.
            shutil.rmtree(os.path.dirname(here), ignore_errors=True)
        storing.fail(
            registry, left.key, ModelError("it was killed while it packed; all files are where they were: call it again")
        )
        registry.write(lambda connection, _: models.cleared(connection, left.key))
        mine.spool.drop(place)
        return 0
    if version.state in models.THERE:
        digest = ("", "") if not os.path.exists(content) else gathering.digest(content)
        sources = left.sources if digest[1] else None
        storing.clear(registry, mine, left.key, sources=sources, place=place, content=(content, digest[1]))
        return 0
    if version.state == "pruned":
        return 0
    if not os.path.exists(content) or os.stat(content).st_size != version.size:
        storing.fail(registry, left.key, ModelError("what was to be sent is not whole any more; call update_weights() again"))
        return 0
    is_ours = os.path.exists(content + MANIFEST)
    source = Originals.of(left.sources).path if left.sources else ""
    job = storing.Job(registry, left.key, version, left.label, content, place, is_ours, source, left.sources, None)
    registry.write(lambda connection, _: models.again(connection, left.key))
    if not in_place:
        try:
            _send(job, adopted)
        except UploadError as error:
            # What keeps one from being sent, such as a disk that is not mounted, keeps no other.
            job.uploads = uploading.begin([(content, error)], None)
    mine.take(job)
    return 1


def _send(job: Job, adopted: Sequence[Upload]) -> None:
    url = job.version.url
    # The folder that was chosen is there, or its disk is not; what is below it, `storing` has named.
    stored.check_writable(f"{url.rsplit('/', _BELOW)[0]}/", make=False)
    destination = destinations.chosen(f"{url.rpartition('/')[0]}/", env.read())
    assert destination is not None  # noqa: S101 - `to` was given
    storing.send(job, destination, adopted)
