"""Committed directories: what their manifest says is in them, and reading by it."""

from __future__ import annotations

import errno
import json
import os
import re
import zlib
from typing import TYPE_CHECKING, NamedTuple

from vhpack.errors import (
    CorruptArchiveError,
    FunctionError,
    PackOSError,
    SourceChangedError,
    SourceNotFoundError,
    UnsupportedArchiveError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from vhpack._packing import StrPath

    Value = TypeVar("Value")

MANIFEST = ".vhpack-manifest.jsonl"
"""The name of the manifest in a committed directory; hidden, so that `*` means the files that it lists."""

_VERSION = 1
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|\0")  # an empty part, one that leads nowhere or up, or no name at all
_STAGE = ".vhpack-stage"
_quoted = json.encoder.encode_basestring_ascii  # the quickest way to the one kind of value that needs any care


class Listed(NamedTuple):
    """A file that a manifest lists."""

    name: str
    """Relative to the directory, with `/`."""
    size: int
    digest: str
    """Its xxh3-128, in hexadecimal digits."""
    id: str | None = None
    """What the file was made of, where that is not its name."""
    source: str | None = None
    """Where that came from, where it was said."""


def is_safe(name: str) -> bool:
    """Return whether a name is that of a file below a folder, and not of the manifest itself.

    Example:
        >>> from vhpack.committed import is_safe
        >>> [is_safe(name) for name in ("a/b.png", "../b", "/b", "a//b", "a/.", "")]
        [True, False, False, False, False, False]
    """
    return _UNSAFE.search(name) is None and name != MANIFEST


def to_text(files: Iterable[Listed]) -> bytes:
    """Return a manifest of files: a head with what tells a whole one from a cut one, then a line for each, by their names."""
    lines = []
    count = size = 0
    for each in sorted(files, key=lambda each: each.name):
        more = "" if each.id is None else f', "id": {_quoted(each.id)}'
        more += "" if each.source is None else f', "source": {_quoted(each.source)}'
        lines.append(f'{{"name": {_quoted(each.name)}, "size": {each.size}, "xxh3-128": "{each.digest}"{more}}}\n')
        count += 1
        size += each.size
    body = "".join(lines).encode()
    head = {"vhpack_directory": _VERSION, "files": count, "bytes": size, "crc32": f"{zlib.crc32(body):08x}"}
    return f"{json.dumps(head)}\n".encode() + body


def from_text(text: bytes, place: str) -> list[Listed]:
    """Read a manifest; `place` is what errors call it.

    Raises:
        CorruptArchiveError: it is none, is damaged, or lists what no directory can hold.
        UnsupportedArchiveError: it is of a version that came later.
    """
    first, _, body = text.partition(b"\n")
    try:
        head = json.loads(first)
        version, count, crc = int(head["vhpack_directory"]), head["files"], head["crc32"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CorruptArchiveError(f"{place} is no manifest of a directory; have it written anew") from None
    if version > _VERSION:
        raise UnsupportedArchiveError(f"{place} is of version {version}, which came later; update vhpack to read it")
    if f"{zlib.crc32(body):08x}" != crc:
        raise CorruptArchiveError(f"{place} is damaged or cut short; have the directory written anew")
    try:
        listed = [
            Listed(line["name"], line["size"], line["xxh3-128"], line.get("id"), line.get("source"))
            for line in json.loads(b"[" + b",".join(body.splitlines()) + b"]")
        ]
        wrong = next((each.name for each in listed if not is_safe(each.name) or each.size < 0), None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CorruptArchiveError(f"{place} is damaged; have the directory written anew") from None
    if wrong is not None or len({each.name for each in listed}) != count:
        raise CorruptArchiveError(f"{place} lists {'names twice' if wrong is None else repr(wrong)}; it is not to be trusted")
    return listed


def manifest_of(path: str) -> bytes | None:
    """Return the manifest of the directory at `path` as it is, or None where it has none.

    Raises:
        PackOSError: it cannot be read.
    """
    place = os.path.join(path, MANIFEST)
    try:
        with open(place, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read the manifest {place}: {error.strerror}; check the disk", place) from None


def files_of(path: str) -> list[Listed] | None:
    """Return what the manifest of the directory at `path` lists, or None where it has none."""
    text = manifest_of(path)
    return None if text is None else from_text(text, os.path.join(path, MANIFEST))


def is_whole(path: str) -> bool:
    """Return whether every file that the manifest lists is there, with its size; true where there is no manifest."""
    listed = files_of(path)
    if listed is None:
        return True
    try:
        return all(os.stat(os.path.join(path, each.name)).st_size == each.size for each in listed)
    except OSError:
        return False


def read_outputs(
    path: StrPath, decode: Callable[[str, bytes], Value] | None = None, *, verify: bool = False
) -> Iterator[tuple[str, bytes] | Value]:
    """Read the files of a committed directory, or of an archive, one by one, by the manifest and never by what lies there.

    Of a directory that is replaced meanwhile, files come from the version that was there first, or there is an error: never
    from both. One whose commit was interrupted is the old version or the new one.

    Args:
        path: A directory that `vhpack.OutputDir` or `vhpack.map_directory` has committed, wherever it was moved to since; or an
            archive, which has its own list. Where the archive is of a committed directory, and holds its manifest, that counts.
        decode: Makes a value of a file's name and bytes; None is passed over. By default, the value is the pair of both.
        verify: Compare every file with its digest before the first one is given; else sizes are compared, and in archives
            checksums.

    Returns:
        An iterator over values, in the order of the names.

    Raises:
        SourceNotFoundError: there is nothing at `path`, or a directory without a manifest.
        CorruptArchiveError: a file is missing, or is not what the manifest says.
        SourceChangedError: the directory was replaced while it was read.
        FunctionError: `decode` raised; `source` is the file, `__cause__` what it raised.
        PackOSError: any other failure of the operating system.

    Example:
        >>> import tempfile, vhpack
        >>> folder = tempfile.TemporaryDirectory()
        >>> with vhpack.OutputDir(f"{folder.name}/curves") as out:
        ...     for name in ("a.txt", "b.txt"):
        ...         out.write_bytes(name, name.encode())
        >>> [name for name, content in vhpack.read_outputs(f"{folder.name}/curves")]
        ['a.txt', 'b.txt']
        >>> folder.cleanup()
    """
    text = os.fspath(path)
    reading = _of_archive(text, verify=verify) if os.path.isfile(text) else _of_directory(os.path.abspath(text), verify=verify)
    for name, content in reading:
        if decode is None:
            yield name, content
            continue
        try:
            value = decode(name, content)
        except Exception as error:
            raise FunctionError.of(os.path.join(text, name), error) from error
        if value is not None:
            yield value


def _of_directory(path: str, *, verify: bool) -> Iterator[tuple[str, bytes]]:
    # By a descriptor of the directory: whatever is put in its place, this one keeps its files.
    folder, path = _entered(path)
    try:
        try:
            with open(os.open(MANIFEST, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
                text = file.read()
        except FileNotFoundError as error:
            message = f"{path} has no manifest: vhpack has not written it, or never finished; name a committed directory"
            raise SourceNotFoundError(error.errno, message, path) from None
        listed = from_text(text, os.path.join(path, MANIFEST))
        if verify:
            _check_digests(path, listed)
        for each in listed:
            yield each.name, _content(folder, path, each, text)
    finally:
        os.close(folder)


def _entered(path: str) -> tuple[int, str]:
    for place in (path, before(path)):
        try:
            return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), place
        except FileNotFoundError:  # noqa: PERF203 - two rounds at most
            continue
        except OSError as error:
            raise PackOSError(error.errno, f"cannot read the directory {place}: {error.strerror}; check it", place) from None
    message = f"there is no committed directory {path}; check the spelling, or finish what writes it"
    raise SourceNotFoundError(errno.ENOENT, message, path)


def stage_of(target: str) -> str:
    """Return the folder in which the next version of a directory comes to be: beside it, so that a rename puts it there."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}{_STAGE}")


def is_stage(name: str) -> bool:
    """Return whether a folder of this name is a stage."""
    return name.startswith(".") and name.endswith(_STAGE)


def before(target: str) -> str:
    """Return where the version before is for a moment, on file systems on which two names cannot change places."""
    return os.path.join(stage_of(target), "old")


def _content(folder: int, path: str, each: Listed, text: bytes) -> bytes:
    try:
        with open(os.open(each.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        place = os.path.join(path, each.name)
        if manifest_of(path) != text:
            message = f"{path} was replaced while it was read, and {each.name!r} is gone; read it again"
            raise SourceChangedError(error.errno, message, place) from None
        raise CorruptArchiveError(f"{place} is in the manifest, and missing; have the directory written anew") from None
    except OSError as error:
        place = os.path.join(path, each.name)
        raise PackOSError(error.errno, f"cannot read {place}: {error.strerror}; check the disk", place) from None
    if len(content) != each.size:
        place = os.path.join(path, each.name)
        raise CorruptArchiveError(f"{place} has {len(content)} bytes, and {each.size} in the manifest; have it written anew")
    return content


def _check_digests(path: str, listed: list[Listed]) -> None:
    from vhpack import hashing

    found = hashing.hash_files(path) if listed else {}
    for each in listed:
        place = os.path.join(path, each.name)
        digest = found.get(place)
        if digest != each.digest:
            what = "is missing" if digest is None else f"has the digest {digest}, and {each.digest} in the manifest"
            raise CorruptArchiveError(f"{place} {what}; have the directory written anew")


def _of_archive(path: str, *, verify: bool) -> Iterator[tuple[str, bytes]]:
    from vhpack import archive

    with archive.open(path) as opened:
        if verify and not (report := opened.verify()).ok:
            name, _, why = report.damaged[0]
            raise CorruptArchiveError(f"{path!r} is damaged at {name!r}: {why}; pack it anew")
        inside = [name for name in opened.names() if name.rpartition("/")[2] == MANIFEST]
        if len(inside) != 1:
            yield from ((name, opened[name]) for name in opened.names() if name not in inside)
            return
        base = inside[0].removesuffix(MANIFEST)
        for each in from_text(opened[inside[0]], f"{inside[0]!r} in {path!r}"):
            content = opened.get(base + each.name)
            if content is None or len(content) != each.size:
                what = "missing" if content is None else f"of {len(content)} bytes"
                message = f"{each.name!r} is {what} in {path!r}, and of {each.size} in its manifest; pack it anew"
                raise CorruptArchiveError(message)
            yield each.name, content
