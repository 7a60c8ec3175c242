"""A removal that was cut off: the archive is the only copy of what is gone already, and no later call may forget that."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

from tests.conftest import without
from tests.engine.command import VHPACK, Ended, compress, ordinary_user, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, prose, snapshot, write_tree
from tests.faults.tracing import paused, strace, was_injected
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number}.json": prose(400, number) for number in range(9)} | {"sub/deep.json": prose(400, 9)}
LIST = ".out.zip.vhpack-removing"
SAME_CALL = ["data", "-o", "out.zip", "--remove-originals"]


def held(work: Path) -> dict[str, bytes]:
    archive = work / "out.zip"
    return {member.name: unpacked(archive, member) for member in structure_of(archive).members}


@pytest.fixture
def cut_off(work: Path) -> Path:
    """A folder where a pack was killed when it had removed four of ten originals."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    kill = strace(["unlink", "unlinkat"], log, inject="signal=KILL:when=5")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    assert was_injected(log)
    assert len(contents(work / "data")) == 6
    assert held(work) == FILES
    return work


def test_a_copy_of_the_archive_in_its_place_is_as_good(cut_off: Path) -> None:
    """Restored from a backup it is another file, and its bytes say that it holds the originals."""
    archive = (cut_off / "out.zip").read_bytes()
    (cut_off / "copy").write_bytes(archive)
    (cut_off / "copy").replace(cut_off / "out.zip")

    ended = compress(*SAME_CALL, cwd=cut_off)

    assert ended.code == 0, ended
    assert contents(cut_off / "data") == {}
    assert held(cut_off) == FILES


