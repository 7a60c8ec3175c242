"""Other file systems than the one that tests usually run on: no unnamed files, no links, no modes, names that fold their case."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import needs, without
from tests.engine.command import VHPACK, compress, run
from tests.engine.refusals import check_failed
from tests.engine.trees import contents, noise, prose, write_tree
from tests.faults.tracing import strace
from tests.interop.structure import structure_of, unpacked

FILES = {f"{number}.json": prose(400, number) for number in range(9)} | {"sub/deep.json": prose(400, 9)}
LIST = ".out.zip.vhpack-removing"
CALL = ["data", "-o", "out.zip", "--remove-originals"]

Mount = Callable[[Path, ExitStack], Path]


def mounted(command: list[str], folder: Path, ends: ExitStack) -> Path:
    """Mount, and unmount at the end of the test."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if made.returncode != 0 or not folder.is_mount():
        without(f"{command[0]} does not work here: {(made.stderr or made.stdout).strip()}")
    ends.callback(subprocess.run, ["umount", str(folder)], check=True, timeout=30)
    return folder


def image(folder: Path, command: list[str]) -> Path:
    """A file with an empty file system in it."""
    needs(command[0])
    path = folder / "image"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run([*command, str(path)], check=True, capture_output=True, timeout=60)
    return path


def attached(path: Path, ends: ExitStack) -> str:
    """A device of its own for the file."""
    made = subprocess.run(["losetup", "-f", "--show", str(path)], capture_output=True, text=True)
    if made.returncode != 0:
        without(f"this user may not make a disk of a file: {made.stderr.strip()}")
    device = made.stdout.strip()
    ends.callback(subprocess.run, ["losetup", "-d", device], check=True)
    return device


def tmpfs(ground: Path, ends: ExitStack) -> Path:
    folder = ground / "tmpfs"
    return mounted(["mount", "-t", "tmpfs", "vhpack-test", str(folder)], folder, ends)


def overlay(ground: Path, ends: ExitStack) -> Path:
    """With originals in the layer below, which get other inodes when they are written to."""
    layers = tmpfs(ground, ends)
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    write_tree(layers / "lower/data", FILES)
    folder = ground / "overlay"
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    return mounted(["mount", "-t", "overlay", "vhpack-test", "-o", options, str(folder)], folder, ends)


def btrfs(ground: Path, ends: ExitStack) -> Path:
    path = image(ground, ["mkfs.btrfs"])
    return mounted(["mount", "-o", "loop", str(path), str(ground / "btrfs")], ground / "btrfs", ends)


def xfs(ground: Path, ends: ExitStack) -> Path:
    path = image(ground, ["mkfs.xfs", "-q"])
    return mounted(["mount", "-o", "loop", str(path), str(ground / "xfs")], ground / "xfs", ends)


def bound(ground: Path, ends: ExitStack) -> Path:
    """Another way to a folder, through a program: no unnamed files."""
    needs("bindfs")
    (ground / "real").mkdir()
    return mounted(["bindfs", str(ground / "real"), str(ground / "bound")], ground / "bound", ends)


def ntfs(ground: Path, ends: ExitStack) -> Path:
    """All modes are one, and names fold their case."""
    needs("lowntfs-3g")
    path = image(ground, ["mkfs.ntfs", "-F", "-Q", "-q"])
    return mounted(["lowntfs-3g", "-o", "ignore_case", str(path), str(ground / "ntfs")], ground / "ntfs", ends)


def exfat(ground: Path, ends: ExitStack) -> Path:
    """No links, modes that are fixed, names that keep their case and fold it."""
    needs("mount.exfat-fuse", "losetup")
    path = image(ground, ["mkfs.exfat"])
    return mounted(["mount.exfat-fuse", attached(path, ends), str(ground / "exfat")], ground / "exfat", ends)


OFFERED = Path("/proc/filesystems").read_text().split()
"""What this kernel can mount."""

