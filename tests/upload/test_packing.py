"""Archives that are uploaded while they are packed: what arrives is what lies here, or nothing does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vhpack
from tests.engine.command import run
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import MIB, PART, SECONDS, around, resume, started
from tests.upload.servers import Server
from vhpack.errors import PackWarning

if TYPE_CHECKING:
    from vhpack._packing import Codec

TEXT = b"a line that deflate knows by now\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files around one of 24 MiB that is stored, one that is deflated, and one that deflate would make longer."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(300):
        (root / f"{number:03}.txt").write_bytes(b"%d\n" % number * number)
    (root / "100-noise.bin").write_bytes(noise(24 * MIB, 1))
    (root / "200-text.txt").write_bytes(TEXT * (20 * MIB // len(TEXT)))
    (root / "250-noise.txt").write_bytes(noise(9 * MIB, 2))
    return root


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An outputs folder of the test's own, and no destination left behind."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(folder))
    yield folder
    vhpack.set_upload_destination(None)


def send_to(server: Server, **options: object) -> None:
    vhpack.set_upload_destination(server.uri("run"), **{"part_size": PART, **server.options(), **options})


@pytest.mark.parametrize(
    ("name", "codec"), [("a.zip", "auto"), ("a.zip", "deflate"), ("a.tar", "auto"), ("a.tar.gz", "auto"), ("a.tar.zst", "auto")]
)
def test_what_arrives_is_the_archive(s3: Server, outputs: Path, tree: Path, name: str, codec: Codec) -> None:
    send_to(s3)
    source = outputs / "tree"
    source.symlink_to(tree)
    made = Path(vhpack.outputs().compress("tree/*", name, live_upload=True, remove_originals=False, codec=codec))
    (upload,) = vhpack.wait_for_uploads(SECONDS).done
    assert (upload.uri, upload.path) == (s3.uri(f"run/{name}"), str(made))
    assert s3.read(f"run/{name}") == made.read_bytes()
    assert s3.unfinished() == 0
    assert made.stat().st_mode & 0o222 == 0


def test_each_shard_arrives(s3: Server, outputs: Path, tree: Path) -> None:
    send_to(s3)
    (outputs / "tree").symlink_to(tree)
    made = vhpack.outputs().compress("tree/*", "a.tar", live_upload=True, remove_originals=False, shard_size="20MiB")
    assert len(made) > 2
    assert len(vhpack.wait_for_uploads(SECONDS).done) == len(made)
    for path in made:
        assert s3.read(f"run/{Path(path).name}") == Path(path).read_bytes()
    assert len(s3.names()) == len(made)


def test_a_pack_that_fails_leaves_nothing_there(s3: Server, outputs: Path) -> None:
    send_to(s3)
    (outputs / "text.txt").write_bytes(os.urandom(MIB).hex().encode() * 24)

    def fail_when_parts_arrive(_: object) -> None:
        if s3.unfinished():
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vhpack.outputs().compress("text.txt", "a.zip", live_upload=True, level=12, progress=fail_when_parts_arrive)
    assert vhpack.wait_for_uploads(SECONDS, raise_on_error=False).pending == []
    assert (s3.names(), s3.unfinished()) == ([], 0)
    assert os.listdir(outputs) == ["text.txt"]


def test_a_file_that_changes_is_left_out_there_too(s3: Server, outputs: Path) -> None:
    send_to(s3)
    (outputs / "a.bin").write_bytes(noise(12 * MIB, 3))
    (outputs / "b.bin").write_bytes(noise(64 * MIB, 4))
    (outputs / "c.bin").write_bytes(noise(12 * MIB, 5))
    packed = threading.Event()

    def write_on() -> None:
        with (outputs / "b.bin").open("ab") as file:
            while not packed.wait(0.001):
                file.write(b"more")
                file.flush()

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        with pytest.warns(PackWarning, match="left out"):
            made = Path(vhpack.outputs().compress("*.bin", "a.zip", live_upload=True, on_change="skip"))
    finally:
        packed.set()
        writer.join()
    vhpack.wait_for_uploads(SECONDS)
    assert s3.read("run/a.zip") == made.read_bytes()
    with vhpack.open(made) as archive:
        assert list(archive) == ["a.bin", "c.bin"]


SCRIPT = """
import json, os, resource, sys, vhpack
options = json.loads(sys.argv[1])
live = options.pop("live", True)
if live:
    vhpack.set_upload_destination(sys.argv[2], **options.pop("to"))
made = vhpack.outputs().compress("*.txt", "a.zip", live_upload=live, **options.pop("pack", {}))
uploads = vhpack.wait_for_uploads(60).done
print(json.dumps([upload.bytes_reused for upload in uploads]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def packing(server: Server, **options: object) -> list[str | bytes | Path]:
    given = {"to": {"part_size": PART}, **options}
    return [sys.executable, "-c", SCRIPT, json.dumps(given), server.uri("run")]


def parts_noted(state: Path) -> int:
    """Parts that are there for certain: each has been answered and written down."""
    return sum(journal.read_bytes().count(b'"t":"part"') for journal in state.glob("*.jsonl"))


def test_a_killed_pack_is_finished_by_the_same_call_which_sends_no_part_twice(
    s3: Server, outputs: Path, state: Path, tmp_path: Path
) -> None:
    text = os.urandom(MIB).hex().encode() * 24
    (outputs / "text.txt").write_bytes(text)
    environment = {**around(s3, state), "VH_OUTPUTS_DIR": str(outputs)}
    words = packing(s3, pack={"level": 12})
    process = started(words, environment, tmp_path)
    until = time.monotonic() + SECONDS
    while parts_noted(state) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    # It was sent while it was packed: there is no archive yet.
    assert os.listdir(outputs) == ["text.txt"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert os.listdir(outputs) == ["text.txt"]
    assert s3.names() == []
    told = resume(environment, tmp_path)
    assert (told.code, "the same call of compress" in told.err) == (0, True), told
    ended = run(words, tmp_path, environment=environment, timeout=SECONDS)
    assert ended.code == 0, ended
    (reused,) = json.loads(ended.out.rpartition("]")[0] + "]")
    assert reused >= 2 * PART
    assert s3.read("run/a.zip") == (outputs / "a.zip").read_bytes()
    assert (os.listdir(outputs), s3.unfinished()) == (["a.zip"], 0)


def test_a_slow_destination_costs_no_memory(servers: object, outputs: Path, state: Path, tmp_path: Path) -> None:
    server = servers("moto")  # type: ignore[operator]
    server.new_bucket()
    (outputs / "noise.txt").write_bytes(noise(64 * MIB, 6))
    peaks = []
    with proxy(server) as between:
        between.faults = [Fault("^PUT ", "slow", 8 * MIB, times=-1)]
        server.via = between.port
        environment = {**around(server, state), "VH_OUTPUTS_DIR": str(outputs)}
        for live in (False, True):
            pack = {"remove_originals": False, "memory": "32MiB"}
            options = {"to": {"part_size": PART, "memory": "10MiB"}} if live else {"live": False}
            ended = run(packing(server, pack=pack, **options), tmp_path, environment=environment, timeout=2 * SECONDS)
            assert ended.code == 0, ended
            peaks.append(int(ended.out.rpartition("]")[2]) << 10)
    assert server.read("run/a.zip") == (outputs / "a.zip").read_bytes()
    assert peaks[1] - peaks[0] <= (10 + 32) * MIB, peaks
