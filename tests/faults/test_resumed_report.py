"""The report of a call that finishes a removal describes the archive, as the call that made it would have."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.command import VHPACK, compress, run
from tests.engine.trees import noise, prose, write_tree
from tests.faults.tracing import strace, was_injected

FILES = {f"{number}.json": prose(4_000, number) for number in range(7)} | {"sub/noise.bin": noise(5_000), "empty": None}
CALLS = {
    "zip": ["data", "-o", "out.zip"],
    "tar": ["data", "-o", "out.tar.zst"],
    "zstd": ["data", "-o", "out.zip", "--codec", "zstd"],
    "links": ["data", "-o", "out.zip", "--symlinks", "store"],
    "shards": ["data", "-o", "out.zip", "--shard-size", "9k"],
    "manifest": ["data", "-o", "out.zip", "--manifest"],
    "shards and manifests": ["data", "-o", "out.zip", "--shard-size", "9k", "--manifest"],
}
DESCRIBING = [
    "files",
    "directories",
    "links",
    "bytes_in",
    "bytes_out",
    "stored",
    "deflated",
    "zstd",
    "target",
    "targets",
    "digest",
    "digests",
    "manifests",
]


def fill(work: Path) -> None:
    write_tree(work / "data", FILES)
    (work / "data/link").symlink_to("0.json")


def reported(work: Path, call: list[str]) -> dict[str, Any]:
    ended = compress(*call, "--remove-originals", "--json", "--reproducible", cwd=work)
    assert ended.code == 0, ended
    report: dict[str, Any] = json.loads(ended.out)
    return report


@pytest.mark.parametrize("unlinked", [0, 3, "all"], ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_it_says_what_the_archive_holds(work: Path, call: str, unlinked: int | str) -> None:
    fill(work)
    whole = reported(work, CALLS[call])
    assert whole["resumed"] is False
    for path in work.glob("out*"):
        path.unlink()
    fill(work)
    log = work.parent / "log"
    gone = unlinked if isinstance(unlinked, int) else int(whole["removed"])
    kill = strace(["unlink", "unlinkat"], log, inject=f"signal=KILL:when={gone + 1}")
    words = [VHPACK, "compress", *CALLS[call], "--remove-originals", "--reproducible", "--jobs", "1"]
    run([*kill, *words], work)
    assert was_injected(log)

    again = reported(work, [*CALLS[call], "--force"])

    # Where no original had gone, and all are packed again, it is no removal that was finished.
    assert again["resumed"] is (gone > 0)
    assert {name: again[name] for name in DESCRIBING} == {name: whole[name] for name in DESCRIBING}
    assert again["removed"] == whole["removed"] - gone


def test_what_is_left_over_does_not_make_it_forget_what_the_archive_holds(work: Path) -> None:
    write_tree(work, {f"data/{name}": body for name, body in FILES.items()} | {"ext/e.json": b"e"})
    (work / "data/link").symlink_to("../ext")
    call = ["data", "-o", "out.zip", "--remove-originals", "--json"]
    first = json.loads(compress(*call, cwd=work).out)

    again = json.loads(compress(*call, cwd=work).out)

    assert again["resumed"]
    assert {name: again[name] for name in DESCRIBING} == {name: first[name] for name in DESCRIBING}
    assert again["kept"] == first["kept"]


def test_people_read_that_an_earlier_call_made_it(work: Path) -> None:
    fill(work)
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=3")
    run([*kill, VHPACK, "compress", "data", "-o", "out.zip", "--remove-originals", "--jobs", "1"], work)

    ended = compress("data", "-o", "out.zip", "--remove-originals", cwd=work)

    assert ended.code == 0, ended
    assert "made by an earlier call" in ended.err
    assert "MB/s" not in ended.err


def test_it_survives_being_sent_to_another_process(work: Path) -> None:
    fill(work)
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=3")
    run([*kill, VHPACK, "compress", "data", "-o", "out.zip", "--remove-originals", "--jobs", "1"], work)

    report = vhpack.pack("data", "out.zip", remove_originals=True)

    assert report.resumed
    assert pickle.loads(pickle.dumps(report)).resumed
