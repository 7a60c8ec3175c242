"""What a script for ClearML asks of a model and of its task, with either package: `python side_by_side.py PACKAGE`.

It prints the answers as JSON. ClearML is offline, which is as far as it goes without a server.
"""

import contextlib
import importlib
import inspect
import io
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

CONFIG = {"layers": [1, 2, {"rate": None}], "on": True, "name": "ünï"}
MEMBERS = (
    *("connect", "get_weights", "get_weights_package", "publish", "set_default_upload_uri", "set_upload_destination"),
    *("update_design", "update_labels", "update_weights", "update_weights_package", "wait_for_uploads"),
)
PROPERTIES = (
    *("comment", "config_dict", "config_text", "framework", "id", "labels", "name", "published", "system_tags"),
    *("tags", "task", "upload_storage_uri", "url"),
)


def main(package: Any) -> dict[str, object]:
    """Ask."""
    answers: dict[str, object] = {}
    output_model, task_class = package.OutputModel, package.Task

    def ask(what: str, call: Callable[[], object]) -> None:
        try:
            value = call()
        except ValueError:
            answers[what] = "ValueError"
        except Exception as error:  # noqa: BLE001 - which is the answer
            answers[what] = type(error).__name__
        else:
            answers[what] = value if isinstance(value, (str, int, dict, list, type(None))) else "done"

    for name in ("__init__", *MEMBERS):
        parameters = inspect.signature(getattr(output_model, name)).parameters.values()
        given = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        answers[f"signature of {name}"] = [f"{each.name}={each.default}" for each in given]
    for name in PROPERTIES:
        answers[f"{name} is a property"] = isinstance(inspect.getattr_static(output_model, name), property)

    ask("a model without a task", output_model)
    task = task_class.init("project", "task")
    ask("the current task", lambda: task_class.current_task() is task)
    ask("a task that is none", lambda: output_model(task="task"))
    ask("two configurations", lambda: output_model(config_text="a: 1", config_dict={"a": 1}))
    ask("a configuration, and an empty one", lambda: output_model(config_text='{"a": 1}', config_dict={}).config_text)
    ask("a configuration that is none", lambda: output_model(config_text="{{{").config_dict)
    ask("a configuration that is none, as it is", lambda: output_model(config_text="{{{").config_text)
    task.set_model_label_enumeration({"cat": 0})
    ask("labels of the task", lambda: output_model().labels)
    ask("a name of its own", lambda: output_model().name)

    model = output_model(task, config_dict=CONFIG, label_enumeration={"dog": 1}, name="m", tags=["t"], framework="PyTorch")
    for name in ("name", "labels", "tags", "framework", "url"):
        ask(name, lambda name=name: getattr(model, name))  # type: ignore[misc]
    ask("its task", lambda: model.task == task.id)
    ask("config_dict", lambda: json.loads(json.dumps(model.config_dict)))
    for labels in ([1], {1: 1}, {"a": "1"}):
        ask(f"labels {labels}", lambda labels=labels: model.update_labels(labels))  # type: ignore[misc]
    ask("other labels", lambda: bool(model.update_labels({"bird": 2})))
    ask("other labels, waited for", lambda: model.update_labels({"bird": 3}).wait())
    ask("labels now", lambda: model.labels)
    ask("another design", lambda: bool(model.update_design(config_dict={"b": 2})))
    ask("two designs", lambda: model.update_design(config_text="a: 1", config_dict={"a": 1}))
    ask("weights of nothing", model.update_weights)
    ask("weights of two", lambda: model.update_weights("a.bin", register_uri="s3://b/k"))
    ask("a package of nothing", model.update_weights_package)
    ask("a package of two", lambda: model.update_weights_package(["a.bin"], "tree"))
    ask("a package where none is", model.get_weights_package)
    ask("a wait for nothing", output_model.wait_for_uploads)
    ask("to be connected", lambda: model.connect(task))
    ask("a destination", lambda: model.set_upload_destination(""))
    return answers


if __name__ == "__main__":
    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()):
        chosen = importlib.import_module(sys.argv[1])
        if sys.argv[1] == "clearml":
            chosen.Task.set_offline(True)
        told = main(chosen)
    print(json.dumps(told))
    sys.stdout.flush()
