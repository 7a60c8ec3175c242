"""What statements do, one after another, through branches, loops and functions; and the calls of `prepare` among them."""

from __future__ import annotations

import ast
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from vhpack.yaml.calls import ends
from vhpack.yaml.definitions import Definitions, expression_at
from vhpack.yaml.managers import lets_through
from vhpack.yaml.memory import MODULE, OURS, State, TooMuchError, identity, is_ours
from vhpack.yaml.names import mentioning, stored
from vhpack.yaml.values import MOST_ELEMENTS, Attributes, Const, Items, Known, Ref, Unknown, same, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from vhpack.yaml.values import Value

_MOST_TIMES = 16  # that one function is defined and handed on
_MOST_ROUNDS = 12  # of a loop until nothing changes any more; names go from known to unknown, once
_TRY: Final = tuple(kind for kind in (ast.Try, getattr(ast, "TryStar", None)) if kind is not None)


class Statements(Definitions):
    """Follows statements."""

    def __init__(self) -> None:
        super().__init__()
        self._loops: list[list[tuple[bool, State]]] = []
        """For each loop that runs, the states in its middle in which it is left (true) or begun again."""
        self._kinds_of_statement: dict[type[ast.stmt], Callable[[int, ast.stmt], bool]] = {
            ast.Expr: self._expression,
            ast.Assign: self._assign,
            ast.AnnAssign: self._assign_annotated,
            ast.AugAssign: self._assign_augmented,
            ast.Delete: self._delete,
            ast.Import: self.import_modules,
            ast.ImportFrom: self.import_names,
            ast.FunctionDef: self.define,
            ast.AsyncFunctionDef: self.define,
            ast.ClassDef: self.define_class,
            ast.Assert: self._assert,
            ast.Return: self._return,
            ast.Raise: self._raise,
            ast.Break: self._leave,
            ast.Continue: self._leave,
            ast.If: self._if,
            ast.For: self._for,
            ast.AsyncFor: self._for,
            ast.While: self._while,
            ast.With: self._with,
            ast.AsyncWith: self._with,
            ast.Match: self._match,
            **dict.fromkeys(_TRY, self._try),
        }

    def run(self, frame: int, body: list[ast.stmt]) -> bool:
        """Follow statements; say whether their end is reached."""
        for node in body:
            self.spend(node)
            if not self._kinds_of_statement.get(type(node), self._other)(frame, node):
                return False
        return True

    def _other(self, frame: int, node: ast.stmt) -> bool:
        """Follow a statement that only evaluates, or of a later Python: what it sets is unknown."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(frame, child)
        for name in stored(node):
            self.bind(frame, name, unknown(node), node)
        return True

    # Simple statements

    def _expression(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Expr)  # noqa: S101
        self.evaluate(frame, node.value)
        called = self._called(frame, node.value)
        return called is None or not ends(called)

    def _assert(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Assert)  # noqa: S101
        truth = self.truth(self.evaluate(frame, node.test))
        if node.msg is not None and truth is not True:
            self.maybe(frame, node.msg)
        return True

    def _called(self, frame: int, node: ast.expr) -> Value | None:
        """Return what an expression calls, if looking at it again has no effects: a name, or names with dots."""
        called = found = node.func if isinstance(node, ast.Call) else None
        while isinstance(found, ast.Attribute):
            found = found.value
        return self.evaluate(frame, called) if isinstance(found, ast.Name) and called is not None else None

    def _assign(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Assign)  # noqa: S101
        value = self.evaluate(frame, node.value)
        for target in node.targets:
            self.assign(frame, target, value)
        return True

    def _assign_annotated(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.AnnAssign)  # noqa: S101
        if node.value is not None:
            self.assign(frame, node.target, self.evaluate(frame, node.value))
        self.annotation(frame, node.annotation)
        return True

    def _assign_augmented(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.AugAssign)  # noqa: S101
        if any(isinstance(inner, ast.Call | ast.NamedExpr | ast.Await) for inner in ast.walk(node.target)):
            # What the target does would be done twice.
            for inner in ast.iter_child_nodes(node.target):
                if isinstance(inner, ast.expr):
                    self.hidden(self.evaluate(frame, inner), node)
            self.hidden(self.evaluate(frame, node.value), node)
            return True
        read = ast.copy_location(_as_read(node.target), node.target)
        before, places = self.evaluate(frame, read), self._places(frame, node.target)
        added = self.evaluate(frame, node.value)
        if not all(map(same, places, self._places(frame, node.target))):
            # Python changes what stood there before; the target means something else by now.
            for value in (*places, *self._places(frame, node.target), before, added):
                self.hidden(value, node)
            return True
        content = self.content(before) if isinstance(before, Ref) else None
        if content is None or isinstance(content, Unknown | Attributes):
            self.assign(frame, node.target, self.operate(expression_at(node), node.op, before, added))
            return True
        assert isinstance(before, Ref)  # noqa: S101
        self._change_in_place(before, node, added)
        self.assign(frame, node.target, before)
        return True

    def _places(self, frame: int, target: ast.expr) -> list[Value]:
        """Return what the parts of a target are, which no call is in."""
        parts = [target.value, target.slice] if isinstance(target, ast.Subscript) else []
        parts = [target.value] if isinstance(target, ast.Attribute) else parts
        return [self.evaluate(frame, part) for part in parts if not isinstance(part, ast.Slice)]

    def _change_in_place(self, ref: Ref, node: ast.AugAssign, added: Value) -> None:
        """Do `|=` of a dict and `+=` of a list, which all names of it see."""
        content, more = self.content(ref), self.content(added) if isinstance(added, Ref) else None
        items = self.elements(added)
        if isinstance(content, dict) and isinstance(more, dict) and isinstance(node.op, ast.BitOr):
            self.replace(ref, {**content, **more}, node)
        elif isinstance(content, list) and items is not None and isinstance(node.op, ast.Add):
            self.replace(ref, [*content, *items], node)
        else:
            lost = unknown(node)
            self.taint(added, lost)
            self.taint(ref, lost)
        now = self.content(ref)
        if not isinstance(now, Unknown) and len(now) > MOST_ELEMENTS:
            self.taint(ref, unknown(node, "it would have too many elements"))

    def assign(self, frame: int, target: ast.expr, value: Value) -> None:
        """Set a name, several names, an attribute or an element."""
        if isinstance(target, ast.Name):
            self.bind(frame, target.id, value, target)
        elif isinstance(target, ast.Tuple | ast.List):
            self._assign_several(frame, target.elts, value, target)
        elif isinstance(target, ast.Starred):
            self.assign(frame, target.value, self.hidden(value, target))
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(self.evaluate(frame, target.value), target, value)
        elif isinstance(target, ast.Subscript):
            owner = self.evaluate(frame, target.value)
            self._assign_element(frame, owner, target, value)

    def _assign_several(self, frame: int, targets: Sequence[ast.expr], value: Value, node: ast.expr) -> None:
        items = self.elements(value)
        if isinstance(value, Const) and isinstance(value.value, str):
            items = [Const(letter, value.assumed) for letter in value.value[: len(targets) + 1]]
        plain = not any(isinstance(target, ast.Starred) for target in targets)
        if items is None or len(items) != len(targets) or not plain:
            lost = self.hidden(value, node)
            items = [lost] * len(targets)
        for target, item in zip(targets, items, strict=True):
            self.assign(frame, target, item)

    def _assign_attribute(self, owner: Value, target: ast.Attribute, value: Value) -> None:
        content = self.content(owner) if isinstance(owner, Ref) else None
        if isinstance(owner, Ref) and isinstance(content, Attributes):
            self.replace(owner, Attributes({**content, target.attr: value}), target)
            return
        self.note_attribute(owner, target.attr, target)
        if isinstance(owner, Known):
            self.replace_known(owner, target.attr, target)
        lost = self.hidden(value, target)
        self.taint(owner, lost)

    def _assign_element(self, frame: int, owner: Value, target: ast.Subscript, value: Value) -> None:
        where = self._key_of(frame, target)
        content = self.content(owner) if isinstance(owner, Ref) else None
        if isinstance(owner, Ref) and not isinstance(where, Unknown):
            if isinstance(content, dict) and not isinstance(content, Attributes) and len(content) < MOST_ELEMENTS:
                self.replace(owner, {**content, where: value}, target)
                return
            if isinstance(content, list) and isinstance(where, int) and -len(content) <= where < len(content):
                changed = list(content)
                changed[where] = value
                self.replace(owner, changed, target)
                return
        lost = self.hidden(value, target)
        self.taint(owner, where if isinstance(where, Unknown) else lost)

    def _key_of(self, frame: int, target: ast.Subscript) -> Hashable | Unknown:
        """Evaluate what stands in brackets, which may change what stands before them."""
        key = self.evaluate(frame, target.slice)
        return unknown(target) if isinstance(target.slice, ast.Slice) else self.key(key, target)

    def _delete(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Delete)  # noqa: S101
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.unbind(frame, target.id, node)
            elif isinstance(target, ast.Subscript):
                self._delete_element(frame, target)
            elif isinstance(target, ast.Attribute):
                owner = self.evaluate(frame, target.value)
                self.note_attribute(owner, target.attr, target)
                self.hidden(owner, target)
        return True

    def _delete_element(self, frame: int, target: ast.Subscript) -> None:
        owner = self.evaluate(frame, target.value)
        where = self._key_of(frame, target)
        content = self.content(owner) if isinstance(owner, Ref) else None
        if isinstance(owner, Ref) and isinstance(content, dict) and not isinstance(where, Unknown) and where in content:
            left: dict[Hashable, Value] = {key: value for key, value in content.items() if key != where}
            self.replace(owner, left, target)
        else:
            self.hidden(owner, target)

    # Ends

    def _return(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Return)  # noqa: S101
        value: Value = Const(None) if node.value is None else self.evaluate(frame, node.value)
        if self.running:
            self.running[-1].ends.append((self.copied(node), value))
        return False

    def _raise(self, frame: int, node: ast.stmt) -> bool:
        self._other(frame, node)
        return False

    def _leave(self, _: int, node: ast.stmt) -> bool:
        if self._loops:
            self._loops[-1].append((isinstance(node, ast.Break), self.copied(node)))
        return False

    # Branches

    def _if(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.If)  # noqa: S101
        test = self.evaluate(frame, node.test)
        truth = None if isinstance(test, Const) and test.assumed else self.truth(test)
        if truth is not None:
            return self.run(frame, node.body if truth else node.orelse)
        self.taint_inner(test, unknown(node.test))
        return self.branches(frame, node, [node.body, node.orelse])

    def branches(self, frame: int, node: ast.AST, bodies: Sequence[list[ast.stmt]]) -> bool:
        """Follow several bodies, of which one runs."""
        before = self.copied(node)
        after: list[State] = []
        for body in bodies:
            self.state = before.copy()
            self.spend(node, 1 + before.size // 16)
            if self.run(frame, body):
                after.append(self.state)
        return self._merge(after, before, node)

    def _merge(self, states: list[State], otherwise: State, node: ast.AST) -> bool:
        """Go on with whichever state it is."""
        self.state = states[0] if states else otherwise
        for state in states[1:]:
            self.join(state, node, f"it depends on this {_word(node)!r}")
        return bool(states)

    def _match(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.Match)  # noqa: S101
        self.hidden(self.evaluate(frame, node.subject), node.subject)
        otherwise = self.copied(node)
        after: list[State] = []
        for case in node.cases:
            self.state = otherwise.copy()
            self.spend(node, 1 + otherwise.size // 16 + sum(1 for _ in ast.walk(case.pattern)) // 8)
            for name in stored(case.pattern):
                self.bind(frame, name, unknown(node.subject), node)
            if case.guard is not None:
                # What the pattern has set and the guard has done stays where the guard says no.
                self.evaluate(frame, case.guard)
            guarded = self.copied(node) if case.guard is not None else None
            if self.run(frame, case.body):
                after.append(self.state)
            if guarded is not None:
                self.state = otherwise
                self.join(guarded, node, "it depends on this 'match'")
                otherwise = self.state
        return self._merge([otherwise, *after], otherwise, node)

    def _with(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.With | ast.AsyncWith)  # noqa: S101
        unsure = False
        for item in node.items:
            value = self.evaluate(frame, item.context_expr)
            called = self._called(frame, item.context_expr)
            unsure |= not isinstance(called, Known) or not lets_through(called.name)
            if item.optional_vars is not None:
                self.assign(frame, item.optional_vars, self.hidden(value, item.context_expr))
        if not unsure:
            return self.run(frame, node.body)
        interrupted, through = self._interrupted(frame, node, node.body)
        return self._merge([*([self.state] if through else []), interrupted], interrupted, node)

    def _interrupted(self, frame: int, node: ast.AST, body: list[ast.stmt]) -> tuple[State, bool]:
        """Follow a body; also return the state in which anything in it may have failed."""
        before, since = self.copied(node), len(self.log)
        through = self.run(frame, body)
        return self._anywhere(before, since, node), through

    def _anywhere(self, before: State, since: int, node: ast.AST) -> State:
        """Return the state at any moment since a point of the log; the one at its end stays the state."""
        after = self.state
        why = unknown(node, "it depends on where this fails")
        self.state = before
        for key, _ in self.log[since:]:
            if isinstance(key, int):
                self.taint(Ref(key), why)
            elif key[0] in before.names:
                self._maybe_set(key, after, why)
        interrupted, self.state = self.state, after
        return interrupted

    def _maybe_set(self, key: tuple[int, str], after: State, why: Unknown) -> None:
        frame, name = key
        mine, theirs = self.state.names[frame].get(name), after.names.get(frame, {}).get(name)
        if is_ours(mine) or is_ours(theirs):
            for value in (mine, theirs):
                if value is not None and not is_ours(value):
                    self.taint(value, why)
            self.state.put(frame, name, mine if mine is not None and is_ours(mine) else theirs or why)
            return
        for value in (mine, theirs):
            if value is not None:
                self.taint(value, why)
        self.state.put(frame, name, why)

    def _try(self, frame: int, node: ast.stmt) -> bool:
        parts: ast.Try = node  # type: ignore[assignment]
        ends_before = len(self.running[-1].ends) if self.running else 0
        leaves_before = len(self._loops[-1]) if self._loops else 0
        before, since = self.copied(node), len(self.log)
        reached = self._try_body(frame, node, parts)
        after = self.state
        if any(isinstance(inner, ast.Call) for child in parts.finalbody for inner in ast.walk(child)):
            # What fails goes through `finally` and no further; only the calls that it makes there matter.
            self._passed(frame, self._anywhere(before, since, node), parts)
        # What leaves by `return`, `break` or `continue` goes through `finally`, too.
        if parts.finalbody and self.running:
            ends = self.running[-1].ends
            ends[ends_before:] = [(self._passed(frame, state, parts), value) for state, value in ends[ends_before:]]
        if parts.finalbody and self._loops:
            leaves = self._loops[-1]
            leaves[leaves_before:] = [(ends, self._passed(frame, state, parts)) for ends, state in leaves[leaves_before:]]
        self.state = after
        if any(isinstance(inner, ast.Return | ast.Break | ast.Continue) for end in parts.finalbody for inner in ast.walk(end)):
            # What fails may end there, what the body had not done yet left undone.
            self.join(self._anywhere(before, since, node), node, "it depends on where this fails")
        return self.run(frame, parts.finalbody) and reached

    def _passed(self, frame: int, state: State, parts: ast.Try) -> State:
        self.state = state
        self.run(frame, parts.finalbody)
        return self.state

    def _try_body(self, frame: int, node: ast.stmt, parts: ast.Try) -> bool:
        interrupted, through = self._interrupted(frame, node, parts.body)
        after = [self.state] if through and self.run(frame, parts.orelse) else []
        for handler in parts.handlers:
            self.state = interrupted.copy()
            self.spend(node, 1 + interrupted.size // 16)
            if handler.type is not None:
                self.evaluate(frame, handler.type)
            if handler.name:
                self.bind(frame, handler.name, unknown(handler), handler)
            if self.run(frame, handler.body):
                after.append(self.state)
        return self._merge(after, interrupted, node)

    # Loops

    def _for(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.For | ast.AsyncFor)  # noqa: S101
        each = self._hidden_elements(self.evaluate(frame, node.iter), node.iter)

        def once() -> bool:
            self.assign(frame, node.target, each)
            return self.run(frame, node.body)

        return self._after_loop(frame, node, self.repeated(node, once))

    def _after_loop(self, frame: int, node: ast.For | ast.AsyncFor | ast.While, left: list[State], *, ends: bool = True) -> bool:
        """Go on behind a loop: through `else` where it ended by itself, past it where it was left."""
        after = [self.state] if ends and self.run(frame, node.orelse) else []
        return self._merge([*after, *left], self.state, node)

    def _hidden_elements(self, value: Value, node: ast.expr) -> Unknown:
        lost = unknown(node, "it differs from round to round")
        self.taint_inner(value, lost)
        if isinstance(value, Items | Ref | Const):
            return lost
        self.taint(value, lost)
        return value if isinstance(value, Unknown) else lost

    def _while(self, frame: int, node: ast.stmt) -> bool:
        assert isinstance(node, ast.While)  # noqa: S101

        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)

        def once() -> bool:
            self.evaluate(frame, node.test)
            if not endless:
                self._loops[-1].append((False, self.copied(node)))  # what the test does is done also where the loop ends by it
            return self.run(frame, node.body)

        return self._after_loop(frame, node, self.repeated(node, once), ends=not endless)

    def repeated(self, node: ast.AST, once: Callable[[], bool]) -> list[State]:
        """Do something again and again until a further round changes nothing; what the rounds differ in is unknown.

        Return the states in which it was left from its middle.
        """
        for _ in range(_MOST_ROUNDS):
            mark = self.mark()
            changed, left = self._round(node, once)
            if not changed:
                return left
            self.back_to(mark)
        self.forget(node, "this loop changes too much to be followed")
        left = self._round(node, once)[1]
        for state in left:
            self.join(state, node, f"it depends on this {_word(node)!r}")
        self.forget(node, "this loop changes too much to be followed")
        return []

    def _round(self, node: ast.AST, once: Callable[[], bool]) -> tuple[bool, list[State]]:
        before = self.copied(node)
        self._loops.append([])
        reached = once()
        leaves = self._loops.pop()
        self.state, after = before, self.state
        again = [*(state for left, state in leaves if not left), *([after] if reached else [])]
        changed = [self.join(state, node, f"it depends on this {_word(node)!r}") for state in again]
        return any(changed), [state for left, state in leaves if left]

    @abstractmethod
    def mark(self) -> int:
        """Return how many calls of `prepare` are noted."""

    @abstractmethod
    def back_to(self, mark: int) -> None:
        """Forget the calls of `prepare` that were noted since, in a round that was not the last."""

    # Functions that nothing in the file calls

    def finish(self, body: list[ast.stmt]) -> None:
        """Follow the functions that were not followed where they are called: someone else may call them.

        Only those that may come upon `prepare()`; what the others do cannot matter any more.
        """
        end = len(self.log)
        concerned = mentioning(body, frozenset((*OURS, "prepare")))
        final = self.state
        waiting = self.definitions
        for function in waiting:
            if id(function.node) not in self.followed and identity(function) not in self.escaped:
                self.touch(function)
        done: dict[int, set[int]] = {}
        for function in waiting:  # which grows by the functions in them
            number, frame = identity(function)
            known = number in self.followed and (number, frame) not in self.escaped
            frames = done.setdefault(number, set())
            if known or frame in frames or number not in concerned:
                continue
            if len(frames) >= _MOST_TIMES:
                raise TooMuchError(function.node)
            frames.add(frame)
            self.state = final.copy()
            self.spend(function.node, 1 + final.size // 16)
            self.begin_later(self.escaped.get((number, frame), end))
            before = number in self.followed
            self.enter(function, None, function.node)
            if not before:
                self.followed.discard(number)  # another of it, from another call of the function around it, was not

    def follow(self, body: list[ast.stmt]) -> None:
        """Follow a file from its first line to its last, then what it defines and does not use."""
        self.look_ahead(body)
        self.run(MODULE, body)
        self.finish(body)


def _as_read(target: ast.expr) -> ast.expr:
    if isinstance(target, ast.Name):
        return ast.copy_location(ast.Name(target.id, ast.Load()), target)
    if isinstance(target, ast.Attribute):
        return ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target)
    assert isinstance(target, ast.Subscript)  # noqa: S101
    return ast.copy_location(ast.Subscript(target.value, target.slice, ast.Load()), target)


def _word(node: ast.AST) -> str:
    words = {"comp": "for", "GeneratorExp": "for", "AsyncFor": "for", "TryStar": "try", "IfExp": "if"}
    name = type(node).__name__
    return next((word for ending, word in words.items() if name.endswith(ending)), name.lower())
