"""Notebooks are read as IPython reads them, and problems tell cell and line."""

from __future__ import annotations

import ast
import json

import pytest

from vhpack.yaml.notebook import python
from vhpack.yaml.reading import Reading, read


def reading(*cells: str | list[str], **more: object) -> Reading:
    content = {
        "nbformat": 4,
        "cells": [{"cell_type": "markdown", "source": "# valohai.prepare(step='no')"}]
        + [{"cell_type": "code", "source": cell} for cell in cells],
        **more,
    }
    return read("explore.ipynb", content=json.dumps(content).encode())


def names(found: Reading) -> list[str]:
    assert [problem.text() for problem in found.problems] == []
    return [prepared.step.name for prepared in found.prepared]


@pytest.mark.parametrize(
    "cells",
    [
        ("import valohai", "valohai.prepare(step='a')"),
        (["import valohai\n", "\n", "valohai.prepare(step='a')"],),
        ("%matplotlib inline\nimport valohai\n!pip install x\n!!ls\nvalohai.prepare(step='a')\n",),
        ("%pip install 'a\nimport valohai", '%%bash\nif [ 1 ]; then echo "it\'s"; fi', "valohai.prepare(step='a')"),
        ("%%time\nimport valohai\nvalohai.prepare(step='a')",),
        ("import valohai\nfiles = !ls\nvalohai.prepare(step='a')\nvalohai?\nvalohai.prepare??\n?valohai",),
        ("import valohai\nif files:\n    !ls -l\n    %cd x\nvalohai.prepare(step='a')",),
        ("import valohai\nx = '''\n%notmagic\n!notshell\n'''\ny = (1\n % 2)\n!ls\nvalohai.prepare(step='a')",),
        ("import valohai\n!echo one \\\n   two\nvalohai.prepare(step='a')",),
        ("import valohai\nawait something()\nvalohai.prepare(step='a')",),
        ("import valohai\n%time S = 'a'\nvalohai.prepare(step=S)",),
        ("import valohai\nS = 'a'\nout = %env HOME\nvalohai.prepare(step=S)",),
        ("import valohai\nS = 'a'  # it's\n!ls\nvalohai.prepare(step=S)",),
        ("import valohai\nS = 'a'", "%%bash --out T\necho S", "%%capture out\n!pip install x", "valohai.prepare(step=S)"),
        ("pip install x", "import valohai\nS = 'a'", "cd ..", "ls -l", "env A=b", "%env", "valohai.prepare(step=S)"),
        ("import valohai, os\n%env B=b\nS = os.environ.get('A', 'a')", "valohai.prepare(step=S)"),
        ("import valohai\nrun = 1\nS = 'a'", "run = 2", "run", "valohai.prepare(step=S)"),
    ],
)
def test_steps_are_found_between_magics(cells: tuple[str, ...]) -> None:
    assert names(reading(*cells)) == ["a"]


@pytest.mark.parametrize(
    "magic",
    [
        "%run other.py",
        "%%prun S = 'b'\nx",
        "%store -r",
        "%reset -f",
        "%%anything\nS = 'b'",
        "%pylab",
        "x = %anything",
        "/f a",
        "%timeit S",
    ],
)
def test_magics_that_may_set_names_leave_nothing_known(magic: str) -> None:
    found = reading("import valohai\nS = 'a'", magic, "valohai.prepare(step=S)")
    (problem,) = found.problems
    assert str(problem).startswith("explore.ipynb:cell 4:1:22: step: cannot tell 'S' without running the file")


@pytest.mark.parametrize(
    "magic",
    [
        *("%%bash --out S\necho b", "%%sh --err=S\necho b", "%%script --out S perl\nprint 1", "%%bigquery S\nSELECT 1"),
        *("%%sql\nS << SELECT 1", "%%sql S <<\nSELECT 1", "%%capture S\n!ls", "%%capture S\nS = 'b'", "\n%%capture S\n!ls"),
        *("%sc S=ls", "store -r", "reset", "run other.py", "%reset_selective S", "x = %sc S=ls", "x = %run a"),
    ],
)
def test_magics_that_set_a_name_leave_it_unknown(magic: str) -> None:
    (problem,) = reading("import valohai\nS = 'a'", magic, "valohai.prepare(step=S)").problems
    assert str(problem).startswith("explore.ipynb:cell 4:1:22: step: cannot tell 'S' without running the file")
    assert problem.detail.partition(": ")[2] == magic.strip().partition("\n")[0]


@pytest.mark.parametrize(
    "magic", ["%env A=b", "%env A b", "%set_env A = b", "env A=b", "x = %env A=b", "%env $name=b", "%env {name} b", "%dotenv"]
)
def test_a_variable_that_a_magic_sets_is_unknown(magic: str) -> None:
    found = reading(magic, "import valohai, os\nvalohai.prepare(step=os.environ.get('A', 'a'))")
    assert "this file sets it" in found.problems[0].text()


def test_problems_tell_cell_line_and_column() -> None:
    found = reading("import valohai", "\n\nvalohai.prepare(step='a', default_parameters={'x': f()})", "x = (\n", "1 +")
    assert [str(problem).partition(": this")[0] for problem in found.problems] == [
        "explore.ipynb:cell 4:1:5",
        "explore.ipynb:cell 5:1:4",
    ]
    found = reading("import valohai", "!ls\n\nvalohai.prepare(step='a', default_parameters={'x': f()})")
    assert [str(problem).partition(": default")[0] for problem in found.problems] == ["explore.ipynb:cell 3:3:52"]
    assert "    valohai.prepare(step='a', default_parameters={'x': f()})\n" in found.problems[0].text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no notebook"),
        ("[]", "no number 'nbformat'"),
        ('{"nbformat": "4"}', "no number 'nbformat'"),
        ('{"nbformat": 3, "worksheets": []}', "format 3 has no 'cells'"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}', "neither text nor"),
        ("[" * 100_000, "no notebook"),
    ],
)
def test_what_is_no_notebook_is_a_problem(content: str, message: str) -> None:
    (problem,) = read("a.ipynb", content=content.encode()).problems
    assert message in str(problem)


