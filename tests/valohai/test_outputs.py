"""`outputs().compress`: what its users know, kept, and its promises about originals."""

import os
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vhpack
from tests.engine.command import python
from tests.faults.tracing import strace


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send outputs to a folder of the test's own."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(folder))
    return folder


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def members(archive: str) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_packs_and_removes_and_returns_the_absolute_path(out: Path) -> None:
    fill(out, "a.png", "b.png", "c.txt")
    assert vhpack.outputs().compress("*.png", "images.zip") == str(out / "images.zip")
    assert members(str(out / "images.zip")) == ["a.png", "b.png"]
    assert left(out) == ["c.txt", "images.zip"]


def test_originals_stay_when_asked(out: Path) -> None:
    fill(out, "a.png")
    vhpack.outputs().compress("*.png", "images.zip", remove_originals=False)
    assert left(out) == ["a.png", "images.zip"]


def test_live_upload_and_remove_originals_may_be_given_by_position(out: Path) -> None:
    fill(out, "a.png")
    target = vhpack.outputs().compress("*.png", "images.zip", True, False)
    assert os.stat(target).st_mode & 0o777 == 0o444
    assert left(out) == ["a.png", "images.zip"]


def test_sources_and_target_are_relative_to_the_named_folder(out: Path) -> None:
    fill(out, "set/a.png", "a.png")
    target = vhpack.outputs("set").compress("*.png", "deep/images.zip")
    assert target == str(out / "set/deep/images.zip")
    assert left(out) == ["a.png", "set/deep/images.zip"]


def test_a_folder_means_the_files_directly_in_it(out: Path) -> None:
    fill(out, "d/a.png", "d/inner/b.png")
    assert members(vhpack.outputs().compress("d", "d.zip")) == ["a.png"]
    assert left(out) == ["d.zip", "d/inner/b.png"]
    fill(out, "d/c.png")
    assert members(vhpack.outputs("d").compress("", "../rest.zip")) == ["c.png"]
    fill(out, "d/c.png")
    assert members(vhpack.outputs("d").compress(np.array(["c.png"]), "../rest.zip")) == ["c.png"]


def test_two_stars_keep_the_folders_below_the_first_wildcard(out: Path) -> None:
    fill(out, "d/a.png", "d/x/b.png", "d/x/y/c.png")
    assert members(vhpack.outputs().compress("d/**", "d.zip")) == ["a.png", "x/b.png", "x/y/c.png"]


def test_files_named_one_by_one_lie_at_the_top(out: Path) -> None:
    fill(out, "x/a.png", "y/b.png")
    assert members(vhpack.outputs().compress(["x/a.png", "y/b.png"], "z.zip")) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "kind",
    [list, tuple, set, iter, lambda names: (Path(name) for name in names)],
    ids=["list", "tuple", "set", "iterator", "paths"],
)
def test_sources_come_in_any_iterable(kind: Callable[[list[str]], list[str]], out: Path) -> None:
    fill(out, "a.png", "b.png")
    assert members(vhpack.outputs().compress(kind(["a.png", "b.png"]), "z.zip")) == ["a.png", "b.png"]


def test_one_source_may_be_a_path(out: Path) -> None:
    fill(out, "a.png")
    assert members(vhpack.outputs().compress(Path("a.png"), Path("z.zip"))) == ["a.png"]