def test_originals_that_were_kept_are_not_packed_over_the_only_copy_of_the_others(work: Path) -> None:
    """One could not be removed and has been written to since: the list stays, and so does the archive."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    refuse = strace(["unlink", "unlinkat"], log, inject="error=EPERM:when=3")
    assert run([*refuse, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work).code == 1
    [kept] = contents(work / "data")
    (work / "data" / kept).write_bytes(b"rewritten")
    archive = (work / "out.zip").read_bytes()

    for _ in range(2):
        ended = compress(*SAME_CALL, "--force", cwd=work)
        assert ended.code == 1, ended
        assert (work / "out.zip").read_bytes() == archive
        assert (work / "data" / kept).read_bytes() == b"rewritten"


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
def test_the_same_call_again_finishes_it(cut_off: Path, force: list[str]) -> None:
    archive = (cut_off / "out.zip").read_bytes()

    ended = compress(*SAME_CALL, *force, cwd=cut_off)

    assert ended.code == 0, ended
    assert (cut_off / "out.zip").read_bytes() == archive
    assert set(snapshot(cut_off)) == {"data", "data/sub", "out.zip"}


@pytest.mark.parametrize("again", ["data", "data/*", "other", "other/*.txt"])
@pytest.mark.parametrize("removing", [[], ["--remove-originals"]], ids=["keeping", "removing"])
def test_no_call_replaces_the_only_copy(cut_off: Path, again: str, removing: list[str]) -> None:
    write_tree(cut_off, {"other/x.txt": b"x", "data/new.json": b"new"})
    archive = (cut_off / "out.zip").read_bytes()

    for _ in range(2):
        ended = compress(again, "-o", "out.zip", "--force", *removing, cwd=cut_off)
        check_failed(ended, ["out.zip"], "move .* away|choose")
        assert (cut_off / "out.zip").read_bytes() == archive
        assert (cut_off / "other/x.txt").exists()
        assert (cut_off / "data/new.json").exists()
        assert {**held(cut_off), **{name: FILES[name] for name in contents(cut_off / "data") if name in FILES}} == FILES


def test_an_original_that_has_changed_since_is_kept(cut_off: Path) -> None:
    left = sorted((cut_off / "data").glob("*.json"))
    left[0].write_bytes(b"rewritten")
    os.utime(left[1])

    ended = compress(*SAME_CALL, cwd=cut_off)

    assert ended.code == 1, ended
    assert set(contents(cut_off / "data")) == {left[0].name, left[1].name}
    assert held(cut_off) == FILES


def test_an_original_that_was_brought_back_is_no_longer_lost(cut_off: Path) -> None:
    """All of them are there again, so that the archive is not the only copy of any."""
    write_tree(cut_off / "data", FILES)

    ended = compress(*SAME_CALL, "--force", cwd=cut_off)

    assert {**held(cut_off), **contents(cut_off / "data")} == FILES, ended


def test_a_dry_run_finishes_nothing(cut_off: Path) -> None:
    before = snapshot(cut_off)

    compress(*SAME_CALL, "--force", "--dry-run", cwd=cut_off)

    assert snapshot(cut_off) == before


@pytest.mark.parametrize("change", ["replaced", "rewritten", "moved away"])
def test_a_list_of_another_archive_removes_nothing(cut_off: Path, change: str) -> None:
    """What lies at the target now is not what the originals were packed into."""
    target = cut_off / "out.zip"
    if change == "replaced":
        (cut_off / "new").write_bytes(target.read_bytes())
        (cut_off / "new").replace(target)
    elif change == "rewritten":
        target.write_bytes(b"something else")
    else:
        target.rename(cut_off / "backup.zip")
    left = contents(cut_off / "data")

    ended = compress("data", "-o", "out.zip", cwd=cut_off)

    assert ended.code == (0 if change == "moved away" else 1), ended
    assert contents(cut_off / "data") == left


def give_away(work: Path) -> None:
    if os.geteuid() != 0:
        without("only root can give a file away")
    os.chown(work / LIST, 65534, 65534)


def let_others_write(work: Path) -> None:
    (work / LIST).chmod(0o620)


def link_it_elsewhere(work: Path) -> None:
    os.link(work / LIST, work.parent / "a-backup")


def damage_it(work: Path) -> None:
    content = bytearray((work / LIST).read_bytes())
    content[len(content) // 2] ^= 1
    (work / LIST).write_bytes(content)


def cut_it(work: Path) -> None:
    os.truncate(work / LIST, (work / LIST).stat().st_size // 2)


def change_the_archive(work: Path) -> None:
    with zipfile.ZipFile(work / "out.zip", "a") as archive:
        archive.writestr("added later", b"x")


def put_a_folder_there(work: Path) -> None:
    (work / LIST).unlink()
    (work / LIST).mkdir()


@pytest.mark.parametrize(
    "spoil",
    [give_away, let_others_write, link_it_elsewhere, damage_it, cut_it, change_the_archive, put_a_folder_there],
)
@pytest.mark.parametrize(
    "options", [["--force"], ["--force", "--remove-originals"], ["--force", "--on-change", "skip"]], ids=" ".join
)
def test_a_list_that_cannot_be_gone_by_still_protects_its_archive(
    cut_off: Path, spoil: Callable[[Path], None], options: list[str]
) -> None:
    """Not to remove by it is one thing; to replace what may be the only copy is another."""
    spoil(cut_off)
    archive = (cut_off / "out.zip").read_bytes()
    left = contents(cut_off / "data")

    for _ in range(2):
        ended = compress("data", "-o", "out.zip", *options, cwd=cut_off)
        check_failed(ended, ["out.zip", LIST], "remove the list")
        assert (cut_off / "out.zip").read_bytes() == archive
        assert contents(cut_off / "data") == left


def test_a_list_that_was_never_begun_with_stands_in_nobodys_way(work: Path) -> None:
    """A pack that was killed before its list was on disk has removed nothing."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    kill = strace(["pwrite64"], log, inject="signal=KILL:when=1")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    assert was_injected(log)
    assert contents(work / "data") == FILES
    assert (work / LIST).exists()

    ended = compress(*SAME_CALL, "--force", cwd=work)

    assert ended.code == 0, ended
    assert held(work) == FILES
    assert set(snapshot(work)) == {"data", "data/sub", "out.zip"}