BY_KERNEL: list[Mount] = [mount for mount in (tmpfs, overlay, btrfs, xfs) if mount.__name__ in OFFERED]
FOLDING: list[Mount] = [ntfs, exfat] if Path("/dev/fuse").exists() else []
ALL: list[Mount] = [*BY_KERNEL, *([bound] if FOLDING else []), *FOLDING]


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The root of a file system of its own; unmounted in the opposite order."""
    mount: Mount = request.param
    needs("mount", "umount")
    with ExitStack() as ends:
        yield mount(tmp_path, ends)


def held(folder: Path, name: str = "out.zip") -> dict[str, bytes]:
    archive = folder / name
    return {member.name: unpacked(archive, member) for member in structure_of(archive).members if member.name[-1] != "/"}


def left(folder: Path) -> dict[str, bytes]:
    return contents(folder / "data")


@pytest.mark.parametrize("disk", ALL, indirect=True)
def test_packs_replaces_and_removes(disk: Path) -> None:
    write_tree(disk / "data", FILES)

    assert compress(*CALL[:3], cwd=disk).code == 0
    assert held(disk) == left(disk) == FILES
    check_failed(compress(*CALL[:3], cwd=disk), ["out.zip"], "force")
    removed = compress(*CALL, "--force", cwd=disk)

    assert removed.code == 0, removed
    assert held(disk) == FILES
    assert left(disk) == {}
    assert not [path for path in disk.iterdir() if path.name.startswith(".out")]


@pytest.mark.parametrize("disk", ALL, indirect=True)
def test_a_removal_that_was_cut_off_is_finished_or_refused(disk: Path, tmp_path: Path) -> None:
    """Where all modes are one, nobody knows who may write to the list: then it only forbids."""
    write_tree(disk / "data", FILES)
    kill = strace(["unlink", "unlinkat"], tmp_path / "log", inject="signal=KILL:when=6")
    run([*kill, VHPACK, "compress", *CALL, "--jobs", "1"], disk)
    rest = left(disk)
    assert rest != FILES
    assert held(disk) == FILES

    ended = compress(*CALL, "--force", cwd=disk)

    assert held(disk) == FILES
    if ended.code == 0:
        assert left(disk) == {}
        assert not (disk / LIST).exists()
    else:
        check_failed(ended, ["out.zip"], "move .* away")
        assert left(disk) == rest
        (disk / "out.zip").rename(disk / "earlier.zip")
        again = compress(*CALL, cwd=disk)
        assert again.code == 0, again
        assert held(disk) | held(disk, "earlier.zip") == FILES


@pytest.mark.parametrize("disk", [overlay] if "overlay" in OFFERED else [], indirect=True)
def test_a_removal_from_a_layer_below_is_finished(disk: Path, tmp_path: Path) -> None:
    """As from a container's image: the first original that goes brings its folder to the upper layer, where it is born anew."""
    assert left(disk) == FILES
    kill = strace(["unlink", "unlinkat"], tmp_path / "log", inject="signal=KILL:when=6")
    run([*kill, VHPACK, "compress", *CALL, "--jobs", "1"], disk)
    assert len(left(disk)) == len(FILES) - 5

    ended = compress(*CALL, cwd=disk)

    assert ended.code == 0, ended
    assert held(disk) == FILES
    assert left(disk) == {}


@pytest.mark.parametrize("disk", ALL, indirect=True)
def test_a_removal_goes_on_after_the_disk_was_away(disk: Path, tmp_path: Path) -> None:
    """Mounted again it may have other numbers: finished or refused, nothing is lost."""
    write_tree(disk / "data", FILES)
    kill = strace(["unlink", "unlinkat"], tmp_path / "log", inject="signal=KILL:when=6")
    run([*kill, VHPACK, "compress", *CALL, "--jobs", "1"], disk)
    with Path("/proc/sys/vm/drop_caches").open("w") as file:
        file.write("2")

    compress(*CALL, "--force", cwd=disk)

    assert {**held(disk), **left(disk)} == FILES


