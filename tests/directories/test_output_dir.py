"""A directory of outputs appears whole or not at all, and nothing that others put there is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import ordinary_user, python
from tests.engine.trees import contents, snapshot
from vhpack import committed, staging, trees

MANIFEST = committed.MANIFEST


def commit(target: Path, files: dict[str, bytes]) -> None:
    with vhpack.OutputDir(target) as out:
        for name, content in files.items():
            out.write_bytes(name, content)


def files_in(target: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(target).items() if name != MANIFEST}


def left_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_nothing_is_seen_before_the_block_ends_and_all_after(work: Path) -> None:
    target = work / "curves"
    with vhpack.OutputDir(target) as out:
        out.write_bytes("a/1.txt", b"one")
        with out.open("b.txt", "w") as file:
            file.write("zwei — ü")
        Path(out.path("c/d/3.bin")).write_bytes(b"three")
        assert not target.exists()
        assert out.target == str(target)
    assert files_in(target) == {"a/1.txt": b"one", "b.txt": "zwei — ü".encode(), "c/d/3.bin": b"three"}
    assert dict(vhpack.read_outputs(target, verify=True)) == files_in(target)
    assert left_beside(target) == []


def test_outputs_hand_out_their_folder(work: Path) -> None:
    with vhpack.outputs("curves").directory() as out:
        out.write_bytes("a.txt", b"one")
    assert Path(vhpack.outputs("curves").path("a.txt")).read_bytes() == b"one"
    assert out.files() == [vhpack.outputs("curves").path("a.txt")]
    with pytest.raises(vhpack.OptionError, match="outputs\\(name\\)"):
        vhpack.outputs().directory()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(0)], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_exception_leaves_the_directory_as_it_was(work: Path, error: BaseException, resume: bool, earlier: bool) -> None:
    target = work / "curves"
    if earlier:
        commit(target, {"a.txt": b"old", "b/c.txt": b"old"})
    before = snapshot(work)
    with pytest.raises(type(error)), vhpack.OutputDir(target, resume=resume) as out:
        out.write_bytes("a.txt", b"new")
        out.path("half.txt")
        raise error
    kept = {name: seen for name, seen in snapshot(work).items() if not name.startswith(".curves.vhpack-stage")}
    assert kept == before
    assert left_beside(target) == ([".curves.vhpack-stage"] if resume else [])


def test_no_file_of_an_earlier_larger_run_is_seen(work: Path) -> None:
    target = work / "curves"
    commit(target, {f"{number}.txt": b"old" for number in range(5)} | {"deep/er/6.txt": b"old"})
    commit(target, {"1.txt": b"new"})
    assert files_in(target) == {"1.txt": b"new"}
    assert sorted(os.listdir(target)) == [MANIFEST, "1.txt"]
    assert left_beside(target) == []


def test_an_empty_block_commits_an_empty_directory(work: Path) -> None:
    commit(work / "curves", {"a.txt": b"old"})
    commit(work / "curves", {})
    assert list(vhpack.read_outputs(work / "curves", verify=True)) == []


def test_more_files_than_are_synced_one_by_one(work: Path) -> None:
    files = {f"{number // 50}/{number:03}": b"%d" % number for number in range(200)}
    commit(work / "curves", files)
    assert dict(vhpack.read_outputs(work / "curves", verify=True)) == files


@pytest.mark.parametrize("others", [0, 40])
def test_the_manifest_has_what_the_files_are_when_they_are_committed(work: Path, others: int) -> None:
    """Most are hashed as they are written; what is written in another way, or touched since, is read again."""
    with vhpack.OutputDir(work / "curves") as out:
        for number in range(others):
            out.write_bytes(f"more/{number}*[?]", b"%d" % number)
        for name in ("longer", "later", "tick", "odd\udcff", "a*.txt"):
            out.write_bytes(name, b"one")
        Path(out.path("longer")).write_bytes(b"three")
        later = Path(out.path("later"))
        later.write_bytes(b"two")
        os.utime(later, (10**9, 10**9))
        before = os.stat(tick := out.path("tick")).st_mtime_ns
        Path(tick).write_bytes(b"two")
        os.utime(tick, ns=(before, before))  # as in one tick of a clock that counts in milliseconds
        out.write_bytes("view", memoryview(b"view"))
        out.write_bytes("large", b"l" * (1 << 20) + b"l")
        Path(out.path(".hidden.metadata.json")).write_bytes(b"{}")
        Path(out.path("a[b].txt")).write_bytes(b"four")
    read = dict(vhpack.read_outputs(work / "curves", verify=True))
    assert len(read) == others + 9
    assert (read["longer"], read["later"], read["tick"], read["a[b].txt"]) == (b"three", b"two", b"two", b"four")


def test_the_manifest_holds_wherever_the_tree_is_moved(work: Path) -> None:
    commit(work / "curves", {"a.txt": b"one", "b/c.txt": b"two"})
    (work / "elsewhere").mkdir()
    moved = (work / "curves").rename(work / "elsewhere/moved")
    assert str(work) not in (moved / MANIFEST).read_text()
    assert dict(vhpack.read_outputs(moved, verify=True)) == {"a.txt": b"one", "b/c.txt": b"two"}


def test_equal_files_have_equal_manifests(work: Path) -> None:
    commit(work / "one", {"a.txt": b"1", "b.txt": b"2"})
    commit(work / "two", {"b.txt": b"2", "a.txt": b"1"})
    assert (work / "one" / MANIFEST).read_bytes() == (work / "two" / MANIFEST).read_bytes()


# --- resume ---------------------------------------------------------------------------------------------------------------------

CUT_OFF = """
import os, sys, vhpack
with vhpack.OutputDir("curves", resume=True) as out:
    for number in range(10):
        if out.is_done(str(number)):
            continue
        print(number, flush=True)
        if number == 7 and "--die" in sys.argv:
            with out.open("7.txt") as file:
                file.write(b"half")
                file.flush()
                os.kill(os.getpid(), 9)
        with out.open(f"{number}.txt") as file:
            file.write(b"%d" % number)
        out.done(f"{number}.txt", id=str(number))
