"""One directory is made of another on all cores, whole, and goes on from where it was cut off."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import python
from tests.engine.trees import write_tree
from vhpack import sources
from vhpack.committed import MANIFEST

FILES = {f"{number // 10}/{number:02}.txt": b"text %d" % number for number in range(40)}
LOUD = {f"{name}.loud": content.upper() for name, content in FILES.items()}


def loud(name: str, content: bytes) -> tuple[str, bytes]:
    return f"{name}.loud", content.upper()


def fails_at(which: str, name: str, content: bytes) -> bytes:
    if name == which:
        raise ValueError("no such thing")
    return content


def ends_at(which: str, name: str, content: bytes) -> bytes:
    if name == which:
        os.kill(os.getpid(), signal.SIGKILL)
    return content


def mapped(target: str | Path = "out") -> dict[str, bytes]:
    return dict(vhpack.read_outputs(target, verify=True))


@pytest.fixture
def texts(work: Path) -> Path:
    write_tree(work / "texts", FILES)
    return work / "texts"


@pytest.mark.parametrize("workers", [1, 2, None])
@pytest.mark.parametrize("kind", ["directory", "zip", "tar", "tar.gz", "tar.zst", "shards"])
def test_every_file_of_any_source_is_read_once_and_written(work: Path, texts: Path, kind: str, workers: int | None) -> None:
    source: str | Path = texts
    if kind == "shards":
        vhpack.pack("texts/**/*.txt", "all.tar", shard_size="60", root="texts")
        source = "all-*.tar"
    elif kind != "directory":
        source = f"all.{kind}"
        vhpack.pack("texts/**/*.txt", source, root="texts")
    summary = vhpack.map_directory(source, "out", loud, workers=workers)
    assert mapped() == LOUD
    assert (summary.target, summary.files, summary.done, summary.skipped, summary.resumed) == (str(work / "out"), 40, 40, 0, 0)
    assert summary.bytes == sum(map(len, LOUD.values()))
    assert not (work / ".out.vhpack-stage").exists()


def test_a_function_may_skip_rename_multiply_and_keep_the_name(texts: Path) -> None:
    def make(name: str, content: bytes) -> bytes | dict[str, bytes] | None:
        number = int(content.split()[1])
        if number % 4 == 0:
            return None
        if number % 4 == 1:
            return {f"{number}/{part}": b"%d" % part for part in range(number % 3)}
        return bytearray(content) if number % 4 == 2 else memoryview(content)  # type: ignore[return-value]

    summary = vhpack.map_directory(texts, "out", make, workers=2)
    expected = {name: content for name, content in FILES.items() if int(content.split()[1]) % 4 > 1}
    expected |= {f"{number}/{part}": b"%d" % part for number in range(1, 40, 4) for part in range(number % 3)}
    assert mapped() == expected
    assert (summary.done, summary.skipped) == (40, 10 + sum(number % 3 == 0 for number in range(1, 40, 4)))


def test_outputs_may_be_the_place(texts: Path) -> None:
    summary = vhpack.map_directory(texts, vhpack.outputs("loud").directory(), loud, workers=1)
    assert summary.target == os.path.join(vhpack.outputs().dir_path, "loud")
    assert mapped(summary.target) == LOUD


def test_a_committed_directory_is_read_by_its_manifest(work: Path, texts: Path) -> None:
    vhpack.map_directory(texts, "first", loud, workers=1)
    (work / "first/stray").write_bytes(b"stray")
    vhpack.map_directory("first", "out", lambda name, content: content, workers=1)
    assert mapped() == LOUD


@pytest.mark.parametrize("workers", [1, 2])
def test_a_committed_directory_is_read_whole_and_of_one_version(work: Path, texts: Path, workers: int) -> None:
    vhpack.map_directory(texts, "first", lambda name, content: content, workers=1)

    def replaced(name: str, content: bytes) -> bytes:
        if name == "2/20.txt" and not os.path.exists("replaced"):
            Path("replaced").touch()
            vhpack.map_directory(texts, "first", lambda name, content: content.upper(), workers=1, progress=False)
        return content

    with pytest.raises(vhpack.SourceChangedError, match=r"first.* (was replaced|changed) while it was read"):
        vhpack.map_directory("first", "out", replaced, workers=workers)
    assert not (work / "out").exists()
    vhpack.map_directory("first", "out", replaced, workers=workers)
    assert set(mapped().values()) == {content.upper() for content in FILES.values()}

    (work / "first/1/13.txt").write_bytes(b"cut")
    with pytest.raises(vhpack.CorruptArchiveError, match=r"1/13\.txt has 3 bytes, and 7 in the manifest"):
        vhpack.map_directory("first", "out", replaced, workers=workers)


def test_a_directory_may_be_made_of_its_own_earlier_version(texts: Path) -> None:
    vhpack.map_directory(texts, "out", lambda name, content: content, workers=1)
    vhpack.map_directory("out", "out", loud, workers=2)
    assert mapped() == LOUD


def test_links_to_files_and_folders_are_followed_and_loops_are_not(work: Path, texts: Path) -> None:
    write_tree(work / "elsewhere", {"x/y.txt": b"y"})
    (texts / "linked").symlink_to(work / "elsewhere")
    (texts / "one.txt").symlink_to(work / "elsewhere/x/y.txt")
    (texts / "0/up").symlink_to(texts)
    vhpack.map_directory(texts, "out", lambda name, content: content, workers=1)
    assert mapped() == {**FILES, "linked/x/y.txt": b"y", "one.txt": b"y"}


def test_stages_and_manifests_of_directories_in_the_source_are_no_files(work: Path, texts: Path) -> None:
    with vhpack.OutputDir(texts / "inner") as out:
        out.write_bytes("i.txt", b"i")
    with pytest.raises(ZeroDivisionError), vhpack.OutputDir(texts / "half", resume=True) as out:
        out.write_bytes("h.txt", b"h")
        raise ZeroDivisionError
    vhpack.map_directory(texts, "out", lambda name, content: content, workers=1)
    assert mapped() == {**FILES, "inner/i.txt": b"i"}


# --- what goes wrong ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_that_raises_names_the_file_and_what_it_raised(work: Path, texts: Path, workers: int) -> None:
    with pytest.raises(vhpack.FunctionError, match=r"texts/1/13\.txt: ValueError: no such thing") as caught:
        vhpack.map_directory(texts, "out", partial(fails_at, "1/13.txt"), workers=workers)
    assert caught.value.source == str(texts / "1/13.txt")
    assert isinstance(caught.value.__cause__, ValueError)
    assert not (work / "out").exists()
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_be_sent_is_told_all_the_same(texts: Path) -> None:
    class OddError(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one)

    def odd(name: str, content: bytes) -> bytes:
        raise OddError("a", "b")

    with pytest.raises(vhpack.FunctionError, match="OddError: a"):
        vhpack.map_directory(texts, "out", odd, workers=2)


def test_a_process_that_is_killed_names_its_file(work: Path, texts: Path) -> None:
    with pytest.raises(vhpack.FunctionError, match=r"texts/2/25\.txt: .*signal 9.*fewer workers"):
        vhpack.map_directory(texts, "out", partial(ends_at, "2/25.txt"), workers=2)
    assert multiprocessing.active_children() == []
    assert vhpack.map_directory(texts, "out", partial(ends_at, ""), workers=2).resumed == 0  # it is another function
    assert mapped() == FILES


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["dangling", "fifo", "damaged", "closed"])
def test_a_source_that_cannot_be_read_names_the_file(work: Path, texts: Path, kind: str, workers: int) -> None:
    source = texts
    if kind == "dangling":
        (texts / "odd").symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(texts / "odd")
    elif kind == "damaged":
        source = work / "odd.zip"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("0.txt", b"good")
            archive.writestr("odd.txt", b"0123456789")
        source.write_bytes(source.read_bytes().replace(b"0123456789", b"0123456780"))
    else:
        (texts / "odd").symlink_to("/proc/self/mem")
    with pytest.raises(vhpack.PackError, match="odd"):
        vhpack.map_directory(source, "out", loud, workers=workers)
    assert not (work / "out").exists()


def test_a_file_that_changed_since_it_was_found_is_told(texts: Path) -> None:
    def alter(name: str, content: bytes) -> bytes:
        (texts / "0/03.txt").write_bytes(b"longer than before")
        return content

    ahead = sources.Directory(str(texts))
    found = list(ahead.files())
    alter("", b"")
    with pytest.raises(vhpack.SourceChangedError, match=r"0/03\.txt"):
        [ahead.read(each) for each in found]


@pytest.mark.parametrize("workers", [1, 2])
def test_two_sources_of_one_name_are_both_named(work: Path, texts: Path, workers: int) -> None:
    with pytest.raises(vhpack.MemberCollisionError, match=r"'\d' .*\d/\d\d\.txt.*\d/\d\d\.txt"):
        vhpack.map_directory(texts, "out", lambda name, content: (name[0], content), workers=workers)
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    "made", ["text", 7, ("a", "b"), ("a", b"b", b"c"), [("a", b"b")], {"a": 1}, ("../a", b""), ("/a", b""), (MANIFEST, b"")]
)
def test_what_is_no_file_to_make_is_refused_with_the_source(texts: Path, made: object) -> None:
    with pytest.raises(vhpack.OptionError, match=r"texts/0/00\.txt"):
        vhpack.map_directory(texts, "out", lambda name, content: made, workers=1)  # type: ignore[arg-type,return-value]


def test_nonsense_is_refused_before_anything_is_done(work: Path, texts: Path) -> None:
    for workers in (0, -1, 1.5, True, "2", 100_000):
        with pytest.raises(vhpack.OptionError, match="workers"):
            vhpack.map_directory(texts, "out", loud, workers=workers)  # type: ignore[arg-type]
    with pytest.raises(vhpack.OptionError, match="fn"):
        vhpack.map_directory(texts, "out", None)  # type: ignore[arg-type]
    for inside in ("texts/out", "texts/0/out"):
        with pytest.raises(vhpack.OptionError, match="beside"):
            vhpack.map_directory(texts, inside, loud)
    for missing in ("nowhere", "none-*.tar"):
        with pytest.raises(vhpack.PackError, match=missing.replace("*", r"\*")):
            vhpack.map_directory(missing, "out", loud)
    assert sorted(path.name for path in work.iterdir()) == ["texts"]


def test_names_in_an_archive_that_lead_out_are_refused(work: Path) -> None:
    with zipfile.ZipFile(work / "evil.zip", "w") as archive:
        archive.writestr("../evil.txt", b"evil")
    with pytest.raises(vhpack.PackError, match="evil"):
        vhpack.map_directory("evil.zip", "out", lambda name, content: content, workers=1)
    assert sorted(path.name for path in work.iterdir()) == ["evil.zip"]


# --- going on -------------------------------------------------------------------------------------------------------------------

COUNTING = """
import os, sys, vhpack

