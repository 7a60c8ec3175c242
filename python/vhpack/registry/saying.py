"""What is said of files: checked before anything is written, and written as rows."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

from vhpack.errors import OptionError
from vhpack.registry import bulk, schema
from vhpack.registry.names import checked

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from vhpack.errors import PackError

ALIAS = "valohai.alias"
DATASETS = "valohai.dataset-versions"
TAGS = "valohai.tags"
_DONE = frozenset({ALIAS, DATASETS})
"""What sidecars ask for, and say of no file."""
_DEEPEST = 200  # levels: what is written has to be read again by whoever's stack is deep already
_ENCODE = json.JSONEncoder(allow_nan=False).encode


class Said(NamedTuple):
    """What is said of files, as tables have it; instead of a datum's number, each row has the file's place among those files."""

    properties: list[tuple[int, str, str]]
    tags: list[tuple[int, str]]

    def only(self, places: Container[int]) -> Said:
        """Return what is said of the files at some of the places."""
        return Said([row for row in self.properties if row[0] in places], [row for row in self.tags if row[0] in places])


def read(files: Iterable[tuple[str, Mapping[str, object]]], error: type[PackError] = OptionError) -> Said:
    """Return what is said of files.

    Args:
        files: What errors call each, and what is said of it.
        error: What is raised where something cannot be written down.
    """
    said = Said([], [])
    known: set[str] = set()  # 200,000 files have a few names of properties between them, and a few lists of tags
    lists: dict[tuple[object, ...], list[str]] = {}
    for place, (file, properties) in enumerate(files):
        for name, value in properties.items():
            if name in known:
                text = str(value) if type(value) is int else _text(file, name, value, error)
                said.properties.append((place, name, text))
            elif name == TAGS:
                said.tags.extend([(place, tag) for tag in _tags(file, value, lists, error)])
            elif name not in _DONE:
                _check_name(file, name, error)
                said.properties.append((place, name, _text(file, name, value, error)))
                known.add(name)
    return said


def write(connection: Connection, numbers: Sequence[int], said: Said) -> None:
    """Write what is said of datums of which nothing is written, each of which has the number that is at its place."""
    bulk.insert(
        connection,
        schema.PROPERTIES,
        ("datum", "name", "value"),
        [(numbers[place], name, text) for place, name, text in said.properties],
    )
    bulk.insert(connection, schema.TAGS, ("datum", "tag"), [(numbers[place], tag) for place, tag in said.tags])


def forget(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove all that is said of datums, for what is said now is written in its place."""
    for table in (schema.PROPERTIES, schema.TAGS):
        for some in bulk.pieces(numbers):
            connection.execute(table.delete().where(table.c.datum.in_(some)))


def json_text(value: object) -> str:
    """Return a value as JSON: what Python has beside that, NaN and infinities, is null.

    Raises:
        TypeError, ValueError, RecursionError: JSON has no words for it.

    Example:
        >>> from vhpack.registry.saying import json_text
        >>> json_text({"rate": float("nan"), "rows": 3})
        '{"rate": null, "rows": 3}'
    """
    try:
        return _ENCODE(value)
    except ValueError:
        return _ENCODE(json.loads(json.dumps(value), parse_constant=lambda _: None))


def _check_name(file: str, name: object, error: type[PackError]) -> None:
    try:
        if isinstance(name, str) and "\0" not in name and name.encode() is not None:
            return
    except UnicodeEncodeError:  # half of a character, which JSON can say and no database keeps
        pass
    raise error(f"{file}: a property cannot be called {name!r}; it must be text")


def _text(file: str, name: str, value: object, error: type[PackError]) -> str:
    # What most values are, in a fraction of the time that the encoder takes to make another one of itself.
    if type(value) is float and math.isfinite(value):
        return repr(value)
    try:
        text = json_text(value)
        if text.count("[") + text.count("{") <= _DEEPEST or _depth(value) <= _DEEPEST:
            return text
    except (TypeError, ValueError, RecursionError):
        pass
    raise error(f"{file}: the property {name!r} is no JSON, or nests more than {_DEEPEST} levels deep")


def _depth(value: object) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        found, depth = pending.pop()
        deepest = max(deepest, depth)
        inside = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
        pending += [(each, depth + 1) for each in inside if isinstance(each, dict | list | tuple)]
    return deepest


def _tags(file: str, value: object, lists: dict[tuple[object, ...], list[str]], error: type[PackError]) -> list[str]:
    if not isinstance(value, list | tuple):
        raise error(f"{file}: {TAGS} is {value!r}; it must be a list of texts")
    if not all(type(tag) is str for tag in value):
        return _checked(file, value, error)
    given = tuple(value)
    found = lists.get(given)
    if found is None:
        found = lists[given] = _checked(file, value, error)
    return found


def _checked(file: str, value: Sequence[object], error: type[PackError]) -> list[str]:
    # As they are searched for: of two spellings of one letter, one is written.
    try:
        return list(dict.fromkeys(checked(tag, "tag") for tag in value))  # type: ignore[arg-type]  # which it says
    except OptionError as wrong:
        raise error(f"{file}: {TAGS}: {wrong}") from None
