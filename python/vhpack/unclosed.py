"""Files that this program has open for writing when they are registered: what Python holds back of them is written first."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Inode = tuple[int, int]

_DESCRIPTORS = "/proc/self/fd"
# What has a file of Python's below it and holds more back than that knows of: an end that only `close` writes.
_ABOVE = (("gzip", "GzipFile"), ("bz2", "BZ2File"), ("lzma", "LZMAFile"), ("zipfile", "ZipFile"), ("tarfile", "TarFile"))


def written(root: str) -> tuple[set[Inode], list[str]]:
    """Write out what Python holds back of the files below a folder that are open for writing.

    Returns:
        The files that are still open (device and inode), which may be written to at any time; and the paths of those among them
        of which only their own library knows what is missing. What is open in other processes is not seen.

    Raises:
        OSError: it cannot be written.
    """
    root = os.path.realpath(root) + "/"
    below = {number: path for number, path in _writers() if path.startswith(root)}
    if not below:
        return set(), []
    plain, above = _streams(below)
    for stream in plain.values():
        with contextlib.suppress(ValueError):  # closed by another thread meanwhile
            stream.flush()
    unknown = {path for number, path in below.items() if number in above or number not in plain}
    return set(_inodes(below)), sorted(unknown)


def _inodes(numbers: Iterable[int]) -> Iterator[Inode]:
    for number in numbers:
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            yield status.st_dev, status.st_ino


def _writers() -> Iterator[tuple[int, str]]:
    """Return number and path of each descriptor by which a regular file can be written to."""
    for name in os.listdir(_DESCRIPTORS):
        try:
            path = os.readlink(f"{_DESCRIPTORS}/{name}")
            if path.startswith("/") and stat.S_ISREG(os.fstat(int(name)).st_mode) and _is_for_writing(name):
                yield int(name), path
        except OSError:  # noqa: PERF203 - closed meanwhile, as that of the listing is
            continue


def _is_for_writing(name: str) -> bool:
    with open(f"/proc/self/fdinfo/{name}", "rb") as file:
        flags = next((line for line in file if line.startswith(b"flags:")), b"flags: 0")
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _streams(numbers: dict[int, str]) -> tuple[dict[int, io.IOBase], set[int]]:
    """Return Python's own streams of descriptors, and those descriptors that something else writes through one."""
    plain: dict[int, io.IOBase] = {}
    above: set[int] = set()
    others = tuple(getattr(sys.modules[module], name) for module, name in _ABOVE if module in sys.modules)
    for found in gc.get_objects():
        # Not `isinstance`, which asks proxies what they stand for.
        if not issubclass(type(found), (io.IOBase, *others)):
            continue
        number = _number(found)
        if number not in numbers:
            continue
        if type(found) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO):
            # Text holds back in front of its buffer, and flushes that with it.
            if number not in plain or isinstance(found, io.TextIOWrapper):
                plain[number] = found
        else:
            above.add(number)
    return plain, above


def _number(stream: object) -> int:
    try:
        inner: Any = getattr(stream, "fp", None) or getattr(stream, "fileobj", None) or stream
        return int(inner.fileno())
    except (AttributeError, OSError, ValueError, TypeError):  # closed, or without one
        return -1
