"""Files that are uploaded while the run goes on are registered where they arrive, as soon as they have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vhpack
from tests.registry.making import contents, output, script
from tests.registry.test_inputs import read
from vhpack import uploading
from vhpack.errors import ChecksumError, RegistrationError

SECONDS = 60


@pytest.fixture
def bucket(work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = work / "bucket"
    folder.mkdir()
    monkeypatch.setenv("VHPACK_STATE_DIR", str(work / "state"))
    monkeypatch.setenv("VHPACK_UPLOAD_URI", folder.as_uri())
    yield folder
    vhpack.wait_for_uploads(SECONDS, raise_on_error=False)
    uploading.forget(vhpack.uploads())


def stored(work: Path) -> list[Path]:
    return contents(work / ".valohai/store")


def eventually(run: str) -> list[vhpack.data.Datum]:
    until = time.monotonic() + SECONDS
    while not (found := vhpack.data.find(run=run)):
        assert time.monotonic() < until, "the upload was not registered before the end of the run"
        time.sleep(0.02)
    return found


@pytest.mark.usefixtures("registry")
def test_an_upload_is_registered_when_it_has_arrived_and_described_at_the_end(work: Path, bucket: Path) -> None:
    with vhpack.run(step="train") as run:
        output("deep/a b.txt", "weights", {"valohai.alias": "model", "rows": 1})
        (upload,) = vhpack.outputs("deep").live_upload("a b.txt", remove_after=True)
        assert upload.wait(SECONDS)
        (datum,) = eventually(run.hash)
        assert vhpack.aliases.list() == [], "aliases move when the run has succeeded"
        output("local.txt", "local")
    data = {datum.name: datum for datum in vhpack.data.find(run=run.hash)}
    assert sorted(data) == ["deep/a b.txt", "local.txt"]
    assert (data["deep/a b.txt"].id, data["deep/a b.txt"].location) == (datum.id, f"{bucket.as_uri()}/deep/a%20b.txt")
    assert data["deep/a b.txt"].properties == {"rows": 1}
    assert len(stored(work)) == 1, "the content stays where it was uploaded"
    assert read("datum://model") == ["weights"]
    (bucket / "deep/a b.txt").chmod(0o644)
    (bucket / "deep/a b.txt").write_text("WEIGHTS")
    Path(str(vhpack.inputs("data").path())).unlink()
    with pytest.raises(ChecksumError, match="not what was registered"):
        read("datum://model")


def test_what_does_not_arrive_is_kept_here(local: Path, bucket: Path) -> None:
    bucket.rmdir()
    with vhpack.run(step="train") as run:
        output("model.txt", "weights", {"valohai.alias": "model"})
        (upload,) = vhpack.outputs().live_upload("model.txt")
        vhpack.wait_for_uploads(SECONDS, raise_on_error=False)
        assert upload.state == "failed"
        assert upload.error is not None
    (datum,) = vhpack.data.find(run=run.hash)
    assert (datum.location, len(stored(local))) == (None, 1)
    assert read("datum://model") == ["weights"]


def test_a_script_that_uploads_is_registered_after_its_last_upload(local: Path, bucket: Path) -> None:
    ended = script(
        local,
        "import json, vhpack\n"
        "vhpack.prepare(step='train')\n"
        "for name in ('one.txt', 'two.txt'):\n"
        "    path = vhpack.outputs().path(name)\n"
        "    open(path, 'w').write(name)\n"
        "    json.dump({'valohai.alias': name}, open(path + '.metadata.json', 'w'))\n"
        "    vhpack.outputs().live_upload(name)\n",
    )
    assert (ended.code, ended.err.count("the alias")) == (0, 2), ended
    assert [datum.location for datum in vhpack.data.find()] == [f"{bucket.as_uri()}/{name}" for name in ("one.txt", "two.txt")]
    assert stored(local) == []


def test_in_a_job_what_stays_on_its_machine_is_left_out(work: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_JOB_ID", "1")
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(work / "out"))
    monkeypatch.setenv("VHPACK_REGISTRY_URL", str(work / "shared.db"))
    with vhpack.run(step="train"):
        output("model.txt", "weights", {"valohai.alias": "model"})
        output("log.txt", "log")
        (upload,) = vhpack.outputs().live_upload("model.txt")
        assert upload.wait(SECONDS)
    assert [datum.location for datum in vhpack.data.find()] == [f"{bucket.as_uri()}/model.txt"]
    with (
        pytest.raises(RegistrationError, match=r"log\.txt claims an alias, and its content stays on this machine"),
        vhpack.run(step="train"),
    ):
        output("log.txt", "log 2", {"valohai.alias": "log"})
    assert stored(work) == []