def test_names_that_begin_alike_do_not_share_a_list(work: Path) -> None:
    """Too long for a prefix and a suffix, they are cut, and would be one."""
    long = "n" * 240
    write_tree(work / "data", FILES)
    write_tree(work / "other", {"x.txt": b"x"})
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=5")
    same_call = ["data", "-o", f"{long}-a.zip", "--remove-originals", "--jobs", "1"]
    run([*kill, VHPACK, "compress", *same_call], work)
    archive = (work / f"{long}-a.zip").read_bytes()

    assert compress("other", "-o", f"{long}-b.zip", "--remove-originals", cwd=work).code == 0
    again = compress(*same_call, "--force", cwd=work)

    assert again.code == 0, again
    assert (work / f"{long}-a.zip").read_bytes() == archive
    assert contents(work / "data") == {}


def test_what_a_removal_kept_does_not_stand_in_the_way_of_new_files(work: Path) -> None:
    """The same call with nothing new must not replace the archive; with new files it is an overwrite like any other."""
    write_tree(work, {"data/sub/1.png": b"1", "elsewhere/e.png": b"e"})
    (work / "data/link").symlink_to("../elsewhere")
    same_call = ["data", "-o", "out.zip", "--remove-originals", "--force"]

    assert compress(*same_call, cwd=work).code == 1
    archive = (work / "out.zip").read_bytes()
    assert compress(*same_call, cwd=work).code == 1
    assert (work / "out.zip").read_bytes() == archive
    for number in (2, 3):
        write_tree(work, {f"data/sub/{number}.png": b"new"})
        compress(*same_call, cwd=work)
        assert set(held(work)) == {"link/e.png", f"sub/{number}.png"}


def test_a_dry_run_says_how_to_finish(cut_off: Path) -> None:
    ended = compress("data", "-o", "out.zip", "--dry-run", cwd=cut_off)

    check_failed(ended, ["out.zip"], "same call again")


def test_a_list_that_another_user_wrote_removes_nothing(cut_off: Path) -> None:
    """Whoever may write into a shared folder must not get others to remove their files."""
    if os.geteuid() != 0:
        without("only root can give a file away")
    os.chown(cut_off / LIST, 65534, 65534)
    left = contents(cut_off / "data")

    compress(*SAME_CALL, cwd=cut_off)

    assert contents(cut_off / "data") == left


def test_nobody_else_may_write_to_the_list(work: Path) -> None:
    write_tree(work / "data", FILES)
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=5")
    previous = os.umask(0)
    try:
        run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    finally:
        os.umask(previous)
    assert (work / LIST).stat().st_mode & 0o777 == 0o600


def test_a_folder_in_which_no_list_can_be_kept_keeps_its_originals(work: Path) -> None:
    """The list does not fit on the disk, so nothing that depends on it is done."""
    write_tree(work / "data", FILES)
    calls = strace(["openat"], work.parent / "log", inject="error=ENOSPC", paths=[LIST])

    ended = run([*calls, VHPACK, "compress", *SAME_CALL], work)

    assert was_injected(work.parent / "log")
    check_failed(ended, ["out.zip", "nothing was published"], "keep the originals")
    assert contents(work / "data") == FILES
    assert not (work / "out.zip").exists()


def test_removal_that_is_refused_leaves_no_list(work: Path) -> None:
    write_tree(work / "data", FILES)
    (work / "data").chmod(0o555)
    (work / "data/sub").chmod(0o555)

    ended: Ended = compress(*SAME_CALL, cwd=work, before=ordinary_user())

    assert ended.code == 1
    assert {path.name for path in work.iterdir()} == {"data", "out.zip"}
    assert contents(work / "data") == FILES


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
def test_a_folder_that_is_away_is_not_taken_for_emptied(cut_off: Path, force: list[str]) -> None:
    """Unmounted or moved, it may come back with what was left in it."""
    archive = (cut_off / "out.zip").read_bytes()
    (cut_off / "data").rename(cut_off / "away")
    for again in ("data/*", "data"):
        ended = compress(again, "-o", "out.zip", "--remove-originals", *force, cwd=cut_off)
        check_failed(ended)
        assert (cut_off / LIST).exists()
        assert (cut_off / "out.zip").read_bytes() == archive
    (cut_off / "away").rename(cut_off / "data")

    ended = compress(*SAME_CALL, *force, cwd=cut_off)

    assert ended.code == 0, ended
    assert held(cut_off) == FILES
    assert contents(cut_off / "data") == {}


