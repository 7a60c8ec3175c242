"""Options out of range are refused with a sentence before anything is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, python, run
from tests.engine.trees import snapshot, write_tree

WRONG: list[dict[str, Any]] = [
    {"level": 13},
    {"level": -1},
    {"jobs": 0},
    {"jobs": -4},
    {"memory": 0},
    {"memory": "lots"},
    {"memory": -1},
    {"memory": "1k"},
    {"memory": 256},
    {"memory": "1023KiB"},
    {"codec": "brotli"},
    {"symlinks": "ignore"},
    {"on_change": "retry"},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_an_option_out_of_range_is_refused(work: Path, options: dict[str, Any]) -> None:
    write_tree(work / "data", {"a.txt": b"a"})
    before = snapshot(work)

    with pytest.raises(ValueError, match=r".+"):
        vhpack.pack("data", "out.zip", remove_originals=True, **options)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}={value}",)]
    ended = compress("data", "-o", "out.zip", "--remove-originals", *words, cwd=work)

    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert snapshot(work) == before


@pytest.mark.parametrize("how", [{"level": 1}, {"codec": "zstd"}, {"codec": "zstd", "level": 12}], ids=str)
@pytest.mark.parametrize("target", ["out.zip", "out.tar", "out.tar.gz", "out.tar.zst"])
def test_memory_that_cannot_be_kept_to_is_warned_of_with_what_can(work: Path, target: str, how: dict[str, Any]) -> None:
    """A dry run says the same."""
    if how.get("codec") == "zstd" and not target.endswith((".zip", ".zst")):
        how = {"level": how.get("level", 9)}
    write_tree(work / "data", {"a.txt": b"a" * 9_000})

    def memory_warnings(report: vhpack.PackReport) -> list[str]:
        return [warning for warning in report.warnings if warning.startswith("memory")]

    [warning] = memory_warnings(vhpack.pack("data", target, memory="1MiB", **how))
    least = int(re.search(r"(\d+) MiB, which it takes", warning)[1])  # type: ignore[index]
    words = [f"--{name}={value}" for name, value in how.items()]
    said = compress("data", "-o", target, "--force", "--dry-run", f"--memory={least - 1}MiB", *words, cwd=work)
    assert f"{least} MiB, which it takes" in said.err
    assert memory_warnings(vhpack.pack("data", target, memory=f"{least}MiB", force=True, **how)) == []


@pytest.mark.parametrize("source", ["", "a\0b"])
def test_a_source_that_can_be_no_path_is_refused(work: Path, source: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        vhpack.pack(source, "out.zip")
    assert snapshot(work) == {}


def test_a_working_directory_that_is_gone_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    import sys

    from tests.engine.command import run

    write_tree(tmp_path / "data", {"a.txt": b"a"})
    code = (
        "import os, sys, vhpack\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "try: vhpack.pack('x/*', 'out.zip')\n"
        "except (vhpack.PackError, OSError) as error: print('refused')\n"
    )
    assert run([sys.executable, "-c", code], tmp_path).out.strip() == "refused"


@pytest.mark.parametrize("option", [{"memory": 1.5e6}, {"level": "3"}, {"jobs": 2.5}, {"jobs": "two"}])
def test_a_value_of_the_wrong_type_is_refused_as_one_out_of_range(work: Path, option: dict[str, Any]) -> None:
    write_tree(work / "data", {"a": b"a"})

    with pytest.raises(vhpack.OptionError, match=next(iter(option.values())).__repr__().replace("+", r"\+")):
        vhpack.pack("data", "out.zip", **option)


def test_a_pattern_to_leave_out_may_be_a_path(work: Path) -> None:
    write_tree(work / "data", {"a": b"a", "b": b"b"})

    assert vhpack.pack("data", "out.zip", exclude=Path("b")).files == 1


def test_absolute_paths_need_no_working_directory(work: Path) -> None:
    write_tree(work, {"data/a": b"a", "gone": None})
    code = f"import os, vhpack; os.chdir('gone'); os.rmdir('../gone'); vhpack.pack({str(work / 'data')!r}, {str(work / 'out.zip')!r})"

    ended = python(code, cwd=work)

    assert ended.code == 0, ended


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_was_left_out_is_said_without_a_working_directory(work: Path, options: list[str]) -> None:
    """The archive is complete by then, and the originals have gone."""
    write_tree(work, {"data/a": b"a", "gone": None})
    (work / "data/link").symlink_to("a")
    words = [VHPACK, "compress", work / "data", "-o", work / "out.zip", "--symlinks", "skip", "--remove-originals", *options]

    ended = run(["sh", "-c", 'rmdir ../gone && exec "$@"', "sh", *map(str, words)], work / "gone")

    assert ended.code == 0, ended
    assert f"{work}/data/link" in ended.err + ended.out
    assert not (work / "data/a").exists()


def test_a_command_that_needs_a_working_directory_says_so(work: Path) -> None:
    (work / "gone").mkdir()
    words = [VHPACK, "upload", "file", "--to", "s3://bucket/key"]

    ended = run(["sh", "-c", 'rmdir ../gone && exec "$@"', "sh", *map(str, words)], work / "gone")

    assert ended.code == 1, ended
    assert "working directory" in ended.err


def test_yes_and_no_are_no_size_of_a_shard(work: Path) -> None:
    (work / "file").write_bytes(b"1")
    for value in (True, False):
        with pytest.raises(vhpack.OptionError, match="shard_size"):
            vhpack.pack("file", "a.zip", shard_size=value)
    assert sorted(path.name for path in work.iterdir()) == ["file"]
