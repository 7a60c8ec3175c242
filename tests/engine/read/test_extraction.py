"""What an extraction makes of odd archives: the right bytes, no half files, and the rest where some members cannot be had."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs
from tests.engine.read.archives import everything_below, link_in_zip, opened, special, tar_of, zip_of

MIB = 1 << 20


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in everything_below(folder) if (folder / name).is_file()}


def extracted(archive: Path, dest: Path, **options: object) -> vhpack._engine.ExtractReport:
    return opened(archive).extract(os.fsencode(dest), **options)  # type: ignore[arg-type]


def test_a_hard_link_has_the_bytes_from_before_it(work: Path) -> None:
    first, last = ("a", b"v1"), ("a", b"v2")
    links = [special(name, tarfile.LNKTYPE, "a") for name in ("b", "c")]
    report = extracted(tar_of(work / "a.tar", first, *links, last, special("d", tarfile.LNKTYPE, "a")), work / "out")
    assert contents(work / "out") == {"a": b"v2", "b": b"v1", "c": b"v1", "d": b"v2"}
    assert (report.files, report.links, report.refused) == (2, 2, 0)
    assert (work / "out/b").stat().st_ino == (work / "out/c").stat().st_ino
    assert (work / "out/a").stat().st_ino == (work / "out/d").stat().st_ino


def test_a_file_packed_twice_is_there_once(work: Path) -> None:
    (work / "d").mkdir()
    (work / "d/a").write_bytes(b"1")
    os.link(work / "d/a", work / "d/b")
    subprocess.run(["tar", "-cf", "dup.tar", "d", "d/a"], check=True, cwd=work)
    extracted(work / "dup.tar", work / "out")
    assert contents(work / "out") == {"d/a": b"1", "d/b": b"1"}


def test_hard_links_taken_alone_are_copies_of_what_they_lead_to(work: Path) -> None:
    chain = [special("b", tarfile.LNKTYPE, "a"), special("c", tarfile.LNKTYPE, "b"), special("d", tarfile.LNKTYPE, "./a")]
    archive = tar_of(work / "a.tar", ("a", b"v1"), *chain, ("a", b"v2"), ("fill", b"x"))
    assert extracted(archive, work / "one", names=["c"]).files == 1
    assert contents(work / "one") == {"c": b"v1"}
    report = extracted(archive, work / "two", names=["c", "d"])
    assert (report.files, report.links, contents(work / "two")) == (1, 1, {"c": b"v1", "d": b"v1"})


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "a/../../.."])
def test_links_that_lead_outside_are_left_out_and_the_rest_is_there(work: Path, target: str) -> None:
    hard = special("hard", tarfile.LNKTYPE, target)
    archives = [
        (zip_of(work / "a.zip", ("file", b"1"), link_in_zip("link", target), ("last", b"2")), ["link"]),
        (
            tar_of(work / "a.tar", ("file", b"1"), special("link", tarfile.SYMTYPE, target), hard, ("last", b"2")),
            ["link", "hard"],
        ),
    ]
    for archive, left_out in archives:
        out = work / f"out{archive.suffix}"
        report = extracted(archive, out)
        assert sorted(name for name, _ in report.skipped) == sorted(left_out)
        assert report.refused == len(left_out)
        assert everything_below(out) == {"file", "last"}


def test_what_was_asked_to_be_left_out_is_not_refused(work: Path) -> None:
    archive = tar_of(work / "a.tar", ("a", b"1"), special("link", tarfile.SYMTYPE, "a"))
    report = extracted(archive, work / "out", links=False)
    assert ([name for name, _ in report.skipped], report.refused) == (["link"], 0)


def test_folders_taken_off_do_not_make_one_file_of_two(work: Path) -> None:
    archive = tar_of(work / "a.tar", ("a/x", b"1"), ("b/x", b"2"))
    with pytest.raises(vhpack.UnsafeMemberError, match="a/x"):
        extracted(archive, work / "out", strip=1)
    assert not (work / "out").exists()
    extracted(tar_of(work / "b.tar", ("a/x", b"1"), ("./a//x", b"2")), work / "out", strip=1)
    assert contents(work / "out") == {"x": b"2"}


@pytest.mark.parametrize(
    "pair", [("Readme", "README"), ("ä", "a\u0308"), ("d/É", "D/e\u0301"), ("A/x", "a/y"), ("a", "A/y"), ("é/x", "E\u0301/y")]
)
def test_names_that_other_systems_take_for_one_are_refused_unless_allowed(work: Path, pair: tuple[str, str]) -> None:
    for archive in (
        zip_of(work / "a.zip", *[(name, b"1") for name in pair]),
        tar_of(work / "a.tar", *[(name, b"1") for name in pair]),
    ):
        out = work / f"out{archive.suffix}"
        with pytest.raises(vhpack.UnsafeMemberError, match="--allow-collisions"):
            extracted(archive, out)
        assert not out.exists()
        report = extracted(archive, out, allow_collisions=True)
        assert (report.files, set(contents(out))) == (2, set(pair))
        assert "case or accents" in report.warnings[0]
        extracted(archive, work / f"one{archive.suffix}", names=[pair[1]])
        assert set(contents(work / f"one{archive.suffix}")) == {pair[1]}


def test_a_name_that_no_file_system_takes_is_refused_before_anything_is_written(work: Path) -> None:
    archive = tar_of(work / "a.tar", ("good", b"1"), ("d/" + "n" * 256, b"2"))
    with pytest.raises(vhpack.UnsafeMemberError, match="255 bytes"):
        extracted(archive, work / "out")
    assert not (work / "out").exists()
    extracted(tar_of(work / "b.tar", ("d/" + "n" * 255, b"2")), work / "out")
    assert contents(work / "out") == {"d/" + "n" * 255: b"2"}


def test_a_name_that_ends_in_a_dot_is_the_name_before_it(work: Path) -> None:
    extracted(zip_of(work / "a.zip", ("d/a/.", b"1")), work / "out")
    assert contents(work / "out") == {"d/a": b"1"}


DEEP = """
import resource
from vhpack._engine import Archive
archive = Archive(b"deep.tar")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
archive.extract(b"out")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_deep_names_take_no_more_memory_than_their_folders(work: Path) -> None:
    with tarfile.open(work / "deep.tar", "w", format=tarfile.PAX_FORMAT) as writer:
        for number in range(6):
            writer.addfile(tarfile.TarInfo(f"{number}/{'/'.join(['n' * 120] * 500)}/f"))
    ran = subprocess.run([sys.executable, "-c", DEEP], check=True, cwd=work, capture_output=True, text=True)
    # All prefixes of all names are 90 MB.
    assert int(ran.stdout) < 45 << 10
    subprocess.run(["rm", "-r", "out"], check=True, cwd=work)


