"""What went wrong elsewhere when steps were read from code and written into YAML, and what happens here instead.

One row each: what used to happen, what happens now and why, and a test of it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml as pyyaml

from tests.engine.command import VHPACK, Ended, run
from tests.steps.test_update import SEED


@dataclass(frozen=True)
class Finding:
    """A failure that users met elsewhere."""

    then: str
    now: str
    check: Callable[[Path], None]


FINDINGS: list[Finding] = []


def finding(then: str, now: str) -> Callable[[Callable[[Path], None]], None]:
    """Put a check into the table."""

    def add(check: Callable[[Path], None]) -> None:
        FINDINGS.append(Finding(then, now, check))

    return add


def write(folder: Path, arguments: str, before: str = "", imports: str = "import valohai", name: str = "train.py") -> Ended:
    """Write a script's step."""
    (folder / name).write_text(f"{imports}\n{before}\nvalohai.prepare({arguments})\n")
    return run([VHPACK, "yaml", "step", name], folder)


def step(folder: Path) -> dict[str, object]:
    """The last step of the file."""
    found = pyyaml.safe_load((folder / "valohai.yaml").read_text())[-1]["step"]
    assert isinstance(found, dict)
    return found


def defaults(folder: Path) -> dict[str, object]:
    found = step(folder)["parameters"]
    assert isinstance(found, list)
    return {item["name"]: item.get("default") for item in found}


@finding("crashes unless a project is linked and one is logged in", "works on files alone")
def _offline(work: Path) -> None:
    assert write(work, "step='a'").code == 0


@finding("`import valohai as vh` and `from valohai import prepare`: 'Source is missing a call'", "names are followed")
def _imports(work: Path) -> None:
    (work / "t.py").write_text("from valohai import prepare as p\np(step='a')\n")
    assert run([VHPACK, "yaml", "step", "t.py"], work).code == 0


@finding("`step=S`, f-strings, `+`: 'malformed node or string' without a file's name", "constants are folded")
def _names(work: Path) -> None:
    assert write(work, "step=f'{S}-' + 'b'", "S = 'a'").code == 0
    assert step(work)["name"] == "a-b"


@finding("`P['b'] = 2` and `P.update()` after a literal: stale defaults, in silence", "changes are followed")
def _stale(work: Path) -> None:
    assert write(work, "step='a', default_parameters=P", "P = {'a': 1}\nP['a'] = 2\nP.update(b=3)").code == 0
    assert defaults(work) == {"a": 2, "b": 3}


@finding("if/else that define P: the last one in the file, in silence", "refused, with the place")
def _branches(work: Path) -> None:
    ended = write(work, "step='a', default_parameters=P", "if input():\n    P = {'a': 1}\nelse:\n    P = {'a': 2}")
    assert ended.code == 1
    assert "cannot tell 'P' without running the file" in ended.err
    assert "it depends on this 'if'" in ended.err


@finding("P local to another function, or of a class: taken as the module's", "scopes are Python's")
def _scopes(work: Path) -> None:
    before = "P = {'a': 1}\ndef f():\n    P = {'a': 2}\nf()\nclass C:\n    P = {'a': 3}"
    assert write(work, "step='a', default_parameters=P", before).code == 0
    assert defaults(work) == {"a": 1}


@finding("two calls: the step of the last with the parameters of the first", "refused until --step names one")
def _two(work: Path) -> None:
    assert write(work, "step='b'", "valohai.prepare(step='a', default_parameters={'x': 1})").code == 1
    assert run([VHPACK, "yaml", "step", "train.py", "--step", "b"], work).code == 0
    assert "parameters" not in step(work)


@finding("`prepare(**K)` loses K, `prepare('a')` is a step called default", "followed, and refused as Python would")
def _keywords(work: Path) -> None:
    assert write(work, "**K", "K = {'step': 'k'}").code == 0
    assert step(work)["name"] == "k"
    assert write(work, "'a'").code == 1


@finding("unknown keywords are ignored: `parameters=` writes a step without any", "an error that suggests the right one")
def _slip(work: Path) -> None:
    assert "did you mean default_parameters?" in write(work, "step='a', parameters={'x': 1}").err


@finding("a list as default: works in a run, 'Unrecognized parameter type' in YAML", "multiple, with its elements' type")
def _lists(work: Path) -> None:
    assert write(work, "step='a', default_parameters={'x': [1, 2]}").code == 0
    assert step(work)["parameters"] == [
        {"name": "x", "default": [1, 2], "multiple": "separate", "optional": False, "type": "integer"}
    ]


