"""A job that is killed while it stores snapshots loses none: what it had handed over is stored by whoever goes on, or is where it was."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK, needs
from tests.engine.command import VHPACK, run
from tests.engine.trees import noise
from tests.faults.tracing import strace, was_injected
from tests.models.conftest import left_in_spool
from tests.registry.making import environment
from tests.upload.proxy import Fault, Proxy
from tests.upload.sending import MIB, PART, recorded, until
from vhpack.registry import opening

KILLS = 40 if SOAK else 2
CALLS = 60 if SOAK else 2

JOB = """
import os, sys, vhpack
task = vhpack.Task.init("cats", "train")
model = vhpack.OutputModel(name="resnet")
print(model.id, flush=True)
for epoch in range(6):
    name = f"epoch-{epoch}.bin"
    with open(name, "wb") as file:
        file.write(bytes([65 + epoch]) * 200_000)
    if epoch == 3:
        os.makedirs("tree/sub"); os.rename(name, "tree/sub/" + name)
        model.update_weights("tree", iteration=epoch)
    else:
        model.update_weights(name, iteration=epoch)
    print(epoch, flush=True)
task.close()
print("closed", flush=True)
"""


def job(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "job.py").write_text(JOB)
    return [sys.executable, "job.py"]


def check(folder: Path, told: list[str], around: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill: go on, and look whether everything is somewhere, whole, and nothing is left half-way."""
    ended = run([VHPACK, "model", "resume"], folder, environment=around)
    assert ended.code == 0, ended
    monkeypatch.chdir(folder)
    vhpack.reset()
    opening._open.clear()
    begun = [int(line) for line in told if line.isdigit()]
    versions = [] if not vhpack.query_models() else vhpack.query_models()[0].versions()
    assert {version.state for version in versions} <= {"stored", "failed"}
    stored = {version.iteration: version for version in versions if version.state == "stored"}
    for epoch in range(6):
        content = bytes([65 + epoch]) * 200_000
        path = Path(f"tree/sub/epoch-{epoch}.bin" if epoch == 3 else f"epoch-{epoch}.bin")
        if epoch in stored:
            assert not path.exists() or path.stat().st_size in (0, len(content))
            model = vhpack.query_models()[0]
            found = model.get_weights(version=stored[epoch].n, raise_on_error=True, extract_archive=True)
            assert found is not None
            whole = Path(found) if epoch != 3 else Path(found) / "sub" / path.name
            assert whole.read_bytes() == content
        elif epoch in begun:
            # Handed over, and not stored: what was cut off while it packed.
            assert path.read_bytes() == content, f"epoch {epoch} is lost"
        elif epoch < len(begun):
            raise AssertionError("an epoch was left out")
    if vhpack.query_models():
        (first, *more) = vhpack.query_models()
        assert more == []
        done = [version.n for version in versions if version.state == "stored"]
        assert first.url == (versions[done[-1] - 1].url if done else None)
    assert left_in_spool() == []
    vhpack.reset()
    assert [record for record in recorded(around, folder) if not record.get("alive")] == []


def test_a_kill_at_a_random_moment_loses_no_snapshot(ground: Path, monkeypatch: pytest.MonkeyPatch, slow: Proxy) -> None:
    destination = vhpack.runs.destination()
    assert destination is not None
    around = environment()
    chosen = random.Random(5)
    killed = 0
    for number in range(KILLS):
        folder = ground / f"job-{number}"
        where = {**around, "VHPACK_UPLOAD_URI": destination.uri if number % 2 else ""}
        process = subprocess.Popen(job(folder), cwd=folder, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = [process.stdout.readline().strip()]
        time.sleep(chosen.random() * 0.4)
        killed += process.poll() is None
        process.kill()
        out, err = process.communicate()
        check(folder, [*told, *out.split()], where, monkeypatch)
        del err
    assert killed > 0
    del slow


def test_parts_that_had_arrived_are_not_sent_again(ground: Path, slow: Proxy) -> None:
    destination = vhpack.runs.destination()
    assert destination is not None
    content = noise(4 * PART)
    (ground / "large.bin").write_bytes(content)
    code = (
        f"import vhpack; vhpack.set_upload_destination({destination.uri!r}, part_size={PART}, concurrency=1)\n"
        "vhpack.prepare(step='train'); vhpack.OutputModel(name='m').update_weights('large.bin')\n"
    )
    slow.faults.append(Fault("^PUT .*partNumber", "slow", 8 * MIB, times=-1))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ground, env=environment())
    until(lambda: slow.count("^PUT .*partNumber=3") or process.poll() is not None)
    process.kill()
    process.wait()
    slow.faults.clear()
    assert vhpack.OutputModel.resume_uploads() == 1
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert slow.body_bytes() < len(content) + 2 * PART, slow.told()
    model = vhpack.Model("m")
    assert Path(str(model.get_weights(raise_on_error=True))).read_bytes() == content
    assert not (ground / "large.bin").exists()


def test_a_kill_at_any_call_loses_no_snapshot(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run k is killed when one of its threads makes its k-th call of one kind."""
    needs("strace")
    around, log = environment(), tmp_path / "log"
    moments = [(call, k) for call in ("rename", "unlink", "fdatasync", "fsync", "ftruncate") for k in range(1, 41)]
    chosen = moments if SOAK else random.Random(3).sample([moment for moment in moments if moment[1] < 12], CALLS)
    reached = 0
    for number, (call, k) in enumerate(chosen[:CALLS]):
        folder = ground / f"job-{number}"
        log.unlink(missing_ok=True)
        ended = run([*strace([call], log, inject=f"signal=KILL:when={k}"), *job(folder)], folder, environment=around)
        reached += was_injected(log)
        check(folder, ended.out.split(), around, monkeypatch)
    assert reached > 0
