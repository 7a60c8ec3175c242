"""Make the zip that the reading sections read: packed by vhpack itself, once, and compared with the corpus by Python's `zipfile`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from corpora import Tree


def path(folder: Path) -> Path:
    """Give the zip of the corpus in `folder`: it lies beside it, on the same disk, and is not removed."""
    return folder.with_name(f"{folder.name}.zip")


def ensure(tree: Tree, vhpack: Path, jobs: int) -> None:
    """Pack the corpus, unless this version of vhpack has done so."""
    target = path(tree.folder)
    marker = target.with_name(f"{target.name}.complete.json")
    version = subprocess.run([vhpack, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    made = {"by": version, "files": tree.files, "bytes": tree.bytes}
    if target.exists() and marker.exists() and json.loads(marker.read_text()) == made:
        return
    command: list[str | Path] = [vhpack, "compress", tree.folder / "*", "-o", target, "--jobs", str(jobs), "--force", "-q"]
    subprocess.run(command, check=True)
    compare(target, tree)
    os.sync()
    marker.write_text(json.dumps(made) + "\n")
    print(f"{target.name}: complete, {target.stat().st_size / 1e6:,.1f} MB", file=sys.stderr)


def compare(target: Path, tree: Tree) -> None:
    """Fail unless the zip has every file of the corpus, byte for byte, and nothing else."""
    with zipfile.ZipFile(target) as archive:
        names = sorted(archive.namelist())
        if names != sorted(os.listdir(tree.folder)):
            sys.exit(f"{target} has other members than {tree.folder} has files")
        for name in names:
            if archive.read(name) != (tree.folder / name).read_bytes():
                sys.exit(f"the member {name} of {target} is not the file in {tree.folder}")
