"""`vhpack list`: names as data, tables and objects."""

import json
import os
import pty
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, vhpack
from tests.reading.made import FORMATS, contents, make

HOSTILE = "red\x1b[31m\nline"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_member_is_a_line(kind: str, work: Path) -> None:
    make(work / f"made.{kind}")
    done = vhpack("list", f"made.{kind}", cwd=work)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["folder/", *contents()]


def test_globs_choose(work: Path) -> None:
    make(work / "made.zip")
    wanted = [name for name in contents() if name.endswith(".png") or name == "empty"]
    assert vhpack("list", "made.zip", "**/*.png", "empty", cwd=work).out.splitlines() == sorted(
        wanted, key=list(contents()).index
    )
    nothing = vhpack("list", "made.zip", "*.jpeg", cwd=work)
    assert (nothing.code, nothing.out) == (1, "")
    assert "*.jpeg" in nothing.err


def test_a_folder_is_listed_with_all_below(work: Path) -> None:
    below = {"in/a": b"", "in/.hidden/b": b"", "in/deep/c": b""}
    for kind, folder in (("zip", []), ("tar", []), ("dotted.tar", ["./"])):
        dot = "".join(folder)
        make(work / f"made.{kind}", {dot + name: b"" for name in ["first", *below, "inner", "other/in"]})
        for name in ("in", "in/", "./in"):
            done = vhpack("list", f"made.{kind}", name, cwd=work)
            assert (done.code, done.out.splitlines()) == (0, [dot + name for name in below])
    lines = vhpack("list", "made.zip", "in/deep", "**/*r", cwd=work).out.splitlines()
    assert lines == ["folder/", "in/deep/c", "inner"]
    assert vhpack("list", "made.zip", "missing", cwd=work).code == 1


def test_a_tar_that_may_have_lost_members_is_listed_with_a_warning(work: Path) -> None:
    make(work / "made.tar")
    (work / "joined.tar").write_bytes((work / "made.tar").read_bytes() * 2)
    done = vhpack("list", "joined.tar", cwd=work)
    assert (done.code, done.out.splitlines()) == (0, ["folder/", *contents()])
    assert "behind the end mark" in done.err
    assert vhpack("verify", "joined.tar", cwd=work).code == 1
    assert "behind the end mark" in vhpack("extract", "joined.tar", "-d", "out", cwd=work).err
    quiet = vhpack("list", "joined.tar", "-q", cwd=work)
    assert (quiet.code, quiet.out, quiet.err) == (done.code, done.out, "")


def test_names_go_into_pipes_as_they_are_and_to_terminals_as_they_can_be_shown(work: Path) -> None:
    make(work / "made.zip", {HOSTILE: b"", os.fsdecode(b"plain"): b""})
    assert vhpack("list", "made.zip", cwd=work).out == f"folder/\n{HOSTILE}\nplain\n"
    assert vhpack("list", "made.zip", "-0", cwd=work).out == f"folder/\0{HOSTILE}\0plain\0"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([VHPACK, "list", "made.zip"], cwd=work, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    assert process.wait(60) == 0
    shown = os.read(ours, 65536)
    os.close(ours)
    assert shown == b"folder/\r\nred\\x1b[31m\\nline\r\nplain\r\n"


def test_the_table_says_modes_sizes_codecs_times_and_links(work: Path) -> None:
    with tarfile.open(work / "made.tar", "w") as archive:
        for name, kind, mode in (
            ("file", tarfile.REGTYPE, 0o754),
            ("link", tarfile.SYMTYPE, 0o777),
            ("folder", tarfile.DIRTYPE, 0o700),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime, member.linkname = kind, mode, 86400, "file"
            archive.addfile(member)
    lines = vhpack("list", "made.tar", "-l", cwd=work).out.splitlines()
    assert [line[:10] for line in lines] == ["-rwxr-xr--", "lrwxrwxrwx", "drwx------"]
    assert lines[1].endswith("1970-01-02 00:00:00  link -> file")
    assert vhpack("list", make(work / "odd.zip", {HOSTILE: b"12345"}), "-l", cwd=work).out.count("\n") == 2


def test_json_is_one_object_a_line(work: Path) -> None:
    make(work / "made.zip")
    objects = [json.loads(line) for line in vhpack("list", "made.zip", "--json", cwd=work).out.splitlines()]
    assert [found["name"] for found in objects] == ["folder/", *contents()]
    assert {found["name"]: found["size"] for found in objects[1:]} == {name: len(content) for name, content in contents().items()}
    assert set(objects[0]) == {"name", "kind", "size", "packed", "codec", "mode", "mtime", "crc32", "link", "offset"}


def test_what_cannot_be_opened_is_one_line_and_status_1(work: Path) -> None:
    (work / "text.zip").write_text("no archive")
    for name, kind in (("text.zip", "unsupported"), ("missing.zip", "not_found")):
        done = vhpack("list", name, "--json", cwd=work)
        assert done.code == 1
        assert done.err.startswith("Error: ")
        assert done.err.count("\n") == 1
        assert json.loads(done.out)["error"]["kind"] == kind


def test_two_ways_to_print_are_wrong_usage(work: Path) -> None:
    assert vhpack("list", "made.zip", "--json", "-0", cwd=work).code == 2


@pytest.mark.parametrize("way", [[], ["--long"], ["--json"], ["-0"]])
def test_a_reader_that_has_gone_is_no_traceback(way: list[str], work: Path) -> None:
    make(
        work / "made.zip",
        {f"a rather long name, so that a pipe does not take all of them {number}": b"" for number in range(3000)},
    )
    process = subprocess.Popen([VHPACK, "list", "made.zip", *way], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert said == b""
