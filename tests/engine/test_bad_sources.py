"""Sources that cannot be packed: each is refused with a reason, and nothing is lost or left behind."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

import vhpack
from tests.conftest import without
from tests.engine.command import compress, ordinary_user, python
from tests.engine.refusals import check_failed, check_refused
from tests.engine.trees import snapshot, write_tree
from tests.interop.structure import structure_of

A_STEP = r";|\buse\b|\bcheck\b|\bname\b|\bgive\b|\brename\b|\bremove\b|\bpass\b|\bchoose\b|\bmake\b"


@pytest.mark.parametrize(
    "sources",
    [["resized/*.png"], ["resized/**/*.jpg", "nowhere/*"], ["data/[z-a]"], ["data/*/deeper"]],
    ids=["one pattern", "several patterns", "a set that holds nothing", "below files"],
)
def test_no_file_matches(work: Path, sources: list[str]) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    check_refused(work, sources, "out.zip", vhpack.NoFilesError, says=[sources[0]], next_step=A_STEP)


def test_a_named_source_that_is_not_there(work: Path) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    check_refused(work, ["data", "data/b.txt"], "out.zip", vhpack.SourceNotFoundError, says=["data/b.txt"], next_step=A_STEP)


def test_a_tree_with_nothing_in_it(work: Path) -> None:
    write_tree(work, {"empty": None})
    check_refused(work, ["empty"], "out.zip", vhpack.NoFilesError, says=["empty"], next_step=A_STEP)


def test_an_empty_file_is_a_file(work: Path) -> None:
    write_tree(work, {"data/nothing.txt": b""})

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    assert (report.files, report.bytes_in, report.stored, report.removed) == (1, 0, 1, 1)
    assert structure_of(work / "out.zip").names() == ["nothing.txt"]


def test_no_source_at_all_is_refused(work: Path) -> None:
    with pytest.raises(vhpack.PackError):
        vhpack.pack([], "out.zip")
    assert compress("-o", "out.zip", cwd=work).code == 2
    assert snapshot(work) == {}


def test_two_sources_with_one_member_name(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(work, {"a/same.txt": b"from a", "b/same.txt": b"from b"})
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(work))
    before = snapshot(work)

    with pytest.raises(vhpack.MemberCollisionError) as caught:
        vhpack.outputs().compress(["a/*.txt", "b/*.txt"], "out.zip")

    for word in ("a/same.txt", "b/same.txt"):
        assert word in str(caught.value)
    assert snapshot(work) == before


@pytest.mark.parametrize("sources", ["data", "data/*"])
def test_an_unreadable_file(work: Path, sources: str) -> None:
    write_tree(work, {"data/a.txt": b"a", "data/secret.txt": b"b"})
    (work / "data/secret.txt").chmod(0)
    before = snapshot(work)

    ended = compress(sources, "-o", "out.zip", "--remove-originals", cwd=work, before=ordinary_user())

    check_failed(ended, ["data/secret.txt"], A_STEP)
    assert snapshot(work) == before


@pytest.mark.parametrize("mode", [0, 0o444], ids=["closed", "may be listed only"])
@pytest.mark.parametrize("sources", ["data", "data/**", "data/*/*.txt"])
def test_an_unreadable_folder(work: Path, mode: int, sources: str) -> None:
    write_tree(work, {"data/a.txt": b"a", "data/shut/b.txt": b"b", "data/open/c.txt": b"c"})
    (work / "data/shut").chmod(mode)
    before = snapshot(work)

    ended = compress(sources, "-o", "out.zip", "--remove-originals", cwd=work, before=ordinary_user())

    check_failed(ended, ["data/shut"], A_STEP)
    assert snapshot(work) == before


def test_an_empty_folder_that_may_only_be_listed_is_packed(work: Path) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    (work / "data/empty").mkdir(mode=0o444)

    ended = compress("data", "-o", "out.zip", cwd=work, before=ordinary_user())

    assert ended.code == 0, ended
    assert "empty/" in structure_of(work / "out.zip").names()


def test_a_folder_that_may_only_be_listed_has_not_changed(work: Path) -> None:
    """What cannot be read is an error, and nothing to be left out."""
    write_tree(work, {"data/a.txt": b"a", "data/shut/b.txt": b"b"})
    (work / "data/shut").chmod(0o444)

    ended = compress("data", "-o", "out.zip", "--on-change", "skip", cwd=work, before=ordinary_user())

    check_failed(ended, ["data/shut"], "ermission denied")


def test_an_unreadable_file_is_a_permission_error_in_python(work: Path) -> None:
    write_tree(work, {"data/secret.txt": b"b"})
    (work / "data/secret.txt").chmod(0)
    code = (
        "import vhpack, errno\n"
        "try: vhpack.pack('data', 'out.zip')\n"
        "except PermissionError as error: print(type(error).__name__, error.errno == errno.EACCES, error.filename)\n"
    )

    ended = python(code, cwd=work, before=ordinary_user())

    kind, is_access, filename = ended.out.split()
    assert (kind, is_access) == ("PackPermissionError", "True")
    assert filename.endswith("data/secret.txt")


def make_special(kind: str, path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name if path.parent == Path.cwd() else os.path.relpath(path))
    elif kind == "device":
        try:
            os.mknod(path, 0o020666, os.makedev(1, 5))
        except PermissionError:
            without("this user may not make a device")
    else:
        path.symlink_to("/dev/zero")


SPECIAL = ["fifo", "socket", "device", "link to a device"]


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("source", ["data", "data/*"])
def test_a_special_file_that_is_found_is_left_out_and_reported(work: Path, kind: str, source: str) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    make_special(kind, work / "data/odd")

    ended = compress(source, "-o", "out.zip", "--remove-originals", "--json", cwd=work, timeout=30)

    assert ended.code == 0, ended
    assert "data/odd" in ended.out + ended.err
    assert structure_of(work / "out.zip").names() == ["a.txt"]
    assert set(snapshot(work)) == {"data", "data/odd", "out.zip"}


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_that_is_named_is_refused(work: Path, kind: str) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    make_special(kind, work / "data/odd")

    check_refused(work, ["data/a.txt", "data/odd"], "out.zip", vhpack.SpecialFileError, says=["data/odd"], next_step=A_STEP)


def test_a_named_device_is_refused_before_it_is_read(work: Path) -> None:
    check_refused(work, ["/dev/zero"], "out.zip", vhpack.SpecialFileError, says=["/dev/zero"], next_step=A_STEP)


@pytest.mark.parametrize("source", ["data", "data/*", "data/bad-\udcff.txt"])
def test_a_name_that_is_not_utf8(work: Path, source: str) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    Path(os.fsdecode(b"data/bad-\xff.txt")).write_bytes(b"b")

    check_refused(work, [source], "out.zip", vhpack.MemberNameError, says=["data/bad-"], next_step=A_STEP)


@pytest.mark.parametrize("name", ["n" * 300, "data/" + "n" * 300, "n" * 300 + "*", "d/" * 2500 + "file"])
def test_a_source_name_that_no_file_can_have(work: Path, name: str) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    check_refused(work, [name, "data/missing*"], "out.zip", vhpack.PackError, says=[name[:40]], next_step=A_STEP)


@pytest.mark.parametrize(
    "name", ["run[1].txt", "all*.txt", "who?.txt", "a\nb.txt", "-rf", "--help", "-", "[!a]", "**", "a;b", "$(x)", " "]
)
def test_a_name_that_exists_is_taken_as_it_is(work: Path, name: str) -> None:
    write_tree(work, {name: b"the one", "run1.txt": b"not this", "all-others.txt": b"nor this", "whom.txt": b"nor this"})

    report = vhpack.pack(name, "python.zip")
    ended = compress("-o", "command.zip", "--", name, cwd=work)
    listed = compress("-o", "listed.zip", "--files-from", "-", "-0", cwd=work, stdin=os.fsencode(name) + b"\0")

    assert report.files == 1
    assert (ended.code, listed.code) == (0, 0), (ended, listed)
    for archive in ("python.zip", "command.zip", "listed.zip"):
        assert structure_of(work / archive).names() == [name]


def test_a_folder_with_a_pattern_for_a_name_is_taken_as_it_is(work: Path) -> None:
    write_tree(work, {"run[1]/a.txt": b"a", "run1/b.txt": b"b"})

    vhpack.pack("run[1]", "out.zip", remove_originals=True)
    vhpack.pack("run[1]/*.txt", "glob.zip", remove_originals=True)

    assert structure_of(work / "out.zip").names() == ["a.txt"]
    assert (work / "run1/b.txt").exists() is False, "as written it is no file, so it is the pattern that means run1"
    assert structure_of(work / "glob.zip").names() == ["run1/b.txt"]


def test_a_backslash_is_packed_with_a_warning(work: Path) -> None:
    write_tree(work, {"data/a\\b.txt": b"a"})

    report = vhpack.pack("data", "out.zip")

    assert structure_of(work / "out.zip").names() == ["a\\b.txt"]
    assert len(report.warnings) == 1
    assert "Windows" in report.warnings[0]
    ended = compress("data", "-o", "again.zip", cwd=work)
    assert ended.code == 0
    assert "Windows" in ended.err


def test_a_folder_that_may_be_entered_and_not_listed_gives_the_files_that_are_named(work: Path) -> None:
    write_tree(work, {"shut/a.txt": b"a"})
    (work / "shut").chmod(0o311)

    named = compress("shut/a.txt", "-o", "named.zip", cwd=work, before=ordinary_user())
    globbed = compress("shut/*.txt", "-o", "globbed.zip", cwd=work, before=ordinary_user())

    assert named.code == 0, named
    check_failed(globbed, ["shut"], A_STEP)


def test_a_working_directory_that_is_not_utf8_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only member names have to be UTF-8; paths are the system's."""
    work = tmp_path / os.fsdecode(b"caf\xe9")
    write_tree(work / "data", {"a.txt": b"a"})
    os.mkfifo(work / "data/fifo")
    monkeypatch.chdir(work)

    report = vhpack.pack("data/*", "out.zip")
    ended = compress("data", "-o", "command.zip", "--json", "-v", cwd=work)

    assert report.target == str(work / "out.zip")
    assert report.skipped[0][0] == str(work / "data/fifo")
    assert ended.code == 0, ended
    assert os.fsencode(json.loads(ended.out)["target"]) == os.fsencode(work / "command.zip")


def test_a_million_names_from_stdin(work: Path) -> None:
    """Ten thousand files, each named a hundred times, as `find` over overlapping trees would."""
    write_tree(work, {"data": None})
    names = [f"data/{number:05}" for number in range(10_000)]
    for name in names:
        Path(name).touch()

    listed = "\0".join(names * 100).encode()
    ended = compress("-o", "out.zip", "--files-from", "-", "-0", cwd=work, stdin=listed)

    assert ended.code == 0, ended
    assert structure_of(work / "out.zip").names() == [name.removeprefix("data/") for name in names]


def test_a_listed_name_that_is_not_there(work: Path) -> None:
    write_tree(work, {"data/a.txt": b"a"})
    before = snapshot(work)

    ended = compress("-o", "out.zip", "--files-from", "-", cwd=work, stdin=b"data/a.txt\ndata/*.txt\n")

    check_failed(ended, ["data/*.txt"], A_STEP)
    assert snapshot(work) == before


def test_names_are_quoted_so_that_a_newline_cannot_forge_a_line(work: Path) -> None:
    ended = compress("-o", "out.zip", "--", "missing\nvhpack: all is well", cwd=work)

    assert ended.code == 1
    assert "\nvhpack: all is well" not in ended.err, ended.err