"""


def test_what_was_finished_before_a_kill_is_not_made_again(work: Path) -> None:
    commit(work / "curves", {"old.txt": b"old"})
    killed = python(CUT_OFF, "--die", cwd=work)
    assert (killed.code, killed.out.split()) == (-signal.SIGKILL, list("01234567"))
    assert files_in(work / "curves") == {"old.txt": b"old"}

    again = python(CUT_OFF, cwd=work)

    assert (again.code, again.out.split(), again.err) == (0, list("789"), "")
    assert files_in(work / "curves") == {f"{number}.txt": b"%d" % number for number in range(10)}
    assert left_beside(work / "curves") == []


def interrupted(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), vhpack.OutputDir(target, resume=True) as out:
        out.write_bytes("a.txt", b"one", id="A", source="a.src")
        out.write_bytes("b.txt", b"two", id="B")
        out.path("c.txt")
        raise ZeroDivisionError


def test_without_resume_everything_is_made_anew(work: Path) -> None:
    interrupted(work / "curves")
    with vhpack.OutputDir(work / "curves") as out:
        assert not out.is_done("A")
        out.write_bytes("z.txt", b"new")
    assert files_in(work / "curves") == {"z.txt": b"new"}


@pytest.mark.parametrize("asks", ["is_done", "path", "open", "files"])
def test_what_an_earlier_run_had_finished_stays_when_it_is_asked_for(work: Path, asks: str) -> None:
    interrupted(work / "curves")
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert out.is_done("A")
        if asks == "open":
            out.open("b.txt", "rb").close()
        else:
            {"is_done": lambda: out.is_done("B"), "path": lambda: out.path("b.txt"), "files": out.files}[asks]()
    assert files_in(work / "curves") == {"a.txt": b"one", "b.txt": b"two"}


def test_what_an_earlier_larger_run_had_finished_is_not_seen(work: Path) -> None:
    """It was cut off, and the one that goes on has less to do."""
    interrupted(work / "curves")

    def go_on() -> None:
        with vhpack.OutputDir(work / "curves", resume=True) as out:
            assert out.is_done("A")

    with pytest.warns(vhpack.PackWarning, match=r"curves is without 'b\.txt'"):
        go_on()
    assert files_in(work / "curves") == {"a.txt": b"one"}
    assert left_beside(work / "curves") == []


def test_a_finished_file_that_was_changed_since_is_made_again(work: Path) -> None:
    interrupted(work / "curves")
    (work / ".curves.vhpack-stage/tree/a.txt").write_bytes(b"altered")
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert (out.is_done("A"), out.is_done("B")) == (False, True)
        out.write_bytes("a.txt", b"one", id="A")
    assert files_in(work / "curves") == {"a.txt": b"one", "b.txt": b"two"}


@pytest.mark.parametrize("synced", [False, True])
def test_after_a_restart_of_the_machine_only_what_was_on_disk_is_finished(
    work: Path, monkeypatch: pytest.MonkeyPatch, synced: bool
) -> None:
    interrupted(work / "curves")
    if synced:
        journal = work / ".curves.vhpack-stage/journal"
        whole = journal.read_text()
        journal.write_text(f'{whole}{{"synced": {whole.index(chr(10), whole.index("a.txt")) + 1}}}\n')
    monkeypatch.setattr(staging, "_boot", lambda: "another")
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert (out.is_done("A"), out.is_done("B")) == (synced, False)


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_journal_that_was_cut_off_counts_as_far_as_it_goes(work: Path, cut: int) -> None:
    interrupted(work / "curves")
    journal = work / ".curves.vhpack-stage/journal"
    os.truncate(journal, journal.stat().st_size - cut)
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert (out.is_done("A"), out.is_done("B")) == (True, False)
        out.write_bytes("b.txt", b"two", id="B")
    assert dict(vhpack.read_outputs(work / "curves", verify=True)) == {"a.txt": b"one", "b.txt": b"two"}


@pytest.mark.parametrize(
    "text",
    ["", "\n", "[" * 200_000 + "\n", "{}\n", '{"vhpack_stage": 99}\n', "\0" * 99, '{"id": "A", "files": [["../x", 1, 1]]}\n'],
)
def test_a_journal_that_says_nothing_begins_anew(work: Path, text: str) -> None:
    interrupted(work / "curves")
    (work / ".curves.vhpack-stage/journal").write_text(text)
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert not out.is_done("A")
        out.write_bytes("z.txt", b"new")
    assert files_in(work / "curves") == {"z.txt": b"new"}


# --- names and ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a\0b", MANIFEST, f"./{MANIFEST}"])
def test_names_that_lead_out_of_the_directory_are_refused(work: Path, name: str) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        with pytest.raises(vhpack.OptionError):
            out.write_bytes(name, b"")
        with pytest.raises(vhpack.OptionError):
            out.path(name)


def test_names_are_taken_in_any_spelling_and_any_bytes(work: Path) -> None:
    odd = ["spa ce", "tab\t", 'quo"te', "new\nline", "ü", os.fsdecode(b"\xff"), "*[?", "a/./b//c", "-"]
    with vhpack.OutputDir(work / "curves") as out:
        for name in odd:
            out.write_bytes(name, name.encode("utf-8", "surrogateescape"))
    read = dict(vhpack.read_outputs(work / "curves", verify=True))
    assert read == {os.path.normpath(name): name.encode("utf-8", "surrogateescape") for name in odd}


def test_one_id_for_two_files_names_both_and_their_sources(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        out.write_bytes("1.pkl", b"", id="i1", source="raw/i1.png")
        with pytest.raises(vhpack.MemberCollisionError) as caught:
            out.write_bytes("2.pkl", b"", id="i1", source="raw/i1.v2.png")
        Path(out.path("3.pkl")).write_bytes(b"")
        with pytest.raises(ValueError, match="i1"):
            out.done("3.pkl", "i1")
    for word in ("1.pkl", "raw/i1.png", "2.pkl", "raw/i1.v2.png"):
        assert word in str(caught.value)


def test_a_finished_file_is_not_written_over(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        out.write_bytes("a.txt", b"one")
        for again in (lambda: out.write_bytes("a.txt", b"two"), lambda: out.open("a.txt"), lambda: out.done("a.txt", "other")):
            with pytest.raises(vhpack.MemberCollisionError, match=r"a\.txt"):
                again()
        out.done("a.txt")
        with out.open("a.txt", "rb") as file:
            assert file.read() == b"one"
    assert files_in(work / "curves") == {"a.txt": b"one"}


def test_a_file_that_was_not_written_is_not_done(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out, pytest.raises(vhpack.SourceNotFoundError, match=r"a\.txt"):
        out.done("a.txt")


def test_files_are_written_in_the_block_alone(work: Path) -> None:
    out = vhpack.OutputDir(work / "curves")
    with pytest.raises(vhpack.OptionError, match="with"):
        out.path("a")
    with out:
        pass
    with pytest.raises(vhpack.OptionError, match="with"):
        out.write_bytes("a", b"")
    with pytest.raises(vhpack.OptionError, match="another"), out:
        pass


# --- add ------------------------------------------------------------------------------------------------------------------------


def test_add_copies_files_with_modes_and_old_times(work: Path) -> None:
    (work / "tool.sh").write_bytes(b"#!/bin/sh")
    (work / "tool.sh").chmod(0o755)
    os.utime(work / "tool.sh", (0, 0))
    (work / "link").symlink_to("tool.sh")
    with vhpack.OutputDir(work / "curves") as out:
        out.add("tool.sh")
        out.add(work / "link", "bin/linked.sh", id="linked")
    assert files_in(work / "curves") == {"tool.sh": b"#!/bin/sh", "bin/linked.sh": b"#!/bin/sh"}
    assert not (work / "curves/bin/linked.sh").is_symlink()
    assert os.access(work / "curves/tool.sh", os.X_OK)


def test_what_is_no_file_is_not_added(work: Path) -> None:
    os.mkfifo(work / "fifo")
    (work / "dangling").symlink_to("nowhere")
    (work / "folder").mkdir()
    with vhpack.OutputDir(work / "curves") as out:
        for name, error in (
            ("fifo", vhpack.SpecialFileError),
            ("folder", vhpack.SpecialFileError),
            ("dangling", FileNotFoundError),
        ):
            with pytest.raises(error, match=name):
                out.add(name)
    assert files_in(work / "curves") == {}


def test_equal_base_names_are_told_apart_by_the_caller(work: Path) -> None:
    for folder in ("a", "b"):
        (work / folder).mkdir()
        (work / folder / "same.txt").write_text(folder)
    with vhpack.OutputDir(work / "curves") as out:
        out.add("a/same.txt")
        with pytest.raises(vhpack.MemberCollisionError, match=r"a/same\.txt.*b/same\.txt"):
            out.add("b/same.txt")
        out.add("b/same.txt", "b/same.txt")
    assert files_in(work / "curves") == {"same.txt": b"a", "b/same.txt": b"b"}


# --- what others have put there ---------------------------------------------------------------------------------------------------


def test_a_directory_that_vhpack_has_not_written_is_refused(work: Path) -> None:
    (work / "photos").mkdir()
    (work / "photos/only.png").write_bytes(b"the only copy")
    (work / "file").write_bytes(b"a file")
    before = snapshot(work)
    for name, said in (("photos", r"only\.png"), ("file", "file")):
        with pytest.raises(vhpack.TargetExistsError, match=said), vhpack.OutputDir(name):
            pass
    assert snapshot(work) == before


def test_an_empty_directory_is_taken(work: Path) -> None:
    (work / "curves").mkdir(mode=0o750)
    commit(work / "curves", {"a": b"1"})
    assert files_in(work / "curves") == {"a": b"1"}
    assert (work / "curves").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["a file", "a link to a folder"])
def test_a_file_that_was_put_among_the_committed_ones_is_never_lost(work: Path, when: str, what: str) -> None:
    commit(work / "curves", {"a.txt": b"old", "sub/b.txt": b"old"})
    (work / "kept").mkdir()
    (work / "kept/precious").write_bytes(b"precious")

    def put() -> None:
        if what == "a file":
            (work / "curves/sub/mine").write_bytes(b"mine")
        else:
            (work / "curves/sub/mine").symlink_to(work / "kept")

    if when == "before":
        put()
    with pytest.raises(vhpack.TargetExistsError, match="sub/mine"), vhpack.OutputDir(work / "curves", resume=True) as out:
        out.write_bytes("a.txt", b"new")
        put()
    assert (work / "curves/a.txt").read_bytes() == b"old"
    assert os.path.lexists(work / "curves/sub/mine")
    assert (work / "kept/precious").read_bytes() == b"precious"
    if when == "meanwhile":
        (work / "curves/sub/mine").unlink()
        with vhpack.OutputDir(work / "curves", resume=True) as out:
            assert out.is_done("a.txt")
        assert files_in(work / "curves") == {"a.txt": b"new"}


def test_a_damaged_manifest_gives_no_leave_to_remove_anything(work: Path) -> None:
    commit(work / "curves", {"a.txt": b"old"})
    (work / "curves" / MANIFEST).write_bytes(b'{"vhpack_directory": 1, "files": 0, "bytes": 0, "crc32": "ffffffff"}\n')
    with pytest.raises(vhpack.TargetExistsError, match="damaged"), vhpack.OutputDir(work / "curves"):
        pass
    assert (work / "curves/a.txt").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["link", "fifo"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_no_file_ends_the_commit_and_leaves_what_was_written(work: Path, kind: str, resume: bool) -> None:
    with pytest.raises(vhpack.SpecialFileError, match="odd"), vhpack.OutputDir(work / "curves", resume=resume) as out:
        out.write_bytes("a.txt", b"one")
        odd = out.path("sub/odd")
        os.symlink("/etc/passwd", odd) if kind == "link" else os.mkfifo(odd)
    assert not (work / "curves").exists()
    with vhpack.OutputDir(work / "curves", resume=True) as out:
        assert out.is_done("a.txt")
    assert files_in(work / "curves") == {"a.txt": b"one"}


@pytest.mark.parametrize("place", ["", "tree", "old", "tree/sub"])
def test_links_in_the_place_of_the_stage_lead_to_nothing_that_is_removed(work: Path, place: str) -> None:
    """As a repository may have them that was cloned, with a journal that fits."""
    home = work / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("thesis")
    seen = (home / "thesis.txt").stat()
    stage = work / ".curves.vhpack-stage"
    (stage / place).parent.mkdir(parents=True, exist_ok=True)
    (stage / place).symlink_to(home)
    name = "sub/thesis.txt" if "/" in place else "thesis.txt"
    finished = {"id": "A", "files": [[name, seen.st_size, seen.st_mtime_ns]]}
    lines = [{"vhpack_stage": 1, "by": "", "boot": ""}, finished, {"synced": 10_000}]
    (stage / "journal").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    before = snapshot(home)
    if not place:
        with pytest.raises(vhpack.TargetExistsError, match="is a link, and what it leads to is not touched; remove it"):
            commit(work / "curves", {"a.txt": b"one"})
    else:
        for resume in (True, False):
            with vhpack.OutputDir(work / "curves", resume=resume) as out:
                assert not out.is_done("A")
                out.write_bytes("a.txt", b"one")
        assert files_in(work / "curves") == {"a.txt": b"one"}
    assert snapshot(home) == before


def test_where_a_link_stands_the_directory_behind_it_is_replaced(work: Path) -> None:
    (work / "disk").mkdir()
    commit(work / "disk/curves", {"a.txt": b"old"})
    (work / "curves").symlink_to("disk/curves")
    commit(work / "curves", {"a.txt": b"new"})
    assert (work / "curves").is_symlink()
    assert files_in(work / "disk/curves") == {"a.txt": b"new"}


# --- other processes --------------------------------------------------------------------------------------------------------------


def test_of_two_writers_the_second_is_refused_until_the_first_has_gone(work: Path) -> None:
    program = "import sys, vhpack\nwith vhpack.OutputDir('curves') as out:\n print('in', flush=True); sys.stdin.read()"
    first = subprocess.Popen([sys.executable, "-c", program], cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    first.stdout.readline()
    with pytest.raises(vhpack.PackOSError, match="another process"), vhpack.OutputDir(work / "curves"):
        pass
    first.kill()
    first.communicate()
    commit(work / "curves", {"a": b"1"})
    assert files_in(work / "curves") == {"a": b"1"}


def test_two_blocks_of_one_process_do_not_share_a_directory(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        with pytest.raises(vhpack.PackOSError, match="curves"), vhpack.OutputDir(work / "curves"):
            pass
        out.write_bytes("a", b"1")
    assert files_in(work / "curves") == {"a": b"1"}


def test_a_fork_that_leaves_the_block_neither_commits_nor_removes(work: Path) -> None:
    program = """