def test_an_absolute_source_is_taken_where_it_is(out: Path, tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/a.png")
    vhpack.outputs().compress(str(tmp_path / "elsewhere/*.png"), "z.zip")
    assert not (tmp_path / "elsewhere/a.png").exists()
    assert members(str(out / "z.zip")) == ["a.png"]


def test_an_earlier_archive_is_replaced_and_never_packed(out: Path) -> None:
    fill(out, "a.png")
    vhpack.outputs().compress("*", "all.zip")
    fill(out, "b.png")
    assert members(vhpack.outputs().compress("*", "all.zip")) == ["b.png"]


def test_the_same_call_again_keeps_the_archive(out: Path) -> None:
    fill(out, "a.png")
    vhpack.outputs().compress("*", "all.zip")
    with pytest.raises(ValueError, match="No files to compress"):
        vhpack.outputs().compress("*", "all.zip")
    assert members(str(out / "all.zip")) == ["a.png"]


def test_nothing_to_pack_is_a_value_error_and_leaves_nothing(out: Path) -> None:
    with pytest.raises(ValueError, match="No files to compress"):
        vhpack.outputs().compress(["*.png", "more/*.png"], "images.zip")
    assert left(out) == []


def test_no_folder_is_made_for_a_source(out: Path) -> None:
    fill(out, "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vhpack.PackWarning)
        vhpack.outputs().compress(["*.png", "**/*.jpg", "exp-*/a"], "images.zip")
    assert [path.name for path in out.iterdir()] == ["images.zip"]


def test_a_source_that_matches_nothing_beside_others_is_a_warning_at_the_call(out: Path) -> None:
    fill(out, "a.png")
    with pytest.warns(vhpack.PackWarning, match=r"jpg") as caught:
        vhpack.outputs().compress(["*.png", "*.jpg"], "images.zip")
    assert caught[0].filename == __file__


def test_what_a_caller_would_miss_is_a_warning(out: Path) -> None:
    fill(out, "a.png")
    os.mkfifo(out / "pipe")
    with pytest.warns(vhpack.PackWarning, match=r"1 left out of .*pipe"):
        vhpack.outputs().compress("*", "all.zip")


def test_sidecars_and_the_archive_are_left_out_without_a_word(out: Path) -> None:
    fill(out, "a.png", "a.png.metadata.json", "valohai.metadata.jsonl", "all.zip")
    assert members(vhpack.outputs().compress("*", "all.zip")) == ["a.png"]
    assert left(out) == ["a.png.metadata.json", "all.zip", "valohai.metadata.jsonl"]


def test_originals_that_cannot_be_removed_are_named_in_a_warning(out: Path) -> None:
    fill(out, "real/a.png")
    (out / "linked").symlink_to("real")
    with pytest.warns(vhpack.PackWarning, match=r"1 originals could not be removed.*linked/a\.png"):
        vhpack.outputs().compress("linked/*", "z.zip")
    assert (out / "real/a.png").exists()


@pytest.mark.parametrize(
    ("filename", "marked"),
    [
        *(
            ("a.png", ["a.png"]),
            ("*.png", ["a.png", "img[1].png"]),
            ("img[1].png", ["img[1].png"]),
            ("d", ["d/b.png", "d/e/c.png"]),
        ),
        *(("**/*.png", ["a.png", "d/b.png", "d/e/c.png", "img[1].png"]), ("*", ["a.png", "img[1].png"])),
    ],
)
def test_live_upload_marks_files_and_nothing_else(filename: str, marked: list[str], out: Path, tmp_path: Path) -> None:
    fill(out, "a.png", "img[1].png", "img1.txt", "d/b.png", "d/e/c.png")
    (out / "img1.txt").rename(tmp_path / "elsewhere.png")
    (out / "link.png").symlink_to(tmp_path / "elsewhere.png")
    vhpack.outputs().live_upload(filename)
    vhpack.wait_for_uploads()
    read_only = [name for name in left(out) if not (out / name).stat().st_mode & 0o222]
    assert read_only == marked
    assert (out / "d").stat().st_mode & 0o200


def test_live_upload_keeps_what_can_be_executed(out: Path) -> None:
    fill(out, "run.sh")
    (out / "run.sh").chmod(0o750)
    vhpack.outputs().live_upload("run.sh")
    vhpack.wait_for_uploads()
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o550


@pytest.mark.parametrize(
    ("filename", "error"),
    [
        ("model.bin", FileNotFoundError),
        ("*.png", vhpack.NoFilesError),
        ("empty", vhpack.NoFilesError),
        ("link", vhpack.NoFilesError),
    ],
)
def test_live_upload_of_nothing_is_an_error_and_makes_nothing(filename: str, error: type[Exception], out: Path) -> None:
    (out / "empty").mkdir()
    (out / "link").symlink_to("/etc/hostname")
    with pytest.raises(error, match="nothing to upload"):
        vhpack.outputs().live_upload(filename)
    with pytest.raises(error if filename != "empty" else FileNotFoundError, match="nothing to upload"):
        vhpack.outputs("nodir").live_upload(filename if filename != "link" else "../link")
    assert sorted(path.name for path in out.iterdir()) == ["empty", "link"]


def test_live_upload_of_what_lies_elsewhere_is_refused(out: Path, tmp_path: Path) -> None:
    fill(tmp_path, "model.bin")
    for name in (str(tmp_path / "model.bin"), "../model.bin"):
        with pytest.raises(vhpack.UploadOutsideError, match="outside the outputs folder") as caught:
            vhpack.outputs().live_upload(name, to="s3://bucket/run")
        assert isinstance(caught.value, vhpack.OptionError)
        assert (caught.value.path, caught.value.uri) == (str(tmp_path / "model.bin"), "s3://bucket/run")
    assert (tmp_path / "model.bin").stat().st_mode & 0o200
    assert left(out) == []


def test_folders_keep_their_modes_and_hidden_files_below_them_are_files(out: Path) -> None:
    fill(out, "d/.hidden", "d/e/c.png")
    for folder in ("d", "d/e"):
        (out / folder).chmod(0o750)
    vhpack.outputs().live_upload("d")
    vhpack.wait_for_uploads()
    assert [(out / folder).stat().st_mode & 0o777 for folder in ("d", "d/e")] == [0o750, 0o750]
    assert all(not (out / name).stat().st_mode & 0o222 for name in left(out))


@pytest.mark.parametrize("sender", ["off", "platform"])
def test_the_environment_says_who_sends(sender: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(out, "a.png")
    monkeypatch.setenv("VHPACK_UPLOAD", sender)
    monkeypatch.setenv("VHPACK_UPLOAD_URI", "s3://bucket/run")
    assert vhpack.outputs().live_upload("a.png") == []
    vhpack.wait_for_uploads()
    assert bool((out / "a.png").stat().st_mode & 0o222) == (sender == "off")


@pytest.mark.parametrize(("sender", "error"), [("self", vhpack.BadDestinationError), ("me", vhpack.OptionError)])
def test_a_sender_that_cannot_be_is_refused_before_anything_happens(
    sender: str, error: type[Exception], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(out, "a.png")
    monkeypatch.setenv("VHPACK_UPLOAD", sender)
    with pytest.raises(error, match="VHPACK_UPLOAD"):
        vhpack.outputs().live_upload("a.png")
    assert (out / "a.png").stat().st_mode & 0o222


def test_a_large_files_mark_does_not_hold_up_the_caller(out: Path, tmp_path: Path) -> None:
    """What takes long, the wait for the disk, is done on another thread; the mark is set all the same, after it."""
    fill(out, "model.bin")
    code = (
        "import time, vhpack\n"
        "began = time.monotonic(); vhpack.outputs().live_upload('model.bin'); took = time.monotonic() - began\n"
        "import os; print(took < 1.5, os.stat('out/model.bin').st_mode & 0o222 != 0)\n"
        "vhpack.wait_for_uploads(); print(os.stat('out/model.bin').st_mode & 0o222)"
    )
    ended = python(code, cwd=tmp_path, before=strace(["fsync"], tmp_path / "log", inject="delay_enter=3000000"))
    assert ended.out.split("\n")[:2] == ["True True", "0"], ended


def test_live_upload_marks_last_and_honours_the_umask(out: Path) -> None:
    fill(out, "a.png")
    before = os.umask(0o077)
    try:
        target = vhpack.outputs().compress("*.png", "images.zip", live_upload=True)
    finally:
        os.umask(before)
    assert os.stat(target).st_mode & 0o777 == 0o400
    assert left(out) == ["images.zip"]


def test_a_mark_that_cannot_be_set_says_that_the_archive_is_complete(out: Path, tmp_path: Path) -> None:
    fill(out, "a.png")
    code = "import vhpack; vhpack.outputs().compress('*.png', 'images.zip', live_upload=True)"

    ended = python(code, cwd=tmp_path, before=strace(["chmod", "fchmod", "fchmodat"], tmp_path / "log", inject="error=EPERM"))

    said = ended.err.strip().splitlines()[-1]
    assert said.startswith("vhpack.errors.PackOSError: "), ended
    assert "images.zip` is complete" in said
    assert "by hand" in said
    assert members(str(out / "images.zip")) == ["a.png"]


def test_a_file_that_cannot_be_marked_says_so(out: Path, tmp_path: Path) -> None:
    fill(out, "a.png")
    code = "import vhpack; vhpack.outputs().live_upload('a.png'); vhpack.wait_for_uploads()"
    ended = python(code, cwd=tmp_path, before=strace(["chmod", "fchmodat"], tmp_path / "log", inject="error=EPERM"))
    assert "cannot be marked read-only" in ended.err.strip().splitlines()[-1], ended
    assert ended.code == 1


def test_a_read_only_archive_is_replaced(out: Path) -> None:
    for name in ("a.png", "b.png"):
        fill(out, name)
        target = vhpack.outputs().compress("*.png", "images.zip", live_upload=True)
    assert members(target) == ["b.png"]


def test_wildcards_in_the_outputs_folder_itself_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out[1]*"
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(folder))
    fill(folder, "a.png", "d/b.png")
    assert members(vhpack.outputs().compress(["*.png", "d/*.png"], "z.zip")) == ["a.png", "b.png"]
    assert left(folder) == ["z.zip"]


def test_a_name_with_wildcards_is_taken_as_it_is_when_it_exists(out: Path) -> None:
    fill(out, "run[1]/a.png", "run1/precious.png", "img[1].png")
    assert members(vhpack.outputs().compress(["run[1]", "img[1].png"], "z.zip")) == ["a.png", "img[1].png"]
    assert left(out) == ["run1/precious.png", "z.zip"]


def test_options_reach_the_engine(out: Path) -> None:
    fill(out, "a.txt", "b.tmp")
    (out / "a.txt").write_text("again " * 1000)
    seen: list[vhpack.Progress] = []
    target = vhpack.outputs().compress(
        "*",
        "z.zip",
        codec="store",
        level=1,
        jobs=1,
        memory="16MiB",
        exclude="*.tmp",
        reproducible=True,
        on_change="skip",
        symlinks="skip",
        progress=seen.append,
    )
    with zipfile.ZipFile(target) as opened:
        (only,) = opened.infolist()
    assert (only.filename, only.compress_type, only.date_time[0]) == ("a.txt", zipfile.ZIP_STORED, 1980)
    assert seen


def test_reproducible_takes_the_time_from_the_environment(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(out, "a.txt")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    target = vhpack.outputs().compress("*", "z.zip", reproducible=True)
    with zipfile.ZipFile(target) as opened:
        assert opened.infolist()[0].date_time[:3] == (2001, 9, 9)


@pytest.mark.parametrize("value", ["yesterday", "-1", "9" * 30])
def test_a_bad_time_in_the_environment_is_refused(value: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(out, "a.txt")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(vhpack.OptionError, match="SOURCE_DATE_EPOCH"):
        vhpack.outputs().compress("*", "z.zip", reproducible=True)
    assert left(out) == ["a.txt"]


@pytest.mark.parametrize("option", [{"level": 13}, {"jobs": 0}, {"memory": "lots"}, {"codec": "lzma"}, {"memory": 0}])
def test_an_option_out_of_range_is_refused_before_anything_happens(option: dict[str, object], out: Path) -> None:
    fill(out, "a.txt")
    with pytest.raises(vhpack.OptionError):
        vhpack.outputs().compress("*", "z.zip", **option)  # type: ignore[call-overload]
    assert left(out) == ["a.txt"]


@pytest.mark.parametrize("source", ["a\0b", ""])
def test_a_source_that_can_be_no_name_is_refused(source: str, out: Path) -> None:
    fill(out, "a")
    with pytest.raises(vhpack.OptionError, match="is no source"):
        vhpack.pack(source, out / "z.zip")


def test_several_threads_may_pack_at_once(out: Path) -> None:
    for number in range(4):
        fill(out, *(f"{number}/{name}.txt" for name in range(50)))
    threads = [
        threading.Thread(target=vhpack.outputs(str(number)).compress, args=("*.txt", f"../{number}.zip")) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(members(str(out / f"{number}.zip"))) for number in range(4)] == [50] * 4


def test_a_progress_function_that_fails_ends_the_pack_and_keeps_everything(out: Path) -> None:
    fill(out, "a.txt")

    def refuse(progress: vhpack.Progress) -> None:
        raise RuntimeError(progress.stage)

    with pytest.raises(RuntimeError):
        vhpack.outputs().compress("*", "z.zip", progress=refuse)
    assert "a.txt" in left(out) or "z.zip" in left(out)
