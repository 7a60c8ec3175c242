"""What imports, functions and classes put under names, and what making them does."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from vhpack.yaml.calls import Calls
from vhpack.yaml.memory import MODULE, OURS
from vhpack.yaml.names import Frame, declared, stored
from vhpack.yaml.values import Attributes, Function, Known, Unknown, unknown

if TYPE_CHECKING:
    from vhpack.yaml.values import Value

_PLAIN_DECORATORS: Final = frozenset({"dataclasses.dataclass"})


class Definitions(Calls):
    """Follows what defines names."""

    def __init__(self) -> None:
        super().__init__()
        self.definitions: list[Function] = []
        """All functions that were defined."""
        self._bodies: dict[ast.ClassDef, tuple[frozenset[str], set[str], set[str]]] = {}
        """Of classes, the names that they set, and those that they declare `global` and `nonlocal`."""

    def annotation(self, frame: int, node: ast.expr | None) -> None:
        """Evaluate an annotation that may do something, if Python does."""
        inside = [] if node is None else [*ast.walk(node)]
        if node is not None and any(isinstance(inner, ast.Call | ast.NamedExpr) for inner in inside):
            self.maybe(frame, node)
        elif node is not None:
            self.spend(node, len(inside) >> 3)

    def hidden(self, value: Value, node: ast.AST) -> Unknown:
        """Hand a value to something unknown, and return what comes of it."""
        lost = unknown(node)
        self.taint(value, lost)
        return value if isinstance(value, Unknown) else lost

    # Imports

    def import_modules(self, frame: int, node: ast.stmt) -> bool:
        """Follow `import ...`."""
        assert isinstance(node, ast.Import)  # noqa: S101
        for alias in node.names:
            self._note_main(alias.name, node)
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            self.bind(frame, alias.asname or name, Known(name), node)
        return True

    def import_names(self, frame: int, node: ast.stmt) -> bool:
        """Follow `from ... import ...`."""
        assert isinstance(node, ast.ImportFrom)  # noqa: S101
        module = "." * node.level + (node.module or "")
        self._note_main(module, node)
        for alias in node.names:
            if alias.name != "*":
                self.bind(frame, alias.asname or alias.name, self.attribute(Known(module), alias.name, expression_at(node)), node)
            elif module in OURS or module == "typing":
                for name in _public(module):
                    self.bind(frame, name, Known(f"{module}.{name}"), node)
            else:
                self.import_all(node)
        return True

    def _note_main(self, module: str, node: ast.AST) -> None:
        if module == "__main__":
            self.lose_names(node)

    # Definitions

    def define(self, frame: int, node: ast.stmt) -> bool:
        """Follow the definition of a function."""
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101
        decorators = [(self.evaluate(frame, decorator), decorator) for decorator in node.decorator_list]
        function = Function(node, self.outer(frame), self.defaults(frame, node.args))
        self.definitions.append(function)
        self.capture(function.frame)
        value: Value = function
        for found, decorator in reversed(decorators):
            self.hidden(found, decorator)  # which is called with what it decorates
            value = unknown(node, "it is decorated")
        for argument in (*ast.walk(node.args), ast.arg("", node.returns)):
            self.annotation(frame, argument.annotation if isinstance(argument, ast.arg) else None)
        if value is not function:
            self.escape(function, node)
        self.bind(frame, node.name, value, node)
        return True

    def define_class(self, frame: int, node: ast.stmt) -> bool:
        """Follow the body of a class."""
        assert isinstance(node, ast.ClassDef)  # noqa: S101
        decorators = [self.evaluate(frame, decorator) for decorator in node.decorator_list]
        bases = [self.evaluate(frame, base) for base in (*node.bases, *(keyword.value for keyword in node.keywords))]
        if node not in self._bodies:
            self._bodies[node] = (frozenset(stored(ast.Module(node.body, []))), *declared(node))
        own, outer, around = self._bodies[node]
        elsewhere = {name: self.home(frame, name) for name in around} | dict.fromkeys(outer, MODULE)
        inner = self.open(Frame("class", frame, own, elsewhere))
        self.run(inner, node.body)
        held = self.state.names.pop(inner)
        for value in held.values():
            if isinstance(value, Function):
                self.escape(value, node)
        plain = all(isinstance(base, Known) and base.name == "builtins.object" for base in bases)
        known = all(isinstance(value, Known) and value.name in _PLAIN_DECORATORS for value in decorators)
        made: Value = self.box(Attributes(held))
        if not plain or not known or self.sets_name:
            lost = unknown(node, "a class that others had a hand in")
            for value in (made, *bases, *decorators):
                self.taint(value, lost)
        self.bind(frame, node.name, made, node)
        return True


def _public(module: str) -> list[str]:
    """Return the names that `from module import *` sets."""
    import typing

    import vhpack

    return typing.__all__ if module == "typing" else [*vhpack.__all__, "Pipeline", "triggers"]


def expression_at(node: ast.stmt) -> ast.expr:
    """Return an expression that stands where a statement does, to be pointed at."""
    return ast.copy_location(ast.Constant(None), node)
