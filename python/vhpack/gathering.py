"""The outputs of a run, as they are registered: which files they are, their digests, and what sidecars say of them."""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vhpack import hashing, sidecars, unclosed
from vhpack.errors import JobWarning, RegistrationError
from vhpack.registry.records import Output
from vhpack.registry.store import Content, Disk

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

# What packs and property files are called until they are complete, and what they leave where a process was killed.
_UNFINISHED = re.compile(r"^\..*\.(?:vhpack-[a-z]+|staged)$|^\.vhpack-")
_SHOWN = 10  # names in one warning
_NOTHING: Mapping[str, object] = MappingProxyType({})
_TRIES = 5
_FEW = 10_000  # files that are all looked at again after they were read: of more, that takes a twentieth of the time
_FRESH_NS = 2_000_000_000  # ... and of those only they whose last change is no older
_SLACK_NS = 50_000_000  # a file system's clock lags a little behind the one that programs read


@dataclass(frozen=True)
class Sent:
    """A file that was uploaded."""

    name: str
    uri: str
    size: int
    modified_ns: int
    sha256: str
    xxh3_128: str


@dataclass
class Gathered:
    """What there is to register."""

    outputs: list[Output] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    """Of those outputs that were not uploaded."""


@dataclass
class _Found:
    """The files in the outputs folder."""

    names: dict[str, os.stat_result] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    sidecars: list[str] = field(default_factory=list)
    old: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    """Links to folders."""


def gather(root: str, sent: Sequence[Sent], *, since_ns: int | None, besides: Iterable[str] = ()) -> Gathered:
    """Return a run's outputs; what this program has not closed yet is written out first, as far as Python knows of it.

    Args:
        root: The outputs folder.
        sent: What was uploaded from there, be the files still there or not.
        since_ns: When the run began, where the folder is not its own: files that are older belong to other runs.
        besides: Absolute paths of files and folders that are no outputs, wherever they are.

    Raises:
        RegistrationError: a name is not UTF-8, or a sidecar makes no sense.
        PackError: a file cannot be read.
    """
    own = [path for path in besides if path.startswith(f"{root}/")]
    still_open = _written(root, own)
    listed_ns = time.time_ns()
    found = _listed(root, since_ns, {path[len(root) + 1 :] for path in own})
    uploaded = {each.name: each for each in sent}
    local = sorted(found.names)
    if uploaded:
        local = [name for name in local if not _is_sent(uploaded.get(name), found.names[name])]
    # A file that was uploaded and then written to is two: what is at the destination, and what is here.
    names = {*found.names, *uploaded} if uploaded else found.names
    said = sidecars.properties(root, found.sidecars, names, found.old, strict=since_ns is None)
    paths = [f"{root}/{name}" for name in local]
    digests = hashing.both(paths)
    statuses = [found.names[name] for name in local]
    growing = _still_written(root, paths, statuses, still_open, listed_ns)
    for number in growing:
        statuses[number], digests[number] = _at_one_moment(paths[number])
    # Those that were uploaded first: of a file that was written to since, what is here now is what its name means.
    here = set(local)
    gathered = Gathered()
    for each in sent:
        properties = _NOTHING if each.name in here else said.get(each.name, _NOTHING)
        gathered.outputs.append(Output(each.name, each.size, each.sha256, each.xxh3_128, each.modified_ns, each.uri, properties))
    for number, (name, path, status, (sha256, xxh3_128)) in enumerate(zip(local, paths, statuses, digests, strict=True)):
        size, modified_ns = status.st_size, status.st_mtime_ns
        gathered.outputs.append(Output(name, size, sha256, xxh3_128, modified_ns, None, said.get(name, _NOTHING)))
        # What is open already no mode keeps from being written to.
        is_open = number in growing
        may_link = since_ns is None and status.st_nlink == 1 and name not in found.linked and not is_open
        gathered.contents.append(Content(path, sha256, size, modified_ns, may_link, is_open))
    return gathered


def digest(path: str) -> tuple[str, str]:
    """Return a file's sha256 and xxh3-128."""
    return hashing.both([os.path.abspath(path)])[0]


def disk() -> Disk:
    """Return what the content store asks of the engine."""
    from vhpack import _engine

    return Disk(_engine.adopt, _engine.sync_system)


def warn_of_open(open_files: Sequence[str], root: str, how: str, *, stacklevel: int) -> None:
    """Say which outputs may not be complete, if any."""
    if open_files:
        import warnings

        names = ", ".join(os.path.relpath(path, root) for path in open_files[:_SHOWN])
        more = f" and {len(open_files) - _SHOWN:,} more" if len(open_files) > _SHOWN else ""
        message = f"{names}{more}: registered as it is now, open {how}; close it before"
        warnings.warn(message, JobWarning, stacklevel=stacklevel)


