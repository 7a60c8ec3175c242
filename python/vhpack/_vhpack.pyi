from collections.abc import Callable, Sequence
from typing import Literal, final

__all__ = [
    "CheckReport",
    "HashReport",
    "PackReport",
    "PlanReport",
    "Progress",
    "__version__",
    "hash_check",
    "hash_paths",
    "pack",
    "plan",
    "versions",
]

__version__: str

def versions() -> dict[str, str]: ...
def pack(
    sources: bytes,
    literals: bytes,
    target: bytes | None,
    *,
    base: bytes | None = None,
    layout: Literal["tree", "outputs"] = "tree",
    root: bytes | None = None,
    exclude: Sequence[bytes] = ...,
    hidden: bool = False,
    symlinks: Literal["skip", "follow", "store"] = "follow",
    on_change: Literal["error", "skip"] = "error",
    codec: Literal["auto", "store", "deflate"] = "auto",
    level: int | None = None,
    jobs: int | None = None,
    memory: int | None = None,
    reproducible: bool = False,
    epoch: int | None = None,
    remove_originals: bool = False,
    force: bool = False,
    durable: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> PackReport: ...
def plan(
    sources: bytes,
    literals: bytes,
    target: bytes | None,
    *,
    base: bytes | None = None,
    layout: Literal["tree", "outputs"] = "tree",
    root: bytes | None = None,
    exclude: Sequence[bytes] = ...,
    hidden: bool = False,
    symlinks: Literal["skip", "follow", "store"] = "follow",
    on_change: Literal["error", "skip"] = "error",
    jobs: int | None = None,
    force: bool = False,
) -> PlanReport: ...
def hash_paths(
    sources: bytes,
    literals: bytes,
    *,
    algorithm: str,
    exclude: Sequence[bytes] = ...,
    hidden: bool = False,
    stdin: bool = False,
    jobs: int | None = None,
    write: Callable[[bytes], object] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> HashReport: ...
def hash_check(
    lines: bytes,
    *,
    algorithm: str | None = None,
    quiet: bool = False,
    jobs: int | None = None,
    write: Callable[[bytes], object] | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> CheckReport: ...

@final
class Progress:
    @property
    def stage(self) -> Literal["scan", "pack", "commit", "remove", "hash"]: ...
    @property
    def files(self) -> int: ...
    @property
    def total_files(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def removed(self) -> int: ...

@final
class PackReport:
    @property
    def target(self) -> str: ...
    @property
    def files(self) -> int: ...
    @property
    def directories(self) -> int: ...
    @property
    def links(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def stored(self) -> int: ...
    @property
    def deflated(self) -> int: ...
    @property
    def removed(self) -> int: ...
    @property
    def kept(self) -> list[tuple[str, str]]: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def digest(self) -> str: ...

@final
class PlanReport:
    @property
    def target(self) -> str: ...
    @property
    def members(self) -> list[str]: ...
    @property
    def files(self) -> int: ...
    @property
    def directories(self) -> int: ...
    @property
    def links(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class HashReport:
    @property
    def files(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def digests(self) -> list[tuple[str, str]]: ...
    @property
    def failed(self) -> list[tuple[str, str]]: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class CheckReport:
    @property
    def same(self) -> int: ...
    @property
    def differing(self) -> int: ...
    @property
    def unreadable(self) -> int: ...
    @property
    def malformed(self) -> list[int]: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def failed(self) -> list[tuple[str, str]]: ...
