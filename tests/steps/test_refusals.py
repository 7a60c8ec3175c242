"""What cannot be known is refused, with its place; a stale value is never told."""

from __future__ import annotations

import pytest

from tests.steps.test_constants import call, reading
from vhpack.yaml.reading import read


def said(source: str) -> list[str]:
    return [str(problem) for problem in reading(source).problems]


def test_all_problems_are_told_at_once_with_place_line_and_caret() -> None:
    source = (
        "import valohai\n"
        "from rates import get_lr; my_domain = input()\n"
        "valohai.prepare(\n"
        "    step='train',\n"
        "    default_parameters={'lr': get_lr(), 'n': 3},\n"
        "    default_inputs={\n"
        "        'training-set': f'http://{my_domain}/x.zip',\n"
        "    },\n"
        ")\n"
    )
    assert [problem.text() for problem in reading(source).problems] == [
        (
            "train.py:5:31: default_parameters[\"lr\"]: cannot tell 'get_lr()' without running the file\n"
            "        default_parameters={'lr': get_lr(), 'n': 3},\n"
            "                                  ^~~~~~~~"
        ),
        (
            "train.py:7:35: default_inputs[\"training-set\"]: cannot tell 'my_domain' without running the file\n"
            "            'training-set': f'http://{my_domain}/x.zip',\n"
            "                                      ^~~~~~~~~\n"
            "    line 2: input()"
        ),
    ]