def test_a_folder_that_goes_away_during_the_removal_is_reported_and_remembered(work: Path) -> None:
    write_tree(work, {f"src{folder}/{name}": body for folder in (1, 2) for name, body in FILES.items()})
    same_call = ["src?", "-o", "out.zip", "--remove-originals", "--force"]
    with paused([VHPACK, "compress", *same_call, "--jobs", "1"], work, calls=["unlink", "unlinkat"]) as pause:
        (work / "src2").rename(work / "away")
    assert pause.ended.code == 1
    assert "src2" in pause.ended.err
    archive = (work / "out.zip").read_bytes()
    (work / "away").rename(work / "src2")

    again = compress(*same_call, cwd=work)

    assert again.code == 0, again
    assert (work / "out.zip").read_bytes() == archive
    assert contents(work / "src1") == contents(work / "src2") == {}


def test_an_archive_that_was_moved_behind_a_link_keeps_its_protection(cut_off: Path) -> None:
    (cut_off / "larger disk").mkdir()
    (cut_off / "out.zip").rename(cut_off / "larger disk/out.zip")
    (cut_off / "out.zip").symlink_to("larger disk/out.zip")
    archive = (cut_off / "out.zip").read_bytes()

    for options in ([], ["--remove-originals"]):
        check_failed(compress("data", "-o", "out.zip", "--force", *options, cwd=cut_off), [LIST], "remove the list")
        assert (cut_off / "out.zip").read_bytes() == archive


def test_a_removal_that_was_cut_off_after_its_last_original_is_finished(work: Path) -> None:
    """Only its list is left: new files are an overwrite like any other."""
    write_tree(work / "data", FILES)
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject=f"signal=KILL:when={len(FILES) + 1}")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    assert contents(work / "data") == {}
    assert (work / LIST).exists()
    write_tree(work, {"data/new.json": b"new"})

    ended = compress(*SAME_CALL, "--force", cwd=work)

    assert ended.code == 0, ended
    assert {name: body for name, body in held(work).items() if not name.endswith("/")} == {"new.json": b"new"}


def test_what_was_left_out_does_not_keep_the_same_call_from_finishing(work: Path) -> None:
    write_tree(work / "data", FILES)
    same_call = [*SAME_CALL, "--on-change", "skip"]
    kill = "unlinkat:signal=KILL:when=3"
    command = [VHPACK, "compress", *same_call, "--jobs", "1"]
    left_out = work / "data/8.json"
    with (
        paused(command, work, calls=["read"], paths=[left_out, work / "data"], also=[kill]) as pause,
        left_out.open("ab") as file,
    ):
        file.write(b"more")
    assert pause.ended.code not in (0, 1)

    again = compress(*same_call, cwd=work)

    assert again.code == 0, again
    assert set(contents(work / "data")) == {"8.json"}
    assert set(held(work)) == set(FILES) - {"8.json"}
    # And what is left now must not take the place of all the others.
    check_failed(compress(*same_call, "--force", cwd=work), ["out.zip"], "choose|remove")


def test_a_list_without_its_shard_stands_in_nobodys_way(work: Path) -> None:
    write_tree(work / "data", FILES)
    sharded = ["data", "-o", "out.zip", "--remove-originals", "--shard-size", "1k"]
    kill = strace(["linkat"], work.parent / "log", inject="signal=KILL:when=1")
    run([*kill, VHPACK, "compress", *sharded, "--jobs", "1"], work)
    assert list(work.glob(".out-*.vhpack-removing"))

    ended = compress(*sharded, cwd=work)

    assert ended.code == 0, ended
    assert contents(work / "data") == {}
    assert not list(work.glob(".out-*"))


