"""Files that become versions: acceptance checks 13 to 26 and 40 to 46."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import vhpack
from tests.engine.command import VHPACK
from tests.engine.trees import noise
from tests.models.conftest import left_in_spool, rows
from tests.registry.making import environment
from tests.upload.proxy import Fault, Proxy
from tests.upload.sending import until
from tests.upload.servers import Server
from vhpack import cloning, outbox, registrar, resuming, storing
from vhpack.errors import ModelError, SourceNotFoundError, SpecialFileError, UploadError
from vhpack.registry import models, schema


def path_of(uri: str) -> Path:
    assert uri.startswith("file://")
    return Path(unquote(uri.removeprefix("file://")))


def write(name: str, content: bytes = b"weights") -> Path:
    path = Path(name)
    path.write_bytes(content)
    return path


def failing(slow: Proxy) -> None:
    slow.faults.append(Fault("^PUT ", "status", 403, times=-1, body=b"<Error><Code>AccessDenied</Code></Error>"))


@pytest.fixture
def model(task: vhpack.Task) -> vhpack.OutputModel:
    return vhpack.OutputModel(task, name="resnet")


class TestArguments:
    def test_neither_or_both_of_file_and_uri_are_refused(self, model: vhpack.OutputModel) -> None:
        write("a.bin")
        for arguments in ({}, {"weights_filename": "a.bin", "register_uri": "s3://b/k"}):
            with pytest.raises(ValueError, match="give either weights_filename"):
                model.update_weights(**arguments)  # type: ignore[arg-type]
        assert rows("models") == 0

    @pytest.mark.parametrize("asynchronous", [True, False])
    def test_a_file_that_is_not_there_is_said_at_once(self, model: vhpack.OutputModel, asynchronous: bool) -> None:
        comment = model.comment
        with pytest.raises(SourceNotFoundError, match="does not exist; name a file"):
            model.update_weights("nowhere.bin", async_enable=asynchronous)
        os.mkfifo("fifo")
        with pytest.raises(SpecialFileError, match="is no file"):
            model.update_weights("fifo", async_enable=asynchronous)
        assert (model.comment, rows("models")) == (comment, 0)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"target_filename": "a/b"}, "target_filename is 'a/b'"),
            ({"target_filename": ".."}, "target_filename"),
            ({"iteration": -1}, "iteration is -1"),
            ({"iteration": True}, "iteration is True"),
            ({"iteration": 1 << 63}, "iteration is 9"),
            ({"snapshot": "hope"}, "snapshot is 'hope'"),
            ({"upload_uri": "foo://x/y"}, "is no destination"),
            ({"upload_uri": "/proc/nowhere"}, "cannot be written to"),
            ({"upload_uri": "s3://"}, "names no bucket"),
            ({"is_package": True}, "."),
        ],
    )
    def test_what_makes_no_sense_is_refused_and_the_file_stays(
        self, model: vhpack.OutputModel, arguments: dict[str, object], said: str
    ) -> None:
        path = write("a.bin")
        with pytest.raises(vhpack.PackError, match=said):
            model.update_weights(path, **arguments)  # type: ignore[arg-type]
        assert path.read_bytes() == b"weights"
        assert (rows("models"), left_in_spool()) == (0, [])


class TestStoring:
    def test_what_is_stored_is_what_was_handed_over(self, model: vhpack.OutputModel, there: Path) -> None:
        content = noise(300_000)
        uri = model.update_weights(write("a b.bin", content), upload_uri=there, target_filename="é.bin", iteration=0)
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        (version,) = model.versions()
        assert model.url == uri == version.url
        assert path_of(uri) == there / "cats" / f"train.{model.task}" / "models" / model.id / "1" / "é.bin"
        assert path_of(uri).read_bytes() == content
        assert (version.state, version.iteration, version.size, version.files) == ("stored", 0, len(content), None)
        assert version.sha256 == hashlib.sha256(content).hexdigest()
        assert not Path("a b.bin").exists()
        assert model.comment.splitlines()[0] == "snapshot a b.bin stored"
        assert left_in_spool() == []
        assert path_of(uri).stat().st_mode & 0o222 == 0

    def test_paths_of_any_kind_are_taken_and_originals_stay_when_asked_to(self, model: vhpack.OutputModel) -> None:
        for path in (Path("a.bin"), "a.bin", os.path.abspath("a.bin")):
            write("a.bin")
            model.update_weights(path, auto_delete_file=False, update_comment=False, async_enable=False)
            assert Path("a.bin").exists()
        assert "snapshot" not in model.comment
        assert [version.n for version in model.versions()] == [1, 2, 3]

    def test_a_version_of_every_iteration_stays(self, model: vhpack.OutputModel, task: vhpack.Task) -> None:
        for iteration in (1, np.int64(5), 9):
            task.set_iteration(iteration)
            model.update_weights(write("a.bin", bytes([int(iteration)])))
        assert task.get_last_iteration() == 9
        model.update_weights(write("a.bin", b"zero"), iteration=0)
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert [version.iteration for version in model.versions()] == [1, 5, 9, 0]
        for wanted, content in (({"iteration": 5}, b"\5"), ({"version": 1}, b"\1"), ({"iteration": 0}, b"zero"), ({}, b"zero")):
            assert Path(str(model.get_weights(**wanted))).read_bytes() == content  # type: ignore[arg-type]
        assert len({version.url for version in model.versions()}) == 4

    def test_a_version_of_no_iteration_is_not_that_of_the_first(self, model: vhpack.OutputModel, task: vhpack.Task) -> None:
        assert task.get_last_iteration() == 0
        model.update_weights(write("a.bin", b"zero"), iteration=0)
        model.update_weights(write("a.bin", b"final"))
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert [version.iteration for version in model.versions()] == [0, None]
        assert Path(str(model.get_weights(iteration=0))).read_bytes() == b"zero"

    def test_two_models_with_one_file_name_do_not_meet(self, task: vhpack.Task) -> None:
        one, two = vhpack.OutputModel(task), vhpack.OutputModel(task)
        for number, model in enumerate((one, two)):
            model.update_weights(write("a.bin", bytes([number])), async_enable=False)
        assert [Path(str(model.get_weights())).read_bytes() for model in (one, two)] == [b"\0", b"\1"]

    def test_the_first_update_is_all_or_nothing(self, model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failed first one leaves a model that can be used, where ClearML leaves one that raises at every call."""
        monkeypatch.setenv("VHPACK_REGISTRY_URL", "/proc/nowhere/registry.db")
        with pytest.raises(vhpack.RegistryError):
            model.update_weights(write("a.bin"))
        monkeypatch.delenv("VHPACK_REGISTRY_URL")
        assert (Path("a.bin").exists(), left_in_spool()) == (True, [])
        model.update_weights("a.bin", async_enable=False)
        assert model.versions()[0].state == "stored"