UNKNOWN = [
    "P = get()",
    "P = {'a': 1}\nP.update(get())",
    "P = {'a': 1}\nP[get()] = 1",
    "P = {'a': 1}\nchange(P)",
    "P = {'a': 1}\nchange([P])",
    "P = {'a': 1}\nchange(x=P)",
    "P = {'a': 1}\nQ = P\nchange(Q)",
    "P = {'a': 1}\nQ = [P]\nchange(Q)",
    "P = {'a': 1}\nobject.p = P",
    "P = {'a': 1}\nif input():\n    P = {'a': 2}",
    "P = {'a': 1}\nif input():\n    P['b'] = 2",
    "if input():\n    P = {'a': 1}\nelse:\n    P = {'a': 2}",
    "P = {'a': 1}\nfor i in range(3):\n    P['b'] = i",
    "P = {'a': 1}\nfor i in range(3):\n    P[str(i)] = 1",
    "P = {'a': 1}\nwhile input():\n    P['b'] = 1",
    "P = {'a': 1}\ntry:\n    P['b'] = get()\n    P['c'] = 1\nexcept KeyError:\n    pass",
    "P = {'a': 1}\nfrom contextlib import suppress\nwith suppress(KeyError):\n    get()\n    P['b'] = 1",
    "P = {'a': 1}\nmatch input():\n    case 'x':\n        P['b'] = 1",
    "P = {'a': 1}\nexec('P = {}')",
    "P = {'a': 1}\nglobals()['P'] = {}",
    "P = {'a': 1}\nfrom somewhere import *",
    "from somewhere import P",
    "import somewhere\nP = somewhere.P",
    "P = {'a': 1}\n[P.update(b=i) for i in get()]",
    "P = {'a': 1}\ndef f():\n    P['b'] = 1\nregister(f)\nrun()",
    "P = {'a': 1}\n@register\ndef f():\n    P['b'] = 1\nrun()",
    "@register\ndef f():\n    P['b'] = 1\nP = {'a': 1}\nrun()",
    "@register\ndef f():\n    global P\n    P = {}\nP = {'a': 1}\nrun()",
    "P = {'a': 1}\nclass A:\n    def f(self):\n        P['b'] = 1\nA().f()",
    "P = {'a': 1}\nrun(lambda: P.update(b=1))",
    "P = {'a': 1}\ndef f():\n    Q = P\n    Q['b'] = 1\nrun(f)",
    "P = {'a': 1}\ndef g():\n    P['b'] = 1\ndef f():\n    g()\nrun(f)",
    "P = {'a': 1}\nx = P if input() else {}\nx['b'] = 1",
    "P = {'a': 1}\nx = P\nfor _ in range(2):\n    x['b'] = 1\n    x = {}",
    "A = {}\nP = {'a': 1}\nx = A\nfor _ in range(2):\n    x['b'] = 1\n    x = P",
    "P = {'a': 1}\nx = input() and P\nx['b'] = 1",
    "if input():\n    P = {'a': 1}\n    Q = P\nelse:\n    P = {'a': 1}\n    Q = P\nQ['b'] = 2",
    "class C:\n    P = {'a': 1}\nchange(C)\nP = C.P",
    "class C(Base):\n    P = {'a': 1}\nP = C.P",
    "class C:\n    P = {'a': 1}\n    def f(self):\n        self.P['b'] = 1\nC().f()\nP = C.P",
    "class C:\n    P = {'a': 1}\n    @classmethod\n    def f(cls):\n        cls.P = {}\nC.f()\nP = C.P",
    "class C:\n    P = {'a': 1}\n@classmethod\ndef f(c): ...\nf(C)\nP = C.P",
    "P = {'a': 1}\ndef f():\n    try:\n        return 1\n    finally:\n        P['b'] = get()\nf()",
    "import __main__\nP = {'a': 1}\nimport __main__\n",
    "P = {'a': 1}\nimport sys\nsetattr(sys.modules['__main__'], 'P', {})",
    "call(lambda: R.update(x=0))\nP = {'a': 1}\nR = P\nrun()",
    "class H: pass\ncall(lambda: H.d.update(x=0))\nP = {'a': 1}\nH.d = P\nrun()",
    "K = {}\ncall(lambda: K['d'].update(x=0))\nP = {'a': 1}\nK['d'] = P\nrun()",
    "K = []\nk = iter(K)\nP = {'a': 1}\nK.append(P)\nnext(k)['a'] = 2",
    "P = {'a': 1}\nR = get()\nif input():\n    R = P\nR['b'] = 2",
    "P = {'a': 1}\nR = P\nif input():\n    R = get()\nR['b'] = 2",
    "P = {'a': 1}\nK = {'r': get()}\nif input():\n    K['r'] = P\nK['r']['b'] = 2",
    "P = {'a': 1}\nK = [get()]\nif input():\n    K[0] = P\nK[0]['b'] = 2",
    "P = {'a': 1}\nK = [P]\nif input():\n    K[0] = get()\nK[0]['b'] = 2",
    "P = {'a': 1}\nR = valohai\nif input():\n    R = P\nR['b'] = 2",
    "P = {'a': 1}\nR = P\nif input():\n    R = valohai\nR['b'] = 2",
    "import somewhere\nP = {'a': 1}\ndef f():\n    P['b'] = 2\nexec('pass')\nP = {'a': 1}\ncall(f)",
    "P = {k: 1 for k in get()}",
    "P = {'a': {1, 2}}\nP['a'].add(3)\nP = {'a': P['a']}",
    "P = {'a': 1}\ndel P",
    "P = vars(args)",
    "P = {'a': x}\nx = 1",
    "P = {'a': str({'b': 1}.items())}",
    "P = {'a': os.environ['A']}",
    "import os\nP = {'a': os.environ.get('A')}",
    "import os\nP = {'a': 1}\nif os.environ.get('A', ''):\n    P['a'] = 2",
    "def f(n):\n    if n: return {'a': 1}\n    return {'a': 2}\nP = f(input())",
    "def f(n): return f(n - 1) if n else {'a': 1}\nP = f(3)",
    "P = {'a': 'x' * 10**9}",
    "P = {'a': 9**9**9}",
    "P = {'a': 1 << 10**12}",
    "P = {'a': '%1000000000d' % 1}",
    "P = {'a': f'{1:1000000000}'}",
    "P = {'a': '{:1000000000}'.format(1)}",
    "P = {'a': '{0.__class__}'.format(1)}",
    "P = {'a': [1] * 10**9}",
    "P = {'a': round(1, -10**10)}",
    "P = {'a': 1 / 0}",
    "P = {'a': 'x' + 1}",
    "P = {'a': [1][5]}",
    "x = 'x' * 1000\n" + "x = x + x\n" * 60 + "P = {'a': x}",
    "x = [1]\n" + "x = x + x\n" * 60 + "P = {'a': x}",
    "x = 3\n" + "x = x * x\n" * 60 + "P = {'a': x}",
    "x = (1,)\n" + "x = (x, x)\n" * 60 + "P = {'a': x}",
    "x = [1]\n" + "x = [x, x]\n" * 60 + "P = {'a': x}",
    "P = {}\nP['a'] = P",
    "P = {'a': 1}\nx = 2 > 3 > (P.update(a=2) or 1)",
    "P = {'a': 1}\nfor i in range(3):\n    if get(): break\nelse:\n    P['b'] = 2",
    "P = {'a': 1}\nwhile get():\n    if get(): break\nelse:\n    P['b'] = 2",
    "P = 1\nwhile (P := get()):\n    raise SystemExit\nP = {'a': P}",
    "P = 1\nmatch get():\n    case P if P > 5:\n        raise SystemExit\nP = {'a': P}",
    "P = {'a': 1}\nmatch get():\n    case 5 if P.update(a=2):\n        raise SystemExit",
    "P = {'a': 1}\nfrom here import quiet\nwith quiet():\n    risky()\n    P['b'] = 2",
    "P = {'a': 1}\nclass Q:\n    def __exit__(self, *a): return True\nwith Q():\n    risky()\n    P['b'] = 2",
    "P = {'a': 1}\nx: P.update(a=2) = 3",
    "P = {'a': 1}\ndef f(x: P.update(a=2)): pass",
    "P = {'a': 1}\ndef f() -> P.update(a=2): pass",
    "L = [1]\nx = sum([], L)\nx.append(2)\nP = {'a': L}",
    "P = {'a': 1}\nC = type('C', (), {'p': P})\nC.p['a'] = 2",
    "P = {'a': [1]}\nimport copy\nq = copy.copy(x=P)\nq['a'].append(2)",
    "P = {'a': 1}\ndef print(p): p['a'] = 2\ndef f():\n    print(P)\nrun(f)",
    "P = {'a': 1}\n__builtins__.exec('P = {}')",
    "P = {'a': 1}\ndef f(): pass\nf.__globals__['P'] = {}",
    "P = {'a': 1}\ndef f(): pass\ngetattr(f, '__globals__')['P'] = {}",
    "P = {'a': 1}\nimport sys\nsys._getframe().f_globals['P'] = {}",
    "P = {'a': 1}\nimport importlib\nimportlib.import_module('__main__').P = {}",
    "@register\ndef f():\n    globals()['P'] = {}\nP = {'a': 1}\nrun()",
    "import os\nos.environ['A'] = 'z'\nP = {'a': os.environ.get('A', 'b')}",
    "import os\nos.environ.setdefault('A', 'z')\nP = {'a': os.environ.get('A', 'b')}",
    "import os\nos.environ.update(get())\nP = {'a': os.environ.get('A', 'b')}",
    "import math\nmath.pi = 3\nP = {'a': math.pi}",
    "import os\nsetattr(os.path, 'join', get)\nP = {'a': os.path.join('a', 'b')}",
    "import builtins\nbuiltins.int = get\nP = {'a': int('1')}",
    "outputs = 5\nfrom valohai import *\nP = {'a': outputs}",
    "Text = '5'\nfrom typing import *\nP = {'a': Text}",
    "P = {'a': 1}\ndef f():\n    global P\n    P = {'a': 5}\n    return 1\nP['a'] += f()",
    "P = {'a': 1}\n@(lambda g: P.update(a=2) or g)\ndef f(): pass",
    "P = {'a': 1}\ndef register(f):\n    P['b'] = 1\n    return f\n@register\nclass C: pass",
    "P = {'a': 1}\ndef f(k):\n    P['a'] = 9\n    return k\nsorted([1, 2], key=f)",
    "P = {'a': 1}\ndef f():\n    P['a'] = 9\nfor _ in iter(f, None): pass",
    "P = {'a': 1}\nimport json\njson.dumps({'a': object()}, default=lambda o: P.update(a=9))",
    "P = {'a': 1}\nsorted([1], key=P.pop)",
    "Q = {'a': [1]}\nfor k in [Q.values()]:\n    for z in k: z.append(2)\nP = Q",
    "Q = {'a': [1]}\nkeep(Q.values())\nP = Q",
    "import os\ne = os.environ\ne['A'] = 'z'\nP = {'a': os.environ.get('A', 'b')}",
    "from os import environ as e\nimport os\ne['A'] = 'z'\nP = {'a': os.environ.get('A', 'b')}",
    "import os\nos.environ.__setitem__('A', 'z')\nP = {'a': os.environ.get('A', 'b')}",
    "import os\ndef s(e): e['A'] = 'z'\ns(os.environ)\nP = {'a': os.environ.get('A', 'b')}",
    "import os\ngetattr(os, 'environ')['A'] = 'z'\nP = {'a': os.getenv('A', 'b')}",
    "import os\nu = os.environ.update\nu(A='z')\nP = {'a': os.getenv('A', 'b')}",
    "import os\nos.environ |= {'A': 'z'}\nP = {'a': os.getenv('A', 'b')}",
    "x = 1\nimport __main__\nx = 1\n__main__.x = 2\nP = {'a': x}",
    "from sys import modules\nx = 1\nmodules[__name__].x = 2\nP = {'a': x}",
    "import sys\nm = sys.modules\nx = 1\nsetattr(m[__name__], 'x', 2)\nP = {'a': x}",
    "g = globals()\nx = 1\ng['x'] = 2\nP = {'a': x}",
    "class A:\n    def f(self):\n        from __main__ import __dict__ as d\n        d['x'] = 2\nx = 1\nA().f()\nP = {'a': x}",
    "class D:\n    def __set_name__(self, owner, n): owner.y = 5\nclass C:\n    y = 1\n    d = D()\nP = {'a': C.y}",
    "x = 1\ndef f():\n    global x\n    try:\n        get()\n        x = 2\n    finally:\n        return\nf()\nP = {'a': x}",
    "x = 1\nwhile True:\n    try:\n        get()\n        x = 2\n    finally:\n        break\nP = {'a': x}",
    "def f(a=1): return a\nf.__defaults__ = (2,)\nP = {'a': f()}",
    "def f(*, a=1): return a\nf.__kwdefaults__['a'] = 4\nP = {'a': f()}",
    "def f(): return 1\ndef g(): return 2\nsetattr(f, '__code__', g.__code__)\nP = {'a': f()}",
    "def f(): return 1\nsetattr(f, get(), get())\nP = {'a': f()}",
    "def o():\n    x = 1\n    def f(): return x\n    return f\nf = o()\nf.__closure__[0].cell_contents = 5\nP = {'a': f()}",
    "def f(a=1): return a\nfor g in [f]: g.__defaults__ = (2,)\nP = {'a': f()}",
    "import math\nfor m in [math]: m.pi = 3\nP = {'a': math.pi}",
    "import math\nmath.__dict__.update(pi=3)\nP = {'a': math.pi}",
    "import math\nmath.__setattr__('pi', 3)\nP = {'a': math.pi}",
    "import math\nclass A:\n    def f(self): math.__dict__['pi'] = 3\nA().f()\nP = {'a': math.pi}",
    "import os\nvars(os.path)['join'] = get\nP = {'a': os.path.join('a', 'b')}",
    "import os, posixpath\nposixpath.join = get\nP = {'a': os.path.join('a', 'b')}",
    "from pathlib import Path\nPath.name = 5\nP = {'a': Path('a').name, 'b': str(Path('a'))}",
    "x = 1\nlist(map(exec, ['x = 4']))\nP = {'a': x}",
    "import functools\nx = 1\nfunctools.partial(exec, 'x = 4')()\nP = {'a': x}",
    "L = [1]\ndef f():\n    L.append(2)\n    return get()\nL[f():] = [5]\nP = {'a': L}",
    "Q = {'a': [1]}\nfor k in Q: Q[k].append(2)\nP = Q",
    "Q = [[1]]\n[Q[int(i)].append(2) for i in get()]\nP = {'a': Q[0]}",
    "x = 1\ndef f():\n    global x\n    x = 2\ng = (f() for _ in [1])\nx = 5\nlist(g)\nP = {'a': x}",
    "x = 1\ng = ((x := i) for i in [1])\nx = 5\nlist(g)\nP = {'a': x}",
    "def o():\n    x = 1\n    g = ((x := i) for i in [1])\n    x = 5\n    list(g)\n    return x\nP = {'a': o()}",
    "x = 1\ng = ([(x := i) for i in [j]] for j in [1])\nx = 5\nlist(g)\nP = {'a': x}",
    "P = {'a': 1}\ng = (P.update(a=i) for i in [2])\nP['a'] = 5\nlist(g)",
    "import os\nx = 1\nos.sys.modules[__name__].x = 2\nP = {'a': x}",
    "import builtins\nx = 1\nvars(builtins)['exec']('x = 2')\nP = {'a': x}",
    "from lib import *\nif input():\n    x = 1\nP = {'a': x}",
    "exec(input())\nif input():\n    x = 1\nP = {'a': x}",
    "exec(input())\nP = {'a': max(1, 2)}",
    "try:\n    __file__\nexcept NameError:\n    __file__ = 'x'\nP = {'a': __file__}",
    "if '__file__' not in globals():\n    __file__ = 'x'\nP = {'a': __file__}",
    "class A:\n    def __eq__(self, other): other['a'] = 2\nP = {'a': 1}\nif P == A(): pass",
    "class A:\n    def __eq__(self, other): other['a'] = 2\nP = {'a': 1}\nA() in [P]",
    "class A:\n    def __contains__(self, other): other['a'] = 2\nP = {'a': 1}\nP in A()",
    "class A:\n    def __eq__(self, other): other['a'] = 2\nP = {'a': 1}\n[A()] == [P]",
    "import sys\ndef f():\n    names = sys._getframe().f_locals\n    x = 1\n    names['x'] = 2\n    return x\nP = {'a': f()}",
    "x = 1\ngetattr(lambda: 0, '__glob' + 'als__')['x'] = 2\nP = {'a': x}",
    "from unittest import mock\nx = 1\nmock.patch(get() + '.x', 2).start()\nP = {'a': x}",
    "x = 1\nprint.__self__.exec('x = 2')\nP = {'a': x}",
    "L = [1, 2, 3, 4]\nP = {'a': [L.pop() for i in L]}",
    "L = [1, 2, 3, 4]\nP = {'a': [L.pop() for i, j in zip((5, 6, 7), L)]}",
    "d = {'a': 1, 'b': 2}\nP = {'a': [d.update(b=9) or v for v in d.values()]}",
    "L = [0]\nP = {'a': [L.append(i) or i for i in (len(L) for _ in range(3))]}",
    "k = 0\nP = {'a': sum((k := i + 1) for i in (k for _ in range(3)))}",
    "n = 0\ndef f(i):\n    global n\n    n += 1\n    return i\nany(f(i) for i in (0, 1, 1))\nP = {'a': n}",
    "def g(f): return f(zip((1, 2), (3, 4)))\ng(list)\nP = {'a': g(lambda z: [len(list(z)), len(list(z))])[1]}",
    "import os\nP = {'a': [i for i in (1, 2) if os.environ.get('A', 'b') == 'b']}",
    "P = {'a': [i for i in (1, 2) if get()]}",
    "P = {'a': range(2) * 2}",
]


