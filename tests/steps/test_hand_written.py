"""Whatever a person wrote, in whatever style: a step can be brought up to date, and all else stays."""

from __future__ import annotations

import difflib
import random
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.conftest import SOAK
from tests.steps.test_update import CODE, SEED, update, wanted
from tests.steps.written import written
from vhpack.yaml.document import parse
from vhpack.yaml.linting import lint
from vhpack.yaml.steps import generated, updated

ROUNDS = 20_000 if SOAK else 160
_VALUES = [1, 0.5, "adam w", "a", True, False, None, ["a", "b"], [1, 2], [0.5], ""]
_PLACES = ["http://h/a.zip", "s3://b/*.png", ["http://h/a", "http://h/b c"], "local/*.csv", []]
_SETTINGS = {
    "description": 'how "big": x, or so',
    "min": 0,
    "category": "A B",
    "widget": {"type": "x", "settings": {"a": [1, 2]}},
}
_OTHERS = {
    "time-limit": "1h 30m",
    "environment-variables": [{"name": "A", "default": "b c"}],
    "category": "x y",
    "mounts": ["/a:/b"],
}
_STEP = {"step": {"name": "other", "image": "a:b", "command": ["echo hi"], "parameters": [{"name": "lr", "type": "float"}]}}
_PIPELINE = {"pipeline": {"name": "p", "nodes": [{"name": "a", "type": "execution", "step": "other"}], "edges": []}}


def code(chance: random.Random, *, keeping: dict[str, Any] | None = None) -> dict[str, Any]:
    names = chance.sample(["lr", "epochs", "opt", "fast", "tags", "learning-rate", "x_y"], chance.randint(0, 5))
    places = chance.sample(["images", "set", "z-a"], chance.randint(0, 3))
    for item in (keeping or {}).get("parameters", []):
        names = [name for name in names if name.replace("_", "-") != item["name"].replace("_", "-")] + [item["name"]]
    places = list(dict.fromkeys([*places, *(item["name"] for item in (keeping or {}).get("inputs", []))]))
    made: dict[str, Any] = {
        "default_parameters": {name: chance.choice(_VALUES) for name in names},
        "default_inputs": {name: chance.choice(_PLACES) for name in places},
    }
    others = (("image", "n:e", 0.3), ("environment", "env", 0.2), ("multifile", True, 0.1), ("step", "new", 0.1))
    made.update({name: value for name, value, often in others if chance.random() < often})
    return made