@finding("a flag in long form gets no pass-true-as", "it gets what the short form gets")
def _flags(work: Path) -> None:
    assert write(work, "step='a', default_parameters={'x': {'default': True}, 'y': True}").code == 0
    flag = {"default": True, "pass-false-as": "--x=false", "pass-true-as": "--x=true", "type": "flag"}
    assert step(work)["parameters"] == [
        {"name": "x", **flag},
        {"name": "y", **flag, "pass-false-as": "--y=false", "pass-true-as": "--y=true"},
    ]


@finding("an input's long form keeps a local path in YAML", "local paths stay out in both forms")
def _local(work: Path) -> None:
    assert write(work, "step='a', default_inputs={'x': {'default': 'local.csv'}, 'y': ['local.csv', 's3://b/c']}").code == 0
    assert step(work)["inputs"] == [{"name": "x", "optional": True}, {"name": "y", "default": "s3://b/c", "optional": False}]


@finding("sources are read in the locale's encoding; BOM and coding comments fail", "as Python reads them")
def _encodings(work: Path) -> None:
    (work / "t.py").write_bytes("# coding: latin-1\nimport valohai\nvalohai.prepare(step='é')".encode("latin-1"))
    assert run([VHPACK, "yaml", "step", "t.py"], work, environment={"LC_ALL": "C"}).code == 0
    assert "name: é\n" in (work / "valohai.yaml").read_text(encoding="utf-8")


@finding("a deep expression or an odd dict elsewhere ends in a traceback", "problems, never tracebacks")
def _odd(work: Path) -> None:
    assert write(work, "step='a'", "Q = lambda: {[]: 1}").code == 0
    ended = write(work, "step='a'", "Q = " + "-" * 5000 + "1")
    assert (ended.code, "Traceback" in ended.err) == (1, False)


