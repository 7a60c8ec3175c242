"""Inputs: the files that a run was given, downloaded where they have to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from vhpack.supply import File
    from vhpack.unpacking import Packed


def inputs(name: str, default: str | list[str] | None = None) -> Input:
    """Return the input called `name`.

    Args:
        name: As in `prepare()`; hyphens and underscores are the same where only one of the spellings exists.
        default: Path or paths for a run that has no file for this input.

    Example:
        >>> import vhpack
        >>> with open("cats.csv", "w") as file:
        ...     print("name,age", file=file)
        >>> vhpack.prepare(step="train", default_inputs={"cats": "*.csv"})
        >>> vhpack.inputs("cats").path()
        '/.../cats.csv'
    """
    return Input(str(name), default)


@dataclass(frozen=True)
class Input:
    """An input of the run; `vhpack.inputs(name)` makes it.

    Its files come from the command line (`--name=URL`), else from `inputs.json`, else from `prepare()`, as URLs (`http`,
    `https`, `s3`, `gs`, `azure`, `file`), local paths, folders (with all that is below) or patterns. An input without any has
    the files that somebody has put into its folder.

    Archives (zip, tar, tar.gz, tar.zst, by their names) stand for the files in them: `streams` reads those where they are,
    `paths` unpacks them once, into a cache, and again what somebody has written to there.

    Downloads go into the input's folder, each at once and complete, several at a time. What breaks off is asked for again and
    continued, in a later run if need be. A file is downloaded again only when its server says that it has changed, and one
    that was put there by hand stays. Checksums and sizes in `inputs.json` are checked. What was downloaded or unpacked is kept in
    the folder `.cache` beside the inputs, which may be removed while nobody reads what `paths` has unpacked there. Nothing of it
    goes by itself, unless `VHPACK_CACHE_DAYS` says after how many days without use; longer than your longest run, that is.
    """

    name: str
    default: str | list[str] | None = None

    def paths(
        self,
        path_filter: str | None = None,
        default: Iterable[str] | None = None,
        process_archives: bool = True,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
    ) -> Iterator[str]:
        """Return the absolute paths of the input's files, in the order in which the run names them, patterns sorted.

        Nothing happens before the first path is asked for.

        Args:
            path_filter: Only files whose whole name in the input matches; `*` matches slashes, too, as in `fnmatch`.
                Others are not even downloaded.
            default: What to return where there is no file.
            process_archives: Return the files in an archive instead of the archive.
            force_download: Download again what is there already, also over what was put there by hand.

        Raises:
            DownloadError: a file cannot be downloaded; it is an OSError, and `filename` the URL.
            ChecksumError: a file is not the one that `inputs.json` promises.
            MissingExtraError: object storage needs obstore, which is not installed.
            UnsafeMemberError: a member of an archive would be unpacked to somewhere else.
            CorruptArchiveError, UnsupportedArchiveError, LimitExceededError: an archive cannot be read; see `vhpack.open`.
            ConfigError: without `prepare()`, a file in the config folder cannot be read.

        Example:
            >>> import vhpack
            >>> for name in ("a.txt", "b.txt", "c.csv"):
            ...     open(name, "w").close()
            >>> vhpack.prepare(step="train", default_inputs={"texts": ["*.txt", "c.csv"]})
            >>> [path.rpartition("/")[2] for path in vhpack.inputs("texts").paths("*.txt")]
            ['a.txt', 'b.txt']
        """
        found = False
        for file, packed in self._found(path_filter, process_archives, force_download):
            for path in [file.path] if packed is None else _unpacked(packed):
                found = True
                yield path
        if not found:
            yield from self._default() if default is None else default

    def path(
        self,
        path_filter: str | None = None,
        default: str | None = None,
        process_archives: bool = True,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
    ) -> str | None:
        """Return the absolute path of the input's first file, or `default` where there is none.

        All of the input's files that match are downloaded, since some are of use only together. Arguments and errors are
        those of `paths`.
        """
        found = self.paths(path_filter, () if default is None else (default,), process_archives, force_download)
        if default is None and self.default is not None:
            found = self.paths(path_filter, None, process_archives, force_download)
        return next(iter(found), None)

    def streams(
        self,
        path_filter: str | None = None,
        process_archives: bool = True,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
    ) -> Iterator[IO[bytes]]:
        """Return the input's files, each open for reading bytes, to be closed by who reads them.

        Arguments and errors are those of `paths`.
        """
        for file, packed in self._found(path_filter, process_archives, force_download):
            if packed is None:
                yield open(file.path, "rb")  # noqa: SIM115 - whoever reads it closes it
            else:
                yield from (member.open() for member in packed)

    def stream(
        self,
        path_filter: str | None = None,
        process_archives: bool = True,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
    ) -> IO[bytes] | None:
        """Return the input's first file, open for reading bytes, or None where there is none.

        Arguments and errors are those of `paths`.
        """
        return next(self.streams(path_filter, process_archives, force_download), None)

    def dir_path(self) -> str:
        """Return the absolute path of the folder that downloads of this input go into; it need not exist.

        Example:
            >>> import vhpack
            >>> vhpack.inputs("images").dir_path()
            '/.../images'
        """
        from vhpack import supply

        return paths.get_inputs_path(supply.declared(self.name))

    def _found(
        self,
        path_filter: str | None,
        process_archives: bool,  # noqa: FBT001
        force: bool,  # noqa: FBT001
    ) -> Iterator[tuple[File, list[Packed] | None]]:
        """Return each file, and for an archive that is to be opened what is wanted of it."""
        from vhpack import supply, unpacking

        for file in supply.files(self.name, path_filter, whole=not process_archives, force=force):
            if process_archives and supply.may_be_archive(file.name):
                inside = unpacking.members(file.name, file.path)
                yield file, [packed for packed in inside if supply.matches(packed.name, path_filter)]
            else:
                yield file, None

    def _default(self) -> list[str]:
        if self.default is None:
            return []
        return [self.default] if isinstance(self.default, str) else list(self.default)


def _unpacked(packed: list[Packed]) -> list[str]:
    from vhpack import unpacking

    return unpacking.unpack(packed) if packed else []
