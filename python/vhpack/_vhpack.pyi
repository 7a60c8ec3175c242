from collections.abc import Callable, Sequence
from typing import Literal, final

__all__ = ["PackReport", "PlanReport", "Progress", "__version__", "pack", "plan", "versions"]

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
    codec: Literal["auto", "store", "deflate", "zstd"] = "auto",
    level: int | None = None,
    align: int = 0,
    shard_size: int = 0,
    manifest: bool = False,
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
    shard_size: int = 0,
    jobs: int | None = None,
    force: bool = False,
) -> PlanReport: ...

@final
class Progress:
    @property
    def stage(self) -> Literal["scan", "pack", "commit", "remove"]: ...
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
    def targets(self) -> list[str]: ...
    @property
    def manifests(self) -> list[str]: ...
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
    def zstd(self) -> int: ...
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
    @property
    def digests(self) -> list[str]: ...

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
