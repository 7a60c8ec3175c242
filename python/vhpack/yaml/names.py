"""Names and scopes: which function, class or module a name belongs to, and what may reach it in other ways."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Definition: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"

SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_LOOPS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

# What reads its arguments and keeps no hold on them.
READERS: Final = frozenset(
    {"print", "len", "str", "repr", "bool", "isinstance", "type", "id", "hash", "format", "sum", "any", "all"}
)
# ... but for those that with several arguments may give one back, or keep it.
_OF_ONE: Final = frozenset({"sum", "type"})
# What reaches the names of a module, or of a function that runs, past this file.
NAMESPACES: Final = frozenset(
    [
        *("__globals__", "__builtins__", "f_globals", "f_locals", "f_back", "gi_frame", "cr_frame", "ag_frame", "tb_frame"),
        *("__code__", "__defaults__", "__kwdefaults__", "__closure__", "cell_contents"),  # or makes a function another one
    ]
)
ANYTHING: Final = "__anything__"
"""What a line that is no Python is read as where it may set any name, once."""
EVERYTHING: Final = frozenset({"exec", "eval", "globals", "locals", "vars", "__import__", ANYTHING})
_HARMLESS: Final = frozenset({"__name__", "__version__", "__file__", "__doc__", "__path__", "__class__", "__init__"})


@dataclass(frozen=True)
class Frame:
    """A scope as it runs: a module, a class's body, or one call of a function."""

    kind: Literal["module", "class", "function"]
    parent: int | None = None
    own: frozenset[str] = frozenset()
    """Of a function: the names that it binds."""
    elsewhere: dict[str, int] = field(default_factory=dict)
    """Names declared `global` or `nonlocal`, and the frames that they live in."""


def parameters(node: Definition) -> list[str]:
    """Return all parameters of a function, `*args` and `**kwargs` among them."""
    found = node.args
    several = [*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg]
    return [argument.arg for argument in several if argument is not None]


def bound_in(node: Definition) -> tuple[frozenset[str], dict[str, ast.AST], dict[str, ast.AST]]:
    """Return the names that a function binds as its own, and those it declares `global` and `nonlocal`."""
    bound = set(parameters(node))
    outer: dict[str, ast.AST] = {}
    around: dict[str, ast.AST] = {}
    for inner in _own_nodes(node):
        bound.update(_bound_by(inner))
        if isinstance(inner, ast.Global):
            outer.update(dict.fromkeys(inner.names, inner))
        elif isinstance(inner, ast.Nonlocal):
            around.update(dict.fromkeys(inner.names, inner))
    return frozenset(bound - set(outer) - set(around)), outer, around


def declared(node: ast.AST) -> tuple[set[str], set[str]]:
    """Return the names that a scope declares `global` and `nonlocal`."""
    own = [*_own_nodes(node)]
    return (
        {name for inner in own if isinstance(inner, ast.Global) for name in inner.names},
        {name for inner in own if isinstance(inner, ast.Nonlocal) for name in inner.names},
    )


def is_special(name: str) -> bool:
    """Say whether an attribute belongs to Python, and may change what has it, as `__dict__` and `__setattr__` do."""
    return name.startswith("__") and name.endswith("__") and name not in _HARMLESS


def looks_up(node: ast.expr) -> bool:
    """Say whether an expression is `globals()` or `sys.modules`, of which `in` only looks whether a name is there."""
    if isinstance(node, ast.Call) and not node.args and not node.keywords:
        return isinstance(node.func, ast.Name) and node.func.id in ("globals", "locals", "vars", "dir")
    return isinstance(node, ast.Attribute) and node.attr == "modules" and isinstance(node.value, ast.Name)


def mentions(body: list[ast.stmt], word: str) -> bool:
    """Say whether a file has a name, an attribute, a definition or a text of this word anywhere."""
    fields = ("name", "attr", "id", "value")
    return any(getattr(node, where, None) == word for node in ast.walk(ast.Module(body, [])) for where in fields)


