"""The end of a run: its outputs are registered, with all that sidecars say, or nothing is."""

from __future__ import annotations

import json
import os
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import Connection

import vhpack
from tests.registry.making import ask, content_of, made, output, script, write
from vhpack import registrar, runs
from vhpack.errors import JobWarning, NotRegisteredError, OptionError, PropertyError, RegistrationError
from vhpack.registry import datums
from vhpack.registry.records import Datum, Output

ALIAS, TAGS, SETS = "valohai.alias", "valohai.tags", "valohai.dataset-versions"


def state() -> tuple[list[str], list[str]]:
    return [datum.name for datum in vhpack.data.find()], [alias.name for alias in vhpack.aliases.list()]


def run_record(run: str) -> tuple[str, str, int]:
    from vhpack.registry import runs as rows

    registry = registrar.opened()
    with registry.reading() as connection:
        found = rows.get(connection, registry.project(connection), run)
    return found.step, found.status, found.outputs


@pytest.mark.usefixtures("registry")
class TestRegistering:
    def test_outputs_become_data_with_what_sidecars_say(self) -> None:
        with vhpack.run(step="train", default_parameters={"rate": 0.5}) as run:
            output("models/model.txt", "weights", {ALIAS: "model-prod", TAGS: ["resnet", "resnet"], "accuracy": 0.93})
            output("plain.txt", "plain")
            with vhpack.output_properties() as properties:
                properties.add(file="plain.txt", properties={"rows": 3})
                properties.add_alias(file="plain.txt", alias="plain")
                properties.add_tags(file="plain.txt", tags=["a"])
                properties.add_tags(file="plain.txt", tags=["b", "a"])
        model, plain = vhpack.data.find(run=run.hash)
        assert (model.name, model.tags, model.properties) == ("models/model.txt", ("resnet",), {"accuracy": 0.93})
        assert (plain.name, plain.tags, plain.properties) == ("plain.txt", ("a", "b"), {"rows": 3})
        assert content_of("datum://model-prod") == "weights"
        assert vhpack.aliases.get("plain").datum == plain
        (change,) = vhpack.aliases.history("model-prod")
        assert (change.via, change.run) == ("run", run.hash)
        assert run_record(run.hash) == ("train", "succeeded", 2)

    def test_a_run_begins_when_it_begins_and_not_when_it_is_registered(self) -> None:
        before = time.time()
        with vhpack.run(step="train") as run:
            output("a.txt", "a")
            inside = time.time()
        (found,) = json.loads(ask("runs", "list", "--json").out)["runs"]
        assert found["run"] == run.hash
        assert before <= datetime.fromisoformat(found["created"]).timestamp() + 1e-3
        assert (
            datetime.fromisoformat(found["created"]).timestamp()
            <= inside
            <= datetime.fromisoformat(found["finished"]).timestamp()
        )

    def test_files_whose_times_no_calendar_has_are_registered_as_all_others(self) -> None:
        with vhpack.run(step="train") as run:
            for number in range(70):
                os.utime(output(f"{number:02}.txt", str(number)), (1e10, 1e10) if number % 7 == 0 else None)
        found = vhpack.data.find(run=run.hash)
        assert [datum.name for datum in found] == [f"{number:02}.txt" for number in range(70)]
        assert found[0].file_modified == datetime.fromtimestamp(1e10, timezone.utc)

        def work(connection: Connection, project: int) -> list[Datum]:
            of_ages = [Output("a", 1, None, None, seconds * 10**9) for seconds in (10**12, -(10**12))]
            return datums.of_numbers(connection, list(datums.add(connection, project, None, of_ages)))

        assert [datum.file_modified for datum in registrar.opened().write(work)] == [None, None]

    def test_one_properties_file_overrides_sidecars_name_by_name(self) -> None:
        with vhpack.run(step="train"):
            output("a.txt", "a", {ALIAS: "from-sidecar", "kept": 1})
            with vhpack.output_properties() as properties:
                properties.add(file="a.txt", properties={ALIAS: "from-code"})
        assert state() == (["a.txt"], ["from-code"])
        assert vhpack.data.find()[0].properties == {"kept": 1}

    def test_a_failed_run_registers_its_files_and_moves_no_alias(self) -> None:
        made({"model.txt": "good"}, {"model.txt": {ALIAS: "model-prod"}})
        with pytest.raises(ZeroDivisionError), vhpack.run(step="train") as run:  # noqa: PT012 - it is the end that raises
            output("model.txt", "bad", {ALIAS: "model-prod", SETS: ["dataset://cats/v1"], TAGS: ["half"]})
            raise ZeroDivisionError
        assert content_of("datum://model-prod") == "good"
        assert run_record(run.hash) == ("train", "failed", 1)
        assert vhpack.data.find(run=run.hash)[0].tags == ("half",)
        with pytest.raises(NotRegisteredError, match="no such dataset"):
            vhpack.prepare(step="use", default_inputs={"cats": "dataset://cats/v1"})

    def test_registering_again_does_nothing_twice_and_moves_nothing_back(self) -> None:
        from vhpack import recording

        first = made({"model.txt": "one"}, {"model.txt": {ALIAS: "model-prod", SETS: ["dataset://cats/v1"]}})
        before = vhpack.data.find()
        made({"model.txt": "two"}, {"model.txt": {ALIAS: "model-prod"}})
        again = recording.register(runs.Run(first, os.getcwd()), "succeeded")
        assert again is not None
        assert (again.registered, again.aliases) == (0, ())
        assert vhpack.data.find()[:1] == before
        assert content_of("datum://model-prod") == "two"
        assert len(vhpack.aliases.history("model-prod")) == 2

    def test_registering_again_brings_back_what_was_purged_meanwhile(self) -> None:
        from vhpack import recording

        with pytest.raises(ZeroDivisionError), vhpack.run(step="train") as run:  # noqa: PT012 - it is the end that raises
            output("model.txt", "weights", {ALIAS: "model-prod"})
            raise ZeroDivisionError
        vhpack.data.gc(unused_for=0)
        recording.register(runs.Run(run.hash, os.getcwd()), "succeeded")
        vhpack.data.gc(unused_for=0)
        assert content_of("datum://model-prod") == "weights"
        vhpack.prepare(step="use", default_inputs={"model": "datum://model-prod"})

    def test_one_alias_for_two_files_names_both_and_registers_nothing(self) -> None:
        made({"model.txt": "good"}, {"model.txt": {ALIAS: "model-prod"}})
        before = state()
        with pytest.raises(RegistrationError, match=r"a/one\.txt and b/two\.txt both claim the alias 'model-prod'"):
            made({"a/one.txt": "1", "b/two.txt": "2"}, {name: {ALIAS: "model-prod"} for name in ("a/one.txt", "b/two.txt")})
        assert state() == before
        assert content_of("datum://model-prod") == "good"

    def test_code_that_claims_an_alias_twice_is_told_at_once(self) -> None:
        with vhpack.run(step="train"), vhpack.output_properties() as properties:
            properties.add_alias(file="a.txt", alias="model-prod")
            properties.add_alias(file="a.txt", alias="model-prod")
            with pytest.raises(PropertyError, match=r"a\.txt and b\.txt both claim"):
                properties.add_alias(file="b.txt", alias="model-prod")
            with pytest.raises(PropertyError, match="has the alias 'model-prod' already"):
                properties.add_alias(file="a.txt", alias="other")
            with pytest.raises(OptionError, match="tag"):
                properties.add_tags(file="a.txt", tags=[""])
            properties.properties_file.parent.mkdir(parents=True)
            write(properties.properties_file.with_name("a.txt"))

    @pytest.mark.parametrize(
        ("said", "match"),
        [
            ("{", r"model\.txt\.metadata\.json is no JSON"),
            ("[1]", "must be a JSON object, not list"),
            ("[" * 100_000, "is no JSON"),
            (json.dumps({ALIAS: ["a", "b"]}), r"valohai\.alias is \['a', 'b'\]; it must be one text"),
            (json.dumps({ALIAS: ""}), "a name is not empty"),
            (json.dumps({ALIAS: "0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1"}), "reads as a datum's ID"),
            (json.dumps({TAGS: "a"}), r"valohai\.tags is 'a'; it must be a list"),
            (json.dumps({TAGS: [1]}), "it must be text"),
            (json.dumps({SETS: "dataset://a/b"}), "must be a list of dataset"),
            (json.dumps({SETS: ["datum://a"]}), "must be dataset://NAME/VERSION"),
            (json.dumps({SETS: [{"url": "dataset://a/b"}]}), "'url', which is none of"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "from": 3}]}), "must be dataset://NAME/VERSION"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "exclude": "x"}]}), "must be a list of texts"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "from": "dataset://a/none"}]}), "goes out from dataset://a/none"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "from": "dataset://a"}]}), "must be dataset://NAME/VERSION"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "from": "dataset://a/b"}]}), "goes out from dataset://a/b"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "start_fresh": "false"}]}), "it must be true or false"),
            (json.dumps({SETS: [{"uri": "dataset://a/b", "targeting_aliases": [" "]}]}), "targeting_aliases of dataset://a/b"),
            (json.dumps({"\ud800": 1}), r"a property cannot be called '\\ud800'"),
            (json.dumps({"a\0": 1}), r"a property cannot be called 'a\\x00'"),
            ('{"deep": ' + "[" * 300 + "]" * 300 + "}", "nests more than 200 levels deep"),
        ],
    )
    def test_a_sidecar_that_makes_no_sense_is_named_and_nothing_is_registered(self, said: str, match: str) -> None:
        made({"before.txt": "before"})
        before = state()
        with pytest.raises(RegistrationError, match=match) as caught, vhpack.run(step="train"):  # noqa: PT012 - it is the end that raises
            output("other.txt", "other", {ALIAS: "other"})
            path = output("model.txt", "weights")
            path.with_name("model.txt.metadata.json").write_text(said)
        assert "model.txt" in str(caught.value)
        assert state() == before
        assert path.exists()

    @pytest.mark.parametrize(
        ("line", "match"),
        [
            ('{"file": "a.txt"', r"valohai\.metadata\.jsonl:2 is no JSON"),
            ('{"file": "a.txt", "metadata": []}', r"jsonl:2 must be"),
            ('{"metadata": {}}', r"jsonl:2 must be"),
            ('{"file": "gone.txt", "metadata": {"valohai.alias": "x"}}', r"claims valohai\.alias 'x' for 'gone\.txt'"),
            ('{"file": "../../up.txt", "metadata": {"valohai.alias": "x"}}', "not among the outputs"),
        ],
    )
    def test_a_line_that_makes_no_sense_is_named_and_nothing_is_registered(self, line: str, match: str) -> None:
        with pytest.raises(RegistrationError, match=match), vhpack.run(step="train"):  # noqa: PT012 - it is the end that raises
            output("a.txt", "a")
            write(vhpack.outputs().path("valohai.metadata.jsonl"), f'{{"file": "a.txt", "metadata": {{}}}}\n{line}\n')
        assert state() == ([], [])

    def test_many_sidecars_of_files_that_were_packed_away_are_one_warning(self) -> None:
        with pytest.warns(JobWarning, match="nor are 999 others; they are left out") as caught, vhpack.run(step="train"):  # noqa: PT031
            output("images.zip", "packed")
            with vhpack.output_properties() as properties:
                for number in range(1000):
                    properties.add(file=f"{number}.png", properties={"label": "cat"})
        assert len(caught) == 1

    def test_properties_are_kept_whatever_they_are_called_and_are_always_json(self) -> None:
        with vhpack.run(step="train") as run:
            output("a.txt")
            sidecar = '{"valohai.other": 1, "huge": [1e999, NaN, 1], "nested": {"a": -1e999}, "text": "\\ud800"}'
            write(vhpack.outputs().path("a.txt.metadata.json"), sidecar)
        (datum,) = vhpack.data.find(run=run.hash)
        assert datum.properties == {"valohai.other": 1, "huge": [None, None, 1], "nested": {"a": None}, "text": "\ud800"}

    def test_an_unreadable_folder_among_the_outputs_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str) -> object:
            raise PermissionError(13, "Permission denied", path)

        with (  # noqa: PT012 - it is the end that raises
            pytest.raises(RegistrationError, match=r"outputs in .*/ cannot be listed: Permission denied"),
            vhpack.run(step="train"),
        ):
            output("a.txt")
            monkeypatch.setattr(os, "scandir", refuse)
        monkeypatch.undo()

    def test_a_sidecar_of_a_file_that_was_packed_away_is_a_warning(self) -> None:
        with (  # noqa: PT031 - it is the end that warns
            pytest.warns(JobWarning, match=r"about 'img/1\.png', which is not among the outputs"),
            vhpack.run(step="train") as run,
        ):
            output("img/1.png", "1", {"label": "cat"})
            vhpack.outputs("img").compress("*.png", "images.zip")
        assert [datum.name for datum in vhpack.data.find(run=run.hash)] == ["img/images.zip"]

    def test_links_hidden_and_unfinished_files(self, work: Path) -> None:
        elsewhere = write(work / "elsewhere.txt", "elsewhere")
        elsewhere_is_said = pytest.warns(
            JobWarning, match=r"^folder: a link to a folder elsewhere, whose files are not registered"
        )
        with elsewhere_is_said, vhpack.run(step="train") as run:
            output("a.txt", "a")
            output(".hidden/b.txt", "b")
            os.symlink(".hidden", vhpack.outputs().path("latest"))
            output(".x.zip.vhpack-staged", "half")
            os.symlink(elsewhere, vhpack.outputs().path("link.txt"))
            os.symlink(work, vhpack.outputs().path("folder"))
            os.symlink("nowhere", vhpack.outputs().path("dangling"))
            os.mkfifo(vhpack.outputs().path("fifo"))
            os.link(write(work / "mine.txt", "mine"), vhpack.outputs().path("mine.txt"))
        assert [datum.name for datum in vhpack.data.find(run=run.hash)] == [".hidden/b.txt", "a.txt", "link.txt", "mine.txt"]
        for path in ("elsewhere.txt", "mine.txt"):
            assert (work / path).stat().st_mode & 0o200, "what lies outside of the outputs is never marked"
        elsewhere.write_text("changed")
        (work / "mine.txt").write_text("changed")
        assert vhpack.data.verify() == []

    def test_a_name_that_is_not_utf8_is_named(self) -> None:
        with pytest.raises(RegistrationError, match=r"'\\udcff.txt' has a name that is not UTF-8"), vhpack.run(step="train"):
            write(os.fsdecode(os.fsencode(vhpack.outputs().path("")) + b"\xff.txt"))
        assert state() == ([], [])

    def test_a_folder_of_many_runs_gives_each_its_own_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VH_FLAT_LOCAL_OUTPUTS", "1")
        first = made({"one.txt": "1", "both.txt": "old"}, {"one.txt": {ALIAS: "one"}, "both.txt": {ALIAS: "both"}})
        vhpack.aliases.set("one", write("mine.txt", "mine"))
        write_again = Path(vhpack.outputs().path("both.txt"))
        time.sleep(0.1)  # which is more than a file system's clock lags behind
        with vhpack.run(step="train") as second:
            write_again.unlink(missing_ok=True)
            output("both.txt", "new", {ALIAS: "both"})
        assert [datum.name for datum in vhpack.data.find(run=second.hash)] == ["both.txt"]
        assert sorted(datum.name for datum in vhpack.data.find(run=first)) == ["both.txt", "one.txt"]
        assert (content_of("datum://both"), content_of("datum://one")) == ("new", "mine")

    def test_outputs_of_a_shared_folder_can_be_written_to_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VH_OUTPUTS_DIR", "out")
        made({"model.txt": "one"}, {"model.txt": {ALIAS: "model"}})
        path = Path(vhpack.outputs().path("model.txt"))
        assert path.stat().st_mode & 0o200
        path.write_text("two")
        assert content_of("datum://model") == "one"

    def test_many_files_are_described_each_by_its_own_whatever_the_texts_hold(self) -> None:
        odd = ["tab\there", "new\nline", "back\\slash", "\\N", "quo\"te'", "\\.", "\r", "é\u0301 モデル", "%s ?", ""]
        said = {
            f"{number % 3}/{number}.txt": {
                "text": odd[number % 10],
                "n": number,
                "f": number / 7,
                "b": number % 2 == 0,
                TAGS: [f"t{number % 5}"],
            }
            for number in range(150)
        }
        with vhpack.run(step="train", default_parameters={"note": odd[0]}) as run:
            for number, name in enumerate(said):
                output(name, f"{name}{odd[number % 10]}")
            with vhpack.output_properties() as properties:
                for name, each in said.items():
                    properties.add(file=name, properties=each)
        found = vhpack.data.find(run=run.hash)
        assert {datum.name: {**datum.properties, TAGS: list(datum.tags)} for datum in found} == said
        assert len({datum.id for datum in found}) == 150
        assert all(uuid.UUID(datum.id).version == 4 and uuid.UUID(datum.id).variant == uuid.RFC_4122 for datum in found)
        assert vhpack.data.verify() == []

    def test_what_the_registry_itself_consists_of_is_no_output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VH_OUTPUTS_DIR", ".")
        write("before.txt")
        vhpack.data.add("before.txt")
        with vhpack.run(step="train") as run:
            output("a.txt", "a")
        assert "a.txt" in [datum.name for datum in vhpack.data.find(run=run.hash)]
        assert not [
            datum.name for datum in vhpack.data.find(run=run.hash) if "registry.db" in datum.name or ".valohai" in datum.name
        ]
        assert vhpack.data.verify() == []


