"""`vhpack alias`, `data` and `runs`, as they are typed: tables for people, lines and JSON for programs, one line for what is wrong."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import sys
import uuid
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK
from tests.registry.making import ask, made, write

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture(autouse=True)
def local(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VHPACK_REGISTRY_URL")
    return work


def told(*arguments: str) -> object:
    """What a command says to programs."""
    ended = ask(*arguments, "--json")
    assert (ended.code, ended.err) == (0, ""), ended
    return json.loads(ended.out)


def on_a_terminal(*arguments: str) -> str:
    """What a command draws."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(COLUMNS="200", TERM="xterm")
        os.execv(VHPACK, [VHPACK, *arguments])
    drawn = b""
    try:
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    except OSError:  # how a terminal says that its other end has gone
        pass
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0, drawn
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode()).replace("\r\n", "\n")


def test_an_alias_from_its_first_setting_to_its_end() -> None:
    ended = ask("alias", "set", "model-prod", str(write("one.pt")))
    assert (ended.code, ended.out) == (0, ""), ended
    assert re.fullmatch(rf"datum://model-prod is one\.pt now \(datum://{UUID}\)\n", ended.err)
    first = vhpack.aliases.get("model-prod").datum
    assert first is not None
    assert ask("alias", "set", "model-prod", str(write("two.pt", "two")), "--note", "better").code == 0
    assert ask("alias", "set", "staging", first.id).code == 0
    assert ask("alias", "set", "other", "datum://staging").code == 0
    assert [line.split("\t")[:2] for line in ask("alias", "list").out.splitlines()] == [
        ["model-prod", "two.pt"],
        ["other", "one.pt"],
        ["staging", "one.pt"],
    ]
    assert [line.split("\t")[::5] for line in ask("alias", "history", "model-prod").out.splitlines()] == [
        ["2", "better"],
        ["1", ""],
    ]
    assert ask("alias", "rollback", "model-prod").code == 0
    assert "file   one.pt" in ask("alias", "show", "model-prod").out
    assert ask("alias", "delete", "other").code == 0
    found = told("alias", "list")
    assert isinstance(found, dict)
    assert [(alias["name"], alias["datum"]["id"]) for alias in found["aliases"]] == [
        ("model-prod", first.id),
        ("staging", first.id),
    ]
    history = told("alias", "history", "model-prod")
    assert isinstance(history, dict)
    assert [(change["number"], change["via"], change["restores"]) for change in history["history"]] == [
        (3, "rollback", 1),
        (2, "set", None),
        (1, "set", None),
    ]


def test_data_from_their_adding_to_their_end() -> None:
    write("cats.csv", "cats")
    write("dogs.csv", "dogs")
    assert ask("data", "add", "cats.csv", "dogs.csv", "--tag", "raw", "--property", "rows=3", "--property", "by=ann").code == 0
    assert ask("data", "add", "cats.csv", "--name", "cats/new.csv", "--alias", "cats").code == 0
    assert [line.split("\t")[:2] for line in ask("data", "list", "--tag", "raw").out.splitlines()] == [
        ["cats.csv", "4 B"],
        ["dogs.csv", "4 B"],
    ]
    shown = ask("data", "show", "datum://cats").out
    assert re.search(r"^name +cats/new\.csv$", shown, re.MULTILINE)
    found = told("data", "list", "cats*")
    assert isinstance(found, dict)
    assert [(each["name"], each["tags"], each["properties"]) for each in found["data"]] == [
        ("cats.csv", ["raw"], {"rows": 3, "by": "ann"}),
        ("cats/new.csv", [], {}),
    ]
    assert ask("data", "verify").err == "all contents are what they were\n"
    refused = ask("data", "purge", "datum://cats")
    assert (refused.code, refused.out) == (1, "")
    assert "is not purged: the alias 'cats' means it; say so with force (--force)" in refused.err
    assert ask("data", "purge", found["data"][0]["id"]).code == 0
    assert told("data", "gc", "--unused", "--older-than", "0", "--dry-run") is not None
    assert ask("data", "gc", "--unused", "--older-than", "0").err == "1 file purged, 1 content of 4 B removed\n"
    (datum,) = vhpack.data.find("cats/new.csv")
    path = Path(".valohai/store", str(datum.sha256)[:2], str(datum.sha256)[2:])
    path.chmod(0o644)
    path.write_text("CATS")
    damaged = ask("data", "verify", "--json")
    assert (damaged.code, json.loads(damaged.out)["damaged"][0]["id"]) == (1, datum.id)
    assert f"Error: {datum.uri} (cats/new.csv): its content was altered" in damaged.err


