"""From what an input was given to files on disk: local places looked up, remote ones downloaded."""

from __future__ import annotations

import fnmatch
import glob
import os
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vhpack import paths, runs
from vhpack.download import Wanted
from vhpack.downloads import Downloads, Order, is_by_hand
from vhpack.errors import DownloadError, JobWarning
from vhpack.prepare import given
from vhpack.step import key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhpack.given import GivenInput


@dataclass(frozen=True)
class File:
    """A file of an input."""

    name: str
    """Its path inside the input, which filters are compared with."""
    path: str
    """Where it is."""


def files(name: str, path_filter: str | None, *, whole: bool, force: bool) -> list[File]:
    """Return the files of the input `name`, downloaded where they have to be.

    Args:
        name: The input; hyphens and underscores are the same where only one of the spellings exists.
        path_filter: Leave out, and do not download, what does not match and is no archive that might hold what does.
        whole: Archives count as files, and are compared with the filter, too.
        force: Download again what is there already.

    Raises:
        DownloadError: a file cannot be had.
    """
    name = declared(name)
    found = given().inputs.get(name)
    folder = paths.get_inputs_path(name)
    if found is None or not (found.files or found.places):
        there = [] if found is not None and found.input_id else _below(folder, hidden=False)
        root = paths.cache_path()
        # What an earlier run has downloaded there, from wherever, is nothing that this one was given.
        return [file for file in there if _is_wanted(file.name, path_filter, whole) and is_by_hand(root, file.path)]
    with closing(Downloads()) as downloads:
        listed = list(_resolve(name, folder, found, downloads))
        taken = [(file, wanted) for file, wanted in listed if _is_wanted(file.name, path_filter, whole)]
        orders = _due(name, found, [Order(wanted, file.path) for file, wanted in taken if wanted is not None], force)
        if orders:
            for remark in downloads.get(orders, force=force, title=f"Downloading {name}"):
                sys.stderr.write(f"vhpack: {remark}\n")
        runs.current().had.update(order.target for order in orders)
    return [file for file, _ in taken]


def declared(name: str) -> str:
    """Return an input's name in the spelling that the run has of it."""
    known = given().inputs
    return name if name in known else next((other for other in known if key(other) == key(name)), name)


def may_be_archive(name: str) -> bool:
    """Return whether a file has a name that archives have."""
    return name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"))


def matches(name: str, path_filter: str | None) -> bool:
    """Return whether a name matches a filter as a whole; `*` crosses folders.

    Example:
        >>> from vhpack.supply import matches
        >>> matches("a/b.txt", "*.txt"), matches("b.txt", "**/*.txt"), matches("b.txt.bak", "*.txt")
        (True, False, False)
    """
    return not path_filter or fnmatch.fnmatchcase(name, path_filter)


def _is_wanted(name: str, path_filter: str | None, whole: bool) -> bool:  # noqa: FBT001
    return matches(name, path_filter) or (not whole and may_be_archive(name))


def _resolve(name: str, folder: str, found: GivenInput, downloads: Downloads) -> Iterator[tuple[File, Wanted | None]]:
    taken: set[str] = set()

    def remote(called: str, wanted: Wanted, within: str | None = None) -> tuple[File, Wanted]:
        if within is not None:
            return File(called, _inside(folder, f"{within}/{called}")), wanted
        # Of two files with one name, the second lies in a folder of its own; it keeps the name, which filters go by.
        path = _inside(folder, called)
        if path in taken:
            path = _inside(folder, f"{_short(wanted.url)}/{called}")
        taken.add(path)
        return File(called, path), wanted

    for described in found.files:
        uri = described.uri or ""
        places = [described.path or "", _path_of(uri) if _is_here(uri) else ""]
        full = [os.path.join(runs.current().base, place) for place in places if place]
        there = next(filter(os.path.isfile, full), None)
        if there is not None:
            yield File(described.name, there), None
        else:
            wanted = Wanted(uri, described.source or "", described.size, described.checksums)
            yield remote(described.name, wanted, described.folder)
    for place in found.places:
        if "://" not in place:
            yield from ((file, None) for file in _local(name, place))
        elif _is_here(place):
            path = _path_of(place)
            yield from ((file, None) for file in _local(name, path if "*" in place else glob.escape(path)))
        else:
            meant = downloads.expand(place)
            if not meant:
                warnings.warn(f"input {name}: {place} matches nothing", JobWarning, stacklevel=_callers_level())
            yield from (remote(called, Wanted(url)) for url, called in meant)


