"""What `run.py` hands to the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from contestants import Setting


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vhpack benches")
    group.addoption("--base", type=Path, help="folder of the corpora")
    group.addoption("--jobs", type=int, default=1, help="threads for all that can use several")
    group.addoption("--floor", type=Path, help="the program `floor`")
    group.addoption("--vhpack", type=Path, help="the program `vhpack`")
    group.addoption("--trees", type=Path, help="folder for extracted trees")
    group.addoption("--section", default="", help="its name")
    group.addoption("--rounds", type=int, help="instead of each section's own number")


def setting_of(config: pytest.Config) -> Setting:
    return Setting(
        base=config.getoption("base"),
        jobs=config.getoption("jobs"),
        floor=config.getoption("floor"),
        vhpack=config.getoption("vhpack"),
        trees=config.getoption("trees"),
        rounds=config.getoption("rounds"),
    )


@pytest.fixture(scope="session")
def setting(pytestconfig: pytest.Config) -> Setting:
    return setting_of(pytestconfig)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    from schedule import turns

    name = metafunc.config.getoption("section")
    cases = turns([name] if name else [], metafunc.config.getoption("rounds"))
    metafunc.parametrize("turn", cases, ids=[f"{turn.section.name}-{turn.round}-{turn.contestant.name}" for turn in cases])
