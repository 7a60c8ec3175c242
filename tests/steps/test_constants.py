"""What `prepare()` says can be read without running the file, in every spelling that constants have."""

from __future__ import annotations

from typing import Any

import pytest

from vhpack.step import describe
from vhpack.yaml.reading import Reading, read


def reading(source: str, path: str = "train.py") -> Reading:
    return read(path, content=source.encode())


def step_of(source: str) -> Any:
    found = reading(source)
    assert [problem.text() for problem in found.problems] == []
    (prepared,) = found.prepared
    return prepared.step


def defaults(source: str) -> dict[str, object]:
    return {parameter.name: parameter.value for parameter in step_of(source).parameters}


def call(parameters: str, before: str = "") -> str:
    return f"import valohai\n{before}\nvalohai.prepare(step='a', default_parameters={parameters})\n"


@pytest.mark.parametrize(
    "source",
    [
        "import valohai; valohai.prepare(step='a')",
        "import vhpack; vhpack.prepare(step='a')",
        "import vhpack as valohai; valohai.prepare(step='a')",
        "import valohai as vh; vh.prepare(step='a')",
        "import valohai.paths; valohai.prepare(step='a')",
        "from valohai import prepare; prepare(step='a')",
        "from valohai import prepare as p; p(step='a')",
        "from vhpack import prepare as p; p(step='a')",
        "from valohai import *; prepare(step='a')",
        "import valohai\nvh = valohai\nvh.prepare(step='a')",
        "import valohai\np = valohai.prepare\np(step='a')",
        "import importlib\nimportlib.import_module('valohai').prepare(step='a')",
        "import valohai\ngetattr(valohai, 'prepare')(step='a')",
        "import valohai\ngetattr(valohai, 'prepare', None)(step='a')",
        "try:\n    import vhpack as valohai\nexcept ImportError:\n    import valohai\nvalohai.prepare(step='a')",
        "try:\n    import valohai\nexcept ImportError:\n    valohai = None\nif valohai:\n    valohai.prepare(step='a')",
        "def main():\n    import valohai\n    valohai.prepare(step='a')\nmain()",
        "import valohai\nx = valohai.prepare(step='a')",
        "import valohai\nx: object = valohai.prepare(step='a')",
        "import valohai\nprint(valohai.prepare(step='a'))",
        "import valohai\nf = lambda: valohai.prepare(step='a')\nf()",
        "import valohai\nclass A:\n    valohai.prepare(step='a')",
        "import valohai\nclass A:\n    def f(self):\n        valohai.prepare(step='a')",
        "import valohai\nasync def f():\n    valohai.prepare(step='a')",
        "import valohai\ndef f():\n    yield valohai.prepare(step='a')",
        "import valohai\nfor _ in range(3):\n    valohai.prepare(step='a')",
        "import valohai\nwhile True:\n    valohai.prepare(step='a')\n    break",
        "import valohai\nwith open('x') as f:\n    valohai.prepare(step='a')",
        "import valohai\ntry:\n    pass\nfinally:\n    valohai.prepare(step='a')",
        "import valohai\nif input():\n    pass\nelif valohai.prepare(step='a'):\n    pass",
        "import valohai\n[valohai.prepare(step='a') for _ in range(3)]",
        "import valohai\n@print(valohai.prepare(step='a'))\ndef f(): ...",
        "import valohai\nassert valohai.prepare(step='a') is None",
        "import valohai\n(y := valohai.prepare(step='a'))",
        "import valohai\nvalohai.prepare(**{'step': 'a'})",
        "import valohai\nK = dict(step='a')\nvalohai.prepare(**K)",
        "import valohai\ndef unused():\n    valohai.prepare(step='a')",
        "import valohai\nasync def main():\n    valohai.prepare(step='a')\nimport asyncio\nasyncio.run(main())",
        "import valohai\nmatch input():\n    case 'x':\n        valohai.prepare(step='a')",
        "\ufeffimport valohai\nvalohai.prepare(step='a')",
        "import valohai\r\nvalohai.prepare(\r\n  step='a')\r\n",
    ],
)
def test_a_call_is_found_wherever_it_stands(source: str) -> None:
    assert step_of(source) == describe(step="a")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "valohai.prepare(step='a')",
        "def prepare(step): ...\nprepare(step='a')",
        "import valohai\nvalohai.prepare_impl.prepare(step='a')",
        "import valohai\ndef f(valohai):\n    valohai.prepare(step='a')",
        "import sklearn\nsklearn.prepare(step='a')",
        "import valohai\n'''\nvalohai.prepare(step='a')\n'''",
    ],
)
def test_what_is_no_call_of_ours_is_left_alone(source: str) -> None:
    (problem,) = reading(source).problems
    assert "there is no call of prepare()" in problem.message


