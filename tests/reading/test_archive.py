"""`vhpack.open`: a read-only mapping that survives threads, forks, pickling and closing."""

import io
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.conftest import needs
from tests.reading.made import FORMATS, LARGE, contents, make
from vhpack import archive as archives


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, work: Path) -> Path:
    return make(work / f"made.{request.param}")


def test_it_is_the_mapping_that_was_packed(path: Path) -> None:
    with vhpack.open(path) as archive:
        assert isinstance(archive, Mapping)
        assert archive.names() == list(archive) == list(contents())
        assert len(archive) == len(contents())
        assert dict(archive) == contents()
        assert archive.path == str(path)
        assert archive.format == path.name.removeprefix("made.")


@pytest.mark.parametrize("kind", [*FORMATS, "tgz", "tzst"])
def test_our_own_archives_come_back_as_they_were(kind: str, work: Path) -> None:
    for name, content in contents().items():
        (work / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "tree" / name).write_bytes(content)
    vhpack.pack("tree", f"made.{kind}")
    archive = vhpack.open(f"made.{kind}")
    assert dict(archive) == contents()
    assert archive.verify().ok
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(pool.starmap(read_all, [(archive, contents())] * 2))
    archive.extract("there")
    assert on_disk(work / "there") == contents()


def test_what_is_not_there_is_a_key_error(path: Path) -> None:
    archive = vhpack.open(path)
    for missing in ("missing", "folder", "", "deep"):
        assert missing not in archive
    assert 7 not in archive  # type: ignore[comparison-overlap]
    assert archive.get("missing") is None
    for ask in (lambda: archive["missing"], lambda: archive.open("missing"), lambda: archive.info("missing")):
        with pytest.raises(vhpack.errors.MemberNotFoundError, match="missing") as caught:
            ask()
        assert isinstance(caught.value, KeyError)
    with pytest.raises(KeyError):
        archive.read_many(["empty", "missing"])


def test_text_that_is_no_name_at_all_is_a_key_that_is_not_there(path: Path) -> None:
    archive = vhpack.open(path)
    for name in ("\ud800", "a\udfff", "\0"):
        assert (name in archive, archive.get(name), archive.glob(name)) == (False, None, [])
        with pytest.raises(KeyError):
            archive[name]
        with pytest.raises(vhpack.MemberNotFoundError):
            archive.extract("out", name)


def test_an_archive_that_takes_the_name_while_it_is_opened_is_no_other_s(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(work / "a.zip")
    make(work / "b.zip")
    with zipfile.ZipFile(work / "b.zip", "a") as archive:
        archive.writestr("more", b"")
    stamp = archives._stamp

    def stamp_and_replace(path: str) -> tuple[int, int]:
        seen = stamp(path)
        if os.path.exists("b.zip"):
            os.replace("b.zip", "a.zip")
        return seen

    monkeypatch.setattr(archives, "_stamp", stamp_and_replace)
    with pytest.raises(vhpack.SourceChangedError, match="while it was being opened"):
        vhpack.open("a.zip")


@pytest.mark.usefixtures("work")
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_is_there_twice_is_one_key(kind: str) -> None:
    """A tar that was appended to has the file's old version still, which nobody reads."""
    if kind == "zip":
        with zipfile.ZipFile("twice.zip", "w") as writer:
            for name, content in (("a", b"1"), ("b", b"2"), ("folder/", b""), ("a", b"3"), ("c", b"4"), ("a", b"5")):
                writer.writestr(name, content)
    else:
        needs("tar")
        for step, name in enumerate("abaca"):
            Path(name).write_text(str(step))
            subprocess.run(["tar", "-rf", "twice.tar", name], check=True)
    with vhpack.open(f"twice.{kind}") as archive:
        assert archive.names() == list(archive) == archive.glob("*") == ["b", "c", "a"]
        assert len(archive) == len(dict(archive)) == len(set(archive.items())) == 3
        assert [name for name in archive if name not in archive] == []
        assert len(archive.members()) == 6 - (kind == "tar")
        dataset = vhpack.ArchiveDataset(archive)
        assert [name for name, _ in dataset] == ["b", "c", "a"]
        assert dataset[2][1] == archive["a"] == (b"5" if kind == "zip" else b"4")


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_no_key_gets_the_default(kind: str) -> None:
    for name, target in {"to": "file", "to folder": "folder", "to nothing": "missing"}.items():
        Path("tree/folder").mkdir(parents=True, exist_ok=True)
        Path("tree", name).symlink_to(target)
    Path("tree/file").write_bytes(b"content")
    vhpack.pack("tree", f"a.{kind}", symlinks="store")
    archive = vhpack.open(f"a.{kind}")
    for member in archive.members():
        assert (member.name in archive) == (archive.get(member.name) is not None), "a mapping has what it says it has"
    assert (archive.get("to"), "to" in archive, list(archive)) == (b"content", True, ["file"])
    assert [archive.get(name) for name in ("folder/", "folder", "missing", "to folder", "to nothing")] == [None] * 5


@pytest.mark.usefixtures("work")
def test_a_file_that_cannot_be_read_is_no_missing_one() -> None:
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_LZMA) as writer:
        writer.writestr("a", b"content")
    with pytest.raises(vhpack.UnsupportedArchiveError, match="method 14"):
        vhpack.open("a.zip").get("a")