@pytest.mark.usefixtures("registry")
class TestDatasets:
    def members(self, uri: str) -> dict[str, str]:
        vhpack.reset()
        vhpack.prepare(step="use", default_inputs={"set": uri})
        return {os.path.basename(path): Path(path).read_text() for path in vhpack.inputs("set").paths()}

    def test_both_forms_make_a_version_and_its_aliases(self) -> None:
        plain, full = (
            "dataset://cats/v1",
            {"uri": "dataset://cats/v1", "targeting_aliases": ["latest"], "valohai.tags": ["x"], "packaging": True},
        )
        made({"1.txt": "1", "2.txt": "2", "no.txt": "no"}, {"1.txt": {SETS: [plain]}, "2.txt": {SETS: [full]}})
        assert self.members("dataset://cats/v1") == self.members("dataset://cats/latest") == {"1.txt": "1", "2.txt": "2"}

    def test_a_version_can_go_out_from_another(self) -> None:
        made({"1.txt": "1", "2.txt": "2"}, {name: {SETS: ["dataset://cats/v1"]} for name in ("1.txt", "2.txt")})
        more = {"uri": "dataset://cats/v2", "from": "dataset://cats/v1", "exclude": ["1.txt"], "targeting_aliases": ["latest"]}
        made({"2.txt": "new 2", "3.txt": "3"}, {name: {SETS: [more]} for name in ("2.txt", "3.txt")})
        assert self.members("dataset://cats/v2") == {"2.txt": "new 2", "3.txt": "3"}
        fresh = {
            "uri": "dataset://cats/v3",
            "from": "dataset://cats/latest",
            "start_fresh": True,
            "targeting_aliases": ["latest"],
        }
        made({"4.txt": "4"}, {"4.txt": {SETS: [fresh]}})
        assert self.members("dataset://cats/latest") == {"4.txt": "4"}
        assert self.members("dataset://cats/v1") == {"1.txt": "1", "2.txt": "2"}, "a version never changes"

    def test_versions_of_one_run_are_made_in_the_order_in_which_they_go_out_from_each_other(self) -> None:
        later = {"uri": "dataset://cats/v10", "from": "dataset://cats/v9", "targeting_aliases": ["latest"]}
        made({"1.txt": "1", "2.txt": "2"}, {"1.txt": {SETS: ["dataset://cats/v9"]}, "2.txt": {SETS: [later]}})
        assert self.members("dataset://cats/latest") == {"1.txt": "1", "2.txt": "2"}
        circle = [{"uri": f"dataset://cats/a{here}", "from": f"dataset://cats/a{there}"} for here, there in ("12", "21")]
        with pytest.raises(RegistrationError, match=r"a1 goes out from dataset://cats/a2, and that from"):
            made({"1.txt": "1"}, {"1.txt": {SETS: circle}})

    def test_a_run_can_be_registered_again_though_an_alias_that_it_went_out_from_has_moved(self) -> None:
        from vhpack import recording

        made({"1.txt": "1"}, {"1.txt": {SETS: [{"uri": "dataset://cats/v1", "targeting_aliases": ["latest"]}]}})
        more = {"from": "dataset://cats/latest", "targeting_aliases": ["latest"]}
        second = made({"2.txt": "2"}, {"2.txt": {SETS: [{"uri": "dataset://cats/v2", **more}]}})
        made({"3.txt": "3"}, {"3.txt": {SETS: [{"uri": "dataset://cats/v3", **more}]}})
        recording.register(runs.Run(second, os.getcwd()), "succeeded")
        assert self.members("dataset://cats/v2") == {"1.txt": "1", "2.txt": "2"}
        assert len(self.members("dataset://cats/latest")) == 3

    def test_a_version_is_made_once(self) -> None:
        made({"1.txt": "1"}, {"1.txt": {SETS: ["dataset://cats/v1"]}})
        made({"1.txt": "1"}, {"1.txt": {SETS: ["dataset://cats/v1"]}})
        with pytest.raises(RegistrationError, match=r"1\.txt: dataset://cats/v1 exists, and has other files"):
            made({"1.txt": "other"}, {"1.txt": {SETS: ["dataset://cats/v1"], ALIAS: "cat"}})
        assert self.members("dataset://cats/v1") == {"1.txt": "1"}
        assert vhpack.aliases.list() == [], "all or nothing"

    def test_files_of_one_name_in_folders_stay_apart(self) -> None:
        files = {"a/1.txt": "a", "b/1.txt": "b"}
        made(files, {name: {SETS: ["dataset://cats/v1"]} for name in files})
        vhpack.reset()
        vhpack.prepare(step="use", default_inputs={"set": "dataset://cats/v1"})
        assert [Path(path).read_text() for path in vhpack.inputs("set").paths()] == ["a", "b"]
        assert [Path(path).read_text() for path in vhpack.inputs("set").paths("b/*")] == ["b"]