def mangle(body: list[ast.stmt]) -> None:
    """Give private names in classes (`__x`) the ones that Python gives them (`_C__x`), in the tree itself."""
    waiting: list[tuple[ast.AST, str]] = [(node, "") for node in body]
    while waiting:
        node, owner = waiting.pop()
        inner = node.name.lstrip("_") if isinstance(node, ast.ClassDef) else owner
        inside = {id(child) for child in node.body} if isinstance(node, ast.ClassDef) else set()
        waiting += [(child, inner if id(child) in inside else owner) for child in ast.iter_child_nodes(node)]
        if not owner or isinstance(node, ast.keyword):
            continue
        for field_name in ("id", "attr", "name", "asname", "arg", "rest"):
            found = getattr(node, field_name, None)
            if isinstance(found, str):
                setattr(node, field_name, _mangled(found, owner))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [_mangled(name, owner) for name in node.names]


def _mangled(name: str, owner: str) -> str:
    return f"_{owner}{name}" if name.startswith("__") and not name.endswith("__") and "." not in name else name


def is_plain(node: Definition) -> bool:
    """Say whether calling a function runs it there and then: no coroutine, no generator, no decorator around it."""
    if isinstance(node, ast.AsyncFunctionDef) or (isinstance(node, ast.FunctionDef) and node.decorator_list):
        return False
    return not any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in _own_nodes(node))


def stored(node: ast.AST) -> set[str]:
    """Return the names that a statement sets in its own scope, functions and classes in it left alone."""
    return {name for inner in (node, *_own_nodes(node)) for name in _bound_by(inner)}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Go through what runs in the scope of a function itself; of functions in it only the node and its decorators."""
    waiting: list[ast.AST] = list(node.body) if isinstance(node, SCOPES) and isinstance(node.body, list) else _children(node)
    while waiting:
        inner = waiting.pop()
        yield inner
        if isinstance(inner, SCOPES):
            waiting.extend(getattr(inner, "decorator_list", []))
        elif isinstance(inner, _LOOPS):
            # Their targets are names of their own; `:=` in them is not.
            waiting.extend(child for child in ast.walk(inner) if isinstance(child, ast.NamedExpr))
        else:
            waiting.extend(ast.iter_child_nodes(inner))


def _children(node: ast.AST) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else list(ast.iter_child_nodes(node))


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def reads_only(name: str, count: int) -> bool:
    """Return whether a builtin function keeps no hold on so many arguments.

    Example:
        >>> from vhpack.yaml.names import reads_only
        >>> reads_only("print", 3), reads_only("sum", 1), reads_only("sum", 2)
        (True, True, False)
    """
    return name in READERS and (name not in _OF_ONE or count < 2)  # noqa: PLR2004


def shadowed(body: list[ast.stmt]) -> frozenset[str]:
    """Return the names of reading functions that a file may give another meaning anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.Module(body, [])):
        found.update(_bound_by(node))
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return READERS
    return READERS & found


def mentioning(body: list[ast.stmt], words: frozenset[str]) -> set[int]:
    """Return the functions, by the identity of their nodes, that mention a word or a name that has to do with one.

    Names spread it: what is assigned, imported or defined in a statement that mentions a word is a word itself.
    """
    module = ast.Module(body, [])
    found = [(node, _words(node)) for node in ast.walk(module) if isinstance(node, _NAMING)]
    mentions: dict[str, list[ast.AST]] = {}
    for each, mentioned in found:
        for word in mentioned:
            mentions.setdefault(word, []).append(each)
    known, waiting = set(words), list(words)
    while waiting:
        # Once for each word: a file of many names that hold each other must not take time by their square.
        for naming in mentions.pop(waiting.pop(), ()):
            more = _names_of(naming) - known
            known |= more
            waiting += more
    return {id(node) for node, mentioned in found if isinstance(node, SCOPES) and not known.isdisjoint(mentioned)}


_NAMING: Final = (*SCOPES, ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.Import, ast.ImportFrom)


def _names_of(node: ast.AST) -> set[str]:
    if isinstance(node, SCOPES):
        return {node.name} if not isinstance(node, ast.Lambda) else set()
    return stored(node)


def _words(node: ast.AST) -> set[str]:
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            found.add(inner.attr)
        elif isinstance(inner, ast.alias):
            found.update((*inner.name.split("."), inner.asname or ""))
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            found.add(inner.value)
    return found
