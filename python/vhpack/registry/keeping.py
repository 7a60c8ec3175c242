"""Contents come before the rows that speak of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vhpack.registry import sharing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vhpack.registry.opening import Registry
    from vhpack.registry.store import Content, Disk


@contextlib.contextmanager
def kept(registry: Registry, contents: Sequence[Content], disk: Disk) -> Iterator[list[Content]]:
    """Have contents in the store and on the disk, and nobody sweep them away while the block writes rows that speak of them.

    The block is given those that other processes have open for writing, which may not be complete.

    Raises:
        ContentError: one cannot be kept.
    """
    with registry.store.held():
        if contents:
            sharing.say_so(registry)
        yield registry.store.keep(contents, disk)
