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


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The archive of one shape, removed as soon as its last reader is done with it."""
    shape: Shape = request.param
    if shape.whole_in_soak and not SOAK:
        pytest.skip("make soak: huge")
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
