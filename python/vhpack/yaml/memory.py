"""The state of a file that is followed statement by statement: what its names hold, and what may have changed unseen.

One rule keeps stale values out: a list, dict or class of which the content is known can be reached only by values that are
known, too. Whatever flows into something unknown (an argument of a function of another module, a value that depends on a
branch) is unknown from there on, under all its names.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from vhpack.yaml.environments import environment_of
from vhpack.yaml.names import ANYTHING, EVERYTHING, NAMESPACES, READERS, Frame, mangle, mentions, shadowed
from vhpack.yaml.uses import uses_of
from vhpack.yaml.values import Attributes, Const, Function, Items, Known, Method, Ref, Unknown, View, same, unknown

if TYPE_CHECKING:
    import ast
    from collections.abc import Hashable, Iterable

    from vhpack.yaml.names import Definition
    from vhpack.yaml.uses import Uses
    from vhpack.yaml.values import Content, Value

Key: TypeAlias = "tuple[int, str] | int"
"""What can change: a name in a frame, or the content of a box."""

MODULE: Final = 0
OURS: Final = ("valohai", "vhpack")
_MOST_STEPS: Final = 400_000  # some seconds; a script of 10,000 lines takes a fifth of it
_BUILTIN = frozenset(dir(builtins))
# Which `%pylab`, or what `exec` runs, may well have put numpy's over.
_NUMPYS = frozenset(["abs", "all", "any", "bool", "max", "min", "pow", "round", "sum"])
# What a module, or a notebook, has without setting it.
_THERE = frozenset(["__file__", "__cached__", "__annotations__", "__builtins__", "In", "Out", "display"])


class TooMuchError(Exception):
    """Following the file would take longer than anyone waits, or go deeper than the interpreter can."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__(node)
        self.node = node


@dataclass
class State:
    """Names and boxes at one moment; what copies share is never changed, only replaced, so that a copy is cheap."""

    names: dict[int, dict[str, Value]] = field(default_factory=dict)
    boxes: dict[int, Content] = field(default_factory=dict)
    _own: set[int] = field(default_factory=set)
    """Frames whose names no other state shares."""

    def copy(self) -> State:
        """Return a state that changes by itself."""
        self._own.clear()
        return State(dict(self.names), dict(self.boxes))

    def put(self, frame: int, name: str, value: Value) -> None:
        """Set a name."""
        self._mine(frame)[name] = value

    def drop(self, frame: int, name: str) -> None:
        """Delete a name, if it is there."""
        self._mine(frame).pop(name, None)

    def shared(self, frame: int) -> int:
        """Return how many names are copied when one of a frame is set."""
        return 0 if frame in self._own else len(self.names.get(frame, {}))

    def _mine(self, frame: int) -> dict[str, Value]:
        if frame not in self._own:
            self.names[frame] = dict(self.names.get(frame, {}))
            self._own.add(frame)
        return self.names[frame]

    @property
    def size(self) -> int:
        """What a copy costs."""
        return len(self.names) + len(self.boxes)


def is_ours(value: Value | None) -> bool:
    """Say whether a value is vhpack, or its `prepare`."""
    return isinstance(value, Known) and value.name.partition(".")[0] in OURS


def identity(function: Function) -> tuple[int, int]:
    """Return what tells a function from the others that the same lines define, in another call of the function around them."""
    return id(function.node), function.frame


def canonical(name: str) -> str:
    """Return the one name of what Python has under two."""
    return f"os.path{name[9:]}" if name == "posixpath" or name.startswith("posixpath.") else name


def _around(name: str) -> list[str]:
    """Return the names of all that something is in: `os` and `os.path` of `os.path.join`."""
    return [name[:at] for at, char in enumerate(name) if char == "."]


