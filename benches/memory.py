"""Make the machine's free memory cost the same in every run.

A guest whose balloon reports free pages to its host loses them within seconds, and the first touch of such a page costs more than
the copy into it: the same pack took 0.7 s and 3.9 s here, both with nothing else running. A scratch file of the output's size
warms only as much as it takes, and the host comes back for it during the run; this touches several times as much.
"""

from __future__ import annotations

import mmap
from pathlib import Path

GIB = 1 << 30
HUGE = 2 << 20
LEAVE = 600 << 20
"""Left alone, so that the kernel does not start to reclaim the cached corpora."""
HOST_TAKES = 2
"""The host takes back a sixteenth of the free memory every two seconds, so a run needs more than
its output to be there. Twice as much: four times cost a whole run half an hour."""


def touch_free_memory(output: int) -> None:
    """Touch free memory for a run that writes about `output` bytes."""
    size = min(output * HOST_TAKES, free_bytes() - LEAVE) // HUGE * HUGE
    if size > 0:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.madvise(mmap.MADV_HUGEPAGE)
            for offset in range(0, size, HUGE):
                memory[offset] = 1


def free_bytes() -> int:
    return meminfo("MemFree")


def available_bytes() -> int:
    return meminfo("MemAvailable")


def total_bytes() -> int:
    return meminfo("MemTotal")


def meminfo(field: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value = line.split(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/meminfo has no line {field}")
