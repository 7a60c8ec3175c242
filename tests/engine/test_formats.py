"""What holds for a zip holds for every format: same bytes on any machine, nothing lost, nothing half."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.command import VHPACK, Ended, compress
from tests.engine.refusals import check_failed
from tests.engine.test_bad_sources import A_STEP
from tests.engine.test_changes import CHANGES, READS
from tests.engine.trees import MIB, mixed_tree, noise, prose, snapshot, write_tree
from tests.faults.tracing import paused

SUFFIXES = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"]
MEMORIES = ["1MiB", "24MiB", "256MiB"]


def held(archive: Path) -> dict[str, bytes]:
    """Name and bytes of every file, as GNU tar tells them."""
    needs("tar")
    back = archive.with_name(archive.name + ".back")
    back.mkdir()
    done = subprocess.run(["tar", "-xf", archive, "-C", back], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return {str(path.relative_to(back)): path.read_bytes() for path in sorted(back.rglob("*")) if path.is_file()}


def tar_of(archive: Path) -> bytes:
    """The tar inside, as the tools of its codec take it out."""
    command = {"zst": ["zstd", "-dcq"], "gz": ["gzip", "-dc"], "ar": ["cat"]}
    tool = next(words for end, words in command.items() if archive.name.replace("tzst", "zst").replace("tgz", "gz").endswith(end))
    needs(tool[0])
    return subprocess.run([*tool, archive], check=True, capture_output=True).stdout


def dated(base: Path, files: dict[str, bytes]) -> None:
    """Write files that always bear the same time."""
    write_tree(base, dict(files))
    for name in files:
        os.utime(base / name, (1_500_000_000, 1_500_000_000))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = mixed_tree(tmp_path_factory.mktemp("formats") / "data")
    write_tree(
        base,
        {
            "large/noise.bin": noise(9 * MIB + 17),
            "large/half.bin": prose(7 * MIB) + noise(3 * MIB),
            "large/just": prose(4 * MIB + 1),
            **{f"many/{i:04}.json": prose(50 + 37 * i, i) for i in range(400)},
            **{f"medium/{i}.bin": noise(900_000 + i, i) for i in range(5)},
        },
    )
    for number, path in enumerate(sorted(base.rglob("*"))):
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    return base


@pytest.mark.parametrize("on_change", ["error", "skip"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_number_of_threads_and_any_memory_give_the_same_bytes(
    tmp_path: Path, tree: Path, suffix: str, on_change: str
) -> None:
    wanted = tmp_path / f"one{suffix}"
    vhpack.pack(tree, wanted, jobs=1)
    for jobs in (1, 2, 3, 16):
        for memory in MEMORIES[jobs % 2 :]:
            other = tmp_path / f"other{suffix}"
            report = vhpack.pack(tree, other, jobs=jobs, memory=memory, force=True, on_change=on_change)  # type: ignore[arg-type]
            assert other.read_bytes() == wanted.read_bytes(), f"jobs={jobs}, memory={memory}"
            assert report.bytes_out == other.stat().st_size
    assert held(wanted) == {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_report_counts_and_the_digest_is_of_the_file(work: Path, tree: Path, suffix: str) -> None:
    import xxhash

    for on_change in ("error", "skip"):
        archive = work / f"{on_change}{suffix}"
        report = vhpack.pack(tree, archive, on_change=on_change)
        assert report.digest == xxhash.xxh3_128_hexdigest(archive.read_bytes())
        assert report.files == sum(path.is_file() for path in tree.rglob("*"))
        assert report.directories == 1
        assert report.bytes_in == sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [30_000, 9 * MIB], ids=["small", "in blocks"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_changes_ends_the_pack_or_is_left_out(work: Path, suffix: str, change: str, size: int) -> None:
    files = {"a": prose(700_000), "b": prose(size), "c": noise(2 * MIB), "d": prose(9 * MIB)}
    for on_change in ("error", "skip"):
        dated(work / "data", files)
        archive = work / f"out{suffix}"
        command = [VHPACK, "compress", "data", "-o", archive.name, "--jobs", "2", "--remove-originals", "--json"]
        with paused([*command, "--on-change", on_change], work, calls=READS, paths=[work / "data/b"]) as pause:
            CHANGES[change](work / "data/b")
            left = (work / "data/b").read_bytes()
        if on_change == "error":
            check_failed(Ended(pause.ended.code, "", pause.ended.err), ["data/b"], A_STEP)
            assert set(snapshot(work)) == {"data", *(f"data/{name}" for name in files)}
        else:
            assert "data/b" in json.dumps(json.loads(pause.ended.out)["skipped"])
            assert held(archive) == {name: content for name, content in files.items() if name != "b"}
            assert {path.name: path.read_bytes() for path in (work / "data").iterdir()} == {"b": left}
            # What was taken back leaves no trace: the bytes are those of a pack that never saw it.
            (work / "data/b").unlink()
            dated(work / "data", {name: content for name, content in files.items() if name != "b"})
            vhpack.pack("data", f"again{suffix}")
            # (Frames may end elsewhere: one ended before the member that was taken back.)
            again = work / f"again{suffix}"
            assert tar_of(again) == tar_of(archive) if size > MIB else again.read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_originals_go_once_the_archive_is_there(work: Path, suffix: str) -> None:
    files = {f"{i:03}.json": prose(9_000, i) for i in range(300)} | {"large": noise(6 * MIB)}
    write_tree(work / "data", files)

    report = vhpack.pack("data", f"out{suffix}", remove_originals=True)

    assert (report.removed, list((work / "data").iterdir())) == (301, [])
    assert held(work / f"out{suffix}") == files
    assert sorted(path.name for path in work.iterdir()) == ["data", f"out{suffix}", f"out{suffix}.back"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_command_and_outputs_take_the_format_from_the_suffix(work: Path, suffix: str) -> None:
    write_tree(work / "data", {"a.txt": b"a", "sub/b.txt": b"b"})
    ended = compress("data", "-o", f"out{suffix.upper()}", cwd=work)
    assert ended.code == 0, ended
    images = vhpack.outputs("images")
    Path(images.path("1.txt")).write_bytes(b"1")

    packed = images.compress("*.txt", f"all{suffix}")

    assert held(work / f"out{suffix.upper()}") == {"a.txt": b"a", "sub/b.txt": b"b"}
    assert held(Path(packed)) == {"1.txt": b"1"}


def test_a_method_that_the_format_has_no_place_for_is_refused(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a"})
    before = snapshot(work)
    for target, options in REFUSED:
        with pytest.raises(vhpack.OptionError, match=target.replace(".", r"\.")):
            vhpack.pack("data", target, **options)  # type: ignore[arg-type]
    assert snapshot(work) == before


REFUSED: list[tuple[str, Mapping[str, object]]] = [
    ("out.tar", {"codec": "deflate"}),
    ("out.tar.zst", {"codec": "deflate"}),
    *((f"out{suffix}", {"codec": "store"}) for suffix in SUFFIXES[1:]),
    *((f"out{suffix}", {"level": 0}) for suffix in SUFFIXES[1:]),
]
