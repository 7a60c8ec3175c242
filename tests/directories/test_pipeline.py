"""The guide's pipeline, in three styles, gives the same arrays."""

from __future__ import annotations

import importlib.util
import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vhpack

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    chance = random.Random(7)
    drawn = {}
    for number in range(50):
        buffer = io.BytesIO()
        Image.frombytes("RGB", (9, 7), chance.randbytes(9 * 7 * 3)).save(buffer, "PNG")
        drawn[f"i{number}.png"] = buffer.getvalue()
    return drawn


def laid_out(folder: Path, images: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in images.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no image")
    return folder


def ran(script: str, *arguments: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / script, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def same(red: Path, images: dict[str, bytes]) -> None:
    expected = {
        name.replace(".png", ".npy"): np.asarray(Image.open(io.BytesIO(content)))[:, :, 0] for name, content in images.items()
    }
    found = {name: np.load(io.BytesIO(content)) for name, content in vhpack.read_outputs(red, verify=True)}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.mark.parametrize("script", ["mapped.py", "plain.py"])
def test_the_pipeline_without_tasks(work: Path, images: dict[str, bytes], script: str) -> None:
    ran(script, laid_out(work / "images", images), work / "made")
    same(work / "made/red", images)


if importlib.util.find_spec("luisy"):  # it brings Spark, and is installed by `make soak` alone

    def test_the_pipeline_of_luisy_tasks(work: Path, images: dict[str, bytes]) -> None:
        laid_out(work / "examples/raw", images)
        ran("luisy_tasks.py", work)
        same(work / "examples/final/RedChannel", images)