@pytest.mark.usefixtures("local")
def test_blocks_one_after_the_other_are_runs_of_their_own() -> None:
    first, second = made({"a.txt": "a"}), made({"a.txt": "b"})
    assert first != second
    assert {datum.run for datum in vhpack.data.find()} == {first, second}
    assert vhpack.outputs().dir_path.endswith(second), "what comes behind a block still is about its run"


@pytest.mark.usefixtures("local")
def test_a_block_in_a_block_is_refused() -> None:
    with vhpack.run(step="train"), pytest.raises(OptionError, match="open already"), vhpack.run(step="train"):
        pass
    made({"a.txt": "a"})


def test_a_block_that_makes_nothing_makes_no_registry(local: Path) -> None:
    with vhpack.run(step="train"):
        pass
    assert not (local / ".valohai/registry.db").exists()


def test_a_job_of_the_platform_leaves_the_books_to_that(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VH_JOB_ID", "1")
    monkeypatch.setenv("VH_OUTPUTS_DIR", str(local / "out"))
    made({"model.txt": "weights"}, {"model.txt": {ALIAS: "model-prod"}})
    assert not (local / ".valohai").exists()


SCRIPT = """\
import json, os, sys
import vhpack
vhpack.prepare(step="train")
path = vhpack.outputs().path("model.txt")
open(path, "w").write("weights")
json.dump({"valohai.alias": "model-prod"}, open(path + ".metadata.json", "w"))
"""


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ("", 0, "succeeded"),
        ("def main():\n    sys.exit()\nmain()", 0, "succeeded"),
        ("sys.exit(0)", 0, "succeeded"),
        ("try:\n    sys.exit(3)\nexcept SystemExit:\n    pass", 0, "succeeded"),
        ("try:\n    sys.exit(0)\nfinally:\n    print()", 0, "succeeded"),
        ("with open(path):\n    sys.exit(0)", 0, "succeeded"),
        ("import atexit; atexit.register(print)", 0, "succeeded"),
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit('no data')", 1, "failed"),
        ("import argparse; argparse.ArgumentParser().error('no')", 2, "failed"),
        ("1 / 0", 1, "failed"),
        ("raise KeyboardInterrupt", -2, "failed"),
        ("sys.excepthook = lambda *_: None; 1 / 0", 1, "failed"),
        ("try:\n    sys.exit(0)\nexcept SystemExit:\n    pass\nraise SystemExit(4)", 4, "unknown"),
        ("def main():\n    try:\n        sys.exit(0)\n    except SystemExit:\n        raise SystemExit(4)\nmain()", 4, "unknown"),
        ("raise SystemExit(0)", 0, "unknown"),
    ],
)
def test_the_end_of_a_program_is_told_from_inside(work: Path, end: str, code: int, status: str) -> None:
    watching = "import atexit, sys\nfrom vhpack import exits\nwatch = exits.Watch()\natexit.register(lambda: print('ended:', watch.end()))\n"
    ended = script(work, f"{watching}path = __file__\n{end}\n")
    assert (ended.code, f"ended: {status}\n" in ended.out) == (code, True), ended


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ("", 0, "succeeded"),
        ("sys.exit(3)", 3, "failed"),
        ("raise KeyboardInterrupt", -2, "failed"),
        ("raise SystemExit(0)", 0, "succeeded"),
        ("raise SystemExit('no data')", 1, "failed"),
        ("import os\ndef main():\n    return 4\nif os.fork():\n    raise SystemExit(main())", 4, "failed"),
    ],
)
def test_the_end_of_a_script_decides_whether_its_aliases_move(local: Path, end: str, code: int, status: str) -> None:
    ended = script(local, f"{SCRIPT}{end}\n")
    assert ended.code == code, ended
    (datum,) = vhpack.data.find()
    assert run_record(str(datum.run)) == ("train", status, 1)
    assert bool(vhpack.aliases.list()) == (status == "succeeded")
    assert ("the alias model-prod is model.txt now" in ended.err) == (status == "succeeded")


