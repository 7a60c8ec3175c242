"""Files that a person could have written survive an update unchanged but for the changed keys, byte for byte."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import ruamel.yaml
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SOAK
from vhpack.step import describe
from vhpack.yaml import scalars
from vhpack.yaml.document import parse
from vhpack.yaml.steps import Wanted, updated

ROUNDS = 20_000 if SOAK else 150

values = st.one_of(
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.booleans(),
    st.none(),
    st.text("0123456789.eE+-_:xo ~#'\"[]{},&*!|>%@`?=<ynYN", max_size=6),
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and repr(one) == repr(other)


def read_by_both(text: str) -> tuple[Any, Any]:
    twelve = ruamel.yaml.YAML(typ="safe", pure=True)
    return yaml.safe_load(text), twelve.load(io.StringIO(text))


@settings(max_examples=20 * ROUNDS, deadline=None)
@given(values)
def test_a_scalar_means_the_same_to_readers_of_both_versions(value: object) -> None:
    for text, path in ((f"a: {scalars.scalar(value)}\nb: 1\n", ("a",)), (f"a: [{scalars.flow(value)}, x]\n", ("a", 0))):
        for read in read_by_both(text):
            found = read
            for part in path:
                found = found[part]
            assert same(found, value), text


@given(st.characters(categories=["Cs"]))
def test_half_a_character_is_refused(char: str) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        scalars.scalar(char)


words = st.text("abcdefghijklm", min_size=1, max_size=6)
comments = st.one_of(st.just(""), st.text("ab #:'\"-{}[]é", max_size=8).map(lambda text: f"  # {text}".rstrip()))
plain_values = st.one_of(st.integers(-99, 10**6), st.floats(-1e9, 1e9), words)


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> str:
    """One of the ways in which a person writes a value."""
    if isinstance(value, str):
        return draw(st.sampled_from([value, f"'{value}'", f'"{value}"', f"!!str {value}"]))
    if isinstance(value, float):
        text = repr(value) if "e" not in repr(value) else scalars.scalar(value)
        return draw(st.sampled_from([text, f"+{text}" if value >= 0 and not text.startswith("-") else text]))
    return draw(st.sampled_from([str(value), hex(value) if value >= 0 else str(value), f"{value:_}"]))


OTHER = [
    "- step: {{name: {w}, image: 'a',  command: [b]}}{c}",
    '- step:{c}\n    name: "{w}"\n    image:   i{c}\n    command: >-\n      fold{c}\n\n      ed\n    description: |+\n      keep\n\n',
    "- endpoint:\n    name: {w}\n    image: x{c}\n    wsgi: y",
    "-   pipeline:\n        name:   {w}\n        nodes: [ ]{c}\n        edges:   [ ]",
    "# a comment {w}\n",
    "\n",
]


@st.composite
def written(  # noqa: C901
    draw: st.DrawFn,
) -> tuple[str, str, dict[str, object]]:
    """A file, what it is after the update, and the parameters in code."""
    dash = draw(st.sampled_from(["- ", "-   "]))
    column = len(dash) + 2 * draw(st.integers(1, 2))
    inner = column + draw(st.integers(0, 3))
    pad, item_pad = " " * column, " " * inner
    old: list[str] = []
    new: list[str] = []

    def both(text: str) -> None:
        old.append(text)
        new.append(text)

    def noise() -> None:
        if draw(st.booleans()):
            both(draw(st.sampled_from([f"{item_pad}# {draw(words)}", "", f"{pad}#{draw(words)}"])))

    for _ in range(draw(st.integers(0, 2))):
        both(draw(st.sampled_from(OTHER)).format(w=draw(words) + "x", c=draw(comments)))
    both(f"{dash}step:{draw(comments)}")
    both(f"{pad}name: {draw(spelled('train'))}{draw(comments)}")
    noise()
    both(f"{pad}image: i:1{draw(comments)}")
    both(
        f"{pad}command:{draw(comments)}\n{item_pad}- {draw(words)}{draw(comments)}\n{item_pad}- |\n{item_pad}    block # no comment\n\n{item_pad}    text"
    )
    if draw(st.booleans()):
        both(f"{pad}environment-variables: [ {{name: A,  value: null}} ]{draw(comments)}")
    names = draw(st.lists(words, unique=True, min_size=1, max_size=4))
    kept = [name for name in names if draw(st.integers(0, 3))] or names[:1]
    both(f"{pad}parameters:{draw(comments)}")
    code: dict[str, object] = {}
    for name in names:
        noise()
        value = draw(plain_values)
        now = draw(st.one_of(st.just(value), plain_values))
        (parameter,) = describe(step="s", default_parameters={name: value}).parameters
        (after,) = describe(step="s", default_parameters={name: now}).parameters
        lines: list[tuple[str, str]] = []
        dash_here = draw(st.sampled_from(["- ", "-   "]))
        deep = item_pad + " " * len(dash_here)
        spelling, end = draw(spelled(value)), draw(comments)
        lines.append(
            (f"{deep}default: {spelling}{end}", f"{deep}default: {spelling if same(value, now) else scalars.scalar(now)}{end}")
        )
        type_spelling = draw(st.sampled_from([parameter.kind, f"'{parameter.kind}'"]))
        lines.append(
            (f"{deep}type:   {type_spelling}", f"{deep}type:   {type_spelling if after.kind == parameter.kind else after.kind}")
        )
        for text in (
            "name: {w}",
            'description: "{x} #"  # {x}',
            "optional: yes",
            "pass-as:   '--{{name}} {{value}}'",
            "# {x}",
            "category: >\n{deep}  one\n\n{deep}  two",
        ):
            if text.startswith("name") or draw(st.booleans()):
                filled = (
                    deep
                    + text.format(w=draw(spelled(name)), x=draw(words), deep=deep)
                    + (draw(comments) if text.startswith("name") else "")
                )
                lines.insert(draw(st.integers(0, len(lines))) if not text.startswith("#") else 1, (filled, filled))
        for number, (before, later) in enumerate(lines):
            cut, begin = (len(deep), item_pad + dash_here) if number == 0 else (0, "")
            old.append(begin + before[cut:])
            if name in kept:
                new.append(begin + later[cut:])
        if name in kept:
            code[name] = now
    if draw(st.booleans()):
        added = draw(words) + "new"
        code[added] = 7
        place = item_pad
        new.append(f"{place}- name: {added}\n{place}  default: 7\n{place}  optional: false\n{place}  type: integer")
    for _ in range(draw(st.integers(0, 2))):
        both(draw(st.sampled_from(OTHER)).format(w=draw(words) + "y", c=draw(comments)))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return ("\n".join(old) + "\n").replace("\n", newline), ("\n".join(new) + "\n").replace("\n", newline), code


@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(written())
def test_only_the_changed_keys_change(file: tuple[str, str, dict[str, object]]) -> None:
    old, expected, code = file
    wanted = Wanted(describe(step="train", default_parameters=code), frozenset({"step", "default_parameters"}), "train.py")
    new = updated(parse("valohai.yaml", old), wanted)
    assert new == expected
    assert updated(parse("valohai.yaml", new), wanted) == new
