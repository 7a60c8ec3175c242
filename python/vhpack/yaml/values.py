"""What is known of a value without running anything: all of it, or only why it is not known."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import ast
    from collections.abc import Hashable, Iterable

# Bounds on what a source may make of little text. The longest default that a person writes is far below each of them.
LONGEST_TEXT: Final = 1 << 16
MOST_BITS: Final = 4096
MOST_ELEMENTS: Final = 10_000
DEEPEST: Final = 40
"""Levels of values in values."""


@dataclass(frozen=True)
class Const:
    """A value that cannot change: a number, text, bytes, None, a path."""

    value: object
    assumed: tuple[ast.AST, ...] = ()
    """Expressions whose value was taken for granted, such as a variable of the environment that was taken as unset."""


@dataclass(frozen=True)
class Items:
    """A tuple."""

    items: tuple[Value, ...]

    @property
    def fits(self) -> bool:
        """Whether it is within bounds, tuples in tuples counted."""
        return len(self.items) <= MOST_ELEMENTS and self.size <= MOST_ELEMENTS and self.depth <= DEEPEST

    @functools.cached_property
    def size(self) -> int:
        """Number of elements, with those of tuples in it."""
        return sum(item.size if isinstance(item, Items) else 1 for item in self.items)

    @functools.cached_property
    def depth(self) -> int:
        """Number of levels."""
        return 1 + max((item.depth for item in self.items if isinstance(item, Items)), default=0)


@dataclass(frozen=True)
class Ref:
    """A list, a dict or a class: what it holds stands in the state, since it may change and have several names."""

    box: int


@dataclass(frozen=True)
class View:
    """What a dict's `items()`, `keys()` or `values()` shows: whatever the dict holds when it is looked at."""

    of: Ref
    kind: str


@dataclass(frozen=True)
class Known:
    """A module, or a function of one, that is known by its full name: `os.path.join`."""

    name: str


@dataclass(frozen=True)
class Method:
    """A method of a known value, not called yet."""

    of: Value
    name: str


@dataclass(frozen=True)
class Function:
    """A function that the file defines."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    frame: int
    """Where its free names are looked up."""
    defaults: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be told."""

    node: ast.AST
    """What to point at."""
    root: ast.AST
    """Where it stops being known."""
    why: str = ""
    """What happens there; empty where the source says it well enough."""

    def seen_at(self, node: ast.AST) -> Unknown:
        """Return the same, as it is met in another place."""
        return Unknown(node, self.root, self.why)


Value: TypeAlias = Const | Items | Ref | View | Known | Method | Function | Unknown


class Attributes(dict["Hashable", "Value"]):
    """What a class holds."""


Content: TypeAlias = "list[Value] | dict[Hashable, Value] | Unknown"


def unknown(node: ast.AST, why: str = "") -> Unknown:
    """Return a value that is not known from this node on."""
    return Unknown(node, node, why)


def same(one: Value | None, other: Value | None) -> bool:
    """Say whether two values are one; 1, 1.0 and True are three.

    Example:
        >>> from vhpack.yaml.values import Const, same
        >>> same(Const(1), Const(1)), same(Const(1), Const(1.0)), same(Const(float("nan")), Const(float("nan")))
        (True, False, True)
    """
    if isinstance(one, Const) and isinstance(other, Const):
        return _same_constant(one.value, other.value) and one.assumed == other.assumed
    if isinstance(one, Items) and isinstance(other, Items):
        return len(one.items) == len(other.items) and all(map(same, one.items, other.items))
    if isinstance(one, Method) and isinstance(other, Method):
        return one.name == other.name and same(one.of, other.of)
    if isinstance(one, Unknown) and isinstance(other, Unknown):
        return one.root is other.root
    return one == other


def _same_constant(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and math.copysign(1, one) == math.copysign(1, other))
    return one == other


def assumed_by(values: Iterable[Value]) -> tuple[ast.AST, ...]:
    """Return what was taken for granted for any of the values."""
    found: dict[ast.AST, None] = {}
    for value in values:
        inner = value.assumed if isinstance(value, Const) else assumed_by(value.items) if isinstance(value, Items) else ()
        found.update(dict.fromkeys(inner))
    return tuple(found)