def items(chance: random.Random) -> list[Any]:
    """A step that once came from other code, and that a person has gone on with; perhaps others around it."""
    then = code(chance)
    then["step"] = "train"
    step: dict[str, Any] = generated(wanted(**then))
    for entry in step.get("parameters", []):
        entry.update({name: value for name, value in _SETTINGS.items() if chance.random() < 0.25})
    step.update({name: value for name, value in _OTHERS.items() if chance.random() < 0.3})
    before = [_STEP] if chance.random() < 0.5 else []
    after = [_PIPELINE] if chance.random() < 0.5 and before else []
    return [*before, {"step": _shuffled(step, chance)}, *after]


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [_shuffled(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    if chance.random() < 0.5:
        chance.shuffle(names)
    return {name: _shuffled(value[name], chance) for name in names}


@pytest.mark.parametrize("part", range(4))
def test_any_style_can_be_updated_and_keeps_its_comments(part: int) -> None:
    for seed in range(part * ROUNDS // 4, (part + 1) * ROUNDS // 4):
        chance = random.Random(seed)
        meant = items(chance)
        text = written(meant, chance)
        assert yaml.safe_load(text) == meant, f"{seed}: the test itself writes something else\n{text}"
        kept = next(item["step"] for item in meant if item.get("step", {}).get("name") == "train") if seed % 2 else None
        now = wanted(**code(chance, keeping=kept))
        new = updated(parse("valohai.yaml", text), now)
        changes = "".join(difflib.unified_diff(text.splitlines(keepends=True), new.splitlines(keepends=True), n=1))
        assert updated(parse("valohai.yaml", new), now) == new, f"{seed}: a second run changes it again\n{changes}"
        lost = Counter(re.findall(r"# own \d+", text)) - Counter(re.findall(r"# own \d+", new))
        assert not (lost and kept), f"{seed}: {lost}\n{changes}"
        assert [finding for finding in lint("valohai.yaml", new) if finding.severity == "error"] == [], changes
        assert ("\r\n" in text) == ("\r\n" in new)
        assert not re.search(r"(?<!\r)\n", new) or "\r\n" not in new
        found, before = yaml.safe_load(new), [item for item in meant if item.get("step", {}).get("name") != now.step.name]
        assert [item for item in found if item.get("step", {}).get("name") != now.step.name] == before


def test_several_parameters_and_inputs_are_added_at_once_in_their_order() -> None:
    more = {**CODE["default_parameters"], "one": 1, "two": "b", "three": [1, 2]}
    places = {**CODE["default_inputs"], "four": "http://h/4", "five": "http://h/5"}
    new = update(SEED, **{**CODE, "default_parameters": more, "default_inputs": places, "environment": "e", "upload_store": "s"})
    assert re.findall(r"- name: (\S+)", new) == ["learning-rate", "one", "two", "three", "training-set", "four", "five"]
    assert new.startswith(SEED.partition("    inputs:")[0])


COMMENTED = """\
- step:
    name: train
    image: a:b
    command: c
    parameters:
    # before the first
    - default:  # of text
      # the ones that matter
      - a
      - b  # the second
      # what it is called
      name: x
      type: string
      multiple: separate
    inputs:
    - name: set
      default:   # where they are
      # from the archive
      - http://h/a
      # the newer ones
      - http://h/b  # broken
"""


def test_comments_stay_where_what_they_stand_at_goes() -> None:
    new = update(COMMENTED, default_parameters={"x": None}, default_inputs={"set": "http://h/a"})
    assert new == (
        COMMENTED.replace(
            "    - default:  # of text\n      # the ones that matter\n      - a\n      - b  # the second\n      # what it is called\n      name: x\n",
            "      # the ones that matter\n      # what it is called\n    - name: x\n",
        )
        .replace("      multiple: separate\n", "      multiple: separate\n      optional: true\n")
        .replace(
            "      default:   # where they are\n      # from the archive\n      - http://h/a\n",
            "      default: http://h/a   # where they are\n      # from the archive\n",
        )
        .replace("      - http://h/b  # broken\n", "")
    ), new


def test_comments_in_brackets_stay_with_what_stays() -> None:
    text = "- step: {name: train, image: a, command: [c], parameters: [\n  {name: x, default: 1, type: integer},  # x\n  # y\n  {name: y, default: 2, type: integer}]}\n"
    new = update(text, default_parameters={"y": 2})
    assert new == text.replace("{name: x, default: 1, type: integer},  # x\n  ", "")


def test_a_separator_that_is_of_no_use_is_a_persons_own() -> None:
    text = COMMENTED.replace("      multiple: separate\n", "      multiple-separator: ','\n")
    assert "      multiple-separator: ','\n" in update(text, default_parameters={"x": "a"})
    both = COMMENTED.replace("      multiple: separate\n", "      multiple: separate\n      multiple-separator: ;\n")
    assert "multiple" not in update(both, default_parameters={"x": "a"})


def test_elements_of_a_list_that_stay_are_left_as_they_are_written() -> None:
    new = update(COMMENTED.replace("- a\n", "- 'a'\n"), default_parameters={"x": ["a", "c", "d"]})
    assert "      - 'a'\n      - c  # the second\n      - d\n" in new


@pytest.mark.parametrize("nothing", ["", " []", "  # none yet", " ~", " []  # none yet"])
def test_an_empty_list_is_filled_on_lines_of_its_own(nothing: str) -> None:
    text = f"- step:\n    name: train\n    image: a\n    command: c\n    parameters:{nothing}\n    time-limit: 1h\n"
    new = update(text, default_parameters={"x": 1, "z": 2})
    assert "\n    - name: x\n      default: 1\n" in new
    assert ("# none yet" in nothing) == ("# none yet" in new)


def test_a_document_that_is_ended_gets_the_step_before_its_end() -> None:
    assert update("- step: {name: b, image: c, command: d}\n...\n", **CODE).endswith(SEED + "...\n")


TWICE = """\
- step:
    name: train
    image: a:b
    command: [x]
    command: c
    parameters: [{name: x, default: 1, type: integer}]
    parameters:
    - name: x
      default: 2  # which holds
      default: 3
      type: integer
    - name: y
      type: string
"""


def test_of_a_key_that_is_there_twice_the_one_that_holds_is_changed() -> None:
    new = update(TWICE, default_parameters={"x": 5, "y": None})
    assert new == TWICE.replace("default: 3", "default: 5")
    assert update(TWICE, default_parameters={"x": 3, "y": None}) == TWICE
    with pytest.raises(ValueError, match="cannot be changed without changing more"):
        update(TWICE, default_parameters={})


@pytest.mark.parametrize("limit", ["1h 30", "99999999999999w", "1..2h"])
def test_what_the_platforms_reader_falls_over_is_a_finding(limit: str) -> None:
    text = f"- step:\n    name: a\n    image: b\n    command: c\n    time-limit: {limit}\n"
    (found,) = lint("valohai.yaml", text)
    assert found.severity == "error"
