"""Arithmetic on constants, within bounds: what a source asks for is computed only where the result is small.

Every function raises `CannotFoldError` with a reason in words, or what Python itself would raise.
"""

from __future__ import annotations

import ast
import operator
import re
import string
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Final

from vhpack.yaml.values import LONGEST_TEXT, MOST_BITS, MOST_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NUMBERS: Final = (bool, int, float, complex)
# What Python may raise for operands that do not go together.
FAILURES: Final = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError)
_WIDTH = re.compile(r"\d{4,}|\*")  # of a format: a width that fills the memory, or one that is computed
_MOST_FIELDS: Final = 1000
_MOST_PLACES: Final = 400
_CONVERSIONS: Final[dict[int, Callable[[object], object]]] = {-1: lambda value: value, 115: str, 114: repr, 97: ascii}

_BINARY: Final[dict[type[ast.operator], Callable[..., object]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[..., object]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[..., object]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}

TEXT_METHODS: Final = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "isalnum",
        "isalpha",
        "isdigit",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rpartition",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
PATH_ATTRIBUTES: Final = frozenset({"name", "stem", "suffix", "parent"})
PATH_METHODS: Final = frozenset({"joinpath", "as_posix", "with_suffix", "with_name"})


class PosixPath(PurePosixPath):
    """What `pathlib.Path` is on the platform, of that name wherever it is shown."""

    __slots__ = ()


class CannotFoldError(Exception):
    """A value could be computed, but not within bounds."""


def binary(operation: ast.operator, left: object, right: object) -> object:
    """Return what an operator makes of two constants.

    Example:
        >>> import ast
        >>> from vhpack.yaml.fold import binary
        >>> binary(ast.Mult(), 3, "ab")
        'ababab'
    """
    _refuse_large(operation, left, right)
    if isinstance(operation, ast.Mod) and isinstance(left, str | bytes):
        return percent(left, right)
    found = _BINARY[type(operation)](left, right)
    return bounded(found)


def _refuse_large(operation: ast.operator, left: object, right: object) -> None:
    if isinstance(operation, ast.Mult):
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | bytes) and isinstance(times, int) and len(text) * max(times, 0) > LONGEST_TEXT:
                raise CannotFoldError("it would be too long")
    if any(isinstance(side, int) and side.bit_length() > MOST_BITS for side in (left, right)):
        raise CannotFoldError("it has too many digits")
    if not isinstance(left, int) or not isinstance(right, int):
        return
    if isinstance(operation, ast.Pow) and left.bit_length() * abs(right) > MOST_BITS and abs(left) > 1:
        raise CannotFoldError("it would have too many digits")
    if isinstance(operation, ast.LShift) and left.bit_length() + max(right, 0) > MOST_BITS:
        raise CannotFoldError("it would have too many digits")