def test_runs_are_listed_shown_and_registered_later() -> None:
    vhpack.data.add(write("a.txt"), alias="images")
    with vhpack.run(step="train", default_parameters={"rate": 0.5}, default_inputs={"images": "datum://images"}) as run:
        write(vhpack.outputs().path("model.pt"), "weights")
    assert ask("runs", "list").out.split("\t")[:4] == [run.hash, "train", "succeeded", "1"]
    shown = ask("runs", "show", run.hash[:17]).out
    assert re.search(rf"^input images +datum://images = datum://{UUID} \(a\.txt\)$", shown, re.MULTILINE)
    assert re.search(rf"^output +model\.pt = datum://{UUID}$", shown, re.MULTILINE)
    found = told("runs", "show", run.hash)
    assert isinstance(found, dict)
    assert (found["parameters"], found["inputs"][0]["requested"], found["outputs"][0]["name"]) == (
        {"rate": 0.5},
        "datum://images",
        "model.pt",
    )
    write(".valohai/outputs/killed/model.pt", "half")
    write(".valohai/outputs/killed/model.pt.metadata.json", '{"valohai.alias": "model"}')
    assert ask("runs", "register", "killed", "--failed").err == "1 file registered\n"
    refused = ask("runs", "register", "killed")
    assert refused.code == 1
    assert (
        "run killed has failed, as was noted at its end; --failed registers its files, --succeeded moves its aliases"
        in refused.err
    )
    assert [alias.name for alias in vhpack.aliases.list()] == ["images"]
    assert "the alias model is model.pt now" in ask("runs", "register", "killed", "--succeeded").err
    assert ask("runs", "register", "killed").err == "0 files registered\n"


def test_a_terminal_gets_a_table_that_no_name_can_spoil() -> None:
    write("a.txt")
    vhpack.aliases.set("[bold]model[/bold]", "a.txt")
    vhpack.data.add("a.txt", name="\u202etxt.exe")
    drawn = on_a_terminal("alias", "list")
    assert re.match(r"Alias +File +Datum +Moved", drawn.lstrip("\n"))
    assert "[bold]model[/bold]" in drawn
    assert "\\u202e" in on_a_terminal("data", "list")
    assert sys.platform == "linux"


def books(environment: dict[str, str] | None = None) -> list[str]:
    return ask("data", "export", environment=environment).out.splitlines()[1:]


def test_the_books_go_from_one_registry_to_another_and_nothing_twice(work: Path) -> None:
    versions = [{"uri": "dataset://set/v1", "targeting_aliases": ["latest"], "valohai.tags": ["x"]}]
    said = {"valohai.alias": "model", "valohai.tags": ["a"], "rows": [1], "valohai.dataset-versions": versions}
    first = made({"model.pt": "weights", "old.pt": "old"}, {"model.pt": said, "old.pt": {"valohai.alias": "gone"}})
    vhpack.aliases.delete("gone")
    with vhpack.run(
        step="use", default_parameters={"rate": 0.5}, default_inputs={"m": ["datum://model", "dataset://set/latest"]}
    ):
        pass
    assert ask("data", "export", "--output", "books.jsonl").code == 0
    assert ask("data", "export").out == Path("books.jsonl").read_text()
    other = {"VHPACK_REGISTRY_URL": str(work / "other.db")}
    taken = ask("data", "import", "books.jsonl", environment=other)
    assert (taken.code, taken.err) == (0, "2 files, 2 aliases, 2 runs, 1 dataset version taken over\n"), taken
    taken = ask("data", "import", "-", environment=other, stdin=Path("books.jsonl").read_bytes())
    assert (taken.code, taken.err) == (0, "0 files, 0 aliases, 0 runs, 0 dataset versions taken over\n"), taken
    assert books(other) == books()
    assert {json.loads(line)["kind"] for line in books()} == {
        *("run", "datum", "input", "dataset-version", "dataset-alias", "alias")
    }
    assert ask("data", "verify", environment=other).code == 0, "the store is the same"
    shown = json.loads(ask("runs", "show", first, "--json", environment=other).out)
    assert [output["name"] for output in shown["outputs"]] == ["model.pt", "old.pt"]

    vhpack.aliases.set("model", write("better.pt", "better"), note="better")
    ask("data", "export", "--output", "books.jsonl")
    taken = ask("data", "import", "books.jsonl", environment=other)
    assert (taken.code, taken.err) == (0, "1 file, 0 aliases, 0 runs, 0 dataset versions taken over\n"), taken
    assert books(other) == books(), "a history that goes on there goes on here"
    ask("alias", "rollback", "model", environment=other)
    assert ask("data", "import", "books.jsonl", environment=other).code == 0, "and one that goes on here has that one in it"
    vhpack.aliases.set("model", write("best.pt", "best"))
    ask("data", "export", "--output", "books.jsonl")
    ended = ask("data", "import", "books.jsonl", environment=other)
    assert (ended.code, "the alias 'model' has another history here" in ended.err) == (1, True), ended
    assert ask("data", "list", "best.pt", environment=other).out == "", "all or nothing"


