"""What is told without running is what the run has; what a run may change is never told."""

from __future__ import annotations

import contextlib
import random
import sys
import types
from typing import Any

from hypothesis import HealthCheck, given, settings, target

import vhpack
from tests.conftest import SOAK
from tests.steps.programs import constant_sources, wild_sources
from vhpack.step import describe
from vhpack.yaml.reading import read

ROUNDS = 20_000 if SOAK else 60


@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(constant_sources())
def test_sources_of_constants_say_the_same_read_and_run(source: str) -> None:
    argv = sys.argv
    sys.argv = ["train.py"]
    vhpack.reset()
    try:
        exec(compile(source, "train.py", "exec"), {"__name__": "__main__"})
        failed = ""
    except vhpack.StepError as error:
        failed = str(error)
    except ArithmeticError:
        return
    finally:
        sys.argv = argv
    found = read("train.py", content=source.encode("utf-8", "surrogatepass"))
    if failed:
        assert failed in " ".join(problem.message for problem in found.problems)
        return
    assert [problem.text() for problem in found.problems] == [], source
    for parameter in found.prepared[0].step.parameters:
        value = vhpack.parameters(parameter.name).value
        assert repr(value) == repr(parameter.value), source


class FinishedError(Exception):
    """The run is where `prepare()` is called."""


def wild(seed: int) -> types.ModuleType:
    """A module that nobody can see through: it keeps what it gets and changes it at any time."""
    chance = random.Random(seed)
    held: list[Any] = []
    module = types.ModuleType("wild")

    def meddle() -> None:
        for thing in held:
            if chance.random() < 0.6:
                if isinstance(thing, dict):
                    thing[chance.choice("xyz")] = chance.randrange(5)
                elif isinstance(thing, list):
                    thing.append(7)
                elif callable(thing):
                    with contextlib.suppress(TypeError, KeyError, NameError, AttributeError):
                        thing({"x": 8}) if chance.random() < 0.5 else thing()

    def keep(*things: Any) -> Any:
        held.extend(things)
        meddle()
        return things[0] if things else None

    def maybe() -> int:
        meddle()
        return chance.randrange(3)

    module.maybe = maybe  # type: ignore[attr-defined]
    module.call = keep  # type: ignore[attr-defined]
    module.stash = keep  # type: ignore[attr-defined]
    module.ident = keep  # type: ignore[attr-defined]
    module.meddle = meddle  # type: ignore[attr-defined]
    module.quiet = lambda: contextlib.suppress(Exception)  # type: ignore[attr-defined]
    return module


def seen(source: str, seed: int) -> list[Any]:
    """What `prepare()` is called with in one run."""
    calls: list[Any] = []

    def prepare(step: str, default_parameters: Any) -> None:
        import copy

        del step
        calls.append(copy.deepcopy(default_parameters))

    ours = types.ModuleType("valohai")
    ours.prepare = prepare  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("valohai", "wild")}
    sys.modules.update(valohai=ours, wild=wild(seed))
    rounds = 0

    def bounded(frame: types.FrameType, *_: Any) -> Any:
        nonlocal rounds
        if frame.f_code.co_filename != "wild.py" or rounds > 2000:
            return None
        rounds += 1
        if rounds > 2000:
            raise FinishedError
        return bounded

    sys.settrace(bounded)
    try:
        exec(compile(source, "wild.py", "exec"), {"__name__": "__main__"})
    except Exception:  # noqa: BLE001 - what a random program raises after `prepare()` does not matter
        pass
    finally:
        sys.settrace(None)
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    return calls


@settings(max_examples=4 * ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(wild_sources())
def test_what_is_told_of_wild_sources_is_true_in_every_run(source: str) -> None:
    try:
        compile(source, "wild.py", "exec")
    except SyntaxError:
        return
    found = read("wild.py", content=source.encode())
    if found.problems:
        return
    target(1.0, label="told")
    (prepared,) = found.prepared
    told = {parameter.name: parameter.value for parameter in prepared.step.parameters}
    for seed in range(12):
        for call in seen(source, seed):
            run = {parameter.name: parameter.value for parameter in describe(step="s", default_parameters=call).parameters}
            assert repr(dict(sorted(run.items()))) == repr(dict(sorted(told.items()))), source