def test_an_end_that_nobody_is_told_of_moves_no_alias_and_says_so(local: Path) -> None:
    ended = script(local, f"{SCRIPT}sys.executable = ''\nraise SystemExit(0)\n")
    (datum,) = vhpack.data.find()
    assert (ended.code, run_record(str(datum.run))[1], vhpack.aliases.list()) == (0, "unknown", [])
    assert f"no alias was moved; end it by sys.exit(), or say `vhpack runs register {datum.run}`" in ended.err


def test_a_retry_writes_to_its_outputs_again_and_not_into_the_store(local: Path) -> None:
    """They are the store's own files since the first try has ended; before root, their mode keeps nobody from writing."""
    text = SCRIPT.replace('"weights"', "sys.argv[1]") + "sys.exit(int(sys.argv[2]))\n"
    for content, code in (("half of them", 3), ("weights", 0)):
        ended = script(local, text, content, str(code), environment={"VHPACK_RUN_ID": "retried"})
        assert ended.code == code, ended
    assert run_record("retried") == ("train", "succeeded", 2)
    assert [content_of(datum.uri) for datum in vhpack.data.find(run="retried")] == ["half of them", "weights"]
    assert content_of("datum://model-prod") == "weights"
    assert vhpack.data.verify() == []


def test_an_exit_status_that_is_no_number_is_none_of_success(local: Path) -> None:
    with pytest.raises(SystemExit), vhpack.run(step="train"):  # noqa: PT012 - it is the end that raises
        output("model.txt", "weights", {ALIAS: "model-prod"})
        raise SystemExit(0.0)  # which the interpreter prints, and ends with 1
    assert vhpack.aliases.list() == []
    assert (local / ".valohai/registry.db").exists()


