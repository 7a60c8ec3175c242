"""Inputs from the registry: settled once, the same for good, and checked when they are used."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import vhpack as command
from tests.registry.making import ask, made, script, write
from tests.registry.postgres import Server
from tests.registry.test_names import STRANGE
from tests.valohai.servers import http_site
from vhpack import paths, registrar, runs
from vhpack.errors import ChecksumError, ContentError, DownloadError, NotRegisteredError, RegistryError

READ = (
    "import vhpack\nvhpack.prepare(step='use', default_inputs={'data': %r})\nprint(open(vhpack.inputs('data').path()).read())\n"
)


def read(uri: str | list[str], name: str = "data") -> list[str]:
    """What a new run finds."""
    vhpack.reset()
    vhpack.prepare(step="use", default_inputs={name: uri})
    return [Path(path).read_text() for path in vhpack.inputs(name).paths(process_archives=False)]


def again(name: str = "data") -> list[str]:
    return [Path(path).read_text() for path in vhpack.inputs(name).paths(process_archives=False)]


@pytest.mark.usefixtures("registry")
class TestResolving:
    def test_every_form_of_a_reference_is_an_input(self) -> None:
        datum = vhpack.data.add(write("a.txt", "one"), alias="model-prod")
        made(
            {"b.txt": "two"},
            {"b.txt": {"valohai.dataset-versions": [{"uri": "dataset://set/v1", "targeting_aliases": ["latest"]}]}},
        )
        for uri, content in (
            (f"datum://{datum.id}", "one"),
            (f"datum://{datum.id.upper()}", "one"),
            ("datum://model-prod", "one"),
            ("dataset://set/v1", "two"),
            ("dataset://set/latest", "two"),
        ):
            assert read(uri) == [content]
        assert read(["dataset://set/v1", "datum://model-prod"]) == ["two", "one"]

    def test_the_command_line_overrides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="first")
        vhpack.data.add(write("b.txt", "two"), alias="second")
        monkeypatch.setattr(sys, "argv", ["script.py", "--data=datum://second"])
        assert read("datum://first") == ["two"]

    def test_inputs_json_is_read_with_or_without_the_file(self) -> None:
        datum = vhpack.data.add(write("a.txt", "one"))
        there = write("there.txt", "there")
        listed = [
            {"name": "called.txt", "uri": datum.uri},
            {"name": "there.txt", "uri": "datum://not-asked-for", "path": str(there)},
        ]
        write(paths.get_inputs_config_path(), json.dumps({"data": {"files": listed}, "more": [datum.uri]}))
        vhpack.reset()
        assert again() == ["one", "there"]
        assert [os.path.basename(path) for path in vhpack.inputs("data").paths()] == ["called.txt", "there.txt"]
        assert again("more") == ["one"]

    def test_a_run_keeps_what_it_was_created_with(self) -> None:
        vhpack.data.add(write("model.txt", "old"), alias="model")
        assert read("datum://model") == ["old"]
        vhpack.data.add(write("model.txt", "new"), alias="model")
        vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
        assert again() == ["old"], "prepared again, it is the same run"
        old_run = runs.current().hash
        assert read("datum://model") == ["new"]
        os.environ["VHPACK_RUN_ID"] = old_run
        try:
            vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
            assert again() == ["old"], "a retry has the run's name, and its data"
        finally:
            del os.environ["VHPACK_RUN_ID"]

    def test_files_of_other_runs_are_never_in_the_place_of_ones_own(self) -> None:
        vhpack.data.add(write("model.txt", "old"), alias="model")
        read("datum://model")
        path = vhpack.inputs("data").path()
        vhpack.data.add(write("model.txt", "new"), alias="model")
        assert read("datum://model") == ["new"]
        assert path is not None
        assert Path(path).read_text() == "old"
        assert (os.path.basename(path), path.startswith(vhpack.inputs("data").dir_path())) == ("model.txt", True)

    @pytest.mark.parametrize("name", ["models/deep/model.txt", "..", "../../escape.txt", "a b&c#d.txt"])
    def test_names_of_data_never_lead_out_of_the_inputs_folder(self, name: str) -> None:
        vhpack.data.add(write("a.txt", "one"), name=name, alias="model")
        assert read("datum://model") == ["one"]
        path = vhpack.inputs("data").path()
        assert path is not None
        assert os.path.realpath(path).startswith(os.path.realpath(vhpack.inputs("data").dir_path()) + "/")

    @pytest.mark.parametrize("name", STRANGE)
    def test_strange_aliases_are_inputs_escaped_or_not(self, name: str) -> None:
        alias = vhpack.aliases.set(name, write("a.txt", "one"))
        assert read(alias.uri) == ["one"]
        if "%" not in name:
            assert read(f"datum://{name}") == ["one"]

    def test_all_that_is_unknown_is_said_and_no_run_begins(self) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="known")
        for uri, said in (
            ("datum://nobody", "does not know it, and valohai-cli is not set up"),
            ("datum://0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1", "does not know it"),
            ("dataset://no/v1", "no such dataset"),
        ):
            with pytest.raises(NotRegisteredError, match=said):
                read(["datum://known", uri])
        with pytest.raises(SystemExit):
            read("dataset://x")
        from vhpack.registry import runs as rows

        registry = registrar.opened()
        with registry.reading() as connection:
            assert rows.listed(connection, registry.project(connection)) == []

    def test_a_content_that_was_altered_is_noticed_and_not_given(self) -> None:
        datum = vhpack.data.add(write("a.txt", "one"), alias="model")
        read("datum://model")
        given = Path(str(vhpack.inputs("data").path()))
        given.chmod(0o644)
        content = Path(".valohai/store", str(datum.sha256)[:2], str(datum.sha256)[2:])
        content.chmod(0o644)
        content.write_text("ONE")
        if not os.path.samefile(given, content):
            given.write_text("ONE")
        with pytest.raises(ChecksumError, match=r"is not what was registered: its sha256 is"):
            read("datum://model")
        content.unlink()
        given.unlink()
        with pytest.raises(ChecksumError, match="it is gone"):
            read("datum://model")

    def test_a_file_that_was_written_over_is_replaced_by_what_it_was(self) -> None:
        vhpack.data.add(write("a.txt", "one"), alias="model")
        read("datum://model")
        path = Path(str(vhpack.inputs("data").path()))
        path.unlink()
        path.write_text("mine")
        assert read("datum://model") == ["one"]

    def test_archives_among_data_are_read_as_the_files_in_them(self) -> None:
        import zipfile

        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.writestr("inside.txt", "inside")
        vhpack.data.add("a.zip", alias="images")
        vhpack.reset()
        vhpack.prepare(step="use", default_inputs={"data": "datum://images"})
        assert [Path(path).read_text() for path in vhpack.inputs("data").paths()] == ["inside"]

    def test_uploaded_contents_are_fetched_checked_and_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from vhpack import gathering
        from vhpack.registry import registering
        from vhpack.registry.records import Output
        from vhpack.registry.runs import Facts

        path = write("model.txt", "uploaded")
        with http_site() as site:
            url = site.put("/run/model.txt", b"uploaded")
            output = Output("model.txt", 8, *gathering.digest(str(path)), 0, url, {"valohai.alias": "model"})
            registering.register(registrar.opened(), Facts("there", "train"), [output], "succeeded")
            monkeypatch.setenv("VHPACK_OFFLINE", "1")
            with pytest.raises(DownloadError, match="VHPACK_OFFLINE is set, and no earlier run has fetched it"):
                read("datum://model")
            assert site.asked == []
            monkeypatch.delenv("VHPACK_OFFLINE")
            assert read("datum://model") == ["uploaded"]
            asked = len(site.asked)
            monkeypatch.setenv("VHPACK_OFFLINE", "1")
            assert read("datum://model") == ["uploaded"]
            assert len(site.asked) == asked, "what is known by its digest is not asked for again"
            site.put("/run/model.txt", b"tampered")
            monkeypatch.delenv("VHPACK_OFFLINE")
            monkeypatch.setenv("VH_INPUTS_DIR", "elsewhere")
            with pytest.raises(ChecksumError, match="not what was promised"):
                read("datum://model")


@pytest.mark.usefixtures("registry")
def test_a_run_is_not_settled_on_what_was_given_up() -> None:
    datum = vhpack.data.add(write("a.txt", "one"))
    made({"b.txt": "two"}, {"b.txt": {"valohai.dataset-versions": ["dataset://set/v1"]}})
    vhpack.aliases.set("model", datum)
    for each in vhpack.data.find():
        vhpack.data.purge(each, force=True)
    vhpack.reset()
    for uri in ("datum://model", "dataset://set/v1"):
        with pytest.raises(ContentError, match=rf"{uri}: the content of datum://.* was purged"):
            vhpack.prepare(step="use", default_inputs={"data": uri})
    vhpack.aliases.set("model", write("c.txt", "three"))
    vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
    assert again() == ["three"], "the same run, once the alias means something that can be had"


def test_offline_no_input_touches_the_network(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del local
    with http_site() as site:
        known, unknown = site.put("/known.txt", b"known"), site.put("/unknown.txt", b"unknown")
        assert read(known) == ["known"]
        asked = len(site.asked)
        monkeypatch.setenv("VHPACK_OFFLINE", "1")
        assert read(known) == ["known"]
        for url, said in ((unknown, "no earlier run has fetched it"), ("s3://bucket/*.txt", "VHPACK_OFFLINE is set")):
            with pytest.raises(DownloadError, match=said):
                read(url)
        assert len(site.asked) == asked


def test_a_run_keeps_no_connection_to_a_server(postgres: Server, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a hundred for all, and the run may take days."""
    import psycopg

    url = postgres.new_database()
    monkeypatch.setenv("VHPACK_REGISTRY_URL", url)
    vhpack.data.add(write(work / "a.txt", "one"), alias="model")
    assert read("datum://model") == ["one"]
    with psycopg.connect(postgres.url("postgres")) as server:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        assert server.execute(count, [url.rpartition("/")[2].partition("?")[0]]).fetchone() == (0,)
    registrar.opened().let_go()