class TestRegistering:
    def test_a_uri_is_kept_as_it_is_and_a_path_becomes_one(self, model: vhpack.OutputModel) -> None:
        assert model.update_weights(register_uri="s3://b/k/ü.bin") == "s3://b/k/ü.bin" == model.url
        path = write("mine.bin", b"mine")
        uri = model.update_weights(register_uri=path)
        assert uri == path.absolute().as_uri() == model.url
        assert path.exists()
        assert [version.state for version in model.versions()] == ["registered", "registered"]
        fetched = model.get_weights(raise_on_error=True)
        assert fetched is not None
        assert Path(fetched).read_bytes() == b"mine"
        Path(fetched).write_bytes(b"changed by its reader")
        assert path.read_bytes() == b"mine"
        path.write_bytes(b"what")
        with pytest.raises(ValueError, match="is not what was registered"):
            model.get_weights(raise_on_error=True, force_download=True)

    @pytest.mark.parametrize("uri", ["foo://x/y.pt", "nowhere.bin", "file:///nowhere.bin", "."])
    def test_what_is_nowhere_is_refused(self, model: vhpack.OutputModel, uri: str) -> None:
        with pytest.raises(ValueError, match=r"is no destination|does not exist|is no file"):
            model.update_weights(register_uri=uri)
        assert rows("models") == 0


