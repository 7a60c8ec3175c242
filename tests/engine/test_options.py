"""Options out of range are refused with a sentence before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.command import compress
from tests.engine.trees import snapshot, write_tree

WRONG: list[dict[str, Any]] = [
    {"level": 13},
    {"level": -1},
    {"jobs": 0},
    {"jobs": -4},
    {"memory": 0},
    {"memory": "lots"},
    {"memory": -1},
    {"codec": "zstd"},
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