NUMBERED = {"ext4": ["mkfs.ext4", "-q", "-I", "256"], "btrfs": ["mkfs.btrfs", "-q"], "xfs": ["mkfs.xfs", "-q"]}


@pytest.mark.parametrize("kind", [kind for kind in NUMBERED if kind in OFFERED])
@pytest.mark.parametrize("removed", [4, len(FILES)])
def test_a_removal_goes_on_on_a_disk_that_was_mounted_under_another_number(tmp_path: Path, kind: str, removed: int) -> None:
    """A folder is known by inode, birth and volume; where the volume is told by the number, too, what is advised works."""
    needs("mount", "umount", "losetup")
    disk = tmp_path / "disk"
    path = image(tmp_path, NUMBERED[kind])
    numbers = set()
    with ExitStack() as ends:
        first = attached(path, ends)
        with ExitStack() as mounts:
            mounted(["mount", "-t", kind, first, str(disk)], disk, mounts)
            numbers.add(disk.stat().st_dev)
            write_tree(disk / "data", FILES)
            kill = strace(["unlink", "unlinkat"], tmp_path / "log", inject=f"signal=KILL:when={removed + 1}")
            run([*kill, VHPACK, "compress", *CALL, "--jobs", "1"], disk)
            assert len(left(disk)) == len(FILES) - removed
        second = attached(path, ends)
        # btrfs takes the lowest number that is free.
        mounted(["mount", "-t", "tmpfs", "vhpack-test", str(tmp_path / "between")], tmp_path / "between", ends)
        with ExitStack() as mounts:
            mounted(["mount", "-t", kind, second, str(disk)], disk, mounts)
            numbers.add(disk.stat().st_dev)
            write_tree(disk, {"new/new.json": b"new"})
            check_failed(compress("new", *CALL[1:], "--force", cwd=disk), ["out.zip"], "move .* away")
            assert held(disk) | left(disk) == FILES

            ended = compress(*CALL, "--force", cwd=disk)

            if ended.code != 0:
                check_failed(ended, ["out.zip"], "mounted again under another number.* move .* away")
                assert kind == "xfs"
                (disk / "out.zip").rename(disk / "earlier.zip")
                if removed < len(FILES):
                    ended = compress(*CALL, cwd=disk)
                    assert ended.code == 0, ended
            else:
                # A copy of the disk from before there were originals would look the same: its archive is protected on,
                # and what comes later under an old name or a new one is packed as soon as the advice is followed.
                assert (disk / LIST).exists()
                (disk / "data").mkdir(exist_ok=True)
                for name in ("0.json", "later.json"):
                    write_tree(disk / "data", {name: b"later"})
                    for options in ([], ["--force"]):
                        check_failed(compress(*CALL, *options, cwd=disk), ["out.zip"], "another number.* move .* away")
                        assert held(disk) == FILES
                        assert left(disk) == {name: b"later"}
                    (disk / "data" / name).unlink()
                write_tree(disk / "data", {"later.json": b"later"})
                (disk / "out.zip").rename(disk / "earlier.zip")
                ended = compress(*CALL, cwd=disk)
                assert ended.code == 0, ended
                assert held(disk) == {"later.json": b"later"}
                (disk / "out.zip").unlink()
            archives = [path.name for path in disk.glob("*.zip")]
            assert {name: body for archive in archives for name, body in held(disk, archive).items()} == FILES
            assert not left(disk)
    assert len(numbers) == 2


def thin(ground: Path, ends: ExitStack) -> Path:
    """A disk that has less room than it says, as thin volumes do: what does not fit is lost after `write` has taken it."""
    needs("losetup", "mkfs.ext4")
    pool = ground / "pool"
    mounted(["mount", "-t", "tmpfs", "-o", "size=24m", "vhpack-test", str(pool)], pool, ends)
    # Without a journal, whose end would tell of it, too.
    path = image(pool, ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "nodiscard"])
    return mounted(["mount", "-t", "ext4", attached(path, ends), str(ground / "thin")], ground / "thin", ends)


