"""The commit of a directory: manifest, disk, switch, and then the version before goes."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

from vhpack import committed, trees
from vhpack.committed import Listed
from vhpack.errors import (
    CorruptArchiveError,
    PackError,
    PackOSError,
    PackWarning,
    SourceChangedError,
    SpecialFileError,
    TargetExistsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhpack.staging import Stage

_ONE_BY_ONE = 64
"""Up to so many files are synced each by itself, about 2 ms on an SSD. More are synced by one call for the whole file system,
which also waits for what others have written there."""

_SYNC_FILES, _SYNC_BYTES = 8_192, 256 << 20
"""After so much that is new, it is brought to the disk while the caller goes on: what a restart of the machine can cost, and what
the commit has to wait for."""


class Syncing:
    """Brings what is finished to the disk while more is written, from a thread that is there only meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._files = 0
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def wrote(self, files: int, size: int) -> None:
        """Count files that are finished, and their bytes."""
        self._files += files
        self._bytes += size
        if (self._files < _SYNC_FILES and self._bytes < _SYNC_BYTES) or (self._thread and self._thread.is_alive()):
            return
        self._files = self._bytes = 0
        self._thread = threading.Thread(target=self._sync, args=(self._stage.length,), daemon=True, name="vhpack-sync")
        self._thread.start()

    def _sync(self, length: int) -> None:
        from vhpack import _engine

        try:
            if _engine.sync_system(os.fsencode(self._stage.path)):
                self._stage.mark_synced(length)
        except PackError:
            pass  # the commit waits for the disk itself, and says so

    def end(self) -> None:
        """Wait until the thread has gone."""
        if self._thread is not None:
            self._thread.join()


def check_replaceable(target: str) -> None:
    """Refuse to replace what vhpack has not written.

    Raises:
        TargetExistsError: `target` is a file, or has files that its manifest does not list.
    """
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise TargetExistsError(errno.EEXIST, f"{target} is no directory; move it away or choose another name", target)
    try:
        listed = {each.name for each in committed.files_of(target) or ()}
        strange = trees.strangers(target, listed)
    except CorruptArchiveError as error:
        raise TargetExistsError(errno.EEXIST, f"{error}; it is not replaced, move {target} away", target) from None
    except OSError as error:
        raise trees.refused(error, "look through", target) from None
    if strange:
        first = f"{strange[0]!r}{f' and {len(strange) - 1} more' if strange[1:] else ''}"
        message = f"{target} has files that vhpack has not written, {first}; move them away or choose another name"
        raise TargetExistsError(errno.EEXIST, message, target)


def commit(stage: Stage) -> None:
    """Let the stage take its directory's place.

    Until it has, an error leaves both as they are, so that what was written is not lost: with `resume`, it is gone on from.
    """
    from concurrent.futures import ThreadPoolExecutor

    from vhpack import _engine

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="vhpack-sync") as pool:
            # The disk works while the files are hashed: all are written by now.
            many = len(stage.finished) > _ONE_BY_ONE
            syncing = pool.submit(_engine.sync_system, os.fsencode(stage.tree)) if many else None
            listed = _listed(stage)
            check_replaceable(stage.target)
            manifest = committed.to_text(listed)
            synced = syncing is not None and syncing.result()
        if not synced:
            _sync(stage.tree, listed)
        _write_manifest(stage.tree, manifest)
        stage.announce(manifest)
        _switch(stage)
    except OSError as error:
        if isinstance(error, PackError):
            raise
        raise trees.refused(error, "commit", stage.target) from None
    _clear(stage)


def _listed(stage: Stage) -> list[Listed]:
    """What the stage has, with digests; the manifest of a commit that was cut off is no part of it."""
    digests: dict[str, str] = {}
    sizes: dict[str, int] = {}
    known = stage.digests
    for name, size, mtime_ns, is_file in trees.look_through(stage.tree):
        if not is_file:
            path = f"{stage.tree}/{name}"
            what = "a link" if os.path.islink(path) else "no file"
            message = f"{name!r} in {stage.target} is {what}, and a directory of outputs has files alone; remove {path}"
            raise SpecialFileError(errno.EINVAL, message, path)
        sizes[name] = size
        before = known.get(name)
        # Hashed as it was written, and not touched since.
        if before is not None and before[0] == size and before[1] == mtime_ns:
            digests[name] = before[2]
    _hash_others(stage, sizes, digests)
    made = {file.name: each for each in stage.finished.values() for file in each.files if each.id != file.name or each.source}
    listed = []
    for name, size in sizes.items():
        each = made.get(name)
        if each is None:
            listed.append(Listed(name, size, digests[name]))
        else:
            listed.append(Listed(name, size, digests[name], None if each.id == name else each.id, each.source))
    return listed


def _hash_others(stage: Stage, sizes: Mapping[str, int], digests: dict[str, str]) -> None:
    """Read what is not hashed yet: by name where that is some files, else the whole tree at once."""
    from vhpack import hashing

    others = [name for name in sizes if name not in digests]
    if not others:
        return
    some = len(others) < len(digests)
    found = hashing.hash_files([f"{stage.tree}/{name}" for name in others] if some else stage.tree, hidden=True)
    for name in others:
        path = f"{stage.tree}/{name}"
        digest = found.get(path)
        if digest is None:
            raise SourceChangedError(None, f"{name!r} in {stage.target} came or went while it was committed; write before", path)
        digests[name] = digest


def _sync(tree: str, listed: list[Listed]) -> None:
    from vhpack import _engine

    if len(listed) > _ONE_BY_ONE and _engine.sync_system(os.fsencode(tree)):
        return
    for each in listed:
        trees.sync_file(os.path.join(tree, each.name))
    for place, _, _ in os.walk(tree, topdown=False):
        trees.sync_folder(place)


def _write_manifest(tree: str, manifest: bytes) -> None:
    place = os.path.join(tree, committed.MANIFEST)
    with open(place, "wb") as file:
        file.write(manifest)
        file.flush()
        os.fsync(file.fileno())
    trees.sync_folder(tree)


def _switch(stage: Stage) -> None:
    from vhpack import _engine

    if not os.path.lexists(stage.target):
        os.rename(stage.tree, stage.target)
    else:
        os.chmod(stage.tree, stat.S_IMODE(os.stat(stage.target).st_mode))
        if not _engine.exchange(os.fsencode(stage.tree), os.fsencode(stage.target)):
            # Between these two lines there is no directory; who enters the stage next, or reads by `read_outputs`, finds it.
            os.rename(stage.target, stage.old)
            os.rename(stage.tree, stage.target)
    try:
        trees.sync_folder(os.path.dirname(stage.target))
        trees.sync_folder(stage.path)
    except OSError as error:
        message = f"{stage.target} is complete, but its name cannot be brought to the disk: {error.strerror}; check the disk"
        raise PackOSError(error.errno, message, stage.target) from None


def _clear(stage: Stage) -> None:
    """Remove the version before; the directory is committed, whatever becomes of this."""
    import warnings

    try:
        left = stage.remove()
    except (OSError, PackError) as error:
        message = f"{stage.target} is complete, but its earlier version cannot be removed: {error}; remove {stage.path}"
    else:
        if not left:
            return
        message = f"{stage.target} is complete; files that vhpack has not written are left of its earlier version: {left[0]}"
    warnings.warn(message, PackWarning, stacklevel=4)