@pytest.mark.parametrize(
    ("expression", "before", "value"),
    [
        ("1", "", 1),
        ("-3", "", -3),
        ("+2.5", "", 2.5),
        ("not 1", "", False),
        ("~7", "", -8),
        ("2 * 3 + 4 ** 2 - 7 // 2", "", 19),
        ("1 / 4", "", 0.25),
        ("7 % 4", "", 3),
        ("1 << 10", "", 1024),
        ("1e-3", "", 0.001),
        ("float('inf')", "", float("inf")),
        ("int('0x10', 16)", "", 16),
        ("round(2.567, 1)", "", 2.6),
        ("max(1, 2)", "", 2),
        ("len([1, 2])", "", 2),
        ("'a' 'b'", "", "ab"),
        ("'a' + 'b'", "", "ab"),
        ("'ab' * 2", "", "abab"),
        ("f'{N}-{N:03d}-{S!r}'", "N = 7; S = 'x'", "7-007-'x'"),
        ("'%s/%d' % (S, 3)", "S = 'x'", "x/3"),
        ("'{}-{name}'.format(S, name=2)", "S = 'x'", "x-2"),
        ("'-'.join(['a', S])", "S = 'x'", "a-x"),
        ("'Abc'.lower().replace('b', 'x')", "", "axc"),
        ("'a,b'.split(',')", "", ["a", "b"]),
        ("S[1:]", "S = 'abc'", "bc"),
        ("S[-1]", "S = 'abc'", "c"),
        ("[1] + [2, *L]", "L = [3]", [1, 2, 3]),
        ("[0] * 3", "", [0, 0, 0]),
        ("(1, 2) + (3,)", "", [1, 2, 3]),
        ("list((1, 2))", "", [1, 2]),
        ("[1, 2, 3][:2]", "", [1, 2]),
        ("os.path.join('a', 'b')", "import os", "a/b"),
        ("join('a', 'b')", "from os.path import join", "a/b"),
        ("os.sep", "import os", "/"),
        ("str(Path('data') / 'x' / 'y.csv')", "from pathlib import Path", "data/x/y.csv"),
        ("Path('data', 'x').name", "from pathlib import Path", "x"),
        ("Path('a.csv').with_suffix('.txt').as_posix()", "import pathlib; Path = pathlib.Path", "a.txt"),
        ("f'{Path(S)!r} {PurePath(S)!r}'", "S = 'a'; from pathlib import Path, PurePath", "PosixPath('a') PurePosixPath('a')"),
        ("'%r' % Path('a').parent + str((Path('a'),))", "from pathlib import Path", "PosixPath('.')(PosixPath('a'),)"),
        ("math.pi", "import math", 3.141592653589793),
        ("1 if D else 2", "D = False", 2),
        ("D or 'x'", "D = ''", "x"),
        ("D and 'x'", "D = 1", "x"),
        ("1 < 2", "", True),
        ("'a' in 'abc'", "", True),
        ("N", "N: 'Final' = 3", 3),
        ("N", "M = N = 3", 3),
        ("N", "M, (N, O) = 1, (2, 3)", 2),
        ("N", "N = 1; N += 2", 3),
        ("N", "(N := 4)", 4),
        ("C.LR", "class C:\n    LR = 0.5", 0.5),
        ("C.LR", "from dataclasses import dataclass\n@dataclass\nclass C:\n    LR: float = 0.5", 0.5),
        ("C.LR", "class C:\n    LR = 0.5\nC.LR = 0.25", 0.25),
        ("D['a']", "D = {'a': 5}", 5),
        ("D['a']['b']", "D = {'a': {'b': 5}}", 5),
        ("D.get('z', 6)", "D = {'a': 5}", 6),
        ("rate()", "def rate(): return 0.5", 0.5),
        ("double(3)", "def double(n, by=2):\n    return n * by", 6),
        ("(lambda n: n + 1)(2)", "", 3),
        ("N", "def f():\n    global N\n    N = 8\nf()", 8),
        ("N", "N = 1\nif __name__ == '__main__':\n    N = 2", 2),
        ("N", "from typing import TYPE_CHECKING\nN = 1\nif TYPE_CHECKING:\n    N = 2", 1),
        ("N", "N = 1\nif False:\n    N = 2", 1),
        ("cast(int, 3)", "from typing import cast", 3),
        ("None", "", None),
    ],
)
def test_constants_are_folded(expression: str, before: str, value: object) -> None:
    found = defaults(call(f"{{'x': {expression}}}", before))["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("parameters", "before", "expected"),
    [
        ("P", "P = {'a': 1}", {"a": 1}),
        ("P", "P: dict = dict(a=1)", {"a": 1}),
        ("P", "P = dict([('a', 1)], b=2)", {"a": 1, "b": 2}),
        ("{**A, 'b': 2}", "A = {'a': 1}", {"a": 1, "b": 2}),
        ("A | B", "A = {'a': 1}; B = {'b': 2}", {"a": 1, "b": 2}),
        ("dict(A, b=2)", "A = {'a': 1}", {"a": 1, "b": 2}),
        ("{**A}", "A = {'a': 1}", {"a": 1}),
        ("Q", "P = Q = {'a': 1}\nP['b'] = 2", {"a": 1, "b": 2}),
        ("C.P", "class C:\n    P = {'a': 1}", {"a": 1}),
        ("None", "", {}),
        ("P", "P = {'a': 1}\nP['b'] = 2", {"a": 1, "b": 2}),
        ("P", "P = {'a': 1}\nP['a'] += 2", {"a": 3}),
        ("P", "P = {'a': 1}\nP.update({'b': 2}, c=3)", {"a": 1, "b": 2, "c": 3}),
        ("P", "P = {'a': 1}\nP |= {'b': 2}", {"a": 1, "b": 2}),
        ("P", "P = {'a': 1}\nP.setdefault('b', 2)", {"a": 1, "b": 2}),
        ("P", "P = {'a': 1, 'b': 2}\ndel P['a']", {"b": 2}),
        ("P", "P = {'a': 1, 'b': 2}\nP.pop('a')", {"b": 2}),
        ("P", "P = {'a': [1]}\nP['a'].append(2)", {"a": [1, 2]}),
        ("P", "P = {'a': 1}\nP = {'b': 2}", {"b": 2}),
        ("P", "P = {'a': 1}\nQ = P.copy()\nQ['b'] = 2", {"a": 1}),
        ("P", "import copy\nP = {'a': 1}\nQ = copy.deepcopy(P)\nQ['b'] = 2", {"a": 1}),
        ("P", "import copy\nP = {'a': [1]}\nQ = copy.deepcopy(P)\nQ['a'].append(2)", {"a": [1]}),
        (
            "Q",
            "import copy\nl = [1]\nQ = copy.deepcopy({'a': l, 'b': l})\nl.append(2)\nQ['a'].append(3)",
            {"a": [1, 3], "b": [1, 3]},
        ),
        ("Q", "import copy\nP = {'a': [1]}\nQ = copy.copy(P)\nP['a'].append(2)\nP['b'] = 3", {"a": [1, 2]}),
        ("f({'a': 1})", "def f(p=None):\n    if p is None:\n        p = {}\n    return p", {"a": 1}),
        ("P", "P = {'a': 1}\ndef more():\n    P['b'] = 2\nmore()", {"a": 1, "b": 2}),
        ("P", "P = {'a': 1}\ndef more(p):\n    p['b'] = 2\nmore(P)", {"a": 1, "b": 2}),
        ("P", "P = {'a': 1}\ndef never():\n    P['b'] = 2", {"a": 1}),
        ("P", "P = {'a': 1}\nprint(P, len(P))", {"a": 1}),
        ("P", "P = {'a': 1}\nprint(f'{P} {P!r:>9} {(P, 1)}', '%s' % P, '%s %d' % (P, 1))", {"a": 1}),
        ("P", "P = {'a': 1}\nfor k, v in P.items():\n    print(k, v)", {"a": 1}),
        ("P", "P = {'a': 1}\nif input():\n    P['a'] = 1", {"a": 1}),
        ("P", "P = {'a': 1}\nfor k in P:\n    print(k, P[k])", {"a": 1}),
        ("P", "P = {'a': 1}\nwhile True:\n    P['a'] = 2\n    break", {"a": 2}),
        ("P", "P = {'a': 1}\nwhile P:\n    print(P)", {"a": 1}),
        ("P", "import torch\nwith torch.no_grad():\n    P = {'a': 1}", {"a": 1}),
        ("{'a': [*k][0]}", "q = {'x': 1}\nk = q.values()\nq['x'] = 5", {"a": 5}),
        ("dict(k)", "q = {'x': 1}\nk = q.items()\nq['y'] = 5", {"x": 1, "y": 5}),
        ("{'a': list(k)}", "q = {'x': 1}\nk = q.keys()\nq['y'] = 5", {"a": ["x", "y"]}),
        ("{'a': f()}", "x = 1\ndef f():\n    x = 2\n    class C:\n        x = x\n    return C.x", {"a": 1}),
        ("{'a': f()}", "x = 1\ndef f():\n    x = 2\n    class C:\n        y = x\n    return C.y", {"a": 2}),
        ("{'a': f()}", "x = 1\ndef f():\n    x = 2\n    class C:\n        y = x\n        x = 3\n    return C.y", {"a": 1}),
        ("{'a': f()}", "def f():\n    y = 1\n    class C:\n        nonlocal y\n        y = 2\n    return y", {"a": 2}),
        ("{'a': x}", "x = 1\nclass C:\n    if True:\n        global x\n        x = 2", {"a": 2}),
        ("{'a': C.y}", "class C:\n    __x = 1\n    _C__x = 2\n    y = __x", {"a": 2}),
        ("{'a': C.y}", "_C__x = 7\n__x = 3\nclass C:\n    y = __x", {"a": 7}),
        ("d", "def f(k):\n    d.clear()\n    return k\nd = {'a': 1}\nd[f('n')] = d.get('a', 7)", {"n": 1}),
        ("{'a': x}", "x = 1\ndef f():\n    global x\n    x = 2\nassert True, f()", {"a": 1}),
        ("P", "P = {'a': 1}\nimport sys\nif 'google.colab' in sys.modules:\n    print('x')", {"a": 1}),
        ("P", "P = {'a': 1}\nprint(sum(v for v in P.values()), ','.join(k for k in P), any(P[k] for k in P))", {"a": 1}),
        ("P", "def n(p): return len(p)\nP = {'a': 1}\nprint(max(n(P) for _ in range(3)))", {"a": 1}),
        (
            "{'a': d['m']}",
            "d = {'n': 1}\ndef f(k):\n    d['n'] = 2\n    return k\ndef h():\n    d['m'] = d['n']\n@f(print)\ndef g(n=h()): pass",
            {"a": 2},
        ),
        (
            "P",
            "import os\nP = {'a': os.path.join('a', 'b')}\nclass Net:\n    def f(self):\n        os.makedirs('x')\n        for m in self.modules():\n            print(os.path.join('a', m))",
            {"a": "a/b"},
        ),
        (
            "P",
            "import os, subprocess\nsubprocess.run(['a'], env={**os.environ, 'B': 'c'})\nsubprocess.run(['a'], env=os.environ)\nfor k in os.environ: print(k, os.environ[k], 'a' in os.environ)\nP = {'a': os.environ.get('A', 'x')}",
            {"a": "x"},
        ),
        (
            "P",
            "import json, math\nP = {'a': math.pi}\nprint(json.dumps(P, default=str), sorted(P, key=len))",
            {"a": 3.141592653589793},
        ),
    ],
)
def test_changes_are_followed(parameters: str, before: str, expected: dict[str, object]) -> None:
    assert defaults(call(parameters, before)) == expected


