"""Which members a caller means: names, folders with all below, and patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhpack.errors import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhpack import _engine


def chosen(native: _engine.Archive, wanted: Iterable[str]) -> list[str]:
    """Return the names of the members that are named, lie below a folder that is, or match."""
    taken: dict[str, None] = {}
    everything: dict[str, str] | None = None
    for text in wanted:
        if native.contains(text):
            taken[text] = None
            continue
        if everything is None:
            # By the name without the `./` that `tar cf all.tar .` puts in front.
            everything = {member.name.removeprefix("./"): member.name for member in native.members()}
        names = [member.name for member in native.members([text])]
        for folder in _folders(everything, text.removeprefix("./")):
            names += [name for bare, name in everything.items() if bare.startswith(f"{folder}/")]
        if not names:
            raise MemberNotFoundError(f"{native.path!r} has no member {text!r}, and none matches it; vhpack list shows them all")
        taken.update(dict.fromkeys(names))
    return [*taken]


def _folders(names: Iterable[str], text: str) -> list[str]:
    """The folders that a text names or matches, whether or not the archive has members for them."""
    from fnmatch import fnmatchcase

    parts = text.rstrip("/").split("/")
    folders = {"/".join(levels[: len(parts)]) for levels in (name.split("/") for name in names) if len(levels) > len(parts)}
    if text.rstrip("/") in folders:
        return [text.rstrip("/")]
    if "**" in parts:
        return []  # which says itself how deep to go

    def matches(folder: str) -> bool:
        pairs = zip(folder.split("/"), parts, strict=True)
        return all(fnmatchcase(name, part) and (name[:1] != "." or part[:1] == ".") for name, part in pairs)

    return sorted(filter(matches, folders))