def test_more_folders_than_an_archive_could_mean_are_refused(work: Path) -> None:
    with tarfile.open(work / "deep.tar", "w", format=tarfile.PAX_FORMAT) as writer:
        for number in range(2200):
            writer.addfile(tarfile.TarInfo(f"{number:04}/{'/'.join(['n'] * 500)}/f"))
    with pytest.raises(vhpack.LimitExceededError, match="--unsafe-limits"):
        extracted(work / "deep.tar", work / "out")
    assert not (work / "out").exists()


FEW = """
import resource
from vhpack._engine import Archive
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
print(Archive(b"a.zip").extract(b"out", jobs=64).files)
"""


def test_however_many_threads_and_folders_no_more_are_open_than_may_be(work: Path) -> None:
    names = [f"{number % 50}/{number}/{'/'.join('deep')}/f" for number in range(500)]
    zip_of(work / "a.zip", *((name, name.encode()) for name in names))
    ran = subprocess.run([sys.executable, "-c", FEW], check=True, cwd=work, capture_output=True, text=True)
    assert ran.stdout == "500\n"
    assert contents(work / "out") == {name: name.encode() for name in names}


EXTRACT = "from vhpack._engine import Archive; Archive(b'a.tar').extract(b'out')"


def test_a_killed_extraction_leaves_no_half_file_under_its_name(work: Path) -> None:
    size = 300 * MIB
    with tarfile.open(work / "a.tar", "w") as writer, open("/dev/zero", "rb") as zeros:
        header = tarfile.TarInfo("large")
        header.size = size
        writer.addfile(header, zeros)
    seen = 0
    for pause in (0.0, 0.01, 0.03, 0.06, 0.1):
        child = subprocess.Popen([sys.executable, "-c", EXTRACT], cwd=work)
        while not (work / "out").exists() and child.poll() is None:
            time.sleep(0.001)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        seen += child.wait() == -signal.SIGKILL
        large = work / "out" / "large"
        assert not large.exists() or large.stat().st_size == size
        subprocess.run(["rm", "-rf", "out"], check=True, cwd=work)
    assert seen


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Modes, times and contents of a folder and all below it: whoever makes something there and removes it again shows, too."""
    paths = [folder, *sorted(folder.rglob("*"))]
    stats = [(path, path.lstat()) for path in paths]
    return {str(path): (seen.st_mode, seen.st_mtime_ns, b"" if path.is_dir() else path.read_bytes()) for path, seen in stats}


def exchange(first: Path, second: Path) -> None:
    """Let two names change places, so that neither is missing at any time."""
    here, exchanging = -100, 2
    assert ctypes.CDLL(None).renameat2(here, os.fsencode(first), here, os.fsencode(second), exchanging) == 0


def test_nothing_is_written_through_a_link_that_takes_a_folders_place_meanwhile(work: Path) -> None:
    (work / "outside/sub").mkdir(parents=True)
    for name in ("a", "sub/b", "large", "hard"):
        (work / "outside" / name).write_bytes(b"kept")
    (work / "out/d/sub").mkdir(parents=True)
    (work / "link").symlink_to(work / "outside")
    folders = [special(name, tarfile.DIRTYPE, mode=0o700) for name in ("d", "d/sub", "d/new")]
    links = [special("d/hard", tarfile.LNKTYPE, "d/a"), special("d/soft", tarfile.SYMTYPE, "a")]
    files = [("d/a", b"new"), ("d/sub/b", b"new"), ("d/large", bytes(2 * MIB))]
    archive = opened(tar_of(work / "a.tar", *folders, *files, *links))
    before = everything(work / "outside")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            exchange(work / "out/d", work / "link")
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    ended = set()
    try:
        for _ in range(150):
            try:
                archive.extract(os.fsencode(work / "out"), existing="overwrite")
                ended.add("done")
            except vhpack.PackError as error:
                ended.add(type(error).__name__)
    finally:
        stop.set()
        thread.join()
    assert everything(work / "outside") == before
    assert swaps > 10
    assert len(ended) > 1, "some met the link, and some did not"


def test_large_files_are_replaced_and_kept_as_small_ones_are(work: Path) -> None:
    new = os.urandom(3 * MIB)
    archive = zip_of(work / "a.zip", ("large", new), ("small", b"new"))
    (work / "out").mkdir()
    for name in ("large", "small"):
        (work / "out" / name).write_bytes(b"old")
    with pytest.raises(vhpack.TargetExistsError):
        extracted(archive, work / "out")
    assert extracted(archive, work / "out", existing="skip").files == 0
    assert contents(work / "out") == {"large": b"old", "small": b"old"}
    assert extracted(archive, work / "out", existing="overwrite").files == 2
    assert contents(work / "out") == {"large": new, "small": b"new"}


def test_a_hard_link_to_a_file_that_stays_has_the_bytes_of_the_archive(work: Path) -> None:
    links = [special(name, tarfile.LNKTYPE, "first") for name in ("second", "third", "there")]
    for size in (5, 2 * MIB):
        new = os.urandom(size)
        dest = work / f"{size}"
        dest.mkdir()
        for name in ("first", "there"):
            (dest / name).write_bytes(b"old")
        report = extracted(tar_of(work / "a.tar", ("first", new), *links), dest, existing="skip")
        assert contents(dest) == {"first": b"old", "there": b"old", "second": new, "third": new}
        assert (dest / "second").stat().st_ino == (dest / "third").stat().st_ino
        assert (report.files, report.links) == (1, 1)
        assert sorted(os.path.basename(name) for name, _ in report.skipped) == ["first", "there"]


def test_calls_that_replace_the_same_files_at_once_leave_whole_files(work: Path) -> None:
    small = {f"{number}": os.urandom(20_000) for number in range(50)}
    archives = []
    for number in range(4):
        members = [
            *((name, bytes([number]) * len(content)) for name, content in small.items()),
            ("large", bytes([number]) * MIB * 2),
        ]
        archives.append(zip_of(work / f"{number}.zip", *members))
    (work / "out").mkdir()
    for name in (*small, "large"):
        (work / "out" / name).write_bytes(b"old")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda archive: extracted(archive, work / "out", existing="overwrite"), archives))
    assert set(os.listdir(work / "out")) == {*small, "large"}
    for name, content in contents(work / "out").items():
        assert content in [bytes([number]) * (2 * MIB if name == "large" else 20_000) for number in range(4)]


def partly_unreadable(work: Path) -> Path:
    """A zip with members in a method that is not known, one that is encrypted, and others; by other writers."""
    needs("7z")
    (work / "secret").write_bytes(b"hidden")
    subprocess.run(["7z", "a", "-psecret", "odd.zip", "secret"], check=True, cwd=work, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(work / "odd.zip", "a") as writer:
        writer.writestr("a/first.txt", b"first")
        writer.writestr("a/packed.txt", bytes(5000), zipfile.ZIP_BZIP2)
        writer.writestr("b/packed.bin", bytes(5000), zipfile.ZIP_LZMA)
        writer.writestr("last.txt", b"last")
    return work / "odd.zip"


def test_what_cannot_be_read_is_named_and_the_rest_is_there(work: Path) -> None:
    archive = vhpack.open(partly_unreadable(work))
    with pytest.raises(vhpack.UnsupportedArchiveError, match="3 members cannot be extracted") as raised:
        archive.extract("out")
    for part in ("odd.zip", "`secret` (it is encrypted", "`a/packed.txt` (", "`b/packed.bin` (", "2 files were extracted to"):
        assert part in str(raised.value)
    assert contents(work / "out") == {"a/first.txt": b"first", "last.txt": b"last"}
    assert not (work / "out/b").exists()


def test_others_than_those_that_cannot_be_read_can_be_chosen(work: Path) -> None:
    archive = vhpack.open(partly_unreadable(work))
    assert archive.extract("some", ["a/first.txt", "*.txt"]).files == 2
    assert contents(work / "some") == {"a/first.txt": b"first", "last.txt": b"last"}
    with pytest.raises(vhpack.UnsupportedArchiveError, match="1 member cannot be extracted: `secret`"):
        archive.extract("none", "secret")
    assert not (work / "none").exists()
    with pytest.raises(vhpack.UnsupportedArchiveError, match=r"`a/packed\.txt`"):
        archive.extract("half", ["a"])
    assert contents(work / "half") == {"a/first.txt": b"first"}