@pytest.mark.parametrize("before", UNKNOWN)
def test_a_value_that_may_be_another_when_it_runs_is_refused(before: str) -> None:
    found = reading(call("P", before))
    assert found.problems
    assert not found.prepared
    for problem in found.problems:
        assert problem.place is not None
        assert "without running the file" in problem.message or "too many values" in problem.message, problem.text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import valohai\nvalohai.prepare('a')", "no positional arguments"),
        ("import valohai\nvalohai.prepare()", "needs a step"),
        ("import valohai\nvalohai.prepare(step='a', parameters={})", "did you mean default_parameters?"),
        ("import valohai\nvalohai.prepare(step=3)", "step must be a name"),
        ("import valohai\nvalohai.prepare(step=None)", "step must be a name"),
        ("import valohai\nvalohai.prepare(step='')", "step must be a name"),
        ("import valohai\nvalohai.prepare(step='a', image=3)", "image must be text"),
        ("import valohai\nvalohai.prepare(step='a', default_parameters={1: 2})", "is no name"),
        ("import valohai\nvalohai.prepare(step='a', default_parameters=[1])", "must be a dict"),
        ("import valohai\nvalohai.prepare(step='a', default_parameters={'a': b''})", "no value of a parameter"),
        ("import valohai\nvalohai.prepare(step='a', default_inputs={'a': [1]})", "no URL or path"),
        ("import valohai\nvalohai.prepare(**get())", "cannot tell 'get()'"),
        ("import valohai, functools\nfunctools.partial(valohai.prepare, step='a')()", "prepare is handed on"),
        ("import valohai\nvalohai.prepare = print", "prepare is handed on or replaced"),
        ("import valohai\nfor s in ('a', 'b'):\n    valohai.prepare(step=s)", "cannot tell 's'"),
        ("import valohai\ndef f(s):\n    valohai.prepare(step=s)\nf('a')\nf('b')", "called several times, with different values"),
        ("import valohai\ndef f(s):\n    valohai.prepare(step=s)\nrun(f)", "cannot tell 's'"),
        ("x = (1", "this is no Python"),
        ("print 'a'", "this is no Python"),
        ("type X = = int", "reads it)"),
        ("import valohai\nsetattr(valohai, 'prepare', print)", "prepare is handed on or replaced"),
        (
            "import valohai\nP = {'a': 1}\ntry:\n    risky()\n    P['a'] = 2\nfinally:\n    valohai.prepare(step='a', default_parameters=P)",
            "cannot tell 'P'",
        ),
        ("-" * 100_000 + "1", "nested too deeply"),
        ("(" * 5000, "this is no Python"),
        ("from valohai import prepare\nx = " + "[" * 150 + "]" * 150, "nested"),
        ("import valohai\nx = " + "+".join(["a()"] * 20_000), ""),
    ],
)
def test_what_is_wrong_is_said(source: str, message: str) -> None:
    found = reading(source)
    assert any(message in problem.text() for problem in found.problems), said(source)
    assert not found.prepared


