"""Images to arrays to their red channels, by `vhpack.map_directory`: `python mapped.py IMAGES WORK`."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import vhpack


def to_array(name: str, content: bytes) -> tuple[str, bytes] | None:
    """Take images for arrays; what is no image is left out."""
    if not name.endswith(".png"):
        return None
    with Image.open(io.BytesIO(content)) as image:
        return name.replace(".png", ".npy"), saved(np.asarray(image.convert("RGB")))


def red_channel(name: str, content: bytes) -> tuple[str, bytes]:
    """Keep the first of three channels."""
    return name, saved(np.load(io.BytesIO(content))[:, :, 0])


def saved(array: np.ndarray) -> bytes:
    """Return an array as a file would have it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


if __name__ == "__main__":
    images, work = Path(sys.argv[1]), Path(sys.argv[2])
    vhpack.map_directory(images, work / "arrays", to_array)
    summary = vhpack.map_directory(work / "arrays", work / "red", red_channel)
    print(f"{summary.files} red channels")
