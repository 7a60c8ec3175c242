"""What calls do: of Python's own functions that make constants of constants, of methods, of the file's own functions."""

from __future__ import annotations

import ast
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from vhpack.yaml import fold
from vhpack.yaml.expressions import Expressions
from vhpack.yaml.memory import OURS, is_ours
from vhpack.yaml.names import EVERYTHING, READERS, Frame, bound_in, is_plain, parameters, reads_only
from vhpack.yaml.values import MOST_ELEMENTS, Attributes, Const, Function, Items, Known, Method, Ref, Unknown, View, same, unknown

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vhpack.yaml.memory import State
    from vhpack.yaml.names import Definition
    from vhpack.yaml.values import Value

_MOST_CALLS = 8  # functions of the file in one another
_CONVERTERS: Final = frozenset(["int", "float", "str", "bool", "repr", "abs", "round", "min", "max", "chr", "ord"])
_PATHS: Final = frozenset({"pathlib.Path", "pathlib.PosixPath", "pathlib.PurePath", "pathlib.PurePosixPath"})
_ENVIRONMENT: Final = frozenset({"os.environ.get", "os.getenv"})
_READERS: Final = frozenset(
    {f"builtins.{name}" for name in READERS}
    | {f"logging.{name}" for name in ("debug", "info", "warning", "error", "basicConfig")}
    | {"json.dumps", "pprint.pprint", "pprint.pformat", "os.fspath"}
)
# What reads the elements and hands them on.
_SHALLOW: Final = frozenset(
    f"builtins.{name}" for name in ["sorted", "enumerate", "zip", "list", "tuple", "set", "dict", "reversed", "iter", "frozenset"]
)
_EATERS: Final = frozenset(
    f"builtins.{name}" for name in ["all", "any", "dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple"]
)
_ENDS: Final = frozenset({"sys.exit", "builtins.exit", "builtins.quit", "os._exit", "os.abort"})


@dataclass
class Arguments:
    """What a call hands over."""

    values: list[Value] = field(default_factory=list)
    named: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, ast.expr] = field(default_factory=dict)
    """Where each named one stands."""
    lost: Unknown | None = None
    """Why not all are known."""

    def all(self) -> list[Value]:
        """Return all values."""
        return [*self.values, *self.named.values()]


@dataclass
class Call:
    """One call of a function of the file that is being followed."""

    node: ast.AST
    frame: int
    ends: list[tuple[State, Value]] = field(default_factory=list)
    """The states in which it returns, and what."""


