"""Images to arrays to their red channels, in plain Python with whole directories: `python plain.py IMAGES WORK`."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import vhpack


def main(images: Path, work: Path) -> None:
    """Go on from where an earlier run was killed, image by image."""
    with vhpack.OutputDir(work / "arrays", resume=True) as arrays:
        for path in sorted(images.glob("*.png")):
            if not arrays.is_done(path.stem):
                with Image.open(path) as image, arrays.open(f"{path.stem}.npy") as file:
                    np.save(file, np.asarray(image.convert("RGB")))
                arrays.done(f"{path.stem}.npy", id=path.stem, source=path)

    with vhpack.OutputDir(work / "red") as red:
        for name, content in vhpack.read_outputs(work / "arrays"):
            with red.open(name) as file:
                np.save(file, np.load(io.BytesIO(content))[:, :, 0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
