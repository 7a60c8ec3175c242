"""From Python's values to the engine's: `vhpack.pack`, and the one call that everything that packs goes through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import env, sizes
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal, TypeAlias

    from vhpack._engine import Following, PackReport, PlanReport, Progress

    StrPath: TypeAlias = str | os.PathLike[str]
    Sources: TypeAlias = StrPath | Iterable[StrPath]
    Patterns: TypeAlias = StrPath | Iterable[StrPath]
    Symlinks: TypeAlias = Literal["skip", "follow", "store"]
    OnChange: TypeAlias = Literal["error", "skip"]
    Codec: TypeAlias = Literal["auto", "store", "deflate", "zstd"]
    Watch: TypeAlias = bool | Callable[[Progress], object] | None

_LONGEST_NUMBER = 40  # digits; Python reads no text of thousands as a number
_LAST_EPOCH = 253_402_300_799  # the last second of the year 9999, beyond which no calendar here goes

_WORDS = {
    "symlinks": ("skip", "follow", "store"),
    "on_change": ("error", "skip"),
    "codec": ("auto", "store", "deflate", "zstd"),
}
_NUMBERS = {"level": (0, 12), "align": (0, 4096), "jobs": (1, 1024), "memory": (0, 2**63 - 1)}


@dataclass(frozen=True)
class Settings:
    """How to pack; every field means what the argument of `pack` with its name does."""

    root: StrPath | None = None
    exclude: Patterns = ()
    hidden: bool = False
    symlinks: Symlinks = "follow"
    on_change: OnChange = "error"
    codec: Codec = "auto"
    level: int | None = None
    align: int | None = None
    shard_size: int | str | None = None
    manifest: bool = False
    jobs: int | None = None
    memory: int | str | None = None
    reproducible: bool = False
    remove_originals: bool = False
    force: bool = False
    durable: bool = False

    def __post_init__(self) -> None:
        """Refuse what the engine has no words for; ranges are the engine's own business."""
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        for name, (least, most) in _NUMBERS.items():
            value = getattr(self, name)
            # Amounts may also be text, which is read later.
            is_amount = name == "memory"
            if value is None or (is_amount and not isinstance(value, int)):
                continue
            if not isinstance(value, int) or not least <= value <= most:
                raise OptionError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")


