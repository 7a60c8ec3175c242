"""`vhpack.hash_files`: digests by path, or an error, never a part of them."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import xxhash

import vhpack
from tests.engine.command import ordinary_user, python


def test_digests_are_by_path_in_order(work: Path) -> None:
    for name in ("b", "a.txt", "a/1", "a/0"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(name)
    digests = vhpack.hash_files("**")
    assert list(digests) == ["a.txt", "a/0", "a/1", "b"]
    assert digests == {name: xxhash.xxh3_128(name.encode()).hexdigest() for name in digests}
    assert vhpack.hash_files([work / "b"]) == {str(work / "b"): digests["b"]}
    assert vhpack.hash_files("**", exclude="a*") == {"b": digests["b"]}


def test_a_link_to_a_file_is_hashed_and_a_loop_of_folders_ends(work: Path) -> None:
    (work / "d").mkdir()
    (work / "d/file").write_text("x")
    (work / "d/link").symlink_to("file")
    (work / "d/loop").symlink_to(work / "d")
    digests = vhpack.hash_files("d")
    assert list(digests) == ["d/file", "d/link"]
    assert len(set(digests.values())) == 1


def test_names_that_are_no_utf_8_are_paths_like_any(work: Path) -> None:
    name = os.fsdecode(b"\xff.bin")
    (work / name).write_text("x")
    assert list(vhpack.hash_files(".")) == [name]


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(work: Path) -> None:
    for name in ("a", "b", "c"):
        (work / name).write_text(name)
    (work / "b").chmod(0)
    code = "import vhpack\ntry: vhpack.hash_files('.')\nexcept PermissionError as error: print(error.filename, error.errno)"
    done = python(code, cwd=work, before=ordinary_user())
    assert (done.code, done.out) == (0, "b 13\n"), done


@pytest.mark.parametrize(
    ("sources", "error"),
    [
        ("missing", vhpack.SourceNotFoundError),
        ("*.png", vhpack.NoFilesError),
        ("fifo", vhpack.SpecialFileError),
        ([], vhpack.NoFilesError),
    ],
)
def test_sources_without_files_are_errors(sources: Any, error: type[Exception], work: Path) -> None:
    os.mkfifo(work / "fifo")
    with pytest.raises(error):
        vhpack.hash_files(sources)


@pytest.mark.parametrize("options", [{"algorithm": "md5"}, {"jobs": 0}, {"jobs": 10**30}])
def test_options_out_of_range_are_refused(options: dict[str, Any], work: Path) -> None:
    (work / "a").touch()
    with pytest.raises(vhpack.OptionError, match=next(iter(options))):
        vhpack.hash_files("a", **options)


def test_progress_is_told_and_may_end_the_call(work: Path) -> None:
    (work / "a").write_bytes(bytes(5000))
    seen: list[vhpack.Progress] = []
    vhpack.hash_files("a", progress=seen.append)
    assert (seen[-1].stage, seen[-1].files, seen[-1].total_files, seen[-1].bytes_in) == ("hash", 1, 1, 5000)
    with open(work / "huge", "wb") as file:
        file.truncate(1 << 40)

    def fail(_: object) -> None:
        raise RuntimeError("enough")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="enough"):
        vhpack.hash_files("huge", "sha256", progress=fail)
    assert threading.active_count() == before


@pytest.mark.parametrize("algorithm", ["blake3", "xxh3-128"])
def test_a_file_that_shrinks_meanwhile_is_no_crash(algorithm: Any, work: Path) -> None:
    path = work / "shrinking"
    path.write_bytes(bytes(300 << 20))
    shrink = threading.Timer(0.01, os.truncate, [path, 10])
    shrink.start()
    # Either it was read before, or the error says so.
    with contextlib.suppress(vhpack.PackOSError):
        assert list(vhpack.hash_files(path, algorithm)) == [str(path)]
    shrink.join()
