"""A step in `valohai.yaml` follows the code, and nothing else in the file changes."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from vhpack.errors import YamlError
from vhpack.step import describe
from vhpack.yaml import files
from vhpack.yaml.document import parse
from vhpack.yaml.steps import Wanted, kept, updated

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("error")


def wanted(path: str = "train.py", **arguments: Any) -> Wanted:
    arguments.setdefault("step", "train")
    return Wanted(describe(**arguments), frozenset(arguments), path)


def update(text: str, path: str = "train.py", **arguments: Any) -> str:
    new = updated(parse("valohai.yaml", text), wanted(path, **arguments))
    again = updated(parse("valohai.yaml", new), wanted(path, **arguments))
    assert again == new, "a second run changes the file again"
    return new


SEED = """\
- step:
    name: train
    image: tensorflow/tensorflow:gpu
    command:
    - pip install -r requirements.txt
    - python ./train.py {parameters}
    parameters:
    - name: learning-rate
      default: 0.001
      optional: false
      type: float
    inputs:
    - name: training-set
      default: http://example.com/training_set.zip
      optional: false
"""
CODE: dict[str, Any] = {
    "image": "tensorflow/tensorflow:gpu",
    "default_parameters": {"learning-rate": 0.001},
    "default_inputs": {"training-set": "http://example.com/training_set.zip"},
}


def test_the_first_step_is_written_byte_for_byte() -> None:
    assert update("", **CODE) == SEED


@pytest.mark.parametrize("text", ["", "# mine\n", "---\n", "[]\n"])
def test_a_file_without_steps_gets_one(text: str) -> None:
    assert update(text, **CODE) == text.replace("[]\n", "").replace("---\n", "---\n") + SEED or text == "[]\n"


def test_a_file_that_is_up_to_date_stays_as_it_is() -> None:
    assert update(SEED, **CODE) == SEED


WRITTEN = """\
# The pipeline of the picture team.  Ask Ann before you change it.
---

-   step:      # the big one
      name:    "train"
      image:   'tensorflow/tensorflow:gpu'   # pinned
      # how it runs
      command:
          - |
            pip install -r requirements.txt

            echo "ready"
          - >-
            python ./train.py
            {parameters}
      environment: aws-eu-west-1-p3-2xlarge
      time-limit: 1h 30m
      no-output-timeout:  30m
      parameters:
          # tuned by hand
          - name: learning-rate    # of Adam
            description: "How fast"
            default: 1e-3
            min: 0.0
            max: 1.0
            optional: true
            type: float
          - {name: epochs, type: integer, default: 0x10, description: how long}
          - name: gone
            type: string
            default: ~
          # the last one
          - name: verbose
            type: flag
            pass-as: --verbose
            default: no
      environment-variables:
          - {name: A, default: null}
      inputs:
          - name: training-set
            default:
                - http://example.com/training_set.zip  # the first
                - http://example.com/more.zip
            keep-directories: full
            filename: set.zip

-   step: {name: small, image: "a:b", command: [echo, "x"]}   # all on a line
-   pipeline:
        name: all
        nodes: &nodes
            - {name: one, type: execution, step: train}
        edges:
            - [one.output.*, one.input.x]
# the end
"""
KEPT: dict[str, Any] = {
    "default_parameters": {"learning-rate": 0.001, "epochs": 16, "gone": None, "verbose": False},
    "default_inputs": {"training-set": ["http://example.com/training_set.zip", "http://example.com/more.zip"]},
}


def test_what_a_person_wrote_stays_when_code_agrees() -> None:
    assert update(WRITTEN, **KEPT).replace("            default: ~\n", "") == WRITTEN.replace("            default: ~\n", "")


def test_only_changed_keys_change() -> None:
    code: dict[str, Any] = {
        "default_parameters": {"learning-rate": 0.01, "epochs": 20, "verbose": True, "new": [1, 2]},
        "default_inputs": {"training-set": "https://h/x.zip"},
        "upload_store": "store",
    }
    new = update(WRITTEN, **code)
    expected = (
        WRITTEN.replace("default: 1e-3", "default: 0.01")
        .replace("default: 0x10", "default: 20")
        .replace("          - name: gone\n            type: string\n            default: ~\n", "")
        .replace("default: no\n", "default: true\n" + NEW_PARAMETER)
        .replace(
            "default:\n                - http://example.com/training_set.zip  # the first\n                - http://example.com/more.zip\n",
            "default: https://h/x.zip\n",
        )
        .replace("            filename: set.zip\n", "            filename: set.zip\n      upload-store: store\n")
    )
    assert new == expected


NEW_PARAMETER = """\
          - name: new
            default:
                - 1
                - 2
            multiple: separate
            optional: false
            type: integer
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_stay(newline: str) -> None:
    text = SEED.replace("\n", newline)
    new = update(text, **{**CODE, "default_parameters": {"learning-rate": 0.5, "x": "y"}, "environment": "e"})
    assert new.count(newline) == new.count("\n")
    assert "default: 0.5" in new


