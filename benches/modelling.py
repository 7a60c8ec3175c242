"""A model's package of 200,000 files, beside a plain pack of the same folder.

    python benches/modelling.py SOURCE OUTPUT

From the call to the version that is stored: packed straight to its place in a folder, with which the call returns; then read again
for its digests, in the background, and registered in SQLite. The package is moved to OUTPUT at the end, and the registry removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import unquote

from contestants import Contestant, Place, Section, vhpack


def package(place: Place) -> list[str]:
    return [sys.executable, os.fspath(Path(__file__)), os.fspath(place.source), os.fspath(place.output)]


MODELLING = Section(
    "package",
    "The PNG images as a package of a model",
    (
        Contestant("vhpack compress", vhpack("", "--manifest", "--force"), "png"),
        Contestant("update_weights_package", package, "png"),
    ),
    note="Both write a manifest; the package is on disk, read again, hashed twice, and registered.\n",
)


def main() -> None:
    source, output = sys.argv[1:]
    folder = f"{output}.models"
    os.makedirs(folder)
    os.chdir(folder)
    os.environ.pop("VHPACK_REGISTRY_URL", None)
    import vhpack

    began = time.perf_counter()
    with vhpack.Task.init("bench", "package"):
        model = vhpack.OutputModel()
        uri = model.update_weights_package(weights_path=source, auto_delete_file=False, upload_uri=folder)
        called = time.perf_counter()
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    phases = {"call": called - began, "compare": time.perf_counter() - called}
    os.rename(unquote(uri.removeprefix("file://")), output)
    os.chdir("/")
    shutil.rmtree(folder)
    print(json.dumps({"files": model_files(output), "phases": {name: {"wall": wall} for name, wall in phases.items()}}))


def model_files(path: str) -> int:
    import vhpack

    with vhpack.open(path) as archive:
        return len(archive)


if __name__ == "__main__":
    main()
