"""What is handed over is not lost, whatever it is called, wherever it lies, and whatever a registry says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vhpack
from tests.models.conftest import left_in_spool, rows
from tests.models.test_weights import failing, path_of, write
from tests.upload.proxy import Fault, Proxy
from vhpack import outbox, registrar, storing
from vhpack.errors import JobWarning, OptionError
from vhpack.registry import schema


@pytest.fixture
def model(task: vhpack.Task) -> vhpack.OutputModel:
    return vhpack.OutputModel(task, name="resnet")


def test_an_empty_name_does_not_mean_the_working_directory(model: vhpack.OutputModel, there: Path) -> None:
    path = write("a.bin")
    for arguments in ({"weights_filename": ""}, {"weights_filename": "", "is_package": True}):
        with pytest.raises(OptionError, match="weights_filename is empty; name a file or a folder"):
            model.update_weights(upload_uri=there, **arguments)
    for package in ({"weights_path": ""}, {"weights_filenames": ["a.bin", ""]}):
        with pytest.raises(OptionError, match="is empty; name a file or a folder"):
            model.update_weights_package(upload_uri=there, **package)
    assert path.exists()
    assert rows("models") == 0


def test_in_a_job_weights_go_where_they_outlive_it(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is in the repository's folder there, which goes with the machine; outputs are kept."""
    for name in ("OUTPUTS", "INPUTS", "CONFIG"):
        monkeypatch.setenv(f"VH_{name}_DIR", str(ground / name.lower()))
    monkeypatch.setenv("VH_JOB_ID", "job")
    with vhpack.Task.init("cats", "train"):
        model = vhpack.OutputModel(name="resnet")
        uri = model.update_weights(write("a.bin"), async_enable=False)
        assert path_of(uri).is_relative_to(ground / "outputs")
        assert path_of(uri).stat().st_mode & 0o222 == 0, "the platform takes what is read-only at once"
        monkeypatch.setenv("VHPACK_STORE_DIR", "contents")
        assert path_of(model.update_weights(write("a.bin"), async_enable=False)).is_relative_to(ground / "contents")


@pytest.mark.parametrize("source", ["store", "destination", "spool", "registry", "version", "version's folder"])
def test_what_models_are_kept_in_is_no_source(model: vhpack.OutputModel, ground: Path, source: str) -> None:
    uri = model.update_weights(write("a.bin"), async_enable=False)
    (ground / "there/more").mkdir(parents=True)
    path = {
        "store": ground / ".valohai/store",
        "destination": ground / "there",
        "spool": ground / ".valohai/spool",
        "registry": ground / ".valohai/registry.db",
        "version": path_of(uri),
        "version's folder": path_of(uri).parent,
    }[source]
    with pytest.raises(OptionError, match="where models are kept"):
        model.update_weights(path, upload_uri="there")
    if path.is_file():
        with pytest.raises(OptionError, match="where models are kept"):
            model.update_weights_package([path], upload_uri="there")
    assert path.exists()
    assert Path(str(model.get_weights(raise_on_error=True))).read_bytes() == b"weights"


def test_what_is_stored_already_is_not_removed_when_it_is_handed_over_again(model: vhpack.OutputModel, there: Path) -> None:
    one = path_of(model.update_weights(write("a.bin", b"one"), upload_uri=there, async_enable=False))
    mine = write("mine.bin", b"mine")
    model.update_weights(register_uri=mine)
    Path("tree").mkdir()
    write("tree/b.bin", b"b")
    os.link(mine, "tree/c.bin")
    model.update_weights(register_uri="tree/b.bin")
    for path in (one, mine):
        with pytest.warns(vhpack.JobWarning, match=f"{path.name} stays: it is stored there"):
            model.update_weights(path, async_enable=False)
    with pytest.warns(vhpack.JobWarning, match=r"tree/b\.bin stays: it is stored there"):
        model.update_weights("tree", async_enable=False)
    assert sorted(os.listdir("tree")) == ["b.bin"]
    found = [Path(str(model.get_weights(version=n, raise_on_error=True))).read_bytes() for n in (1, 2, 3, 4, 5)]
    assert found == [b"one", b"mine", b"b", b"one", b"mine"]