CLOSURES = [
    "def make(n):\n    def inner(): {call}\n    return inner\nreg(make(1))\nreg(make(2))",
    "n = 1\ndef make():\n    def inner(): {call}\n    reg(inner)\nmake()\nn = 2\nmake()",
    "def make(n):\n    def inner(): {call}\n    reg(inner)\nfor n in (1, 2):\n    make(n)",
    "def make(n):\n    def inner():\n        {call}\n        reg(make(n + 1))\n    return inner\nreg(make(1))",
    "n = 1\nreg(lambda: {call})\nn = 2",
    "def f():\n    n = max(1, 2)\n    {call}\nreg(f)\nmax = min",
]


@pytest.mark.parametrize("source", CLOSURES)
def test_a_function_that_is_made_several_times_is_followed_each_time(source: str) -> None:
    found = reading("import valohai\n" + source.format(call="valohai.prepare(step='a', default_parameters={'n': n})"))
    assert found.problems
    assert not found.prepared


def test_each_entry_tells_what_is_wrong_with_it() -> None:
    source = "import valohai\nvalohai.prepare(\n  step='a',\n  default_parameters={\n    'x': b'',\n    'y': {1},\n    'z': [1, 'a'],\n  })"
    found = [str(problem) for problem in reading(source).problems]
    assert [line.split(":")[1] for line in found] == ["6"]
    source = source.replace("{1}", "b''")
    found = [str(problem) for problem in reading(source).problems]
    assert [line.split(":")[1] for line in found] == ["5", "6", "7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import valohai".encode("utf-16"), "UTF-16"),
        (b"import valohai\0", "NUL"),
        (b"\xff\xff", "encoding"),
        (b"# coding: nonsense\n", "nonsense"),
        (b"# coding: punycode\nabc-" + b"zzza" * 400_000, "no source is written"),
        (b"#" * ((2 << 20) + 1), "larger than 2 MiB"),
    ],
)
def test_bytes_that_are_no_source_are_a_problem_of_the_file(content: bytes, message: str) -> None:
    (problem,) = read("a.py", content=content).problems
    assert message in str(problem)
    assert problem.place is None