class Calls(Expressions):
    """Evaluates calls."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[Call] = []
        self._plain_functions: dict[Definition, bool] = {}
        self._bound: dict[Definition, tuple[frozenset[str], dict[str, ast.AST], dict[str, ast.AST]]] = {}
        self.followed: set[int] = set()
        """Functions that were followed where they are called, by the identity of their nodes."""

    @abstractmethod
    def prepare(self, frame: int, node: ast.Call, arguments: Arguments) -> None:
        """Take note of a call of `prepare`."""

    @abstractmethod
    def run(self, frame: int, body: list[ast.stmt]) -> bool:
        """Follow statements; say whether their end is reached."""

    def call(self, frame: int, node: ast.expr) -> Value:
        """Return what a call returns, its effects done."""
        assert isinstance(node, ast.Call)  # noqa: S101
        called = self.evaluate(frame, node.func)
        if self._goes_through(called):
            self.used_up.update(id(argument) for argument in node.args)
        arguments = self._arguments(frame, node)
        if isinstance(called, Known):
            return self._call_known(frame, node, called.name, arguments)
        if isinstance(called, Method) and arguments.lost is None:
            return self._call_method(node, called, arguments)
        if isinstance(called, Function):
            return self._call_function(node, called, arguments)
        found = self._unfollowed(node, arguments)
        self.taint(called, found)
        return called.seen_at(node) if isinstance(called, Unknown) and isinstance(node.func, ast.Name) else found

    def _goes_through(self, called: Value) -> bool:
        """Say whether a function goes through what it is handed there and then, and keeps nothing of it."""
        if isinstance(called, Method):
            return called.name == "join" and isinstance(called.of, Const)
        return isinstance(called, Known) and called.name in _EATERS and not self.is_replaced(called.name)

    def _arguments(self, frame: int, node: ast.Call) -> Arguments:
        found = Arguments()
        values = self.sequence(frame, node.args)
        if isinstance(values, Unknown):
            found.lost = values
        else:
            found.values = values
        for keyword in node.keywords:
            value = self.evaluate(frame, keyword.value)
            if keyword.arg is not None:
                found.named[keyword.arg] = value
                found.nodes[keyword.arg] = keyword.value
                continue
            inner: dict[Hashable, Value] = {}
            found.lost = self.unpack(inner, value, keyword.value) or found.lost
            for name, item in inner.items():
                if name in found.named or not isinstance(name, str):
                    found.lost = found.lost or unknown(keyword.value, "it raises TypeError")
                found.named[str(name)] = item
                found.nodes[str(name)] = keyword.value
        return found

    def _unfollowed(self, node: ast.expr, arguments: Arguments) -> Unknown:
        """Hand arguments to something that may do anything with them."""
        found = unknown(node)
        for value in arguments.all():
            self.taint(value, found)
        return found

    # Functions that are known by name

    def _call_known(self, frame: int, node: ast.Call, name: str, arguments: Arguments) -> Value:
        module, _, short = name.rpartition(".")
        if self.is_replaced(name):
            return self._unfollowed(node, arguments)
        if module in OURS and short == "prepare":
            self.prepare(frame, node, arguments)
            return Const(None)
        if name == "builtins.getattr" and len(arguments.values) > 1:
            owner, attribute = arguments.values[:2]
            sure = len(arguments.values) == 2 or is_ours(owner)  # noqa: PLR2004 - with a third, what others lack is not told
            if sure and isinstance(owner, Known) and isinstance(attribute, Const) and isinstance(attribute.value, str):
                return self.attribute(owner, attribute.value, node)
        if name in ("builtins.setattr", "builtins.delattr") and len(arguments.values) > 1:
            owner, attribute = arguments.values[:2]
            if isinstance(owner, Known) and isinstance(attribute, Const):
                self.replace_known(owner, str(attribute.value), node)
            if isinstance(owner, Function):
                self.lose_names(node)  # what it does when it is called may be anything
        if module == "builtins" and short in EVERYTHING and not (short == "vars" and arguments.values):
            self.may_set_anything(name, node)
        made = self._make(node, name, arguments) if arguments.lost is None else None
        return made or self._lost_call(node, name, arguments)

    def _lost_call(self, node: ast.Call, name: str, arguments: Arguments) -> Value:
        if name not in _SHALLOW:
            short = name.removeprefix("builtins.")
            reads = name in _READERS and (short not in READERS or reads_only(short, len(arguments.all())))
            if not reads and name != "builtins.hasattr":
                return self._unfollowed(node, arguments)
        lost = unknown(node)
        for value in arguments.all():
            if isinstance(value, Function | Method) or (isinstance(value, Known) and name != "builtins.hasattr"):
                # Whatever it reads, it may call what can be called: `key`, `default`, what `iter` goes through.
                if name.removeprefix("builtins.") not in READERS:
                    self.taint(value, lost)
            elif name in _SHALLOW:
                self.taint_inner(value, lost)
        return lost

    def _make(self, node: ast.Call, name: str, arguments: Arguments) -> Value | None:
        if name in ("builtins.dict", "collections.OrderedDict"):
            return self._make_dict(node, arguments)
        if name in _ENVIRONMENT:
            return self._environment(node, arguments)
        return None if arguments.named else self._make_of_values(node, name, arguments.values)

    def _make_of_values(self, node: ast.Call, name: str, values: list[Value]) -> Value | None:
        short = name.rpartition(".")[2]
        if name in ("copy.copy", "copy.deepcopy") and len(values) == 1:
            return self._copied(node, values[0], {} if short == "deepcopy" else None)
        if name == "importlib.import_module" and [*map(type, values)] == [Const]:
            module = str(self.plain(values[0]))
            return self.lose_names(node) if module == "__main__" else Known(module)
        if name in ("builtins.list", "builtins.tuple") and len(values) <= 1:
            return self._make_sequence(node, short, values)
        if name == "typing.cast" and len(values) == 2:  # noqa: PLR2004
            return values[1]
        if name == "builtins.len" and len(values) == 1 and isinstance(values[0], Ref):
            content = self.content(values[0])
            return unknown(node) if isinstance(content, Unknown | Attributes) else Const(len(content))
        return self._make_constant(node, name, values) if all(isinstance(value, Const | Items) for value in values) else None

    def _make_constant(self, node: ast.Call, name: str, values: list[Value]) -> Value | None:
        short = name.rpartition(".")[2]
        if name in _PATHS:
            return self.folded(node, values, lambda *pieces: fold.path(pieces, pure="Pure" in short))
        if name in ("os.path.join", "posixpath.join"):
            return self.folded(node, values, lambda *pieces: fold.join_path(pieces))
        if name in ("os.fspath", "os.fsdecode") and len(values) == 1:
            return self.folded(node, values, lambda one: fold.convert("str", [one]))
        if name.startswith("builtins.") and short in {*_CONVERTERS, "len"}:
            return self.folded(node, values, lambda *pieces: fold.convert(short, pieces))
        return None

    def _environment(self, node: ast.Call, arguments: Arguments) -> Value | None:
        default = arguments.values[1] if len(arguments.values) == 2 else arguments.named.get("default")  # noqa: PLR2004
        if isinstance(default, Const) and arguments.values and isinstance(arguments.values[0], Const):
            if self.environment is None or arguments.values[0].value in self.environment:
                return unknown(node, "this file sets it")
            return Const(default.value, (*default.assumed, node))
        return None

    def _make_dict(self, node: ast.Call, arguments: Arguments) -> Value | None:
        found: dict[Hashable, Value] = {}
        for value in arguments.values[:1]:
            pairs = self.elements(value)
            if pairs is None:
                if self.unpack(found, value, node) is not None:
                    return None
                continue
            for pair in pairs:
                items = self.elements(pair)
                key = self.key(items[0], node) if items is not None and len(items) == 2 else unknown(node)  # noqa: PLR2004
                if isinstance(key, Unknown) or items is None:
                    return None
                found[key] = items[1]
        found.update(arguments.named)
        return self.box(found)

    def _make_sequence(self, node: ast.Call, kind: str, values: list[Value]) -> Value | None:
        items = self.elements(values[0]) if values else []
        if items is None and isinstance(values[0], Ref):
            content = self.content(values[0])
            if isinstance(content, dict) and not isinstance(content, Attributes) and all(isinstance(key, str) for key in content):
                items = [Const(key) for key in content]
        if items is None:
            return None
        return self.tuple_of(items, node) if kind == "tuple" else self.list_of(items, node)

    def _copied(self, node: ast.expr, value: Value, copies: dict[int, Ref] | None) -> Value:
        """Copy a value, and what is in it where `copies` is given: the copies made so far, by the boxes of what they are of."""
        self.spend(node)
        if isinstance(value, Items) and copies is not None:
            return Items(tuple(self._copied(node, item, copies) for item in value.items))
        if isinstance(value, Unknown):
            return value.seen_at(node)
        if isinstance(value, Ref):
            content = self.content(value)
            if isinstance(content, Unknown):
                return content.seen_at(node)
            return value if isinstance(content, Attributes) else self._copied_box(node, value, content, copies)
        if isinstance(value, Const | Items | Function):
            return value
        found = unknown(node)
        self.taint(value, found)
        return found

    def _copied_box(
        self, node: ast.expr, ref: Ref, content: list[Value] | dict[Hashable, Value], copies: dict[int, Ref] | None
    ) -> Ref:
        if copies is None:
            return self.box(content.copy())
        if ref.box not in copies:
            made = copies[ref.box] = self.box([])
            if isinstance(content, dict):
                self.state.boxes[made.box] = {key: self._copied(node, item, copies) for key, item in content.items()}
            else:
                self.state.boxes[made.box] = [self._copied(node, item, copies) for item in content]
        return copies[ref.box]

    # Methods

    def _call_method(self, node: ast.Call, method: Method, arguments: Arguments) -> Value:
        owner = method.of
        if isinstance(owner, Ref):
            content = self.content(owner)
            if isinstance(content, Unknown):
                self._unfollowed(node, arguments)
                return content.seen_at(node)
            found = self._call_dict(node, owner, method.name, arguments) if isinstance(content, dict) else None
            if isinstance(content, list):
                found = self._call_list(node, owner, method.name, arguments)
            if found is not None:
                return found
        elif isinstance(owner, Const) and not any(isinstance(value, Ref) for value in arguments.named.values()):
            return self._call_constant(node, owner, method.name, arguments)
        lost = self._unfollowed(node, arguments)
        self.taint(owner, lost)
        return lost

    def _call_constant(self, node: ast.Call, owner: Const, name: str, arguments: Arguments) -> Value:
        text, values = owner.value, arguments.values
        if isinstance(text, str) and name == "format":
            count = len(values)
            return self.folded(
                node,
                [*arguments.all(), owner],
                lambda *plain: fold.format_text(text, plain[:count], dict(zip(arguments.named, plain[count:-1], strict=True))),
            )
        if isinstance(text, str) and name == "join" and len(values) == 1:
            items = self.elements(values[0])
            if items is not None:
                return self.folded(node, [*items, owner], lambda *pieces: fold.join_text(text, pieces[:-1]))
        if isinstance(text, str) and name in fold.TEXT_METHODS and not arguments.named:
            return self.folded(node, [*values, owner], lambda *plain: fold.text_method(text, name, plain[:-1]))
        if isinstance(text, PurePath) and name in fold.PATH_METHODS and not arguments.named:
            return self.folded(node, [*values, owner], lambda *plain: fold.bounded(getattr(text, name)(*plain[:-1])))
        return self._unfollowed(node, arguments)

    def _call_dict(self, node: ast.Call, owner: Ref, name: str, arguments: Arguments) -> Value | None:
        content = self.content(owner)
        assert isinstance(content, dict)  # noqa: S101
        if isinstance(content, Attributes):
            return None
        if name == "update":
            return self._update_dict(node, owner, content, arguments)
        if arguments.named or len(arguments.values) > 2:  # noqa: PLR2004
            return None
        if name in ("items", "keys", "values", "clear", "copy") and not arguments.values:
            return self._whole_dict(node, owner, name, content)
        key = self.key(arguments.values[0], node) if arguments.values else None
        if name not in ("get", "pop", "setdefault") or key is None or isinstance(key, Unknown):
            return None
        return self._entry(node, owner, name, key, (*arguments.values[1:], Const(None))[0])

    def _update_dict(self, node: ast.Call, owner: Ref, content: dict[Hashable, Value], arguments: Arguments) -> Value | None:
        made = self._make_dict(node, arguments)
        added = self.content(made) if isinstance(made, Ref) else None
        if not isinstance(added, dict) or len(content) + len(added) > MOST_ELEMENTS:
            return None
        self.replace(owner, {**content, **added}, node)
        return Const(None)

    def _whole_dict(self, node: ast.Call, owner: Ref, name: str, content: dict[Hashable, Value]) -> Value | None:
        if name == "clear":
            self.replace(owner, {}, node)
            return Const(None)
        if name == "copy":
            return self.box(dict(content))
        return View(owner, name)

    def _entry(self, node: ast.Call, owner: Ref, name: str, key: Hashable, default: Value) -> Value | None:
        content = self.content(owner)
        assert isinstance(content, dict)  # noqa: S101
        value = content.get(key)
        if name == "get" or (name == "setdefault" and value is not None):
            return default if value is None else value.seen_at(node) if isinstance(value, Unknown) else value
        if name == "setdefault":
            self.replace(owner, {**content, key: default}, node)
            return default
        self.replace(owner, {other: item for other, item in content.items() if other != key}, node)
        return default if value is None else value

    def _call_list(self, node: ast.Call, owner: Ref, name: str, arguments: Arguments) -> Value | None:
        content, values = self.content(owner), arguments.values
        assert isinstance(content, list)  # noqa: S101
        if name == "copy":
            return self.box(list(content))
        changed = self._changed_list(content, name, values) if not arguments.named else None
        if changed is None or len(changed) > MOST_ELEMENTS:
            return None
        self.replace(owner, changed, node)
        return Const(None) if name != "pop" else content[-1]

    def _changed_list(self, content: list[Value], name: str, values: list[Value]) -> list[Value] | None:
        first = values[0] if values else None
        if name == "append" and first is not None:
            return [*content, first]
        if name == "extend" and first is not None:
            items = self.elements(first)
            return None if items is None else [*content, *items]
        if name == "insert" and isinstance(first, Const) and isinstance(first.value, int) and len(values) == 2:  # noqa: PLR2004
            found = list(content)
            found.insert(first.value, values[1])
            return found
        if name in ("clear", "reverse") and not values:
            return [] if name == "clear" else content[::-1]
        return content[:-1] if name == "pop" and not values and content else None

    # Functions of the file

    def _call_function(self, node: ast.Call, function: Function, arguments: Arguments) -> Value:
        running = [call.node for call in self.running]
        if function.node not in self._plain_functions:  # looked at once, however often it is called
            self._plain_functions[function.node] = is_plain(function.node)
        if not self._plain_functions[function.node] or function.node in running or len(running) >= _MOST_CALLS:
            self.escape(function, node)
            return self._unfollowed(node, arguments)
        return self.enter(function, arguments, node)

    def enter(self, function: Function, arguments: Arguments | None, node: ast.AST) -> Value:
        """Follow a function's body, with these arguments or with any."""
        self.spend(node, 5)
        self.followed.add(id(function.node))
        call = Call(function.node, self.open(self._frame(function)))
        for name, value in self._handed(function, arguments, node).items():
            self.bind(call.frame, name, value, node)
        self.running.append(call)
        try:
            if isinstance(function.node, ast.Lambda):
                value = self.evaluate(call.frame, function.node.body)
                call.ends.append((self.state, value))
            elif self.run(call.frame, function.node.body):
                call.ends.append((self.state, Const(None)))
        finally:
            self.running.pop()
        value = self._ended(call, node)
        self.close(call.frame)
        return value

    def _ended(self, call: Call, node: ast.AST) -> Value:
        if not call.ends:
            return unknown(node, "it never returns")
        self.state, found = call.ends[0]
        for state, value in call.ends[1:]:
            self.join(state, node, "it depends on where the function returns")
            if not same(value, found):
                why = unknown(node, "it depends on where the function returns")
                self.taint(value, why)
                self.taint(found, why)
                found = why
        return found

    def _frame(self, function: Function) -> Frame:
        if function.node not in self._bound:
            self._bound[function.node] = bound_in(function.node)
        own, outer, around = self._bound[function.node]
        elsewhere = dict.fromkeys(outer, 0)
        elsewhere.update({name: self.home(function.frame, name) for name in around})
        return Frame("function", function.frame, own, elsewhere)

    def _handed(self, function: Function, arguments: Arguments | None, node: ast.AST) -> dict[str, Value]:
        names = function.node.args
        ordered = [argument.arg for argument in (*names.posonlyargs, *names.args)]
        every = parameters(function.node)
        simple = arguments is not None and arguments.lost is None and names.vararg is None and names.kwarg is None
        if arguments is None or not simple or len(arguments.values) > len(ordered) or not arguments.named.keys() <= set(every):
            found = unknown(node, "its arguments differ from call to call" if arguments is None else "")
            if arguments is not None:
                found = self._unfollowed(node, arguments)  # type: ignore[arg-type]
            for _, value in function.defaults:
                self.taint(value, found)
            return dict.fromkeys(every, found)
        handed = {**dict(function.defaults), **dict(zip(ordered, arguments.values, strict=False)), **arguments.named}
        return {name: handed.get(name) or unknown(node) for name in every}


def ends(value: Value) -> bool:
    """Say whether calling a value ends the program."""
    return isinstance(value, Known) and value.name in _ENDS
