"""The example: a training loop that stores every epoch, and another script that takes the best one by its alias."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import vhpack
from tests.registry.making import environment

EXAMPLES = Path(__file__).parent / "examples"


def ran(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_best_of_a_training_is_what_another_script_gets(ground: Path) -> None:
    best, score = ran("train.py", ground).split()
    assert float(score) > 0.6, "it learns something"
    (model,) = vhpack.query_models(published=True)
    assert [version.state for version in model.versions()] == ["stored"] * 8
    assert model.aliases == {"model://digits/prod": int(best) + 1}
    assert not Path("weights.pkl").exists()
    assert ran("predict.py", ground).startswith("['one', 'two', 'zero'] {")