def test_a_wrapped_notebook_is_opened() -> None:
    inner = {"nbformat": 4, "cells": [{"cell_type": "code", "source": "import valohai; valohai.prepare(step='a')"}]}
    found = read("a.ipynb", content=json.dumps({"type": "notebook", "content": inner}).encode())
    assert names(found) == ["a"]


@pytest.mark.parametrize(
    "source",
    [
        "%time x = 1",
        "%%bash --out S\n\na",
        "%%sql\n\nS << a\n",
        "%%capture S\nS\n",
        "%env A=b\nx",
        "reset\n",
        "pip install x\n\n",
        "run\nx = 1",
        "  \n%matplotlib\n\nx = [\n1,\n]\n!a \\\nb\n",
        "%%bash\na\nb",
        "%%time\na = 1\n!b",
        "x?\n'''\n?\n'''",
    ],
)
def test_lines_keep_their_numbers(source: str) -> None:
    translated = python(source)
    ast.parse(translated)
    assert translated.count("\n") == source.count("\n")


@pytest.mark.parametrize(
    "use",
    [
        *("get_ipython().run_cell('S = 2')", "get_ipython().ex('S = 2')", "get_ipython().push({'S': 2})"),
        *("get_ipython().user_ns['S'] = 2", "get_ipython().run_line_magic('run', 'x.py')", "ip = get_ipython()\nip.ex('S = 2')"),
        *("from IPython import get_ipython as g\ng().ex('S = 2')", "get_ipython().run_cell_magic('time', '', 'S = 2')"),
    ],
)
def test_the_shell_may_set_any_name(use: str) -> None:
    found = reading("import valohai\nS = 'a'", use, "valohai.prepare(step=S)")
    assert "cannot tell 'S'" in found.problems[0].text()


@pytest.mark.parametrize("magic", ["run_line_magic('env', 'A=b')", "ex('import os')", "run_cell_magic('bash', '--out A', '')"])
def test_the_shell_may_set_any_variable(magic: str) -> None:
    found = reading("import valohai", f"get_ipython().{magic}", "import os\nvalohai.prepare(step=os.environ.get('A', 'a'))")
    assert found.problems


def test_what_converted_notebooks_say_to_the_shell_leaves_names_alone() -> None:
    uses = ["run_line_magic('matplotlib', 'inline')", "system('pip install x')", "getoutput('ls')", "__class__.__name__"]
    uses.append("run_cell_magic('bash', '', 'ls')")
    lines = "\n".join(f"get_ipython().{use}" for use in uses)
    found = reading(f"import valohai, os\nS = os.environ.get('A', 'a')\n{lines}\nvalohai.prepare(step=S)")
    assert names(found) == ["a"]


@pytest.mark.parametrize("last", ["_", "__", "___", "_2", "Out[2]", "_oh[2]"])
def test_a_cells_result_may_be_changed_by_the_name_that_it_gets(last: str) -> None:
    cells = ("import valohai\nP = {'x': 1}", "P", f"{last}['x'] = 4", "valohai.prepare(step='a', default_parameters=P)")
    assert reading(*cells).problems
    assert not reading(*cells[:2], cells[3]).problems


@pytest.mark.parametrize("name", ["_i", "_ii", "_iii", "_i2"])
def test_names_of_what_cells_say_are_set_before_each(name: str) -> None:
    found = reading("import valohai", f"{name} = 'a'", f"valohai.prepare(step={name})")
    assert f"cannot tell '{name}'" in found.problems[0].text()
    assert names(reading(f"import valohai\n{name} = 'a'\nvalohai.prepare(step={name})")) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        *("!echo {P.update(x=3)}", "!!echo {P.update(x=3)}", "%cd {P.update(x=3) or '.'}", "x = !echo {P.pop('x')}"),
        *("x = %pwd {P.pop('x')}", "%%bash {P.update(x=3)}\nls", "%%writefile {P.pop('x')}\na", "!echo a \\\n {P.pop('x')}"),
        *("%sx echo {P.pop('x')}", "pip install {P.pop('x')}"),
    ],
)
def test_what_stands_in_braces_of_a_command_is_evaluated(line: str) -> None:
    found = reading("import valohai\nP = {'x': 1}", line, "valohai.prepare(step='a', default_parameters=P)")
    assert "cannot tell" in found.problems[0].text()


def test_braces_without_a_call_do_nothing() -> None:
    lines = "!awk '{print $1}' {P}\n!echo ${HOME}\n%cd {P}"
    assert names(reading("import valohai\nP = 'a'", lines, "valohai.prepare(step=P)")) == ["a"]


@pytest.mark.parametrize(
    "cell",
    [
        "x" + " " * 20_000 + "\ny",
        "%%capture " + " ".join(f"a{n}" for n in range(4000)) + "\nb = 1" * 4000,
        "x" + " \t" * 20_000 + "=",
        "%%sql\n" + "a" * 1_000_000,
    ],
    ids=["spaces", "names", "tabs", "word"],
)
def test_long_cells_are_read_soon(cell: str) -> None:
    import time

    begun = time.process_time()
    python(cell)
    assert time.process_time() - begun < 10