def test_members_are_described(path: Path) -> None:
    archive = vhpack.open(path)
    member = archive.info(LARGE)
    assert (member.name, member.kind, member.size) == (LARGE, "file", 1_400_000)
    kinds = {member.name.rstrip("/"): member.kind for member in archive.members()}
    assert kinds["folder"] == "directory"
    assert len(kinds) == len(contents()) + 1
    assert [member.name for member in archive.members("train/*.png")] == archive.glob("train/*.png")
    assert len(archive.members(["train/*.png", "empty"])) == 13


def test_patterns_follow_the_rules_of_glob(path: Path) -> None:
    archive = vhpack.open(path)
    names = list(contents())
    assert archive.glob("*.png") == [name for name in names if name.endswith(".png") and "/" not in name]
    assert archive.glob("**/*.png") == [name for name in names if name.endswith(".png")]
    assert archive.glob("nothing") == []


def test_many_are_read_in_the_order_asked_for(path: Path) -> None:
    archive = vhpack.open(path)
    wanted = contents()
    names = [*reversed(wanted), LARGE, "empty"]
    for jobs in (None, 1, 3):
        assert archive.read_many(names, jobs) == [wanted[name] for name in names]
    assert archive.read_many([]) == []


def test_a_file_object_reads_and_seeks_as_a_file_does(path: Path) -> None:
    archive = vhpack.open(path)
    wanted = io.BytesIO(contents()[LARGE])
    chance = random.Random(3)
    with archive.open(LARGE) as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        for _ in range(60):
            whence = chance.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
            start = {os.SEEK_SET: 0, os.SEEK_CUR: wanted.tell(), os.SEEK_END: 1_400_000}[whence]
            goal = chance.choice([chance.randrange(1_400_000), chance.randrange(200), 1_400_010])
            assert file.seek(goal - start, whence) == wanted.seek(goal - start, whence)
            length = chance.choice([1, 7, 5000, 200_000, -1])
            assert file.read(length) == wanted.read(length)
            assert file.tell() == wanted.tell()
        with pytest.raises(ValueError, match="before the start"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_lines_can_be_read_as_text(work: Path) -> None:
    archive = vhpack.open(make(work / "lines.zip", {"a.csv": b"x,y\n1,2\n"}))
    assert list(io.TextIOWrapper(archive.open("a.csv"), "utf-8")) == ["x,y\n", "1,2\n"]


def test_after_close_it_is_a_value_error_as_with_files(path: Path) -> None:
    archive = vhpack.open(path)
    file = archive.open(LARGE)
    with archive:
        pass
    archive.close()
    assert archive.closed
    for ask in (archive.names, archive.members, lambda: len(archive), lambda: archive["empty"], lambda: "empty" in archive):
        with pytest.raises(ValueError, match="is closed"):
            ask()
    with pytest.raises(ValueError, match="is closed"):
        pickle.dumps(archive)
    assert file.read() == contents()[LARGE]


def test_two_archives_are_equal_only_when_they_are_one(path: Path) -> None:
    archive, other = vhpack.open(path), vhpack.open(path)
    assert archive == archive  # noqa: PLR0124
    assert archive != other
    assert len({archive, other}) == 2


def test_pickled_it_is_a_path_and_opens_at_the_first_use(path: Path) -> None:
    archive = vhpack.open(path)
    pickled = pickle.dumps(archive)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert dict(again) == contents()
    assert pickle.loads(pickle.dumps(pickle.loads(pickled)))["empty"] == b""


def test_pickled_it_refuses_an_archive_that_has_changed_since(path: Path) -> None:
    pickled = pickle.dumps(vhpack.open(path))
    make(path, {"other": b"other"})
    with pytest.raises(vhpack.SourceChangedError, match="changed since"):
        pickle.loads(pickled).names()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled).names()


