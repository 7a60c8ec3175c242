"""One call, several archives: each complete by itself, none with half a sample, and none mixed with an earlier pack's."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import webdataset

import vhpack
from tests.engine.command import VHPACK, compress
from tests.engine.test_changes import READS, shrink
from tests.engine.trees import MIB, contents, noise, prose, snapshot, write_tree
from tests.faults.tracing import paused

SUFFIXES = [".zip", ".tar", ".tar.gz", ".tar.zst"]

READ_SAMPLES = """
import json, sys, warnings
warnings.simplefilter("ignore")
import webdataset
samples = webdataset.WebDataset(sys.argv[1:], shardshuffle=False, empty_check=False)
print(json.dumps([[s["__key__"], sorted(k for k in s if k[:1] != "_"), {k: len(v) for k, v in s.items() if k[:1] != "_"}] for s in samples]))
"""


def samples(base: Path, count: int = 40) -> Path:
    return write_tree(
        base,
        {f"train/{i:04}.png": noise(20_000 + i, i) for i in range(count)}
        | {f"train/{i:04}.json": prose(300, i) for i in range(count)}
        | {f"train/{i:04}.seg.png": noise(3_000, i) for i in range(count)},
    )


def members(shards: list[str]) -> list[list[str]]:
    held = []
    for shard in shards:
        if shard.endswith(".zip"):
            with zipfile.ZipFile(shard) as reader:
                held.append(reader.namelist())
        else:
            with tarfile.open(shard) as tar:
                held.append(tar.getnames())
    return held


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shards_hold_every_member_once_and_never_half_a_sample(work: Path, suffix: str) -> None:
    samples(work / "data")

    report = vhpack.pack("data", f"out{suffix}", shard_size=200_000)

    assert [os.path.basename(path) for path in report.targets] == [f"out-{i:05}{suffix}" for i in range(len(report.targets))]
    assert len(report.targets) == 5
    assert sorted(path.name for path in work.iterdir()) == ["data", *(os.path.basename(path) for path in report.targets)]
    assert (report.files, report.bytes_out) == (120, sum(os.path.getsize(path) for path in report.targets))
    assert (report.target, report.digest) == (report.targets[0], report.digests[0])
    if suffix in {".zip", ".tar", ".tar.gz"}:
        held = members(report.targets)
        assert [name for shard in held for name in shard] == sorted(contents(work / "data"))
        stems = [{os.path.basename(name).split(".")[0] for name in shard} for shard in held]
        assert sum(map(len, stems)) == 40, "a sample is in two shards"
        for shard in held:
            assert sum((work / "data" / name).stat().st_size for name in shard) <= 200_000


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_webdataset_reads_the_shards(work: Path, suffix: str) -> None:
    samples(work / "data")
    shards = vhpack.pack("data", f"out{suffix}", shard_size="200kB").targets

    done = subprocess.run([sys.executable, "-c", READ_SAMPLES, *shards], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert [key for key, _, _ in read] == [f"train/{i:04}" for i in range(40)]
    for number, (_, kinds, lengths) in enumerate(read):
        assert kinds == ["json", "png", "seg.png"]
        assert lengths == {"json": 300, "png": 20_000 + number, "seg.png": 3_000}


def test_every_sample_is_whole_whatever_folders_and_files_are_called(work: Path) -> None:
    """A folder `a.parts` sorts between the files `a.json` and `a.png`; hidden files belong to their folder."""
    chance = random.Random(7)
    for round_number in range(6):
        names = {"a.json", "a.parts/1.x", "a.parts/1.y", "a.png", "b/.x", "b/.y", "c/s.1/t.a", "c/s.0", "c/s.2", "plain"}
        for _ in range(40):
            parts = ["".join(chance.choice("ab.-") for _ in range(chance.randint(1, 4))) for _ in range(chance.randint(1, 3))]
            names.add("/".join(part if part.strip(".") else f"a{part}" for part in parts))
        folders = {name.rsplit("/", count)[0] for name in names for count in range(1, name.count("/") + 1)}
        names -= folders
        base = f"{round_number}"
        write_tree(work / base, {name: noise(chance.randint(0, 300)) for name in names})
        shards = vhpack.pack(base, f"{base}.tar", shard_size=chance.choice([1, 200, 1000, 10**6])).targets

        done = subprocess.run([sys.executable, "-c", READ_SAMPLES, *shards], capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        read = {key: kinds for key, kinds, _ in json.loads(done.stdout)}
        assert len(read) == len(json.loads(done.stdout)), "a sample is in two places"
        wanted: dict[str, list[str]] = {}
        for name in sorted(names):
            key, kind = webdataset.tariterators.base_plus_ext(name)
            if key is not None:
                wanted.setdefault(key, []).append(kind)
        assert {key: sorted(kinds) for key, kinds in read.items()} == {key: sorted(kinds) for key, kinds in wanted.items()}
        assert sorted(name for shard in members(shards) for name in shard) == sorted(names)


def test_cuts_depend_on_sizes_alone(work: Path) -> None:
    samples(work / "data")
    wanted = vhpack.pack("data", "one.zip", shard_size=150_000, jobs=1)
    for jobs, memory in ((1, "1MiB"), (2, "256MiB"), (16, "256MiB")):
        other = vhpack.pack("data", "other.zip", shard_size=150_000, jobs=jobs, memory=memory, force=True)
        assert other.digests == wanted.digests


def test_a_group_larger_than_a_shard_is_one_shard_and_names_without_a_stem_are_alone(work: Path) -> None:
    write_tree(
        work / "data",
        {"a.png": noise(900), "a.txt": noise(900), "b": noise(90), ".c.x": noise(90), ".c.y": noise(90), "d.x": b"1"},
    )

    report = vhpack.pack("data", "out.zip", shard_size=100)

    assert members(report.targets) == [[".c.x"], [".c.y"], ["a.png", "a.txt"], ["b", "d.x"]]


def test_existing_shards_are_refused_and_replaced_with_force(work: Path) -> None:
    samples(work / "data")
    vhpack.pack("data", "out.zip", shard_size=400_000)
    before = snapshot(work)

    with pytest.raises(vhpack.TargetExistsError, match=r"out-00000\.zip"):
        vhpack.pack("data", "out.zip", shard_size=200_000)
    assert snapshot(work) == before
    report = vhpack.pack("data", "out.zip", shard_size=200_000, force=True)
    assert [name for shard in members(report.targets) for name in shard] == sorted(contents(work / "data"))


def test_shards_of_an_earlier_larger_pack_are_never_mixed_with_new_ones(work: Path) -> None:
    samples(work / "data")
    vhpack.pack("data", "out.zip", shard_size=200_000)
    before = snapshot(work)

    with pytest.raises(vhpack.TargetExistsError, match=r"out-00003\.zip.*move it"):
        vhpack.pack("data", "out.zip", shard_size=400_000, force=True)
    assert snapshot(work) == before


def test_wildcards_take_no_shard_of_the_target(work: Path) -> None:
    write_tree(work, {f"{i}.bin": noise(900, i) for i in range(4)})
    first = vhpack.pack("*", "out.zip", shard_size=2_000)
    again = vhpack.pack("*", "out.zip", shard_size=2_000, force=True)

    assert again.digests == first.digests
    assert [os.path.basename(path) for path, _ in again.skipped] == ["out-00000.zip", "out-00001.zip"]


def test_originals_go_after_the_last_shard(work: Path) -> None:
    samples(work / "data")
    command = [VHPACK, "compress", "data", "-o", "out.tar", "--shard-size", "200kB", "--remove-originals"]
    last = work / "data/train/0039.png"
    with paused(command, work, calls=READS, paths=[last]) as pause:
        kept = contents(work / "data")
        complete = sorted(path.name for path in work.glob("out-*.tar"))
        shrink(last)

    assert len(kept) == 120
    assert complete == [f"out-{i:05}.tar" for i in range(4)]
    assert pause.ended.code == 1
    assert "4 shards before it are complete" in pause.ended.err
    assert "nothing was published" not in pause.ended.err
    assert len(contents(work / "data")) == 120
    for name in complete:
        with tarfile.open(name) as reader:
            assert reader.getnames()

    ended = compress("data", "-o", "out.tar", "--shard-size", "200kB", "--remove-originals", "--force", "--json", cwd=work)
    assert ended.code == 0, ended
    report = json.loads(ended.out)
    assert (report["removed"], len(report["targets"]), len(report["digests"])) == (120, 5, 5)
    assert contents(work / "data") == {}


def test_outputs_return_the_list() -> None:
    images = vhpack.outputs("images")
    for number in range(6):
        Path(images.path(f"{number}.bin")).write_bytes(noise(MIB, number))

    shards = images.compress("*.bin", "all.zip", shard_size="2MiB", live_upload=True)

    assert [os.path.basename(path) for path in shards] == ["all-00000.zip", "all-00001.zip", "all-00002.zip"]
    assert sorted(os.listdir(os.path.dirname(shards[0]))) == ["all-00000.zip", "all-00001.zip", "all-00002.zip"]
    assert all(os.stat(path).st_mode & 0o222 == 0 for path in shards)


@pytest.mark.parametrize("size", [0, -1, "0B", "many"])
def test_sizes_that_mean_nothing_are_refused(work: Path, size: object) -> None:
    write_tree(work / "data", {"a": b"a"})
    with pytest.raises(vhpack.OptionError, match=r"shard_size|amount"):
        vhpack.pack("data", "out.zip", shard_size=size)  # type: ignore[arg-type]
    assert not list(work.glob("out*"))
