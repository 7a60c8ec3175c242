"""Packs in several threads, forked children, spawned children and rival processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, python
from tests.engine.refusals import check_failed
from tests.engine.trees import MIB, mixed_tree, noise, prose, snapshot, write_tree
from tests.faults.tracing import strace
from tests.interop.structure import structure_of, unpacked

LIMIT_SECONDS = 60


def pack_in_child(tree: str, target: str) -> None:
    """What a child process of a job does."""
    vhpack.pack(tree, target, jobs=3)


def test_threads_pack_at_once_and_get_the_bytes_that_one_would(tmp_path: Path) -> None:
    trees = [mixed_tree(tmp_path / f"tree-{i}") for i in range(4)]
    for i, tree in enumerate(trees):
        write_tree(tree, {"own.json": prose(100_000 * (i + 1), i), "own.bin": noise(5 * MIB, i)})

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda tree: vhpack.pack(tree, f"{tree}.zip", jobs=2), trees))

    for tree, report in zip(trees, together, strict=True):
        alone = vhpack.pack(tree, f"{tree}-alone.zip", jobs=1)
        assert report.digest == alone.digest
        assert Path(report.target).read_bytes() == Path(alone.target).read_bytes()


def test_other_threads_run_while_one_packs(tmp_path: Path) -> None:
    """The interpreter is free: a thread comes to its turn many times during one call."""
    write_tree(tmp_path / "data", {"a.json": prose(30 * MIB)})
    turns = 0
    done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not done.wait(0.001):
            turns += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        vhpack.pack(tmp_path / "data", tmp_path / "out.zip", codec="deflate", level=9, jobs=1)
    finally:
        done.set()
        counter.join()
    assert turns > 10


def test_threads_that_pack_to_one_target_leave_one_whole_archive(tmp_path: Path) -> None:
    trees = [write_tree(tmp_path / f"{i}", {f"{i}-{j}.json": prose(5_000, j) for j in range(50)}) for i in range(4)]

    def pack(tree: Path) -> bool:
        try:
            vhpack.pack(tree, tmp_path / "out.zip", force=True)
        except vhpack.TargetExistsError:
            # Each may replace what was there when it began, and none what another has just written.
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(pack, trees))

    names = structure_of(tmp_path / "out.zip").names()
    assert names in [[f"{i}-{j}.json" for j in sorted(range(50), key=str)] for i in range(4)]
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3", "out.zip"}


def test_of_rivals_without_force_exactly_one_wins(work: Path) -> None:
    trees = [write_tree(work / f"{i}", {f"{i}.json": prose(500_000, i)}) for i in range(6)]
    rivals = [
        subprocess.Popen(
            [VHPACK, "compress", tree, "-o", "out.zip", "--remove-originals", "-q"], cwd=work, stderr=subprocess.PIPE
        )
        for tree in trees
    ]
    for rival in rivals:
        rival.communicate(timeout=LIMIT_SECONDS)

    codes = [rival.returncode for rival in rivals]
    assert sorted(codes) == [0, 1, 1, 1, 1, 1]
    winner = codes.index(0)
    assert structure_of(work / "out.zip").names() == [f"{winner}.json"]
    for i in range(6):
        assert (work / f"{i}/{i}.json").exists() == (i != winner)
    assert {path.name for path in work.iterdir()} == {"0", "1", "2", "3", "4", "5", "out.zip"}


FORK = """
import os, sys, threading, vhpack
vhpack.pack("data", "before.zip", jobs=4)
if sys.argv[1] == "while another thread packs":
    busy = threading.Thread(target=lambda: [vhpack.pack("data", "busy.zip", force=True, jobs=4) for _ in range(20)])
    busy.start()
child = os.fork()
if child == 0:
    try:
        vhpack.pack("data", "child.zip", jobs=4)
    except BaseException as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