def test_only_the_process_that_began_a_run_ends_it(local: Path) -> None:
    child = "import vhpack; vhpack.prepare(step='train'); open(vhpack.outputs().path('child.txt'), 'w').write('child')"
    ended = script(
        local,
        f"{SCRIPT}"
        "import subprocess, multiprocessing\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        "assert not os.path.exists('.valohai/registry.db'), 'the child has ended the run'\n"
        "if os.fork() == 0:\n    sys.exit(0)\n"
        "os.wait()\n"
        "assert not os.path.exists('.valohai/registry.db'), 'the fork has ended the run'\n",
    )
    assert (ended.code, ended.err.count("model-prod")) == (0, 1), ended
    assert [datum.name for datum in vhpack.data.find()] == ["child.txt", "model.txt"]


def test_a_run_that_cannot_be_registered_says_how_to_do_it_later(local: Path) -> None:
    ended = script(local, SCRIPT + 'open(path + ".metadata.json", "w").write("{")\n')
    assert ended.code == 120, ended
    (run,) = [path.name for path in (local / ".valohai/outputs").iterdir()]
    assert f"the outputs of run {run} are not registered" in ended.err
    assert "Traceback" not in ended.err
    assert not (local / ".valohai/registry.db").exists()
    (local / f".valohai/outputs/{run}/model.txt.metadata.json").write_text('{"valohai.alias": "mended"}')
    again = ask("runs", "register", run)
    assert again.code == 0, again
    assert content_of("datum://mended") == "weights"


def test_without_sqlalchemy_a_script_that_claims_nothing_hears_nothing(local: Path) -> None:
    blocked = "import sys; sys.modules['sqlalchemy'] = None\n"
    ended = script(local, blocked + SCRIPT)
    assert (ended.code, ended.err) == (
        0,
        "vhpack: aliases, tags and datasets of this run are not registered: pip install 'vhpack[registry]'\n",
    )
    ended = script(local, blocked + SCRIPT.rpartition("json.dump")[0])
    assert (ended.code, ended.err) == (0, "")
    ended = script(local, blocked + "import vhpack\nvhpack.prepare(step='a', default_inputs={'x': 'datum://model-prod'})\n")
    assert "MissingExtraError: datum://, dataset://, models and the registry need SQLAlchemy" in ended.err
    assert not (local / ".valohai/registry.db").exists()


def test_a_script_that_uses_no_registry_loads_none(local: Path) -> None:
    ended = script(
        local, "import sys, vhpack\nvhpack.prepare(step='a')\nassert not {'sqlalchemy', 'alembic'} & set(sys.modules)\n"
    )
    assert (ended.code, ended.err) == (0, "")
    assert not (local / ".valohai").exists()
