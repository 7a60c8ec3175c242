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
    ],
)
def test_steps_are_found_between_magics(cells: tuple[str, ...]) -> None:
    assert names(reading(*cells)) == ["a"]


@pytest.mark.parametrize(
    "magic",
    ["%run other.py", "%store -r", "%reset -f", "%%anything\nS = 'b'", "%pylab", "x = %anything", "/f a", "%timeit S"],
)
def test_magics_that_may_set_names_leave_nothing_known(magic: str) -> None:
    found = reading("import valohai\nS = 'a'", magic, "valohai.prepare(step=S)")
    (problem,) = found.problems
    assert str(problem).startswith("explore.ipynb:cell 4:1:22: step: cannot tell 'S' without running the file")


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
    ["%time x = 1", "  \n%matplotlib\n\nx = [\n1,\n]\n!a \\\nb\n", "%%bash\na\nb", "%%time\na = 1\n!b", "x?\n'''\n?\n'''"],
)
def test_lines_keep_their_numbers(source: str) -> None:
    translated = python(source)
    ast.parse(translated)
    assert translated.count("\n") == source.count("\n")