class TestRegistriesThatLie:
    """Whoever can write to a shared one decides neither what is removed here, nor what is unpacked where."""

    def say(self, **columns: object) -> None:
        table = schema.MODEL_VERSIONS
        registrar.opened().write(
            lambda connection, _: connection.execute(table.update().where(table.c.number == 1).values(columns))
        )

    def test_pruning_removes_what_is_a_versions_and_nothing_else(self, model: vhpack.OutputModel, ground: Path) -> None:
        for content in (b"one", b"two"):
            model.update_weights(write("a.bin", content), async_enable=False)
        (ground / "1").mkdir()
        for wrong in (write("thesis.tex"), write("1/thesis.tex")):
            self.say(uri=wrong.absolute().as_uri())
            with pytest.raises(vhpack.PackOSError, match=r"thesis\.tex is no place of version 1"):
                model.prune(keep=1)
            assert wrong.exists()

    def test_going_on_removes_what_is_a_versions_and_nothing_else(
        self, model: vhpack.OutputModel, slow: Proxy, ground: Path
    ) -> None:
        failing(slow)
        model.update_weights(write("a.bin"))
        vhpack.OutputModel.wait_for_uploads()
        outbox.own().uploads.clear()
        (ground / "1").mkdir()
        (ground / "2").mkdir()
        for name in ("1/thesis.tex", "2/lock", "1/lock"):
            write(name)
        self.say(uri=(ground / "1/x").as_uri(), state="packing", kind="package")
        assert vhpack.OutputModel.resume_uploads() == 0
        assert Path("1/thesis.tex").exists()
        self.say(uri="s3://b/k", state="failed", snapshot=str(ground / "1/thesis.tex"))
        write("lock")
        assert vhpack.OutputModel.resume_uploads() == 0
        model.prune()
        assert Path("1/thesis.tex").exists()
        assert left_in_spool() == []

    def test_links_in_the_spool_neither_send_nor_remove_what_they_lead_to(
        self, model: vhpack.OutputModel, slow: Proxy, ground: Path
    ) -> None:
        failing(slow)
        model.update_weights(write("a.bin"))
        vhpack.OutputModel.wait_for_uploads()
        outbox.own().uploads.clear()
        slow.faults.clear()
        (left,) = map(Path, left_in_spool())
        (ground / "home/keys").mkdir(parents=True)
        for name in ("home/lock", f"home/keys/{left.name}"):
            write(name)
        left.unlink()
        left.symlink_to(ground / "home/keys" / left.name)
        assert vhpack.OutputModel.resume_uploads() == 0
        left.unlink()
        left.parent.rmdir()
        left.parent.symlink_to(ground / "home/keys")
        assert vhpack.OutputModel.resume_uploads() == 0
        for name in ("elsewhere", f"{0:08x}-{0:016x}"):
            (left.parents[2] / name).symlink_to(ground / "home")
        assert vhpack.OutputModel.resume_uploads() == 0
        storing.keeper().spool.drop(str(left))
        assert sorted(map(str, Path("home").rglob("*"))) == ["home/keys", "home/keys/a.bin", "home/lock"]


def test_a_failure_that_cannot_even_be_noted_ends_the_wait(
    model: vhpack.OutputModel, slow: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(slow)
    with monkeypatch.context() as patched:
        patched.setattr(storing, "fail", lambda *_: (_ for _ in ()).throw(RuntimeError("no registry any more")))
        model.update_weights(write("a.bin"))
        vhpack.OutputModel.wait_for_uploads(timeout=30)
    assert storing.under_way() == []
    assert Path("a.bin").exists()
    slow.faults.clear()
    assert vhpack.OutputModel.resume_uploads() == 1
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    outbox.own().uploads.clear()


def test_what_is_still_being_sent_elsewhere_is_not_removed(task: vhpack.Task, slow: Proxy) -> None:
    """An output that a run sends to a server that is busy is a model's weights, too."""
    slow.faults.append(Fault("^PUT ", "status", 503, times=-1))
    outputs = vhpack.outputs("models")
    path = Path(outputs.path("weights.bin"))
    path.write_bytes(b"weights")
    (upload,) = outputs.live_upload("weights.bin", to=f"{vhpack.runs.destination().uri}/run")  # type: ignore[union-attr]
    with pytest.warns(JobWarning, match=r"weights\.bin stays: .* still being sent"):
        vhpack.OutputModel(task).update_weights(path, upload_uri="there", async_enable=False)
    slow.faults.clear()
    vhpack.wait_for_uploads()
    assert (upload.state, path.read_bytes()) == ("done", b"weights")