@pytest.mark.parametrize("disk", [thin] if "ext4" in OFFERED else [], indirect=True)
@pytest.mark.parametrize("option", ["--remove-originals", "--durable"])
def test_what_the_disk_lost_after_it_was_written_is_no_archive(disk: Path, work: Path, option: str) -> None:
    """The kernel says so once, to whoever asks first; page cache and lengths look well."""
    files = {f"{number}.bin": noise(8 << 20, number) for number in range(6)}
    write_tree(work / "data", files)

    ended = compress("data", "-o", str(disk / "out.zip"), option, cwd=work)

    check_failed(ended, ["out.zip"], "[Ii]nput/output error|[Nn]o space")
    assert contents(work / "data") == files
    assert not (disk / "out.zip").exists()


@pytest.mark.parametrize("disk", FOLDING, indirect=True)
def test_a_target_in_another_case_is_the_same_file(disk: Path) -> None:
    write_tree(disk / "data", FILES)
    assert compress("data", "-o", "Out.zip", cwd=disk).code == 0
    before = (disk / "Out.zip").read_bytes()

    check_failed(compress("data", "-o", "out.ZIP", cwd=disk), ["out.ZIP"], "force")
    assert (disk / "Out.zip").read_bytes() == before
    # It is none of the sources either, whatever it is called there.
    ended = compress("*", "-o", "out.zip", "--remove-originals", "--force", cwd=disk)
    assert ended.code == 0, ended
    assert {name.removeprefix("data/"): body for name, body in held(disk).items()} == FILES


@pytest.mark.parametrize("disk", FOLDING, indirect=True)
@pytest.mark.parametrize(
    "target", ["data/out.zip", "DATA/Out.zip", "data/OUT.ZIP", "Data/out.zip --shard-size=1k", "data/OUT.zip --manifest"]
)
def test_an_earlier_archive_in_another_case_is_no_source(disk: Path, target: str) -> None:
    """Packed as one, it would be removed, and with it the new one that has taken its place."""
    write_tree(disk / "data", FILES)
    name, *options = target.split()
    assert compress("data", "-o", "data/out.zip", *options, cwd=disk).code == 0

    ended = compress("DATA/*", "-o", name, "--remove-originals", "--force", *options, cwd=disk)

    assert ended.code == 0, ended
    packed: dict[str, bytes] = {}
    for archive in (disk / "data").glob("*.[zZ][iI][pP]"):
        packed |= held(archive.parent, archive.name)
    assert packed == FILES
    assert not list((disk / "data").glob("*.json"))
    assert len(list((disk / "data").glob("*.jsonl"))) == ("--manifest" in options)


@pytest.mark.parametrize("disk", FOLDING, indirect=True)
def test_one_file_that_is_named_in_two_cases_is_not_lost(disk: Path) -> None:
    """As two members or as one, or refused: never gone without being packed."""
    write_tree(disk / "data", FILES)
    sources = ["data/1.json", "data/1.JSON", "DATA/2.json", "data/2.json", "Data/sub"]

    ended = compress(*sources, "-o", "out.zip", "--remove-originals", cwd=disk)

    packed = set(held(disk).values()) if (disk / "out.zip").exists() else set()
    assert packed | set(left(disk).values()) == set(FILES.values()), ended
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("disk", FOLDING, indirect=True)
def test_an_interrupted_removal_is_known_under_another_case(disk: Path, tmp_path: Path) -> None:
    write_tree(disk / "data", FILES)
    kill = strace(["unlink", "unlinkat"], tmp_path / "log", inject="signal=KILL:when=6")
    run([*kill, VHPACK, "compress", *CALL, "--jobs", "1"], disk)

    for target in ("OUT.zip", "Out.zip", "out.zip"):
        for source in ("data", "DATA", "data/*"):
            for options in ([], ["--remove-originals"]):
                compress(source, "-o", target, "--force", *options, cwd=disk)
                assert set(FILES.values()) == {*held(disk).values(), *left(disk).values()}


