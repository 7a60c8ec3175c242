"""Random programs that end in `prepare()`: of constants alone, and with things that nobody can know."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = "abcde"
DICTS = "PQR"
LISTS = "LMN"
KEYS = "xyz"

texts = st.text("ab -_/:.'é日\\\n{}%", max_size=6)
integers = st.integers(-50, 10**6)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
leaves = st.one_of(integers, floats, texts, st.booleans()).map(repr)


def constants(names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Expressions of constants, and of names that hold any."""
    base = leaves if not names else st.one_of(leaves, st.sampled_from(names))

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        number = st.one_of(integers, floats).map(repr)
        text = texts.map(repr)
        return st.one_of(
            st.tuples(number, st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "==", ">="]), number).map(
                lambda found: f"({' '.join(found)})"
            ),
            st.tuples(text, text).map(lambda found: f"({found[0]} + {found[1]})"),
            st.tuples(text, st.integers(0, 3)).map(lambda found: f"({found[0]} * {found[1]})"),
            inner.map(lambda found: f"str({found})"),
            inner.map(
                lambda found: f"f'{{{_quoted(found)}}}'" if "'" not in found and '"' not in found and "\\" not in found else found
            ),
            st.tuples(inner, inner).map(lambda found: f"({found[0]} if {found[1]} else {found[0]})"),
            st.tuples(inner, inner).map(lambda found: f"({found[0]} or {found[1]})"),
            st.tuples(text, inner).map(lambda found: f"({found[0]} and {found[1]})"),
            inner.map(lambda found: f"(lambda n: n)({found})"),
            inner.map(lambda found: f"[{found}][0]"),
            inner.map(lambda found: f"{{'k': {found}}}['k']"),
            inner.map(lambda found: f"dict(k={found}).get('k', 3)"),
            st.tuples(text, text).map(lambda found: f"os.path.join({found[0]}, {found[1]})"),
            st.tuples(text, text).map(lambda found: f"str(Path({found[0]}) / {found[1]})"),
            st.tuples(text, text, text).map(
                lambda found: f"{found[0]}.replace({found[1] if found[1] != repr('') else repr('a')}, {found[2]})"
            ),
            text.map(lambda found: f"{found}.upper()"),
            st.tuples(inner, st.integers(1, 3)).map(lambda found: f"[(n, {found[0]}) for n in range({found[1]})][-1][1]"),
            st.tuples(text, inner).map(lambda found: f"{{n: {found[1]} for n in {found[0]} + 'k' if n != ':'}}['k']"),
            st.tuples(inner, inner).map(lambda found: f"dict((k, v) for k, v in zip('ab', ({found[0]}, {found[1]})))['b']"),
        )

    return st.recursive(base, larger, max_leaves=5)


def _quoted(expression: str) -> str:
    return f" {expression} "


@st.composite
def constant_sources(draw: st.DrawFn) -> str:
    """Programs whose `prepare()` is made of constants, in whatever ways."""
    lines = [
        "import os",
        "from pathlib import Path",
        draw(st.sampled_from(["import vhpack as v", "import vhpack\nv = vhpack"])),
        "P = {}",
    ]
    names: tuple[str, ...] = ()
    for _ in range(draw(st.integers(0, 8))):
        value = draw(constants(names))
        key = draw(st.sampled_from(KEYS))
        name = draw(st.sampled_from(NAMES))
        lines.append(
            draw(
                st.sampled_from(
                    [
                        f"{name} = {value}",
                        f"{name}: object = {value}",
                        f"({name} := {value})",
                        f"{name}, _ = {value}, 1",
                        f"P[{key!r}] = {value}",
                        f"P.update({key}={value})",
                        f"P.update({{{key!r}: {value}}})",
                        f"P |= {{{key!r}: {value}}}",
                        f"P = {{**P, {key!r}: {value}}}",
                        f"P = P | dict({key}={value})",
                        f"P.setdefault({key!r}, {value})",
                        f"P.pop({key!r}, None)",
                        f"P.setdefault({key!r}, []); P[{key!r}] = [1, 2] + [3]",
                        f"Q = P; Q[{key!r}] = {value}",
                        f"Q = P.copy(); Q[{key!r}] = {value}",
                        f"def f(p, q={value}):\n    p[{key!r}] = q\n    return q\n{name} = f(P)",
                        f"class C:\n    N = {value}\n{name} = C.N",
                        f"if {value}:\n    P[{key!r}] = 1\nelse:\n    P[{key!r}] = 2",
                    ]
                )
            )
        )
        # What begins with a name or a walrus binds it.
        if lines[-1].startswith((f"{name} ", f"{name}:", f"({name}", f"{name},", "def", "class")):
            names = tuple(sorted({*names, name}))
    lines.append(
        draw(
            st.sampled_from(
                [
                    "v.prepare(step='s', default_parameters=P)",
                    "def main():\n    v.prepare(step='s', default_parameters={**P})\nmain()",
                ]
            )
        )
    )
    return "\n".join(lines) + "\n"