vhpack.pack("data", "after.zip", jobs=4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("moment", ["at rest", "while another thread packs"])
def test_a_forked_child_packs(work: Path, moment: str) -> None:
    mixed_tree(work / "data")

    ended = python(FORK, moment, cwd=work, timeout=LIMIT_SECONDS)

    assert ended.out.strip() == "0", ended
    wanted = (work / "before.zip").read_bytes()
    assert (work / "child.zip").read_bytes() == wanted
    assert (work / "after.zip").read_bytes() == wanted


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_of_multiprocessing_pack(work: Path, method: str) -> None:
    mixed_tree(work / "data")
    vhpack.pack("data", "own.zip")
    context: Any = multiprocessing.get_context(method)
    children = [context.Process(target=pack_in_child, args=("data", f"{i}.zip")) for i in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(LIMIT_SECONDS)

    assert [child.exitcode for child in children] == [0, 0]
    for i in range(2):
        assert (work / f"{i}.zip").read_bytes() == (work / "own.zip").read_bytes()


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_a_system_that_refuses_threads_gets_a_pack_or_an_error(work: Path, first: int) -> None:
    """A container may allow a few threads only; whatever comes of it, it is no crash and nothing is lost."""
    mixed_tree(work / "data")
    before = snapshot(work)
    refuse = strace(["clone", "clone3"], work.parent / "log", inject=f"error=EAGAIN:when={first}+")

    ended = compress("data", "-o", "out.zip", "--jobs", "8", "--remove-originals", cwd=work, before=refuse)

    assert "panicked" not in ended.err, ended.err
    assert "Traceback" not in ended.err, ended.err
    if ended.code == 0:
        assert len(structure_of(work / "out.zip").members) == len(mixed_names())
    else:
        check_failed(ended)
        assert snapshot(work) == before


def mixed_names() -> list[str]:
    """Files and empty folders of the everyday tree."""
    return [
        "labels/train.json",
        "labels/val.json",
        "images/0001.png",
        "images/0002.png",
        "images/empty/",
        "empty.txt",
        "short.txt",
        ".hidden",
        "noise.bin",
        "weights/large.json",
    ]


def test_progress_may_pack_something_else(work: Path) -> None:
    write_tree(work, {"data/a.json": prose(3 * MIB), "other/b.txt": b"b"})
    inner: list[int] = []

    def told(_: vhpack.Progress) -> None:
        inner.append(vhpack.pack("other", "other.zip", force=True).files)

    assert vhpack.pack("data", "out.zip", level=12, progress=told).files == 1
    assert set(inner) == {1}


def test_a_program_that_ends_while_a_daemon_thread_packs_ends_in_peace(work: Path) -> None:
    write_tree(work / "data", {f"{i}.json": prose(400_000, i) for i in range(30)})
    code = (
        "import threading, sys, vhpack\n"
        "begun = threading.Event()\n"
        "def told(progress):\n"
        "    if progress.stage == 'pack': begun.set()\n"
        "options = dict(codec='deflate', level=12, jobs=1, progress=told, remove_originals=True)\n"
        "threading.Thread(target=vhpack.pack, args=('data', 'out.zip'), kwargs=options, daemon=True).start()\n"
        "begun.wait()\n"
        "print('end of the program')\n"
    )
    before = snapshot(work)

    ended = python(code, cwd=work)

    assert ended.code == 0, ended
    assert ended.out == "end of the program\n"
    assert not ended.err, ended.err
    assert snapshot(work) == before


def test_no_descriptor_is_left_open(work: Path) -> None:
    """In a process of its own: here others come and go."""
    mixed_tree(work / "data")
    code = (
        "import os, vhpack\n"
        "vhpack.pack('data', 'first.zip')\n"
        "before = sorted(os.listdir('/proc/self/fd'))\n"
        "for _ in range(5):\n"
        "    vhpack.pack('data', 'out.zip', force=True)\n"
        "    try:\n"
        "        vhpack.pack('data', 'first.zip')\n"
        "    except vhpack.TargetExistsError:\n"
        "        print('refused')\n"
        "assert sorted(os.listdir('/proc/self/fd')) == before\n"
    )

    ended = python(code, cwd=work)

    assert ended.code == 0, ended
    assert ended.out == "refused\n" * 5


def test_a_child_program_does_not_inherit_open_files(work: Path) -> None:
    """A child started while a pack runs would keep the unnamed archive's room taken, and see the job's files."""
    write_tree(work / "data", {"large.json": prose(40 * MIB)})
    code = (
        "import subprocess, sys, vhpack\n"
        "seen = set()\n"
        "def look(progress):\n"
        "    if progress.stage == 'pack':\n"
        "        seen.add(subprocess.run(['ls', '/proc/self/fd'], close_fds=False, capture_output=True).stdout)\n"
        "first = subprocess.run(['ls', '/proc/self/fd'], close_fds=False, capture_output=True).stdout\n"
        "vhpack.pack('data', 'out.zip', codec='deflate', level=9, jobs=1, progress=look)\n"
        "print(len(seen) > 0, seen - {first})\n"
    )
    assert python(code, cwd=work).out.strip() == "True set()"


def test_every_byte_is_right_when_the_system_is_busy(tmp_path: Path) -> None:
    """Sixteen workers on few cores, with buffers for two of them."""
    tree = write_tree(tmp_path / "data", {f"{i:03}": noise(i * 401, i) if i % 3 else prose(i * 997, i) for i in range(300)})

    vhpack.pack(tree, tmp_path / "out.zip", jobs=16, memory="2MiB")

    structure = structure_of(tmp_path / "out.zip")
    assert len(structure.members) == 300
    for member in structure.members:
        assert unpacked(tmp_path / "out.zip", member) == (tree / member.name).read_bytes()
