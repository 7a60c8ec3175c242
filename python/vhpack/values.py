"""Values of parameters: which of the platform's four types one has, and how text and JSON become one."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final, Literal, TypeAlias

    Scalar: TypeAlias = bool | int | float | str
    Value: TypeAlias = Scalar | list[Scalar] | None
    Kind: TypeAlias = Literal["integer", "float", "string", "flag"]

KINDS: Final = ("integer", "float", "string", "flag")
ON: Final = frozenset({"true", "1", "yes", "on"})
OFF: Final = frozenset({"false", "0", "no", "off"})

# What a value of each kind is called in a sentence to its author.
EXPECTED: Final[dict[str, str]] = {
    "integer": "an integer",
    "float": "a number",
    "string": "text",
    "flag": "true or false",
}

# Beyond what Python itself turns into an int; "1e999999999" would fill the memory.
_MOST_DIGITS = 4300


def plain(value: object) -> Scalar | None:
    """Return a value as the bool, int, float or str that it is or stands for, or None if it is none of them.

    Paths become text, and numpy's scalars the Python numbers that they hold.

    Example:
        >>> import pathlib
        >>> from vhpack.values import plain
        >>> plain(pathlib.Path("data") / "a.csv"), plain(0.5), plain({1, 2})
        ('data/a.csv', 0.5, None)
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bool):
        return value
    for known in (int, float, str):
        if isinstance(value, known):
            return known(value)  # an enum's member, say, becomes what it stands for
    return None


def kind_of(value: Scalar) -> Kind:
    """Return the platform's name of a value's type.

    Example:
        >>> from vhpack.values import kind_of
        >>> [kind_of(value) for value in (True, 1, 0.5, "a")]
        ['flag', 'integer', 'float', 'string']
    """
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "integer"
    return "float" if isinstance(value, float) else "string"


def kind_of_all(values: tuple[Scalar, ...]) -> Kind | None:
    """Return the type that all values have, numbers as floats where they differ; None where nothing fits all.

    Example:
        >>> from vhpack.values import kind_of_all
        >>> kind_of_all((1, 2)), kind_of_all((1, 0.5)), kind_of_all((1, "a")), kind_of_all(())
        ('integer', 'float', None, 'string')
    """
    kinds = {kind_of(value) for value in values}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else "string"
    return "float" if kinds == {"integer", "float"} else None


def exactly(kind: Kind, value: object) -> Scalar | None:
    """Return a value, of JSON or of code, as `kind`; None if something would be lost or guessed.

    Example:
        >>> from vhpack.values import exactly
        >>> exactly("integer", 5.0), exactly("integer", 5.5), exactly("float", 1), exactly("string", 1)
        (5, None, 1.0, None)
    """
    found = plain(value)
    if found is None or kind_of(found) == kind:
        return found
    if kind == "integer" and isinstance(found, float) and math.isfinite(found) and found.is_integer():
        return int(found)
    if kind == "float" and isinstance(found, int) and not isinstance(found, bool):
        return _as_float(found)
    return None


def from_text(kind: Kind, text: str) -> Scalar:
    """Return what text on a command line means as `kind`.

    An integer may be written as `1e3`, if it is one exactly. Flags know `true 1 yes on` and `false 0 no off`.

    Raises:
        ValueError: it means nothing as `kind`.

    Example:
        >>> from vhpack.values import from_text
        >>> from_text("integer", "1e3"), from_text("float", ".002"), from_text("flag", "off"), from_text("string", "7")
        (1000, 0.002, False, '7')
    """
    if kind == "string":
        return text
    if kind == "float":
        return float(text)
    if kind == "integer":
        return _integer(text)
    word = text.strip().lower()
    if word not in ON | OFF:
        raise ValueError(text)
    return word in ON


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS or number != int(number):
        raise ValueError(text)
    return int(number)


def _as_float(number: int) -> float | None:
    try:
        return float(number) if int(float(number)) == number else None
    except OverflowError:
        return None
