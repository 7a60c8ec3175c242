"""Draws the demo's tree: small photographs, as a preprocessing step would leave them."""

import random
import sys
from pathlib import Path

from PIL import Image

_COUNT = 300
_SIDE = 96


def draw(folder: Path) -> None:
    """Write `_COUNT` images into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    for number in range(_COUNT):
        # A few coarse random colours, enlarged: smooth areas and soft edges, which PNG compresses about as far as photographs.
        coarse = Image.frombytes("RGB", (6, 6), chance.randbytes(6 * 6 * 3))
        grain = Image.frombytes("RGB", (_SIDE, _SIDE), chance.randbytes(_SIDE * _SIDE * 3))
        image = Image.blend(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), grain, 0.08)
        image.save(folder / f"{number:04}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
