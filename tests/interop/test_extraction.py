"""What comes out again is what went in: contents, times to the second, modes and links."""

from __future__ import annotations

import os
import subprocess
import unicodedata
import zipfile
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.trees import MIB, mixed_tree, noise, prose, write_tree
from tests.interop.shapes import hostile_names, long_names_and_deep_trees, modes, on_disk, seconds, stored_links, unicode_names


def everything(tree: Path) -> Path:
    """One tree with all that an extraction can get wrong."""
    mixed_tree(tree)
    hostile_names(tree / "hostile")
    unicode_names(tree / "unicode")
    modes(tree / "modes")
    write_tree(tree / "large", {"prose": prose(6 * MIB), "noise": noise(6 * MIB)})
    for number, path in enumerate(sorted(path for path in tree.rglob("*") if path.is_file())):
        seconds(path, 1_000_000_001 + 86_400 * number)
    return tree


def read_all(folder: Path) -> dict[str, bytes]:
    """Content of every regular file, by relative name."""
    return {
        os.path.relpath(os.path.join(parent, name), folder): Path(parent, name).read_bytes()
        for parent, _, files in os.walk(folder)
        for name in files
    }


@pytest.mark.parametrize("codec", ["auto", "store", "deflate"])
def test_unzip_restores_contents_times_and_modes(tmp_path: Path, codec: str) -> None:
    needs("unzip")
    tree = everything(tmp_path / "tree")
    vhpack.pack(tree, tmp_path / "all.zip", codec=codec)  # type: ignore[arg-type]

    # -^ lets control characters in names through, which unzip drops otherwise
    done = subprocess.run(["unzip", "-^qq", "all.zip", "-d", "back"], cwd=tmp_path, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert read_all(tmp_path / "back") == read_all(tree)
    before, after = on_disk(tree), on_disk(tmp_path / "back")
    assert set(after) == set(before)
    for name, source in before.items():
        assert after[name].mode == source.mode, name
        if source.kind == "-":
            assert after[name].modified == source.modified, name


@pytest.mark.parametrize("codec", ["auto", "store", "deflate"])
def test_zipfile_gives_back_every_byte(tmp_path: Path, codec: str) -> None:
    tree = everything(tmp_path / "tree")
    vhpack.pack(tree, tmp_path / "all.zip", codec=codec)  # type: ignore[arg-type]

    with zipfile.ZipFile(tmp_path / "all.zip") as reader:
        reader.extractall(tmp_path / "back")

    assert read_all(tmp_path / "back") == read_all(tree)
    assert set(on_disk(tmp_path / "back")) == set(on_disk(tree))


@pytest.mark.parametrize("reader", ["bsdtar", "7z", "jar"])
def test_other_extractors_give_back_every_byte(tmp_path: Path, reader: str) -> None:
    needs(reader)
    tree = everything(tmp_path / "tree")
    long_names_and_deep_trees(tree / "long")
    vhpack.pack(tree, tmp_path / "all.zip")
    (tmp_path / "back").mkdir()
    command = {
        "bsdtar": ["bsdtar", "-xf", "all.zip", "-C", "back"],
        "7z": ["7z", "x", "-bd", "-oback", "all.zip"],
        "jar": ["env", "-C", "back", "jar", "xf", "../all.zip"],
    }

    done = subprocess.run(command[reader], cwd=tmp_path, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert composed(read_all(tmp_path / "back")) == composed(read_all(tree))


def composed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same under composed names: libarchive composes accents as it extracts."""
    return {unicodedata.normalize("NFC", name): content for name, content in files.items()}


def test_unzip_restores_stored_links(tmp_path: Path) -> None:
    needs("unzip")
    stored_links(tmp_path / "tree")
    vhpack.pack(tmp_path / "tree", tmp_path / "all.zip", symlinks="store")

    done = subprocess.run(["unzip", "-qq", "all.zip", "-d", "back"], cwd=tmp_path, capture_output=True)

    assert done.returncode == 0, done.stderr
    for name in ("to-file", "to-folder", "dangling", "loop"):
        assert os.readlink(tmp_path / "back" / name) == os.readlink(tmp_path / "tree" / name)
