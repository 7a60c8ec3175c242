"""The same questions to ClearML, where it is installed (`make soak`), and to vhpack: the answers are the same, but for those below."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from tests.registry.making import environment

SCRIPT = Path(__file__).parent / "side_by_side.py"

OTHERWISE = {
    # It raises `Exception` itself, which catches ours, too.
    "two configurations": ("Exception", "ValueError"),
    # Offline it does not get as far: DummyModel has no attribute 'locked'.
    "other labels": ("AttributeError", True),
    "other labels, waited for": ("AttributeError", True),
    "labels now": ({"dog": 1}, {"bird": 3}),
    "another design": ("AttributeError", True),
    "two designs": ("AttributeError", "ValueError"),
    "weights of nothing": ("AttributeError", "ValueError"),
    "weights of two": ("AttributeError", "ValueError"),
    # Its documentation has a truth value, and it returns none.
    "a destination": (None, False),
}


def answers(package: str, ground: Path) -> dict[str, object]:
    around = {**environment(), "HOME": str(ground)}
    asked = subprocess.run([sys.executable, SCRIPT, package], env=around, cwd=ground, capture_output=True, text=True, timeout=120)
    assert asked.returncode == 0, asked.stderr
    # At its end ClearML says more.
    found = json.loads(next(line for line in asked.stdout.splitlines() if line.startswith("{")))
    assert isinstance(found, dict)
    return found


def test_vhpack_answers_what_a_script_for_clearml_asks(ground: Path) -> None:
    found = answers("vhpack", ground)
    assert {what: found[what] for what in OTHERWISE} == {what: ours for what, (_, ours) in OTHERWISE.items()}


if importlib.util.find_spec("clearml"):  # it is installed by `make soak` alone

    def test_clearml_answers_the_same(ground: Path) -> None:
        theirs, ours = answers("clearml", ground), answers("vhpack", ground)
        differ = {what: (theirs[what], ours[what]) for what in theirs if theirs[what] != ours[what]}
        assert differ == OTHERWISE
