"""Twenty-five ways in which packing outputs has gone wrong for its users elsewhere, and what happens here instead.

One row each: the number, what used to happen, and a test of what happens now.
"""

from __future__ import annotations

import gzip
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import ordinary_user, python, run
from tests.engine.trees import contents, noise, png, prose, snapshot, sparse, write_tree
from tests.faults.tracing import paused, strace, was_injected
from tests.interop.structure import STORED, structure_of, unpacked


@dataclass(frozen=True)
class Finding:
    """A failure that users met elsewhere."""

    number: int
    then: str
    now: Callable[[Path], None]


FINDINGS: list[Finding] = []


def finding(number: int, then: str) -> Callable[[Callable[[Path], None]], None]:
    """Put a check into the table."""

    def add(check: Callable[[Path], None]) -> None:
        FINDINGS.append(Finding(number, then, check))

    return add


def names_of(archive: str | Path) -> list[str]:
    return structure_of(Path(archive)).names()


def held_by(archive: str | Path) -> dict[str, bytes]:
    """Name and content of every member."""
    return {member.name: unpacked(Path(archive), member) for member in structure_of(Path(archive)).members}


def in_a_child(call: str, cwd: Path, before: list[str]) -> tuple[int, str]:
    """Make one call in a process of its own; exit code and what it printed."""
    ended = python(f"import vhpack; print({call})", cwd=cwd, before=before)
    return ended.code, ended.out + ended.err


@finding(1, "The second call with the same pattern packed the archive of the first and removed it.")
def the_archive_does_not_eat_itself(out: Path) -> None:
    write_tree(out, {"a.png": png(1), "b.png": png(2)})
    first = vhpack.outputs().compress("*", "images.zip")
    before = snapshot(out)

    with pytest.raises(vhpack.NoFilesError):
        vhpack.outputs().compress("*", "images.zip")

    assert snapshot(out) == before
    assert held_by(first) == {"a.png": png(1), "b.png": png(2)}


@finding(2, "A folder called run[1] was read as a pattern, so that run1 was packed and removed.")
def a_name_with_wildcard_characters_means_itself(out: Path) -> None:
    write_tree(out, {"run[1]/right.txt": b"1", "run1/wrong.txt": b"2", "img[1].png": b"3", "[x]/in.txt": b"4"})

    assert names_of(vhpack.outputs().compress("run[1]", "run.zip")) == ["right.txt"]
    assert names_of(vhpack.outputs().compress("img[1].png", "img.zip")) == ["img[1].png"]
    assert names_of(vhpack.outputs("[x]").compress("*.txt", "in.zip")) == ["in.txt"]
    assert contents(out).keys() == {"run1/wrong.txt", "run.zip", "img.zip", "[x]/in.zip"}


@finding(3, "Images and archives were deflated again, for nothing.")
def what_does_not_compress_is_stored(out: Path) -> None:
    files = {"a.png": png(1, 64), "b.jpg": b"\xff\xd8\xff\xe0" + noise(20_000), "c.gz": gzip.compress(prose(90_000))}
    write_tree(out, {**files, "d.zst": b"\x28\xb5\x2f\xfd" + noise(20_000), "e.parquet": b"PAR1" + noise(20_000)})

    made = vhpack.outputs().compress("*", "all.zip")

    assert {member.method for member in structure_of(Path(made)).members} == {STORED}


@finding(4, "An empty file stopped everything with an AssertionError.")
def an_empty_file_is_packed(out: Path) -> None:
    write_tree(out, {"empty.txt": b"", "full.txt": b"full"})
    assert held_by(vhpack.outputs().compress("*.txt", "texts.zip")) == {"empty.txt": b"", "full.txt": b"full"}


@finding(5, "A file above 2 GiB failed after all of it had been written.")
def a_file_above_2_gib_is_packed(out: Path) -> None:
    size = (2 << 30) + 5
    sparse(out / "model.bin", size, {size - 4: b"last"})

    made = Path(vhpack.outputs().compress("model.bin", "model.zip", level=1))

    assert structure_of(made).member("model.bin").size == size
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None


