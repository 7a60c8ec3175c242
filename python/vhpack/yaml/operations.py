"""What operators and displays make of values, known or not: constants computed, the rest handed to something unknown."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from vhpack.yaml import fold
from vhpack.yaml.memory import Memory
from vhpack.yaml.names import NAMESPACES
from vhpack.yaml.values import DEEPEST, MOST_ELEMENTS, Attributes, Const, Function, Items, Ref, Unknown, View, assumed_by, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from vhpack.yaml.values import Value

TOO_LARGE: Final = "it would have too many elements"


class Operations(Memory):
    """Computes values of values."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[ast.AST, None] = {}
        """What was taken for granted where something was chosen by it."""

    def folded(self, node: ast.expr, values: Sequence[Value], make: Callable[..., object]) -> Value:
        """Compute a constant from constants, or say why not; what cannot be folded may keep what goes into it."""
        if not all(isinstance(value, Const | Items) for value in values):
            return self.lost(node, values)
        try:
            plain = [self.plain(value) for value in values]
            return self.value_of(make(*plain), node, assumed_by(values))
        except fold.CannotFoldError as error:
            return self.lost(node, values, str(error))
        except fold.FAILURES as error:
            return self.lost(node, values, f"it raises {type(error).__name__}")

    def lost(self, node: ast.expr, values: Iterable[Value], why: str = "") -> Unknown:
        """Return an unknown value, whose first reason is the first unknown value that goes into it."""
        values = list(values)
        found = unknown(node, why)
        for value in values:
            self.taint(value, found)
        return next((value for value in values if isinstance(value, Unknown)), found)

    def plain(self, value: Value) -> object:
        """Return the Python object that a value is.

        Raises:
            TypeError: it is none, or can change.
        """
        if isinstance(value, Const):
            return value.value
        if isinstance(value, Items):
            return tuple(self.plain(item) for item in value.items)
        raise TypeError("not a constant")

    def value_of(self, found: object, node: ast.expr, assumed: tuple[ast.AST, ...] = ()) -> Value:
        """Return a computed Python object as a value."""
        if isinstance(found, str | bytes):
            self.spend(node, len(found) >> 12)
        if isinstance(found, str) and found in NAMESPACES:
            self.lose_names(node)
        if isinstance(found, list | tuple):
            self.spend(node, len(found) >> 2)
            items = [self.value_of(item, node, assumed) for item in found]
            return self.tuple_of(items, node) if isinstance(found, tuple) else self.list_of(items, node)
        return Const(found, assumed)

    def tuple_of(self, items: Sequence[Value], node: ast.expr) -> Value:
        """Return a tuple, if it is not too large."""
        found = Items(tuple(items))
        return found if found.fits else self.lost(node, items, TOO_LARGE)

    def list_of(self, items: Sequence[Value], node: ast.expr) -> Value:
        """Return a new list, if it is not too large."""
        return self.box(list(items)) if len(items) <= MOST_ELEMENTS else self.lost(node, items, TOO_LARGE)

    def operate(self, node: ast.expr, operation: ast.operator, left: Value, right: Value) -> Value:
        """Return what an operator makes of two values."""
        self.spend(node)
        one, other = (None if isinstance(side, View) else self.elements(side) for side in (left, right))
        if isinstance(operation, ast.Add) and one is not None and other is not None and type(left) is type(right):
            items = [*one, *other]
            return self.tuple_of(items, node) if isinstance(left, Items) else self.list_of(items, node)
        if isinstance(operation, ast.Mult) and (one is not None or other is not None):
            return self._multiplied(node, left, right)
        if isinstance(operation, ast.BitOr) and isinstance(left, Ref) and isinstance(right, Ref):
            return self._united(node, left, right)
        if isinstance(operation, ast.Mod) and isinstance(left, Const) and isinstance(left.value, str) and self.is_shown(right):
            return unknown(node)
        return self.folded(node, [left, right], lambda one, other: fold.binary(operation, one, other))

    def is_shown(self, value: Value) -> bool:
        """Say whether a value is, or holds, lists and dicts that text is made of, which only looks at them."""
        if isinstance(value, Items):
            return any(map(self.is_shown, value.items)) and all(
                isinstance(item, Const) or self.is_shown(item) for item in value.items
            )
        return isinstance(value, Ref) and not isinstance(self.content(value), Unknown | Attributes)

    def is_plain_value(self, value: Value, depth: int = 0) -> bool:
        """Say whether a value is a constant, or holds nothing else, so that comparing it calls nothing of the file's."""
        if isinstance(value, Ref):
            content = self.content(value)
            if isinstance(content, Unknown | Attributes):
                return False
            held = list(content.values()) if isinstance(content, dict) else content
        else:
            held = list(value.items) if isinstance(value, Items) else []
        plain = isinstance(value, Const | Items | Ref)
        return plain and depth < DEEPEST and all(self.is_plain_value(item, depth + 1) for item in held)

    def elements(self, value: Value) -> list[Value] | None:
        """Return the elements of a list or tuple that is known."""
        if isinstance(value, Items):
            return list(value.items)
        if isinstance(value, View):
            return self._shown(value)
        content = self.content(value) if isinstance(value, Ref) else None
        return list(content) if isinstance(content, list) else None

    def _shown(self, view: View) -> list[Value] | None:
        """Return what a dict's view goes through now."""
        content = self.content(view.of)
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            return None
        keys: list[Value] = [Const(key) for key in content]
        if view.kind == "items":
            return [Items(pair) for pair in zip(keys, content.values(), strict=True)]
        return keys if view.kind == "keys" else list(content.values())

    def _multiplied(self, node: ast.expr, left: Value, right: Value) -> Value:
        items, times = (left, right) if self.elements(left) is not None else (right, left)
        found = self.elements(items) or []
        if not isinstance(times, Const) or not isinstance(times.value, int):
            return self.lost(node, [left, right])
        if len(found) * max(times.value, 0) > MOST_ELEMENTS:
            return self.lost(node, [left, right], TOO_LARGE)
        several = found * times.value
        return self.tuple_of(several, node) if isinstance(items, Items) else self.list_of(several, node)

    def _united(self, node: ast.expr, left: Ref, right: Ref) -> Value:
        one, other = self.content(left), self.content(right)
        for content in (one, other):
            if isinstance(content, Unknown):
                return self.lost(node, [content, left, right])
        if not _is_dict(one) or not _is_dict(other):
            return self.lost(node, [left, right])
        return self.box({**one, **other})  # type: ignore[dict-item]

    def truth(self, value: Value) -> bool | None:
        """Say whether a value counts as true, if that can be told."""
        if isinstance(value, Const):
            return bool(value.value)
        if isinstance(value, Items):
            return bool(value.items)
        if isinstance(value, Ref):
            content = self.content(value)
            return None if isinstance(content, Unknown) else isinstance(content, Attributes) or bool(content)
        return True if isinstance(value, Function) else None

    def decide(self, values: Iterable[Value]) -> None:
        """Take note of what was taken for granted of values that something was chosen by."""
        self.decided.update(dict.fromkeys(assumed_by(values)))

    def unpack(self, found: dict[Hashable, Value], value: Value, node: ast.expr) -> Unknown | None:
        """Put `**value` into a dict that is being made, or say why not."""
        content = self.content(value) if isinstance(value, Ref) else value
        if isinstance(content, dict) and _is_dict(content):
            found.update(content)
            return None
        return self.lost(node, [content, value]) if isinstance(content, Unknown) else self.lost(node, [value])

    def key(self, value: Value, node: ast.expr) -> Hashable | Unknown:
        """Return a value as a dict's key."""
        try:
            found = self.plain(value)
            hash(found)
        except TypeError:
            return self.lost(node, [value])
        self.decide([value])
        return found


def _is_dict(content: object) -> bool:
    return isinstance(content, dict) and not isinstance(content, Attributes)
