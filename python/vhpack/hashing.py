"""Digests of files, read on all cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhpack._packing import checked_jobs, encode, encode_patterns
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, TypeAlias

    from vhpack._engine import CheckReport, HashReport
    from vhpack._packing import Patterns, Sources, Watch

    Algorithm: TypeAlias = Literal["xxh3-128", "blake3", "sha256", "crc32"]
    Write: TypeAlias = Callable[[bytes], object]

ALGORITHMS = ("xxh3-128", "blake3", "sha256", "crc32")


def hash_files(
    sources: Sources,
    algorithm: Algorithm = "xxh3-128",
    *,
    exclude: Patterns = (),
    hidden: bool = False,
    jobs: int | None = None,
    progress: Watch = None,
) -> dict[str, str]:
    """Return the digests of files, of all files in folders, and of what patterns match.

    Nothing is written. The files are found under the rules of `vhpack.pack`, and read on several threads.

    Args:
        sources: One path or pattern, or any iterable of them; see `vhpack.pack`.
        algorithm: `"xxh3-128"` is the fastest and notices damage; `"blake3"` and `"sha256"` withstand an adversary, too;
            `"crc32"` is that of zip and gzip.
        exclude: Patterns of what to leave out; see `vhpack.pack`.
        hidden: Let wildcards match names that start with a dot.
        jobs: Number of threads; by default one for each core.
        progress: `True` for a bar on a terminal, or a function; see `vhpack.pack`.

    Returns:
        Digests in lower-case hexadecimal digits by path, in the order of the paths. A path is absolute where its source
        is, else relative to the working directory. What wildcards leave out (sidecars) is not in it.

    Raises:
        NoFilesError: nothing matches.
        SourceNotFoundError: a source without wildcards does not exist, or a file vanished.
        PackPermissionError: a file or folder cannot be read.
        SpecialFileError: a FIFO, socket or device was named.
        PackOSError: any other failure of the operating system.
        OptionError: an option is out of range.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "a.txt").write_text("abc")
        ...     digests = vhpack.hash_files(folder, "sha256")
        >>> for path, digest in digests.items():
        ...     print(path, digest)
        /.../a.txt ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    """
    if algorithm not in ALGORITHMS:
        raise OptionError(f"algorithm is {algorithm!r}; it must be one of {', '.join(ALGORITHMS)}")
    return dict(run(sources, algorithm, exclude=exclude, hidden=hidden, jobs=jobs, progress=progress).digests)


def both(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return sha256 and xxh3-128 of files that are known to be there, in the order of their paths; each is read once."""
    from vhpack import _engine

    return _engine.hash_both(encode(paths), algorithms=("sha256", "xxh3-128")) if paths else []


def run(
    sources: Sources,
    algorithm: Algorithm,
    *,
    exclude: Patterns = (),
    hidden: bool = False,
    stdin: bool = False,
    jobs: int | None = None,
    write: Write | None = None,
    progress: Watch = None,
) -> HashReport:
    """Hash, with the engine; with `write`, lines go there while it works, and files that cannot be read end nothing."""
    from vhpack import _engine, _progress

    with _progress.watching(progress) as watch:
        return _engine.hash_paths(
            b"" if stdin else encode(sources),
            b"",
            algorithm=algorithm,
            exclude=encode_patterns(exclude),
            hidden=hidden,
            stdin=stdin,
            jobs=checked_jobs(jobs),
            write=write,
            progress=watch,
        )


def check(
    lines: bytes,
    algorithm: Algorithm | None = None,
    *,
    quiet: bool = False,
    jobs: int | None = None,
    write: Write | None = None,
    progress: Watch = None,
) -> CheckReport:
    """Check files against lines of digests and names; with `write`, a line for each goes there, if quiet of failures only."""
    from vhpack import _engine, _progress

    with _progress.watching(progress) as watch:
        return _engine.hash_check(lines, algorithm=algorithm, quiet=quiet, jobs=checked_jobs(jobs), write=write, progress=watch)