def bounded(value: object) -> object:
    """Return a computed value if it is not too large to be a default."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise CannotFoldError("it would have too many digits")
    if isinstance(value, str | bytes) and len(value) > LONGEST_TEXT:
        raise CannotFoldError("it would be too long")
    if isinstance(value, PurePath) and len(str(value)) > LONGEST_TEXT:
        raise CannotFoldError("it would be too long")
    return value


def unary(operation: ast.unaryop, value: object) -> object:
    """Return what an operator makes of one constant."""
    return bounded(_UNARY[type(operation)](value))


def compare(operation: ast.cmpop, left: object, right: object) -> bool:
    """Return how two constants compare; `is` is for None, True and False alone, since it may be either for others."""
    if isinstance(operation, ast.Is | ast.IsNot) and not any(side is None or isinstance(side, bool) for side in (left, right)):
        raise CannotFoldError("'is' depends on the interpreter")
    if isinstance(operation, ast.In | ast.NotIn) and isinstance(right, range) and not is_small(right):
        raise CannotFoldError("its range is too long")
    return bool(_COMPARE[type(operation)](left, right))


def is_small(numbers: range) -> bool:
    """Return whether a range can be gone through."""
    try:
        return len(numbers) <= MOST_ELEMENTS
    except OverflowError:
        return False


def percent(text: str | bytes, value: object) -> object:
    """Return `text % value`."""
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    if shown.count("%") > _MOST_FIELDS or any(_WIDTH.search(found) for found in re.findall(r"%[^a-zA-Z%]*", shown)):
        raise CannotFoldError("its width is too large or computed")
    _refuse_text(value if isinstance(value, tuple) else (value,))
    return bounded(text % value)


def formatted(value: object, conversion: int, spec: str) -> str:
    """Return one replacement of an f-string."""
    if _WIDTH.search(spec):
        raise CannotFoldError("its width is too large")
    return str(bounded(format(_CONVERSIONS[conversion](value), spec)))


def format_text(text: str, values: Sequence[object], named: Mapping[str, object]) -> str:
    """Return `text.format(...)`; only fields that are plain names or numbers, since others reach into objects."""
    if text.count("{") > _MOST_FIELDS:
        raise CannotFoldError("it would be too long")
    for _, field, spec, _ in string.Formatter().parse(text):
        if field is not None and not re.fullmatch(r"\w*", field):
            raise CannotFoldError(f"the field {field!r} reaches into a value")
        if spec and ("{" in spec or _WIDTH.search(spec)):
            raise CannotFoldError("its width is too large or computed")
    if text.count("{") * max((len(str(value)) for value in (*values, *named.values())), default=0) > LONGEST_TEXT:
        raise CannotFoldError("it would be too long")
    return str(bounded(text.format(*values, **named)))


def join_text(between: str, pieces: Sequence[object]) -> str:
    """Return `between.join(pieces)`."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) != len(pieces):
        raise TypeError("only text can be joined")
    if sum(map(len, texts)) + len(between) * len(texts) > LONGEST_TEXT:
        raise CannotFoldError("it would be too long")
    return between.join(texts)


def text_method(text: str, name: str, values: Sequence[object]) -> object:
    """Return what a method of text returns that makes nothing much longer."""
    if (name == "replace" and values[0] == "") or any(isinstance(value, str) and len(value) > LONGEST_TEXT for value in values):
        raise CannotFoldError("it would be too long")
    if name == "replace" and text.count(str(values[0])) * len(str(values[1])) > LONGEST_TEXT:
        raise CannotFoldError("it would be too long")
    return bounded(getattr(text, name)(*values))


def convert(name: str, values: Sequence[object]) -> object:
    """Return what `int`, `float`, `str` and the like make of constants."""
    _refuse_text(values)
    if name == "round" and len(values) > 1 and not (isinstance(values[1], int) and abs(values[1]) <= _MOST_PLACES):
        raise CannotFoldError("it is rounded to too many places")
    makers: dict[str, Callable[..., object]] = {
        "int": int, "float": float, "str": str, "bool": bool, "repr": repr, "len": len, "abs": abs, "round": round,
        "min": min, "max": max, "chr": chr, "ord": ord, "sum": sum, "sorted": sorted, "range": range,
    }  # fmt: skip
    return bounded(makers[name](*values))


def _refuse_text(values: Sequence[object]) -> None:
    if any(isinstance(value, str | bytes) and len(value) > LONGEST_TEXT for value in values):
        raise CannotFoldError("it is too long")
    if any(isinstance(value, range) and not is_small(value) for value in values):
        raise CannotFoldError("its range is too long")


def path(values: Sequence[object], *, pure: bool = False) -> PurePath:
    """Return `Path(...)`, or `PurePath(...)`, as it is on the platform."""
    _refuse_text(values)
    found = (PurePosixPath if pure else PosixPath)(*values)  # type: ignore[arg-type]
    bounded(found)
    return found


def join_path(values: Sequence[object]) -> str:
    """Return `os.path.join(...)`."""
    import posixpath

    _refuse_text(values)
    return str(bounded(posixpath.join(*values)))  # type: ignore[call-overload]