def test_books_have_the_data_of_another_project_that_their_names_mean(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [vhpack.data.add(write(name, name)) for name in ("one.pt", "two.pt", "three.pt")]
    monkeypatch.setenv("VHPACK_PROJECT", "ours")
    vhpack.aliases.set("meant", theirs[0])
    vhpack.aliases.set("meant", theirs[1])
    vhpack.aliases.set("gone", theirs[0])
    vhpack.aliases.delete("gone")
    ask("data", "export", "--output", "books.jsonl")
    other = {"VHPACK_REGISTRY_URL": str(work / "other.db")}
    taken = ask("data", "import", "books.jsonl", environment=other)
    assert (taken.code, taken.err) == (0, "2 files, 2 aliases, 0 runs, 0 dataset versions taken over\n"), taken
    assert books(other) == books()


ID = "0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1"
DATUM = {
    "kind": "datum",
    "id": ID,
    "name": "a",
    "size": 1,
    "sha256": "0" * 64,
    "xxh3-128": None,
    "location": None,
    "purged": None,
    "created": "2026-11-20T12:03:09+00:00",
    "file_modified": None,
    "tags": [],
    "properties": {},
}
CHANGE = {
    "number": 1,
    "old": None,
    "new": ID,
    "at": "2026-11-20T12:03:09+00:00",
    "actor": "ann",
    "via": "set",
    "run": None,
    "restores": None,
    "note": "",
}


def datum(**other: object) -> str:
    return '{"vhpack_registry": 1}\n' + json.dumps({**DATUM, **other})


def alias(*history: object, name: object = "model") -> str:
    return f"{datum()}\n" + json.dumps({"kind": "alias", "name": name, "history": history})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no export of a registry"),
        ('{"vhpack_registry": 2}', "is no export of a registry that this vhpack knows"),
        ('{"vhpack_registry": 1}\n{"kind": "datum"}', "books.jsonl:2: id is None; it must be text"),
        ('{"vhpack_registry": 1}\n' + "[" * 100_000, "books.jsonl:2 is no JSON"),
        (datum(id="x"), "books.jsonl:2: id is 'x', which is no UUID"),
        (datum(sha256="ab/../../../../../../../../etc/passwd"), "it must have 64 hexadecimal digits"),
        (datum(**{"xxh3-128": "0" * 31}), "it must have 32 hexadecimal digits"),
        (datum(size=1e400), "size is inf; it must be a whole number"),
        (datum(size=2**63), "it must be a whole number"),
        (datum(size=True), "it must be a whole number"),
        (datum(name="\ud800"), "it must be text"),
        (datum(name="a\0b"), "it must be text"),
        (datum(location=[1]), "location is [1]; it must be text"),
        (datum(created="yesterday"), "is no time as in"),
        (datum(tags=[1]), "it must be text"),
        (datum(tags={}), "tags is {}; it must be a list"),
        (datum(properties=[]), "properties are []; they must be an object"),
        (datum(properties={"\ud800": 1}), "a property cannot be called"),
        (alias(), "the alias 'model' has no history"),
        (alias(1), "1 must be an object"),
        (alias(CHANGE, name=ID), "reads as a datum's ID"),
        (alias({**CHANGE, "new": str(uuid.uuid4())}), "is neither here nor above"),
        (alias({**CHANGE, "number": 2}), "has a gap before change 1"),
        (alias(CHANGE, {**CHANGE, "number": 2}), "has a gap before change 2"),
        (alias({**CHANGE, "via": "x" * 17}), "it must be text"),
        (alias({**CHANGE, "restores": "1"}), "it must be a whole number"),
        ('{"vhpack_registry": 1}\n{"kind": "input", "run": "none", "datum": "' + ID + '"}', "is neither here nor above"),
        (
            '{"vhpack_registry": 1}\n{"kind": "dataset-version", "id": "' + ID + '", "name": "a", "dataset": " "}',
            "a name is not empty",
        ),
        ('{"vhpack_registry": 1}\n{"kind": "run", "run": "r", "step": "", "status": "x", "created": 5}', "created is 5"),
        ('{"vhpack_registry": 1}\n{"kind": "run", "run": "../up", "step": ""}', "run is '../up', which is no folder name"),
        ('{"vhpack_registry": 1}\n[]', "books.jsonl:2 must be a JSON object"),
        ('{"vhpack_registry": 1}\n{', "books.jsonl:2 is no JSON"),
        ('{"vhpack_registry": 1}\n{"kind": "spell"}', "kind is 'spell'"),
    ],
)
def test_an_export_that_makes_no_sense_is_said_and_nothing_taken(content: str, said: str) -> None:
    write("books.jsonl", content)
    ended = ask("data", "import", "books.jsonl")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert vhpack.data.find() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["alias", "show", "nobody"], 1, "no alias 'nobody'"),
        (["alias", "history", "nobody"], 1, "no alias 'nobody'"),
        (["alias", "rollback", "nobody"], 1, "no alias 'nobody'"),
        (["alias", "delete", "nobody"], 1, "no alias 'nobody'"),
        (["alias", "set", "new", "nowhere.pt"], 1, "nowhere.pt does not exist"),
        (["alias", "set", "0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1", "a.txt"], 2, "reads as a datum's ID"),
        (["alias", "set", " ", "a.txt"], 2, "a name is not empty"),
        (["data", "show", "nothing"], 2, "'nothing' is no datum"),
        (["data", "show", "datum://nobody"], 1, "no alias 'nobody'"),
        (["data", "add", "nowhere.pt"], 1, "does not exist"),
        (["data", "add", "a.txt", "a.txt", "--alias", "x"], 2, "for one FILE"),
        (["data", "add", "a.txt", "nowhere.pt"], 1, "does not exist"),
        (["data", "add", "a.txt", "--property", "x"], 2, "must be NAME=VALUE"),
        (["data", "import", "nowhere.jsonl"], 1, "does not exist"),
        (["runs", "show", "none"], 1, "no such run"),
        (["runs", "register", "../up"], 1, "is no run here"),
        (["run", "--copy", "none", "a.txt"], 1, "no such run"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], code: int, said: str) -> None:
    vhpack.data.add(write("a.txt"))
    ended = ask(*arguments)
    assert (ended.code, ended.out) == (code, ""), ended
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert len(vhpack.data.find()) == 1
    if code == 1 and arguments[0] != "run":
        kind = json.loads(ask(*arguments, "--json").out)["error"]["kind"]
        assert kind in ("not_registered", "not_found")


