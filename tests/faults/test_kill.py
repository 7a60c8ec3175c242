"""A kill at any system call that changes the disk: every original is there, or in a complete archive.

The pack runs again and again; in run k strace kills the process when a thread makes its k-th call of one kind, until a run
ends by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.tracing import strace, was_injected

MOST_RUNS = 500


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_kill_at_any_call_loses_nothing(tmp_path: Path, scenario: Scenario) -> None:
    log = tmp_path / "log"
    kills = 0
    for call in scenario.calls_used(tmp_path):
        for k in range(1, MOST_RUNS):
            ground = scenario.fresh(tmp_path / "ground")
            log.unlink(missing_ok=True)
            ended = scenario.pack(ground, strace([call], log, inject=f"signal=KILL:when={k}"))
            ground.check_nothing_lost(f"killed at {call} number {k}")
            if not was_injected(log):
                assert ended.code == 0, ended
                break
            kills += 1
            for stray in ground.strays():
                assert Path(stray).name.startswith("."), f"killed at {call} number {k}: {stray} is in plain sight"
        else:
            pytest.fail(f"{call} is called more than {MOST_RUNS} times")
    assert kills >= 3, "the faults were not reached"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_same_call_after_a_kill_loses_nothing(tmp_path: Path, scenario: Scenario) -> None:
    """A job that is started again packs what is left: what is in the archive already must not go with it."""
    log = tmp_path / "log"
    removing = [call for call in scenario.calls_used(tmp_path) if call.startswith(("unlink", "link", "rename"))]
    for call in removing:
        for k in range(1, MOST_RUNS):
            ground = scenario.fresh(tmp_path / "ground")
            log.unlink(missing_ok=True)
            scenario.pack(ground, strace([call], log, inject=f"signal=KILL:when={k}"))
            if not was_injected(log):
                break
            again = scenario.pack(ground)
            assert "Traceback" not in again.err
            ground.check_nothing_lost(f"packed again after a kill at {call} number {k}")