class Memory:
    """The state at the moment, and all that is to be known about how it came about."""

    def __init__(self) -> None:
        self.state = State({MODULE: {}})
        self.frames: dict[int, Frame] = {MODULE: Frame("module")}
        self.log: list[tuple[Key, ast.AST]] = []
        """All changes, in the order in which they were followed."""
        self.escaped: dict[tuple[int, int], int] = {}
        """Functions that may be called at any time, each from a point of the log on; see `identity`."""
        self.captured: set[int] = set()
        self.handed_on: list[ast.AST] = []
        """Where `prepare` itself goes to something that may call it in ways that nobody can tell."""
        self._changed: dict[Key, list[int]] = {}
        self._unstable: dict[tuple[int, str], Unknown] = {}
        self._touched: dict[tuple[int, str], tuple[Unknown, bool]] = {}
        self._watched: dict[int, Unknown] = {}
        """Boxes that something unknown reads elements of, at any time."""
        self.replaced: set[str] = set()
        """Functions and constants of modules that the file sets to something else, by their full names."""
        self.environment: set[str] | None = set()
        """Variables of the environment that the file sets; None: any of them."""
        self._lent: set[str] = set()
        """Modules and what is in them, by full names, that something unknown has: it may set attributes of them."""
        self._changed_inside: set[str] = set()
        """What has attributes that the file sets."""
        self._forgetting = False
        self.sets_name = False
        """Whether a class of the file is told of classes that hold its instances, and may change them."""
        self._readers = READERS
        self._uses: dict[Definition, Uses] = {}
        """What functions do, once for each: a long one may be met ten thousand times."""
        self._anything: Unknown | None = None
        """Why any name of the module may be set at any time."""
        self._later: tuple[int, int, int] | None = None
        self._starred: ast.AST | None = None
        self._unseen: ast.AST | None = None
        """Where names may have been set that the file does not mention."""
        self._reached = False
        """Whether the file mentions what sets names of functions that run."""
        self._boxes = 0
        self._steps = 0

    def spend(self, node: ast.AST, steps: int = 1) -> None:
        """Count work.

        Raises:
            TooMuchError: it is more than there is to spend.
        """
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise TooMuchError(node)

    def copied(self, node: ast.AST) -> State:
        """Return a copy of the state."""
        self.spend(node, 1 + self.state.size // 16)
        return self.state.copy()

    # Names

    def open(self, frame: Frame) -> int:
        """Begin a scope."""
        number = len(self.frames)
        self.frames[number] = frame
        self.state.names[number] = {}
        return number

    def home(self, frame: int, name: str) -> int:
        """Return the frame that a name is read from."""
        first, at = True, frame
        while True:
            known = self.frames[at]
            if name in known.elsewhere:
                return known.elsewhere[name]
            mine = name in known.own if known.kind == "function" else name in self.state.names.get(at, {})
            if first and not mine and known.kind == "class" and name in known.own:
                return MODULE  # a class's own name that is not set yet is none of the function around it
            if known.parent is None or (mine and (first or known.kind != "class")):
                return at
            at, first = known.parent, False

    def outer(self, frame: int) -> int:
        """Return the frame in which a function that is defined here looks up names; a class's own are not among them."""
        while self.frames[frame].kind == "class":
            frame = self.frames[frame].parent or MODULE
        return frame

    def load(self, frame: int, node: ast.Name) -> Value:
        """Return what a name holds."""
        home = self.home(frame, node.id)
        value = self.state.names.get(home, {}).get(node.id)
        if is_ours(value):
            return value or unknown(node)
        if value is None:
            return self._builtin(home, node)
        if isinstance(value, Unknown):
            return value.seen_at(node)
        return self._unstable_value(home, node, value) or value

    def look_ahead(self, body: list[ast.stmt]) -> None:
        """Take note of what holds for the whole of a file: what it shadows, and what it sets of the environment."""
        mangle(body)
        self._readers = READERS - shadowed(body)
        self.environment = environment_of(body)
        self.sets_name = mentions(body, "__set_name__")
        self._reached = mentions(body, "f_locals")

    def replace_known(self, owner: Known, name: str, node: ast.AST) -> None:
        """Take note of something of a module that is set to something else."""
        full = canonical(f"{owner.name}.{name}")
        self.replaced.add(full)
        self._changed_inside.update(_around(full))
        if is_ours(owner) and name == "prepare":
            self.handed_on.append(node)

    def is_replaced(self, name: str) -> bool:
        """Say whether something of a module, or its attributes, may be another than Python's own."""
        full = canonical(name)
        return full in self.replaced or full in self._changed_inside or not self._lent.isdisjoint(_around(full))

    def _builtin(self, home: int, node: ast.Name) -> Value:
        changed = self._changing(home, node)
        if changed is not None:
            return changed
        if home == MODULE and node.id == "__name__":
            return Const("__main__")
        if self._starred is not None:
            return Unknown(node, self._starred, "it may be imported here")
        if self._unseen is not None and node.id in _NUMPYS:
            return Unknown(node, self._unseen, "it may be set here")
        if home == MODULE and node.id in _BUILTIN:
            return Known(f"builtins.{node.id}")
        why = "it is where the file lies when it runs" if node.id == "__file__" else "it is not set before this line"
        return unknown(node, why)

    def _changing(self, home: int, node: ast.Name) -> Unknown | None:
        """Return why a name that is not set is none of Python's own functions as it knows them."""
        if node.id == ANYTHING or self.is_replaced(f"builtins.{node.id}"):
            self.forget(node, "any name may be set by way of it")
            return unknown(node)
        if node.id in NAMESPACES or node.id == "get_ipython":
            return self.lose_names(node)
        if self._anything is not None and home == MODULE and node.id != "__name__":
            return self._anything.seen_at(node)
        return None

    def _unstable_value(self, home: int, node: ast.Name, value: Value) -> Unknown | None:
        key = (home, node.id)
        if self._anything is not None and (home == MODULE or self._reached):
            self.taint(value, self._anything)
            return self._anything.seen_at(node)
        if key in self._unstable:
            self.taint(value, self._unstable[key])
            return self._unstable[key].seen_at(node)
        if key in self._touched:
            why, whole = self._touched[key]
            (self.taint if whole else self.taint_inner)(value, why)
        changed = self._changed_later(key)
        return None if changed is None else Unknown(node, changed, f"{node.id!r} is set more than once")

    def _changed_later(self, key: Key) -> ast.AST | None:
        """Return the change that a function which runs at a time unknown may see or not.

        The first setting is none: before it, reading the name would be an error, but for names that Python has, too.
        """
        if self._later is None:
            return None
        since, frames, boxes = self._later
        if key >= boxes if isinstance(key, int) else key[0] >= frames:
            return None
        changes = self._changed.get(key, [])
        after = [change for change in changes if change >= since]
        if not after or (len(changes) == 1 and not isinstance(key, int) and key[1] not in _BUILTIN | _THERE):
            return None
        return self.log[after[-1]][1]

    def bind(self, frame: int, name: str, value: Value, node: ast.AST) -> None:
        """Set a name."""
        self._bind(self.frames[frame].elsewhere.get(name, frame), name, value, node)

    def _bind(self, home: int, name: str, value: Value, node: ast.AST) -> None:
        self._note((home, name), node)
        self.spend(node, self.state.shared(home) >> 3)
        self.state.put(home, name, value)
        if (home, name) in self._touched:
            # A function that runs unseen reaches the value by this name from now on, whatever its other names are.
            why, whole = self._touched[home, name]
            (self.taint if whole else self.taint_inner)(value, why)

    def unbind(self, frame: int, name: str, node: ast.AST) -> None:
        """Delete a name."""
        home = self.frames[frame].elsewhere.get(name, frame)
        self._note((home, name), node)
        self.state.drop(home, name)

    def _note(self, key: Key, node: ast.AST) -> None:
        self.spend(node)
        self._changed.setdefault(key, []).append(len(self.log))
        self.log.append((key, node))

    def close(self, frame: int) -> None:
        """End a scope that no function was defined in; nobody can name what is in it any more."""
        if frame not in self.captured:
            self.state.names.pop(frame, None)

    def capture(self, frame: int) -> None:
        """Take note that a function was defined in a scope."""
        at: int | None = frame
        while at is not None and at not in self.captured:
            self.captured.add(at)
            at = self.frames[at].parent

    # Boxes

    def box(self, content: Content) -> Ref:
        """Make a list, a dict or a class."""
        self._boxes += 1
        self.state.boxes[self._boxes] = content
        return Ref(self._boxes)

    def content(self, ref: Ref) -> Content:
        """Return what a box holds."""
        content = self.state.boxes.get(ref.box)
        if content is None or isinstance(content, Unknown):
            return content or []
        changed = self._changed_later(ref.box)
        return content if changed is None else Unknown(changed, changed, "it is changed here, before or after it is used")

    def replace(self, ref: Ref, content: Content, node: ast.AST) -> None:
        """Change what a box holds."""
        self._note(ref.box, node)
        self.state.boxes[ref.box] = content
        if ref.box in self._watched:
            self._taint_all(content, self._watched[ref.box])

    def taint(self, value: Value, why: Unknown) -> None:
        """Take a value as handed to something unknown, which may change it at any time."""
        waiting = [value]
        while waiting:
            reached = waiting.pop()
            if isinstance(reached, Function):
                self.escape(reached, why.root)
            elif isinstance(reached, Known):
                self._taint_known(reached, why)
            elif isinstance(reached, View):
                self.taint_inner(reached.of, why)
            elif isinstance(reached, Ref):
                content = self.state.boxes.get(reached.box)
                if content is not None and not isinstance(content, Unknown):
                    waiting.extend(self._held(reached))
                    self.replace(reached, why, why.root)
            else:
                waiting.extend(self._held(reached))

    def _taint_known(self, value: Known, why: Unknown) -> None:
        if is_ours(value):
            if value.name.endswith(".prepare"):
                self.handed_on.append(why.root)
            return
        if value.name == "builtins":
            self.lose_names(why.root)  # `exec` is in it
        if value.name != "os.environ":  # whose variables are looked after by name
            self._lent.add(canonical(value.name))
        if value.name.removeprefix("builtins.") in EVERYTHING:
            self.may_set_anything(value.name, why.root)

    def taint_inner(self, value: Value, why: Unknown) -> None:
        """Take what a value holds, now or later, as handed to something unknown, the value itself as only read."""
        if isinstance(value, View):
            value = value.of
        if isinstance(value, Ref):
            self._watched.setdefault(value.box, why)
        for reached in self._held(value):
            self.taint(reached, why)

    def _held(self, value: Value) -> Iterable[Value]:
        if isinstance(value, Items):
            return value.items
        if isinstance(value, Method):
            return (value.of,)
        content = self.state.boxes.get(value.box) if isinstance(value, Ref) else None
        if isinstance(content, dict):
            return list(content.values())
        return content if isinstance(content, list) else ()

    # Functions that run unseen

    def escape(self, function: Function, node: ast.AST) -> None:
        """Take a function as called at any time from now on, any number of times."""
        if identity(function) in self.escaped:
            return
        self.escaped[identity(function)] = len(self.log)
        self.spend(node, 10)
        self.touch(function)
        for _, value in function.defaults:
            self.taint(value, unknown(node, "a function that is called from elsewhere may change it"))

    def touch(self, function: Function) -> None:
        """Take what a function may do to names around it as done, now and later."""
        uses = self._uses.get(function.node) or self._uses.setdefault(function.node, uses_of(function.node, self._readers))
        if uses.anything is not None:
            self._anything = self._anything or unknown(uses.anything, "any name may be set here, at any time")
        for name, node in uses.rebound.items():
            why = unknown(node, f"a function that may be called at any time sets {name!r}")
            self._unstable[self.home(function.frame, name), name] = why
        for names, whole in ((uses.inner, False), (uses.called, True), (uses.whole, True)):
            for name, node in names.items():
                home = self.home(function.frame, name)
                if names is uses.called and isinstance(self.state.names.get(home, {}).get(name), Known):
                    continue  # a module does not change by its functions
                self._touch(home, name, node, whole=whole)

    def set_later(self, frame: int, name: str, node: ast.AST) -> None:
        """Take a name as set to something unknown at any time from now on."""
        self._unstable[self.frames[frame].elsewhere.get(name, frame), name] = unknown(node, "it may be set here, at any time")

    def _touch(self, home: int, name: str, node: ast.AST, *, whole: bool) -> None:
        why = unknown(node, f"a function that may be called at any time uses {name!r}")
        self._touched[home, name] = (why, whole)
        value = self.state.names.get(home, {}).get(name)
        if isinstance(value, Function):
            self.escape(value, node)
        elif value is not None:
            (self.taint if whole else self.taint_inner)(value, why)

    def begin_later(self, since: int) -> None:
        """From here on a function is followed that may have been called at any time since a point of the log."""
        self._later = (since, len(self.frames), self._boxes + 1)

    # Branches

    def join(self, other: State, node: ast.AST, why: str) -> bool:
        """Make the state one that holds whichever of the two really is; say whether that changed it."""
        self.spend(node, 1 + other.size // 16)
        changed, before, old = False, len(self.log), set(self.state.boxes)
        for box, content in other.boxes.items():
            mine = self.state.boxes.get(box)
            if mine is None:
                self.state.boxes[box] = content
            elif mine is not content:
                changed |= self._join_contents(box, mine, content, unknown(node, why))
        for frame, names in other.names.items():
            mine_names = self.state.names.get(frame, {})
            self.spend(node, 0 if mine_names is names else len(names) >> 3)
            for name in {**mine_names, **names} if mine_names is not names else ():
                changed |= self._join_names(frame, name, names.get(name), unknown(node, why))
        # Boxes that the other side made do not count: each round of a loop makes others.
        return changed or any(isinstance(key, int) and key in old for key, _ in self.log[before:])

    def _join_names(self, frame: int, name: str, theirs: Value | None, why: Unknown) -> bool:
        mine = self.state.names.get(frame, {}).get(name)
        for value, other in ((mine, theirs), (theirs, mine)):
            if value is not None and not is_ours(value) and (isinstance(other, Unknown) or is_ours(other)):
                # It can be reached from here on by a name of which that is not known.
                self.taint(value, why)
        if same(mine, theirs) or isinstance(mine, Unknown) or is_ours(mine):
            return False
        kind = self.frames[frame].kind
        # Where it is not set, reading it is an error; but for names that would be found further out, or are there unseen.
        module = kind == "module" and name not in _BUILTIN | _THERE and self._unseen is None
        one_way = (mine is None or theirs is None) and (kind == "function" or module)
        found = (theirs if is_ours(theirs) else mine or theirs) if one_way or is_ours(theirs) else None
        if found is None:
            for value in (mine, theirs):
                if value is not None:
                    self.taint(value, why)
        self.state.put(frame, name, found or why)
        return not same(mine, found or why)

    def _join_contents(self, box: int, mine: Content, theirs: Content, why: Unknown) -> bool:
        if isinstance(mine, Unknown):
            if not isinstance(theirs, Unknown):
                self._taint_all(theirs, why)
            return False
        if not isinstance(theirs, Unknown) and _same_contents(mine, theirs):
            return False
        if isinstance(mine, dict) and isinstance(theirs, dict) and _same_keys(mine, theirs):
            differing = {key: value for key, value in mine.items() if not same(value, theirs[key])}
            for key, value in differing.items():
                self.taint(value, why)
                self.taint(theirs[key], why)
            joined: dict[Hashable, Value] = {**mine, **dict.fromkeys(differing, why)}
            self.state.boxes[box] = Attributes(joined) if isinstance(mine, Attributes) else joined
            return True
        self._taint_all(mine, why)
        self._taint_all(theirs, why)
        self.state.boxes[box] = theirs if isinstance(theirs, Unknown) else why
        return True

    def _taint_all(self, content: Content, why: Unknown) -> None:
        for value in _values(content):
            self.taint(value, why)

    # What may change everything

    def forget(self, node: ast.AST, why: str, *, only: int | None = None, boxes: bool = True) -> None:
        """Take all names (of one frame) as set to something unknown, but for vhpack's own."""
        if self._forgetting:
            return
        self._forgetting = True
        self._unseen = self._unseen or node
        reason = unknown(node, why)
        for frame, names in list(self.state.names.items()):
            for name, value in list(names.items()):
                if (only is None or frame == only) and not is_ours(value):
                    if not isinstance(value, Known):
                        self.taint(value, reason)
                    self._bind(frame, name, reason, node)
        if boxes:
            for box in self.state.boxes:
                self.replace(Ref(box), reason, node)
        self._forgetting = False

    def lose_names(self, node: ast.AST) -> Unknown:
        """Take all names as set to something unknown, now and, those of the module, at any time from now on."""
        lost = unknown(node, "any name may be set by way of it")
        self._anything = self._anything or lost
        self.forget(node, lost.why)
        return lost

    def may_set_anything(self, name: str, node: ast.AST) -> None:
        """Take `exec` and its like as called; what gives the names of a module as a dict may be kept."""
        short = name.rpartition(".")[2]
        if short in ("globals", "locals", "vars", "__import__"):
            self.lose_names(node)
        self.forget(node, f"{short}() may set any name")

    def import_all(self, node: ast.AST) -> None:
        """Take all names, builtins among them, as set by `from ... import *`."""
        self.forget(node, "it may be imported here", only=MODULE, boxes=False)
        self._starred = node


def _values(content: Content) -> list[Value]:
    if isinstance(content, Unknown):
        return []
    return list(content.values()) if isinstance(content, dict) else content


def _same_keys(one: Content, other: Content) -> bool:
    """Say whether elements can be compared one by one: dicts with the same keys in the same order."""
    if not isinstance(one, dict) or not isinstance(other, dict) or type(one) is not type(other):
        return False
    return [*map(_exact, one)] == [*map(_exact, other)]


def _exact(key: Hashable) -> tuple[type, Hashable]:
    return type(key), key


def _same_contents(one: Content, other: Content) -> bool:
    if isinstance(one, dict):
        return _same_keys(one, other) and all(map(same, _values(one), _values(other)))
    return isinstance(other, list) and len(_values(one)) == len(other) and all(map(same, _values(one), other))