def test_of_several_files_all_are_given_up_or_none() -> None:
    unused, used = vhpack.data.add(write("a.txt", "one")), vhpack.data.add(write("b.txt", "two"), alias="model")
    ended = ask("data", "purge", unused.id, used.id)
    assert (ended.code, ended.out, "the alias 'model' means it" in ended.err) == (1, "", True)
    assert [datum.purged for datum in vhpack.data.find()] == [None, None]
    assert vhpack.data.verify() == []
    assert ask("data", "purge", unused.id, used.id, "--force").code == 0
    assert None not in [datum.purged for datum in vhpack.data.find()]


def test_a_store_that_cannot_be_locked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on network disks without a server of locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("vhpack.registry.store.fcntl.flock", refuse)
    write("a.txt")
    for arguments in (["data", "add", "a.txt"], ["alias", "set", "model", "a.txt"], ["data", "gc"]):
        ended = ask(*arguments)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended
        assert "cannot be locked: No locks available; name one on a disk that has locks in VHPACK_STORE_DIR" in ended.err
    assert vhpack.data.find() == []


def test_parameters_are_json_whatever_their_values() -> None:
    with vhpack.run(step="train", default_parameters={"rate": float("nan"), "most": float("inf")}):
        write(vhpack.outputs().path("a.txt"))
    listed = ask("runs", "list", "--json").out
    found = json.loads(listed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["runs"][0]["parameters"] == {"rate": None, "most": None}


def test_a_registry_that_is_none_is_said(work: Path) -> None:
    write(work / ".valohai/registry.db", "text" * 100)
    for arguments in (["alias", "list"], ["data", "list"], ["runs", "list"], ["data", "export"], ["data", "gc"]):
        ended = ask(*arguments)
        assert (ended.code, ended.out) == (1, ""), ended
        assert "it is no registry, but something else" in ended.err
