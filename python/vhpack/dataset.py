"""Archives as datasets: samples by their number, for training loops and `torch.utils.data.DataLoader`."""

from __future__ import annotations

import operator
import os
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from vhpack.archive import Archive
from vhpack.archive import open as open_archive
from vhpack.errors import NoFilesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vhpack._packing import StrPath

Sample = TypeVar("Sample")


class ArchiveDataset(Generic[Sample]):
    """The files of an archive, or of many shards, by number: what PyTorch calls a map-style dataset.

    A sample is read from the archive when it is asked for; nothing is unpacked to disk. Samples are in the order of the
    shards, and in a shard in the archive's own. Works in every worker of a `DataLoader`, forked or spawned: pickled, it is
    the shards' paths and the arguments, and the worker makes its own list of names. An archive that was replaced
    meanwhile is refused there. PyTorch itself is neither needed nor loaded.

    Args:
        shards: An archive, as a path, a `file://` URL or a `vhpack.Archive`; a pattern of paths, such as
            `"train-*.tar"`, whose matches are sorted; or an iterable of archives and paths.
        pattern: Which files are samples, as in `Archive.glob`; one without `/` is compared with names in any folder.
        decode: Makes a sample of a file's name and bytes, in the process that asks for it. By default a sample is the
            pair of both. For spawned workers it has to be a function that pickle can find by its name.

    Raises:
        NoFilesError: no archive, or no file in them, matches.
        SourceNotFoundError: an archive does not exist.
        PackError: an archive cannot be read; `vhpack.open` lists the kinds.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> folder = tempfile.TemporaryDirectory()
        >>> for number in range(3):
        ...     _ = pathlib.Path(folder.name, f"{number}.txt").write_text(f"sample {number}")
        >>> _ = vhpack.pack(f"{folder.name}/*.txt", f"{folder.name}/train.zip")
        >>> dataset = vhpack.ArchiveDataset(f"{folder.name}/train.zip", "*.txt", lambda name, content: content.decode())
        >>> len(dataset), dataset[0], dataset[-1]
        (3, 'sample 0', 'sample 2')
        >>> folder.cleanup()
    """

    @overload
    def __init__(
        self: ArchiveDataset[tuple[str, bytes]],
        shards: StrPath | Archive | Iterable[StrPath | Archive],
        pattern: str = "*",
        decode: None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        shards: StrPath | Archive | Iterable[StrPath | Archive],
        pattern: str = "*",
        decode: Callable[[str, bytes], Sample] = ...,
    ) -> None: ...
    def __init__(
        self,
        shards: StrPath | Archive | Iterable[StrPath | Archive],
        pattern: str = "*",
        decode: Callable[[str, bytes], Sample] | None = None,
    ) -> None:
        self._shards = opened(shards)
        self._pattern = pattern
        self._decode = decode
        self._names = _Names(self._shards, pattern)
        if not len(self._names):
            shown = ", ".join(repr(shard.path) for shard in self._shards[:5])
            raise NoFilesError(f"No file in {shown} matches {pattern!r}; vhpack list shows their names")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        shard, name = self._names.find(self._position(index))
        content = self._shards[shard][name]
        return (name, content) if self._decode is None else self._decode(name, content)  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def name(self, index: int) -> str:
        """Return the name of a sample's file, without reading the file."""
        return self._names.find(self._position(index))[1]

    def _position(self, index: int) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        return position % len(self)

    def __getstate__(self) -> tuple[list[Archive], str, object]:
        return self._shards, self._pattern, self._decode

    def __setstate__(self, state: tuple[list[Archive], str, Callable[[str, bytes], Sample] | None]) -> None:
        self._shards, self._pattern, self._decode = state
        self._names = _Names(self._shards, self._pattern)

    def __repr__(self) -> str:
        return f"<vhpack.ArchiveDataset of {len(self)} samples in {len(self._shards)} archives>"


class _Names:
    """Names of many files in two allocations: forked workers share them, as no reference counts lie among them."""

    def __init__(self, shards: list[Archive], pattern: str) -> None:
        # As with exclude: what has no slash is about names, not about places.
        pattern = pattern if "/" in pattern or pattern == "**" else f"**/{pattern}"
        self._joined = b""
        self._ends = array("Q")
        self._shard_ends: list[int] = []
        parts = []
        end = 0
        for shard in shards:
            for name in shard.glob(pattern):
                encoded = os.fsencode(name)
                parts.append(encoded)
                end += len(encoded)
                self._ends.append(end)
            self._shard_ends.append(len(self._ends))
        self._joined = b"".join(parts)

    def __len__(self) -> int:
        return len(self._ends)

    def find(self, position: int) -> tuple[int, str]:
        """The shard's number and the name."""
        start = self._ends[position - 1] if position else 0
        return bisect_right(self._shard_ends, position), os.fsdecode(self._joined[start : self._ends[position]])


def opened(shards: StrPath | Archive | Iterable[StrPath | Archive]) -> list[Archive]:
    """Open an archive, those that a pattern matches, or each of an iterable.

    Raises:
        NoFilesError: none matches, or the iterable is empty.
        PackError: one cannot be opened; `vhpack.open` lists the kinds.
    """
    many = [shards] if isinstance(shards, str | os.PathLike | Archive) else list(shards)
    found = []
    for shard in many:
        if isinstance(shard, Archive):
            found.append(shard)
        else:
            found.extend(map(open_archive, _matching(shard)))
    if not found:
        raise NoFilesError("No archives: the list of shards is empty")
    return found


def _matching(shard: StrPath) -> list[StrPath]:
    """The shards that a path or a pattern names."""
    import glob

    text = os.fspath(shard)
    if not isinstance(shard, str) or "://" in text or os.path.lexists(text) or not glob.has_magic(text):
        return [shard]
    found: list[StrPath] = [*sorted(glob.glob(text, recursive=True))]
    if not found:
        raise NoFilesError(f"No archives match {text!r}; check the spelling")
    return found