@pytest.mark.parametrize("elsewhere", ["moved", "through a link", "copied", "renamed"])
def test_what_a_removal_left_is_not_new_by_another_path(work: Path, elsewhere: str) -> None:
    """The archive holds the others, wherever the project lies now and whatever the file is called."""
    write_tree(work, {f"one/data/{name}": body for name, body in FILES.items()})
    write_tree(work, {"ext/e.json": b"e"})
    (work / "one/data/link").symlink_to(work / "ext")
    first = compress("one/data", "-o", "one/out.zip", "--remove-originals", cwd=work)
    assert first.code == 1, first
    archive = (work / "one/out.zip").read_bytes()
    if elsewhere == "moved":
        (work / "one").rename(work / "two")
    elif elsewhere == "through a link":
        (work / "two").symlink_to("one")
    elif elsewhere == "copied":
        shutil.copytree(work / "one", work / "two", symlinks=True)
    else:
        (work / "ext/e.json").rename(work / "ext/f.json")
        (work / "two").symlink_to("one")

    for options in (["--remove-originals"], [], ["--on-change", "skip"]):
        ended = compress("two/data", "-o", "two/out.zip", "--force", *options, cwd=work)
        assert ended.code == 1, ended
        assert (work / "two/out.zip").read_bytes() == archive


def test_a_copied_project_does_not_go_by_what_became_of_the_first(cut_off: Path) -> None:
    shutil.copytree(cut_off, cut_off.parent / "second", symlinks=True)
    second = cut_off.parent / "second"
    assert compress(*SAME_CALL, cwd=cut_off).code == 0
    archive = (second / "out.zip").read_bytes()

    for options in (["--force"], ["--force", "--remove-originals"]):
        check_failed(compress("data", "-o", "out.zip", *options, cwd=second), ["out.zip"])
        assert (second / "out.zip").read_bytes() == archive


def test_a_new_folder_in_the_place_of_the_old_is_not_taken_for_it(cut_off: Path) -> None:
    """It may even get the same inode, when the old one has gone to another disk."""
    left = contents(cut_off / "data")
    shutil.copytree(cut_off / "data", cut_off.parent / "kept")
    shutil.rmtree(cut_off / "data")
    (cut_off / "data").mkdir()
    archive = (cut_off / "out.zip").read_bytes()

    check_failed(compress(*SAME_CALL, "--force", cwd=cut_off))

    assert (cut_off / LIST).exists()
    write_tree(cut_off / "data", left)
    check_failed(compress(*SAME_CALL, "--force", cwd=cut_off))
    assert (cut_off / "out.zip").read_bytes() == archive


def test_an_archive_that_was_renamed_without_its_list_keeps_its_protection(cut_off: Path) -> None:
    (cut_off / "out.zip").rename(cut_off / "renamed.zip")
    archive = (cut_off / "renamed.zip").read_bytes()

    for options in ([], ["--remove-originals"]):
        check_failed(compress("data", "-o", "renamed.zip", "--force", *options, cwd=cut_off), [LIST], "remove the list")
        assert (cut_off / "renamed.zip").read_bytes() == archive


def test_what_was_reached_through_a_link_and_rewritten_is_told(work: Path) -> None:
    write_tree(work, {"data/1.json": b"1", "ext/e.json": b"old"})
    (work / "data/link").symlink_to("../ext")
    assert compress(*SAME_CALL, "--force", cwd=work).code == 1
    (work / "ext/e.json").write_bytes(b"new content")

    ended = compress(*SAME_CALL, "--force", cwd=work)

    assert ended.code == 1
    assert "changed since it was packed" in ended.err
    assert held(work)["link/e.json"] == b"old"


def test_a_list_beside_the_target_excuses_no_mistyped_source(work: Path) -> None:
    write_tree(work, {"data/1.json": b"1", "ext/e.json": b"e"})
    (work / "data/link").symlink_to("../ext")
    assert compress(*SAME_CALL, "--force", cwd=work).code == 1
    write_tree(work, {"data/new.json": b"new"})

    check_failed(compress("data", "data/typo.json", "-o", "out.zip", "--remove-originals", "--force", cwd=work), ["typo.json"])


