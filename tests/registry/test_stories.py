"""What data aliases are for, told by scripts that know nothing of each other."""

from __future__ import annotations

from pathlib import Path

import vhpack
from tests.registry.making import ask, script

TRAIN = """\
import sys
import valohai
valohai.prepare(step="train", default_parameters={"seed": 1}, default_inputs={"images": "datum://train-images"})
images = open(valohai.inputs("images").path()).read()
with open(valohai.outputs().path("model.txt"), "w") as file:
    file.write(f"trained on {images} with seed {valohai.parameters('seed').value}")
with valohai.output_properties() as properties:
    properties.add(file="model.txt", properties={"valohai.alias": "model-candidate", "valohai.tags": ["resnet"]})
"""
PREPROCESS = """\
import valohai
valohai.prepare(step="preprocess", default_parameters={"which": "cats"})
with open(valohai.outputs("images").path("images.txt"), "w") as file:
    file.write(valohai.parameters("which").value)
with valohai.output_properties() as properties:
    properties.add(file="images/images.txt", properties={"valohai.alias": "train-images"})
"""
INFER = """\
import valohai
valohai.prepare(step="infer", default_inputs={"model": "datum://model-prod"})
print("by a model that was", open(valohai.inputs("model").path()).read())
"""
RUN = ("-m", "vhpack", "run")


def infer(folder: Path) -> str:
    ended = script(folder, INFER, before=RUN)
    assert ended.code == 0, ended
    return ended.out.strip()


def test_batch_inference_uses_the_model_that_is_in_production(local: Path) -> None:
    assert script(local, PREPROCESS, before=RUN).code == 0
    assert script(local, TRAIN, before=RUN).code == 0
    assert "no alias 'model-prod'" not in ask("alias", "list").out
    assert ask("alias", "set", "model-prod", "datum://model-candidate", "--note", "first").code == 0
    assert infer(local) == "by a model that was trained on cats with seed 1"

    assert script(local, TRAIN, "--seed=2", before=RUN).code == 0
    assert infer(local) == "by a model that was trained on cats with seed 1", "a candidate is not in production"
    assert ask("alias", "set", "model-prod", "datum://model-candidate").code == 0
    assert infer(local) == "by a model that was trained on cats with seed 2"
    assert ask("alias", "rollback", "model-prod", "--note", "worse").code == 0
    assert infer(local) == "by a model that was trained on cats with seed 1"
    assert [change.note for change in vhpack.aliases.history("model-prod")] == ["first", "", "worse"]


def test_train_images_moves_to_newer_data_and_a_copied_run_keeps_the_old(local: Path) -> None:
    script(local, PREPROCESS, before=RUN)
    script(local, TRAIN, before=RUN)
    (first,) = vhpack.data.find("model.txt")
    assert script(local, PREPROCESS, "--which=dogs", before=RUN).code == 0
    script(local, TRAIN, before=RUN)
    ended = script(local, TRAIN, "--seed=3", before=(*RUN, "--copy", str(first.run)))
    assert ended.code == 0, ended
    contents = [
        (local / ".valohai/store" / str(datum.sha256)[:2] / str(datum.sha256)[2:]).read_text()
        for datum in vhpack.data.find("model.txt")
    ]
    assert contents == ["trained on cats with seed 1", "trained on dogs with seed 1", "trained on cats with seed 3"]
    shown = ask("runs", "show", str(vhpack.data.find("model.txt")[2].run)).out
    assert f"copy of     {first.run}" in shown.replace("copy of       ", "copy of     ")
    assert "datum://train-images = datum://" in shown
