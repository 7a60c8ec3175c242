"""Comprehensions and generators: spelled out where what they go through is known, else followed as the loops that they are."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeAlias

from vhpack.yaml.names import Frame, stored
from vhpack.yaml.operations import Operations
from vhpack.yaml.values import Attributes, Const, Function, Ref, Unknown, View, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from vhpack.yaml.memory import State
    from vhpack.yaml.values import Value

Comprehension: TypeAlias = "ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp"

_MOST_ROUNDS: Final = 1000
_MOST_SPENT: Final = 100_000  # steps, of all that there are, that may go into spelling out


class _UntoldError(Exception):
    """What is gone through, or what is left out of it, cannot be told."""


class Comprehensions(Operations, ABC):
    """Evaluates comprehensions."""

    def __init__(self) -> None:
        super().__init__()
        self.used_up: set[int] = set()
        """Generators that what they are handed to goes through there and then, by the identity of their nodes."""
        self.spelled: set[int] = set()
        """Generators, and calls of `zip` and the like, that are gone through there and then, to their end, before all else."""
        self.paired: dict[int, list[Value]] = {}
        """What calls of `zip` and the like go through, by the identity of their nodes."""
        self._later_bodies: dict[ast.AST, ast.Lambda] = {}
        self._to_spell = _MOST_SPENT
        self._until: int | None = None
        """Of the steps, up to which the outermost comprehension that is being spelled out may go on."""

    @abstractmethod
    def evaluate(self, frame: int, node: ast.expr) -> Value:
        """Return what is known of an expression's value, its effects done."""

    @abstractmethod
    def assign(self, frame: int, target: ast.expr, value: Value) -> None:
        """Set a target."""

    @abstractmethod
    def repeated(self, node: ast.AST, once: Callable[[], bool]) -> list[State]:
        """Do something any number of times, and return the states in which it was left from its middle."""

    @abstractmethod
    def mark(self) -> int:
        """Return how many calls of `prepare` are noted."""

    @abstractmethod
    def back_to(self, mark: int) -> None:
        """Forget the calls of `prepare` that were noted since, in an attempt that was not the last."""

    def comprehension(self, frame: int, node: ast.expr) -> Value:
        """Return what a comprehension makes."""
        assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)  # noqa: S101
        first = node.generators[0].iter
        if not isinstance(first, ast.GeneratorExp):  # which goes on between the rounds, each of which may change what it does
            self.spelled.add(id(first))
        value = self.evaluate(frame, first)
        made = self._spelled_out(frame, node, value)
        return self._as_loop(frame, node, value) if made is None else made

    def gone_through(self, value: Value) -> list[Value] | None:
        """Return what a loop over a value that is known meets: elements, keys, letters."""
        content = self.content(value) if isinstance(value, Ref) else None
        if isinstance(content, dict) and not isinstance(content, Attributes):
            return [Const(key) for key in content] if all(isinstance(key, str) for key in content) else None
        if isinstance(value, Const) and isinstance(value.value, str) and len(value.value) <= _MOST_ROUNDS:
            return [Const(letter, value.assumed) for letter in value.value]
        return self.elements(value)

    # Spelled out

    def _spelled_out(self, frame: int, node: Comprehension, value: Value) -> Value | None:
        plain = isinstance(node, ast.ListComp | ast.DictComp) or (isinstance(node, ast.GeneratorExp) and id(node) in self.spelled)
        if not plain or self._to_spell <= 0 or any(part.is_async for part in node.generators):
            return None
        before, mark, outermost = self.copied(node), self.mark(), self._until is None
        if outermost:
            self._until = self.steps + self._to_spell
        inner = self.open(_own_frame(frame, node))
        found: list[tuple[Value, Value]] = []
        try:
            self._rounds(inner, node, 0, value, found)
            made = self._made(node, found)
        except _UntoldError:
            self.state = before
            self.back_to(mark)
            return None
        finally:
            if outermost and self._until is not None:
                self._to_spell, self._until = self._until - self.steps, None
        self.close(inner)
        return made

    def _rounds(self, inner: int, node: Comprehension, number: int, value: Value, found: list[tuple[Value, Value]]) -> None:
        items = self.gone_through(value)
        if items is None or len(items) > _MOST_ROUNDS:
            raise _UntoldError
        self.spend(node, len(items) >> 2)
        part = node.generators[number]
        held = self._held_by(value, part.iter)
        for item in items:
            self.spend(node)
            # What is gone through is looked at while it may change; and there is more to follow than this.
            if self._is_changed(held, value, part.iter) or len(found) == _MOST_ROUNDS or self.steps > (self._until or 0):
                raise _UntoldError
            self.assign(inner, part.target, item)
            if not all(self._is_in(inner, test) for test in part.ifs):
                continue
            if number + 1 < len(node.generators):
                self._rounds(inner, node, number + 1, self.evaluate(inner, node.generators[number + 1].iter), found)
            elif isinstance(node, ast.DictComp):
                key = self.evaluate(inner, node.key)
                found.append((key, self.evaluate(inner, node.value)))
            else:
                found.append((Const(None), self.evaluate(inner, node.elt)))
        if self._is_changed(held, value, part.iter):
            raise _UntoldError  # there may be more to go through, or less

    def _held_by(self, value: Value, node: ast.expr) -> list[object]:
        """Return the contents that a loop goes through; each change makes others."""
        several = (found.of if isinstance(found, View) else found for found in (value, *self.paired.get(id(node), ())))
        return [self.state.boxes.get(found.box) for found in several if isinstance(found, Ref)]

    def _is_changed(self, held: list[object], value: Value, node: ast.expr) -> bool:
        return not all(one is other for one, other in zip(held, self._held_by(value, node), strict=True))

    def _is_in(self, inner: int, test: ast.expr) -> bool:
        value = self.evaluate(inner, test)
        truth = None if isinstance(value, Const) and value.assumed else self.truth(value)
        if truth is None:
            raise _UntoldError
        return truth

    def _made(self, node: Comprehension, found: list[tuple[Value, Value]]) -> Value:
        if not isinstance(node, ast.DictComp):
            values = [value for _, value in found]
            return self.list_of(values, node) if isinstance(node, ast.ListComp) else self.tuple_of(values, node)
        content: dict[Hashable, Value] = {}
        for key, value in found:
            name = self.key(key, node)
            if isinstance(name, Unknown):
                raise _UntoldError
            content[name] = value
        return self.box(content)

    # As a loop

    def _as_loop(self, frame: int, node: Comprehension, value: Value) -> Value:
        """Follow a comprehension as the loop that it is; what it makes is not told."""
        found = unknown(node)
        self._handed_on(value, found)
        inner = self.open(_own_frame(frame, node))
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]

        def once() -> bool:
            for number, part in enumerate(node.generators):
                if number:
                    self._handed_on(self.evaluate(inner, part.iter), found)
                for name in stored(part.target):
                    self.bind(inner, name, found, part.target)
                for target in ast.walk(part.target):
                    if isinstance(target, ast.Attribute | ast.Subscript):
                        self.taint(self.evaluate(inner, target.value), found)
                for test in part.ifs:
                    self.taint(self.evaluate(inner, test), found)
            for made in parts:
                self.taint(self.evaluate(inner, made), found)
            return True

        self.repeated(node, once)
        self.close(inner)
        if isinstance(node, ast.GeneratorExp) and id(node) not in self.used_up:
            self._run_later(frame, node)
        return found

    def _handed_on(self, value: Value, found: Unknown) -> None:
        """Take the elements of a list or dict as handed on, and the value itself as only read."""
        (self.taint_inner if self.is_shown(value) else self.taint)(value, found)

    def _run_later(self, frame: int, node: ast.GeneratorExp) -> None:
        """Take what is in a generator as done at any time from now on: whoever goes through it does it then."""
        if node not in self._later_bodies:
            names = ast.arguments([], [ast.arg(name) for name in _own_names(node)], None, [], [], None, [])
            self._later_bodies[node] = ast.copy_location(ast.Lambda(names, node), node)
        self.capture(self.outer(frame))
        self.escape(Function(self._later_bodies[node], self.outer(frame)), node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self.set_later(self.walrus_frame(frame), inner.target.id, inner)

    def walrus_frame(self, frame: int) -> int:
        """Return the frame whose names `:=` sets."""
        while "*" in self.frames[frame].own:
            frame = self.frames[frame].parent or 0  # a comprehension's own scope holds its targets only
        return frame


def _own_names(node: Comprehension) -> frozenset[str]:
    return frozenset().union(*(stored(part.target) for part in node.generators))


def _own_frame(frame: int, node: Comprehension) -> Frame:
    return Frame("function", frame, _own_names(node) | {"*"})
