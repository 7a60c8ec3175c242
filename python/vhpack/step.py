"""What `prepare()` says about a step, as one value: the meaning of its arguments, whether they run or are only read.

A running script and `vhpack yaml step` make it from the same arguments, so that the file and the run agree on names,
types and defaults.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack.errors import StepError
from vhpack.values import EXPECTED, KINDS, exactly, kind_of_all, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from vhpack.values import Kind, Scalar, Value

_MULTIPLE = (None, "none", "separate", "repeat")
_OWN = {"name", "default", "type", "optional", "multiple", "multiple-separator"}


@dataclass(frozen=True)
class Parameter:
    """One entry of `default_parameters`."""

    name: str
    """As it is written in code; `learning-rate` and `learning_rate` are two spellings of one option."""
    kind: Kind
    """The platform's type; of a list, that of its elements."""
    default: Scalar | tuple[Scalar, ...] | None
    """None: there is no default. A tuple: the parameter takes several values."""
    multiple: Literal["separate", "repeat"] | None = None
    """How several values are passed on; None: there is one."""
    separator: str = ","
    """What is between several values on a command line."""
    optional: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)
    """What else its specification says (`min`, `description`, ...), keys with hyphens as in YAML, values as they are."""

    @property
    def value(self) -> Value:
        """The default as `parameters(name).value` returns it: a list where there are several."""
        return list(self.default) if isinstance(self.default, tuple) else self.default