def test_a_file_without_a_last_newline_is_still_lines() -> None:
    new = update(SEED.removesuffix("\n"), **{**CODE, "environment": "e"})
    assert new == SEED + "    environment: e"
    assert update("- step: {name: b, image: c, command: d}", **CODE) == "- step: {name: b, image: c, command: d}\n" + SEED


def test_steps_parted_by_blank_lines_stay_so() -> None:
    text = SEED.replace("train", "one") + "\n" + SEED.replace("train", "two")
    assert update(text, **CODE) == text + "\n" + SEED


def test_lists_that_code_empties_go_and_those_it_does_not_mention_stay() -> None:
    assert "parameters:" not in update(SEED, **{**CODE, "default_parameters": {}})
    assert update(SEED, image="tensorflow/tensorflow:gpu") == SEED


def test_lists_that_stay_since_code_does_not_mention_them_are_told() -> None:
    def told(text: str, **arguments: Any) -> list[str]:
        return [note.text() for note in kept(parse("valohai.yaml", text), wanted(**arguments))]

    said = "inputs (training-set) stay: train.py gives no default_inputs; default_inputs={} there removes them"
    shown = f"valohai.yaml:12:5: note: {said}\n        inputs:\n        ^~~~~~"
    assert told(SEED, default_parameters={"learning-rate": 1.0}) == [shown]
    assert [note.partition(" stay")[0] for note in told(SEED)] == [
        "valohai.yaml:7:5: note: parameters (learning-rate)",
        "valohai.yaml:12:5: note: inputs (training-set)",
    ]
    assert told(SEED, default_parameters={}, default_inputs=None) == told(SEED, step="other") == told("") == []


def test_a_renamed_spelling_keeps_the_settings() -> None:
    new = update(WRITTEN, default_parameters={**KEPT["default_parameters"], "learning_rate": 0.001, "learning-rate": 0.001})
    assert new.count("name: learning") == 2
    new = update(SEED, **{**CODE, "default_parameters": {"learning_rate": 0.001}})
    assert new == SEED.replace("learning-rate", "learning_rate")


def test_a_person_s_command_stays_and_a_generated_one_follows_multifile() -> None:
    multi = update(SEED, **CODE, multifile=True)
    assert multi == SEED.replace("./train.py {", "{source-path} {") + "    source-path: ./train.py\n"
    assert update(multi, **CODE) == SEED
    own = SEED.replace("./train.py", "-u ./train.py")
    assert update(own, **CODE, multifile=True) == own + "    source-path: ./train.py\n"


def test_an_input_that_becomes_local_loses_its_default() -> None:
    new = update(SEED, **{**CODE, "default_inputs": {"training-set": "local/*.zip"}})
    assert new == SEED.replace(
        "      default: http://example.com/training_set.zip\n      optional: false", "      optional: true"
    )
    assert update(new, **CODE) == SEED.replace(
        "      default: http://example.com/training_set.zip\n      optional: false",
        "      optional: false\n      default: http://example.com/training_set.zip",
    )


def test_wildcards_keep_folders_unless_a_person_said_otherwise() -> None:
    code = {**CODE, "default_inputs": {"training-set": "s3://b/*.zip"}}
    assert "keep-directories: suffix" in update(SEED, **code)
    own = SEED + "      keep-directories: full\n"
    assert update(own, **code) == own.replace("http://example.com/training_set.zip", "s3://b/*.zip")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"x": True}, {"x": 1}),
        ({"x": 1}, {"x": True}),
        ({"x": 1}, {"x": [1, 2]}),
        ({"x": [1, 2]}, {"x": 1}),
        ({"x": [1, 2]}, {"x": [2, 3, 4]}),
        ({"x": "1"}, {"x": 1}),
        ({"x": 1}, {"x": "1"}),
        ({"x": 1.0}, {"x": 1}),
        ({"x": 1}, {"x": None}),
        ({"x": None}, {"x": 1}),
        ({"x": ""}, {"x": "a\nb\u2028é😀"}),
        ({"x": {"default": 1, "min": 0}}, {"x": {"default": 1, "max": 3}}),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
        ({"x": 1, "y": 2}, {"z": 2}),
        ({"x": 1e22, "y": 1e-7, "z": float("inf")}, {"x": 1e21, "y": -0.0, "z": float("nan")}),
    ],
)
def test_types_and_defaults_follow_the_code(old: dict[str, object], new: dict[str, object]) -> None:
    import yaml

    from vhpack.yaml.steps import parameter_item

    then = update("", default_parameters=old)
    now = update(then, default_parameters=new)
    (item,) = yaml.safe_load(now)
    held = {entry["name"]: entry for entry in item["step"]["parameters"]}
    for parameter in wanted(default_parameters=new).step.parameters:
        expected = parameter_item(parameter)
        # None has no type, so that the one that is there stays.
        told = ("default", "multiple") if parameter.default is None else ("default", "type", "multiple")
        assert {name: repr(held[parameter.name].get(name)) for name in told} == {name: repr(expected.get(name)) for name in told}
    assert set(held) == set(new)


