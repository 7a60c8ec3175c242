"""What a function may do to names of the scopes around it, whatever it is called with."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vhpack.yaml.environments import quiet_shell
from vhpack.yaml.names import EVERYTHING, NAMESPACES, READERS, bound_in, declared, is_special, reads_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhpack.yaml.names import Definition

Touch: TypeAlias = Literal["whole", "called", "inner", "none"]
"""What is done to a value: handed on or changed, a method called, elements read, only looked at."""

_READING_METHODS: Final = frozenset({"get", "items", "keys", "values", "copy", "index", "count"})
_PREPARE_ARGUMENTS: Final = frozenset({"default_parameters", "default_inputs"})


@dataclass
class Uses:
    """What a function does to names of the scopes around it, if it is called at a time that nobody can tell."""

    rebound: dict[str, ast.AST] = field(default_factory=dict)
    """Names that it sets."""
    whole: dict[str, ast.AST] = field(default_factory=dict)
    """Names whose value it hands on or changes."""
    called: dict[str, ast.AST] = field(default_factory=dict)
    """Names whose value it calls a method of."""
    inner: dict[str, ast.AST] = field(default_factory=dict)
    """Names whose value it reads elements of."""
    anything: ast.AST | None = None
    """Where it may set any name."""


def uses_of(node: Definition, readers: frozenset[str] = READERS) -> Uses:
    """Return what a function does to names around it, whatever its arguments are."""
    uses = Uses()
    _Reader(uses, frozenset(), readers).enter(node)
    return uses


class _Reader:
    def __init__(self, uses: Uses, own: frozenset[str], readers: frozenset[str]) -> None:
        self._uses = uses
        self._own = own
        self._readers = readers
        self._kinds: tuple[tuple[type | tuple[type, ...], Callable[..., None]], ...] = (
            ((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), self._definition),
            (ast.Call, self._call),
            ((ast.Subscript, ast.Attribute), self._part),
            ((ast.BinOp, ast.Compare, ast.FormattedValue, ast.UnaryOp), self._operation),
            (ast.ClassDef, self._class),
            ((ast.Import, ast.ImportFrom), self._import),
            (ast.Constant, self._constant),
            ((ast.If, ast.While), self._choice),
            ((ast.For, ast.AsyncFor, ast.comprehension), self._loop),
        )

    def enter(self, node: Definition) -> None:
        """Read a function's body, whose own names hide those around it."""
        own, outer, around = bound_in(node)
        inside = _Reader(self._uses, (self._own - set(outer) - set(around)) | own, self._readers)
        for name, where in {**outer, **around}.items():
            if name not in self._own:
                self._uses.rebound.setdefault(name, where)
        for child in node.body if isinstance(node.body, list) else [node.body]:
            inside.read(child)

    def read(self, node: ast.AST, *, touch: Touch = "whole") -> None:
        """Read a node whose value its parent changes or hands on, reads elements of, or only looks at."""
        if quiet_shell(node):
            return
        if isinstance(node, ast.Name):
            self._name(node, touch)
            return
        for kinds, follow in self._kinds:
            if isinstance(node, kinds):
                follow(node)
                return
        self._all(ast.iter_child_nodes(node))

    def _definition(self, node: Definition) -> None:
        self.enter(node)
        self._all([*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)])

    def _part(self, node: ast.Subscript | ast.Attribute) -> None:
        special = isinstance(node, ast.Attribute) and is_special(node.attr)
        if isinstance(node, ast.Attribute) and (node.attr in NAMESPACES or _is_modules(node)):
            self._uses.anything = node
        self.read(node.value, touch="inner" if isinstance(node.ctx, ast.Load) and not special else "whole")
        if isinstance(node, ast.Subscript):
            self.read(node.slice, touch="none")

    def _operation(self, node: ast.AST) -> None:
        self._all(ast.iter_child_nodes(node), touch="inner")

    def _class(self, node: ast.ClassDef) -> None:
        outer, around = declared(node)
        for name in outer | {name for name in around if name not in self._own}:
            self._uses.rebound.setdefault(name, node)
        self._all(ast.iter_child_nodes(node))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        modules = {getattr(node, "module", None), *(alias.name for alias in node.names)}
        if "__main__" in modules or (isinstance(node, ast.ImportFrom) and node.module == "sys" and "modules" in modules):
            self._uses.anything = node

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value in NAMESPACES:
            self._uses.anything = node

    def _choice(self, node: ast.If | ast.While) -> None:
        self.read(node.test, touch="none")
        self._all([*node.body, *node.orelse])

    def _loop(self, node: ast.For | ast.AsyncFor | ast.comprehension) -> None:
        self.read(node.iter, touch="inner")
        self._all(child for child in ast.iter_child_nodes(node) if child is not node.iter)

    def _name(self, node: ast.Name, touch: Touch) -> None:
        if node.id in EVERYTHING or node.id in NAMESPACES or node.id == "get_ipython":
            self._uses.anything = node
        if touch != "none" and node.id not in self._own:
            {"whole": self._uses.whole, "called": self._uses.called, "inner": self._uses.inner}[touch].setdefault(node.id, node)

    def _all(self, nodes: object, *, touch: Touch = "whole") -> None:
        for node in nodes:  # type: ignore[attr-defined]
            self.read(node, touch=touch)

    def _call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Attribute):
            reading = called.attr in _READING_METHODS
            self.read(called.value, touch="inner" if reading else "whole" if is_special(called.attr) else "called")
        else:
            self.read(called)
        count = len(node.args) + len(node.keywords)
        reads = isinstance(called, ast.Name) and called.id in self._readers and reads_only(called.id, count)
        for argument in node.args:
            self.read(argument, touch="none" if reads else "whole")
        for keyword in node.keywords:
            shown = reads or keyword.arg in _PREPARE_ARGUMENTS
            self.read(keyword.value, touch="none" if shown else "inner" if keyword.arg is None else "whole")


def _is_modules(node: ast.Attribute) -> bool:
    """Say whether this may be `sys.modules`; what a method does with its own object's is not."""
    root: ast.expr = node.value
    while isinstance(root, ast.Attribute):
        root = root.value
    return node.attr == "modules" and not (isinstance(root, ast.Name) and root.id in ("self", "cls"))
