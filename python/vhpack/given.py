"""What a run was given in files: `parameters.json` and `inputs.json`, read into values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class GivenFile:
    """One file of an input, as `inputs.json` describes it."""

    name: str
    """Its path inside the input's folder."""
    path: str | None = None
    """Where it is on this machine; None, or a place where nothing is: it has to be fetched."""
    uri: str | None = None
    """Where it came from."""
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Of `sha256`, `sha1` and `md5` those that are known, in hexadecimal digits."""
    source: str | None = None
    """Where it is fetched from, if `uri` is only what it is known by: a datum of the registry."""
    folder: str | None = None
    """The folder in that of the input that it is put into, so that no other file of its name is ever in its place."""


@dataclass(frozen=True)
class GivenInput:
    """What one input consists of: files that `inputs.json` lists, or places that code or the command line names."""

    files: tuple[GivenFile, ...] = ()
    places: tuple[str, ...] = ()
    """URLs, local paths and patterns."""
    input_id: str | None = None
    """What the platform calls an input whose files are fetched only when they are asked for."""


def is_reference(place: str | None) -> bool:
    """Return whether a place is one that only the registry knows."""
    return bool(place) and str(place).partition("://")[0].lower() in ("datum", "dataset", "model") and "://" in str(place)


def has_references(found: GivenInput) -> bool:
    """Return whether an input has to be looked up in the registry; not where the platform itself fetches its files on demand."""
    return any(map(is_reference, found.places)) or (not found.input_id and any(is_reference(file.uri) for file in found.files))


def read_object(path: str) -> dict[str, object] | None:
    """Return the JSON object in a file, or None if there is no such file.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    import json

    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"cannot read {path}: {said}; correct it or remove it") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold a JSON object, not {type(found).__name__}; correct it or remove it")
    return found


def read_inputs(path: str) -> dict[str, GivenInput] | None:
    """Return the inputs that `inputs.json` at `path` lists, or None if there is no such file.

    Raises:
        ConfigError: the file cannot be read, or lists no inputs.
    """
    found = read_object(path)
    return None if found is None else {name: _input(f"{path}: {name}", entry) for name, entry in found.items()}


def _input(where: str, entry: object) -> GivenInput:
    if isinstance(entry, str | list):
        return GivenInput(places=tuple(_whole(where, str(place)) for place in ([entry] if isinstance(entry, str) else entry)))
    if not isinstance(entry, dict) or not isinstance(entry.get("files", []), list):
        raise ConfigError(f"{where} must be an object with a list of files; correct it or remove it")
    input_id = entry.get("input_id")
    return GivenInput(
        files=tuple(_file(where, described) for described in entry.get("files", [])),
        input_id=None if not input_id else str(input_id),
    )


def _file(where: str, described: object) -> GivenFile:
    if not isinstance(described, dict) or not described.get("name"):
        raise ConfigError(f"{where}: each of its files must be an object with a name; correct it or remove it")
    size, checksums = described.get("size"), described.get("checksums")
    return GivenFile(
        name=_whole(where, str(described["name"])),
        path=_text(where, described.get("path")),
        uri=_text(where, described.get("uri")),
        size=size if type(size) is int and size > 0 else None,  # 0 is what is written where nobody knew
        checksums=_digests(checksums) if isinstance(checksums, dict) else {},
    )


def _digests(checksums: Mapping[object, object]) -> dict[str, str]:
    return {str(kind): str(digest).lower() for kind, digest in checksums.items() if digest}


def _text(where: str, value: object) -> str | None:
    return _whole(where, str(value)) if value else None


def _whole(where: str, text: str) -> str:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: {text!r} holds half a character, which no name can; correct it or remove it") from None
    return text