def read_all(archive: vhpack.Archive, wanted: dict[str, bytes]) -> bool:
    names = list(wanted)
    random.Random(os.getpid()).shuffle(names)
    return all(archive[name] == wanted[name] for name in names)


def test_threads_may_share_it(path: Path) -> None:
    archive, wanted = vhpack.open(path), contents()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: read_all(archive, wanted), range(16)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_may_share_it(method: str, path: Path) -> None:
    archive = vhpack.open(path)
    _ = archive["empty"]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert all(pool.starmap(read_all, [(archive, contents())] * 4))


def test_a_fork_while_another_thread_reads_leaves_the_child_free(path: Path) -> None:
    archive, stop = vhpack.open(path), threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            _ = archive[LARGE]

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if archive["ü ä.txt"] == contents()["ü ä.txt"] else 1)
            end = time.monotonic() + 60
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
                assert time.monotonic() < end, "the child hangs"
                time.sleep(0.002)
            assert ended[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_file_object_goes_on_in_a_fork_while_another_thread_reads(path: Path) -> None:
    archive, stop = vhpack.open(path), threading.Event()
    file = archive.open(LARGE)
    file.read(1)
    small = archive.open("ü ä.txt")
    archive.close()

    def keep_reading() -> None:
        while not stop.is_set():
            file.seek(0)
            file.read()

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                small.seek(0)
                os._exit(0 if small.read() == contents()["ü ä.txt"] else 1)
            end = time.monotonic() + 60
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
                assert time.monotonic() < end, "the child hangs"
                time.sleep(0.002)
            assert ended[1] == 0
    finally:
        stop.set()
        thread.join()


READS = {
    "mapping": "archive['z-last']",
    "many": "archive.read_many(['z-last', 'a-large'])",
    "file": "file = archive.open('gap'); file.seek(-9, 2); file.read(1)",
    "far": "archive.open('z-last').read(1)",
}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar.zst that takes a second or more to unpack: one frame, of blocks that say one byte 131,072 times."""
    folder = tmp_path_factory.mktemp("slow")
    blocks = []
    for name, repeats in (("a-large", 1000), ("gap", 40_000), ("z-last", 0)):
        header = tarfile.TarInfo(name)
        header.size = repeats << 17
        raw = header.tobuf(tarfile.GNU_FORMAT)
        blocks += [(len(raw) << 3).to_bytes(3, "little"), raw, ((1 << 20 | 2).to_bytes(3, "little") + b"x") * repeats]
    end = bytes(1024)
    frame = b"\x28\xb5\x2f\xfd\0\x58" + b"".join(blocks) + (len(end) << 3 | 1).to_bytes(3, "little") + end
    (folder / "slow.tar.zst").write_bytes(frame)
    return folder / "slow.tar.zst"


@pytest.mark.parametrize("read", READS)
def test_ctrl_c_ends_a_long_read_of_a_packed_tar(slow: Path, read: str) -> None:
    assert_ctrl_c_is_heard(slow, READS[read])


def test_ctrl_c_ends_a_long_seek_in_a_packed_member_of_a_zip(work: Path) -> None:
    digits = random.Random(1).randbytes(1 << 20).hex().encode()
    with (
        zipfile.ZipFile(work / "slow.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("large", "w") as member,
    ):
        for _ in range(256):
            member.write(digits)
    back_and_forth = "for _ in range(30): file.seek(-1, 2), file.read(1), file.seek(0), file.read(1)"
    assert_ctrl_c_is_heard(work / "slow.zip", f"file = archive.open('large')\n    {back_and_forth}")


def assert_ctrl_c_is_heard(path: Path, statement: str) -> None:
    code = (
        "import os, signal, threading, time, vhpack\n"
        f"archive = vhpack.open({str(path)!r})\n"
        "def strike():\n    time.sleep(0.3)\n    global struck\n    struck = time.monotonic()\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=strike).start()\n"
        f"try:\n    {statement}\nexcept KeyboardInterrupt:\n    print(time.monotonic() - struck)\nelse:\n    print('done')"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    # 0.2 seconds are the promise; a busy machine takes its share.
    assert float(said) < 1.0


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_extracted_files_are_the_members(path: Path, work: Path) -> None:
    report = vhpack.open(path).extract("there")
    assert on_disk(work / "there") == contents()
    assert (work / "there/folder").is_dir()
    assert (report.dest, report.files, report.skipped) == (str(work / "there"), len(contents()), [])
    assert report.bytes == sum(map(len, contents().values()))


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ("empty", {"empty"}),
        (["empty", "ü ä.txt"], {"empty", "ü ä.txt"}),
        ("deep", {LARGE}),
        ("deep/", {LARGE}),
        ("*.png", {f"{number:02}.png" for number in range(12)}),
        (["train/0?.json", "deep", "empty"], {f"train/{number:02}.json" for number in range(10)} | {LARGE, "empty"}),
    ],
)
def test_names_folders_and_patterns_choose(members: str | list[str], wanted: set[str], path: Path, work: Path) -> None:
    vhpack.open(path).extract(work / "there", members)
    assert set(on_disk(work / "there")) == wanted


def test_a_folder_is_taken_whole_hidden_files_and_all(work: Path) -> None:
    members = {"folder/.hidden/.a": b"1", "folder/b": b"2", "folders/c": b"3"}
    archive = vhpack.open(make(work / "made.tar", members))
    for number, text in enumerate(("folder", "folder/", "f*r", "[e-g]*r/")):
        archive.extract(f"there{number}", text)
        assert set(on_disk(work / f"there{number}")) == {"folder/.hidden/.a", "folder/b"}


def test_a_pattern_takes_whole_folders_but_none_that_is_hidden_and_none_by_two_stars(work: Path) -> None:
    members = {"a/.git/x": b"", "a/b/y": b"", "a/c/.z": b"", "d/b/y": b""}
    archive = vhpack.open(make(work / "made.tar", members))
    for number, (text, wanted) in enumerate(
        {"a/*": ["a/b/y", "a/c/.z"], "a/.*": ["a/.git/x"], "**/y": ["a/b/y", "d/b/y"]}.items()
    ):
        archive.extract(f"there{number}", text)
        assert sorted(on_disk(work / f"there{number}")) == wanted


def test_a_tar_of_the_folder_dot_is_matched_without_the_dot(work: Path) -> None:
    archive = vhpack.open(make(work / "made.tar", {"./a": b"1", "./folder/b": b"2", "./folder/.c": b"3"}))
    assert archive.names() == ["./a", "./folder/b", "./folder/.c"]
    assert archive.glob("*") == archive.glob("./*") == ["./a"]
    assert archive.glob("**") == ["./a", "./folder/b"]
    for number, (text, wanted) in enumerate(
        {"a": ["a"], "./a": ["a"], "folder": ["folder/.c", "folder/b"], "./f*": ["folder/.c", "folder/b"]}.items()
    ):
        archive.extract(f"there{number}", text)
        assert sorted(on_disk(work / f"there{number}")) == wanted


def test_what_matches_nothing_is_an_error_before_anything_is_written(path: Path, work: Path) -> None:
    with pytest.raises(vhpack.errors.MemberNotFoundError, match="nothing"):
        vhpack.open(path).extract("there", ["empty", "nothing*"])
    assert not (work / "there").exists()


def test_a_destination_that_cannot_be_a_folder_is_refused(path: Path, work: Path) -> None:
    archive = vhpack.open(path)
    (work / "file").write_bytes(b"mine")
    for dest in ("file", "file/below", work / "file"):
        with pytest.raises(vhpack.TargetExistsError, match=r"file.* is no folder; name another") as caught:
            archive.extract(dest)
        assert isinstance(caught.value, FileExistsError)
    assert (work / "file").read_bytes() == b"mine"
    before = sorted(work.iterdir())
    with pytest.raises(vhpack.OptionError, match="dest is empty"):
        archive.extract("")
    assert sorted(work.iterdir()) == before


@pytest.mark.parametrize("nothing", ["", b"", "a\0b"])
def test_a_path_that_no_file_has_is_not_found(nothing: Any) -> None:
    with pytest.raises(vhpack.SourceNotFoundError, match="no file has such a name"):
        vhpack.open(nothing)


def test_existing_files_stop_stay_or_go(path: Path, work: Path) -> None:
    archive = vhpack.open(path)
    (work / "there").mkdir()
    (work / "there/empty").write_text("mine")
    with pytest.raises(vhpack.TargetExistsError) as caught:
        archive.extract("there")
    assert isinstance(caught.value, FileExistsError)
    assert set(on_disk(work / "there")) == {"empty"}
    report = archive.extract("there", existing="skip")
    assert [os.path.basename(skipped) for skipped, _ in report.skipped] == ["empty"]
    assert on_disk(work / "there") == {**contents(), "empty": b"mine"}
    archive.extract("there", existing="overwrite")
    assert on_disk(work / "there") == contents()


def test_folders_can_be_stripped(path: Path, work: Path) -> None:
    vhpack.open(path).extract("there", "train", strip=1)
    assert set(on_disk(work / "there")) == {name.removeprefix("train/") for name in contents() if name.startswith("train/")}


@pytest.mark.parametrize("options", [{"existing": "perhaps"}, {"strip": -1}, {"strip": 10**30}, {"jobs": 0}, {"jobs": 10**30}])
def test_options_out_of_range_are_refused(options: dict[str, Any], path: Path) -> None:
    with pytest.raises(vhpack.OptionError, match=next(iter(options))):
        vhpack.open(path).extract("there", **options)


def test_opening_which_may_go_through_a_long_tar_is_told_too(path: Path) -> None:
    seen: list[vhpack.Progress] = []
    with vhpack.open(path, progress=seen.append) as archive:
        assert archive.names()
    assert {progress.stage for progress in seen} == {"scan"}


@pytest.mark.parametrize("stage", ["extract", "verify"])
def test_progress_is_told(stage: str, path: Path) -> None:
    archive = vhpack.open(path)
    seen: list[vhpack.Progress] = []
    if stage == "extract":
        archive.extract("there", progress=seen.append)
    else:
        archive.verify(progress=seen.append)
    assert seen[-1].stage == stage
    assert seen[-1].files == seen[-1].total_files > 0


def test_an_exception_in_progress_ends_the_call(path: Path) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vhpack.open(path).verify(progress=fail)


def test_a_sound_archive_is_verified(path: Path) -> None:
    report = vhpack.open(path).verify()
    assert (report.ok, report.damaged, report.files) == (True, [], len(contents()))


def test_damage_is_listed_and_raises_nothing(work: Path) -> None:
    path = work / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good", b"x" * 5000)
        archive.writestr("bad", b"z" * 5000)
    path.write_bytes(path.read_bytes().replace(b"z" * 5000, b"z" * 4999 + b"y"))
    opened = vhpack.open(path)
    report = opened.verify()
    assert not report.ok
    assert [name for name, _, _ in report.damaged] == ["bad"]
    with pytest.raises(vhpack.errors.CorruptArchiveError, match="bad"):
        _ = opened["bad"]
    with pytest.raises(vhpack.errors.CorruptArchiveError, match="bad"):
        opened.extract("there")


def test_a_url_of_a_file_is_a_path(work: Path) -> None:
    (work / "a b").mkdir()
    path = make(work / "a b/ü.zip", {"a": b"x"})
    for url in (path.as_uri(), path.as_uri().replace("file://", "file://localhost"), str(path), path, "a b/ü.zip"):
        archive = vhpack.open(url)
        assert (archive["a"], archive.path) == (b"x", str(path))


@pytest.mark.parametrize("url", ["s3://bucket/a.zip", "https://example.com/a.zip", "datum://x", "file://elsewhere/a.zip"])
def test_other_urls_are_refused_with_the_next_step(url: str) -> None:
    with pytest.raises(vhpack.OptionError, match="download it first"):
        vhpack.open(url)


def test_a_path_that_only_looks_like_a_url_is_a_path(work: Path) -> None:
    (work / "no scheme:").mkdir()
    make(work / "no scheme:/a.zip", {"a": b"x"})
    assert vhpack.open("no scheme://a.zip")["a"] == b"x"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.zip", vhpack.SourceNotFoundError),
        ("folder", vhpack.PackError),
        ("text.zip", vhpack.errors.UnsupportedArchiveError),
        ("cut.zip", vhpack.PackError),
    ],
)
def test_what_is_no_archive_is_an_error_of_its_kind(name: str, error: type[Exception], work: Path) -> None:
    (work / "folder").mkdir()
    (work / "text.zip").write_text("no archive at all " * 100)
    (work / "cut.zip").write_bytes(make(work / "whole.zip").read_bytes()[:-500])
    with pytest.raises(error, match=name.replace(".", "\\.")):
        vhpack.open(work / name)


def test_star_imports_keep_the_builtin_open() -> None:
    names: dict[str, Any] = {}
    exec("from vhpack import *", names)
    assert "open" not in names
    assert "Archive" in names


def test_one_string_is_no_list_of_names(work: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as made:
        made.writestr("a", b"1")
    with vhpack.open(work / "a.zip") as archive, pytest.raises(TypeError, match=r"archive\['a'\]"):
        archive.read_many("a")