def pack(
    sources: Sources,
    target: StrPath,
    *,
    root: StrPath | None = None,
    exclude: Patterns = (),
    hidden: bool = False,
    symlinks: Symlinks = "follow",
    on_change: OnChange = "error",
    codec: Codec = "auto",
    level: int | None = None,
    align: int | None = None,
    shard_size: int | str | None = None,
    manifest: bool = False,
    jobs: int | None = None,
    memory: int | str | None = None,
    reproducible: bool = False,
    remove_originals: bool = False,
    force: bool = False,
    durable: bool = False,
    progress: Watch = None,
) -> PackReport:
    """Pack files, folders and what patterns match into one archive at `target`.

    The archive appears under its name complete or not at all: on any failure, and on Ctrl-C, no half of it is left
    behind and every original is still there. Its bytes depend on the files and the options, never on `jobs`, `memory`
    or the order in which the disk lists names.

    Originals are kept unless `remove_originals` is true; then exactly the files that were packed are removed, after the
    archive is on disk; where Ctrl-C or a crash cuts that off, the same call finishes it. Folders are never removed. An
    existing `target` is replaced only with `force`, and never one that another wrote while this pack ran.

    Args:
        sources: One path or pattern, or any iterable of them. One that exists is taken as it is, else it is read as
            a pattern under the rules of `glob.glob(recursive=True)`. A folder is packed with everything below it,
            hidden files and empty folders included. `target` itself and the sidecars `*.metadata.json` and
            `valohai.metadata.jsonl` are left out of what wildcards match; a sidecar that is named is packed.
        target: The archive; its suffix says the format: `.zip`, `.tar`, `.tar.gz` (`.tgz`) or `.tar.zst` (`.tzst`). Its
            folder must exist.
        root: What member names are relative to; by default the deepest folder common to all sources.
        exclude: Patterns of what to leave out. One without `/` is compared with every component of a member's name, one
            with `/` with the whole name; hidden names match, too.
        hidden: Let wildcards match names that start with a dot.
        symlinks: `"follow"` packs what links lead to (loops and dangling links are skipped and reported), `"store"`
            packs the links themselves, `"skip"` leaves them out.
        on_change: What to do when a file vanishes, grows or shrinks while it is read: `"error"` ends the pack, `"skip"`
            leaves the file out and keeps its original.
        codec: `"auto"` deflates what shrinks and stores what does not, by content; `"store"` and `"deflate"` do one.
            `"zstd"` compresses what shrinks with zstd, which many readers of zips refuse: the report warns. Tars have
            one codec for all: `.tar` stores, `.tar.gz` deflates, `.tar.zst` is in zstd; others are refused there.
        level: Effort, from 0 (store) to 12 (smallest); by default 5 for deflate and 3 for zstd. Deflate's levels above 9 are 9
            in a `.tar.gz` and in files above 4 MiB. A `.tar` ignores it; compressed tars refuse 0, which would store.
        align: 64 or 4096: let the bytes of stored members of a `.zip` begin at multiples of it, so that they can be mapped into
            memory.
        shard_size: Make several archives of at most so many bytes of files each (before compression; a number, or text like
            `"1GB"`): `images.zip` becomes `images-00000.zip`, `images-00001.zip` and so on. Files that share a stem (`a/1.png`,
            `a/1.json`: the name up to its first dot) stay in one. Each is complete as soon as it is there, and stays when a
            later one fails; originals go only after the last. Shards of an earlier, larger pack are never mixed with
            these: the call is refused, also with `force`, until they are moved away.
        manifest: Write `NAME.manifest.jsonl` beside each archive: JSON Lines, first a head with the archive's name, format, size
            and xxh3-128, then a line for each member with its name, kind, size, offset, packed size, codec, crc32 and
            xxh3-128. It is there before originals go. A pack without it removes the manifest of the archive that it replaces.
        jobs: Number of threads; by default one for each core.
        memory: Bytes that buffers may take in all, as a number or as text like `"256MiB"`, the default. What one thread
            needs is taken even where `memory` (1 MiB or more) is less: 16 MiB, with zstd 30 MiB, or up to 100 MiB at its highest
            levels; `warnings` says so then.
        reproducible: Give all members one time (`SOURCE_DATE_EPOCH`, else 1980) and plain modes, so that equal contents
            give equal archives on every machine.
        remove_originals: Remove the files that were packed; of a linked file the link, not its target.
        force: Replace an existing `target`.
        durable: Return only when the archive is on disk, as `remove_originals` does anyway.
        progress: `True` draws a bar on stderr when that is a terminal; a function is called with a `vhpack.Progress`
            about ten times a second, and an exception that it raises ends the pack.

    Returns:
        What was done: `target`, `files`, `directories`, `links`, `bytes_in`, `bytes_out`, `seconds`, `stored`, `deflated`
        and `zstd` (files by codec), `resumed` (an earlier call had made the archive, which these numbers describe; this one
        finished the removal), `removed`, `kept` (originals that were to be removed and were not) and `skipped`,
        both as pairs of path and reason, `warnings`, and `digest`, the archive's xxh3-128. `targets` and `digests` list
        every shard; `target` and `digest` are the first's. `manifests` lists the manifests.

    Raises:
        NoFilesError: nothing matches.
        TargetExistsError: `target` exists, and `force` is not given.
        TargetIsDirectoryError: `target` is a folder.
        UnknownFormatError: no archive format has the suffix of `target`.
        MemberCollisionError: two files would become one member.
        MemberNameError: a file's name cannot be kept in an archive.
        SourceNotFoundError: a source without wildcards, or the folder of `target`, does not exist.
        PackPermissionError: a source cannot be read, or the folder of `target` cannot be written.
        SpecialFileError: a FIFO, socket or device was named.
        SourceChangedError: a file changed underway, and `on_change` is `"error"`.
        NoSpaceError: the disk is full.
        PackOSError: any other failure of the operating system.
        OptionError: an option is out of range.

    Example:
        >>> import pathlib, tempfile, vhpack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a.txt", "b.txt"):
        ...         _ = pathlib.Path(folder, name).write_text("hello " * 1000)
        ...     report = vhpack.pack(f"{folder}/*.txt", f"{folder}/texts.zip")
        >>> report.files, report.bytes_in, report.deflated
        (2, 12000, 2)
    """
    settings = Settings(
        root=root,
        exclude=exclude,
        hidden=hidden,
        symlinks=symlinks,
        on_change=on_change,
        codec=codec,
        level=level,
        align=align,
        shard_size=shard_size,
        manifest=manifest,
        jobs=jobs,
        memory=memory,
        reproducible=reproducible,
        remove_originals=remove_originals,
        force=force,
        durable=durable,
    )
    return run(encode(sources), b"", os.fsencode(target), settings, progress=progress)


