"""What the README shows of `vhpack yaml` is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.engine.command import VHPACK, run

README = Path(__file__).parents[2] / "README.md"


def test_the_step_of_the_readme_is_made_from_its_script(work: Path) -> None:
    section = README.read_text().split("## The step in `valohai.yaml`")[1]
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (step,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (work / "train.py").write_text(script)
    assert run([VHPACK, "yaml", "step", "train.py"], work).code == 0
    assert (work / "valohai.yaml").read_text() == step


def test_the_error_of_the_readme_is_said_as_it_stands_there(work: Path) -> None:
    section = README.read_text().split("## The step in `valohai.yaml`")[1]
    (shown,) = re.findall(r"```\n  (train\.py:.*?)  ```", section, re.DOTALL)
    line = '    default_inputs={"training-set": f"http://{my_domain}/set.zip"},'
    script = "import vhpack\nfrom where import my_domain\n" + "\n" * 7 + "vhpack.prepare(\n    step='train',\n" + line + "\n)\n"
    (work / "train.py").write_text(script)
    said = run([VHPACK, "yaml", "step", "train.py"], work).err
    assert [text.strip() for text in said.splitlines()[:3]] == [text.strip() for text in shown.splitlines()[:3]]