_SIMPLE = [
    "{d}[{k!r}] = {n}",
    "{d} = {{{k!r}: {n}}}",
    "{d} = {e}",
    "{d} = {e}.copy()",
    "{d} = {{**{e}, {k!r}: {n}}}",
    "{d}.update({e})",
    "{d}.update({k}={n})",
    "{d}[{k!r}] = {l}",
    "{d}[{k!r}] = maybe()",
    "{d} = {e} if maybe() else {f}",
    "{d} = {e} or {f}",
    "{d} = maybe() and {e} or {f}",
    "{d}, {e} = {e}, {d}",
    "{d} = ({e}, {f})[maybe()]",
    "{d} = [{e}, {f}][0]",
    "{d} = dict({e})",
    "{d} |= {e}",
    "{d}.pop({k!r}, 0)",
    "{d}.clear()",
    "{d}.setdefault({k!r}, {l})",
    "{d} = ident({e})",
    "stash({d})",
    "meddle()",
    "{l}.append({n})",
    "{l} += [{n}]",
    "{l} = {l} + [{n}]",
    "{l} = [{n}]",
    "{l} = {d}.get({k!r}, [])",
    "{l}.extend({l})",
    "H.d = {d}",
    "H.d[{k!r}] = {n}",
    "{d} = H.d",
    "H().d[{k!r}] = {n}",
    "call(lambda: {d}.update({k}={n}))",
    "[{d}.update({k}=i) for i in range(maybe())]",
    "{d} = {{i: 1 for i in 'xyz'[:maybe()]}}",
    "{d} = {{i: {l} for i in 'xyz'}}",
    "{l} = [{l}.pop() for i in {l}]",
    "{l} = [f1({d}) or i for i in {l} if {d}.get({k!r})]",
    "{l} = [{d}.update({k}=i) or {n} for i, j in zip({l}, (1, 2))]",
    "{l} = list(g) + sorted(i for i in range({n}))",
    "f0()",
    "f1({d})",
    "call(f0)",
    "{d} = f2({e})",
    "g = call(f1, {d})",
    "str({d}), len({d})",
    "H.d['k'] = {d}",
    "call(lambda: H.d.update({k}=1))",
    "call(lambda: {d}[{k!r}].append(1))",
    "{d}[{k!r}] = {l}; call(lambda: {d}[{k!r}].clear())",
    "del {d}[{k!r}]",
    "({d} := {e})",
    "K = {{'d': {d}}}; K['d'][{k!r}] = {n}",
    "K = [{d}]; [{e}] = K",
    "for K in ({d}, {e}): K[{k!r}] = {n}",
    "import os as {l}; {l} = []",
    "2 > maybe() > ({d}.update({k}={n}) or 1)",
    "x: {d}.update({k}={n}) = 1",
    "x = sum([], {l}); x.append({n})",
    "K = type('K', (), {{'d': {d}}}); K.d[{k!r}] = {n}",
    "{d}[{k!r}] = 1; {d}[{k!r}] += f1({d}) or 1",
    "{d}, *{l} = [{e}, {n}]",
    "del {d}; {d} = {e}",
    "setattr(H, 'd', {d})",
    "[{d} := {e} for i in range(maybe())]",
    "globals()['{d}'] = {e}",
    "{d} = {{**{e}}} if {e} == {f} else {e}",
    "{d} = (lambda q={e}: q)()",
    "{d} = next(iter([{e}]))",
    "call(lambda: globals().update({d}={{'x': 6}}))",
    "g = (({d} := {e}) for i in (1,))",
    "g = ({d}.update({k}={n}) for i in (1,))",
    "g = (f0() for i in (1,))",
    "tuple(g or ())",
]
_BLOCKS = [
    "if maybe():",
    "if maybe():\n    pass\nelse:",
    "for i in range(maybe()):",
    "for i in (1, 2):",
    "while maybe():",
    "try:",
    "with open(os.devnull):",
    "if True:",
    "if {d}:",
    "if {k!r} in {d}:",
    "match maybe():\n  case 1:",
    "match maybe():\n  case {l} if {d}.update({k}={n}) or maybe():",
    "for i in range(2):\n    if maybe(): break\nelse:",
    "while maybe():\n    if maybe(): break\nelse:",
    "while ({d} := {e}) and maybe():",
    "with quiet():",
    "with quiet():\n    call(1 / maybe())\n    {d}[{k!r}] = {n}\nif True:",
    "try:\n    {d}[{k!r}] = 1 / maybe()\n    {e} = {f}\nexcept ZeroDivisionError:\n    {e}[{k!r}] = {n}\nelse:",
]
_FUNCTIONS = [
    "def f0():",
    "def f1(p=P):",
    "def f2(p):",
    "@call\ndef f0():",
    "@f2\n@f1\ndef f0():",
    "def f0():\n    {d}[{k!r}] = {n}\n    return 1\n@(lambda g: f0() and g)\ndef f1(p):",
    "class H:\n  d = P\n  def m(self):",
    "def gen():",
    "async def co():",
]


