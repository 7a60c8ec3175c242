"""The stage of a directory: the folder beside it in which its next version comes to be, and that then takes its place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import threading
from typing import TYPE_CHECKING

from vhpack import committed, journal, trees
from vhpack.errors import PackError, PackOSError, TargetExistsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack.journal import Finished, Told

_BOOT = "/proc/sys/kernel/random/boot_id"
_JOURNAL = "journal"
_TREE = "tree"


class Stage:
    """The stage of the directory `target`; one process has it at a time."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.path = committed.stage_of(target)
        self.tree = os.path.join(self.path, _TREE)
        self.old = committed.before(target)
        self.finished: dict[str, Finished] = {}
        self.digests: dict[str, tuple[int, int, str]] = {}
        """Of files that were hashed as they were written: size and time then, and the digest."""
        self.descriptor = -1
        self.length = 0
        self._writes_down = False
        self._journal = os.path.join(self.path, _JOURNAL)
        self._lock = threading.Lock()

    def enter(self, *, resume: bool, by: str) -> None:
        """Take the stage, and go on from what an earlier process left there, or from nothing.

        First of all a commit that was cut off is brought to its end, or taken back. Without `resume` the journal has no lines of
        what is finished: nobody would read them.
        """
        self._writes_down = resume
        try:
            self._take()
            self._begin(resume=resume, by=by)
        except BaseException as error:
            self.leave()
            if isinstance(error, OSError) and not isinstance(error, PackError):
                raise trees.refused(error, "prepare", self.path) from None
            raise

    def _take(self) -> None:
        """Have the journal, and its lock."""
        while self.descriptor < 0:
            if os.path.islink(self.path):
                message = (
                    f"{self.path}, where {self.target} is prepared, is a link, and what it leads to is not touched; remove it"
                )
                raise TargetExistsError(errno.EEXIST, message, self.path)
            os.makedirs(self.path, exist_ok=True)
            try:
                self.descriptor = _opened(self._journal)
            except FileNotFoundError:
                continue  # the one before has removed the stage in this moment
            if not _locked(self.descriptor):
                message = f"{self.target} is being written by another process, or elsewhere in this one; wait for its end"
                raise PackOSError(errno.EAGAIN, message, self.target)
            with_name = _lstat(self._journal)
            if with_name is None or not os.path.samestat(with_name, os.fstat(self.descriptor)):
                self.leave()  # it was the journal before the lock was had

    def _begin(self, *, resume: bool, by: str) -> None:
        told = journal.read(self.descriptor)
        self._remove_links(among_files=bool(told.finished))
        self._end_commit(told)
        boot = _boot()
        kept: tuple[list[Finished], list[Finished]] = [], []
        if resume and told.by == by:
            for place, each in told.finished.values():
                on_disk = place < told.synced
                # After another start of the machine, only what was on disk is what it was.
                if (on_disk or told.boot == boot != "") and self._is_there(each):
                    kept[not on_disk].append(each)
        self.finished = {each.id: each for part in kept for each in part}
        self._write_anew(journal.head(by, boot), *kept)
        self._clear()

    def _remove_links(self, *, among_files: bool) -> None:
        """Remove links, which nobody has put here who may: what they lead to would be taken for the stage's, and removed."""
        for place in (self.tree, self.old):
            if os.path.islink(place):
                os.unlink(place)
        if among_files and os.path.isdir(self.tree):
            for _, entry in list(trees.found(self.tree)):
                if entry.is_symlink():
                    os.unlink(entry.path)

    def _end_commit(self, told: Told) -> None:
        """After a commit that was cut off, let the directory be the one version, and the other go."""
        if os.path.lexists(self.old) and not os.path.lexists(self.target):
            os.rename(self.old, self.target)
        text = committed.manifest_of(self.target) if told.committing else None
        if text is not None and digest(text) == told.committing:
            # The stage is in its place already, and has in return what was there before.
            told.finished.clear()
            self._check_left([path for place in (self.tree, self.old) for path in trees.remove(place)])
        elif os.path.lexists(self.old):
            self._check_left([self.old])

    def _check_left(self, left: Sequence[str]) -> None:
        if left:
            message = (
                f"{left[0]}{f' and {len(left) - 1} more' if left[1:] else ''} was left of an earlier version of {self.target}, "
                "and vhpack has not written it, or not finished replacing it; move it away"
            )
            raise TargetExistsError(errno.EEXIST, message, left[0])

    def _is_there(self, each: Finished) -> bool:
        for file in each.files:
            seen = _lstat(os.path.join(self.tree, file.name))
            if seen is None or not stat.S_ISREG(seen.st_mode) or (seen.st_size, seen.st_mtime_ns) != file[1:]:
                return False
        return True

    def _write_anew(self, head: str, on_disk: Sequence[Finished], others: Sequence[Finished]) -> None:
        """Let a new journal take the place of the one before in one step: a kill in between has nothing done again."""
        place = f"{self._journal}.new"
        if os.path.lexists(place):
            os.unlink(place)
        before, self.descriptor, self.length = self.descriptor, _opened(place), 0
        try:
            _locked(self.descriptor)
            self._write(head, *map(journal.line, on_disk))
            self._write(*([journal.synced(self.length)] if on_disk else []), *map(journal.line, others))
            os.rename(place, self._journal)
        finally:
            os.close(before)

    def _clear(self) -> None:
        """Remove what is not finished."""
        for name in os.listdir(self.path):
            if name not in (_TREE, _JOURNAL):
                _discard(os.path.join(self.path, name))
        if not self.finished and os.path.lexists(self.tree):
            _discard(self.tree)
        os.makedirs(self.tree, exist_ok=True)
        kept = {file.name for each in self.finished.values() for file in each.files}
        for name, entry in list(trees.found(self.tree)):
            if name not in kept:
                os.unlink(entry.path)

    def finish(self, each: Finished) -> None:
        """Write down that something is done; once this returns, a killed process does not have it done again."""
        with self._lock:
            if self._writes_down:
                self._write(journal.line(each))
            self.finished[each.id] = each

    def forget(self, each: Finished) -> None:
        """Write down that something has to be done again, and remove its files."""
        with self._lock:
            self._write(journal.gone(each.id))
            del self.finished[each.id]
        for file in each.files:
            os.unlink(os.path.join(self.tree, file.name))

    def mark_synced(self, length: int) -> None:
        """Write down that what the first `length` bytes of the journal are about is on disk."""
        with self._lock:
            if self._writes_down:
                self._write(journal.synced(length))

    def write_down(self) -> None:
        """Write down all that is finished, where that was not done at once: somebody may want to go on from here after all."""
        with self._lock:
            if not self._writes_down:
                self._write(*map(journal.line, self.finished.values()))
            self._writes_down = True

    def announce(self, manifest: bytes) -> None:
        """Have it on disk that the stage is to take the directory's place with this manifest."""
        with self._lock:
            self._write(journal.committing(digest(manifest)))
        os.fsync(self.descriptor)
        trees.sync_folder(self.path)

    def _write(self, *lines: str) -> None:
        text = "\n".join((*lines, "")).encode()
        done = 0
        try:
            while done < len(text):
                done += os.write(self.descriptor, text[done:] if done else text)
        except OSError as error:
            # Half a line would take the one behind it along.
            os.ftruncate(self.descriptor, self.length)
            raise trees.refused(error, "write to", self._journal) from None
        self.length += done

    def remove(self) -> list[str]:
        """Remove the stage after a commit; return the paths of what vhpack has not written and left in the version before."""
        left = [path for place in (self.tree, self.old) for path in trees.remove(place)]
        if not left:
            self.discard()
        return left

    def discard(self) -> None:
        """Remove the stage, with all that is in it."""
        # The journal goes last: as long as it is there, whoever comes next knows what the rest is.
        for name in sorted(os.listdir(self.path), key=lambda name: name == _JOURNAL):
            _discard(os.path.join(self.path, name))
        with contextlib.suppress(OSError):  # the next one may be in it already
            os.rmdir(self.path)
        self.leave()

    def leave(self) -> None:
        """Let others have the stage."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def digest(text: bytes) -> str:
    """Return what a manifest is known by."""
    import hashlib

    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks has nothing better
    return True


def _discard(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
