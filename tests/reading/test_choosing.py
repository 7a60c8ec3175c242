"""Which members a caller means is found in one look at each, however many folders there are."""

from __future__ import annotations

import sys
import zipfile
from types import FrameType
from typing import Any

import pytest

import vhpack
from vhpack import _members


def lines_run(choose: list[str], archive: vhpack.Archive) -> int:
    """How many lines of the module run for a choice: the same on every machine."""
    count = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line" and frame.f_code.co_filename == _members.__file__
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        _members.chosen(archive._native(), choose)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("text", ["*", "f*", "f*/", "*/*", "f1"])
def test_twice_the_folders_cost_twice_as_much(text: str) -> None:
    cost = {}
    for folders in (200, 400):
        with zipfile.ZipFile(f"{folders}.zip", "w") as writer:
            for number in range(folders):
                writer.writestr(f"f{number}/{number}/x", b"")
        cost[folders] = lines_run([text], vhpack.open(f"{folders}.zip"))

    assert cost[400] <= 2 * cost[200] + 50


@pytest.mark.usefixtures("work")
def test_each_folder_that_is_named_costs_the_same() -> None:
    with zipfile.ZipFile("a.zip", "w") as writer:
        for number in range(400):
            writer.writestr(f"f{number:03}/x", b"")
    archive = vhpack.open("a.zip")
    few, many = (lines_run([f"f{number:03}" for number in range(count)], archive) for count in (100, 400))
    assert many <= 4 * few
