"""`prepare()` and what a run is given: by code, by files, by its command line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vhpack
from vhpack import paths, runs

DEFAULTS = {"learning-rate": 0.001, "epochs": 5, "name": "a", "fast": False, "layers": [64, 32], "tags": ["x"], "note": None}


def prepared(*arguments: str, **more: object) -> dict[str, object]:
    sys.argv = ["train.py", *arguments]
    vhpack.prepare(step="train", default_parameters=DEFAULTS, **more)  # type: ignore[arg-type]
    return {name: vhpack.parameters(name).value for name in DEFAULTS}


def config(**files: object) -> None:
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_without_anything_else_the_defaults_hold() -> None:
    assert prepared() == DEFAULTS


def test_the_file_is_over_the_defaults_and_the_command_line_over_both() -> None:
    config(parameters={"epochs": 7, "name": "file"})
    assert prepared("--name=line") == {**DEFAULTS, "epochs": 7, "name": "line"}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        *((["--learning-rate=.002"], "learning-rate", 0.002), (["--learning_rate", ".002"], "learning-rate", 0.002)),
        *((["--learning-rate", "-1e-3"], "learning-rate", -0.001), (["--epochs=1e3"], "epochs", 1000)),
        *((["--fast"], "fast", True), (["--fast=no"], "fast", False), (["--fast", "off"], "fast", False)),
        *((["--fast=1"], "fast", True), (["--fast", "--epochs=3"], "fast", True), (["--fast=False"], "fast", False)),
        *((["--layers=1,2,3"], "layers", [1, 2, 3]), (["--layers=1", "--layers", "2"], "layers", [1, 2])),
        *((["--layers="], "layers", []), (["--tags=a,b"], "tags", ["a", "b"]), (["--name="], "name", "")),
        *((["--name=--x=y"], "name", "--x=y"), (["--epochs=1", "--epochs=2"], "epochs", 2), (["--note=hello"], "note", "hello")),
        *((["--", "--epochs=9"], "epochs", 5), (["--help", "--epochs=9"], "epochs", 9)),
    ],
)
def test_the_command_line_is_read_by_the_types_of_the_defaults(arguments: list[str], name: str, value: object) -> None:
    found = prepared(*arguments)[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--learning-rate=fast", "parameter learning-rate: 'fast' is not a number (type float)"),
        ("--epochs=1.5", "parameter epochs: '1.5' is not an integer (type integer)"),
        ("--fast=maybe", "parameter fast: 'maybe' is not true or false (type flag)"),
        ("--layers=1,x", "parameter layers: 'x' is not an integer (type integer)"),
        ("--epochs", "parameter epochs: --epochs needs a value, an integer"),
    ],
)
def test_a_wrong_value_ends_with_one_line_and_status_2(argument: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        prepared(argument)
    assert caught.value.code == 2
    assert capfd.readouterr() == ("", f"train.py: error: {said}\n")


def test_an_unknown_argument_is_a_warning_that_suggests(capfd: pytest.CaptureFixture[str]) -> None:
    assert prepared("--epoch=3", "--zzz", "1", "2", "-v", "data.csv") == DEFAULTS
    out, err = capfd.readouterr()
    assert (out, err.splitlines()) == (
        "",
        [
            "Warning: unknown argument --epoch=3; did you mean --epochs?",
            "Warning: unknown argument --zzz",
            "Warning: unknown argument -v",
        ],
    )


PASSED: dict[str, dict[str, Any]] = {
    "rate": {"default": 0.1, "pass-as": "-lr {v}"},
    "size": {"default": 1, "pass-as": "--s={value}px"},
    "fast": {"default": False, "pass-true-as": "--quick", "pass-false-as": "--no-quick now"},
    "loud": {"default": False, "pass-as": "-l"},
    "tags": {"default": ["x"], "pass-as": "--tag {v}", "multiple": "repeat"},
    "layers": {"default": [1], "pass-as": "--{name}-of:{v}"},
    "place": {"default": "a", "pass-as": "{v}"},
    "odd": {"default": "a", "pass-as": "{v} {none}"},
    "dull": {"default": "a", "pass-as": "--dull-it"},
}


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        *((["-lr", "0.5"], {"rate": 0.5}), (["-lr", "-0.5"], {"rate": -0.5}), (["--rate=0.5"], {"rate": 0.5})),
        *((["--s=7px"], {"size": 7}), (["--quick"], {"fast": True}), (["--no-quick", "now"], {"fast": False})),
        *((["-l"], {"loud": True}), (["--tag", "a", "--tag", "b c"], {"tags": ["a", "b c"]})),
        *(
            (["--layers-of:3,4"], {"layers": [3, 4]}),
            (["here"], {"place": "here"}),
            (["--place=-x", "-lr", "1"], {"rate": 1.0, "place": "-x"}),
        ),
        (["-lr", "1", "--quick", "there", "--s=2px"], {"rate": 1.0, "fast": True, "place": "there", "size": 2}),
    ],
)
def test_what_the_platform_passes_a_value_as_is_understood(
    arguments: list[str], values: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    sys.argv = ["train.py", *arguments]
    vhpack.prepare(step="train", default_parameters=PASSED)
    assert capfd.readouterr() == ("", "")
    found = {name: vhpack.parameters(name).value for name in PASSED}
    assert found == {**{name: spec["default"] for name, spec in PASSED.items()}, **values}


@pytest.mark.parametrize("arguments", [["-lr"], ["--s=7"], ["--no-quick"], ["--dull-it"], ["-lx", "1"]])
def test_what_is_passed_by_half_is_an_unknown_argument(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    sys.argv = ["train.py", *arguments]
    vhpack.prepare(step="train", default_parameters=PASSED)
    assert f"unknown argument {arguments[0]}" in capfd.readouterr().err


def test_the_platforms_own_command_line_says_what_is_meant(capfd: pytest.CaptureFixture[str]) -> None:
    from valohai_yaml.objs import Parameter

    sent: dict[str, Any] = {
        "rate": 0.25,
        "size": 3,
        "fast": True,
        "loud": True,
        "tags": ["p", "q"],
        "layers": [5, 6],
        "place": "there",
    }
    kinds = {"rate": "float", "size": "integer", "fast": "flag", "loud": "flag", "layers": "integer"}
    sys.argv = ["train.py"]
    for name, value in sent.items():
        spec = {key.replace("-", "_"): setting for key, setting in PASSED[name].items()}
        more: dict[str, Any] = {"multiple": "separate"} if name == "layers" else {}
        made = Parameter(**{**spec, "name": name, "type": kinds.get(name, "string"), **more})
        sys.argv += made.format_cli(value) or []
    vhpack.prepare(step="train", default_parameters=PASSED)
    assert {name: vhpack.parameters(name).value for name in sent} == sent
    assert capfd.readouterr() == ("", "")


def test_the_scripts_own_parser_goes_on_working(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import argparse, vhpack\n"
        "vhpack.prepare(step='train', default_parameters={'epochs': 5})\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--epochs', type=int)\n"
        "print(parser.parse_args().epochs, vhpack.parameters('epochs').value)\n"
    )
    ran = subprocess.run([sys.executable, script, "--epochs=7"], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("7 7\n", "")
    helped = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert (helped.returncode, helped.stderr, helped.stdout[:16]) == (0, "", "usage: train.py ")


@pytest.mark.parametrize("program", ["/lib/ipykernel_launcher.py", "ipykernel_launcher.py", "/lib/ipykernel/__main__.py"])
def test_a_notebooks_kernel_has_arguments_of_its_own(program: str, capfd: pytest.CaptureFixture[str]) -> None:
    sys.argv = [program, "-f", "kernel.json"]
    vhpack.prepare(step="train")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "program", ["/home/ann/ipykernel-tests/train.py", "my_colab_kernel_launcher.py", "ipykernel/src/train.py"]
)
def test_a_script_in_a_folder_called_like_a_kernel_has_its_arguments(program: str) -> None:
    sys.argv = [program, "--epochs=7"]
    vhpack.prepare(step="train", default_parameters={"epochs": 5})
    assert vhpack.parameters("epochs").value == 7


@pytest.mark.parametrize(
    ("in_file", "value"), [(5.0, 5), (0.5, 0.5), ("5", "5"), (None, None), (True, True), ([1, 2], [1, 2]), (10**400, 10**400)]
)
def test_a_value_of_the_file_has_the_declared_type_where_it_fits(in_file: object, value: object) -> None:
    config(parameters={"epochs": in_file})
    found = prepared()["epochs"]
    assert (found, type(found)) == (value, type(value))


def test_a_type_that_the_file_changed_holds_for_the_command_line() -> None:
    config(parameters={"epochs": 0.5})
    assert prepared("--epochs=0.25")["epochs"] == 0.25


def test_names_in_the_file_match_in_both_spellings_and_may_be_new() -> None:
    config(parameters={"learning_rate": 1, "momentum": 0.9, "layers": 5})
    assert prepared("--momentum=0.8") == {**DEFAULTS, "learning-rate": 1.0, "layers": [5]}
    assert vhpack.parameters("momentum").value == 0.8
    assert vhpack.parameters("learning_rate").value == 1.0


@pytest.mark.parametrize(("job", "tags"), [("1", ["a,b", "c"]), ("", ["a", "b", "c"])])
def test_commas_in_a_jobs_texts_part_nothing(job: str, tags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config(parameters={"tags": ["a,b", "c"]})
    monkeypatch.setenv("VH_CONFIG_DIR", paths.get_config_path())
    monkeypatch.setenv("VH_JOB_ID", job)
    assert prepared("--tags=a,b,c")["tags"] == tags
    assert prepared("--tags=a,b")["tags"] == ["a", "b"]


def test_a_default_is_for_names_that_nobody_knows() -> None:
    config(parameters={"known": None})
    assert vhpack.parameters("known", default=3).value is None
    assert vhpack.parameters("unknown", default=3).value == 3
    assert vhpack.parameters("unknown").value is None


def test_without_prepare_the_files_and_the_command_line_hold_and_nothing_is_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    config(parameters={"epochs": 7, "size": 3})
    sys.argv = ["train.py", "--epochs=9", "--verbose", "data.csv"]
    assert (vhpack.parameters("epochs").value, vhpack.parameters("size").value) == (9, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["{", "[]", '"a"', "\xff"])
def test_a_file_that_cannot_be_read_is_named(content: str) -> None:
    config(parameters=content)
    with pytest.raises(vhpack.ConfigError, match=r"parameters\.json"):
        prepared()


def test_another_call_replaces_the_first() -> None:
    prepared("--epochs=9")
    sys.argv = ["train.py"]
    vhpack.prepare(step="test", default_parameters={"size": 3})
    assert vhpack.parameters("epochs").value is None
    assert (vhpack.parameters("size").value, runs.current().step) == (3, "test")


def test_reset_forgets_step_parameters_inputs_and_run() -> None:
    prepared("--epochs=9")
    before = runs.current()
    vhpack.reset()
    after = runs.current()
    assert (after.step, after.parameters, after.inputs) == ("", {}, {})
    assert after.hash != before.hash
    assert vhpack.parameters("epochs").value is None


def test_arguments_are_keywords_only() -> None:
    with pytest.raises(TypeError):
        vhpack.prepare("train")  # type: ignore[call-arg]


@given(st.lists(st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_any_texts_arrive_in_a_list(texts: list[str]) -> None:
    assert prepared("--tags=" + ",".join(texts))["tags"] == texts


@given(st.floats(allow_nan=False), st.integers())
def test_numbers_arrive_as_they_left(rate: float, epochs: int) -> None:
    found = prepared(f"--learning-rate={rate!r}", "--epochs", str(epochs))
    assert (found["learning-rate"], found["epochs"]) == (rate, epochs)


@given(st.lists(st.text(max_size=9), max_size=6))
def test_no_command_line_is_a_crash(arguments: list[str]) -> None:
    with contextlib.suppress(SystemExit):
        prepared(*arguments)


@pytest.mark.parametrize(("job", "start"), [("", None), ("1", "/valohai")])
def test_places_are_absolute_and_those_of_the_platform_in_a_job(
    job: str, start: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VH_JOB_ID", job)
    vhpack.prepare(step="train")
    base = tmp_path.resolve()
    here = start or f"{base}/.valohai"
    assert paths.get_config_path() == f"{here}/config"
    assert paths.get_inputs_path("a") == (f"{here}/inputs/a" if job else f"{here}/inputs/train/a")
    assert paths.get_repository_path() == ("/valohai/repository" if job else str(base))
    assert paths.get_parameters_config_path() == f"{here}/config/parameters.json"
    assert paths.get_api_config_path() == f"{here}/config/api.json"


@pytest.mark.parametrize("job", ["", "1"])
def test_variables_say_otherwise(job: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VH_JOB_ID", job)
    for what in ("CONFIG", "INPUTS", "REPOSITORY"):
        monkeypatch.setenv(f"VH_{what}_DIR", f"my/{what}")
    base = tmp_path.resolve()
    assert (paths.get_config_path(), paths.get_repository_path()) == (f"{base}/my/CONFIG", f"{base}/my/REPOSITORY")
    assert (paths.get_inputs_path(), paths.get_inputs_path("a")) == (f"{base}/my/INPUTS", f"{base}/my/INPUTS/a")


def test_a_steps_name_leads_nowhere_else(tmp_path: Path) -> None:
    vhpack.prepare(step="../../up")
    assert Path(paths.get_inputs_path()).parent == tmp_path.resolve() / ".valohai/inputs"
