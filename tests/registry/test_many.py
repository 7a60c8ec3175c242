"""Many processes at once, and processes that are killed: nothing is lost, nothing is half there."""

from __future__ import annotations

import functools
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

import vhpack
from tests.conftest import SOAK
from tests.registry.making import contents, write
from vhpack import registrar
from vhpack.registry import registering
from vhpack.registry import runs as rows
from vhpack.registry.records import Output
from vhpack.registry.runs import Facts

PROCESSES = 8
MOVES = 500 if SOAK else 12
KILLS = 200 if SOAK else 25
FILES = 40

Child = tuple[int, int]
"""A process, and what it writes to."""


def forked(work: Callable[[], object]) -> Child:
    """Do some work in a process of its own, which has loaded all that it needs already; `print` there goes to the pipe."""
    vhpack.reset()
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    code = 1
    try:
        os.dup2(writer, 1)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - until the end of the process
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent reads of it
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: Child) -> tuple[int, str]:
    process, reader = child
    with open(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def move(me: int) -> None:
    """Move one alias that all move, and two that are always moved together; and begin runs that ask for these two."""
    registry = registrar.opened()
    for number in range(MOVES):
        name = f"{me}-{number}"
        outputs = [
            Output(f"{side}/{name}", 1, side * 64, "0" * 32, 0, f"http://nowhere/{name}", {"valohai.alias": alias})
            for side, alias in (("a", "left"), ("b", "right"), ("c", "shared"))
        ]
        registering.register(registry, Facts(name, "move"), outputs, "succeeded")
        vhpack.reset()
        vhpack.prepare(step="use", default_inputs={"pair": ["datum://left", "datum://right"]})
        assert vhpack.data.get("datum://shared").name.startswith("c/")


def test_moves_by_many_processes_make_one_line_of_history(registry: str) -> None:
    first = vhpack.data.add(write("a.txt"), alias="left")
    vhpack.aliases.set("right", first)
    children = [forked(functools.partial(move, number)) for number in range(PROCESSES)]
    for child in children:
        assert ended(child) == (0, "")

    names = {datum.id: datum.name for datum in vhpack.data.find()}
    for alias, side in (("left", "a"), ("right", "b"), ("shared", "c")):
        changes = vhpack.aliases.history(alias)
        begun = 0 if alias == "shared" else 1
        assert len(changes) == PROCESSES * MOVES + begun, "no move is lost, and none counted twice"
        assert [change.number for change in changes] == list(range(1, len(changes) + 1))
        assert all(before.new == after.old for before, after in pairwise(changes)), "linear"
        moved = [names[str(change.new)] for change in changes[begun:]]
        assert sorted(moved) == sorted(f"{side}/{me}-{number}" for me in range(PROCESSES) for number in range(MOVES))
        for me in range(PROCESSES):
            mine = [int(name.rpartition("-")[2]) for name in moved if name.startswith(f"{side}/{me}-")]
            assert mine == list(range(MOVES)), "each process's moves are in its order"
        assert vhpack.aliases.get(alias).datum == vhpack.data.get(str(changes[-1].new))

    opened = registrar.opened()
    with opened.reading() as connection:
        project = opened.project(connection)
        pins: Counter[str] = Counter()
        for run in rows.listed(connection, project):
            if run.step == "use":
                left, right = (pin.datum for pin in rows.pinned(connection, project, run.hash))
                assert left.name.partition("/")[2] == right.name.partition("/")[2], "both are of one moment"
                pins[left.name] += 1
    assert sum(pins.values()) == PROCESSES * MOVES, registry


def run_of_many_files() -> None:
    with vhpack.run(step="train") as run:
        for number in range(FILES):
            write(vhpack.outputs().path(f"{number % 7}/{number}.txt"), f"{run.hash} {number}")
        with vhpack.output_properties() as properties:
            for number in range(FILES):
                properties.add(file=f"{number % 7}/{number}.txt", properties={"number": number, "valohai.tags": ["made"]})
            properties.add_alias(file="0/0.txt", alias="first")
            properties.add_alias(file="1/1.txt", alias="second")
            properties.add_to_dataset(file="2/2.txt", dataset_version=f"dataset://set/{run.hash}")
        print("registering")
    print("registered")


def killed(after: float | None) -> tuple[bool, float]:
    """Kill such a run so many seconds after its last file; whether it had said that it was registered, and how long it took."""
    process, reader = forked(run_of_many_files)
    with open(reader) as said:
        while not (line := said.readline()).startswith("registering"):
            assert line, "the run has ended before its end"
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        rest = said.read()
    os.waitpid(process, 0)
    return "registered" in rest, time.monotonic() - began


@pytest.mark.parametrize("registry", ["sqlite", "postgres"], indirect=True)
def test_a_kill_at_any_moment_registers_a_run_whole_or_not_at_all(registry: str) -> None:
    chance = random.Random(6)
    said, whole = killed(None)
    assert said
    runs = {str(datum.run) for datum in vhpack.data.find("0/0.txt")}
    outcomes: Counter[str] = Counter()
    for _ in range(KILLS):
        said, _ = killed(chance.uniform(0, whole))
        made = {str(datum.run) for datum in vhpack.data.find("0/0.txt")} - runs
        outcomes["registered" if made else "not"] += 1
        assert not said or made
        for new in made:
            runs.add(new)
            data = vhpack.data.find(run=new)
            assert len(data) == FILES
            assert all(datum.tags == ("made",) and datum.properties == {"number": int(datum.name[2:-4])} for datum in data)
            assert [vhpack.aliases.get(name).datum in data for name in ("first", "second")] == [True, True]
            assert len(vhpack.aliases.history("first")) == len(vhpack.aliases.history("second")) == len(runs)
    assert vhpack.data.verify() == []
    vhpack.data.gc()
    kept = {path.parent.name + path.name for path in contents()}
    assert kept == {datum.sha256 for datum in vhpack.data.find()}, "no content that nobody has, and none missing"
    assert outcomes["not"] > 0, (registry, "the kills were too late")


def test_a_sweep_during_registrations_takes_nothing_away(registry: str) -> None:
    def work() -> None:
        for _ in range(15):
            with vhpack.run(step="train") as run:
                write(vhpack.outputs().path("a.txt"), run.hash)

    vhpack.data.gc()
    children = [forked(work) for _ in range(2)]
    while not all(select.select([reader], [], [], 0)[0] for _, reader in children):
        vhpack.data.gc()
    assert [ended(child) for child in children] == [(0, ""), (0, "")], registry
    assert len(vhpack.data.find()) == 30
    assert vhpack.data.verify() == []


def test_a_fork_and_its_parent_use_one_registry(registry: str) -> None:
    vhpack.data.add(write("a.txt"), alias="model")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            vhpack.aliases.set("child", "datum://model")
            code = 0
        finally:
            os._exit(code)
    vhpack.aliases.set("parent", "datum://model")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [alias.name for alias in vhpack.aliases.list()] == ["child", "model", "parent"], registry
