"""What was downloaded or unpacked before: used again while it is right, gone when it is old, and shared by nobody."""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

import vhpack
from tests.valohai.servers import Site
from tests.valohai.test_downloads import content, path_of, prepared
from vhpack import download, paths

DAY = 86_400


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)


def folders() -> list[Path]:
    """What the cache has: a folder for each URL and for each archive that was unpacked."""
    root = Path(paths.cache_path())
    return sorted(
        path for pattern in ("*", "unpacked/*") for path in root.glob(pattern) if path.is_dir() and path.name != "unpacked"
    )


def age(folder: Path, days: float) -> None:
    then = os.stat(folder).st_mtime - days * DAY
    os.utime(folder, (then, then))


def zipped(name: str, **members: str) -> str:
    with zipfile.ZipFile(name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return name


def test_the_cache_may_be_removed_at_any_time(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    url = site.put("/a.csv", b"cats")
    assert content(url) == [b"cats"]
    shutil.rmtree(paths.cache_path())
    site.put("/a.csv", b"dogs")
    assert content(url) == [b"dogs"]
    assert "by hand" not in capfd.readouterr().err


def test_a_project_that_was_moved_or_copied_asks_whether_files_have_changed(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.put("/a.csv", b"cats")
    os.makedirs("old")
    monkeypatch.chdir("old")
    assert content(url) == [b"cats"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree("old", "copied")  # which keeps times
    shutil.move("old", "moved")
    for number, folder in enumerate(("copied", "moved")):
        monkeypatch.chdir(tmp_path / folder)
        site.put("/a.csv", f"dogs {number}".encode())
        assert content(url) == [f"dogs {number}".encode()]
    assert "by hand" not in capfd.readouterr().err


def test_what_one_step_does_to_its_file_is_nothing_to_another(site: Site) -> None:
    url = site.put("/a.csv", b"cats")
    first, second = (path_of(url, step=step) for step in ("one", "two"))
    with open(first, "a") as file:
        file.write(" and dogs")
    assert Path(second).read_bytes() == b"cats"
    assert path_of(url, step="two") == second
    assert Path(path_of(url, step="three")).read_bytes() == b"cats"


def test_a_copy_is_made_once(site: Site) -> None:
    url = site.put("/a.csv", b"cats")
    second = [path_of(url, step=step) for step in ("one", "two")][1]
    before = os.stat(second).st_ino
    assert path_of(url, step="two") == second
    assert os.stat(second).st_ino == before
    site.put("/a.csv", b"dogs")
    assert Path(path_of(url, step="two")).read_bytes() == b"dogs"


def test_what_nobody_has_used_for_long_goes_when_that_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    old, used, late = (site.put(f"/{name}", name.encode()) for name in ("old", "used", "late"))
    assert content(old, used, zipped("old.zip", a="1"), zipped("new.zip", b="2")) == [b"old", b"used", b"1", b"2"]
    for folder in folders():
        age(folder, 8)
    content(late)
    assert len(folders()) == 5, "unasked, everything stays"
    assert content(used, "new.zip") == [b"used", b"2"]
    monkeypatch.setenv("VHPACK_CACHE_DAYS", "7")
    assert content(late) == [b"late"]
    assert len(folders()) == 3
    assert list(Path(paths.get_inputs_path()).rglob("old")), "inputs are no part of the cache"


def test_what_another_process_writes_to_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    content(site.put("/old", b"old"))
    (folder,) = folders()
    age(folder, 8)
    monkeypatch.setenv("VHPACK_CACHE_DAYS", "7")
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    content(site.put("/new", b"new"))
    assert folder in folders()
    os.close(held)
    content(site.put("/newer", b"newer"))
    assert folder not in folders()


@pytest.mark.parametrize("text", ["0", "week", "-1", "nan"])
def test_a_number_of_days_that_is_none_is_refused(text: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_CACHE_DAYS", text)
    for place in (site.put("/a.csv"), zipped("a.zip", a="1")):
        with pytest.raises(vhpack.OptionError, match="VHPACK_CACHE_DAYS"):
            prepared(place).path()


def test_a_body_without_an_end_or_a_length_does_not_fill_the_disk(
    site: Site, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VH_INPUTS_DIR", str(small_disk / "inputs"))
    url = site.put("/a.bin", bytes(4 << 20), lengths=False)
    with pytest.raises(vhpack.DownloadError, match="without having said how many there are"):
        prepared(url).path()
    free = os.statvfs(small_disk)
    assert free.f_bavail * free.f_frsize > 900 << 10
    assert content(site.put("/b.bin", bytes(500 << 10), lengths=False)) == [bytes(500 << 10)]


# --- archives ------------------------------------------------------------------------------------------------------------


def test_a_file_that_was_unpacked_by_half_is_unpacked_again() -> None:
    data = prepared(zipped("all.zip", a="first", b="second"))
    first = [Path(path) for path in data.paths()]
    os.truncate(first[0], 0)  # as a machine that loses its power leaves it
    os.unlink(first[1])
    assert [Path(path).read_text() for path in data.paths()] == ["first", "second"]


def test_a_file_that_somebody_wrote_to_is_unpacked_again() -> None:
    data = prepared(zipped("all.zip", a="first", b="second"))
    first, second = (Path(path) for path in data.paths())
    before = second.stat().st_ino
    first.write_text("other")  # of the same size
    then = first.stat().st_mtime + 60
    os.utime(first, (then, then))
    assert [Path(path).read_text() for path in data.paths()] == ["first", "second"]
    assert second.stat().st_ino == before, "the other stays"


@pytest.mark.parametrize("name", ["{here}/mine.txt", "../../../../../mine.txt"])
def test_a_member_never_stands_for_a_file_elsewhere(name: str, tmp_path: Path) -> None:
    mine = tmp_path.resolve() / "mine.txt"
    mine.write_text("secret")
    member = name.format(here=tmp_path.resolve())
    data = prepared(zipped("evil.zip", **{member: "other"}))
    with pytest.raises(vhpack.UnsafeMemberError):
        list(data.paths())
    assert mine.read_text() == "secret"


def test_names_that_differ_in_case_alone_are_two_files() -> None:
    data = prepared(zipped("all.zip", **{"a.txt": "small", "A.txt": "capital"}))
    assert [Path(path).read_text() for path in data.paths()] == ["small", "capital"]


def test_every_path_of_an_archive_with_links_is_there(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("real")
    with tarfile.open("all.tar", "w") as archive:
        archive.add("real.txt")
        for name, kind, where in (
            ("link.txt", tarfile.SYMTYPE, "real.txt"),
            ("hard.txt", tarfile.LNKTYPE, "real.txt"),
            ("out.txt", tarfile.SYMTYPE, "/etc/passwd"),
            ("nowhere.txt", tarfile.SYMTYPE, "gone.txt"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, where
            archive.addfile(member)
    data = prepared("all.tar")
    found = list(data.paths())
    assert {Path(path).read_text() for path in found} == {"real"}
    assert list(data.paths()) == found
    assert [stream.read() for stream in data.streams()] == [b"real"] * len(found)


def test_a_folder_for_temporary_files_that_is_somebody_elses_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"vhpack-{os.getuid()}").symlink_to("theirs")
    for name, value in {"VH_JOB_ID": "1", "VH_INPUTS_DIR": "/proc/self/none"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(paths, "_is_writable", lambda _: False)
    with pytest.raises(vhpack.OptionError, match="somebody else's"):
        paths.cache_path()
