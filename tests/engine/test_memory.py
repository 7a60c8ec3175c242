"""Memory stays within its bound at any size and any number of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.engine.command import python
from tests.engine.trees import MIB, noise, prose, sparse

MEMORY = 64 * MIB
BYTES_PER_FILE = 200
SLACK = 24 * MIB
"""For what is not the engine's: Python's own objects, thread stacks, the allocator's holes."""

MEASURE = f"""
import json, sys, vhpack
def high_water(name):
    with open("/proc/self/status") as status:
        return int(status.read().split(name)[1].split()[0]) * 1024
from vhpack import _engine
before = high_water("VmHWM:")
how = dict(jobs=int(sys.argv[1]), codec=sys.argv[2], level=int(sys.argv[4]) if sys.argv[4] else None)
report = vhpack.pack("data", sys.argv[3], memory={MEMORY}, force=True, **how)
print(report.files, high_water("VmHWM:") - before)
"""


def check_bound(work: Path, files: int, *, jobs: int, codec: str, target: str = "out.zip", level: str = "") -> None:
    ended = python(MEASURE, str(jobs), codec, target, level, cwd=work, timeout=300)
    assert ended.code == 0, ended
    packed, grown = map(int, ended.out.split())
    assert packed == files
    bound = MEMORY + BYTES_PER_FILE * files + SLACK
    assert grown <= bound, f"{grown / MIB:.0f} MiB, allowed are {bound / MIB:.0f}"


@pytest.mark.parametrize(("codec", "jobs"), [("store", 2), ("deflate", 2), ("auto", 16)])
def test_one_large_file_stays_within_the_bound(work: Path, codec: str, jobs: int) -> None:
    """Zeros, but for noise in the middle: both kinds of block, and no room taken on the disk."""
    size = 6 << 30 if SOAK else 1536 * MIB
    sparse(work / "data/large.bin", size, {size // 2: noise(8 * MIB)})
    check_bound(work, 1, jobs=jobs, codec=codec)


def test_one_large_file_of_noise_stays_within_the_bound(work: Path) -> None:
    block = noise(64 * MIB)
    (work / "data").mkdir()
    with (work / "data/noise.bin").open("wb") as file:
        for _ in range(24 if SOAK else 12):
            file.write(block)
    check_bound(work, 1, jobs=2, codec="auto")


def test_many_tiny_files_stay_within_the_bound(work: Path) -> None:
    count = 300_000 if SOAK else 100_000
    for folder in range(count // 5_000):
        (work / f"data/{folder:03}").mkdir(parents=True)
        for number in range(5_000):
            (work / f"data/{folder:03}/image-{number:06}.png").touch()
    for jobs in (2, 16):
        check_bound(work, count, jobs=jobs, codec="auto")


def test_files_just_below_the_block_size_stay_within_the_bound(work: Path) -> None:
    """The largest that are packed whole, on more workers than the budget can feed."""
    block = noise(4 * MIB)
    (work / "data").mkdir()
    for number in range(60):
        (work / f"data/{number}").write_bytes(block)
    check_bound(work, 60, jobs=16, codec="deflate")


@pytest.mark.parametrize("level", ["1", "", "12"])
@pytest.mark.parametrize(("target", "codec"), [("out.tar.gz", "auto"), ("out.tar.zst", "auto"), ("out.zip", "zstd")])
def test_other_codecs_stay_within_the_bound(work: Path, target: str, codec: str, level: str) -> None:
    """Files of each size that has buffers of its own, on more workers than the budget can feed."""
    block = noise(2 * MIB) + prose(2 * MIB)
    (work / "data").mkdir()
    for number in range(12):
        (work / f"data/{number}").write_bytes(block)
        (work / f"data/small-{number}").write_bytes(block[MIB : 3 * MIB])
    (work / "data/large").write_bytes(block * 12 + b"end")
    check_bound(work, 25, jobs=16, codec=codec, target=target, level=level)


CUT_OFF = """
import vhpack
def stop(progress):
    if progress.removed:
        raise KeyboardInterrupt
try:
    vhpack.pack("data", "out.zip", remove_originals=True, jobs=1, progress=stop)
except KeyboardInterrupt:
    print("cut off")
"""

FINISH = """
import vhpack
from vhpack import _engine
def high_water():
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) * 1024
before = high_water()
report = vhpack.pack("data", "out.zip", remove_originals=True)
print(report.resumed, report.files, high_water() - before)
"""


def test_finishing_a_removal_stays_within_the_bound(work: Path) -> None:
    count = 300_000 if SOAK else 100_000
    for folder in range(count // 5_000):
        (work / f"data/{folder:03}").mkdir(parents=True)
        for number in range(5_000):
            (work / f"data/{folder:03}/image-{number:06}.png").touch()
    assert "cut off" in python(CUT_OFF, cwd=work, timeout=300).out
    assert (work / ".out.zip.vhpack-removing").exists()

    ended = python(FINISH, cwd=work, timeout=300)

    assert ended.code == 0, ended
    resumed, files, grown = ended.out.split()
    assert (resumed, int(files)) == ("True", count)
    # Nothing is packed, so this is all for what is known of the files.
    assert int(grown) <= 240 * count + SLACK, f"{int(grown) / count:.0f} bytes a file"
