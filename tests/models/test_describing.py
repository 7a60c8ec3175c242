"""What is said of models: acceptance checks 1 to 13, and tasks."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import vhpack
from tests.models.conftest import rows
from vhpack.errors import ModelError, OptionError

CONFIG: dict[str, object] = {"z": [1, [2, {"q": None}]], "on": True, "k.dot": 1, "ünï": "ö", "empty": {}}


LOOP: dict[str, object] = {}
LOOP["again"] = LOOP


def stored(model: vhpack.OutputModel, content: bytes = b"weights", **options: object) -> str:
    Path("weights.bin").write_bytes(content)
    return model.update_weights("weights.bin", async_enable=False, **options)  # type: ignore[arg-type]


def test_making_one_registers_nothing_and_makes_no_file(task: vhpack.Task, ground: Path) -> None:
    model = vhpack.OutputModel(task, name="resnet")
    assert (model.published, model.url, model.versions(), model.tags) == (False, None, [], [])
    assert len(model.id) == 32
    assert list(ground.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        *({"config_text": "x=1", "config_dict": {"x": 1}}, {"name": ""}, {"label_enumeration": {"a": "b"}}, {"tags": "one"}),
        *({what: wrong} for what in ("name", "comment", "framework", "config_text") for wrong in (7, "a\0b", "\udcff")),
        {"config_dict": {"a": "\udcff"}},
        {"config_dict": LOOP},
    ],
)
def test_arguments_that_make_no_sense_are_refused(task: vhpack.Task, arguments: dict[str, object], ground: Path) -> None:
    with pytest.raises(ValueError, match=r"only one of|name is|label 'a'|tags are|comment is|framework is|config_"):
        vhpack.OutputModel(task, **arguments)  # type: ignore[arg-type]
    assert list(ground.iterdir()) == []


class TestTasks:
    def test_there_is_no_model_without_one(self) -> None:
        with pytest.raises(ValueError, match=r"call vhpack.Task.init\(\), or prepare\(\)"):
            vhpack.OutputModel()
        with pytest.raises(ValueError, match=r"must be a vhpack\.Task"):
            vhpack.OutputModel(task="train")  # type: ignore[arg-type]

    def test_the_current_one_is_that_of_init_else_the_prepared_run(self) -> None:
        vhpack.prepare(step="train")
        run = vhpack.Task.current_task()
        assert run is not None
        assert (run.name, run.id, run.project) == ("train", vhpack.runs.current().hash, "default")
        assert vhpack.OutputModel().task == run.id
        task = vhpack.Task.init("cats", "other")
        assert vhpack.Task.current_task() is task
        assert vhpack.OutputModel().name == "other"
        task.close()
        assert vhpack.Task.current_task() is run

    def test_another_one_waits_for_the_first_to_be_closed(self) -> None:
        with vhpack.Task.init("cats", "one") as task:
            assert vhpack.Task.init("cats", "one") is task
            with pytest.raises(ValueError, match=r"is open; close\(\) it"):
                vhpack.Task.init("cats", "two")
        assert vhpack.Task.init("cats", "two").id != task.id

    @pytest.mark.parametrize("anywhere", [True, False, None, ""])
    def test_scripts_for_clearml_may_leave_the_place_to_it(self, anywhere: str | bool | None, ground: Path) -> None:
        task = vhpack.Task.init("cats", "train", output_uri=anywhere)
        assert task.output_uri is None
        assert vhpack.OutputModel().upload_storage_uri == (ground / ".valohai/store").as_uri()

    def test_what_cannot_be_a_task_is_refused_and_takes_no_number(self) -> None:
        for arguments in (("cats", "one", "foo://x"), ("cats", 7, None), ("ca\0ts", "one", None)):
            with pytest.raises(ValueError, match=r"is no destination|task_name is|project_name is"):
                vhpack.Task.init(*arguments)
        assert vhpack.Task.init(None, "one").id == vhpack.runs.current().hash

    def test_its_models_are_those_that_it_made_and_those_that_it_was_given(self, task: vhpack.Task) -> None:
        model = vhpack.OutputModel(name="resnet")
        stored(model)
        model.connect(task, "best")
        assert [each.id for each in task.models["output"]] == [model.id]
        other = vhpack.OutputModel(name="vgg")
        stored(other)
        other.connect(task, "best")
        assert (other._record().connected, model._record().connected) == ("best", None)
        uri = model.set_alias("prod")
        task.close()
        vhpack.reset()
        vhpack.prepare(step="infer", default_inputs={"model": uri})
        assert vhpack.inputs("model").path() is not None
        current = vhpack.Task.current_task()
        assert current is not None
        assert [each.id for each in current.models["input"]] == [model.id]
        with pytest.raises(ModelError, match="to no other"):
            model.connect(current)


def test_labels_are_the_tasks_unless_it_has_its_own(task: vhpack.Task) -> None:
    task.set_model_label_enumeration({"cat": 0})
    assert vhpack.OutputModel().labels == {"cat": 0}
    assert vhpack.OutputModel(label_enumeration={"dog": 1}).labels == {"dog": 1}


class TestBaseModels:
    def test_one_is_gone_on_with(self, task: vhpack.Task) -> None:
        first = vhpack.OutputModel(name="resnet", comment="good", tags=["a"])
        stored(first)
        task.close()
        task = vhpack.Task.init("cats", "again")
        model = vhpack.OutputModel(base_model_id=first.id, comment="better")
        assert (model.id, model.name, model.tags, model.task) == (first.id, "resnet", ["a"], task.id)
        lines = model.comment.splitlines()
        assert lines[:2] == [f"Overwritten by task id: {task.id}", "better"]
        assert {"good", "snapshot weights.bin stored"} <= set(lines)
        stored(model)
        assert [version.n for version in first.versions()] == [1, 2]

    def test_one_that_is_not_there_or_is_published_is_refused(self, task: vhpack.Task) -> None:
        del task
        with pytest.raises(ValueError, match="there is no model 'nowhere'"):
            vhpack.OutputModel(base_model_id="nowhere")
        model = vhpack.OutputModel()
        stored(model)
        model.publish()
        with pytest.raises(ValueError, match="is published"):
            vhpack.OutputModel(base_model_id=model.id, comment="mine")
        assert "mine" not in model.comment


class TestDesign:
    @pytest.mark.parametrize("live", [False, True])
    def test_a_dictionary_comes_back(self, task: vhpack.Task, live: bool) -> None:
        del task
        model = vhpack.OutputModel(config_dict=CONFIG)
        assert model.config_dict == CONFIG
        if live:
            stored(model)
        assert model.update_design(config_dict={**CONFIG, "new": 1}).wait()
        assert model.config_dict == {**CONFIG, "new": 1}
        assert vhpack.Model(model.id).config_dict == model.config_dict if live else True

    @pytest.mark.parametrize("text", ["no json: {", "[1, 2]", "x = 1", '{"a": ' * 100_000])
    def test_text_that_is_no_json_object_is_kept_as_it_is(self, task: vhpack.Task, text: str) -> None:
        del task
        model = vhpack.OutputModel(config_text=text)
        stored(model)
        assert model.config_text == text
        with pytest.raises(ValueError, match="the configuration is"):
            _ = model.config_dict

    @pytest.mark.parametrize("config", [{1: "a"}, {"a": {2: "b"}}, {"a": [{3: 1}]}, {"a": object()}, [1]])
    def test_what_would_come_back_as_another_one_is_refused(self, task: vhpack.Task, config: object) -> None:
        del task
        with pytest.raises(ValueError, match="config_dict"):
            vhpack.OutputModel().config_dict = config  # type: ignore[assignment]

    @pytest.mark.parametrize("live", [False, True])
    @pytest.mark.parametrize("labels", [[("a", 1)], {1: 1}, {"a": "1"}, {"a": True}, {"a": 1.0}])
    def test_labels_that_are_none_are_refused_and_the_model_lives_on(self, task: vhpack.Task, labels: object, live: bool) -> None:
        del task
        model = vhpack.OutputModel(label_enumeration={"cat": 0})
        if live:
            stored(model)
        with pytest.raises(ValueError, match="label"):
            model.update_labels(labels)  # type: ignore[arg-type]
        assert model.labels == {"cat": 0}
        assert model.update_labels({"dog": 1}).wait(0)
        stored(model)
        assert model.labels == {"dog": 1}

    @pytest.mark.parametrize("live", [False, True])
    def test_fields_can_be_cleared_but_for_the_name(self, task: vhpack.Task, live: bool) -> None:
        del task
        model = vhpack.OutputModel(config_text="x", tags=["a"], comment="c", framework="torch")
        if live:
            stored(model)
        model.comment, model.tags, model.framework = "", [], None
        model.update_design(config_text="")
        model.name = "other"
        assert (model.comment, model.tags, model.config_text, model.config_dict, model.framework) == ("", [], "", {}, None)
        with pytest.raises(ValueError, match="not empty"):
            model.name = ""
        assert model.name == "other"

    def test_two_models_of_a_task_keep_what_is_theirs(self, task: vhpack.Task) -> None:
        task.set_model_label_enumeration({"cat": 0})
        one, two = vhpack.OutputModel(config_text="one"), vhpack.OutputModel(config_text="two")
        for number in range(2):
            stored(one, bytes([number]))
            two.update_labels({"dog": number})
            two.update_design(config_text=f"two {number}")
            stored(two, bytes([number]))
        assert (one.labels, one.config_text) == ({"cat": 0}, "one")
        assert (two.labels, two.config_text) == ({"dog": 1}, "two 1")
        assert task.get_labels_enumeration() == {"cat": 0}


class TestPublished:
    def test_nothing_of_it_changes_and_no_file_is_touched(self, task: vhpack.Task, ground: Path) -> None:
        del task
        model = vhpack.OutputModel(name="resnet", label_enumeration={"cat": 0})
        uri = stored(model)
        model.publish()
        model.publish()
        assert model.published
        (ground / "tree/sub").mkdir(parents=True)
        (ground / "tree/sub/a.bin").write_bytes(b"a")
        (ground / "b.bin").write_bytes(b"b")
        before = sorted(path.stat().st_mtime_ns for path in ground.rglob("*") if ".valohai" not in path.parts)
        calls = (
            lambda: model.update_weights("b.bin"),
            lambda: model.update_weights("tree"),
            lambda: model.update_weights(register_uri="s3://b/k"),
            lambda: model.update_weights_package(weights_path="tree"),
            lambda: model.update_weights_package(["b.bin"]),
            lambda: model.update_labels({}),
            lambda: model.update_design(config_text="x"),
            model.update_design,
            lambda: model.set_upload_destination("file:///tmp"),
            lambda: setattr(model, "name", "other"),
        )
        for call in calls:
            with pytest.raises(ValueError, match="is published and cannot be changed"):
                call()
        assert sorted(path.stat().st_mtime_ns for path in ground.rglob("*") if ".valohai" not in path.parts) == before
        assert (model.url, model.name, len(model.versions())) == (uri, "resnet", 1)
        model.tags, model.comment = ["good"], "said later"
        assert (model.tags, model.comment) == (["good"], "said later")

    def test_one_without_a_stored_version_cannot_be(self, task: vhpack.Task) -> None:
        del task
        with pytest.raises(ValueError, match="nothing to publish"):
            vhpack.OutputModel().publish()


def test_signatures_are_those_that_scripts_for_clearml_count_on() -> None:
    """Names, order and defaults of what may be given by position; what is ours alone comes behind a star."""
    wanted = {
        "__init__": "self task=None config_text=None config_dict=None label_enumeration=None name=None tags=None comment=None "
        "framework=None base_model_id=None",
        "connect": "self task name=None",
        "get_weights": "self raise_on_error=False force_download=False extract_archive=False",
        "get_weights_package": "self return_path=False raise_on_error=False force_download=False extract_archive=True",
        "publish": "self",
        "set_default_upload_uri": "output_uri",
        "set_upload_destination": "self uri",
        "update_design": "self config_text=None config_dict=None",
        "update_labels": "self labels",
        "update_weights": "self weights_filename=None upload_uri=None target_filename=None auto_delete_file=True register_uri=None "
        "iteration=None update_comment=True is_package=False async_enable=True",
        "update_weights_package": "self weights_filenames=None weights_path=None upload_uri=None target_filename=None "
        "auto_delete_file=True iteration=None async_enable=True",
        "wait_for_uploads": "timeout=None max_num_uploads=None",
    }
    for name, words in wanted.items():
        found = [
            parameter.name + ("" if parameter.default is parameter.empty else f"={parameter.default}")
            for parameter in inspect.signature(getattr(vhpack.OutputModel, name)).parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        assert " ".join(found) == words, name
    properties = "comment config_dict config_text framework id labels name published system_tags tags task url"
    assert all(isinstance(getattr(vhpack.OutputModel, name), property) for name in properties.split())


def test_models_are_found_by_what_is_known_of_them(task: vhpack.Task) -> None:
    del task
    assert vhpack.query_models() == []
    made = {}
    for name, tags in (("resnet18", ["a"]), ("resnet50", ["a", "b"]), ("vgg", [])):
        made[name] = vhpack.OutputModel(name=name, tags=tags)
        stored(made[name])
    made["vgg"].publish()

    def names(**wanted: object) -> list[str]:
        return [each.name for each in vhpack.query_models(**wanted)]  # type: ignore[arg-type]

    assert names() == ["resnet18", "resnet50", "vgg"]
    assert names(name="resnet*", tags=["a", "b"]) == ["resnet50"]
    assert (names(published=True), names(published=False)) == (["vgg"], ["resnet18", "resnet50"])
    assert vhpack.Model.query_models(name="vgg")[0].id == made["vgg"].id
    assert vhpack.Model("vgg").id == vhpack.Model(made["vgg"].id[:8]).id == made["vgg"].id
    # A name counts before the beginning of an ID.
    made["beef"] = vhpack.OutputModel(name=made["vgg"].id[:6])
    stored(made["beef"])
    assert vhpack.Model(made["vgg"].id[:6]).id == made["beef"].id
    for unknown in ("nothing", "model://vgg/prod", "datum://x"):
        with pytest.raises(ModelError, match=r"no such model|no model of this name|has no alias"):
            vhpack.Model(unknown)
    with pytest.raises(OptionError, match="tags are"):
        vhpack.query_models(tags="a")
    assert rows("models") == 4
