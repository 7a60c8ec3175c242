"""Many processes at once, and processes that are killed: nothing is lost, nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK
from tests.registry.making import environment, write
from vhpack import registrar

PROCESSES = 8
MOVES = 500 if SOAK else 20
KILLS = 200 if SOAK else 12
FILES = 40

# Each process moves one alias that all move, and two that are always moved together; and begins runs that ask for these two.
MOVING = """
import os, random, sys
import vhpack
from vhpack import registrar
from vhpack.registry import aliases, datums, registering
from vhpack.registry.records import Output
from vhpack.registry.runs import Facts

me, moves = sys.argv[1], int(sys.argv[2])
registry = registrar.opened()
for number in range(moves):
    name = f"{me}-{number}"
    outputs = [
        Output(f"{side}/{name}", 1, side * 64, "0" * 32, 0, "http://nowhere/" + name, {"valohai.alias": alias})
        for side, alias in (("a", "left"), ("b", "right"), ("c", "shared"))
    ]
    registering.register(registry, Facts(name, "move"), outputs, "succeeded")
    vhpack.reset()
    vhpack.prepare(step="use", default_inputs={"pair": ["datum://left", "datum://right"]})
    assert vhpack.data.get("datum://shared").name.startswith("c/")
"""


def test_moves_by_many_processes_make_one_line_of_history(registry: str) -> None:
    from vhpack.registry import runs as rows

    first = vhpack.data.add(write("a.txt"), alias="left")
    vhpack.aliases.set("right", first)
    alone = environment()
    processes = [
        subprocess.Popen([sys.executable, "-c", MOVING, str(number), str(MOVES)], env=alone, stderr=subprocess.PIPE)
        for number in range(PROCESSES)
    ]
    for process in processes:
        _, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err.decode()

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


KILLED = """
import sys
import vhpack
with vhpack.run(step="train") as run:
    for number in range(FILES):
        with open(vhpack.outputs().path(f"{number % 7}/{number}.txt"), "w") as file:
            file.write(f"{run.hash} {number}")
    with vhpack.output_properties() as properties:
        for number in range(FILES):
            properties.add(file=f"{number % 7}/{number}.txt", properties={"number": number, "valohai.tags": ["made"]})
        properties.add_alias(file="0/0.txt", alias="first")
        properties.add_alias(file="1/1.txt", alias="second")
        properties.add_to_dataset(file="2/2.txt", dataset_version=f"dataset://set/{run.hash}")
    print("registering", flush=True)
print("registered", flush=True)
""".replace("FILES", str(FILES))


@pytest.mark.parametrize("registry", ["sqlite"] if not SOAK else ["sqlite", "postgres"], indirect=True)
def test_a_kill_at_any_moment_registers_a_run_whole_or_not_at_all(registry: str) -> None:
    alone = environment()
    chance = random.Random(6)

    def run(after: float | None) -> tuple[bool, float]:
        process = subprocess.Popen([sys.executable, "-c", KILLED], env=alone, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while not process.stdout.readline().startswith("registering"):
            assert process.poll() is None
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        return "registered" in rest, time.monotonic() - began

    said, whole = run(None)
    assert said
    runs = {str(vhpack.aliases.get("first").datum and vhpack.aliases.get("first").datum.run)}  # type: ignore[union-attr]
    outcomes: Counter[str] = Counter()
    for _ in range(KILLS):
        said, _ = run(chance.uniform(0, whole))
        made = {datum.run for datum in vhpack.data.find("0/0.txt")} - runs
        outcomes["registered" if made else "not"] += 1
        assert not said or made
        for new in made:
            runs.add(str(new))
            data = vhpack.data.find(run=new)
            assert len(data) == FILES
            assert all(datum.tags == ("made",) and datum.properties == {"number": int(datum.name[2:-4])} for datum in data)
            assert [vhpack.aliases.get(name).datum in data for name in ("first", "second")] == [True, True]
            assert len(vhpack.aliases.history("first")) == len(vhpack.aliases.history("second")) == len(runs)
    assert vhpack.data.verify() == []
    vhpack.data.gc()
    kept = {path.parent.name + path.name for path in Path(".valohai/store").rglob("*") if path.is_file() and path.name != ".lock"}
    assert kept == {datum.sha256 for datum in vhpack.data.find()}, "no content that nobody has, and none missing"
    assert outcomes["not"] > 0, (registry, "the kills were too late")


def test_a_sweep_during_registrations_takes_nothing_away(registry: str) -> None:
    code = (
        "import sys, vhpack\n"
        "for number in range(15):\n"
        "    with vhpack.run(step='train') as run:\n"
        "        open(vhpack.outputs().path('a.txt'), 'w').write(run.hash)\n"
    )
    alone = environment()
    processes = [subprocess.Popen([sys.executable, "-c", code], env=alone) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        vhpack.data.gc()
    assert [process.returncode for process in processes] == [0, 0], registry
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
