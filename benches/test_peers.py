"""The whole thing against its floors and peers, one round of one contestant a test; `run.py` drives it and reads its JSON.

pytest-benchmark repeats one test before it goes on to the next, and on a machine whose speed drifts that compares the morning with
the afternoon. So every test here is a single round, and the order of the tests interleaves the contestants.
"""

from __future__ import annotations

import warnings

from pytest_benchmark.fixture import BenchmarkFixture

import measure
from contestants import Setting
from measure import Run
from schedule import Turn


def test_run(turn: Turn, setting: Setting, benchmark: BenchmarkFixture) -> None:
    run = Run(setting, turn.section, turn.contestant, turn.round)
    if turn.section.source == "clone" and turn.opens_round:
        for contestant in turn.round_mates():
            measure.clone(setting, Run(setting, turn.section, contestant, turn.round))
    benchmark.group = turn.section.name
    try:
        benchmark.pedantic(run.start, setup=run.prepare, rounds=1, iterations=1, warmup_rounds=0)  # type: ignore[no-untyped-call]
    finally:
        run.clean()
        benchmark.extra_info.update(run.outcome.as_json())
    if run.outcome.failure:
        warnings.warn(run.outcome.failure, stacklevel=1)
