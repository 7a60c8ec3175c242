"""Which members a caller means: names, folders with all below, and patterns."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from vhpack.errors import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhpack import _engine

_MAGIC = frozenset("*?[")


def chosen(native: _engine.Archive, wanted: Iterable[str]) -> list[str]:
    """Return the names of the members that are named, lie below a folder that is, or match."""
    taken: dict[str, None] = {}
    everything: list[tuple[str, str]] | None = None
    for text in wanted:
        if native.contains(text):
            taken[text] = None
            continue
        if everything is None:
            # By the name without the `./` that `tar cf all.tar .` puts in front; sorted, so that a folder's are one stretch.
            everything = sorted((member.name.removeprefix("./"), member.name) for member in native.members())
        names = _named(everything, text.removeprefix("./").rstrip("/"))
        if not names or not _MAGIC.isdisjoint(text):
            matching = [member.name for member in native.members([text])]
            names = matching + (names or _below(everything, text.removeprefix("./")))
        if not names:
            raise MemberNotFoundError(f"{native.path!r} has no member {text!r}, and none matches it; vhpack list shows them all")
        taken.update(dict.fromkeys(names))
    return [*taken]


def _named(everything: list[tuple[str, str]], folder: str) -> list[str]:
    """The members below the folder of just this name, whether or not the archive has a member for it."""
    start = bisect_left(everything, (f"{folder}/", ""))
    end = bisect_left(everything, (f"{folder}0", ""), start)  # `0` is what follows `/`
    return [name for _, name in everything[start:end]]


def _below(everything: list[tuple[str, str]], pattern: str) -> list[str]:
    """The members below the folders that match a pattern."""
    from fnmatch import fnmatchcase

    parts = pattern.rstrip("/").split("/")
    if "**" in parts:
        return []  # which says itself how deep to go

    def matches(levels: list[str]) -> bool:
        pairs = zip(levels, parts, strict=True)
        return all(fnmatchcase(name, part) and (name[:1] != "." or part[:1] == ".") for name, part in pairs)

    names = []
    last, taken = "", False  # what lies in one folder stands together, and each folder is asked for once
    for bare, name in everything:
        levels = bare.split("/", len(parts))
        if len(levels) <= len(parts):
            continue
        folder = bare[: len(bare) - len(levels[-1])]
        if folder != last:
            last, taken = folder, matches(levels[:-1])
        if taken:
            names.append(name)
    return names