@pytest.mark.parametrize(
    "source",
    [
        "import valohai\n" + "if input():\n    x = 1\n" * 8_000,
        "import valohai\n" + "".join(f"def f{n}():\n    f{n + 1}()\n    f{n + 1}()\n" for n in range(100)) + "f0()\n",
        "import valohai\n" + "".join(" " * n + "for x in y:\n" for n in range(15)) + " " * 15 + "a = b\n",
        "import valohai\n" + "x = {}\n" + "".join(f"x['{n}'] = {n}\n" for n in range(20_000)),
        "import valohai\n" + "".join(f"x{n} = {n}\n" for n in range(20_000)) + "if input(): pass\n" * 2000,
        "import valohai\nx = [" + "1," * 150_000 + "]\n",
        "import valohai\n" + "f'{" * 3 + "1" + "}'" * 3,
        "".join(f"a{n} = a{n + 1}\n" for n in range(30_000)) + "a30000 = prepare\ndef f(): prepare\nimport valohai",
        "import valohai\nx = ' a' * 30_000\n" + "y = x.split()\n" * 1000,
        "import valohai\n" + "".join(f"if u{n}: x{n} = 0\nelse: x{n} = 0\n" for n in range(2000)),
        "import valohai\ndef o():\n    def f():\n        return 1\n"
        + "        a.b\n" * 20_000
        + "    run(f)\n    f()\n"
        + "o()\n" * 3000,
        "import valohai\ndef o():\n    class C:\n        if False:\n" + "            a.b\n" * 20_000 + "o()\n" * 3000,
        "import valohai\ndef o():\n    def f(x: (" + "a.b, " * 20_000 + ")): pass\n" + "o()\n" * 3000,
        "import valohai\n"
        + "".join(" " * n + "try:\n" for n in range(19))
        + " " * 19
        + "x = 1\n"
        + "".join(" " * n + "finally:\n" + " " * (n + 1) + "y = get()\n" for n in reversed(range(19))),
    ],
    ids=range(14),
)
def test_hostile_sources_end_soon(source: str) -> None:
    import time

    begun = time.process_time()
    assert reading(source + "\nvalohai.prepare(step='a', default_parameters=unknown())\n").problems
    assert time.process_time() - begun < 60


def test_wide_characters_and_tabs_keep_the_caret_in_place() -> None:
    text = reading("import valohai\nif 1:\n\tvalohai.prepare(step='日本' + get())").problems[0].text().splitlines()
    assert text[0].startswith("train.py:3:30:")
    assert text[2] == "    \t" + " " * 30 + "^~~~~"