@st.composite
def wild_sources(draw: st.DrawFn) -> str:
    """Programs in which much cannot be known; `maybe`, `call`, `stash` and `meddle` do as they like each time."""
    lines = ["import os, valohai", "from wild import maybe, call, stash, meddle, ident, quiet"]
    lines += [f"{name} = {{'x': {number}}}" for number, name in enumerate(DICTS)] + [
        f"{name} = [{number}]" for number, name in enumerate(LISTS)
    ]
    lines += ["class H:", "    d = {'x': 9}", "def f0(): pass", "def f1(p): pass", "def f2(p): return p", "g = ()"]
    lines += _body(draw, 0, draw(st.integers(1, 7)))
    where = draw(st.sampled_from(["top", "main", "top", "lambda"]))
    call = f"valohai.prepare(step='s', default_parameters={draw(st.sampled_from(DICTS))})"
    if where == "top":
        lines.append(call)
    elif where == "main":
        at = draw(st.integers(11, len(lines)))
        while at < len(lines) and lines[at].startswith((" ", "except", "else", "finally", "def", "class", "  ")):
            at += 1
        lines.insert(at, f"def main():\n    {call}")
        lines.append("main()" if draw(st.booleans()) else "call(main)")
    else:
        lines.append(f"(lambda: {call})()")
    lines += _body(draw, 0, draw(st.integers(0, 2)))
    return "\n".join(lines) + "\n"


def _body(draw: st.DrawFn, depth: int, count: int) -> list[str]:
    lines: list[str] = []
    for _ in range(count):
        kind = draw(st.integers(0, 9))
        if kind < 6 or depth > 2:
            lines.append(_filled(draw, draw(st.sampled_from(_SIMPLE))))
            continue
        head = _filled(draw, draw(st.sampled_from(_BLOCKS if kind < 9 or depth else _FUNCTIONS)))
        indent = "    " if not head.startswith(("match", "class")) else "      "
        inner = _body(draw, depth + 1, draw(st.integers(1, 3)))
        if head.startswith(("def", "@", "async", "class")) and draw(st.booleans()):
            declared = draw(st.sampled_from(DICTS))
            if "p" not in declared:
                inner = [f"global {declared}", *inner] if not any(f"{declared}:" in line for line in inner) else inner
        elif head.startswith(("def", "@", "async", "class")):
            # Else names that it sets are its own, and reading them first is an error.
            inner = [f"global {', '.join([*DICTS, *LISTS])}", *inner]
        if head == "def gen():":
            inner.append("yield 1")
        if head.startswith("def") and draw(st.booleans()):
            inner.append(draw(st.sampled_from(["return P", "return {'x': 5}", "if maybe(): return Q"])))
        if head.startswith(("for", "while")) and draw(st.booleans()):
            inner.append(draw(st.sampled_from(["break", "if maybe(): break", "if maybe(): continue"])))
        lines += head.split("\n")
        lines += [indent + line for block in inner for line in block.split("\n")]
        if head == "try:":
            lines.append(draw(st.sampled_from(["except Exception:", "finally:"])))
            lines += ["    " + line for block in _body(draw, depth + 1, 1) for line in block.split("\n")]
    return lines


def _filled(draw: st.DrawFn, text: str) -> str:
    return text.format(
        d=draw(st.sampled_from(DICTS)),
        e=draw(st.sampled_from(DICTS)),
        f=draw(st.sampled_from(DICTS)),
        l=draw(st.sampled_from(LISTS)),
        k=draw(st.sampled_from(KEYS)),
        n=draw(st.integers(0, 3)),
    )