@finding("`%magic`, `x = !ls` and indented `!` in a notebook: SyntaxError", "read as IPython does")
def _magics(work: Path) -> None:
    cells = [
        {"cell_type": "code", "source": "%matplotlib inline\nx = !ls\nif x:\n    !ls\nimport valohai\nvalohai.prepare(step='a')"}
    ]
    (work / "n b.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}))
    assert run([VHPACK, "yaml", "step", "n b.ipynb"], work).code == 0
    assert step(work)["command"] == [
        "pip install -r requirements.txt",
        "papermill -k python3 -f /valohai/config/parameters.json '/valohai/repository/n b.ipynb' '/valohai/outputs/n b.ipynb'",
    ]


@finding("paths in commands are not quoted", "they are")
def _quoting(work: Path) -> None:
    (work / "my dir").mkdir()
    assert write(work, "step='a'", name="my dir/tr ain.py").code == 0
    assert step(work)["command"] == ["pip install -r requirements.txt", "python './my dir/tr ain.py' {parameters}"]


@finding(
    "an update deletes upload-store, time-limit, resources, icon, comments; 1h becomes 3600", "nothing but changed keys changes"
)
def _kept(work: Path) -> None:
    more = "    upload-store: s\n    time-limit: 1h  # enough\n    resources: {cpu: {min: 1}}\n    icon: https://h/i.png\n    stop-condition: 'a > 1'\n"
    (work / "valohai.yaml").write_text("# ours\n" + SEED + more)
    ended = write(work, "step='train', default_parameters={'learning-rate': 0.5}")
    assert ended.code == 0
    assert "note: inputs (training-set) stay" in ended.err
    assert ended.err.splitlines()[-2:] == [
        "valohai.yaml: updated with 'train'",
        f"Note: there is no requirements.txt in {work.resolve()}, which the step installs from",
    ]
    assert (work / "valohai.yaml").read_text() == "# ours\n" + SEED.replace("0.001", "0.5") + more


@finding("min, max, description, pass-as, category of parameters are deleted", "they stay")
def _described(work: Path) -> None:
    text = SEED.replace(
        "      type: float\n",
        "      type: float\n      min: 0\n      max: 1\n      description: How fast\n      category: tuning\n",
    )
    (work / "valohai.yaml").write_text(text)
    assert write(work, "step='train', default_parameters={'learning-rate': 0.5}").code == 0
    assert (work / "valohai.yaml").read_text() == text.replace("0.001", "0.5")


@finding("upload_store= is written by the first run and removed by the second", "a second run changes nothing")
def _twice(work: Path) -> None:
    for _ in range(2):
        assert write(work, "step='a', upload_store='s', multifile=True, environment='e'").code == 0
        assert list(step(work).items())[2:] == [
            ("command", ["pip install -r requirements.txt", "python {source-path} {parameters}"]),
            ("environment", "e"),
            ("source-path", "./train.py"),
            ("upload-store", "s"),
        ]


@finding("tasks and unknown items are dropped, duplicate steps collapse, blueprint is renamed", "other items are not touched")
def _others(work: Path) -> None:
    other = (
        "- task: {name: t, step: a, type: grid_search, parameters: []}\n- blueprint:\n    name: b\n    nodes: []\n    edges: []\n"
    )
    (work / "valohai.yaml").write_text(other)
    assert write(work, "step='a'").code == 0
    assert (work / "valohai.yaml").read_text().startswith(other)


@finding("non-ASCII text becomes escapes, '1e3' is written as a number of YAML 1.2", "text stays text for every reader")
def _text(work: Path) -> None:
    assert write(work, "step='a', default_parameters={'x': 'Grüße', 'y': '1e3', 'z': 'yes'}").code == 0
    text = (work / "valohai.yaml").read_text()
    assert ("default: Grüße\n" in text, "default: '1e3'\n" in text, "default: 'yes'\n" in text) == (True, True, True)


@finding("an error while writing leaves valohai.yaml with 0 bytes", "complete or as it was")
def _atomic(work: Path) -> None:
    (work / "valohai.yaml").write_text(SEED)
    assert write(work, "step='train', default_parameters={'a': '\\ud800'}").code == 1
    assert (work / "valohai.yaml").read_text() == SEED


@finding("a failing file stops the run, earlier ones stay written", "all problems first, then all steps or none")
def _all_or_none(work: Path) -> None:
    write(work, "step='a'", name="bad.py", before="1 +")
    (work / "good.py").write_text("import valohai\nvalohai.prepare(step='b')\n")
    assert run([VHPACK, "yaml", "step", "good.py", "bad.py"], work).code == 1
    assert not (work / "valohai.yaml").exists()


@finding("--yaml conf/other.yaml writes `python ../train.py`, though commands run in the root", "paths are those of the root")
def _elsewhere(work: Path) -> None:
    (work / "conf").mkdir()
    write(work, "step='a'")
    assert run([VHPACK, "yaml", "step", "train.py", "--yaml", "conf/other.yaml"], work).code == 0
    assert "python ./train.py" in (work / "conf/other.yaml").read_text()


@finding("lint exits with the number of errors (256 are success), needs the network, says no lines", "1, offline, lines")
def _lint(work: Path) -> None:
    (work / "valohai.yaml").write_text("".join(f"- step:\n    name: s{number}\n    image: i\n" for number in range(256)))
    ended = run([VHPACK, "yaml", "lint"], work)
    assert ended.code == 1
    assert "valohai.yaml:767:5: error: step: 'command' is missing" in ended.err


@pytest.mark.parametrize("row", FINDINGS, ids=lambda row: row.check.__name__.strip("_"))
def test_what_went_wrong_elsewhere_goes_right(row: Finding, work: Path) -> None:
    row.check(work)


SAME = [
    "valohai.prepare(step='a')",
    "valohai.prepare(step='a', image='i:1', environment='e')",
    "valohai.prepare(step='a', default_parameters={'i': 1, 'f': 0.5, 's': 'x', 'b': False})",
    "valohai.prepare(step='a', default_parameters={'x': {'default': 1, 'min': 0, 'description': 'd', 'optional': True}})",
    "valohai.prepare(step='a', default_inputs={'x': ['https://h/a', 's3://b/*.png'], 'y': [], 'z': 'local'})",
    "valohai.prepare(step='a', multifile=True, upload_store='s')",
    "P = {'x': 1}\nvalohai.prepare(step='a', default_parameters=P)",
]


@pytest.mark.parametrize("source", SAME)
def test_plain_sources_give_the_step_that_they_gave_elsewhere(source: str, work: Path) -> None:
    theirs_module = importlib.import_module("valohai.internals.yaml")
    (work / "train.py").write_text(f"import valohai\n{source}\n")
    config = theirs_module.parse_config_from_source(str(work / "train.py"), str(work / "valohai.yaml"))
    (theirs,) = json.loads(json.dumps(config.serialize()))
    assert run([VHPACK, "yaml", "step", "train.py"], work).code == 0
    ours = step(work)
    if "image=" not in source:
        theirs["step"]["image"] = ours["image"]  # a current Python instead of 3.11
    assert ours == theirs["step"]