import os, vhpack
with vhpack.OutputDir("curves") as out:
    out.write_bytes("a", b"1")
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        out.write_bytes("b", b"2")
print(child > 0, os.path.exists("curves"), flush=True)
"""
    ended = python(program, cwd=work)
    assert (ended.code, ended.out.splitlines()) == (0, ["False False", "True True"]), ended
    assert files_in(work / "curves") == {"a": b"1", "b": b"2"}


def test_threads_share_a_directory(work: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with vhpack.OutputDir(work / "curves") as out, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: out.write_bytes(f"{number}", b"%d" % number, id=f"{number} id"), range(300)))
    assert files_in(work / "curves") == {f"{number}": b"%d" % number for number in range(300)}


def test_two_threads_do_not_write_one_file(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is told while the first one is at it; else the digest of one would be beside the bytes of the other."""
    real = trees.write_file

    def slowly(path: str, content: bytes) -> tuple[int, int, str]:
        with pytest.raises(vhpack.MemberCollisionError, match=r"'a' in .* is being written already, and .* from second"):
            out.write_bytes("a", b"two", source="second")
        return real(path, content)

    monkeypatch.setattr(trees, "write_file", slowly)
    with vhpack.OutputDir(work / "curves") as out:
        out.write_bytes("a", b"one")
    assert dict(vhpack.read_outputs(work / "curves", verify=True)) == {"a": b"one"}


