"""`vhpack.data`: files that are registered never change, and are found, checked and given up."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import vhpack
from tests.registry.making import content_of, contents, made, write
from vhpack.errors import ContentError, NotRegisteredError, OptionError, RegistryError, SourceNotFoundError, SpecialFileError

pytestmark = pytest.mark.usefixtures("registry")


def test_a_file_that_is_added_keeps_its_content_whatever_becomes_of_the_file() -> None:
    path = write("model.txt", "one")
    datum = vhpack.data.add(path, tags=["b", "a"], properties={"accuracy": 0.93, "by": {"class": [1, None]}})
    path.write_text("two")
    assert content_of(datum.uri) == "one"
    assert (datum.name, datum.size, datum.tags) == ("model.txt", 3, ("a", "b"))
    assert datum.properties == {"accuracy": 0.93, "by": {"class": [1, None]}}
    assert datum.sha256 == vhpack.hash_files(str(contents()[0]), "sha256")[str(contents()[0])]
    assert datum.xxh3_128 == vhpack.hash_files(str(contents()[0]))[str(contents()[0])]
    assert stat.S_IMODE(contents()[0].stat().st_mode) == 0o444
    assert stat.S_IMODE(path.stat().st_mode) & 0o200, "the file itself is as it was"


def test_one_name_twice_is_two_datums_and_one_content_is_kept_once() -> None:
    first, second = vhpack.data.add(write("a.txt", "same")), vhpack.data.add(write("b.txt", "same"), name="a.txt")
    assert first.id != second.id
    assert len(contents()) == 1
    assert vhpack.data.find("a.txt") == [first, second]


def test_data_are_found_by_all_that_is_known_of_them() -> None:
    cats = vhpack.data.add(write("cats/1.csv", "cats"), name="cats/1.csv", tags=["raw"], properties={"rows": 1, "ok": None})
    dogs = vhpack.data.add(write("dogs.csv", "dogs"), tags=["raw", "new"], properties={"rows": 2})
    run = made({"model.txt": "weights"})
    (model,) = vhpack.data.find(run=run)
    assert vhpack.data.find() == [cats, dogs, model]
    assert vhpack.data.find("*.csv", tag="raw") == [cats, dogs]
    assert vhpack.data.find(tag="new") == [dogs]
    assert vhpack.data.find(sha256=model.sha256) == [model]
    assert vhpack.data.find(properties={"rows": 1}) == [cats]
    assert vhpack.data.find(properties={"ok": None}) == [cats]
    assert vhpack.data.find("dogs.csv", properties={"rows": 1}) == vhpack.data.find(run="other") == []


@pytest.mark.parametrize("name", ["a&b#c d.txt", "モデル.bin", "%41.txt", 'it\'s "quoted".txt', "a;DROP TABLE datums;--"])
def test_strange_file_names_stay_what_they_are(name: str) -> None:
    datum = vhpack.data.add(write(name, "one"))
    assert vhpack.data.get(datum.id).name == name
    assert vhpack.data.find(name) == [datum]


def test_what_cannot_be_added_is_said_and_leaves_nothing() -> None:
    os.mkfifo("fifo")
    for path, error in (("nowhere", SourceNotFoundError), ("fifo", SpecialFileError), (".", OptionError)):
        with pytest.raises((error, SpecialFileError)):
            vhpack.data.add(path)
    with pytest.raises(OptionError, match="alias"):
        vhpack.data.add(write("a.txt"), alias="0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1")
    with pytest.raises(OptionError, match="tag"):
        vhpack.data.add(write("a.txt"), tags=[""])
    assert vhpack.data.find() == []


def test_altered_and_missing_contents_are_found_by_reading_them() -> None:
    whole = vhpack.data.add(write("whole.txt", "whole"))
    altered, gone = vhpack.data.add(write("altered.txt", "altered")), vhpack.data.add(write("gone.txt", "gone"))
    for datum, content in ((altered, "ALTERED"), (gone, None)):
        path = Path(".valohai/store", str(datum.sha256)[:2], str(datum.sha256)[2:])
        before = path.stat()
        path.unlink()
        if content is not None:
            path.write_text(content)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # time and size tell nothing
    assert [(datum, why.split(":")[0]) for datum, why in vhpack.data.verify()] == [(altered, "was altered"), (gone, "is gone")]
    assert vhpack.data.verify(whole, "datum://" + whole.id) == []
    assert [datum for datum, _ in vhpack.data.verify(gone.id)] == [gone]


def test_a_content_that_was_cut_short_is_mended_by_adding_it_again() -> None:
    datum = vhpack.data.add(write("a.txt", "whole"))
    (path,) = contents()
    path.chmod(0o644)
    path.write_text("wh")
    vhpack.data.add("a.txt")
    assert content_of(datum.uri) == "whole"


def test_purging_gives_up_the_content_and_keeps_the_record() -> None:
    datum = vhpack.data.add(write("a.txt", "one"))
    twin = vhpack.data.add(write("b.txt", "one"))
    assert vhpack.data.purge(datum).purged is not None
    assert len(contents()) == 1, "another datum has the content, too"
    vhpack.data.purge(twin.uri)
    assert contents() == []
    assert [each.name for each in vhpack.data.find()] == ["a.txt", "b.txt"]
    assert vhpack.data.verify() == [], "nobody misses it"


def test_what_is_referred_to_is_purged_only_by_force() -> None:
    versions = [vhpack.data.add(write("a.txt", text)) for text in ("one", "two")]
    for datum in versions:
        vhpack.aliases.set("model-prod", datum)
    for datum, why in zip(versions, ("can be rolled back to it", "the alias 'model-prod' means it"), strict=True):
        with pytest.raises(RegistryError, match=why):
            vhpack.data.purge(datum)
    assert len(contents()) == 2
    vhpack.data.purge("datum://model-prod", force=True)
    assert len(contents()) == 1
    with pytest.raises(ContentError, match="purged"):
        vhpack.prepare(step="infer", default_inputs={"model": "datum://model-prod"})


def test_a_sweep_keeps_what_aliases_runs_and_datasets_have() -> None:
    kept = {
        "current": vhpack.data.add(write("current.txt", "current"), alias="model"),
        "pinned": vhpack.data.add(write("pinned.txt", "pinned")),
    }
    past = vhpack.data.add(write("past.txt", "past"), alias="moved")
    vhpack.aliases.set("moved", kept["current"])
    unused = vhpack.data.add(write("unused.txt", "unused"))
    with vhpack.run(step="use", default_inputs={"data": kept["pinned"].uri}) as run:
        pass
    made({"in-set.txt": "in set"}, {"in-set.txt": {"valohai.dataset-versions": ["dataset://set/v1"]}})
    write(".valohai/store/ab/" + "c" * 62, "nobody's")
    write(".valohai/store/.staged/" + "f" * 16, "half")

    assert vhpack.data.gc(unused_for=3600).contents == 1, "the one that nobody has; all else is young"
    tried = vhpack.data.gc(unused_for=0, dry_run=True)
    assert ([datum.id for datum in tried.purged], tried.contents) == ([unused.id], 1)
    assert len(contents()) == 5
    swept = vhpack.data.gc(unused_for=0)
    assert ([datum.id for datum in swept.purged], swept.contents, swept.size) == ([unused.id], 1, len("unused"))
    assert len(contents()) == 4
    assert vhpack.data.verify() == []
    vhpack.aliases.delete("moved")
    assert [datum.id for datum in vhpack.data.gc(unused_for=0).purged] == [past.id], "nothing can be rolled back to it any more"
    assert vhpack.data.find(run=run.hash) == []


def test_what_killed_processes_have_left_beside_the_registry_goes_with_a_sweep(local: Path) -> None:
    vhpack.data.add(write("a.txt"))
    left = [local / ".valohai/store/.registries" / ("0" * 32 + ".json.0123456789abcdef")]
    left += [local / f".valohai/registry.db.0123456789abcdef{end}" for end in ("", "-journal")]
    young = local / ".valohai/registry.db.fedcba9876543210"
    for path in (*left, young):
        write(path)
    for path in left:
        os.utime(path, (1, 1))
    assert vhpack.data.gc().staged == 3
    assert [path.exists() for path in (*left, young)] == [False, False, False, True]
    assert [datum.name for datum in vhpack.data.find()] == ["a.txt"]


@pytest.mark.parametrize("target", ["model.txt", "", "0f6f0c1e"])
def test_what_is_no_datum_is_said(target: str) -> None:
    with pytest.raises(OptionError, match="is no datum"):
        vhpack.data.get(target)


def test_an_unknown_id_is_said() -> None:
    vhpack.data.add(write("a.txt"))
    with pytest.raises(NotRegisteredError, match="no such datum"):
        vhpack.data.get("0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1")