@finding(6, "Every failure left a half archive among the outputs, to be uploaded and to be matched by the next pattern.")
def a_failure_leaves_nothing_behind(out: Path) -> None:
    write_tree(out, {"a.txt": prose(3_000_000), "taken.zip/x": b"x", os.fsdecode(b"bad/\xff"): b"b"})
    for number in range(40):
        (out / f"{number}.json").write_bytes(prose(300_000, number))
    before = snapshot(out)

    for source, target in (("a.txt", "a.rar"), ("a.txt", "taken.zip"), ("bad/*", "bad.zip"), ("none*", "none.zip")):
        with pytest.raises(vhpack.PackError):
            vhpack.outputs().compress(source, target)
        assert snapshot(out) == before, (source, target)

    code = (
        "import vhpack\n"
        "def told(progress):\n"
        "    if progress.stage == 'pack': print('packing', flush=True)\n"
        "vhpack.outputs().compress('*', 'all.zip', level=12, codec='deflate', progress=told)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=out.parent, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "packing\n"
        child.send_signal(signal.SIGTERM)
        child.stdout.read()
        assert child.wait(60) == -signal.SIGTERM
    assert snapshot(out) == before


@finding(7, "Of two files that became one member, both originals were deleted and one was lost.")
def two_files_for_one_member_are_refused(out: Path) -> None:
    write_tree(out, {"a/same.txt": b"a", "b/same.txt": b"b"})
    before = snapshot(out)

    with pytest.raises(vhpack.MemberCollisionError, match=r"same\.txt"):
        vhpack.outputs().compress(["a/*", "b/*"], "both.zip")

    assert snapshot(out) == before


@finding(8, "A file named twice was stored twice, and removing it twice failed with a part of the originals gone.")
def a_file_named_twice_is_packed_once(out: Path) -> None:
    write_tree(out, {"a.txt": b"a", "b.txt": b"b"})

    made = vhpack.outputs().compress(["*.txt", "a.txt", "./b.txt", str(out / "a.txt"), "?.txt"], "texts.zip")

    assert held_by(made) == {"a.txt": b"a", "b.txt": b"b"}
    assert contents(out).keys() == {"texts.zip"}


@finding(9, "Patterns with ? and [ gave members named ../p1/x, which extractors refuse.")
def no_member_climbs_out_of_its_folder(out: Path) -> None:
    write_tree(out, {"p1/x": b"1", "p2/x": b"2", "exp-1/a/x": b"3", "exp-2/a/x": b"4"})

    for source, members in (
        ("p?/x", ["p1/x", "p2/x"]),
        ("p[12]/x", ["p1/x", "p2/x"]),
        ("exp-*/a/x", ["exp-1/a/x", "exp-2/a/x"]),
        ("p?/../exp-1/a/x", ["exp-1/a/x"]),
    ):
        made = vhpack.outputs().compress(source, "x.zip", remove_originals=False)
        assert names_of(made) == members, source


@finding(10, "Patterns made folders called ** or exp-* among the outputs.")
def a_pattern_makes_no_folder(out: Path) -> None:
    write_tree(out, {"exp-1/a/x.jpg": b"1"})
    before = set(snapshot(out))

    vhpack.outputs().compress("**/*.jpg", "deep.zip", remove_originals=False)
    for nothing in ("exp-*/a", "no/such/*", "no*/such/*"):
        with pytest.raises(vhpack.NoFilesError):
            vhpack.outputs().compress(nothing, "none.zip")

    assert set(snapshot(out)) - before == {"deep.zip"}


@finding(11, "Files outside the outputs were deleted through a link to their folder; a link to itself was packed 41 times.")
def nothing_is_removed_through_a_link(out: Path) -> None:
    elsewhere = write_tree(out.parent / "elsewhere", {"precious.txt": b"precious", "linked.txt": b"linked"})
    write_tree(out, {"own.txt": b"own"})
    (out / "folder").symlink_to(elsewhere)
    (out / "file.txt").symlink_to(elsewhere / "linked.txt")
    (out / "loop").symlink_to(".")
    before = snapshot(elsewhere)

    with pytest.warns(vhpack.PackWarning):
        made = vhpack.outputs().compress("**/*.txt", "texts.zip")

    assert snapshot(elsewhere) == before
    assert held_by(made) == {
        "own.txt": b"own",
        "file.txt": b"linked",
        "folder/precious.txt": b"precious",
        "folder/linked.txt": b"linked",
    }
    assert not os.path.lexists(out / "own.txt")
    assert not os.path.lexists(out / "file.txt")


@finding(12, "Files outside the outputs were packed and deleted, whoever had named them and how.")
def only_what_the_caller_named_is_removed_outside_the_outputs(out: Path) -> None:
    elsewhere = write_tree(out.parent / "elsewhere", {"named.txt": b"1", "kept.txt": b"2", "linked/in.txt": b"3"})
    (out / "through").symlink_to(elsewhere / "linked")

    made = vhpack.outputs().compress(str(elsewhere / "named.txt"), "named.zip")
    with pytest.warns(vhpack.PackWarning, match=r"in\.txt"):
        vhpack.outputs().compress("through/*.txt", "through.zip")

    assert held_by(made) == {"named.txt": b"1"}
    assert contents(elsewhere) == {"kept.txt": b"2", "linked/in.txt": b"3"}


@finding(13, "The archive was readable by its owner only, whatever the umask.")
def the_umask_decides_who_may_read_the_archive(out: Path) -> None:
    write_tree(out, {"a.txt": b"a"})
    previous = os.umask(0o027)
    try:
        made = vhpack.outputs().compress("a.txt", "a.zip")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o640


@finding(14, "The order of members changed with the interpreter's hash seed.")
def the_same_outputs_give_the_same_bytes(out: Path) -> None:
    write_tree(out, {f"{i}.txt": prose(500, i) for i in range(60)})
    archives = []
    for seed in ("1", "2", "3"):
        code = "import os, vhpack; print(vhpack.outputs().compress({*os.listdir('outputs')} - {'all.zip'}, 'all.zip', remove_originals=False))"
        ended = run([sys.executable, "-c", code], out.parent, environment={"PYTHONHASHSEED": seed})
        assert ended.code == 0, ended
        archives.append((out / "all.zip").read_bytes())
    assert archives[0] == archives[1] == archives[2]


@finding(15, "Times, modes and links were lost, and a FIFO was left out in silence.")
def times_modes_and_links_are_kept_and_a_fifo_is_reported(out: Path) -> None:
    write_tree(out, {"run.sh": b"#!/bin/sh\n"})
    (out / "run.sh").chmod(0o755)
    os.utime(out / "run.sh", (1_600_000_000, 1_600_000_000))
    (out / "latest").symlink_to("run.sh")
    os.mkfifo(out / "pipe")

    with pytest.warns(vhpack.PackWarning, match="pipe"):
        made = Path(vhpack.outputs().compress("*", "all.zip", symlinks="store"))

    structure = structure_of(made)
    script = structure.member("run.sh")
    assert (stat.S_IMODE(script.mode), script.modified) == (0o755, 1_600_000_000)
    assert structure.member("latest").is_link
    assert (out / "pipe").is_fifo()


@finding(16, "Hidden files were left out, and no call could take them.")
def hidden_files_are_taken_when_they_are_named(out: Path) -> None:
    write_tree(out, {".hidden": b"1", ".cache/x": b"2", "seen": b"3", "dots/.only": b"4"})

    with pytest.raises(vhpack.NoFilesError):
        vhpack.outputs().compress("dots", "dots.zip")
    assert names_of(vhpack.outputs().compress(["*", ".*", ".cache/*"], "all.zip")) == [".hidden", "seen", "x"]
    assert names_of(vhpack.pack(out / "dots", out / "dots.zip").target) == [".only"]


@finding(17, "Sidecars were packed and deleted, and with them the aliases and tags of other outputs.")
def sidecars_stay(out: Path) -> None:
    sidecars = {"a.png.metadata.json": b"{}", "valohai.metadata.jsonl": b"{}"}
    write_tree(out, {"a.png": png(1), **sidecars})

    assert names_of(vhpack.outputs().compress("*", "all.zip")) == ["a.png"]

    assert contents(out).keys() == {"all.zip", *sidecars}
    named = vhpack.outputs().compress("a.png.metadata.json", "named.zip")
    assert names_of(named) == ["a.png.metadata.json"]


@finding(18, "A file that grew while it was packed was cut and then deleted, with nothing on disk yet.")
def a_growing_file_ends_the_pack(out: Path) -> None:
    write_tree(out, {"train.log": prose(50_000)})
    code = "import vhpack; vhpack.outputs().compress('*.log', 'logs.zip')"

    with paused([sys.executable, "-c", code], out.parent, calls=["read", "pread64"], paths=[out / "train.log"]) as pause:
        with (out / "train.log").open("ab") as log:
            log.write(b"one more line\n")
        before = snapshot(out)

    assert pause.ended.code == 1
    assert "SourceChangedError" in pause.ended.err
    assert "train.log" in pause.ended.err
    assert snapshot(out) == before


@finding(19, "Removal stopped at the first file that could not be removed.")
def removal_goes_on_and_says_what_stayed(out: Path) -> None:
    write_tree(out, {"a/1.txt": b"1", "shut/2.txt": b"2", "z/3.txt": b"3"})
    (out / "shut").chmod(0o555)

    code, said = in_a_child("vhpack.outputs().compress('**/*.txt', 'texts.zip')", out.parent, ordinary_user())

    assert code == 0, said
    assert "PackWarning" in said
    assert "shut/2.txt" in said
    # The list stays with what was kept: the same call again must not replace the archive by one of the rest.
    assert contents(out).keys() == {"shut/2.txt", "texts.zip", ".texts.zip.vhpack-removing"}


@finding(20, "After a crash between archive and removal, the call made again lost what the first had packed.")
def a_crash_amid_the_removal_and_the_same_call_again_lose_nothing(out: Path) -> None:
    files = {f"{i}.txt": prose(300, i) for i in range(8)}
    call = "import vhpack; vhpack.outputs().compress('*.txt', 'texts.zip', jobs=1)"
    for k in range(1, len(files) + 2):
        for path in out.iterdir():
            path.unlink()
        write_tree(out, files)
        log = out.parent / "log"
        log.unlink(missing_ok=True)
        kill = strace(["unlink", "unlinkat"], log, inject=f"signal=KILL:when={k}")
        run([*kill, sys.executable, "-c", call], out.parent)
        if not was_injected(log):
            break
        for _ in range(2):
            python(call, cwd=out.parent)
            left = {name: content for name, content in contents(out).items() if name.endswith(".txt")}
            assert files == {**held_by(out / "texts.zip"), **left}, f"killed at removal {k}"


@finding(21, "A name that is not UTF-8 crashed with half an archive left; a backslash was stored without a word.")
def names_that_readers_cannot_restore_are_told(out: Path) -> None:
    (out / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"1")
    before = snapshot(out)
    with pytest.raises(vhpack.MemberNameError, match="UTF-8"):
        vhpack.outputs().compress("*.txt", "texts.zip")
    assert snapshot(out) == before

    write_tree(out, {"a\\b.csv": b"2"})
    with pytest.warns(vhpack.PackWarning, match="backslash"):
        vhpack.outputs().compress("*.csv", "tables.zip")


@finding(22, "There was no progress, no exclude, no level and no choice of threads.")
def progress_exclude_level_and_threads_are_there(out: Path) -> None:
    write_tree(out, {f"{i}.json": prose(9_000, i) for i in range(20)} | {"draft.tmp": b"x"})
    seen: list[vhpack.Progress] = []

    sizes = []
    for level in (1, 9):
        made = vhpack.outputs().compress(
            "*", "all.zip", remove_originals=False, level=level, jobs=2, exclude=["*.tmp"], progress=seen.append
        )
        sizes.append(os.path.getsize(made))

    assert sizes[1] < sizes[0]
    assert seen[-1].files == 20
    assert "draft.tmp" not in names_of(made)


@finding(23, "One thread did everything, and asked the system about every path twice.")
def threads_change_nothing_and_no_path_is_looked_up_twice(out: Path) -> None:
    write_tree(out, {f"{i:04}.bin": noise(2_000, i) for i in range(500)})
    one = Path(vhpack.outputs().compress("*.bin", "one.zip", remove_originals=False, jobs=1)).read_bytes()
    many = Path(vhpack.outputs().compress("*.bin", "many.zip", remove_originals=False, jobs=16)).read_bytes()
    assert one == many

    log = out.parent / "log"
    code = "import vhpack; vhpack.outputs().compress('*.bin', 'again.zip', remove_originals=False)"
    looks = strace(["openat", "newfstatat", "lstat", "stat", "statx"], log)
    assert run([*looks, sys.executable, "-c", code], out.parent).code == 0
    by_name = sum(".bin" in line for line in log.read_text().splitlines())
    assert by_name <= 500 + 20, "each file is opened, and not looked up by its name besides"


@finding(24, "An earlier archive that was read-only could not be replaced on some systems.")
def a_read_only_archive_is_replaced(out: Path) -> None:
    write_tree(out, {"a.txt": b"a"})
    vhpack.outputs().compress("a.txt", "a.zip", live_upload=True)
    assert stat.S_IMODE((out / "a.zip").stat().st_mode) == 0o444
    write_tree(out, {"a.txt": b"again"})

    code, said = in_a_child("vhpack.outputs().compress('a.txt', 'a.zip')", out.parent, ordinary_user())

    assert code == 0, said
    assert held_by(out / "a.zip") == {"a.txt": b"again"}


@finding(25, "A suffix that was not known failed late, with no word about those that are.")
def an_unknown_suffix_is_refused_with_the_known_ones(out: Path) -> None:
    write_tree(out, {"a.txt": b"a"})
    before = snapshot(out)
    for target in ("o", "o.7z", "o.tar.bz2", "o.tar.xz", "o.rar"):
        with pytest.raises(vhpack.UnknownFormatError, match=r"\.zip"):
            vhpack.outputs().compress("a.txt", target)
    assert snapshot(out) == before


def test_the_table_is_whole() -> None:
    assert [found.number for found in FINDINGS] == list(range(1, 26))


@pytest.mark.parametrize("found", FINDINGS, ids=lambda found: f"{found.number:02}-{found.now.__name__}")
def test_what_went_wrong_elsewhere_is_right_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Finding) -> None:
    out = tmp_path / "outputs"
    out.mkdir()
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(out))
    found.now(out)
