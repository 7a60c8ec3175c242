"""One archive of each shape, made once and read by all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import vhpack
from tests.conftest import SOAK
from tests.interop.shapes import SHAPES, Shape


@dataclass(frozen=True)
class Made:
    """An archive, the tree it was made of, and what the engine said about it."""

    shape: Shape
    tree: Path
    archive: Path
    report: vhpack.PackReport


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The archive of one shape, removed as soon as its last reader is done with it."""
    shape: Shape = request.param
    if shape.whole_in_soak and not SOAK:
        pytest.skip("make soak: huge")
    ground = tmp_path_factory.mktemp("shape")
    tree = ground / "tree"
    shape.fill(tree)
    archive = ground / "made.zip"
    report = vhpack.pack(shape.sources(tree), archive, **shape.options)  # type: ignore[arg-type]
    yield Made(shape, tree, archive, report)
    shutil.rmtree(ground)
