"""Archives that other people's writers made."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import zipfile
from pathlib import Path

from tests.conftest import needs

FORMATS = ["zip", "tar", "tar.gz", "tar.zst"]
LARGE = "deep/large.bin"


def contents() -> dict[str, bytes]:
    """Names and bytes of a small tree with a large file in it."""
    chance = random.Random(5)
    found = {
        f"{folder}{number:02}.{kind}": chance.randbytes(number * 90)
        for folder in ("", "train/")
        for number in range(12)
        for kind in ("png", "json")
    }
    return {"empty": b"", "ü ä.txt": b"umlauts" * 500, LARGE: chance.randbytes(700_000) + bytes(700_000), **found}


def make(path: Path, members: dict[str, bytes] | None = None) -> Path:
    """Write an archive in the format of the path's suffix, with a folder in it beside the files."""
    members = contents() if members is None else members
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("folder") if hasattr(archive, "mkdir") else archive.writestr("folder/", b"")
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    if path.suffix == ".zst":
        needs("zstd")
        plain = make(path.with_name("plain.tar"), members)
        subprocess.run(["zstd", "-q", "-f", "--rm", str(plain), "-o", str(path)], check=True)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
