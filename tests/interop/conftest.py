"""One archive of each shape, made once and read by all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK
from tests.interop.shapes import SHAPES, OnDisk, Shape, on_disk


@dataclass(frozen=True)
class Made:
    """An archive, the tree it was made of, and what the engine said about it."""

    shape: Shape
    tree: Path
    archive: Path
    report: vhpack.PackReport

    def wanted(self) -> dict[str, OnDisk]:
        """What the archive must hold, by member name."""
        found = on_disk(self.tree)
        return found if self.shape.first is None else {name: found[name] for name in sorted(found)[: self.shape.first]}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow readers of huge archives to `make soak`."""
    left = [item for item in items if not SOAK and _is_for_soak(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _is_for_soak(item: pytest.Item) -> bool:
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    shape = params.get("made")
    return isinstance(shape, Shape) and (shape.whole_in_soak or params.get("reader") in shape.readers_in_soak)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The archive of one shape, removed as soon as its last reader is done with it."""
    shape: Shape = request.param
    ground = tmp_path_factory.mktemp("shape")
    tree = shared_tree(tmp_path_factory, shape.fill) if shape.first else ground / "tree"
    if not tree.exists():
        shape.fill(tree)
    sources = sorted(tree.iterdir())[: shape.first] if shape.first else [tree]
    archive = ground / "made.zip"
    report = vhpack.pack(sources, archive, **shape.options)  # type: ignore[arg-type]
    yield Made(shape, tree, archive, report)
    shutil.rmtree(ground)


def shared_tree(factory: pytest.TempPathFactory, fill: Callable[[Path], object]) -> Path:
    """Where the tree of several shapes is, or is to be made."""
    return factory.getbasetemp() / fill.__name__