def test_anchors_that_others_share_are_never_changed_for_them() -> None:
    shared = """\
- step:
    name: train
    image: &image a:b
    command: c
    parameters: &all
    - name: x
      default: 1
      type: integer
- step:
    name: other
    image: *image
    command: c
    parameters: *all
"""
    with pytest.raises(ValueError, match="cannot be changed without changing more"):
        update(shared, default_parameters={"x": 2})
    with pytest.raises(ValueError, match=r"valohai\.yaml:13: 'parameters' is written elsewhere"):
        update(shared, step="other", default_parameters={"x": 2})
    assert update(shared, step="other", image="c:d") == shared.replace("*image", "c:d")
    merged = "- step: &base\n    name: b\n    image: i\n    command: c\n- step:\n    <<: *base\n    name: train\n"
    assert update(merged, image="i") == merged
    assert update(merged, image="j") == merged + "    image: j\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\n", "no list of steps"),
        ("- step: {\n", r"valohai\.yaml:2:1: this is no YAML"),
        ("- a: b\n---\n- c: d\n", "several documents"),
        ("- &a [*a]\n", "too large"),
        (
            "- &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"- &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8)),
            "too large",
        ),
        ("[" * 5000, "no YAML|nested"),
        ("- step:\n    name: train\n    image: a\n    command: b\n" * 2, "twice, in lines 1 and 5"),
        ("- step:\n    name: train\n    parameters: 3\n", "must be a list"),
        ("\x07", "no YAML"),
    ],
)
def test_a_file_that_cannot_be_changed_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update(text, default_parameters={"x": 2})


def test_keys_that_are_merged_again_and_again_stay_few() -> None:
    text = "- &a0 {x: 1}\n" + "".join(f"- &a{n + 1} {{<<: [*a{n}, *a{n}], y{n}: 1}}\n" for n in range(60))
    assert len(parse("valohai.yaml", text).meaning[-1]) == 61


def test_ten_thousand_items_are_paired_soon() -> None:
    from vhpack.yaml.steps import _matched

    items = [{"name": f"a_{number}"} for number in range(10_000)]
    spelled = [{"name": f"a-{number}"} for number in range(5_000)] + items[5_000:]
    assert _matched(items, spelled) == {number: number for number in range(10_000)}
    twice = [{"name": "b"}, {"name": "b"}]
    assert _matched(twice, twice[:1]) == {0: 0}


def test_flow_styles_are_changed_in_their_lines() -> None:
    text = "- step: {name: train, image: 'a', command: [b], parameters: [{name: x, default: 1, type: integer}, {name: y}]} # c\n"
    new = update(text, default_parameters={"x": 2, "z": "a, b"}, environment="e")
    assert new == (
        "- step: {name: train, image: 'a', command: [b], parameters: [{name: x, default: 2, type: integer},"
        " {name: z, default: 'a, b', optional: false, type: string}], environment: e} # c\n"
    )


@pytest.mark.parametrize("value", ["!!bool x", '!!int ""', '!!float ""', "!!timestamp x"])
def test_a_value_that_is_not_what_its_tag_says_is_told_with_its_place(value: str) -> None:
    with pytest.raises(YamlError, match=r"^valohai\.yaml:2:4: "):
        parse("valohai.yaml", f"a: 1\nb: {value}\n")


def test_of_two_who_replace_a_file_at_once_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, meeting, told = tmp_path / "valohai.yaml", threading.Barrier(2), []
    path.write_text("old")
    read = files.text_of

    def meet(name: str) -> str | None:
        found = read(name)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.3)  # without a lock the other is here, too
        return found

    def replace(new: str) -> None:
        try:
            files.replace(str(path), "old", new)
        except YamlError as error:
            told.append(str(error))

    monkeypatch.setattr(files, "text_of", meet)
    both = [threading.Thread(target=replace, args=(new,)) for new in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(told) == 1
    assert "changed by someone else meanwhile" in told[0]
