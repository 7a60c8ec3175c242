"""Folders and lists of files that become versions: acceptance checks 22, 24, 26 to 38, and what is bad in them."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.trees import noise, prose
from tests.models.conftest import left_in_spool, rows
from tests.models.test_weights import failing, path_of
from tests.registry.making import ask
from tests.upload.proxy import Proxy
from vhpack import outbox, storing
from vhpack.errors import ModelError, NoFilesError, SourceNotFoundError, SpecialFileError


@pytest.fixture
def model(task: vhpack.Task) -> vhpack.OutputModel:
    return vhpack.OutputModel(task, name="bert")


def tree(folder: str = "tree") -> Path:
    """Nested folders, an empty one, an empty file, a hidden one, a program, and names in Unicode."""
    root = Path(folder)
    for name, content in {
        "weights.bin": noise(50_000),
        "config.json": prose(20_000),
        "sub/deep/ünï 🐈.txt": b"text",
        "sub/empty.txt": b"",
        ".hidden": b"hidden",
        "run.sh": b"#!/bin/sh",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "none").mkdir()
    (root / "run.sh").chmod(0o755)
    return root


def contents(folder: Path | str) -> dict[str, bytes | None]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


@pytest.mark.parametrize("name", ["", "mine.zip", "mine", "mine.tar.zst", "mine.tar"])
def test_a_folder_comes_back_as_it_was(model: vhpack.OutputModel, name: str) -> None:
    before = contents(tree())
    uri = model.update_weights_package(weights_path="tree", target_filename=name or None, async_enable=False)
    assert not Path("tree").exists(), "all of it is stored, so all of it goes"
    stored = path_of(uri)
    assert stored.name == {"": "model_package.zip", "mine": "mine.zip"}.get(name, name)
    folder = model.get_weights_package(return_path=True, raise_on_error=True)
    assert contents(str(folder)) == before
    assert os.access(Path(str(folder)) / "run.sh", os.X_OK)
    assert (model.system_tags, model.versions()[0].files) == (["package"], 6)
    if stored.suffix == ".zip":
        needs("unzip")
        assert subprocess.run(["unzip", "-tq", stored], capture_output=True).returncode == 0
        with zipfile.ZipFile(stored) as archive:
            assert archive.testzip() is None
            kinds = {info.filename: info.compress_type for info in archive.infolist()}
        assert (kinds["weights.bin"], kinds["config.json"]) == (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    assert Path(f"{stored}.manifest.jsonl").read_text().count("\n") == 8
    assert left_in_spool() == []


def test_a_folder_given_as_weights_is_a_package_of_its_name(model: vhpack.OutputModel) -> None:
    tree("snapshot-7")
    uri = model.update_weights("snapshot-7", auto_delete_file=False, iteration=7, async_enable=False)
    assert uri.endswith("/snapshot-7.zip")
    assert Path("snapshot-7/weights.bin").exists()
    assert model.get_weights(iteration=7) == str(model.get_weights_package(extract_archive=False))


class TestLists:
    def test_names_are_relative_to_what_all_have_in_common(self, model: vhpack.OutputModel) -> None:
        for name in ("x/a/same.bin", "x/b/same.bin", "x/c.bin"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(name.encode())
        files: list[str | Path] = ["x/a/same.bin", Path("x/b/same.bin"), os.path.abspath("x/c.bin"), "x/c.bin"]
        model.update_weights_package(files, async_enable=False)
        found = model.get_weights_package()
        assert isinstance(found, list)
        assert [path.read_text() for path in found] == ["x/a/same.bin", "x/b/same.bin", "x/c.bin"]
        assert not Path("x/a").exists()
        assert Path("x").exists(), "the folder that all are in was not handed over"

    def test_one_file_has_its_own_name_and_wildcards_are_characters(self, model: vhpack.OutputModel) -> None:
        Path("a*.bin").write_bytes(b"one")
        Path("ab.bin").write_bytes(b"other")
        model.update_weights_package(["a*.bin"], async_enable=False)
        found = model.get_weights_package(return_path=True)
        assert contents(str(found)) == {"a*.bin": b"one"}
        assert Path("ab.bin").exists()

    @pytest.mark.parametrize("files", [[], "a.bin", ["nowhere.bin"], ["."]])
    def test_lists_that_are_none_are_refused(self, model: vhpack.OutputModel, files: object) -> None:
        with pytest.raises(vhpack.PackError, match=r"is empty|must be a list|does not exist|is no file"):
            model.update_weights_package(files)  # type: ignore[arg-type]
        assert rows("models") == 0


class TestRefusals:
    @pytest.fixture(autouse=True)
    def unchanged(self, ground: Path) -> Callable[[], None]:
        before = sorted(os.listdir(os.environ.get("TMPDIR", "/tmp")))

        def check() -> None:
            assert [
                name for name in os.listdir(os.environ.get("TMPDIR", "/tmp")) if "vhpack" in name and name not in before
            ] == []
            assert left_in_spool() == []
            assert not any(path.is_file() for path in (ground / ".valohai/store").rglob("*"))

        return check

    def test_neither_or_both_and_formats_that_are_none(self, model: vhpack.OutputModel) -> None:
        tree()
        for arguments in ({}, {"weights_filenames": ["a"], "weights_path": "tree"}):
            with pytest.raises(ValueError, match="give either weights_path"):
                model.update_weights_package(**arguments)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="compression is 'best'"):
            model.update_weights_package(weights_path="tree", compression="best")  # type: ignore[arg-type]
        assert rows("models") == 0

    @pytest.mark.parametrize("folder", ["nowhere", "empty", "file.bin"])
    def test_a_folder_that_is_not_there_or_has_nothing(
        self, model: vhpack.OutputModel, unchanged: Callable[[], None], folder: str
    ) -> None:
        Path("empty").mkdir()
        Path("file.bin").write_bytes(b"a")
        with pytest.raises(NoFilesError, match=r"does not exist|is empty|is no folder"):
            model.update_weights_package(weights_path=folder)
        assert Path("file.bin").exists()
        assert Path("empty").exists()
        assert rows("models") == 0
        unchanged()

    def test_a_link_to_nowhere_and_a_fifo_are_said_and_nothing_is_packed(
        self, model: vhpack.OutputModel, unchanged: Callable[[], None]
    ) -> None:
        tree()
        before = contents("tree")
        Path("tree/sub/link").symlink_to("nowhere")
        with pytest.raises(SourceNotFoundError, match=r"tree/sub/link is a link that leads nowhere"):
            model.update_weights_package(weights_path="tree")
        Path("tree/sub/link").unlink()
        os.mkfifo("tree/sub/fifo")
        with pytest.raises(SpecialFileError, match=r"tree/sub/fifo is no file"):
            model.update_weights_package(weights_path="tree")
        Path("tree/sub/fifo").unlink()
        assert contents("tree") == before
        unchanged()
        model.update_weights_package(weights_path="tree", async_enable=False)
        assert [version.state for version in model.versions()] == ["stored"]

    @pytest.mark.parametrize("where", [{"weights_path": "."}, {"weights_path": "tree", "upload_uri": "tree/models"}])
    def test_a_folder_in_which_models_are_kept_is_refused(self, model: vhpack.OutputModel, where: dict[str, str]) -> None:
        before = contents(tree())
        with pytest.raises(ValueError, match="where models are kept"):
            model.update_weights_package(**where)  # type: ignore[arg-type]
        assert {name: content for name, content in contents("tree").items() if name != "models"} == before
        assert rows("models") == 0

    def test_a_model_whose_first_package_cannot_be_packed_lives_on(
        self, model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(tree())
        with monkeypatch.context() as patched:
            patched.setattr(
                storing, "pack", lambda *_, **__: (_ for _ in ()).throw(vhpack.NoSpaceError(28, "the disk is full", "x"))
            )
            with pytest.raises(vhpack.NoSpaceError):
                model.update_weights_package(weights_path="tree")
        assert contents("tree") == before
        model.update_labels({"cat": 1})
        model.update_weights_package(weights_path="tree", async_enable=False)
        assert vhpack.Model(model.id).labels == {"cat": 1}
        assert [(version.state, version.error) for version in model.versions()] == [
            ("failed", "the disk is full"),
            ("stored", None),
        ]

    def test_a_folder_of_any_name_is_packed(self, model: vhpack.OutputModel) -> None:
        folder = os.fsdecode(b"\xff\xfe")
        tree(folder)
        model.update_weights_package(weights_path=folder, async_enable=False)
        assert model.comment.startswith(r"snapshot \xff\xfe (6 files")
        assert not Path(folder).exists()

    def test_files_of_1970_are_packed(self, model: vhpack.OutputModel) -> None:
        os.utime(tree() / "weights.bin", (0, 0))
        model.update_weights_package(weights_path="tree", async_enable=False)
        assert (Path(str(model.get_weights_package(return_path=True))) / "weights.bin").read_bytes() == noise(50_000)

    def test_what_is_not_asked_for_is_left_out_and_stays(self, model: vhpack.OutputModel) -> None:
        tree()
        model.update_weights_package(weights_path="tree", exclude="*.bin", async_enable=False)
        assert contents("tree") == {"weights.bin": noise(50_000)}
        tree()
        model.update_weights_package(weights_path="tree", include=["*.json", "sub/**"], async_enable=False)
        folder = model.get_weights_package(return_path=True)
        assert set(contents(str(folder))) >= {"config.json", "sub/empty.txt"}
        assert "weights.bin" not in contents(str(folder))
        assert "weights.bin" in contents("tree")


class TestRemoval:
    def test_a_folder_that_gained_a_file_stays_and_so_does_one_that_was_changed(
        self, model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from vhpack import originals

        real = originals.remove_files
        tree()

        def remove(*arguments: object) -> object:
            Path("tree/sub/new.bin").write_bytes(b"new")
            Path("tree/config.json").write_bytes(prose(20_000, 2))
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(originals, "remove_files", remove)
        model.update_weights_package(weights_path="tree", async_enable=False)
        assert contents("tree") == {"config.json": prose(20_000, 2), "sub": None, "sub/new.bin": b"new"}

    def test_a_file_that_is_begun_anew_while_it_is_removed_is_not_lost(
        self, model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A training loop writes the next one under the same name, at the worst of all moments."""
        real = os.rename
        path = Path("a.bin")
        path.write_bytes(b"one")

        def rename(source: str, target: str) -> None:
            if str(target).endswith(".vhpack-original"):
                path.write_bytes(b"the next one")
            real(source, target)

        monkeypatch.setattr(os, "rename", rename)
        model.update_weights(path, async_enable=False)
        assert path.read_bytes() == b"the next one"
        assert Path(str(model.get_weights())).read_bytes() == b"one"
        assert [name for name in os.listdir() if name.endswith(".vhpack-original")] == []

    def test_what_was_put_aside_by_one_that_was_killed_goes(
        self, model: vhpack.OutputModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from vhpack import originals

        path = Path("a.bin")
        path.write_bytes(b"one")
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", lambda _: (_ for _ in ()).throw(SystemExit()))
            with pytest.raises(SystemExit):
                originals.remove_file(str(path.absolute()), vhpack.hash_files("a.bin")["a.bin"])
        (aside,) = os.listdir()
        assert aside.endswith(".vhpack-original")
        path.write_bytes(b"two")
        assert originals.remove_file(str(path.absolute()), next(iter(vhpack.hash_files([aside]).values()))) is None
        assert os.listdir() == ["a.bin"]
        del model

    def test_what_lies_behind_a_link_is_packed_and_stays(self, model: vhpack.OutputModel) -> None:
        tree()
        tree("elsewhere")
        before = contents("elsewhere")
        Path("tree/linked").symlink_to(Path("elsewhere").absolute())
        Path("tree/alias.bin").symlink_to(Path("elsewhere/weights.bin").absolute())
        model.update_weights_package(weights_path="tree", async_enable=False)
        assert contents("elsewhere") == before
        folder = Path(str(model.get_weights_package(return_path=True)))
        assert (folder / "linked/config.json").read_bytes() == before["config.json"]
        assert (folder / "alias.bin").read_bytes() == before["weights.bin"]
        assert os.listdir("tree") == ["linked"], "a link to a folder is not followed to remove anything"

    def test_where_the_store_fails_all_files_stay(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        failing(slow)
        before = contents(tree())
        model.update_weights_package(weights_path="tree")
        vhpack.OutputModel.wait_for_uploads()
        assert contents("tree") == before
        assert vhpack.OutputModel.uploads("failed")[0].error is not None
        slow.faults.clear()
        assert vhpack.OutputModel.resume_uploads() == 1
        vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        assert contents(str(model.get_weights_package(return_path=True))) == before
        assert not Path("tree").exists()
        outbox.own().uploads.clear()


@pytest.mark.parametrize("step", ["pack", "send"])
def test_what_is_begun_is_not_gone_on_with_by_another_thread(
    model: vhpack.OutputModel, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(storing, step)

    def meanwhile(*args: object, **more: object) -> object:
        assert vhpack.OutputModel.resume_uploads() == 0
        done = real(*args, **more)
        assert vhpack.OutputModel.resume_uploads() == 0
        return done

    monkeypatch.setattr(storing, step, meanwhile)
    before = contents(tree())
    if step == "pack":
        model.update_weights("tree")
    else:
        model.update_weights("tree/weights.bin")
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert [version.state for version in model.versions()] == ["stored"]
    if step == "pack":
        assert contents(str(model.get_weights_package(return_path=True))) == before


def test_a_package_is_sent_while_it_is_packed_and_read_from_there(model: vhpack.OutputModel, slow: Proxy) -> None:
    before = contents(tree())
    uri = model.update_weights_package(weights_path="tree", auto_delete_file=False)
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    assert uri.startswith("s3://")
    assert contents(str(model.get_weights_package(return_path=True))) == before
    assert slow.count(r"^PUT .*manifest\.jsonl") == 1
    assert left_in_spool() == []


class TestReading:
    def test_a_later_version_is_read_and_earlier_ones_stay(self, model: vhpack.OutputModel) -> None:
        for number in range(2):
            Path("one").mkdir()
            Path("one/a.txt").write_text(str(number))
            model.update_weights_package(weights_path="one", async_enable=False)
            assert contents(str(model.get_weights_package(return_path=True))) == {"a.txt": str(number).encode()}
        assert contents(str(model.get_weights_package(return_path=True, version=1))) == {"a.txt": b"0"}

    def test_files_are_listed_at_any_depth_or_as_clearml_does(self, model: vhpack.OutputModel) -> None:
        tree()
        model.update_weights_package(weights_path="tree", async_enable=False)
        found = model.get_weights_package()
        assert isinstance(found, list)
        assert len(found) == 6
        assert all(path.is_file() for path in found)
        top = model.get_weights_package(top_level=True)
        assert isinstance(top, list)
        assert {path.name for path in top} == {"weights.bin", "config.json", "sub", ".hidden", "run.sh", "none"}

    def test_what_is_no_package_is_none_also_after_one(self, model: vhpack.OutputModel) -> None:
        with pytest.raises(ValueError, match="has no package"):
            model.get_weights_package()
        tree()
        model.update_weights_package(weights_path="tree", async_enable=False)
        Path("a.bin").write_bytes(b"a")
        model.update_weights("a.bin", async_enable=False)
        with pytest.raises(ValueError, match="is no package"):
            model.get_weights_package()
        assert model.system_tags == []
        assert len(model.get_weights_package(version=1) or ()) == 6

    def test_a_package_that_cannot_be_unpacked_whole_is_not_unpacked(self, model: vhpack.OutputModel) -> None:
        with tarfile.open(".mine.tar", "w") as archive:
            for name, kind, target in (("a.txt", tarfile.REGTYPE, ""), ("out", tarfile.SYMTYPE, "/etc/passwd")):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                archive.addfile(info)
        model.update_weights(".mine.tar", is_package=True, async_enable=False)
        with pytest.raises(ModelError, match=r"cannot be unpacked: 'out' is left out"):
            model.get_weights_package(raise_on_error=True)
        with pytest.warns(vhpack.JobWarning, match="'out' is left out"):
            assert model.get_weights_package() is None
        assert str(model.get_weights_package(extract_archive=False)).endswith("/.mine.tar")
        ended = ask("model", "download", "bert", "--extract")
        assert (ended.code, ended.out) == (1, f"{Path('.mine').absolute()}\n")
        assert "1 member of .mine.tar could not be extracted" in ended.err
        assert os.listdir(".mine") == ["a.txt"]

    def test_an_altered_package_is_told_with_the_member(self, model: vhpack.OutputModel) -> None:
        tree()
        stored = path_of(model.update_weights_package(weights_path="tree", async_enable=False))
        stored.chmod(0o644)
        content = bytearray(stored.read_bytes())
        with zipfile.ZipFile(stored) as archive:
            at = archive.getinfo("weights.bin").header_offset
        content[at + 200] ^= 1
        stored.write_bytes(content)
        with pytest.raises(ModelError, match=r"cannot be had.*damaged are weights\.bin"):
            model.get_weights_package(raise_on_error=True)
        with pytest.warns(vhpack.JobWarning, match=r"damaged are weights\.bin"):
            assert model.get_weights_package() is None

    @pytest.mark.parametrize("how", ["cut", "gone", "flipped", "unreadable"])
    def test_an_altered_file_is_told(self, model: vhpack.OutputModel, how: str) -> None:
        Path("a.bin").write_bytes(noise(100_000))
        stored = path_of(model.update_weights("a.bin", async_enable=False))
        good = stored.read_bytes()
        stored.chmod(0o644)
        if how == "gone":
            stored.unlink()
        elif how == "unreadable":
            stored.unlink()
            stored.mkdir()
        else:
            stored.write_bytes(good[:-1] if how == "cut" else good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ModelError, match="cannot be had"):
            model.get_weights(raise_on_error=True)
        with pytest.warns(vhpack.JobWarning, match="cannot be had"):
            assert model.get_weights() is None

    def test_a_copy_that_was_altered_stays_and_another_one_is_fetched(self, model: vhpack.OutputModel) -> None:
        Path("a.bin").write_bytes(b"good")
        model.update_weights("a.bin", async_enable=False)
        for _ in range(2):
            found = Path(str(model.get_weights(raise_on_error=True)))
            assert found.read_bytes() == b"good"
            assert model.get_weights() == str(found)
            found.write_bytes(b"mine")
        assert found.read_bytes() == b"mine", "what somebody has written is not replaced"
        tree()
        model.update_weights_package(weights_path="tree", async_enable=False)
        folder = Path(str(model.get_weights_package(return_path=True)))
        assert model.get_weights_package(return_path=True) == str(folder)
        (folder.parent / ".staged-0").mkdir()  # of one that was killed
        (folder / "config.json").write_bytes(b"mine")
        again = Path(str(model.get_weights_package(return_path=True)))
        assert (again / "config.json").read_bytes() == prose(20_000)
        assert not (folder.parent / ".staged-0").exists()
        assert (folder / "config.json").read_bytes() == b"mine", "what somebody has written is not removed"


class TestPruning:
    def test_the_last_ones_stay_and_what_something_needs(self, model: vhpack.OutputModel) -> None:
        uris = []
        for number in range(6):
            Path("a.bin").write_bytes(bytes([number]))
            uris.append(path_of(model.update_weights("a.bin", async_enable=False)))
        model.set_alias("old", version=2)
        with pytest.warns(vhpack.JobWarning, match=r"version 2 stays: the alias 'model://bert/old' means it"):
            gone = model.prune(keep=2)
        assert sorted(version.n for version in gone) == [1, 3, 4]
        assert [path.exists() for path in uris] == [False, True, False, False, True, True]
        assert not uris[0].parent.exists()
        assert [version.state for version in model.versions()] == ["pruned", "stored", "pruned", "pruned", "stored", "stored"]
        with pytest.raises(ModelError, match="no version 1 that is stored; it is pruned"):
            model.get_weights(version=1, raise_on_error=True)
        with pytest.raises(ValueError, match="keep is 0"):
            model.prune(keep=0)
        with pytest.warns(vhpack.JobWarning):
            assert model.prune(keep=1) != []
        assert Path(str(model.get_weights(raise_on_error=True))).read_bytes() == b"\5"

    def test_at_a_store_and_of_what_is_anothers(self, model: vhpack.OutputModel, slow: Proxy) -> None:
        for number in range(3):
            Path("a.bin").write_bytes(bytes([number]))
            model.update_weights("a.bin", async_enable=False)
        mine = Path("mine.bin")
        mine.write_bytes(b"mine")
        model.update_weights(register_uri=mine)
        model.update_weights(register_uri="s3://b/k")
        assert len(model.prune(keep=2)) == 3
        assert mine.exists()
        assert slow.count(r"^POST .*\?delete|^DELETE ") >= 3
        assert [version.state for version in model.versions()] == ["pruned"] * 3 + ["registered"] * 2

    def test_the_data_of_a_version_are_not_purged_by_themselves(self, model: vhpack.OutputModel) -> None:
        Path("a.bin").write_bytes(b"a")
        model.update_weights("a.bin", async_enable=False)
        with pytest.raises(vhpack.RegistryError, match="it is version 1 of the model 'bert'"):
            vhpack.data.purge(str(model.versions()[0].datum))


def test_the_comment_of_a_large_package_is_a_line(model: vhpack.OutputModel) -> None:
    folder = Path("many")
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number}.txt").touch()
    model.update_weights_package(weights_path=folder, async_enable=False)
    assert model.comment.splitlines()[0] == "snapshot many (2,000 files, 0 B) stored"
    assert len(model.comment) < 1000
