"""Two packs to one target at once, one of which removes its originals: every file is on disk, or in an archive that is there.

The first is stopped inside a system call around its commit, the second runs as a whole, the first goes on; and the other way
round: the second is stopped when it has read, the first runs as a whole.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, python
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, prose, write_tree
from tests.faults.tracing import paused
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number:03}.json": prose(300, number) for number in range(150)}
REMOVING = [VHPACK, "compress", "data/*.json", "-o", "out.zip", "--jobs", "1", "--remove-originals", "-q"]

MOMENTS = {
    "before the archive has its name": (["linkat", "renameat", "renameat2"], 1),
    "when the list is on disk": (["pwrite64"], 1),
    "when one original is gone": (["unlink", "unlinkat"], 1),
    "when some originals are gone": (["unlink", "unlinkat"], 70),
}
SECOND = {
    "keeping": {"force": True},
    "leaving out": {"force": True, "on_change": "skip"},
    "removing": {"force": True, "remove_originals": True},
    "removing, leaving out": {"force": True, "remove_originals": True, "on_change": "skip"},
}


def check_all_there(work: Path, moment: str) -> None:
    archive = work / "out.zip"
    held = {member.name: unpacked(archive, member) for member in structure_of(archive).members} if archive.exists() else {}
    assert {**held, **contents(work / "data")} == FILES, moment


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_pack_in_the_middle_of_another_ones_commit_loses_nothing(work: Path, moment: str, second: str) -> None:
    write_tree(work / "data", FILES)
    calls, when = MOMENTS[moment]
    with paused(REMOVING, work, calls=calls, when=when) as pause:
        refused = False
        try:
            vhpack.pack("data/*.json", "out.zip", **SECOND[second])  # type: ignore[arg-type]
        except vhpack.PackError:
            refused = True
        check_all_there(work, f"second pack {moment}")

    check_all_there(work, f"first pack {moment}")
    # Whichever came too late says so.
    assert refused or pause.ended.code == 1


@pytest.mark.parametrize("options", [[], ["--on-change", "skip"], ["--on-change", "skip", "--remove-originals"]], ids=" ".join)
def test_a_pack_that_has_scanned_before_another_removed_loses_nothing(work: Path, options: list[str]) -> None:
    write_tree(work / "data", FILES)
    slow = [VHPACK, "compress", "data/*.json", "-o", "out.zip", "--jobs", "1", "--force", "-q", *options]
    with paused(slow, work, calls=["read"], paths=[work / "data/000.json"]) as pause:
        first = compress("data/*.json", "-o", "out.zip", "--remove-originals", cwd=work)
        assert first.code == 0, first
        check_all_there(work, "while the second waits")

    check_failed(pause.ended)
    check_all_there(work, "after the second")


def test_packs_to_other_targets_do_not_wait_for_each_other(work: Path) -> None:
    write_tree(work, {f"{name}/{number}.json": body for name in ("data", "other") for number, body in enumerate(FILES.values())})
    with paused(REMOVING, work, calls=["unlink", "unlinkat"]):
        assert vhpack.pack("other", "other.zip", remove_originals=True).removed == len(FILES)


def test_a_child_that_was_forked_meanwhile_keeps_no_folder_locked(work: Path) -> None:
    """It inherits every open file, and lives on."""
    write_tree(work / "data", {"a.txt": b"a"})
    code = """
import os, threading, time, vhpack
stop = threading.Event()
def fork_on_and_on():
    while not stop.is_set():
        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
        time.sleep(0.002)
forker = threading.Thread(target=fork_on_and_on)
forker.start()
for number in range(20):
    vhpack.pack("data", f"{number}.zip")
stop.set()
forker.join()
start = time.monotonic()
vhpack.pack("data", "last.zip")
print(time.monotonic() - start < 4)
"""
    ended = python(code, cwd=work)

    assert ended.out == "True\n", ended


def test_a_folder_that_another_keeps_locked_is_waited_for_and_the_wait_obeys_an_interrupt(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a"})
    folder = os.open(work, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with subprocess.Popen([VHPACK, "compress", "data", "-o", "out.zip"], cwd=work, stderr=subprocess.PIPE) as child:
        time.sleep(1)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert child.wait(60) == 130
        assert time.monotonic() - sent < 2
    os.close(folder)
