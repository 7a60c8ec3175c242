"""Where outputs go: locally, on the platform, and when the environment says otherwise."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vhpack
from vhpack import runs

HASH = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    """The folder that a local run starts in: the test's own."""
    return tmp_path.resolve()


def test_local_outputs_go_below_a_folder_for_each_run(own_run: Path) -> None:
    folder = Path(vhpack.outputs().dir_path)
    assert folder.parent == own_run / ".valohai" / "outputs"
    assert HASH.fullmatch(folder.name)


def test_a_run_has_one_folder_and_the_next_run_another() -> None:
    first = vhpack.outputs().dir_path
    assert vhpack.outputs("x").dir_path == first
    runs.reset()
    assert vhpack.outputs().dir_path != first


def test_the_platform_gets_its_fixed_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_JOB_ID", "job-1")
    assert vhpack.outputs("images").path("a.png", makedirs=False) == "/valohai/outputs/images/a.png"


def test_an_empty_job_id_is_a_local_run(monkeypatch: pytest.MonkeyPatch, own_run: Path) -> None:
    monkeypatch.setenv("VH_JOB_ID", "")
    assert vhpack.outputs().dir_path.startswith(str(own_run))


@pytest.mark.parametrize("job", ["", "job-1"])
def test_the_outputs_variable_overrides_both(job: str, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_JOB_ID", job)
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(own_run / "elsewhere"))
    assert vhpack.outputs().dir_path == str(own_run / "elsewhere")


def test_a_relative_outputs_variable_becomes_absolute(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_OUTPUTS_DIR", "out/")
    assert vhpack.outputs("a").path("b") == str(own_run / "out/a/b")


def test_flat_outputs_drop_the_run(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_FLAT_LOCAL_OUTPUTS", "1")
    assert vhpack.outputs("a").path("b", makedirs=False) == str(own_run / ".valohai/outputs/a/b")


def test_paths_survive_a_change_of_directory(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vhpack.outputs("a").path("b")
    (own_run / "inner").mkdir()
    monkeypatch.chdir(own_run / "inner")
    assert vhpack.outputs("a").path("b") == before


def _child_folder(_: int) -> str:
    return vhpack.outputs().dir_path


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_write_into_the_same_run(method: str, own_run: Path) -> None:
    if method == "fork" and sys.version_info >= (3, 12):
        # From 3.12 on Python warns of forks beside threads, and other tests' threads may still be around.
        method = "forkserver"
    mine = vhpack.outputs().dir_path
    (own_run / "inner").mkdir()
    os.chdir(own_run / "inner")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert set(pool.map(_child_folder, range(4))) == {mine}


def test_programs_started_by_a_run_write_into_it(own_run: Path) -> None:
    mine = vhpack.outputs().dir_path
    code = "import vhpack; print(vhpack.outputs().dir_path)"
    (own_run / "inner").mkdir()
    child = subprocess.check_output([sys.executable, "-c", code], cwd=own_run / "inner", text=True)
    assert child.strip() == mine


@pytest.mark.parametrize("name", ["", "a/b", "./a"])
def test_path_creates_folders_unless_told_not_to(name: str) -> None:
    later = vhpack.outputs(name).path("deep/er/file.txt", makedirs=False)
    assert not os.path.exists(vhpack.outputs().dir_path)
    now = vhpack.outputs(name).path("deep/er/file.txt")
    assert now == later
    assert os.path.isdir(os.path.dirname(now))


def test_an_absolute_file_is_kept_and_its_folder_created(own_run: Path) -> None:
    assert vhpack.outputs("a").path(own_run / "x/y.txt") == str(own_run / "x/y.txt")
    assert (own_run / "x").is_dir()


def test_an_absolute_name_below_the_outputs_is_as_good_as_a_relative_one() -> None:
    inside = os.path.join(vhpack.outputs().dir_path, "a")
    assert vhpack.outputs(inside).path("b") == vhpack.outputs("a").path("b")


@pytest.mark.parametrize("name", ["/etc", "..", "a/../../x", "{root}-evil"])
def test_a_name_outside_the_outputs_is_refused(name: str) -> None:
    name = name.format(root=vhpack.outputs().dir_path)
    with pytest.raises(ValueError, match="outside the outputs folder") as caught:
        vhpack.outputs(name).path("x")
    assert isinstance(caught.value, vhpack.PackError)


@pytest.mark.parametrize("run_id", ["../up", "..", "a/b"])
def test_a_run_id_that_is_no_folder_name_is_refused(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_RUN_ID", run_id)
    with pytest.raises(vhpack.OptionError, match="VHPACK_RUN_ID"):
        _ = vhpack.outputs().dir_path