def test_children_get_the_data_of_their_run(local: Path) -> None:
    vhpack.data.add(write("a.txt", "old"), alias="model")
    write("b.txt", "new")
    child = READ % "datum://model"
    ended = script(
        local,
        f"import subprocess, sys\n{child}\nvhpack.aliases.set('model', vhpack.data.add('b.txt'))\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        "import vhpack; vhpack.reset()\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n",
    )
    assert (ended.code, ended.out.split()) == (0, ["old", "old", "new"]), ended


def test_a_copy_of_a_run_gets_its_data_unless_it_is_told_otherwise(local: Path) -> None:
    vhpack.data.add(write("a.txt", "old"), alias="train-images")
    text = READ % "datum://train-images"
    assert script(local, text).out == "old\n"
    (run,) = json.loads(ask("runs", "list", "--json").out)["runs"]
    vhpack.data.add(write("a.txt", "new"), alias="train-images")
    assert script(local, text).out == "new\n"
    copy = ("-m", "vhpack", "run", "--copy", run["run"])
    copied = script(local, text, before=copy)
    assert (copied.code, copied.out) == (0, "old\n"), copied
    assert script(local, text.replace("train-images", "nobody-knows"), before=copy).out == "old\n", (
        "whatever the script says by now"
    )
    assert script(local, text, "--data=datum://train-images", before=copy).out == "new\n"
    listed = json.loads(ask("runs", "list", "--json").out)["runs"]
    assert [each["copied_from"] for each in listed] == [None, None, run["run"], run["run"], run["run"]]
    copy_of_copy = ("-m", "vhpack", "run", "--copy", listed[2]["run"])
    assert script(local, text, before=copy_of_copy).out == "old\n"
    unknown = script(local, text, before=("-m", "vhpack", "run", "--copy", "nonesuch"))
    assert (unknown.code, unknown.out) == (1, ""), unknown
    assert "no such run; `vhpack runs list` shows them" in unknown.err


def test_a_script_that_cannot_have_its_data_says_why(local: Path) -> None:
    ended = script(local, READ % "datum://nobody")
    assert ended.code == 1
    assert "NotRegisteredError: datum://nobody: " in ended.err
    ended = script(local, READ % "dataset://nobody")
    assert (ended.code, ended.err) == (
        2,
        "script.py: error: 'dataset://nobody' must be dataset://NAME/VERSION; a slash in either is written as %2F\n",
    )


def test_a_yaml_file_keeps_references_as_they_are(work: Path) -> None:
    (work / "train.py").write_text(READ % "datum://train-images")
    assert command("yaml", "step", "train.py", cwd=work).code == 0
    assert "default: datum://train-images" in (work / "valohai.yaml").read_text()


@pytest.mark.usefixtures("work")
def test_the_registry_that_is_off_is_said() -> None:
    with pytest.raises(RegistryError, match="VHPACK_REGISTRY_URL is off"):
        read("datum://model")
