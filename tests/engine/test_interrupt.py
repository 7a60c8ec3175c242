"""Ctrl-C and its relatives end a pack at once and leave the folder as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, compress
from tests.engine.trees import MIB, contents, noise, prose, sparse, write_tree
from tests.faults.tracing import paused, refusal_of_unnamed_files, strace
from tests.interop.structure import structure_of, unpacked

LIMIT_SECONDS = 60
PROMPT_SECONDS = 2.0
"""Ten times what is promised, for machines under load."""

PACK = """
import sys, time, vhpack
def told(progress):
    if progress.stage == "pack":
        print("packing", flush=True)
options = OPTIONS
try:
    vhpack.pack("data", options.pop("target", "out.zip"), remove_originals=True, progress=told, **options)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    for _ in range(200):  # a thread that has done its work may still be leaving
        with open("/proc/self/status") as status:
            threads = status.read().split("Threads:")[1].split()[0]
        if threads == "1":
            break
        time.sleep(0.01)
    print(threads, flush=True)
    sys.exit(77)
"""


def many_small_files(work: Path) -> dict[str, object]:
    """Work for many seconds, and little of it on the disk: files under many names, at the slowest level."""
    write_tree(work / "data", {f"{i}.json": prose(400_000, i) for i in range(7)})
    for i in range(2_000):
        os.link(work / f"data/{i % 7}.json", work / f"data/{i % 7}-{i:04}.json")
    return {"codec": "deflate", "level": 12}


def one_large_file(work: Path) -> dict[str, object]:
    sparse(work / "data/large.bin", 64 << 30, {0: noise(MIB), 32 << 30: noise(MIB)})
    return {"codec": "deflate", "level": 1}


def stored_large_file(work: Path) -> dict[str, object]:
    """Written to nowhere near its end: the interrupt comes first."""
    sparse(work / "data/large.bin", 64 << 30, {0: noise(MIB)})
    return {"codec": "store"}


def large_file_in_gzip(work: Path) -> dict[str, object]:
    return one_large_file(work) | {"target": "out.tar.gz", "codec": "auto", "level": 9}


def large_file_in_zstd(work: Path) -> dict[str, object]:
    return one_large_file(work) | {"target": "out.tar.zst", "codec": "auto", "level": 12}


def large_member_in_zstd(work: Path) -> dict[str, object]:
    sparse(work / "data/large.bin", 64 << 30, {at: prose(MIB) for at in (0, 16 << 30, 32 << 30, 48 << 30)})
    return {"codec": "zstd", "level": 12}


def small_files_in_zstd(work: Path) -> dict[str, object]:
    return many_small_files(work) | {"target": "out.tar.zst", "codec": "auto", "level": 12}


FILLS = [
    *(many_small_files, one_large_file, stored_large_file),
    *(large_file_in_gzip, large_file_in_zstd, large_member_in_zstd, small_files_in_zstd),
]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_in_python_raises_keyboard_interrupt_and_cleans_up(work: Path, fill: object, jobs: int) -> None:
    assert callable(fill)
    options = {**fill(work), "jobs": jobs}
    before = _names_and_times(work)
    code = PACK.replace("OPTIONS", repr(options))
    with subprocess.Popen([sys.executable, "-c", code], cwd=work, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "packing\n"
        child.send_signal(signal.SIGINT)
        sent = time.monotonic()
        while (line := child.stdout.readline()) == "packing\n":
            pass
        waited = time.monotonic() - sent
        threads = child.stdout.readline()
        code_of_exit = child.wait(LIMIT_SECONDS)

    assert line == "interrupted\n"
    assert threads == "1\n", "a thread outlived the call"
    assert code_of_exit == 77
    assert waited < PROMPT_SECONDS
    assert _names_and_times(work) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str)
def test_a_signal_ends_the_command_with_its_code_and_a_clean_folder(work: Path, number: signal.Signals, code: int) -> None:
    options = many_small_files(work)
    before = _names_and_times(work)
    words = ["--codec", str(options["codec"]), "--level", str(options["level"]), "--remove-originals"]
    with subprocess.Popen(
        [VHPACK, "compress", "data", "-o", "out.zip", *words], cwd=work, stderr=subprocess.PIPE, text=True
    ) as child:
        _wait_until_it_reads(child, work / "data")
        child.send_signal(number)
        sent = time.monotonic()
        assert child.stderr is not None
        words_of_end = child.stderr.read()
        assert child.wait(LIMIT_SECONDS) == code
        waited = time.monotonic() - sent

    assert "Traceback" not in words_of_end
    assert waited < PROMPT_SECONDS
    assert _names_and_times(work) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_an_interrupt_without_unnamed_files_leaves_no_staged_file(work: Path, number: signal.Signals) -> None:
    """Where the file system knows no unnamed files, the archive is staged under a name that has to go as well."""
    many_small_files(work)
    write_tree(work, {"target": None, "one/a.txt": b"a"})
    refusal = refusal_of_unnamed_files(work, "one", "target")
    before = _names_and_times(work)
    command = [VHPACK, "compress", "data", "-o", "target/out.zip", "--codec", "deflate", "--level", "12"]
    words = strace([], work.parent / "log", paths=[work / "target"], also=[refusal])
    with subprocess.Popen([*words, *command], cwd=work, stderr=subprocess.DEVNULL) as tracer:
        staged = _wait_for_a_name(tracer, work / "target")
        child = _only_child(tracer.pid)
        os.kill(child, number)
        tracer.wait(LIMIT_SECONDS)

    assert staged.startswith("."), "a half-written archive is hidden from patterns"
    assert _names_and_times(work) == before


@pytest.mark.parametrize("calls", [("fsync", "fdatasync"), ("linkat",), ("unlink", "unlinkat")], ids=str)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_an_interrupt_at_the_end_loses_nothing(work: Path, calls: tuple[str, ...], number: signal.Signals) -> None:
    """While the archive is brought to the disk, gets its name, or the originals go."""
    files = {f"{i:04}.json": prose(300, i) for i in range(200)}
    write_tree(work / "data", files)
    command = [VHPACK, "compress", "data", "-o", "out.zip", "--remove-originals", "--jobs", "1"]

    with paused(command, work, calls=calls) as pause:
        os.kill(pause.process, number)

    assert "Traceback" not in pause.ended.err
    left = contents(work / "data")
    if (work / "out.zip").exists():
        held = {member.name: unpacked(work / "out.zip", member) for member in structure_of(work / "out.zip").members}
        assert held == files
    else:
        assert left == files
    again = compress("data", "-o", "out.zip", "--remove-originals", "--force", cwd=work)
    assert "Traceback" not in again.err
    held = {member.name: unpacked(work / "out.zip", member) for member in structure_of(work / "out.zip").members}
    assert held == files, "the same call again has to finish what was begun, and to lose nothing"
    assert {path.name for path in work.iterdir()} == {"data", "out.zip"}


def test_nothing_happens_to_a_later_pack_after_an_interrupt(work: Path) -> None:
    write_tree(work / "small", {"a.txt": b"a"})
    options = many_small_files(work)
    code = PACK.replace("OPTIONS", repr(options)).replace(
        "    sys.exit(77)", "    print(vhpack.pack('small', 'small.zip').files, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=work, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "packing\n"
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read().splitlines()
        assert child.wait(LIMIT_SECONDS) == 0

    assert rest[-3:] == ["interrupted", "1", "1"], "interrupted, one thread left, one file packed"
    assert not (work / "out.zip").exists()


def _names_and_times(folder: Path) -> dict[str, tuple[int, int, int]]:
    """A snapshot that does not read 64 GiB of nothing."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size, 0 if path.is_dir() else path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def _wait_until_it_reads(child: subprocess.Popen[str], folder: Path) -> None:
    """Wait until one of the child's open files is below `folder`: it is packing."""
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        assert child.poll() is None, "it ended before it could be interrupted"
        if any(_leads_below(link, folder) for link in Path(f"/proc/{child.pid}/fd").iterdir()):
            return
    raise AssertionError("it never read a file")


def _leads_below(link: Path, folder: Path) -> bool:
    try:
        return os.readlink(link).startswith(f"{folder}/")
    except OSError:
        return False


def _wait_for_a_name(tracer: subprocess.Popen[bytes], folder: Path) -> str:
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        assert tracer.poll() is None, "it ended before it could be interrupted"
        if names := os.listdir(folder):
            return names[0]
        time.sleep(0.005)
    raise AssertionError("nothing was staged")


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