class TestDestinations:
    def test_the_nearest_that_says_one_counts(self, ground: Path, task: vhpack.Task, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the last to the first, each above all before it."""
        model = vhpack.OutputModel(task)

        def goes_to(**call: object) -> str:
            uri = model.update_weights(write("a.bin"), async_enable=False, **call)  # type: ignore[arg-type]
            return str(path_of(uri).relative_to(ground)).split("/cats/")[0]

        assert goes_to() == ".valohai/store"
        monkeypatch.setenv("VHPACK_STORE_DIR", str(ground / "contents"))
        assert goes_to() == "contents"
        (ground / "outputs").mkdir()
        monkeypatch.setenv("VHPACK_UPLOAD_URI", (ground / "outputs").as_uri())
        assert goes_to() == "outputs"
        vhpack.OutputModel.set_default_upload_uri(ground / "default")
        assert goes_to() == "default"
        task.output_uri = "task"
        assert goes_to() == "task"
        assert model.set_upload_destination((ground / "model").as_uri())
        assert goes_to() == "model"
        assert goes_to(upload_uri="call") == "call"
        assert goes_to() == "model"
        assert vhpack.OutputModel(task).upload_storage_uri == (ground / "task").as_uri()
        # A disk that is not mounted any more is not replaced by a folder of the one that is.
        shutil.rmtree(ground / "model")
        with pytest.raises(ValueError, match="model cannot be written to"):
            goes_to()
        assert not (ground / "model").exists()
        assert Path("a.bin").exists()

    def test_one_that_cannot_be_is_told_from_one_that_cannot_be_written_to(self, model: vhpack.OutputModel) -> None:
        before = model.upload_storage_uri
        assert model.set_upload_destination("foo://x/y") is False
        with pytest.raises(ValueError, match="cannot be written to"):
            model.set_upload_destination("file:///proc/nowhere")
        assert model.upload_storage_uri == before
        assert model.set_upload_destination("s3://bucket/models") is True


class TestLater:
    """What becomes of a version that is on its way, while the program goes on."""

    def test_the_call_does_not_wait_and_what_is_written_later_does_not_arrive(
        self, model: vhpack.OutputModel, slow: Proxy
    ) -> None:
        slow.faults.append(Fault("^PUT ", "delay", 1500, times=1))
        path = write("a.bin", b"old" * 1000)
        uri = model.update_weights(path, target_filename="renamed.bin")
        assert (model.url, model.get_weights()) == (None, None)
        assert [version.state for version in model.versions()] == ["uploading"]
        path.write_bytes(b"new" * 1000)
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert (model.url, uri.rpartition("/")[2]) == (uri, "renamed.bin")
        assert Path(str(model.get_weights(raise_on_error=True))).read_bytes() == b"old" * 1000
        assert path.read_bytes() == b"new" * 1000, "it is not what was stored, and so is not removed"

    def test_where_the_store_fails_nothing_is_lost_and_the_last_good_one_stays(
        self, model: vhpack.OutputModel, slow: Proxy
    ) -> None:
        good = model.update_weights(write("a.bin", b"good"), async_enable=False)
        failing(slow)
        path = write("b.bin", b"bad")
        model.update_weights(path)
        vhpack.OutputModel.wait_for_uploads()
        assert (path.read_bytes(), model.url) == (b"bad", good)
        (failed,) = vhpack.OutputModel.uploads()
        assert (failed.n, failed.state) == (2, "failed")
        assert "AccessDenied" in str(failed.error) or "denied" in str(failed.error)
        with pytest.raises(UploadError):
            model.update_weights(path, async_enable=False)
        assert path.exists()
        assert "b.bin" not in model.comment
        # Its snapshots are still here, whatever became of the file.
        path.write_bytes(b"overwritten")
        slow.faults.clear()
        assert vhpack.OutputModel.resume_uploads() == 2
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert [version.state for version in model.versions()] == ["stored"] * 3
        assert [Path(str(model.get_weights(version=n))).read_bytes() for n in (1, 2, 3)] == [b"good", b"bad", b"bad"]
        assert path.read_bytes() == b"overwritten"
        assert (left_in_spool(), vhpack.OutputModel.uploads()) == ([], [])
        outbox.own().uploads.clear()

    def test_a_queued_file_is_deleted_by_no_other_version(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        slow.faults.append(Fault("^PUT .*/2/", "delay", 500))
        for name in ("c1.bin", "c2.bin"):
            model.update_weights(write(name, name.encode()))
        one = write("same.bin", b"same")
        model.update_weights(one)
        model.update_weights(one, auto_delete_file=False)
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert [Path(str(model.get_weights(version=n))).name for n in (1, 2, 3, 4)] == [
            "c1.bin",
            "c2.bin",
            "same.bin",
            "same.bin",
        ]
        assert not Path("c1.bin").exists()
        assert not Path("c2.bin").exists()

    def test_publishing_waits_for_what_is_on_its_way(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        slow.faults.append(Fault("^PUT ", "delay", 300))
        uri = model.update_weights(write("a.bin"))
        model.publish()
        assert (model.published, model.url) == (True, uri)

    def test_publishing_says_what_has_failed_meanwhile_and_publishes_no_earlier_one(
        self, model: vhpack.OutputModel, slow: Proxy
    ) -> None:
        model.update_weights(write("a.bin"), async_enable=False)
        failing(slow)
        uri = model.update_weights(write("b.bin", b"best"))
        until(lambda: not storing.under_way())
        with pytest.raises(UploadError, match="AccessDenied"):
            model.publish()
        assert not model.published
        slow.faults.clear()
        assert vhpack.OutputModel.resume_uploads() == 1
        model.publish()
        assert (model.published, model.url) == (True, uri)
        outbox.own().uploads.clear()

    def test_another_process_cannot_publish_what_is_on_its_way(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        slow.faults.append(Fault("^PUT ", "delay", 600))
        model.update_weights(write("a.bin"))
        with pytest.raises(ModelError, match="version 1 is on its way"):
            vhpack.Model(model.id).publish()
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)

    def test_eight_go_at_once(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        """Eight that take a second each take less than half of eight."""
        vhpack.set_upload_destination(str(vhpack.runs.destination().uri), concurrency=4)  # type: ignore[union-attr]
        slow.faults.append(Fault("^PUT ", "delay", 1000, times=-1))
        began = time.monotonic()
        for number in range(8):
            model.update_weights(write(f"{number}.bin"))
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert time.monotonic() - began < 8.0, "one went after the other"

    def test_waiting_ends_when_it_is_to(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        vhpack.OutputModel.wait_for_uploads()
        slow.faults.append(Fault("^PUT .*/[345]/", "delay", 1500, times=-1))
        for number in range(5):
            model.update_weights(write(f"{number}.bin"))
        vhpack.OutputModel.wait_for_uploads(timeout=0.2)
        assert vhpack.OutputModel.uploads("uploading") != []
        vhpack.OutputModel.wait_for_uploads(max_num_uploads=2)
        states = [version.state for version in model.versions()]
        assert states.count("stored") >= 2
        assert "uploading" in states
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)

    def test_what_failed_is_raised_when_asked_for_also_if_it_failed_long_ago(
        self, model: vhpack.OutputModel, slow: Proxy
    ) -> None:
        failing(slow)
        model.update_weights(write("a.bin"))
        (job,) = storing.under_way()
        assert job.done.wait(30)
        vhpack.OutputModel.wait_for_uploads()
        with pytest.raises(UploadError):
            vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert outbox.own().unheard() == []

    def test_what_is_given_up_meanwhile_keeps_its_original(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        slow.faults.append(Fault("^PUT .*/1/", "delay", 1500))
        model.update_weights(write("a.bin", b"one"))
        (job,) = storing.under_way()
        storing.fail(job.registry, job.key, ModelError("as another process might see it"))
        model.update_weights(write("b.bin", b"two"), async_enable=False)
        assert [version.n for version in vhpack.Model(model.id).prune(keep=1)] == [1]
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert Path("a.bin").read_bytes() == b"one"
        assert [version.state for version in model.versions()] == ["pruned", "stored"]


def test_versions_of_one_process_are_not_anothers_to_go_on_with(model: vhpack.OutputModel, slow: Proxy, ground: Path) -> None:
    slow.faults.append(Fault("^PUT ", "delay", 1500))
    model.update_weights(write("a.bin"))
    code = "import vhpack; print(vhpack.OutputModel.resume_uploads())"
    asked = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ground, capture_output=True, text=True)
    assert (asked.stdout, asked.stderr) == ("0\n", "")
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert model.versions()[0].state == "stored"


def test_the_end_of_the_program_waits_for_versions(ground: Path) -> None:
    code = (
        "import vhpack; vhpack.prepare(step='train'); open('a.bin', 'wb').write(b'x' * 3_000_000)\n"
        "vhpack.set_upload_destination('file:///', max_bps=2_000_000)\n"
        f"vhpack.OutputModel(name='m').update_weights('a.bin', upload_uri={str(ground / 'there')!r})\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ground, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (version,) = vhpack.Model("m").versions()
    assert version.state == "stored"
    assert not Path("a.bin").exists()
    assert version.datum is not None
    assert vhpack.data.get(version.datum).run is not None


def test_what_is_removed_from_the_outputs_is_registered_before_or_after_but_never_missed_meanwhile(ground: Path) -> None:
    """The end of a run hashes its outputs, and at that very moment a version is stored whose original is one of them."""
    with vhpack.run(step="train") as run:
        model = vhpack.OutputModel(name="m")
        paths = [Path(vhpack.outputs("models").path(f"{number}.bin")) for number in range(40)]
        for path in paths:
            path.write_bytes(path.name.encode())
            model.update_weights(path)
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert [version.state for version in model.versions()] == ["stored"] * 40
    assert not any(path.exists() for path in paths)
    assert vhpack.data.verify() == []
    assert {datum.run for datum in vhpack.data.find()} == {run.hash}
    del ground


def test_many_processes_make_many_models_in_one_registry(ground: Path) -> None:
    code = (
        "import sys, vhpack; task = vhpack.Task.init('p', sys.argv[1])\n"
        "for number in range(int(sys.argv[2])):\n"
        "    name = f'{sys.argv[1]}-{number}.bin'; open(name, 'wb').write(name.encode())\n"
        "    vhpack.OutputModel(name=name).update_weights(name)\n"
        "task.close()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(number), "8"], env=environment(), cwd=ground, stderr=subprocess.PIPE)
        for number in range(2)
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 2
    found = vhpack.query_models()
    assert len(found) == 16
    assert {model.versions()[0].state for model in found} == {"stored"}


def test_a_file_that_changes_while_it_is_copied_is_refused(model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.bin", b"x" * 1000)
    real = shutil.copyfile

    def copied(source: str, target: str) -> None:
        real(source, target)
        path.write_bytes(b"y" * 999)

    monkeypatch.setattr(shutil, "copyfile", copied)
    with pytest.raises(vhpack.SourceChangedError, match="changed while it was copied"):
        model.update_weights(path, snapshot="copy")
    assert (path.exists(), rows("models"), left_in_spool()) == (True, 0, [])


def test_a_snapshot_takes_no_room_where_the_file_system_can_share(model: vhpack.OutputModel, ground: Path) -> None:
    write("probe.bin")
    if not cloning.clone(str(ground / "probe.bin"), str(ground / "probe.copy")):
        return
    path = write("large.bin", noise(1 << 20) * 64)
    before = os.statvfs(ground).f_bfree
    snapshot = storing.keeper().spool.snapshot(str(path), "large.bin")
    assert before - os.statvfs(ground).f_bfree < 1000
    storing.keeper().spool.drop(snapshot)
    model.update_weights(path)
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)


def test_versions_of_another_machine_are_given_up_when_it_has_been_silent(model: vhpack.OutputModel) -> None:
    model.update_weights(write("a.bin"), async_enable=False)
    registry = registrar.opened()
    begun = models.Begun("file", "uploading", "b.bin", lambda _: "s3://b/k", None, snapshot="/srv/.valohai/spool/0-1/2/b.bin")
    key, _ = registry.write(lambda connection, project: models.begin(connection, project, model.id, begun))
    assert (vhpack.OutputModel.resume_uploads(), model.versions()[1].state) == (0, "uploading")
    with pytest.raises(ModelError, match="version 2 is on its way"):
        model.publish()
    table = schema.MODEL_VERSIONS
    registry.write(lambda connection, _: connection.execute(table.update().where(table.c.id == key).values(created=1)))
    assert (vhpack.OutputModel.resume_uploads(), model.versions()[1].state) == (0, "failed")
    model.publish()


def test_what_another_registry_waits_for_stays_in_the_spool(model: vhpack.OutputModel, slow: Proxy) -> None:
    failing(slow)
    model.update_weights(write("a.bin"))
    vhpack.OutputModel.wait_for_uploads()
    (snapshot,) = left_in_spool()
    code = (
        "import vhpack; vhpack.Task.init('p', 't'); vhpack.OutputModel(name='other').update_weights('b.bin', upload_uri='there')"
    )
    for name in ("VHPACK_PROJECT", "VHPACK_REGISTRY_URL"):
        write("b.bin")
        around = {**environment(), name: "other"}
        assert subprocess.run([sys.executable, "-c", code], env=around).returncode == 0
        ended = subprocess.run([VHPACK, "model", "resume"], env=around, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "nothing to resume\n")
    assert left_in_spool() == [snapshot]
    slow.faults.clear()
    assert vhpack.OutputModel.resume_uploads() == 1
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert left_in_spool() == []


def test_a_snapshot_that_was_made_and_not_noted_any_more_goes_with_the_others(model: vhpack.OutputModel, slow: Proxy) -> None:
    """The process was killed between the two, and others of its versions are gone on with."""
    failing(slow)
    model.update_weights(write("a.bin"))
    vhpack.OutputModel.wait_for_uploads()
    outbox.own().uploads.clear()
    storing.keeper().spool.snapshot(str(write("b.bin").absolute()), "b.bin")
    assert len(left_in_spool()) == 2
    storing.keeper().spool.close()  # as the end of the process that has it would
    slow.faults.clear()
    ended = subprocess.run([VHPACK, "model", "resume"], env=environment(), capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "1 version stored\n")
    assert left_in_spool() == []
    assert Path("b.bin").exists()


def test_what_cannot_be_sent_again_keeps_no_other_from_it(model: vhpack.OutputModel, task: vhpack.Task) -> None:
    """One destination is a disk that is not mounted any more, one is a file by now; the third one is there again."""
    for n, name in enumerate(("gone", "file", "there"), 1):
        Path(name, task.folder, model.id, str(n), "a.bin").mkdir(parents=True)  # where the file would go
        model.update_weights(write("a.bin", name.encode()), upload_uri=name)
    vhpack.OutputModel.wait_for_uploads()
    assert len(vhpack.OutputModel.uploads("failed")) == 3
    outbox.own().uploads.clear()
    for name in ("gone", "file", "there"):
        shutil.rmtree(name)
    Path("there").mkdir()
    write("file")
    storing.keeper().spool.close()  # as the end of the process that has it would
    ended = subprocess.run([VHPACK, "model", "resume"], env=environment(), capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, "1 version stored")
    assert [version.state for version in model.versions()] == ["failed", "failed", "stored"]
    assert not Path("gone").exists(), "what is written there is on another disk"
    assert sorted(Path(path).read_bytes() for path in left_in_spool()) == [b"file", b"gone"]
    assert Path("a.bin").exists() is False, "that was the content of the third"


def test_versions_that_are_gone_are_said_and_nothing_else_suffers(model: vhpack.OutputModel, slow: Proxy) -> None:
    failing(slow)
    model.update_weights(write("a.bin"))
    vhpack.OutputModel.wait_for_uploads()
    outbox.own().uploads.clear()
    (left,) = left_in_spool()
    Path(left).unlink()
    assert resuming.resume() == 0
    assert vhpack.OutputModel.uploads()[0].state == "failed"
    assert Path("a.bin").exists()


def test_weights_at_azure_are_read_and_stay(
    model: vhpack.OutputModel, servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their URIs are without the account, which those of inputs have."""
    server = servers("azure")
    server.new_bucket()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    for content in (b"one", b"two"):
        model.update_weights(write("a.bin", content), upload_uri=server.uri("models"), async_enable=False)
    assert str(model.url).startswith(server.uri("models"))
    assert [Path(str(model.get_weights(version=n, raise_on_error=True))).read_bytes() for n in (1, 2)] == [b"one", b"two"]
    with pytest.warns(vhpack.JobWarning, match="version 1 stays: nothing is removed at azure://"):
        assert model.prune(keep=1) == []
    assert len(server.names()) == 2
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(ModelError, match="set AZURE_STORAGE_ACCOUNT_NAME"):
        model.get_weights(force_download=True, raise_on_error=True)
