"""What the arguments of `prepare()` mean: names, types, defaults."""

from __future__ import annotations

import enum
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vhpack
from vhpack import values
from vhpack.step import Input, Parameter, describe


class Size(int, enum.Enum):
    SMALL = 64


def parameter(default: object) -> Parameter:
    (found,) = describe(step="train", default_parameters={"p": default}).parameters
    return found


@pytest.mark.parametrize(
    ("default", "kind", "value"),
    [
        *((True, "flag", True), (7, "integer", 7), (0.5, "float", 0.5), ("a", "string", "a"), (None, "string", None)),
        *(([3, 4], "integer", [3, 4]), ([1, 0.5], "float", [1.0, 0.5]), (("a",), "string", ["a"]), ([], "string", [])),
        *((Path("a/b"), "string", "a/b"), (Size.SMALL, "integer", 64), ({"default": 7}, "integer", 7)),
        *(({"default": 1, "type": "float"}, "float", 1.0), ({"type": "integer"}, "integer", None)),
        *(({"default": 5, "multiple": "repeat"}, "integer", [5]), ({"default": [1], "multiple": "none"}, "integer", [1])),
    ],
)
def test_a_parameter_has_the_type_of_its_default(default: object, kind: str, value: object) -> None:
    found = parameter(default)
    assert (found.kind, found.value) == (kind, value)
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("default", "said"),
    [
        *(({1}, "is no value"), (b"a", "is no value"), (1j, "is no value"), ([[1]], "is no value"), ([1, "a"], "one type")),
        *(({"default": 1, "type": "int"}, "must be one of"), ({"default": "a", "type": "float"}, "is not a number")),
        *(({"default": 1, "multiple": "yes"}, "multiple"), ({1: 2}, "keys must be text")),
    ],
)
def test_what_is_no_parameter_is_refused_by_name(default: object, said: str) -> None:
    with pytest.raises(vhpack.StepError, match=said) as caught:
        parameter(default)
    assert caught.value.where == 'default_parameters["p"]'
    assert str(caught.value).startswith('default_parameters["p"]: ')


def test_a_long_form_keeps_what_it_says_in_the_spelling_of_yaml() -> None:
    found = parameter({"default": 5, "min": 0, "pass_as": "-p{v}", "optional": True, "name": "q"})
    assert found == Parameter("p", "integer", 5, optional=True, extra={"min": 0, "pass-as": "-p{v}"})


@pytest.mark.parametrize("name", ["", "-x", "a=b", 3, "a\nb"])
def test_a_name_that_no_command_line_could_say_is_refused(name: object) -> None:
    with pytest.raises(vhpack.StepError, match="is no name"):
        describe(step="train", default_parameters={name: 1})


@pytest.mark.parametrize("name", ["..", ".", "a/b"])
def test_an_input_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(vhpack.StepError, match="name of its folder"):
        describe(step="train", default_inputs={name: ""})


def test_inputs_are_urls_and_local_paths_in_order() -> None:
    step = describe(
        step="train",
        default_inputs={
            "a": "x.zip",
            "b": ["https://h/1", Path("d/*.png")],
            "c": None,
            "d": {"default": "s3://b/k", "filename": "f"},
        },
    )
    assert step.inputs == (
        Input("a", ("x.zip",)),
        Input("b", ("https://h/1", "d/*.png")),
        Input("c"),
        Input("d", ("s3://b/k",), extra={"filename": "f"}),
    )
    assert step.inputs[1].urls == ("https://h/1",)


@pytest.mark.parametrize("value", [3, ["a", 3], {"default": 3}])
def test_an_input_that_is_no_place_is_refused(value: object) -> None:
    with pytest.raises(vhpack.StepError, match="3 is no URL or path"):
        describe(step="train", default_inputs={"a": value})


@pytest.mark.parametrize("step", [None, "", "  ", 3])
def test_a_step_has_a_name(step: object) -> None:
    with pytest.raises(vhpack.StepError, match="step must be a name"):
        describe(step=step)


def test_one_name_for_a_parameter_and_an_input_is_refused() -> None:
    with pytest.raises(vhpack.StepError, match="both called 'x'"):
        describe(step="train", default_parameters={"x": 1}, default_inputs={"x": "a"})


def test_the_rest_is_text_or_none() -> None:
    step = describe(step="train", image="python:3.12", environment="", multifile=1, upload_store=None)
    assert (step.image, step.environment, step.multifile, step.upload_store) == ("python:3.12", None, True, None)
    with pytest.raises(vhpack.StepError, match="image must be text"):
        describe(step="train", image=3)
    with pytest.raises(vhpack.StepError, match="must be a dict"):
        describe(step="train", default_parameters=[("a", 1)])


def test_errors_survive_pickling() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(vhpack.StepError("step", "a sentence")))
    assert (str(again), again.where) == ("a sentence", "step")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *(("integer", "7", 7), ("integer", "-7", -7), ("integer", "1e3", 1000), ("integer", "2.0", 2), ("integer", "1.5e1", 15)),
        *(
            ("float", ".002", 0.002),
            ("float", "7", 7.0),
            ("float", "-inf", -math.inf),
            ("string", "", ""),
            ("string", "1e3", "1e3"),
        ),
        *(("flag", word, True) for word in ("true", "1", "Yes", " on ")),
        *(("flag", word, False) for word in ("false", "0", "No", "OFF")),
    ],
)
def test_text_becomes_what_it_says(kind: values.Kind, text: str, value: object) -> None:
    found = values.from_text(kind, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("integer", text) for text in ("", "a", "1.5", "nan", "inf", "1e999999999", "1e-1", "0x10")),
        *(("float", text) for text in ("", "a", "1,5")),
        *(("flag", text) for text in ("", "2", "maybe")),
    ],
)
def test_text_that_does_not_is_refused(kind: values.Kind, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever sentence
        values.from_text(kind, text)


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()))
def test_a_value_is_exactly_what_it_is(value: values.Scalar) -> None:
    found = values.exactly(values.kind_of(value), value)
    assert (found, type(found)) == (value, type(value))


@given(st.one_of(st.integers(), st.floats()))
def test_nothing_is_lost_between_integers_and_floats(value: float) -> None:
    for kind in ("integer", "float"):
        found = values.exactly(kind, value)
        assert found is None or found == value or math.isnan(value)
