"""`vhpack model`, as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, run
from tests.models.conftest import left_in_spool
from tests.registry.making import ask, environment
from tests.upload.proxy import Fault, Proxy
from tests.upload.sending import until
from vhpack import storing


@pytest.fixture
def model(task: vhpack.Task) -> vhpack.OutputModel:
    made = vhpack.OutputModel(task, name="resnet", tags=["a"], label_enumeration={"cat": 0})
    for epoch in range(3):
        Path("weights.bin").write_bytes(bytes([epoch]))
        made.update_weights("weights.bin", iteration=epoch, async_enable=False)
    return made


def told(*arguments: str) -> dict[str, object]:
    """What a command says to programs."""
    ended = ask("model", *arguments, "--json")
    assert ended.code == 0, ended
    found = json.loads(ended.out)
    assert isinstance(found, dict)
    return found


def test_models_and_their_versions_are_listed(model: vhpack.OutputModel) -> None:
    assert ask("model", "list").out.split("\t")[:4] == ["resnet", model.id, "3", "stored"]
    assert [each["id"] for each in told("list", "res*", "--tag", "a")["models"]] == [model.id]  # type: ignore[attr-defined]
    assert ask("model", "list", "vgg").out == ""
    assert told("list", "--published")["models"] == []
    shown = told("show", "resnet")
    assert (shown["id"], shown["labels"], shown["versions"], shown["url"]) == (model.id, {"cat": 0}, 3, model.url)
    assert f"id         {model.id}" in ask("model", "show", model.id[:6]).out
    lines = ask("model", "versions", "resnet").out.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [["3", "2", "stored"], ["2", "1", "stored"], ["1", "0", "stored"]]
    assert told("versions", "resnet")["versions"][0]["url"] == model.url  # type: ignore[index]


def test_weights_are_fetched_whole_and_over_nothing(model: vhpack.OutputModel, ground: Path) -> None:
    assert ask("model", "download", "resnet").out == f"{ground}/weights.bin\n"
    assert Path("weights.bin").read_bytes() == b"\2"
    ended = ask("model", "download", "resnet", "--version", "1")
    assert (ended.code, ended.err) == (1, f"Error: {ground}/weights.bin exists; say --force to replace it\n")
    assert Path("weights.bin").read_bytes() == b"\2"
    assert told("download", "resnet", "--iteration", "0", "-o", "first.bin", "--force") == {"path": f"{ground}/first.bin"}
    assert Path("first.bin").read_bytes() == b"\0"
    assert ask("model", "download", "resnet", "--version", "9").code == 1
    assert [path.name for path in ground.iterdir() if path.name.startswith(".") and path.name != ".valohai"] == []
    Path("tree").mkdir()
    Path("tree/a.txt").write_text("a")
    model.update_weights("tree", async_enable=False)
    assert told("download", "resnet", "--extract", "-o", "out")["path"] == f"{ground}/out"
    assert Path("out/a.txt").read_text() == "a"


def test_one_is_published_under_an_alias_and_is_an_input_by_that(model: vhpack.OutputModel) -> None:
    ended = ask("model", "publish", "resnet", "--alias", "prod", "--version", "2", "--note", "best")
    assert (ended.code, ended.err) == (0, f"the model resnet ({model.id}) is published, and model://resnet/prod means it now\n")
    assert model.published
    assert told("show", "model://resnet/prod")["aliases"] == {"model://resnet/prod": 2}
    assert ask("alias", "history", "model://resnet/prod").out.split("\t")[-1] == "best\n"
    vhpack.reset()
    vhpack.prepare(step="infer", default_inputs={"model": "model://resnet/prod", "first": f"model://{model.id}/1"})
    path = vhpack.inputs("model").path()
    assert path is not None
    assert Path(path).read_bytes() == b"\1"
    assert Path(path).name == "weights.bin"
    assert Path(str(vhpack.inputs("first").path())).read_bytes() == b"\0"
    assert Path(str(vhpack.Model("model://resnet/prod").get_weights())).read_bytes() == b"\1"
    Path(path).unlink()
    Path(path).write_bytes(b"written by the step")
    assert Path(str(model.get_weights(version=2))).read_bytes() == b"\1"
    assert ask("model", "publish", "resnet", "--note", "x").code == 2


@pytest.mark.parametrize("wrong", [("--alias", ""), ("--alias", "prod", "--version", "9")])
def test_what_cannot_be_called_so_is_not_published(model: vhpack.OutputModel, wrong: tuple[str, ...]) -> None:
    assert ask("model", "publish", "resnet", *wrong).code > 0
    assert (model.published, model.aliases) == (False, {})


def test_old_versions_are_removed(model: vhpack.OutputModel) -> None:
    found = told("prune", "resnet", "--keep", "1")
    assert sorted((each["version"], each["state"]) for each in found["pruned"]) == [(1, "pruned"), (2, "pruned")]  # type: ignore[attr-defined]
    assert ask("model", "prune", "resnet").err == "0 versions removed\n"
    assert [version.state for version in model.versions()] == ["pruned", "pruned", "stored"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nothing"),
        ("versions", "nothing"),
        ("download", "nothing"),
        ("publish", "nothing"),
        ("prune", "nothing"),
        ("show", "model://a/b"),
    ],
)
def test_what_is_not_there_is_one_line(model: vhpack.OutputModel, arguments: tuple[str, ...]) -> None:
    del model
    ended = ask("model", *arguments)
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "vhpack model list" in ended.err


def test_where_there_is_no_registry_nothing_is_made(ground: Path) -> None:
    assert ask("model", "list").out == ""
    assert ask("model", "show", "x").code == 1
    assert ask("model", "resume").err == "nothing to resume\n"
    assert list(ground.iterdir()) == []


def test_what_fails_again_and_a_ctrl_c_leave_everything_as_it_is(model: vhpack.OutputModel, slow: Proxy, ground: Path) -> None:
    denied = Fault("^PUT ", "status", 403, times=-1, body=b"<Error><Code>AccessDenied</Code></Error>")
    slow.faults.append(denied)
    Path("late.bin").write_bytes(b"late")
    model.update_weights("late.bin")
    vhpack.OutputModel.wait_for_uploads()
    (snapshot,) = left_in_spool()
    storing.keeper().spool.close()  # as the end of the process that has it would
    around = environment()
    ended = run([VHPACK, "model", "resume"], ground, environment=around)
    assert (ended.code, ended.err.count("\n")) == (1, 2), ended
    assert ended.err.startswith(f"Error: version 4 of {model.id}: ")
    slow.faults[:] = [Fault("^PUT ", "delay", 5_000, times=-1)]
    resumed = subprocess.Popen([VHPACK, "model", "resume"], cwd=ground, env=around, stderr=subprocess.PIPE, text=True)
    passed = slow.count("^PUT ")
    until(lambda: slow.count("^PUT ") > passed)
    resumed.send_signal(signal.SIGINT)
    _, said = resumed.communicate(timeout=60)
    assert (resumed.returncode, said) == (
        130,
        "Error: interrupted; what is not stored yet stays as it is, for the same command\n",
    )
    assert left_in_spool() == [snapshot]
    slow.faults.clear()
    assert run([VHPACK, "model", "resume"], ground, environment=around).err == "1 version stored\n"
    assert (left_in_spool(), model.versions()[-1].state, Path("late.bin").exists()) == ([], "stored", False)


def test_a_link_to_two_models_of_one_name_says_their_ids(model: vhpack.OutputModel, task: vhpack.Task) -> None:
    other = vhpack.OutputModel(task, name="resnet")
    Path("weights.bin").write_bytes(b"other")
    other.update_weights("weights.bin", async_enable=False)
    ended = ask("model", "show", "resnet")
    assert ended.code == 1
    assert model.id in ended.err
    assert other.id in ended.err