def count(name, content):
    with open("calls", "a") as calls:
        calls.write(name + "\\n")
    if "--die" in sys.argv and name == "700.txt":
        os.kill(os.getppid() if {workers} > 1 else os.getpid(), 9)
        while {workers} > 1:
            pass
    return content

if __name__ == "__main__":
    summary = vhpack.map_directory("texts", "out", count, workers={workers}, ordered=True)
    print(summary.done, summary.resumed)
"""


def test_after_700_of_1000_files_a_second_run_calls_the_function_300_times(work: Path) -> None:
    write_tree(work / "texts", {f"{number:03}.txt": b"%d" % number for number in range(1000)})
    program = COUNTING.format(workers=1)
    killed = python(program, "--die", cwd=work)
    assert killed.code == -signal.SIGKILL
    assert len((work / "calls").read_text().split()) == 701
    (work / "calls").unlink()
    again = python(program, cwd=work)
    assert (again.code, again.out.split(), again.err) == (0, ["300", "700"], "")
    assert (work / "calls").read_text().split() == [f"{number:03}.txt" for number in range(700, 1000)]
    assert mapped(work / "out") == {f"{number:03}.txt": b"%d" % number for number in range(1000)}


def test_ordered_a_failure_leaves_exactly_what_was_before_it(texts: Path) -> None:
    (texts / "trouble").write_bytes(b"on")

    def fail(name: str, content: bytes) -> bytes:
        if name == "2/20.txt" and (texts / "trouble").exists():
            raise ValueError
        return content

    with pytest.raises(vhpack.FunctionError, match="2/20"):
        vhpack.map_directory(texts, "out", fail, workers=2, ordered=True)
    (texts / "trouble").unlink()
    summary = vhpack.map_directory(texts, "out", fail, workers=2, ordered=True)
    assert (summary.resumed, summary.done) == (20, 20)
    assert mapped() == FILES


def in_trouble(name: str, content: bytes) -> bytes | None:
    if name == "3/39.txt" and not os.path.exists("fine"):
        raise ValueError
    return None if name == "0/00.txt" else content


def interrupt(work: Path, texts: Path) -> None:
    """Have all files done but the last, and the next call succeed."""
    with pytest.raises(vhpack.FunctionError):
        vhpack.map_directory(texts, "out", in_trouble, workers=1)
    (work / "fine").touch()


def test_what_changed_vanished_or_came_meanwhile_is_seen(work: Path, texts: Path) -> None:
    interrupt(work, texts)
    (texts / "0/01.txt").write_bytes(b"changed")
    (texts / "0/02.txt").unlink()
    (texts / "0/03a.txt").write_bytes(b"new")
    summary = vhpack.map_directory(texts, "out", in_trouble, workers=1)
    expected = {**FILES, "0/01.txt": b"changed", "0/03a.txt": b"new"}
    del expected["0/02.txt"], expected["0/00.txt"]
    assert mapped() == expected
    assert (summary.done, summary.resumed, summary.skipped) == (3, 37, 1)


def test_another_function_or_no_resume_begins_anew(work: Path, texts: Path) -> None:
    interrupt(work, texts)
    assert vhpack.map_directory(texts, "out", loud, workers=1).resumed == 0
    (work / "fine").unlink()
    interrupt(work, texts)
    assert vhpack.map_directory(texts, "out", in_trouble, workers=1, resume=False).resumed == 0


def test_a_closure_over_another_value_is_another_function() -> None:
    from vhpack.functions import known

    def times(factor: int) -> Callable[[str, bytes], bytes]:
        return lambda name, content: content * factor

    assert known(times(2)) == known(times(2)) != known(times(3))
    assert known(partial(fails_at, "a")) == known(partial(fails_at, "a")) != known(partial(fails_at, "b"))
    assert known(lambda name, content: content in {b"a", b"b", b"c"}) != known(lambda name, content: content in {b"a", b"b"})


def test_what_a_function_is_known_by_is_the_same_in_every_process(work: Path) -> None:
    program = "from vhpack.functions import known\ndef f(name, content): return name in {'a', 'b', 'c', 'd'}\nprint(known(f))"
    assert len({python(program, cwd=work).out for _ in range(4)}) == 1


# --- processes --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spawn() -> Iterator[None]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def test_spawned_processes_do_the_same_and_say_what_they_cannot(texts: Path, spawn: None) -> None:
    vhpack.map_directory(texts, "out", loud, workers=2)
    assert mapped() == LOUD
    with pytest.raises(vhpack.OptionError, match="workers=1"):
        vhpack.map_directory(texts, "other", lambda name, content: content, workers=2)


PROGRAM = """
import os, sys, time, vhpack

def slow(name, content):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(float(sys.argv[1]))

if __name__ == "__main__":
    vhpack.map_directory("texts", "out", slow, workers=2)
"""


def begun(work: Path, seconds: float) -> tuple[subprocess.Popen[str], set[int]]:
    """A program whose workers sleep so long over each file, and their ids."""
    command = [sys.executable, "-c", PROGRAM, str(seconds)]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, {int(process.stdout.readline()) for _ in range(2)}


def test_an_interrupt_waits_for_no_worker(work: Path, texts: Path) -> None:
    process, workers = begun(work, 300)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not any(map(runs, workers))
    assert not (work / "out").exists()


def test_workers_end_when_the_one_that_they_work_for_was_killed(work: Path, texts: Path) -> None:
    process, workers = begun(work, 0.1)
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while any(map(runs, workers)):
        assert time.monotonic() < until, "a worker goes on for nobody"
        time.sleep(0.01)


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
