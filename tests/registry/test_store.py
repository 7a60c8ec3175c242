"""The content store: what is in it is what its name says, is nobody else's, and leads nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import vhpack
from tests.conftest import without
from tests.registry.making import contents, made, write
from vhpack import gathering, registrar
from vhpack.errors import ChecksumError, ContentError, RegistrationError
from vhpack.registry.records import Output
from vhpack.registry.store import Content, Disk, Store

STORE = Path(".valohai/store")
pytestmark = pytest.mark.usefixtures("local")


def stored(datum: vhpack.data.Datum) -> Path:
    return STORE / str(datum.sha256)[:2] / str(datum.sha256)[2:]


def alter(path: Path, content: str) -> None:
    """Write something else of that length, and leave the times and modes as they were."""
    before = path.stat()
    path.chmod(0o600)
    path.write_text(content)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_content_that_was_altered_is_replaced_by_whoever_has_it_still() -> None:
    run = made({"a.txt": "right"})
    (first,) = vhpack.data.find(run=run)
    os.rename(f".valohai/outputs/{run}", "elsewhere")
    alter(stored(first), "wrong")
    second = made({"b.txt": "right"})
    assert vhpack.data.verify() == [], "by a run"
    alter(stored(first), "wrong")
    vhpack.data.add(write("c.txt", "right"))
    assert vhpack.data.verify() == [], "by hand"
    assert Path(f".valohai/outputs/{second}/b.txt").read_text() == "wrong", "it was the same file"


def test_what_a_killed_process_has_left_writable_is_not_believed() -> None:
    with vhpack.run(step="train") as run:
        path = write(vhpack.outputs().path("a.txt"), "right")
        ours, theirs = gathering.digest(str(path))
        write(STORE / ours[:2] / ours[2:], "wrong")
    assert vhpack.data.verify() == []
    (datum,) = vhpack.data.find(run=run.hash)
    assert (datum.xxh3_128, stat.S_IMODE(stored(datum).stat().st_mode)) == (theirs, 0o444)


@pytest.mark.parametrize(("mode", "kept"), [(0o644, 0o444), (0o600, 0o400), (0o755, 0o555), (0o640, 0o440), (0o200, 0o400)])
@pytest.mark.parametrize("many", [False, True])
def test_nobody_may_read_a_content_who_could_not_read_the_file(mode: int, kept: int, many: bool) -> None:
    with vhpack.run(step="train") as run:
        for number in range(100 if many else 1):
            write(vhpack.outputs().path(f"{number}.txt"), str(number)).chmod(mode)
    paths = [stored(datum) for datum in vhpack.data.find(run=run.hash)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {kept}
    path = write("by-hand.txt", "by hand")
    path.chmod(mode)
    assert stat.S_IMODE(stored(vhpack.data.add(path)).stat().st_mode) == kept


def test_many_files_of_one_content_and_of_contents_that_are_there_are_kept_once() -> None:
    first = made({f"{number}.txt": str(number % 90) for number in range(180)})
    second = made({f"{number}.txt": str(number) for number in range(150)})
    assert [len(vhpack.data.find(run=run)) for run in (first, second)] == [180, 150]
    assert len(contents()) == 150
    assert vhpack.data.verify() == []
    assert list((STORE / ".staged").iterdir()) == []


@pytest.mark.parametrize("many", [1, 100])
def test_a_file_that_changes_while_it_is_registered_is_named_and_none_is_kept_under_a_wrong_name(many: int) -> None:
    Path("store").mkdir()
    store = Store(os.path.abspath("store"))
    contents = []
    for number in range(many):
        path = write(f"{number}.txt", str(number))
        status = path.stat()
        contents.append(Content(str(path.absolute()), gathering.digest(str(path))[0], 1, status.st_mtime_ns - 1, may_link=True))
    with store.held(), pytest.raises(ContentError, match=r"0\.txt changed while it was registered"):
        store.keep(contents, gathering.disk())
    assert list(store.names()) == []
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o200 for path in Path().glob("*.txt")), "and all files are as they were"


def test_where_one_sync_for_all_promises_nothing_each_content_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced, sync = Store(os.path.abspath("store")), set(), os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    contents = []
    for number in range(70):
        path = write(f"{number}.txt", str(number))
        digest = gathering.digest(str(path))[0]
        contents.append(Content(str(path.absolute()), digest, path.stat().st_size, path.stat().st_mtime_ns, may_link=True))
    with store.held():
        store.keep(contents, Disk(gathering.disk().adopt, lambda _: False))
    assert {store.path(content.sha256) for content in contents} <= synced


def test_a_sweep_goes_through_no_link(tmp_path: Path) -> None:
    vhpack.data.add(write("a.txt"))
    theirs = write(tmp_path / "theirs" / ("0" * 16), "precious")
    write(tmp_path / "theirs" / ("c" * 62), "precious")
    (STORE / ".staged").rmdir()
    (STORE / ".staged").symlink_to(theirs.parent)
    (STORE / "00").symlink_to(theirs.parent)
    write(STORE / "ab" / ("d" * 62) / "folder", "not ours")
    vhpack.data.gc(unused_for=0)
    assert len(list(theirs.parent.iterdir())) == 2
    assert (STORE / "ab" / ("d" * 62) / "folder").exists()


@pytest.mark.parametrize("digest", ["ab/../../../../precious.txt", "../" * 21 + "x", "A" * 64])
def test_a_digest_in_a_hostile_database_is_no_path(digest: str) -> None:
    from sqlalchemy import update

    from vhpack.registry import schema

    precious = write("precious.txt", "precious")
    datum = vhpack.data.add(write("a.txt"))
    registrar.opened().write(lambda connection, _: connection.execute(update(schema.DATUMS).values(sha256=digest)))
    calls = (
        lambda: vhpack.data.verify(datum),
        lambda: vhpack.prepare(step="use", default_inputs={"data": datum.uri}),
        lambda: vhpack.data.purge(datum, force=True),
    )
    for call in calls:
        with pytest.raises(ContentError, match="is no SHA-256"):
            call()
    assert precious.exists()


@pytest.mark.parametrize("place", [None, "file"])
def test_an_input_that_was_altered_is_noticed_whatever_its_times_say(place: str | None) -> None:
    path = write("model.txt", "right")
    if place is None:
        vhpack.data.add(path, alias="model")
    else:
        from vhpack.registry import registering
        from vhpack.registry.runs import Facts

        location = path.absolute().as_uri()
        output = Output("model.txt", 5, *gathering.digest(str(path)), 0, location, {"valohai.alias": "model"})
        registering.register(registrar.opened(), Facts("there", "train"), [output], "succeeded")
    vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
    given = Path(str(vhpack.inputs("data").path()))
    if place == "file":
        assert not os.path.samefile(given, path), "a file that anybody may write to is no content of ours"
    given.unlink()
    write(given, "right")
    vhpack.reset()
    vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
    assert Path(str(vhpack.inputs("data").path())).read_text() == "right"
    alter(given, "wrong")
    vhpack.reset()
    vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
    assert Path(str(vhpack.inputs("data").path())).read_text() == "right"
    alter(path, "wrong")
    if place == "file":
        given.unlink()
        with pytest.raises(ChecksumError):
            vhpack.inputs("data").path(force_download=True)


def test_before_root_an_input_is_no_second_name_of_a_content() -> None:
    if os.geteuid() != 0:
        without("only root writes where the mode says no")
    vhpack.data.add(write("model.txt", "weights"), alias="model")
    vhpack.prepare(step="use", default_inputs={"data": "datum://model"})
    with open(str(vhpack.inputs("data").path()), "r+") as file:
        file.write("WEIGHTS")
    assert vhpack.data.verify() == []


def test_a_run_in_which_two_files_claim_one_alias_leaves_no_content() -> None:
    with pytest.raises(RegistrationError), vhpack.run(step="train"):  # noqa: PT012 - it is the end that raises
        for name in ("a.txt", "b.txt"):
            write(vhpack.outputs().path(name), name)
            write(vhpack.outputs().path(f"{name}.metadata.json"), '{"valohai.alias": "one"}')
    assert not STORE.exists()