def claims_nothing(root: str) -> bool:
    """Return whether no sidecar in a folder could claim anything, without reading one."""
    return not any(sidecars.is_sidecar(name) for _, _, names in os.walk(root) for name in names)


def _written(root: str, besides: Sequence[str]) -> set[tuple[int, int]]:
    try:
        still_open, unknown = unclosed.written(root)
    except OSError as error:
        raise RegistrationError(f"what was written to the outputs in {root} cannot be brought to the disk: {error}") from None
    own = tuple(os.path.realpath(path) for path in besides)
    unknown = [path for path in unknown if path not in own and not path.startswith(tuple(f"{each}/" for each in own))]
    warn_of_open(unknown, os.path.realpath(root), "for writing", stacklevel=5)
    return still_open


def _still_written(
    root: str, paths: Sequence[str], statuses: Sequence[os.stat_result], still_open: set[tuple[int, int]], listed_ns: int
) -> set[int]:
    """Return which files are written to while they are registered, as logs are, by this process or by another."""
    ours: set[int] = set()
    if still_open:
        ours = {number for number, status in enumerate(statuses) if (status.st_dev, status.st_ino) in still_open}
    since = listed_ns - _FRESH_NS
    again = {number for number, status in enumerate(statuses) if len(statuses) <= _FEW or status.st_mtime_ns > since}
    theirs = {number for number in again - ours if _has_changed(paths[number], statuses[number])}
    warn_of_open([paths[number] for number in sorted(theirs)], root, "for writing by another process", stacklevel=6)
    return ours | theirs


def _at_one_moment(path: str) -> tuple[os.stat_result, tuple[str, str]]:
    """Return size and digests of a file that another thread may be writing to, as a log is."""
    for _ in range(_TRIES):
        status, digests = os.stat(path), digest(path)
        if os.stat(path).st_size == status.st_size:
            break
    return status, digests


def _has_changed(path: str, status: os.stat_result) -> bool:
    try:
        now = os.stat(path)
    except OSError as error:
        raise RegistrationError(f"{path} cannot be read while it is registered: {error.strerror}") from None
    return (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns)


def _is_sent(sent: Sent | None, status: os.stat_result) -> bool:
    return sent is not None and (sent.size, sent.modified_ns) == (status.st_size, status.st_mtime_ns)


def _listed(root: str, since_ns: int | None, besides: Container[str]) -> _Found:
    found = _Found()
    pending = [""]
    while pending:
        folder = pending.pop()
        before = f"{folder}/" if folder else ""
        path = os.path.join(root, folder)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    name = before + entry.name
                    if name in besides:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(name)
                    elif entry.name[0] != "." or not _UNFINISHED.match(entry.name):
                        _take(found, entry, name, since_ns)
        except OSError as error:
            raise RegistrationError(f"the outputs in {path} cannot be listed: {error.strerror}") from None
    _refuse_no_text(found)
    _warn_of_folders(root, found.folders)
    return found


def _take(found: _Found, entry: os.DirEntry[str], name: str, since_ns: int | None) -> None:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link to nowhere, or a file that went meanwhile
        return
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            found.folders.append(name)
        return
    if since_ns is not None and status.st_ctime_ns < since_ns - _SLACK_NS:
        found.old.add(name)
    elif sidecars.is_sidecar(name):
        found.sidecars.append(name)
    else:
        found.names[name] = status
        if entry.is_symlink():
            found.linked.add(name)


def _warn_of_folders(root: str, links: Sequence[str]) -> None:
    inside = os.path.realpath(root) + "/"
    elsewhere = [name for name in links if not f"{os.path.realpath(os.path.join(root, name))}/".startswith(inside)]
    if elsewhere:
        import warnings

        names = ", ".join(elsewhere[:_SHOWN])
        more = f" and {len(elsewhere) - _SHOWN:,} more" if len(elsewhere) > _SHOWN else ""
        message = f"{names}{more}: a link to a folder elsewhere, whose files are not registered; write them to the outputs"
        warnings.warn(message, JobWarning, stacklevel=6)


def _refuse_no_text(found: _Found) -> None:
    names = [*found.names, *found.sidecars]
    if not _is_text("".join(names)):  # at once: asking each takes as long as all of them
        wrong = next(name for name in names if not _is_text(name))
        raise RegistrationError(f"the output {wrong!r} has a name that is not UTF-8; rename it to register the run")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