def test_the_same_names_without_a_target_finish_it(work: Path) -> None:
    """Some of what the list names is gone, and all of it says what the archive is called."""
    write_tree(work / "data", FILES)
    names = "".join(f"data/{name}\n" for name in FILES).encode()
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=5")
    same_call = ["--files-from", "-", "--remove-originals"]
    assert compress(*same_call, "--jobs", "1", cwd=work, before=kill, stdin=names).code != 0
    assert len(contents(work / "data")) == len(FILES) - 4
    archive = (work / "data.zip").read_bytes()

    check_failed(compress("--files-from", "-", cwd=work, stdin=names), ["data/0.json"])
    ended = compress(*same_call, cwd=work, stdin=names)

    assert ended.code == 0, ended
    assert contents(work / "data") == {}
    assert (work / "data.zip").read_bytes() == archive


@pytest.mark.parametrize("changed", [False, True])
def test_a_removal_that_was_cut_off_before_the_first_original_is_finished(work: Path, changed: bool) -> None:
    """The archive is complete, and holds what is there; only what has changed since is another matter."""
    write_tree(work / "data", FILES)
    # A link to a file stands for what it leads to.
    write_tree(work, {"elsewhere.json": b"elsewhere"})
    (work / "data/link.json").symlink_to("../elsewhere.json")
    packed = FILES | {"link.json": b"elsewhere"}
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=1")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], work)
    assert contents(work / "data") == FILES
    archive = (work / "out.zip").read_bytes()
    if changed:
        (work / "data/0.json").write_bytes(b"changed")
        check_failed(compress(*SAME_CALL, cwd=work), ["out.zip"], "force")
        assert contents(work / "data") == FILES | {"0.json": b"changed"}

    ended = compress(*SAME_CALL, *(["--force"] if changed else []), cwd=work)

    assert ended.code == 0, ended
    assert contents(work / "data") == {}
    assert not (work / "data/link.json").is_symlink()
    assert (work / "elsewhere.json").exists()
    assert ((work / "out.zip").read_bytes() == archive) == (not changed)
    assert held(work) == (packed | {"0.json": b"changed"} if changed else packed)
    assert not (work / LIST).exists()


def test_a_child_that_was_forked_meanwhile_does_not_hold_the_list(work: Path) -> None:
    write_tree(work / "data", {f"{number}.json": b"x" for number in range(3_000)})
    code = """
import os, signal, vhpack
child = []
def told(progress):
    if progress.removed and not child:
        child.append(os.fork())
        if not child[0]:
            signal.pause()
            os._exit(0)
        raise KeyboardInterrupt
try:
    while not child:
        vhpack.pack("data", "out.zip", remove_originals=True, jobs=1, progress=told)
except KeyboardInterrupt:
    pass
try:
    print(len(os.listdir("data")), vhpack.pack("data", "out.zip", remove_originals=True).resumed)
finally:
    os.kill(child[0], signal.SIGKILL)
"""
    # Removing takes long enough for a look at it.
    slow = strace(["unlinkat"], work.parent / "log", inject="delay_enter=300")

    ended = run([*slow, sys.executable, "-c", code], work)

    assert ended.code == 0, ended
    left, resumed = ended.out.split()
    assert int(left) > 0
    assert resumed == "True"
    assert contents(work / "data") == {}


def test_finishing_the_removal_of_shards_names_them_all(work: Path) -> None:
    """Also those whose lists were gone when it was cut off between two lists."""
    write_tree(work / "data", FILES)
    sharded = ["data", "-o", "out.zip", "--remove-originals", "--shard-size", "1k", "--json"]
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject=f"signal=KILL:when={len(FILES) + 2}")
    run([*kill, VHPACK, "compress", *sharded, "--jobs", "1"], work)
    assert contents(work / "data") == {}
    shards = sorted(str(path) for path in work.glob("out-*.zip"))
    assert 0 < len(list(work.glob(".out-*"))) < len(shards)

    ended = compress(*sharded, cwd=work)

    assert ended.code == 0, ended
    report = json.loads(ended.out)
    assert report["targets"] == shards
    assert report["digests"] == [xxhash.xxh3_128_hexdigest(Path(shard).read_bytes()) for shard in shards]
    assert not list(work.glob(".out-*"))