@dataclass(frozen=True)
class Input:
    """One entry of `default_inputs`."""

    name: str
    default: tuple[str, ...] = ()
    """URLs, and local paths or patterns, in the order of the code."""
    optional: bool | None = None
    """What its specification says of it; None: nothing."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """What else its specification says (`keep-directories`, ...), keys with hyphens as in YAML, values as they are."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The defaults that mean something on another machine.

        Example:
            >>> from vhpack.step import Input
            >>> Input("images", ("s3://photos/*.jpg", "test/cat.jpg")).urls
            ('s3://photos/*.jpg',)
        """
        return tuple(place for place in self.default if "://" in place)


@dataclass(frozen=True)
class Step:
    """All that one `prepare()` says."""

    name: str
    image: str | None = None
    environment: str | None = None
    multifile: bool = False
    upload_store: str | None = None
    parameters: tuple[Parameter, ...] = ()
    inputs: tuple[Input, ...] = ()


def key(name: str) -> str:
    """Return what all spellings of an option have in common, which is how a command line finds it.

    Example:
        >>> from vhpack.step import key
        >>> key("learning_rate") == key("learning-rate")
        True
    """
    return name.replace("_", "-")


def describe(
    *,
    step: object,
    default_parameters: object = None,
    default_inputs: object = None,
    image: object = None,
    environment: object = None,
    multifile: object = False,
    upload_store: object = None,
) -> Step:
    """Return the step that these arguments of `prepare()` describe.

    A parameter's type is that of its default (a list's, that of its elements), or the `type` of its specification. A
    default of None, or none at all, is optional text unless a type is given.

    Raises:
        StepError: an argument has a value of the wrong type, or two options cannot be told apart. `where` names it.

    Example:
        >>> from vhpack.step import describe
        >>> found = describe(step="train", default_parameters={"learning-rate": 0.001, "layers": [64, 32]})
        >>> [(parameter.name, parameter.kind, parameter.multiple) for parameter in found.parameters]
        [('learning-rate', 'float', None), ('layers', 'integer', 'separate')]
    """
    if not isinstance(step, str) or not step.strip():
        raise StepError("step", f"step must be a name, not {step!r}")
    found = Step(
        name=step,
        image=_text_or_none("image", image),
        environment=_text_or_none("environment", environment),
        multifile=bool(multifile),
        upload_store=_text_or_none("upload_store", upload_store),
        parameters=tuple(_parameter(*entry) for entry in _entries("default_parameters", default_parameters)),
        inputs=tuple(_input(*entry) for entry in _entries("default_inputs", default_inputs)),
    )
    _refuse_confusion(found)
    return found


def _text_or_none(argument: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise StepError(argument, f"{argument} must be text, not {value!r}")


def _entries(argument: str, values: object) -> Iterable[tuple[str, str, object]]:
    from collections.abc import Mapping

    if values is None:
        return
    if not isinstance(values, Mapping):
        raise StepError(argument, f"{argument} must be a dict of names and defaults, not {_short(values)}")
    for name, value in values.items():
        if not isinstance(name, str) or not name or name.startswith("-") or "=" in name or not name.isprintable():
            raise StepError(argument, f"{argument}: {name!r} is no name; an option is called by it, as in --learning-rate=.1")
        yield f'{argument}["{name}"]', name, value


def _parameter(where: str, name: str, value: object) -> Parameter:
    spec = _spec(where, value)
    multiple, separator = _multiple(where, spec)
    default = spec.get("default")
    if isinstance(default, list | tuple):
        multiple = multiple or "separate"
        values = tuple(_scalar(where, element) for element in default)
    else:
        values = () if default is None else (_scalar(where, default),)
    kind = _kind(where, spec, values)
    typed = tuple(_exactly(where, kind, element) for element in values)
    several = multiple is not None and default is not None
    return Parameter(
        name=name,
        kind=kind,
        default=typed if several else (typed[0] if typed else None),
        multiple=multiple,
        separator=separator,
        optional=bool(spec.get("optional", default is None)),
        extra={name: value for name, value in spec.items() if name not in _OWN},
    )


def _spec(where: str, value: object) -> dict[str, object]:
    """Return an entry's long form, with YAML's spelling of its keys."""
    if not isinstance(value, dict):
        return {"default": value}
    if not all(isinstance(name, str) for name in value):
        raise StepError(where, f"{where}: a specification's keys must be text, as in {{'default': 1, 'min': 0}}")
    return {key(name): setting for name, setting in value.items()}


def _multiple(where: str, spec: Mapping[str, object]) -> tuple[Literal["separate", "repeat"] | None, str]:
    mode = spec.get("multiple")
    if mode not in _MULTIPLE:
        raise StepError(where, f"{where}: multiple is {mode!r}; it must be 'separate', 'repeat' or 'none'")
    separator = spec.get("multiple-separator") or ","
    if not isinstance(separator, str):
        raise StepError(where, f"{where}: multiple-separator is {separator!r}; it must be text")
    return {"separate": "separate", "repeat": "repeat"}.get(str(mode)), separator  # type: ignore[return-value]


def _scalar(where: str, value: object) -> Scalar:
    found = plain(value)
    if found is None:
        raise StepError(
            where,
            f"{where}: {_short(value)} is no value of a parameter; give a number, text, a bool, or a list of one of them",
        )
    return found


def _kind(where: str, spec: Mapping[str, object], values: tuple[Scalar, ...]) -> Kind:
    declared = spec.get("type")
    if declared is not None:
        if declared not in KINDS:
            raise StepError(where, f"{where}: type is {declared!r}; it must be one of {', '.join(KINDS)}")
        return declared
    found = kind_of_all(values)
    if found is None:
        raise StepError(where, f"{where}: the elements of {_short(list(values))} must all have one type")
    return found


def _exactly(where: str, kind: Kind, value: Scalar) -> Scalar:
    found = exactly(kind, value)
    if found is None:
        raise StepError(where, f"{where}: the default {value!r} is not {EXPECTED[kind]}, as its type {kind!r} says")
    return found


def _input(where: str, name: str, value: object) -> Input:
    if name in (".", "..") or "/" in name:
        raise StepError(where, f"{where}: an input's name is the name of its folder, and must have no slash")
    spec = _spec(where, value)
    optional = spec.get("optional")
    return Input(
        name=name,
        default=tuple(_places(where, spec.get("default"))),
        optional=None if optional is None else bool(optional),
        extra={name: value for name, value in spec.items() if name not in ("name", "default", "optional")},
    )


def _places(where: str, value: object) -> Iterable[str]:
    for place in value if isinstance(value, list | tuple) else (value,):
        if isinstance(place, os.PathLike):
            yield os.fsdecode(place)
        elif isinstance(place, str):
            if place:
                yield place
        elif place is not None:
            raise StepError(where, f"{where}: {_short(place)} is no URL or path; give text, or a list of texts")


def _refuse_confusion(step: Step) -> None:
    """Refuse two entries that a command line could not tell apart, but for `a-b` and `a_b`, which exact spelling tells."""
    names = {parameter.name for parameter in step.parameters}
    for entry in step.inputs:
        if entry.name in names:
            raise StepError(
                f'default_inputs["{entry.name}"]',
                f"a parameter and an input are both called {entry.name!r}, so that --{entry.name} could mean either; rename one",
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