def test_a_file_that_is_open_when_the_block_ends_is_whole_and_closed(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        file = out.open("a.txt", "w")
        file.write("one")
    assert file.closed
    assert dict(vhpack.read_outputs(work / "curves", verify=True)) == {"a.txt": b"one"}


def test_what_an_open_file_cannot_write_any_more_is_an_error_and_no_commit(small_disk: Path) -> None:
    target = small_disk / "curves"
    with pytest.raises(vhpack.NoSpaceError, match="free some space"), vhpack.OutputDir(target) as out:
        file = out.open("a")
        file.write(b"1")
        (small_disk / "full").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    assert left_beside(target) == ["full"]


# --- bad places -----------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_the_directory_is_as_it_was(small_disk: Path) -> None:
    target = small_disk / "curves"
    commit(target, {"a": b"old"})
    with pytest.raises(vhpack.NoSpaceError, match="free some space"), vhpack.OutputDir(target) as out:
        out.write_bytes("big", bytes(2 << 20))
    assert files_in(target) == {"a": b"old"}
    assert left_beside(target) == []


@pytest.mark.parametrize("path", ["", "a\0b", "/"])
def test_a_path_that_names_no_directory_is_refused(path: str) -> None:
    with pytest.raises(vhpack.OptionError):
        vhpack.OutputDir(path)


def test_a_place_that_cannot_be_written_to_is_told(work: Path) -> None:
    (work / "file").write_bytes(b"")
    with pytest.raises(vhpack.PackOSError, match="file"), vhpack.OutputDir(work / "file/curves"):
        pass
    with pytest.raises(vhpack.PackOSError, match="shorter"), vhpack.OutputDir(work / ("x" * 250)):
        pass
    closed = work / "closed"
    closed.mkdir(mode=0o555)
    program = "import vhpack\ntry:\n with vhpack.OutputDir('closed/curves'): pass\nexcept vhpack.PackPermissionError as error: print(error)"
    ended = python(program, cwd=work, before=ordinary_user())
    assert ended.code == 0
    assert "closed" in ended.out


def test_a_file_cannot_be_a_folder_as_well(work: Path) -> None:
    with vhpack.OutputDir(work / "curves") as out:
        out.write_bytes("a", b"1")
        with pytest.raises(vhpack.PackOSError, match="another name"):
            out.write_bytes("a/b", b"2")
    assert files_in(work / "curves") == {"a": b"1"}
