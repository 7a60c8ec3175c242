"""`vhpack extract`: what lands where, what is said, and the exit status."""

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.engine.command import vhpack
from tests.reading.made import FORMATS, LARGE, contents, make


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", FORMATS)
def test_everything_is_extracted_below_the_folder(kind: str, work: Path) -> None:
    make(work / f"made.{kind}")
    done = vhpack("extract", f"made.{kind}", "-d", "new/there", cwd=work)
    assert (done.code, done.out) == (0, ""), done
    assert on_disk(work / "new/there") == contents()
    (line,) = done.err.splitlines()
    assert f"new/there: {len(contents())} files, " in line


def test_without_a_folder_it_is_here(work: Path) -> None:
    make(work / "made.tar", {"a": b"1"})
    assert vhpack("extract", "made.tar", "a", "-q", cwd=work).err == ""
    assert (work / "a").read_bytes() == b"1"


def test_names_folders_and_globs_choose(work: Path) -> None:
    make(work / "made.zip")
    assert vhpack("extract", "made.zip", "-d", "there", "deep", "train/*.png", "empty", cwd=work).code == 0
    assert set(on_disk(work / "there")) == {LARGE, "empty", *(f"train/{number:02}.png" for number in range(12))}
    nothing = vhpack("extract", "made.zip", "*.jpeg", "--json", cwd=work)
    assert nothing.code == 1
    assert json.loads(nothing.out)["error"]["kind"] == "member_not_found"


def test_existing_files_stop_stay_or_go(work: Path) -> None:
    make(work / "made.zip", {"a": b"new", "b": b"new"})
    (work / "a").write_text("old")
    stopped = vhpack("extract", "made.zip", cwd=work)
    assert stopped.code == 1
    assert not (work / "b").exists()
    kept = vhpack("extract", "made.zip", "--skip-existing", cwd=work)
    assert kept.code == 0
    assert "Left out 1:" in kept.err
    assert ((work / "a").read_text(), (work / "b").read_text()) == ("old", "new")
    assert vhpack("extract", "made.zip", "--overwrite", cwd=work).code == 0
    assert (work / "a").read_text() == "new"
    assert vhpack("extract", "made.zip", "--overwrite", "--skip-existing", cwd=work).code == 2


def test_folders_can_be_stripped(work: Path) -> None:
    make(work / "made.zip", {"x/y/a": b"1", "x/b": b"2"})
    done = vhpack("extract", "made.zip", "-d", "there", "--strip", "1", "x", cwd=work)
    assert done.code == 0
    assert on_disk(work / "there") == {"y/a": b"1", "b": b"2"}


def test_json_is_one_object(work: Path) -> None:
    make(work / "made.zip", {"a": b"12"})
    report = json.loads(vhpack("extract", "made.zip", "-d", "there", "--json", cwd=work).out)
    assert (report["dest"], report["files"], report["bytes"], report["skipped"]) == (str(work / "there"), 1, 2, [])


def test_nothing_is_written_outside_the_folder(work: Path) -> None:
    with tarfile.open(work / "bad.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    done = vhpack("extract", "bad.tar", "-d", "there", "--json", cwd=work)
    assert done.code == 1
    assert json.loads(done.out)["error"]["kind"] == "unsafe_member"
    assert not (work / "outside").exists()


def test_what_cannot_be_extracted_is_reported_and_the_rest_is_there(work: Path) -> None:
    with tarfile.open(work / "venv.tar", "w") as archive:
        link = tarfile.TarInfo("python")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("file"))
    done = vhpack("extract", "venv.tar", "-d", "there", cwd=work)
    assert done.code == 1
    assert "1 member of venv.tar could not be extracted" in done.err
    assert "absolute path: `/usr/bin/python3`" in done.err
    assert on_disk(work / "there") == {"file": b""}


def test_names_that_fold_together_have_a_way_out(work: Path) -> None:
    make(work / "made.tar", {"Makefile": b"1", "makefile": b"2"})
    refused = vhpack("extract", "made.tar", "-d", "there", cwd=work)
    assert refused.code == 1
    assert "--allow-collisions" in refused.err
    assert not (work / "there").exists()
    assert vhpack("extract", "made.tar", "-d", "there", "--allow-collisions", cwd=work).code == 0
    assert on_disk(work / "there") == {"Makefile": b"1", "makefile": b"2"}


def test_what_cannot_be_read_is_named_at_the_end(work: Path) -> None:
    with zipfile.ZipFile(work / "odd.zip", "w") as writer:
        writer.writestr("first", b"1")
        writer.writestr("odd", bytes(5000), zipfile.ZIP_BZIP2)
        writer.writestr("last", b"2")
    for options in ([], ["-q"]):
        done = vhpack("extract", "odd.zip", "-d", f"there{len(options)}", *options, cwd=work)
        assert done.code == 1
        assert "1 member cannot be extracted: `odd` (" in done.err
        assert on_disk(work / f"there{len(options)}") == {"first": b"1", "last": b"2"}
    assert vhpack("extract", "odd.zip", "first", "-d", "one", cwd=work).code == 0
    assert on_disk(work / "one") == {"first": b"1"}
