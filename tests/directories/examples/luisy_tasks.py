"""Images to arrays to their red channels, as tasks of luisy: `python luisy_tasks.py WORK`.

The images are in WORK/examples/raw, which is where `@luisy.raw` looks for those of the project `examples`.
"""

import os
import sys

import luigi
import luisy
import numpy as np
from luisy.decorators import project_name
from PIL import Image

import vhpack


def read_image(path: str) -> tuple[str, np.ndarray]:
    """Read an image, with the name that tells it from others."""
    with Image.open(path) as image:
        return os.path.splitext(os.path.basename(path))[0], np.asarray(image.convert("RGB"))


image_directory_output = vhpack.make_directory_output(read_image, regex_pattern=r"\.png$")


@project_name("examples")
@image_directory_output
@luisy.raw
class ExportDirectory(luisy.ExternalTask):  # type: ignore[misc]
    """The images, which somebody else has put there."""

    def get_folder_name(self) -> str:
        """Have them in the layer's own folder."""
        return ""


@project_name("examples")
@luisy.interim
@luisy.requires(ExportDirectory)
class ToNumpy(luisy.Task):  # type: ignore[misc]
    """An array of each image; the output is the list of their paths, which is written last."""

    def run(self) -> None:
        """Commit all arrays at once; a run that was killed goes on where it was."""
        with vhpack.OutputDir(os.path.join(self.get_outdir(), "ToNumpy"), resume=True) as out:
            for name, image in self.input().read():
                if not out.is_done(name):
                    with out.open(f"{name}.npy") as file:
                        np.save(file, image)
                    out.done(f"{name}.npy", id=name)
        self.write(out.files())


@project_name("examples")
@luisy.final
@luisy.requires(ToNumpy)
class RedChannel(luisy.Task):  # type: ignore[misc]
    """The first channel of each array."""

    def run(self) -> None:
        """Read what the task before has listed."""
        with vhpack.OutputDir(os.path.join(self.get_outdir(), "RedChannel")) as out:
            for path in self.input().read():
                with out.open(os.path.basename(path)) as file:
                    np.save(file, np.load(path)[:, :, 0])
        self.write(out.files())


if __name__ == "__main__":
    luisy.config.Config().set_param("working_dir", sys.argv[1])
    sys.exit(not luigi.build([RedChannel()], local_scheduler=True, log_level="WARNING"))  # type: ignore[no-untyped-call]
