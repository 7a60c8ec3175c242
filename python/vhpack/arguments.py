"""A script's command line, read for the options that its step has; the rest is the script's own and stays untouched."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhpack.errors import OptionError
from vhpack.step import key
from vhpack.values import EXPECTED, OFF, ON, from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from vhpack.step import Parameter
    from vhpack.values import Kind, Scalar, Value

_HERE = "\0"  # where the value is in a word: no argument of a program can hold it


@dataclass(frozen=True)
class Passed:
    """The words that the platform makes of a parameter, where its specification says so."""

    words: tuple[str, ...]
    value: str | None = None
    """Of a flag: what these words mean."""

    def match(self, arguments: Sequence[str]) -> str | None:
        """Return the value if the arguments begin with these words, else None."""
        found: set[str] = set()
        if len(arguments) < len(self.words):
            return None
        for number, (word, argument) in enumerate(zip(self.words, arguments, strict=False)):
            held = re.fullmatch("(.*)".join(map(re.escape, word.split(_HERE))), argument, re.DOTALL)
            # A bare value is one; in front of all others it may not look like an option.
            if held is None or (number == 0 and word == _HERE and argument.startswith("-") and not _is_number(argument)):
                return None
            found.update(held.groups())
        return self.value if self.value is not None else found.pop() if len(found) == 1 else None


def passed_as(parameter: Parameter) -> tuple[Passed, ...]:
    """Return how a specification's `pass-as`, `pass-true-as` and `pass-false-as` say that a value is passed on.

    Example:
        >>> from vhpack.arguments import passed_as
        >>> from vhpack.step import describe
        >>> (rate,) = describe(step="a", default_parameters={"rate": {"default": 0.1, "pass-as": "-r {v}"}}).parameters
        >>> passed_as(rate)[0].match(["-r", "0.5"])
        '0.5'
    """
    spoken = {"pass-as": None, "pass-true-as": "true", "pass-false-as": "false"}
    found = []
    for name, value in spoken.items():
        template = parameter.extra.get(name)
        if not isinstance(template, str) or (value is not None and parameter.kind != "flag"):
            continue
        held = {"name": parameter.name, "value": _HERE, "v": _HERE}
        try:
            words = tuple(word.format_map(held) for word in template.split())
        except (LookupError, ValueError, AttributeError):
            continue  # of which the platform makes nothing either
        plain = not any(_HERE in word for word in words)
        if words and (parameter.kind == "flag" or not plain):
            found.append(Passed(words, value if value is not None else "true" if plain else None))
    return tuple(found)


@dataclass(frozen=True)
class Option:
    """How a parameter's value is written on a command line."""

    kind: Kind
    multiple: Literal["separate", "repeat"] | None = None
    separator: str = ","
    passed: tuple[Passed, ...] = ()