def run(
    sources: bytes,
    literals: bytes,
    target: bytes | None,
    settings: Settings,
    *,
    layout: Literal["tree", "outputs"] = "tree",
    base: StrPath | None = None,
    read_only: bool = False,
    follow: Following | None = None,
    progress: Watch = None,
) -> PackReport:
    """Pack, with the engine; `sources` and `literals` are NUL-separated, and relative ones start from `base`.

    `read_only` marks the archive, once it is on disk and all else is done, and is remembered until it is. `follow` uploads it
    while it is packed.
    """
    from vhpack import _engine, _progress

    with _progress.watching(progress) as watch:
        return _engine.pack(
            sources,
            literals,
            target,
            layout=layout,
            base=_encoded(base),
            root=_encoded(settings.root),
            exclude=encode_patterns(settings.exclude),
            hidden=settings.hidden,
            symlinks=settings.symlinks,
            on_change=settings.on_change,
            codec=settings.codec,
            level=settings.level,
            align=settings.align or 0,
            shard_size=_shard_size(settings),
            manifest=settings.manifest,
            jobs=settings.jobs,
            memory=_memory(settings),
            reproducible=settings.reproducible,
            epoch=_epoch(env.read().source_date_epoch) if settings.reproducible else None,
            remove_originals=settings.remove_originals,
            read_only=read_only,
            force=settings.force,
            durable=settings.durable,
            follow=follow,
            progress=watch,
        )


def plan(sources: bytes, literals: bytes, target: bytes | None, settings: Settings) -> PlanReport:
    """Find out what `run` would pack, and write nothing; what it would refuse is refused."""
    from vhpack import _engine

    if settings.reproducible:
        _epoch(env.read().source_date_epoch)
    return _engine.plan(
        sources,
        literals,
        target,
        root=_encoded(settings.root),
        exclude=encode_patterns(settings.exclude),
        hidden=settings.hidden,
        symlinks=settings.symlinks,
        on_change=settings.on_change,
        codec=settings.codec,
        level=settings.level,
        align=settings.align or 0,
        shard_size=_shard_size(settings),
        jobs=settings.jobs,
        memory=_memory(settings),
        manifest=settings.manifest,
        force=settings.force,
    )


def encode(sources: Sources) -> bytes:
    """Return sources as the engine takes them: NUL-separated bytes, for a name may hold anything else."""
    many = (sources,) if isinstance(sources, str | bytes | os.PathLike) else sources
    encoded = [os.fsencode(source) for source in many]
    for source in encoded:
        if not source or b"\0" in source:
            raise OptionError(f"{os.fsdecode(source)!r} is no source; name a file, a folder or a pattern")
    return b"\0".join(encoded)


def _memory(settings: Settings) -> int | None:
    if settings.memory is None:
        return None
    memory = sizes.parse(settings.memory)
    if memory > _NUMBERS["memory"][1]:
        raise OptionError(f"memory is {settings.memory!r}; no machine has that much")
    return memory


def _shard_size(settings: Settings) -> int:
    if settings.shard_size is None:
        return 0
    if isinstance(settings.shard_size, bool):
        raise OptionError(f"shard_size is {settings.shard_size!r}; it must be an amount of bytes, like 1GB, and not yes or no")
    size = sizes.parse(settings.shard_size)
    if not 0 < size < 2**63:
        raise OptionError(f"shard_size is {settings.shard_size!r}; it must be an amount of bytes above zero")
    return size


def _encoded(path: StrPath | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def encode_patterns(wanted: Patterns) -> list[bytes]:
    """Return patterns as the engine takes them."""
    # A lone text is one pattern, not a pattern for each of its letters.
    return [os.fsencode(pattern) for pattern in ((wanted,) if isinstance(wanted, str | os.PathLike) else wanted)]


def checked_jobs(jobs: int | None) -> int | None:
    """Return a number of threads, or None for one for each core."""
    least, most = _NUMBERS["jobs"]
    if jobs is not None and not least <= jobs <= most:
        raise OptionError(f"jobs is {jobs}; it must be a number from {least} to {most}")
    return jobs


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text) <= _LAST_EPOCH):
        raise OptionError(f"SOURCE_DATE_EPOCH is {text!r}, which is no number of seconds since 1970; correct or unset it")
    return int(text)
