"""Every refusal beside an archive that may be the only copy says what can be done, and doing that works and loses nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import without
from tests.engine.command import VHPACK, compress, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, prose, write_tree
from tests.faults.tracing import strace, was_injected
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number}.json": prose(400, number) for number in range(9)} | {"sub/deep.json": prose(400, 9)}
SAME_CALL = ("data", "-o", "out.zip", "--remove-originals", "--force")
LIST = ".out.zip.vhpack-removing"

Step = Callable[[Path], object]


def same_call(project: Path) -> None:
    """Said again, it succeeds."""
    ended = compress(*SAME_CALL, cwd=project)
    assert ended.code == 0, ended


def nothing(project: Path) -> None:
    """The advice is no more than the call that follows it."""


def move_the_archive_away(project: Path) -> None:
    (project / "out.zip").rename(project / "earlier.zip")


def remove_the_list(project: Path) -> None:
    path = project / LIST
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


def everything(project: Path) -> dict[str, bytes]:
    """What folders and archives still hold, wherever the user has put them."""
    found: dict[str, bytes] = {}
    for archive in project.parent.rglob("*.zip"):
        if not archive.is_symlink():
            members = structure_of(archive).members
            found |= {member.name: unpacked(archive, member) for member in members if not member.name.endswith("/")}
    for folder in ("data", "away", "elsewhere"):
        for base in project.parent.rglob(folder):
            found |= contents(base)
    return found


@dataclass(frozen=True)
class Advice:
    """What is said, and how a user follows it; then a call that must succeed."""

    says: str
    follow: Step
    then: tuple[str, ...] = SAME_CALL


@dataclass(frozen=True)
class Case:
    """How a folder with a removal that was cut off comes into a state in which a call is refused."""

    name: str
    happens: Step
    advice: tuple[Advice, ...]
    call: tuple[str, ...] = SAME_CALL
    moved_to: str = "project"


MOVE_AWAY = Advice("move `.*` away, and the same call packs what is there now", move_the_archive_away)
REMOVE_THE_LIST = Advice("remove the list", remove_the_list)
OTHER_NAME = Advice("choose another name", nothing, ("data", "-o", "other.zip", "--remove-originals"))


def restore_the_folder(project: Path) -> None:
    """From a backup that was made after the interruption: other inodes, the same files."""
    (project / "data").rename(project / "away")
    shutil.copytree(project / "away", project / "data")


def bring_the_first_folder_back(project: Path) -> None:
    shutil.rmtree(project / "data", ignore_errors=True)
    (project / "away").rename(project / "data")


def move_the_folder(project: Path) -> None:
    (project / "data").rename(project / "away")


def move_the_project(project: Path) -> None:
    project.rename(project.with_name("moved"))


def move_the_project_back(project: Path) -> None:
    project.rename(project.with_name("project"))


def move_the_project_to_another_disk(project: Path) -> None:
    """Copied and deleted: every inode is new."""
    shutil.copytree(project, project.with_name("moved"), symlinks=True)
    shutil.rmtree(project)


def add_a_file(project: Path) -> None:
    write_tree(project / "data", {"new.json": b"new"})


def move_the_new_file_away(project: Path) -> None:
    (project / "elsewhere").mkdir()
    (project / "data/new.json").rename(project / "elsewhere/new.json")


def replace_an_original_by_a_fifo(project: Path) -> None:
    left = min((project / "data").glob("*.json"))
    (project / "elsewhere").mkdir()
    left.rename(project / "elsewhere" / left.name)
    os.mkfifo(left)


def remove_the_fifo(project: Path) -> None:
    next(path for path in (project / "data").iterdir() if path.is_fifo()).rename(project / "pipe")


def give_the_list_away(project: Path) -> None:
    if os.geteuid() != 0:
        without("only root can give a file away")
    os.chown(project / LIST, 65534, 65534)


def damage_the_list(project: Path) -> None:
    os.truncate(project / LIST, (project / LIST).stat().st_size // 2)


def make_it_another_version(project: Path) -> None:
    content = (project / LIST).read_bytes()
    (project / LIST).write_bytes(content.replace(b"removing 5\n", b"removing 4\n", 1))


def put_a_folder_there(project: Path) -> None:
    (project / LIST).unlink()
    (project / LIST).mkdir()


def change_the_archive_unseen(project: Path) -> None:
    """A bit of it has changed on the disk, and neither its length nor its time."""
    archive = project / "out.zip"
    stat = archive.stat()
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 40] ^= 1  # a permission of the first member
    with archive.open("r+b") as file:
        file.write(content)
    os.utime(archive, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rename_the_archive(project: Path) -> None:
    (project / "out.zip").rename(project / "renamed.zip")


def rename_the_archive_of_another_version(project: Path) -> None:
    make_it_another_version(project)
    rename_the_archive(project)


def move_the_renamed_away(project: Path) -> None:
    (project / "renamed.zip").rename(project.parent / "earlier.zip")


def put_a_link_there(project: Path) -> None:
    (project / "larger").mkdir()
    (project / "out.zip").rename(project / "larger/real.zip")
    (project / "out.zip").symlink_to("larger/real.zip")


TO_RENAMED = ("data", "-o", "renamed.zip", "--remove-originals", "--force")
KEEPING = ("data", "-o", "out.zip", "--force")

CASES = [
    Case("folder restored", restore_the_folder, (Advice("bring the one back", bring_the_first_folder_back), MOVE_AWAY)),
    Case("folder moved", move_the_folder, (Advice("bring it back", bring_the_first_folder_back),)),
    Case("project moved", move_the_project, (Advice("bring it back", move_the_project_back), MOVE_AWAY), moved_to="moved"),
    Case("project on another disk", move_the_project_to_another_disk, (MOVE_AWAY,), moved_to="moved"),
    Case("a file came later", add_a_file, (Advice("move those elsewhere", move_the_new_file_away), MOVE_AWAY)),
    Case("no file any more", replace_an_original_by_a_fifo, (Advice("move it elsewhere|move those", remove_the_fifo), MOVE_AWAY)),
    Case("a keeping call", nothing, (Advice("same call again that made it", nothing), MOVE_AWAY, OTHER_NAME), KEEPING),
    Case(
        "no force",
        nothing,
        (Advice("same call again", nothing), OTHER_NAME, Advice("move it away", move_the_archive_away)),
        KEEPING[:3],
    ),
    Case("a foreign list", give_the_list_away, (MOVE_AWAY, REMOVE_THE_LIST)),
    Case("a damaged list", damage_the_list, (MOVE_AWAY, REMOVE_THE_LIST)),
    Case("a list of another version", make_it_another_version, (MOVE_AWAY, REMOVE_THE_LIST)),
    Case("a folder in the list's place", put_a_folder_there, (REMOVE_THE_LIST,)),
    Case("another content", change_the_archive_unseen, (Advice("move it away", move_the_archive_away),)),
    Case("an archive renamed", rename_the_archive, (Advice("move `.*` away", move_the_renamed_away, TO_RENAMED),), TO_RENAMED),
    Case(
        "an archive of another version renamed",
        rename_the_archive_of_another_version,
        (Advice("move `.*` away", move_the_renamed_away, TO_RENAMED),),
        TO_RENAMED,
    ),
    Case("an archive behind a link", put_a_link_there, (MOVE_AWAY,)),
]


@pytest.fixture
def project(work: Path) -> Path:
    """A project where a pack was killed when it had removed four of ten originals."""
    folder = work / "project"
    write_tree(folder / "data", FILES)
    log = work.parent / "log"
    kill = strace(["unlink", "unlinkat"], log, inject="signal=KILL:when=5")
    run([*kill, VHPACK, "compress", *SAME_CALL, "--jobs", "1"], folder)
    assert was_injected(log)
    assert len(contents(folder / "data")) == 6
    return folder


@pytest.mark.parametrize(
    ("case", "number"),
    [(case, number) for case in CASES for number in range(len(case.advice))],
    ids=[f"{case.name}-{number}" for case in CASES for number in range(len(case.advice))],
)
def test_what_a_refusal_advises_works(project: Path, case: Case, number: int) -> None:
    advice = case.advice[number]
    case.happens(project)
    project = project.with_name(case.moved_to)
    before = everything(project)
    assert FILES.items() <= before.items()

    refused = compress(*case.call, cwd=project)
    check_failed(refused, [], advice.says)
    assert everything(project) == before

    advice.follow(project)
    project = project if project.exists() else project.with_name("project")
    ended = compress(*advice.then, cwd=project)

    assert ended.code == 0, (advice.says, ended)
    check_nothing_lost(project, before, advice)


def check_nothing_lost(project: Path, before: dict[str, bytes], advice: Advice) -> None:
    """Only where the user was told that the archive may be replaced may what it alone held be gone."""
    after = everything(project)
    if advice is REMOVE_THE_LIST:
        assert len(set(before) - set(after)) in (0, 4)
    else:
        assert after == before


@pytest.fixture
def shards(work: Path) -> Path:
    """A folder where a pack into five shards was killed when the originals of the first two were gone."""
    write_tree(work / "data", FILES)
    log = work.parent / "log"
    kill = strace(["unlink", "unlinkat"], log, inject="signal=KILL:when=5")
    run([*kill, VHPACK, "compress", *IN_SHARDS, "--jobs", "1"], work)
    assert was_injected(log)
    assert len(contents(work / "data")) == 6
    return work


IN_SHARDS = (*SAME_CALL, "--shard-size", "1k")


def held_in_shards(work: Path) -> dict[str, bytes]:
    packed: dict[str, bytes] = {}
    for shard in work.rglob("out-*.zip"):
        packed |= {member.name: unpacked(shard, member) for member in structure_of(shard).members}
    return {name: body for name, body in packed.items() if not name.endswith("/")}


@pytest.mark.parametrize("new", [1, 3, 4, 5, 8])
def test_shards_are_not_replaced_while_any_of_their_originals_is_left(shards: Path, new: int) -> None:
    """However many shards new files would make: the first ones hold what is gone."""
    write_tree(shards / "data", {f"0-new-{number}.json": prose(400, number) for number in range(new)})

    for options in ([], ["--on-change", "skip"]):
        refused = compress(*IN_SHARDS, *options, cwd=shards)
        check_failed(refused, ["0-new-"], "and the other shards away")
        assert held_in_shards(shards) == FILES


def test_shards_of_which_one_is_refused_can_be_moved_away(shards: Path) -> None:
    write_tree(shards / "data", {"new.json": b"new"})
    (shards / "earlier").mkdir()
    for shard in shards.glob("out-*.zip"):
        shard.rename(shards / "earlier" / shard.name)

    ended = compress(*IN_SHARDS, cwd=shards)

    assert ended.code == 0, ended
    assert held_in_shards(shards) == FILES | {"new.json": b"new"}
    # Lists of shards that were not made again stay, for those may be brought back.
    assert {path.name for path in shards.glob(".out-*")} <= {f".out-{number:05}.zip.vhpack-removing" for number in (3, 4)}


def test_what_an_ended_removal_left_can_be_packed_beside_it(work: Path) -> None:
    """Reached through a link, it stays; the same call must not replace the archive, and can be helped."""
    write_tree(work, {"data/1.json": b"1", "ext/e.json": b"e"})
    (work / "data/link").symlink_to("../ext")
    assert compress(*SAME_CALL, cwd=work).code == 1
    check_failed(compress(*KEEPING, cwd=work), [], "move `.*` away|choose another name")

    assert compress("data", "-o", "other.zip", cwd=work).code == 0
    move_the_archive_away(work)
    assert compress(*KEEPING, cwd=work).code == 0
    assert {member.name for member in structure_of(work / "earlier.zip").members} == {"1.json", "link/e.json"}
