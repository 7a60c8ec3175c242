"""vhpack under the name `valohai`, and what it leaves to the package of that name."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vhpack.incumbent import FOLDER
from vhpack.standin import MODULES


def python(code: str, *arguments: str, **more: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, **more}, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def vhpack_run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vhpack", "run", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


INSTALLED = "import sys, vhpack; vhpack.install_as_valohai(); import valohai\n"


def test_the_name_is_ours() -> None:
    code = "import valohai.paths as p; from valohai import outputs, prepare; print(valohai is vhpack, outputs is vhpack.outputs)"
    assert python(INSTALLED + code) == "True True\n"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_the_one_copy_of_ours(name: str) -> None:
    code = f"import {name}; print(sys.modules[{name!r}] is sys.modules[{MODULES[name]!r}])"
    assert python(INSTALLED + code) == "True\n"


def test_modules_are_attributes_too() -> None:
    code = (
        "import valohai.prepare_impl, valohai.config, valohai.types, valohai.consts, valohai.webhooks\n"
        "print(valohai.prepare_impl.prepare is valohai.prepare, valohai.config.is_running_in_valohai(), valohai.metadata.logger)\n"
        "print(valohai.consts.VH_LOCAL_INPUTS_DIR, valohai.types.InputDict is not None, valohai.webhooks.Webhook.__name__)"
    )
    assert python(INSTALLED + code).splitlines() == [
        "True False <class 'vhpack.metadata.Logger'>",
        ".valohai/inputs True Webhook",
    ]


def test_importing_a_module_hides_no_function() -> None:
    code = (
        "import importlib\n"
        f"for name in {sorted(MODULES)!r}: importlib.import_module(name)\n"
        "import valohai.triggers, valohai.webhooks\n"
        "names = 'inputs outputs parameters execution output_properties prepare logger set_status_detail triggers'\n"
        "print(all(callable(getattr(valohai, name)) for name in names.split()), valohai.distributed.is_distributed_task())"
    )
    assert python(INSTALLED + code) == "True False\n"


def test_nothing_is_loaded_a_second_time() -> None:
    code = (
        "import importlib\n"
        f"for name in {sorted(MODULES)!r}: importlib.import_module(name)\n"
        "files = [m.__file__ for n, m in sys.modules.items() if getattr(m, '__file__', None) and 'vhpack' in m.__file__]\n"
        "from collections import Counter; modules = {id(m): m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}\n"
        "print([f for f, n in Counter(modules.values()).items() if n > 1 and 'vhpack' in f])"
    )
    assert python(INSTALLED + code) == "[]\n"


@pytest.mark.parametrize(
    "name", ["valohai.internals.compression", "valohai.internals.global_state", "valohai.runs", "valohai.cli"]
)
def test_what_is_not_public_there_is_not_here(name: str) -> None:
    code = f"\ntry: import {name}\nexcept ModuleNotFoundError as error: print(error.name)"
    assert python(INSTALLED + code) == f"{name}\n"


def test_what_their_command_line_uses_is_theirs_and_in_step_with_ours() -> None:
    code = (
        "from valohai.internals.yaml import parse_config_from_source\n"
        "from valohai.internals.merge import python_to_yaml_merge_strategy\n"
        "from valohai.internals.pipeline import get_pipeline_from_source\n"
        "from valohai.yaml import config_to_yaml\n"
        "import valohai.internals.yaml, valohai.yaml\n"
        "open('a.py', 'w').write('import valohai\\nvalohai.prepare(step=\"é\", default_parameters={\"a\": 1})')\n"
        "config = parse_config_from_source('a.py', '.')\n"
        "import yaml; print(yaml.safe_load(config_to_yaml(config)) == config.serialize(), valohai.yaml is vhpack.yaml)\n"
        "print('é' in config_to_yaml(config), valohai is vhpack, valohai.prepare is vhpack.prepare)"
    )
    assert python(INSTALLED + code) == "True True\nTrue True True\n"


def test_every_public_name_of_theirs_is_here() -> None:
    code = (
        "import importlib, inspect, json, sys\n"
        "def own(name, value): return getattr(value, '__module__', name) == name\n"
        "found = {}\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(name)\n"
        "    held = vars(sys.modules[name]).items()\n"
        "    found[name] = [n for n, v in held if not n.startswith('_') and not inspect.ismodule(v) and own(n, v)]\n"
        "print(json.dumps(found))"
    )
    theirs = json.loads(python(code, json.dumps(sorted(MODULES))))
    assert theirs.keys() == MODULES.keys()
    ours = {name: importlib.import_module(MODULES[name]) for name in theirs}
    missing = {name: [each for each in found if not hasattr(ours[name], each)] for name, found in theirs.items()}
    for name in theirs.keys() - {"valohai.consts"}:
        missing[name] = [each for each in missing[name] if each not in theirs["valohai.consts"]]  # which are imported there
    assert {name: found for name, found in missing.items() if found} == {}


def test_twice_is_as_good_as_once() -> None:
    assert (
        python(INSTALLED + "vhpack.install_as_valohai(); print(len([f for f in sys.meta_path if 'standin' in repr(f)]))") == "1\n"
    )


def test_pipelines_triggers_and_webhooks_are_theirs() -> None:
    code = (
        "from valohai import Pipeline, triggers\n"
        "import valohai.webhooks, valohai.triggers\n"
        "from valohai.webhooks import Webhook\n"
        "print(Pipeline.__module__.partition('.')[0], type(triggers).__name__, Webhook.__module__, valohai is vhpack)\n"
        "print(issubclass(valohai.triggers.TriggerException, valohai.webhooks.WebhookException), vhpack.webhooks.Webhook is Webhook)\n"
        "print(triggers('none', required=False))"
    )
    assert python(INSTALLED + code) == "papi Triggers valohai.webhooks True\nTrue True\nNone\n"


def test_they_come_without_the_name_as_well() -> None:
    code = (
        "import vhpack, sys; before = 'valohai' in sys.modules; from vhpack import Pipeline, triggers, webhooks\n"
        "import valohai; print(before, valohai is vhpack, valohai.Pipeline is Pipeline, valohai.webhooks is webhooks)"
    )
    assert python(code) == "False False True True\n"


@pytest.mark.parametrize("name", ["Pipeline", "triggers", "webhooks"])
def test_without_valohai_utils_the_error_says_what_to_install(name: str) -> None:
    code = (
        "import sys; sys.modules['valohai'] = None\n"
        f"try: from vhpack import {name}\n"
        "except ImportError as error: print(type(error).__name__, \"pip install 'vhpack[valohai]'\" in str(error))\n"
        "from vhpack import *; print(prepare.__name__)"
    )
    assert python(code) == "MissingExtraError True\nprepare\n"


def test_what_theirs_brings_to_the_import_system_stays(tmp_path: Path) -> None:
    (tmp_path / "valohai").mkdir()
    (tmp_path / "valohai/__init__.py").write_text(
        "import sys\nPipeline = 3\nclass Finder:\n    @staticmethod\n    def find_spec(*_): return None\n"
        "sys.meta_path.append(Finder); sys.path.append('brought')\n"
    )
    code = (
        "from valohai import Pipeline; found = [getattr(finder, '__name__', '') for finder in sys.meta_path]\n"
        "print(Pipeline, 'Finder' in found, 'brought' in sys.path, valohai is vhpack, sys.path.count(sys.argv[1]))"
    )
    folders = os.pathsep.join([FOLDER, str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert python(INSTALLED + code, FOLDER, PYTHONPATH=folders) == "3 True True True 1\n"


def test_theirs_loaded_before_is_a_warning() -> None:
    code = (
        "import warnings, valohai, vhpack; theirs = valohai\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); vhpack.install_as_valohai()\n"
        "import valohai; print(len(caught), valohai is vhpack, theirs is vhpack)"
    )
    assert python(code) == "1 True False\n"


# --- vhpack run ----------------------------------------------------------------------------------------------------------


def test_an_unmodified_script_runs(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, valohai, neighbour\n"
        "from valohai.paths import get_outputs_path\n"
        "valohai.prepare(step='train', default_parameters={'learning-rate': 0.001})\n"
        "print(valohai.__name__, __name__, __file__, sys.argv, valohai.parameters('learning-rate').value, neighbour.X)\n"
        "sys.exit(3)\n"
    )
    (tmp_path / "neighbour.py").write_text("X = 5")
    ran = vhpack_run(script, "--learning-rate=.002")
    assert (ran.returncode, ran.stderr) == (3, "")
    assert ran.stdout == f"vhpack __main__ {script} {[str(script), '--learning-rate=.002']} 0.002 5\n"


def test_options_behind_the_script_are_the_scripts(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv[1:])")
    assert vhpack_run(script, "--help", "-x", "--", "--version").stdout == "['--help', '-x', '--', '--version']\n"


def test_what_the_script_starts_has_vhpack_too(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import multiprocessing, subprocess, sys, valohai\n"
        "def name(_): return valohai.__name__, valohai.outputs().dir_path\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: spawned = pool.map(name, [1])[0]\n"
        "    said = subprocess.check_output([sys.executable, '-c', 'import valohai; print(valohai.__name__)'], text=True)\n"
        "    print(spawned == name(1), said.strip())\n"
    )
    ran = vhpack_run(script)
    assert (ran.stdout, ran.stderr) == ("True vhpack\n", "")


def test_pipelines_are_theirs_in_a_script_that_runs(tmp_path: Path) -> None:
    script = tmp_path / "pipe.py"
    script.write_text("from valohai import Pipeline, triggers; print(Pipeline.__module__.partition('.')[0], callable(triggers))")
    assert vhpack_run(script).stdout == "papi True\n"


def test_flags_of_the_interpreter_are_the_scripts(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, valohai; print(valohai.__name__, sys.stdout.write_through, sys.flags.optimize, sys.warnoptions)"
    )
    command = [sys.executable, "-u", "-O", "-W", "error", "-m", "vhpack", "run", str(script)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120).stdout == "vhpack True 1 ['error']\n"


@pytest.mark.parametrize("flag", ["-E", "-I"])
def test_an_interpreter_that_would_find_theirs_is_refused(flag: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import valohai; print(valohai.__name__)")
    ran = subprocess.run([sys.executable, flag, "-m", "vhpack", "run", script], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "install_as_valohai" in ran.stderr


def test_a_script_that_fails_has_its_own_traceback(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import valohai\n1 / 0\n")
    ran = vhpack_run(script)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[:2] == ["Traceback (most recent call last):", f'  File "{script}", line 2, in <module>']


def test_a_script_has_its_own_signals(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import time\nprint('ready', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('stopped')\n"
    )
    child = subprocess.Popen([sys.executable, "-m", "vhpack", "run", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "stopped\n"


def test_a_script_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    ran = vhpack_run(tmp_path / "none.py")
    assert ran.returncode == 2
    assert "none.py" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_option_of_the_script_is_none_of_ours_where_the_script_is_missing() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vhpack", "run", "missing.py", "--json"], capture_output=True, text=True, timeout=120
    )

    assert ran.returncode != 0
    assert ran.stdout == ""
    assert "missing.py" in ran.stderr
