"""`live_upload` and the command: what is sent where, who sends it, and what becomes of the files."""

from __future__ import annotations

import json
import os
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, run
from tests.engine.trees import contents, noise, write_tree
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import SECONDS, around
from tests.upload.servers import Server
from vhpack import uploading
from vhpack.runs import Destination

FILES = {
    "model.bin": noise(300_000, 1),
    "images/a.png": noise(2000, 2),
    "images/deep/b.png": noise(3000, 3),
    "images/.hidden": b"h",
}


@pytest.fixture
def bucket(servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """An S3 that the environment tells of."""
    server = servers("moto")
    server.new_bucket()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(autouse=True)
def out(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs, some of them in folders."""
    folder = work / "out"
    write_tree(folder, FILES)
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(folder))
    return folder


def is_marked(path: Path) -> bool:
    return not path.stat().st_mode & 0o222


def test_a_file_is_marked_and_sent_under_its_path(bucket: Server, out: Path) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    (upload,) = vhpack.outputs("images/deep").live_upload("b.png")
    assert upload.wait(SECONDS)
    assert bucket.names() == ["run/images/deep/b.png"]
    assert bucket.read("run/images/deep/b.png") == FILES["images/deep/b.png"]
    assert is_marked(out / "images/deep/b.png")
    assert (upload.path, upload.uri) == (str(out / "images/deep/b.png"), bucket.uri("run/images/deep/b.png"))
    assert vhpack.uploads() == [upload]


@pytest.mark.parametrize("how", ["call", "environment", "argument"])
def test_a_destination_comes_from_the_nearest_that_names_one(bucket: Server, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_UPLOAD_URI", bucket.uri("environment/"))
    if how != "environment":
        vhpack.set_upload_destination(bucket.uri("call"))
    (upload,) = vhpack.outputs().live_upload("model.bin", to=bucket.uri("argument/") if how == "argument" else None)
    assert upload.wait(SECONDS)
    assert bucket.names() == [f"{how}/model.bin"]


def test_a_folder_is_a_tree_and_keeps_its_modes(bucket: Server, out: Path) -> None:
    (out / "images/deep").chmod(0o750)
    vhpack.set_upload_destination(bucket.uri("run"))
    uploads = vhpack.outputs().live_upload("images")
    assert vhpack.wait_for_uploads(SECONDS).done == uploads
    sent = {key.removeprefix("run/"): bucket.read(key) for key in bucket.names()}
    assert sent == {name: content for name, content in FILES.items() if name.startswith("images/")}
    assert stat.S_IMODE((out / "images/deep").stat().st_mode) == 0o750


def test_what_one_call_waits_for_keeps_no_other_waiting(bucket: Server, out: Path) -> None:
    """As a large file that goes to a slow disk keeps its own call's files waiting."""
    destination = Destination(bucket.uri("run"))
    door = threading.Event()

    def before(_: str) -> None:
        assert door.wait(SECONDS)

    (slow,) = uploading.begin([(str(out / "model.bin"), bucket.uri("run/a"))], destination, before=before)
    (quick,) = uploading.begin([(str(out / "model.bin"), bucket.uri("run/b"))], destination)
    assert quick.wait(SECONDS)
    assert slow.state == "queued"
    door.set()
    assert slow.wait(SECONDS)


def test_a_pattern_takes_sidecars_first(bucket: Server, out: Path) -> None:
    write_tree(out, {"model.bin.metadata.json": b"{}", "a.metadata.json": b"{}"})
    vhpack.set_upload_destination(bucket.uri("run"))
    uploads = vhpack.outputs().live_upload("*")
    names = [Path(upload.path).name for upload in uploads]
    assert names == ["a.metadata.json", "model.bin.metadata.json", "model.bin"]
    vhpack.wait_for_uploads(SECONDS)


def test_what_is_no_file_is_named_and_what_is_not_complete_is_left_alone(bucket: Server, out: Path) -> None:
    (out / "images/link").symlink_to("a.png")
    os.mkfifo(out / "images/pipe")
    (out / "images/.x.zip.abc.vhpack-staged").write_bytes(b"half")
    vhpack.set_upload_destination(bucket.uri("run"))
    with pytest.warns(vhpack.PackWarning, match=r"2 left out.*images/link.*images/pipe"):
        vhpack.outputs().live_upload("images")
    vhpack.wait_for_uploads(SECONDS)
    assert sorted(bucket.names()) == sorted(f"run/{name}" for name in FILES if name.startswith("images/"))
    assert not is_marked(out / "images/.x.zip.abc.vhpack-staged")


def test_a_name_that_cannot_be_sent_keeps_no_other_from_it(bucket: Server, out: Path) -> None:
    (out / os.fsdecode(b"images/bad\xff")).write_bytes(b"x")
    vhpack.set_upload_destination(bucket.uri("run"))
    vhpack.outputs().live_upload("images")
    with pytest.raises(vhpack.BadDestinationError, match="not UTF-8"):
        vhpack.wait_for_uploads(SECONDS)
    assert len(bucket.names()) == 3


def test_on_the_platform_it_is_the_platform_or_vhpack_and_never_both(
    bucket: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VH_JOB_ID", "1")
    assert vhpack.outputs().live_upload("model.bin") == []
    vhpack.wait_for_uploads()
    assert is_marked(out / "model.bin")
    vhpack.set_upload_destination(bucket.uri("run"))
    (upload,) = vhpack.outputs().live_upload("images/a.png")
    assert upload.wait(SECONDS)
    assert not is_marked(out / "images/a.png")
    assert bucket.names() == ["run/images/a.png"]
    assert vhpack.wait_for_uploads(SECONDS).done == [upload]


def test_a_file_goes_once_it_has_arrived_if_that_is_asked_for(bucket: Server, out: Path) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    (upload,) = vhpack.outputs().live_upload("model.bin", remove_after=True)
    assert upload.wait(SECONDS)
    assert upload.removed
    assert not (out / "model.bin").exists()
    assert bucket.read("run/model.bin") == FILES["model.bin"]


@pytest.mark.usefixtures("bucket")
def test_a_file_stays_when_it_did_not_arrive(out: Path) -> None:
    vhpack.set_upload_destination("s3://no-such-bucket/run")
    (upload,) = vhpack.outputs().live_upload("model.bin", remove_after=True)
    with pytest.raises(vhpack.UploadError):
        upload.wait(SECONDS)
    assert not upload.removed
    assert (out / "model.bin").read_bytes() == FILES["model.bin"]


def test_what_is_there_already_is_not_sent_again(bucket: Server, out: Path) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    assert vhpack.outputs().live_upload("model.bin")[0].wait(SECONDS)
    os.utime(out / "model.bin", (1, 1))
    (again,) = vhpack.outputs().live_upload("model.bin")
    assert again.wait(SECONDS)
    assert again.skipped
    (out / "model.bin").chmod(0o644)
    (out / "model.bin").write_bytes(b"other")
    (other,) = vhpack.outputs().live_upload("model.bin")
    assert other.wait(SECONDS)
    assert not other.skipped
    assert bucket.read("run/model.bin") == b"other"


def test_the_same_file_again_is_the_same_upload_and_another_takes_its_place(bucket: Server, out: Path) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    with proxy(bucket, Fault("^PUT ", "slow", 200_000, times=-1)):
        vhpack.set_upload_destination(bucket.uri("run"), endpoint=bucket.options()["endpoint"])
        (first,) = vhpack.outputs().live_upload("model.bin")
        (again,) = vhpack.outputs().live_upload("model.bin")
        assert again is first
        os.replace(out / "images/a.png", out / "model.bin")
        (other,) = vhpack.outputs().live_upload("model.bin")
        assert other is not first
        assert other.wait(SECONDS)
    with pytest.raises(vhpack.UploadCancelledError):
        first.wait(SECONDS)
    assert bucket.read("run/model.bin") == FILES["images/a.png"]
    assert vhpack.uploads() == [first, other]


def test_an_archive_is_sent_when_it_is_complete(bucket: Server) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    target = vhpack.outputs().compress("images/**", "images.zip", live_upload=True)
    (upload,) = vhpack.wait_for_uploads(SECONDS).done
    assert upload.path == target
    assert bucket.read("run/images.zip") == Path(target).read_bytes()
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
    assert is_marked(Path(target))


def test_waiting_for_some_returns_when_they_have_ended(bucket: Server) -> None:
    vhpack.set_upload_destination(bucket.uri("run"))
    vhpack.outputs().live_upload("images")
    report = vhpack.wait_for_uploads(SECONDS, max_uploads=1)
    assert len(report.done) >= 1
    assert len(report.done) + len(report.pending) == 3
    assert vhpack.wait_for_uploads(SECONDS).pending == []


@pytest.mark.usefixtures("bucket")
def test_several_failures_are_one_error_that_has_all() -> None:
    vhpack.set_upload_destination("s3://no-such-bucket/run")
    uploads = vhpack.outputs().live_upload("images")
    with pytest.raises(vhpack.UploadsFailedError, match="3 uploads failed") as caught:
        vhpack.wait_for_uploads(SECONDS)
    assert [error.path for error in caught.value.errors] == [upload.path for upload in uploads]
    assert vhpack.wait_for_uploads(SECONDS, raise_on_error=False).failed == uploads


def test_the_command_sends_a_tree_and_reports(server: Server, work: Path, state: Path) -> None:
    write_tree(work / "tree", FILES)
    server.make_folders("run", "run/images", "run/images/deep")
    words = [VHPACK, "upload", "tree", "--to", server.uri("run/"), "--json"]
    ended = run(words, work, environment=around(server, state), timeout=SECONDS)
    assert ended.code == 0, ended
    assert "4 files uploaded and checked" in ended.err
    assert {record["state"] for record in json.loads(ended.out)["done"]} == {"done"}
    assert {key: server.read(key) for key in server.names()} == {f"run/{name}": content for name, content in FILES.items()}
    assert contents(work / "tree") == FILES


def test_the_command_sends_to_a_folder(work: Path, state: Path) -> None:
    write_tree(work / "tree", FILES)
    (work / "there").mkdir()
    words = [VHPACK, "upload", "tree/images", "tree/model.bin", "--to", f"{work.as_uri()}/there/", "--remove-after", "-q"]
    ended = run(words, work, environment={"VHPACK_STATE_DIR": str(state)}, timeout=SECONDS)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert contents(work / "there") == FILES
    assert contents(work / "tree") == {}


def test_a_folder_that_is_not_there_is_not_made(work: Path, state: Path) -> None:
    """It may be a disk that is not mounted."""
    write_tree(work / "tree", FILES)
    ended = run(
        [VHPACK, "upload", "tree", "--to", f"{work.as_uri()}/there/", "-q"], work, environment={"VHPACK_STATE_DIR": str(state)}
    )
    assert ended.code == 1
    assert ended.err.count("there/") == 4
    assert not (work / "there").exists()


def test_the_command_tells_each_failure(work: Path, state: Path, bucket: Server) -> None:
    write_tree(work / "tree", FILES)
    words = [VHPACK, "upload", "tree", "--to", "s3://no-such-bucket/run/", "--json", "-q"]
    ended = run(words, work, environment=around(bucket, state), timeout=SECONDS)
    assert ended.code == 1
    assert {record["error"]["kind"] for record in json.loads(ended.out)["failed"]} == {"no_such_bucket"}
    assert ended.err.count("Error: ") == 4