def test_an_environment_variable_is_taken_as_unset_with_a_note() -> None:
    found = reading(call("{'a': os.environ.get('A', 'x') + 'y', 'b': os.getenv('B', 'z')}", "import os"))
    assert [parameter.default for parameter in found.prepared[0].step.parameters] == ["xy", "z"]
    assert [str(note).split("; the")[0] for note in found.notes] == [
        "train.py:3:52: note: default_parameters[\"a\"]: taken as 'xy', the default of os.environ.get('A', 'x')",
        "train.py:3:89: note: default_parameters[\"b\"]: taken as 'z', the default of os.getenv('B', 'z')",
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        "{'a': {'f': 1, 's': 2}[os.environ.get('A', 'f')]}",
        "{'a': (1, 2)[int(os.environ.get('A', '0'))]}",
        "{os.environ.get('A', 'a'): 1}",
        "{'a': 1 if os.environ.get('A', 'x') in {'x': 1} else 2}",
        "({'b': 2} if os.environ.get('A', '') else {'a': 1})",
        "(os.environ.get('A', '') and {'b': 2} or {'a': 1})",
    ],
)
def test_what_is_chosen_by_an_environment_variable_has_the_note_too(parameters: str) -> None:
    found = reading(call(parameters, "import os"))
    assert [(parameter.name, parameter.default) for parameter in found.prepared[0].step.parameters] == [("a", 1)]
    assert any("the environment may say otherwise" in str(note) for note in found.notes)


def test_a_function_sees_what_is_set_before_it_is_called() -> None:
    source = "import valohai\nS = 'a'\ndef main():\n    valohai.prepare(step=S)\nS = 'b'\nmain()\nS = 'c'\n"
    assert step_of(source).name == "b"


def test_all_arguments_reach_the_step() -> None:
    source = (
        "import valohai\nvalohai.prepare(step='a', image='i:1', environment='e', multifile=True, upload_store='s',"
        " default_inputs={'x': 'https://h/a.zip', 'y': ['s3://b/*.png']})"
    )
    assert step_of(source) == describe(
        step="a",
        image="i:1",
        environment="e",
        multifile=True,
        upload_store="s",
        default_inputs={"x": "https://h/a.zip", "y": ["s3://b/*.png"]},
    )


@pytest.mark.parametrize(
    "content",
    [
        "# -*- coding: latin-1 -*-\nimport valohai\nvalohai.prepare(step='é')".encode("latin-1"),
        "import valohai\nvalohai.prepare(step='é')".encode("utf-8-sig"),
    ],
)
def test_the_encoding_is_the_one_that_python_reads(content: bytes) -> None:
    assert read("a.py", content=content).prepared[0].step.name == "é"
