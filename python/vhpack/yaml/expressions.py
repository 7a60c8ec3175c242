"""What an expression is worth, and what evaluating it does to the state, without running it."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from vhpack.yaml import fold
from vhpack.yaml.environments import quiet_shell
from vhpack.yaml.memory import TooMuchError
from vhpack.yaml.names import NAMESPACES, Frame, is_special, looks_up, stored
from vhpack.yaml.operations import TOO_LARGE, Operations
from vhpack.yaml.values import (
    MOST_ELEMENTS,
    Attributes,
    Const,
    Function,
    Items,
    Known,
    Method,
    Ref,
    Unknown,
    View,
    assumed_by,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from vhpack.yaml.memory import State
    from vhpack.yaml.values import Value

_DEEPEST = 120  # nested expressions; each takes up to five calls of ours, and Python allows a thousand

_CONSTANTS: Final = {
    "math.pi": 3.141592653589793,
    "math.e": 2.718281828459045,
    "math.tau": 6.283185307179586,
    "math.inf": float("inf"),
    "math.nan": float("nan"),
    "os.sep": "/",
    "os.path.sep": "/",
    "typing.TYPE_CHECKING": False,
    "typing_extensions.TYPE_CHECKING": False,
}
_NAMESPACES: Final = frozenset(
    [
        *("sys.modules", "sys._getframe", "inspect.currentframe", "inspect.stack", "gc.get_objects", "gc.get_referrers"),
        "unittest.mock.patch",
    ]
)


class Expressions(Operations, ABC):
    """Evaluates expressions in one frame after another."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self.used_up: set[int] = set()
        """Generators that what they are handed to goes through there and then, by the identity of their nodes."""
        self._later_bodies: dict[ast.AST, ast.Lambda] = {}
        self._kinds: dict[type[ast.expr], Callable[[int, ast.expr], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._bool,
            ast.Compare: self._compare,
            ast.IfExp: self._either,
            ast.JoinedStr: self._joined_text,
            ast.FormattedValue: self._formatted,
            ast.Tuple: self._tuple,
            ast.List: self._list,
            ast.Dict: self._dict,
            ast.Call: self.call,
            ast.NamedExpr: self._named,
            ast.Lambda: self._lambda,
        }
        for kind in (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp):
            self._kinds[kind] = self._comprehension

    def evaluate(self, frame: int, node: ast.expr) -> Value:
        """Return what is known of an expression's value, its effects done."""
        self.spend(node)
        if isinstance(node, ast.Call | ast.Attribute) and quiet_shell(node):
            return unknown(node)
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise TooMuchError(node)
            return self._kinds.get(type(node), self.unfolded)(frame, node)
        finally:
            self._depth -= 1

    @abstractmethod
    def call(self, frame: int, node: ast.expr) -> Value:
        """Return what a call returns."""

    @abstractmethod
    def repeated(self, node: ast.AST, once: Callable[[], bool]) -> list[State]:
        """Do something any number of times, and return the states in which it was left from its middle."""

    def unfolded(self, frame: int, node: ast.expr) -> Value:
        """Evaluate what is in an expression of which the value is not told; it may keep all that goes into it."""
        found = unknown(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.taint(self.evaluate(frame, child), found)
        return found

    # Leaves

    def _constant(self, _: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Constant)  # noqa: S101
        if isinstance(node.value, str) and node.value in NAMESPACES:
            self.lose_names(node)
        return Const(node.value)

    def _name(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Name)  # noqa: S101
        return self.load(frame, node)

    def _attribute(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Attribute)  # noqa: S101
        return self.attribute(self.evaluate(frame, node.value), node.attr, node)

    def note_attribute(self, owner: Value, name: object, node: ast.AST) -> None:
        """Take note of an attribute that is more than one: what changes by way of it does so unseen."""
        if name in NAMESPACES or (
            isinstance(owner, Known) and name == "__self__"
        ):  # of a builtin function, the module `builtins`
            self.lose_names(node)
        if isinstance(owner, Known) and isinstance(name, str) and is_special(name):
            self.taint(owner, unknown(node))

    def attribute(self, owner: Value, name: str, node: ast.expr) -> Value:
        """Return an attribute of a value."""
        self.note_attribute(owner, name, node)
        if isinstance(owner, Known):
            return self._known_attribute(owner, name, node)
        content = self.content(owner) if isinstance(owner, Ref) else None
        if isinstance(content, Attributes):
            return self._class_attribute(owner, content.get(name), node)
        if isinstance(owner, Const) and isinstance(owner.value, PurePath) and name in fold.PATH_ATTRIBUTES:
            return Const(getattr(owner.value, name), owner.assumed)
        if isinstance(owner, Unknown):
            return Unknown(node, owner.root, owner.why)
        if isinstance(owner, Function):
            return self.lost(node, [owner])
        return Method(owner, name)

    def _class_attribute(self, owner: Value, found: Value | None, node: ast.expr) -> Value:
        decorated = isinstance(found, Unknown) and isinstance(found.root, ast.FunctionDef | ast.AsyncFunctionDef)
        if found is None or decorated:
            return self.lost(node, [owner])  # a method of its class may change it
        return found.seen_at(node) if isinstance(found, Unknown) else found

    def _known_attribute(self, owner: Known, name: str, node: ast.expr) -> Value:
        full = f"{owner.name}.{name}"
        if any(full == name or full.endswith(f".{name}") for name in _NAMESPACES) or full.endswith(".get_ipython"):
            return self.lose_names(node)
        if self.is_replaced(full):
            return unknown(node, "it is replaced in this file")
        return Const(_CONSTANTS[full]) if full in _CONSTANTS else Known(full)

    def _lambda(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Lambda)  # noqa: S101
        self.capture(self.outer(frame))
        return Function(node, self.outer(frame), self.defaults(frame, node.args))

    def defaults(self, frame: int, arguments: ast.arguments) -> tuple[tuple[str, Value], ...]:
        """Return the defaults of a function's parameters, which are evaluated once, where it is defined."""
        ordered = [*arguments.posonlyargs, *arguments.args]
        last = ordered[len(ordered) - len(arguments.defaults) :]
        pairs = [*zip(last, arguments.defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
        return tuple((argument.arg, self.evaluate(frame, value)) for argument, value in pairs if value is not None)

    def _named(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.NamedExpr)  # noqa: S101
        value = self.evaluate(frame, node.value)
        self.bind(self._walrus_frame(frame), node.target.id, value, node)
        return value

    # Operators

    def _operand(self, frame: int, node: ast.expr) -> Value:
        """Evaluate what an operator works on: what is imported or defined is no constant, and the one to point at."""
        value = self.evaluate(frame, node)
        return self.lost(node, [value]) if isinstance(value, Known | Function | Method) else value

    def _binary(self, frame: int, node: ast.expr) -> Value:
        # From the left and without recursion: texts are joined from hundreds of lines.
        spine = [node]
        while isinstance(spine[-1], ast.BinOp) and isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        assert isinstance(spine[-1], ast.BinOp)  # noqa: S101
        value = self._operand(frame, spine[-1].left)
        for step in reversed(spine):
            assert isinstance(step, ast.BinOp)  # noqa: S101
            value = self.operate(step, step.op, value, self._operand(frame, step.right))
        return value

    def _unary(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.UnaryOp)  # noqa: S101
        value = self._operand(frame, node.operand)
        if isinstance(node.op, ast.Not):
            truth = self.truth(value)
            return unknown(node) if truth is None else Const(not truth, assumed_by([value]))
        return self.folded(node, [value], lambda one: fold.unary(node.op, one))

    def _bool(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.BoolOp)  # noqa: S101
        decides = isinstance(node.op, ast.Or)
        found: list[Value] = []
        passed: list[Value] = []
        for number, child in enumerate(node.values):
            value = self.evaluate(frame, child) if not found else self.maybe(frame, child)
            truth = self.truth(value)
            if not found and truth is not None:
                self.decide([value])
            if not found and truth is not None and (truth is decides or number == len(node.values) - 1):
                return _also_assumed(value, passed)
            passed.append(value)
            if truth is None or found:
                found.append(value)
        return self.lost(node, found)

    def maybe(self, frame: int, node: ast.expr) -> Value:
        """Evaluate what may be evaluated or not."""
        before = self.copied(node)
        value = self.evaluate(frame, node)
        self.join(before, node, "it is evaluated only sometimes")
        return value

    def _compare(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Compare)  # noqa: S101
        if isinstance(node.ops[0], ast.In | ast.NotIn) and len(node.ops) == 1 and looks_up(node.comparators[0]):
            self.evaluate(frame, node.left)
            return unknown(node)
        values = [self.evaluate(frame, child) for child in (node.left, node.comparators[0])]
        values += [self.maybe(frame, child) for child in node.comparators[1:]]  # which are reached only while all is true
        if len(values) == 2 and isinstance(node.ops[0], ast.In | ast.NotIn) and isinstance(values[0], Const):  # noqa: PLR2004
            content = self.content(values[1]) if isinstance(values[1], Ref) else None
            if isinstance(content, dict) and isinstance(values[0].value, str):
                self.decide(values)
                return Const((values[0].value in content) == isinstance(node.ops[0], ast.In))
        if len(values) == 2 and isinstance(node.ops[0], ast.Is | ast.IsNot) and self._are_two(*values):  # noqa: PLR2004
            return Const(isinstance(node.ops[0], ast.IsNot))
        if len(values) != 2 or not all(isinstance(value, Const | Items) for value in values):  # noqa: PLR2004
            for operation, left, right in zip(node.ops, values, values[1:], strict=False):
                self._confronted(operation, left, right, unknown(node))
            return next((value for value in values if isinstance(value, Unknown)), unknown(node))
        return self.folded(node, values, lambda one, other: fold.compare(node.ops[0], one, other))

    def _are_two(self, one: Value, other: Value) -> bool:
        """Say whether of two values one is a constant and the other a list, a dict, a class or a function."""
        kinds = (Ref, View, Function)
        return (isinstance(one, Const) and isinstance(other, kinds)) or (isinstance(other, Const) and isinstance(one, kinds))

    def _confronted(self, operation: ast.cmpop, left: Value, right: Value, found: Unknown) -> None:
        """Hand what is compared with something unknown to it, as its `__eq__` may do anything with it."""
        if isinstance(operation, ast.Is | ast.IsNot) or (self.is_plain_value(left) and self.is_plain_value(right)):
            return
        self.taint(left, found)
        looks = isinstance(operation, ast.In | ast.NotIn) and isinstance(right, Ref)
        held = self.content(right) if looks and isinstance(right, Ref) else None
        if isinstance(held, list):
            self.taint_inner(right, found)
        elif not isinstance(held, dict) or isinstance(held, Attributes):  # of a dict, only its keys are compared
            self.taint(right, found)

    def _either(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.IfExp)  # noqa: S101
        test = self.evaluate(frame, node.test)
        truth = self.truth(test)
        if truth is not None:
            self.decide([test])
            value = self.evaluate(frame, node.body if truth else node.orelse)
            return _also_assumed(value, [test])
        both = [self.maybe(frame, child) for child in (node.body, node.orelse)]
        return self.lost(node, [test, *both])

    # Texts

    def _joined_text(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.JoinedStr)  # noqa: S101
        values = [self.evaluate(frame, child) for child in node.values]
        return self.folded(node, values, lambda *pieces: fold.join_text("", pieces))

    def _formatted(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.FormattedValue)  # noqa: S101
        value = self._operand(frame, node.value)
        spec = self.evaluate(frame, node.format_spec) if node.format_spec else Const("")
        if self.is_shown(value):
            return unknown(node)
        if isinstance(value, Items):
            return self.lost(node, [value])
        return self.folded(node, [value, spec], lambda one, how: fold.formatted(one, node.conversion, str(how)))

    # Collections

    def sequence(self, frame: int, nodes: Iterable[ast.expr]) -> list[Value] | Unknown:
        """Return the elements of a display, those of `*others` in their places."""
        found: list[Value] = []
        lost: Unknown | None = None
        for node in nodes:
            if not isinstance(node, ast.Starred):
                found.append(self.evaluate(frame, node))
                continue
            value = self.evaluate(frame, node.value)
            items = self.elements(value)
            if items is None:
                lost = lost or self.lost(node.value, [value])
            found += items or []
            if len(found) > MOST_ELEMENTS:
                lost = lost or unknown(node, TOO_LARGE)
                self.lost(node, found)
                found = []
        if lost is not None:
            self.lost(lost.node, found)  # type: ignore[arg-type]
        return found if lost is None else lost

    def _tuple(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Tuple)  # noqa: S101
        found = self.sequence(frame, node.elts)
        return found if isinstance(found, Unknown) else self.tuple_of(found, node)

    def _list(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.List)  # noqa: S101
        found = self.sequence(frame, node.elts)
        return found if isinstance(found, Unknown) else self.list_of(found, node)

    def _dict(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Dict)  # noqa: S101
        found: dict[Hashable, Value] = {}
        lost: Unknown | None = None
        for key, child in zip(node.keys, node.values, strict=True):
            if key is None:
                lost = self.unpack(found, self.evaluate(frame, child), child) or lost
                continue
            name = self.key(self.evaluate(frame, key), key)
            value = self.evaluate(frame, child)
            if isinstance(name, Unknown):
                lost = lost or name
                self.taint(value, name)
            else:
                found[name] = value
        if lost is None and len(found) <= MOST_ELEMENTS:
            return self.box(found)
        too_large = self.lost(node, found.values(), TOO_LARGE)
        return lost or too_large

    def _subscript(self, frame: int, node: ast.expr) -> Value:
        assert isinstance(node, ast.Subscript)  # noqa: S101
        owner = self.evaluate(frame, node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(frame, owner, node, node.slice)
        key = self.evaluate(frame, node.slice)
        self.decide([key])
        content = self.content(owner) if isinstance(owner, Ref) else None
        if content is None or isinstance(content, Unknown | Attributes):
            return self._item_of_tuple(owner, key, node)
        if not isinstance(key, Const):
            lost = self.lost(node, [key])
            self.taint_inner(owner, lost)  # any of its elements may be what is found
            return lost
        try:
            found: Value = content[key.value]  # type: ignore[call-overload]
        except fold.FAILURES as error:
            return unknown(node, f"it raises {type(error).__name__}")
        return found.seen_at(node) if isinstance(found, Unknown) else found

    def _item_of_tuple(self, owner: Value, key: Value, node: ast.expr) -> Value:
        if isinstance(owner, Items) and isinstance(key, Const) and isinstance(key.value, int):
            if -len(owner.items) <= key.value < len(owner.items):
                return owner.items[key.value]
            return unknown(node, "it raises IndexError")
        return self.folded(node, [owner, key], lambda one, where: one[where])

    def _slice(self, frame: int, owner: Value, node: ast.expr, bounds: ast.Slice) -> Value:
        edges = [
            Const(None) if edge is None else self.evaluate(frame, edge) for edge in (bounds.lower, bounds.upper, bounds.step)
        ]
        items = self.elements(owner)
        if items is None:
            return self.folded(node, [owner, *edges], lambda one, *where: one[slice(*where)])
        if not all(isinstance(edge, Const) and isinstance(edge.value, int | None) for edge in edges):
            return self.lost(node, [owner, *edges])
        try:
            found = items[slice(*map(self.plain, edges))]  # type: ignore[arg-type]
        except ValueError:
            return unknown(node, "it raises ValueError")
        return self.tuple_of(found, node) if isinstance(owner, Items) else self.list_of(found, node)

    def _comprehension(self, frame: int, node: ast.expr) -> Value:
        """Follow a comprehension as the loop that it is; what it makes is not told."""
        assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)  # noqa: S101
        found = unknown(node)
        self._gone_through(self.evaluate(frame, node.generators[0].iter), found)
        own = frozenset(("*",)) | frozenset().union(*(stored(part.target) for part in node.generators))
        inner = self.open(Frame("function", frame, own))
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]

        def once() -> bool:
            for number, part in enumerate(node.generators):
                if number:
                    self._gone_through(self.evaluate(inner, part.iter), found)
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
            self._run_later(frame, node, own)
        return found

    def _gone_through(self, value: Value, found: Unknown) -> None:
        """Take the elements of a list or dict as handed on, and the value itself as only read."""
        (self.taint_inner if self.is_shown(value) else self.taint)(value, found)

    def _run_later(self, frame: int, node: ast.GeneratorExp, own: frozenset[str]) -> None:
        """Take what is in a generator as done at any time from now on: whoever goes through it does it then."""
        if node not in self._later_bodies:
            names = ast.arguments([], [ast.arg(name) for name in own if name != "*"], None, [], [], None, [])
            self._later_bodies[node] = ast.copy_location(ast.Lambda(names, node), node)
        self.capture(self.outer(frame))
        self.escape(Function(self._later_bodies[node], self.outer(frame)), node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self.set_later(self._walrus_frame(frame), inner.target.id, inner)

    def _walrus_frame(self, frame: int) -> int:
        while "*" in self.frames[frame].own:
            frame = self.frames[frame].parent or 0  # a comprehension's own scope holds its targets only
        return frame


def _also_assumed(value: Value, others: Iterable[Value]) -> Value:
    """Return a value that was chosen by what others were taken for."""
    assumed = assumed_by(others)
    return Const(value.value, (*value.assumed, *assumed)) if assumed and isinstance(value, Const) else value