@dataclass
class Found:
    """What a command line says."""

    parameters: dict[str, Value] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Arguments that no option of the step explains, each with the option it may have meant."""


def read(arguments: Iterable[str], options: Mapping[str, Option], inputs: Iterable[str]) -> Found:
    """Return the values that a command line gives to `options` and `inputs`.

    `--learning-rate=.1` and `--learning_rate .1` are the same; what is spelled exactly goes first where both exist. An
    option with several values takes them separated, repeated, or both, and an input takes all arguments up to the next
    option. What is no option's name may be what a specification says that a value is passed as. `--` ends the options;
    `--help` is nobody's concern here.

    Raises:
        OptionError: a value is not of its parameter's type, or missing.

    Example:
        >>> from vhpack.arguments import Option, read
        >>> found = read(["--rate", "1e-3", "--layers=64,32", "--rat=1"], {"rate": Option("float"), "layers":
        ...     Option("integer", "separate")}, [])
        >>> found.parameters, found.unknown
        ({'rate': 0.001, 'layers': [64, 32]}, ['--rat=1; did you mean --rate?'])
    """
    return _Reader(arguments, options, tuple(inputs)).read()


class _Reader:
    def __init__(self, arguments: Iterable[str], options: Mapping[str, Option], inputs: tuple[str, ...]) -> None:
        self._rest = deque(arguments)
        self._options = options
        self._inputs = frozenset(inputs)
        self._known = {key(name): name for name in reversed((*options, *inputs))}
        self._passed = [(name, passed) for name, option in options.items() for passed in option.passed]
        self._found = Found()

    def read(self) -> Found:
        while self._rest:
            argument = self._rest.popleft()
            if argument == "--":
                break
            if argument in ("-h", "--help") and "help" not in self._known:
                self._take_passed(argument)
                continue
            self._take(argument)
        return self._found

    def _take(self, argument: str) -> None:
        spelled, equals, text = argument.partition("=")
        name = self._name(spelled)
        given = text if equals else None
        if name is None:
            if not self._take_passed(argument):
                self._pass_over(argument, spelled)
        elif name in self._inputs:
            places = [given] if given is not None else list(self._values_ahead())
            if not places:
                raise OptionError(f"input {name}: --{name} needs a URL or a path")
            self._found.inputs[name] = (*self._found.inputs.get(name, ()), *filter(None, places))
        else:
            self._set(name, self._options[name], given)

    def _take_passed(self, argument: str) -> bool:
        """Take an argument, and those behind it, that are what the platform passes a value as."""
        ahead = [argument, *self._rest] if self._passed else []
        for name, passed in self._passed:
            text = passed.match(ahead)
            if text is not None:
                self._set(name, self._options[name], text)
                for _ in passed.words[1:]:
                    self._rest.popleft()
                return True
        return False

    def _name(self, spelled: str) -> str | None:
        if not spelled.startswith("--"):
            return None
        name = spelled[2:]
        return name if name in self._options or name in self._inputs else self._known.get(key(name))

    def _set(self, name: str, option: Option, text: str | None) -> None:
        if text is None and option.kind == "flag" and not option.multiple:
            follows = self._rest[0].strip().lower() if self._rest else ""
            text = self._rest.popleft() if follows in ON | OFF else "true"
        if text is None:
            text = next(self._values_ahead(), None)
        if text is None:
            raise OptionError(f"parameter {name}: --{name} needs a value, {EXPECTED[option.kind]}")
        if option.multiple is None:
            self._found.parameters[name] = _typed(name, option, text)
            return
        values = self._found.parameters.setdefault(name, [])
        assert isinstance(values, list)  # noqa: S101
        pieces = text.split(option.separator) if option.multiple == "separate" else [text]
        values += [_typed(name, option, piece) for piece in pieces if text]

    def _values_ahead(self) -> _Ahead:
        return _Ahead(self._rest)

    def _pass_over(self, argument: str, spelled: str) -> None:
        said = argument if argument.isprintable() else repr(argument)
        if spelled.startswith("--"):
            from difflib import get_close_matches

            close = get_close_matches(key(spelled[2:]), self._known, n=1)
            said += f"; did you mean --{self._known[close[0]]}?" if close else ""
        self._found.unknown.append(said)
        if argument.startswith("-") and spelled == argument:
            for _ in self._values_ahead():  # its values, as far as anyone can tell
                pass


class _Ahead:
    """Takes arguments as long as they are values and not options; `-5` is a value."""

    def __init__(self, rest: deque[str]) -> None:
        self._rest = rest

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> str:
        if not self._rest or (self._rest[0].startswith("-") and not _is_number(self._rest[0])):
            raise StopIteration
        return self._rest.popleft()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True


def _typed(name: str, option: Option, text: str) -> Scalar:
    try:
        return from_text(option.kind, text)
    except ValueError:
        raise OptionError(f"parameter {name}: {text!r} is not {EXPECTED[option.kind]} (type {option.kind})") from None