@pytest.mark.parametrize("disk", [exfat], indirect=True)
def test_no_upload_takes_the_place_of_a_name_in_another_case(disk: Path, tmp_path: Path) -> None:
    originals = {"a.bin": b"1", "A.bin": b"2", "runs/x": b"3" * 100_000, "Runs/x": b"4", "RUNS/y": b"5"}
    write_tree(tmp_path / "from", originals)
    call = [VHPACK, "upload", "from", "--to", disk.as_uri(), "--remove-after", "-q"]

    for _ in range(2):
        ended = run(call, tmp_path)

        assert ended.code == 1, ended
        assert "takes no notice of case" in ended.err
        assert sorted([*contents(disk).values(), *contents(tmp_path / "from").values()]) == sorted(originals.values())


@pytest.mark.parametrize("disk", [exfat, ntfs], indirect=True)
def test_a_mark_that_the_disk_does_not_know_is_said_or_set(disk: Path) -> None:
    import sys

    write_tree(disk / "data", FILES)
    code = "import vhpack; vhpack.outputs().compress('data/*', 'out.zip', live_upload=True)"

    ended = run([sys.executable, "-c", code], disk, environment={"VH_OUTPUTS_DIR": str(disk)})

    assert ended.code == 0 or "cannot be marked read-only" in ended.err, ended
    assert {*held(disk).values(), *left(disk).values()} >= set(FILES.values())


@pytest.mark.parametrize("disk", [mount for mount in BY_KERNEL if mount in (overlay, btrfs)], indirect=True)
def test_a_disk_that_keeps_no_order_is_synced_before_the_list_goes(disk: Path, tmp_path: Path) -> None:
    """Btrfs may bring the end of the list to the disk without the removal before it."""
    write_tree(disk / "data", FILES)
    log = tmp_path / "log"

    ended = compress(*CALL, cwd=disk, before=strace(["unlink", "unlinkat", "syncfs"], log))

    assert ended.code == 0, ended
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines() if "(" in line]
    assert calls[-2].startswith("syncfs")
    assert LIST in calls[-1]


@pytest.mark.parametrize("disk", [tmpfs], indirect=True)
def test_originals_on_one_disk_and_the_archive_on_another(disk: Path, work: Path) -> None:
    write_tree(disk / "data", FILES)
    target = work / "out.zip"
    call = [str(disk / "data"), "-o", str(target), "--remove-originals"]
    kill = strace(["unlink", "unlinkat"], work.parent / "log", inject="signal=KILL:when=6")
    run([*kill, VHPACK, "compress", *call, "--jobs", "1"], work)

    log = work.parent / "finishing"
    ended = compress(*call, cwd=work, before=strace(["unlinkat", "syncfs"], log))

    assert ended.code == 0, ended
    # The end of the list must not be on its disk before the removal is on the other.
    assert [line.split("(")[0].split()[-1] for line in log.read_text().splitlines() if "(" in line][-2:] == ["syncfs", "unlinkat"]
    assert held(work) == FILES
    assert left(disk) == {}
    target.unlink()
    write_tree(disk / "data", FILES)
    full = compress(*call, cwd=work, before=strace(["syncfs"], log, inject="error=EIO"))
    check_failed(full, ["out.zip", "originals are removed"], "same call again")
    # A sandbox without that call syncs the folders one by one.
    without_it = compress(*call, cwd=work, before=strace(["syncfs", "fsync"], log, also=["syncfs:error=EPERM"]))
    assert without_it.code == 0, without_it
    assert log.read_text().count("fsync(") >= len({Path(name).parent for name in FILES})
    assert not (work / LIST).exists()
    assert shutil.which("umount")
    assert os.path.ismount(disk)
