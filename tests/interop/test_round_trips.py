"""Any tree, through any format: packed by us and read by everyone, packed by everyone and read by us."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import xxhash
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vhpack
from tests.conftest import SOAK, needs
from tests.engine.trees import noise, prose

ANY_TREE = settings(
    max_examples=300 if SOAK else 20,
    deadline=None,
    derandomize=not SOAK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tar.zst")


@dataclass(frozen=True)
class File:
    """What a tree holds under a name."""

    content: bytes
    mode: int
    mtime: int


def contents(kind: str, size: int, seed: int) -> bytes:
    return {"noise": noise, "prose": prose}[kind](size, seed) if kind != "zeros" else bytes(size)


# Lower case and composed, so that no two names are one to a reader that folds them.
# No semicolon, behind which unzip looks for a version number, and no lone dash, which zip takes for its own input.
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 -_+~@#%&(){}[],=!'é日ßж🙂"
NAMES = st.text(LETTERS, min_size=1, max_size=40).map(str.strip).filter(lambda name: name not in {"", "-"}) | st.sampled_from(
    ["n" * 120, "é" * 60, ".hidden", "-dash"]
)
SIZES = st.sampled_from([0, 1, 511, 512, 513, 4095, 65_536, 70_000, 1 << 20]) | st.integers(0, 20_000)
FILES = st.builds(
    File,
    content=st.builds(contents, st.sampled_from(["noise", "prose", "zeros"]), SIZES, st.integers(0, 9)),
    mode=st.sampled_from([0o644, 0o600, 0o755, 0o444]),
    # Even, for the clocks of old zips; and none that a zone could move out of their range.
    mtime=st.integers(400_000_000, 1_000_000_000).map(lambda half: 2 * half),
)


def is_tree(files: Mapping[str, File]) -> bool:
    """No file lies below another."""
    return not any(other.startswith(name + "/") for name, other in itertools.permutations(files, 2))


TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), FILES, min_size=1, max_size=8).filter(is_tree)


@contextmanager
def laid_out(files: Mapping[str, File]) -> Iterator[Path]:
    """A folder with the tree in `data`."""
    with tempfile.TemporaryDirectory() as base:
        for name, file in files.items():
            path = Path(base, "data", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
            os.utime(path, (file.mtime, file.mtime))
        yield Path(base)


def found(folder: Path) -> dict[str, File]:
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    stats = [(path, path.stat()) for path in paths]
    return {
        str(path.relative_to(folder)): File(path.read_bytes(), stat.st_mode & 0o7777, int(stat.st_mtime)) for path, stat in stats
    }


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run([os.fspath(word) for word in command], cwd=cwd, capture_output=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)


# --- packed by us ---------------------------------------------------------------------------------------------------------------


def by_zipfile(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as reader:
        assert reader.testzip() is None
        return {name: reader.read(name) for name in reader.namelist()}


def by_tarfile(archive: Path) -> dict[str, bytes]:
    content = archive.read_bytes()
    if archive.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True) as frames:
            content = frames.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as reader:
        members = [(member, reader.extractfile(member)) for member in reader.getmembers()]
        return {member.name: body.read() for member, body in members if body is not None}


EXTRACTORS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], list[str]]]] = {
    "unzip": ((".zip",), lambda archive, back: ["unzip", "-qq", str(archive), "-d", str(back)]),
    "7z": ((".zip",), lambda archive, back: ["7z", "x", "-bd", f"-o{back}", str(archive)]),
    "bsdtar": (SUFFIXES, lambda archive, back: ["bsdtar", "-xpf", str(archive), "-C", str(back)]),
    "tar": (SUFFIXES[1:], lambda archive, back: ["tar", "-xpf", str(archive), "-C", str(back)]),
}


@ANY_TREE
@given(files=TREES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_we_pack_everyone_reads(suffix: str, files: dict[str, File]) -> None:
    needs("tar", "zstd", *(name for name, (suffixes, _) in EXTRACTORS.items() if suffix in suffixes))
    with laid_out(files) as base:
        archive = base / f"all{suffix}"
        report = vhpack.pack(base / "data", archive, manifest=True)

        assert report.digest == xxhash.xxh3_128_hexdigest(archive.read_bytes())
        plain = {name: file.content for name, file in files.items()}
        assert (by_zipfile if suffix == ".zip" else by_tarfile)(archive) == plain
        for name, (suffixes, command) in EXTRACTORS.items():
            if suffix in suffixes:
                back = base / f"back-{name}"
                back.mkdir()
                run(*command(archive, back), cwd=base)
                assert found(back) == files, name
        if suffix == ".tar.zst":
            run("zstd", "-qt", archive, cwd=base)
        if suffix == ".tar.gz":
            run("gzip", "-t", archive, cwd=base)
        with vhpack.open(archive) as ours:
            assert dict(ours) == plain
            assert ours.read_many(list(plain)) == list(plain.values())
            assert ours.verify().damaged == []
            ours.extract(base / "back-ours")
        assert found(base / "back-ours") == files


# --- packed by others -----------------------------------------------------------------------------------------------------------


def with_zipfile(base: Path) -> Path:
    with zipfile.ZipFile(base / "all.zip", "w", zipfile.ZIP_DEFLATED) as writer:
        for path in sorted(path for path in (base / "data").rglob("*") if path.is_file()):
            writer.write(path, path.relative_to(base / "data"))
    return base / "all.zip"


def with_tarfile(base: Path) -> Path:
    with tarfile.open(base / "all.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as writer:
        writer.add(base / "data", ".")
    return base / "all.tar.gz"


def with_command(archive: str, *command: str) -> Callable[[Path], Path]:
    def write(base: Path) -> Path:
        needs(command[0])
        run(*(word.replace("ARCHIVE", str(base / archive)) for word in command), cwd=base / "data")
        return base / archive

    return write


WRITERS: dict[str, Callable[[Path], Path]] = {
    "zipfile": with_zipfile,
    "tarfile": with_tarfile,
    "zip": with_command("all.zip", "zip", "-qr", "ARCHIVE", "."),
    "zip, streamed": with_command("all.zip", "sh", "-c", "zip -qr - . > ARCHIVE"),
    "7z": with_command("all.zip", "7z", "a", "-bd", "-tzip", "-mcu=on", "ARCHIVE", "./"),
    "bsdtar, zip": with_command("all.zip", "bsdtar", "--format", "zip", "-cf", "ARCHIVE", "."),
    "jar": with_command("all.jar", "jar", "-cMf", "ARCHIVE", "."),
    "tar, gnu": with_command("all.tar", "tar", "--format", "gnu", "-cf", "ARCHIVE", "."),
    "tar, pax": with_command("all.tar", "tar", "--format", "posix", "-cf", "ARCHIVE", "."),
    "tar, gz": with_command("all.tar.gz", "tar", "-czf", "ARCHIVE", "."),
    "tar, zst": with_command("all.tar.zst", "tar", "--zstd", "-cf", "ARCHIVE", "."),
    "bsdtar, pax": with_command("all.tar", "bsdtar", "--format", "pax", "-cf", "ARCHIVE", "."),
}


@ANY_TREE
@given(files=TREES)
@pytest.mark.parametrize("writer", WRITERS)
def test_what_others_pack_we_read(writer: str, files: dict[str, File]) -> None:
    with laid_out(files) as base:
        archive = WRITERS[writer](base)

        with vhpack.open(archive) as ours:
            assert {name.removeprefix("./"): content for name, content in ours.items()} == {
                name: file.content for name, file in files.items()
            }
            assert ours.verify().damaged == []
            ours.extract(base / "back")
        back = found(base / "back")
        assert {name: file.content for name, file in back.items()} == {name: file.content for name, file in files.items()}
        if writer != "jar":  # which writes neither modes nor more of a time than a zone leaves
            assert {name: file.mode for name, file in back.items()} == {name: file.mode for name, file in files.items()}
            assert {name: file.mtime for name, file in back.items()} == {name: file.mtime for name, file in files.items()}