def _due(name: str, found: GivenInput, orders: list[Order], force: bool) -> list[Order]:  # noqa: FBT001
    """Return the orders that are not done yet in this run, each with a URL to fetch it from."""
    had = runs.current().had
    due = [order for order in orders if force or order.target not in had or not os.path.isfile(order.target)]
    if not found.input_id:
        for order in due:
            if not order.wanted.url:
                raise DownloadError(None, f"{order.target} of input {name} is not there, and has no URL", order.target)
        return due
    # The platform puts files of such an input in their place itself, if anything does; theirs are not to be asked for again.
    missing = [order for order in due if force or not _is_complete(order)]
    return _with_sources(paths.get_inputs_path(name), str(found.input_id), missing) if missing else []


def _with_sources(folder: str, input_id: str, orders: list[Order]) -> list[Order]:
    from vhpack.controller_api import input_urls

    urls = input_urls(input_id)
    ready = []
    for order in orders:
        name = os.path.relpath(order.target, folder)
        # One URL and no other: which of two the file is would be a guess.
        sources = urls.get(name, [])
        if len(sources) != 1:
            found = f"{len(sources)} URLs" if sources else "no URL"
            raise DownloadError(None, f"the platform has {found} for {name} of input {input_id}", order.target)
        (source,) = sources
        known_by = order.wanted.url or source.partition("?")[0]
        ready.append(Order(Wanted(known_by, source, order.wanted.size, order.wanted.checksums), order.target))
    return ready


def _is_complete(order: Order) -> bool:
    try:
        size = os.stat(order.target).st_size
    except FileNotFoundError:
        return False
    return order.wanted.size in (None, size)


def _local(name: str, place: str) -> Iterator[File]:
    """Return the files that a local path, folder or pattern means; a name that exists is no pattern."""
    base = runs.current().base
    full = os.path.join(base, place)
    pattern = glob.escape(place) != place and not os.path.lexists(full)
    # The folder that the run started in is no part of the pattern, whatever it is called.
    within = os.path.join(glob.escape(base), place)
    found = sorted(glob.glob(within, recursive=True)) if pattern else [full] if os.path.exists(full) else []
    if not found:
        what = "matches nothing" if pattern else "does not exist"
        warnings.warn(f"input {name}: {full} {what}", JobWarning, stacklevel=_callers_level())
    seen: set[str] = set()
    for path in found:
        inside = _below(path, hidden=True) if os.path.isdir(path) else [File(os.path.basename(path), path)]
        # `**` names a folder and, once more, what is in it.
        yield from (file for file in inside if file.path not in seen)
        seen.update(file.path for file in inside)


def _callers_level() -> int:
    """Return how far up the first frame is that is not ours; generators stand between, more or fewer of them."""
    level, frame = 0, sys._getframe(1)  # noqa: SLF001 - as `warnings` itself does
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("vhpack."):
        level, frame = level + 1, frame.f_back
    return level + 1


def _below(folder: str, *, hidden: bool) -> list[File]:
    """Return all files below a folder, through links to folders, each folder once."""
    found: list[File] = []
    been: set[tuple[int, int]] = set()
    for above, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(above)
        if (status.st_dev, status.st_ino) in been:
            folders.clear()
            continue
        been.add((status.st_dev, status.st_ino))
        if not hidden:
            folders[:] = [inner for inner in folders if not inner.startswith(".")]
        paths_here = (os.path.join(above, name) for name in names if hidden or not name.startswith("."))
        found += [File(os.path.relpath(path, folder), path) for path in paths_here if os.path.isfile(path)]
    return sorted(found, key=lambda file: file.name)


def _inside(folder: str, name: str) -> str:
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(folder.rstrip("/") + "/") or "\0" in name:
        raise DownloadError(None, f"{name!r} would lie outside of the input's folder {folder}; it is not downloaded", folder)
    return path


def _is_here(url: str) -> bool:
    return url.lower().startswith("file://")


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DownloadError(None, f"{url} is no URL: {error}", url) from None
    if parts.netloc not in ("", "localhost"):
        raise DownloadError(None, f"{url} is on another machine; file:// is for this one, as in file:///data/a.csv", url)
    return unquote(parts.path)


def _short(url: str) -> str:
    import hashlib

    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:8]
