"""`vhpack yaml step` and `vhpack yaml lint`, as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.command import VHPACK, Ended, ordinary_user, run
from tests.steps.test_update import SEED

TRAIN = """\
import valohai

valohai.prepare(
    step="train",
    image="tensorflow/tensorflow:gpu",
    default_parameters={"learning-rate": 0.001},
    default_inputs={"training-set": "http://example.com/training_set.zip"},
)
"""


def yaml(*arguments: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> Ended:
    return run([VHPACK, "yaml", *arguments], cwd, environment=environment)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def project(work: Path) -> Path:
    (work / "train.py").write_text(TRAIN)
    (work / "requirements.txt").write_text("vhpack\n")
    return work


def test_a_step_is_made_byte_for_byte_and_a_second_run_changes_nothing(project: Path) -> None:
    ended = yaml("step", "train.py", cwd=project)
    assert (ended.code, ended.out, ended.err) == (0, "", "valohai.yaml: made with 'train'\n")
    assert (project / "valohai.yaml").read_text() == SEED
    before = (project / "valohai.yaml").stat().st_mtime_ns
    ended = yaml("step", "train.py", cwd=project)
    assert (ended.code, ended.err) == (0, "valohai.yaml: already up to date with 'train'\n")
    assert (project / "valohai.yaml").stat().st_mtime_ns == before
    assert left(project) == ["requirements.txt", "train.py", "valohai.yaml"]


def test_check_and_diff_write_nothing(project: Path) -> None:
    assert yaml("step", "train.py", "--check", cwd=project).code == 1
    ended = yaml("step", "train.py", "--diff", cwd=project)
    assert (ended.code, ended.out.splitlines()[:3]) == (0, ["--- /dev/null", "+++ valohai.yaml", "@@ -0,0 +1,15 @@"])
    assert not (project / "valohai.yaml").exists()
    (project / "valohai.yaml").write_text(SEED.replace("0.001", "0.5  # mine"))
    ended = yaml("step", "train.py", "--diff", "--check", cwd=project)
    assert ended.code == 1
    assert "-      default: 0.5  # mine\n+      default: 0.001  # mine\n" in ended.out
    assert (project / "valohai.yaml").read_text() == SEED.replace("0.001", "0.5  # mine")
    patched = subprocess.run(["patch", "-p0"], input=ended.out, cwd=project, capture_output=True, text=True)
    assert patched.returncode == 0, patched
    assert yaml("step", "train.py", "--check", cwd=project).code == 0


def test_all_problems_of_all_files_are_told_and_nothing_is_written(project: Path) -> None:
    (project / "other.py").write_text("import valohai\nvalohai.prepare(step='o', default_parameters={'a': f(), 'b': g()})\n")
    ended = yaml("step", "train.py", "other.py", cwd=project)
    assert ended.code == 1
    assert "other.py:2:52: default_parameters[\"a\"]: cannot tell 'f()' without running the file\n" in ended.err
    assert "default_parameters[\"b\"]: cannot tell 'g()' without running the file" in ended.err
    assert "Error: 2 problems; nothing was written" in ended.err
    assert "Traceback" not in ended.err
    assert not (project / "valohai.yaml").exists()
    told = json.loads(yaml("step", "other.py", "--json", cwd=project).out)
    assert [(problem["line"], problem["column"]) for problem in told["problems"]] == [(2, 52), (2, 62)]


def test_nothing_of_the_file_is_executed(project: Path) -> None:
    (project / "train.py").write_text("import os\nos.mkdir('ran')\n" + TRAIN)
    assert yaml("step", "train.py", cwd=project).code == 0
    assert not (project / "ran").exists()


def test_a_file_that_would_be_invalid_is_not_written(project: Path) -> None:
    bad = SEED.replace("type: float", "type: float\n      minimum: 3")
    (project / "valohai.yaml").write_text(bad)
    (project / "train.py").write_text(TRAIN.replace("0.001", "0.5"))
    ended = yaml("step", "train.py", cwd=project)
    assert ended.code == 1
    assert "valohai.yaml:12:7: error: step.parameters[0]: 'minimum' is not known" in ended.err
    assert (project / "valohai.yaml").read_text() == bad


def test_long_names_that_the_platform_refuses_are_refused_here(project: Path) -> None:
    (project / "train.py").write_text(TRAIN.replace("training-set", "x" * 65))
    ended = yaml("step", "train.py", cwd=project)
    assert ended.code == 1
    assert not (project / "valohai.yaml").exists()


def test_several_steps_in_one_file_want_a_name(project: Path) -> None:
    (project / "two.py").write_text("import valohai\nvalohai.prepare(step='a')\nvalohai.prepare(step='b')\n")
    ended = yaml("step", "two.py", cwd=project)
    assert ended.code == 1
    assert "this file prepares 2 steps; say which: --step 'a' or --step 'b'" in ended.err
    assert yaml("step", "two.py", "--step", "b", cwd=project).code == 0
    assert "name: b" in (project / "valohai.yaml").read_text()
    assert "there is 'a', 'b'" in yaml("step", "two.py", "--step", "c", cwd=project).err


def test_one_step_in_two_files_is_a_problem(project: Path) -> None:
    (project / "other.py").write_text(TRAIN)
    ended = yaml("step", "train.py", "other.py", cwd=project)
    assert ended.code == 1
    assert "other.py:3:1: the step 'train' is prepared differently in train.py:3:1" in ended.err


def test_several_files_may_share_a_step_that_says_so(project: Path) -> None:
    for name in ("train.py", "other.py"):
        (project / name).write_text(TRAIN.replace('step="train"', 'step="train", multifile=True'))
    assert yaml("step", "train.py", "other.py", cwd=project).code == 0
    assert "    source-path: ./train.py\n" in (project / "valohai.yaml").read_text()
    assert yaml("step", "train.py", "other.py", "--check", cwd=project).code == 0
    (project / "other.py").write_text((project / "other.py").read_text().replace("0.001", "0.5"))
    assert "prepared differently" in yaml("step", "train.py", "other.py", cwd=project).err


def test_paths_are_those_of_the_repository(project: Path) -> None:
    (project / "my jobs").mkdir()
    (project / "my jobs/tr ain.py").write_text(TRAIN)
    assert yaml("step", "my jobs/tr ain.py", cwd=project).code == 0
    assert "- python './my jobs/tr ain.py' {parameters}\n" in (project / "valohai.yaml").read_text()
    (project / "valohai.yaml").unlink()
    (project / "conf").mkdir()
    assert yaml("step", "train.py", "--yaml", "conf/other.yaml", cwd=project).code == 0
    assert "- python ./train.py {parameters}\n" in (project / "conf/other.yaml").read_text()
    (project / ".git").mkdir()
    (project / "valohai.yaml").write_text("# here\n")
    assert yaml("step", "tr ain.py", cwd=project / "my jobs").code == 0
    assert "- python './my jobs/tr ain.py' {parameters}\n" in (project / "valohai.yaml").read_text()


def test_a_file_outside_the_repository_is_refused(project: Path) -> None:
    (project / "inner").mkdir()
    ended = yaml("step", "../train.py", cwd=project / "inner")
    assert ended.code == 1
    assert "lies outside" in ended.err


def test_a_name_with_braces_is_refused(project: Path) -> None:
    (project / "{parameters}.py").write_text(TRAIN)
    ended = yaml("step", "{parameters}.py", cwd=project)
    assert ended.code == 1
    assert "rename the file" in ended.err


def test_the_file_keeps_its_mode_and_its_link(project: Path) -> None:
    real = project / "real.yaml"
    real.write_text("# mine\n")
    real.chmod(0o640)
    (project / "valohai.yaml").symlink_to("real.yaml")
    assert yaml("step", "train.py", cwd=project).code == 0
    assert real.read_text() == "# mine\n" + SEED
    assert real.stat().st_mode & 0o777 == 0o640
    assert (project / "valohai.yaml").is_symlink()


def test_root_leaves_a_file_its_owner(project: Path) -> None:
    file = project / "valohai.yaml"
    file.write_text("")
    owner = (1234, 1235) if os.geteuid() == 0 else (os.getuid(), os.getgid())  # nobody else may give a file away
    os.chown(file, *owner)
    assert yaml("step", "train.py", cwd=project).code == 0
    assert (file.stat().st_uid, file.stat().st_gid, file.read_text()) == (*owner, SEED)


def test_a_file_that_may_not_be_written_to_is_not_replaced(project: Path) -> None:
    file = project / "valohai.yaml"
    file.write_text("")
    file.chmod(0o444)
    ended = run([*ordinary_user(), VHPACK, "yaml", "step", "train.py"], project)
    assert (ended.code, "cannot write valohai.yaml: Permission denied" in ended.err) == (1, True)
    assert file.read_text() == ""
    assert left(project) == ["requirements.txt", "train.py", "valohai.yaml"]


def test_a_write_that_fails_leaves_the_file_as_it_was(project: Path, small_disk: Path) -> None:
    target = small_disk / "valohai.yaml"
    target.write_text(SEED.replace("0.001", "0.5"))
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"0" * 4096)
        except OSError:
            pass
    ended = yaml("step", "train.py", "--yaml", str(target), cwd=project)
    assert ended.code == 1
    assert target.read_text() == SEED.replace("0.001", "0.5")


def test_what_is_no_file_is_refused_at_once(project: Path) -> None:
    os.mkfifo(project / "pipe")
    for arguments in (["train.py", "--yaml", "pipe"], ["pipe"], ["train.py", "--yaml", "/dev/zero"], ["/dev/zero"]):
        ended = yaml("step", *arguments, cwd=project)
        assert (ended.code, ended.err.partition(": ")[2]) == (1, f"{arguments[-1]}: this is no regular file; name one\n")
    assert yaml("lint", "/dev/zero", cwd=project).err == "Error: /dev/zero: this is larger than 16 MiB, and is not read\n"
    (project / "valohai.yaml").write_text(SEED)
    piped = subprocess.run(["sh", "-c", f"cat valohai.yaml | {VHPACK} yaml lint /dev/stdin"], cwd=project, capture_output=True)
    assert piped.returncode == 0


def test_a_list_that_stays_though_code_has_none_is_told(project: Path) -> None:
    (project / "valohai.yaml").write_text(SEED)
    (project / "train.py").write_text("import valohai\nvalohai.prepare(step='train', image='tensorflow/tensorflow:gpu')\n")
    ended = yaml("step", "train.py", "--check", cwd=project)
    assert ended.code == 0
    assert "valohai.yaml:7:5: note: parameters (learning-rate) stay: train.py gives no default_parameters" in ended.err
    assert len(json.loads(yaml("step", "train.py", "--json", cwd=project).out)["notes"]) == 2


def test_missing_files_and_no_files_are_wrong_usage(project: Path) -> None:
    assert yaml("step", cwd=project).code == 2
    assert yaml("step", "none.py", cwd=project).code == 2
    assert yaml("step", ".", cwd=project).code == 2
    assert yaml("lint", "none.yaml", cwd=project).code == 2
    assert yaml("lint", cwd=project).code == 1


def test_lint_says_lines_and_ends_with_1_for_errors_only(project: Path) -> None:
    (project / "valohai.yaml").write_text(SEED.replace("type: float", "type: int") + "- stp: {}\n- step:\n    name: 3\n")
    ended = yaml("lint", cwd=project)
    assert ended.code == 1
    assert "valohai.yaml:11:13: error: step.parameters[0].type: 'int' must be one of flag, float, integer, string\n" in ended.err
    assert "          type: int\n                ^~~\n" in ended.err
    assert "valohai.yaml:18:5: error: step: 'command' is missing" in ended.err
    assert "valohai.yaml:18:11: error: step.name: 3 must be of type string" in ended.err
    (project / "valohai.yaml").write_text(SEED.replace("default: 0.001", "default: fast"))
    ended = yaml("lint", cwd=project)
    assert ended.code == 0
    assert (
        "valohai.yaml:8:13: warning: Step train, parameter learning-rate: default fast is not a floating-point number"
        in ended.err
    )
    told = json.loads(yaml("lint", "--json", cwd=project).out)
    assert (told["errors"], told["findings"][0]["severity"], told["findings"][0]["line"]) == (0, "warning", 8)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- step: {\n", "valohai.yaml:2:1: error: this is no YAML"),
        ("", "valohai.yaml: error: this is empty"),
        ("a: b\n", "valohai.yaml:1:1: error: {'a': 'b'} must be of type array"),
        (
            "- step:\n    name: a\n    image: b\n    command: c\n    runtime-config-preset: x\n",
            'valohai.yaml:2:11: error: Step "a", missing',
        ),
        (
            "- step:\n    name: a\n    name: b\n    image: c\n    command: d\n",
            "valohai.yaml:3:5: warning: 'name' is here for the second time",
        ),
        (
            "- pipeline:\n    name: p\n    nodes:\n    - {name: n, type: execution, step: none}\n    edges: []\n",
            "valohai.yaml:2:11: error: Pipeline",
        ),
        ("\xff", "no UTF-8"),
    ],
)
def test_lint_finds_the_place(text: str, place: str, work: Path) -> None:
    (work / "valohai.yaml").write_bytes(text.encode("latin-1"))
    assert place in yaml("lint", cwd=work).err


def test_without_the_extra_the_error_names_it(project: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    for module in ("yaml", "valohai_yaml"):
        (tmp_path / "hidden" / f"{module}.py").write_text(f"raise ModuleNotFoundError('no', name={module!r})\n")
    ended = yaml("step", "train.py", cwd=project, environment={"PYTHONPATH": str(tmp_path / "hidden")})
    assert ended.code == 1
    assert ended.err == "Error: vhpack yaml needs yaml; install it with: pip install 'vhpack[yaml]'\n"


def test_control_characters_of_a_source_never_reach_the_terminal(project: Path) -> None:
    (project / "train.py").write_text("import valohai\nvalohai.prepare(step='a' + f('\x1b[2J'))\n")
    ended = yaml("step", "train.py", cwd=project)
    assert "\x1b" not in ended.err
    assert "\\x1b[2J" in ended.err


def test_a_deep_source_is_a_problem_and_no_crash(project: Path) -> None:
    for source in (
        "-" * 300_000 + "1",
        "x = " + "a." * 100_000 + "b",
        "x = " + "[" * 90 + "]" * 90 + "\n" + TRAIN,
        "if x:\n y = 1\n" + "elif x:\n y = 1\n" * 3000 + TRAIN,
    ):
        (project / "train.py").write_text(source)
        ended = yaml("step", "train.py", cwd=project)
        assert ended.code in (0, 1)
        assert "Traceback" not in ended.err


def test_help_of_the_group_loads_no_yaml() -> None:
    code = "import sys; from vhpack.cli import main; main(['yaml', '--help']); print('modules', *sys.modules)"
    loaded = (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
        .stdout.split("modules ")[-1]
        .split()
    )
    assert not {"yaml", "valohai_yaml", "jsonschema"} & set(loaded)
