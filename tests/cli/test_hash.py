"""`vhpack hash`: its lines are those of other tools, and it checks theirs."""

import hashlib
import json
import os
import pty
import random
import signal
import subprocess
import zlib
from pathlib import Path

import pytest
import xxhash

from tests.cli.test_ends import wait_until
from tests.conftest import needs
from tests.engine.command import VHPACK, ordinary_user, run, vhpack

ALGORITHMS = ["xxh3-128", "blake3", "sha256", "crc32"]

# Each tool: how it makes a list (plain, then tagged where all its versions can), and how it checks one.
TOOLS: dict[str, tuple[list[str], list[str] | None, list[str]]] = {
    "sha256": (["sha256sum", "--"], ["sha256sum", "--tag", "--"], ["sha256sum", "--strict", "-c"]),
    "blake3": (["b3sum", "--"], None, ["b3sum", "--check"]),
    "xxh3-128": (["xxhsum", "-q", "-H2"], ["xxhsum", "-q", "-H2", "--tag"], ["xxhsum", "--strict", "-c"]),
    "crc32": (["rhash", "--crc32", "--simple", "--"], ["rhash", "--crc32", "--bsd", "--"], ["rhash", "-c"]),
}
ODD_NAMES = ["a", "b c", " leading", "trailing ", "*star", "ü.txt", "#hash", "a) = b", "c\rr", "d/e", "quote'\"", "%s"]
ESCAPED_NAMES = ["back\\slash", "new\nline", "both\\n\n"]


def fill(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(number).randbytes(number * 1000))


def digest(algorithm: str, content: bytes) -> str:
    """The digest as an implementation of somebody else has it."""
    if algorithm == "sha256":
        return hashlib.sha256(content).hexdigest()
    if algorithm == "xxh3-128":
        return xxhash.xxh3_128(content).hexdigest()
    if algorithm == "crc32":
        return f"{zlib.crc32(content):08x}"
    needs("b3sum")
    done = subprocess.run(["b3sum", "--no-names"], input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


def parsed(out: str) -> dict[str, str]:
    return {name: digits for digits, name in (line.split("  ", 1) for line in out.removesuffix("\n").split("\n"))}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digests_are_those_of_other_implementations(algorithm: str, work: Path) -> None:
    for length in (0, 1, 4096, 262_143, 262_144, 262_145, 9_000_001):
        (work / f"{length:08}").write_bytes(random.Random(length).randbytes(length))
    done = vhpack("hash", ".", "--algorithm", algorithm, cwd=work)
    assert (done.code, done.err) == (0, "")
    got = parsed(done.out)
    assert list(got) == sorted(os.listdir(work))
    assert got == {name: digest(algorithm, (work / name).read_bytes()) for name in got}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_tools_accept_its_lines(algorithm: str, work: Path) -> None:
    *_, check = TOOLS[algorithm]
    needs(check[0])
    fill(work / "d", names_for(algorithm, work))
    (work / "list").write_bytes(os.fsencode(vhpack("hash", "d", "--algorithm", algorithm, cwd=work).out))
    checked = run([*check, "list"], work)
    assert checked.code == 0, checked
    (work / "d/b c").write_text("other")
    assert run([*check, "list"], work).code != 0


def names_for(algorithm: str, work: Path) -> list[str]:
    """Names that the tool can read from a list of its own."""
    if algorithm == "crc32":  # rhash opens no name that has a backslash, or a space at its end
        return [*(name for name in ODD_NAMES if name != "trailing "), "new\nline"]
    if algorithm == "xxh3-128" and not xxhsum_escapes(work):  # it knows no newline before 0.8.2
        return [*ODD_NAMES, "at the end\r", *(name for name in ESCAPED_NAMES if "\n" not in name), "\\first", "last\\", "\\n"]
    return [*ODD_NAMES, "at the end\r", *ESCAPED_NAMES, "\\first", "last\\", "\\n"]


def xxhsum_escapes(work: Path) -> bool:
    needs("xxhsum")
    (work / "x\\").touch()
    escapes = run(["xxhsum", "-q", "x\\"], work).out.startswith("\\")
    (work / "x\\").unlink()
    return escapes


@pytest.mark.parametrize(
    ("algorithm", "make"), [(algorithm, make) for algorithm in ALGORITHMS for make in TOOLS[algorithm][:2] if make]
)
def test_it_accepts_the_lines_of_other_tools(algorithm: str, make: list[str], work: Path) -> None:
    needs(make[0])
    names = ODD_NAMES + (ESCAPED_NAMES if algorithm in ("sha256", "blake3") else [])
    fill(work, names)
    made = run([*make, *sorted(names)], work)
    assert made.code == 0, made
    (work / "list").write_bytes(os.fsencode(made.out))
    done = vhpack("hash", "--check", "list", cwd=work)
    assert done.code == 0, done
    assert done.out.count(": OK\n") == len(names)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_accepts_its_own_lines_whatever_the_names(algorithm: str, work: Path) -> None:
    fill(work / "d", ODD_NAMES + ESCAPED_NAMES + ["at the end\r"])
    (work / os.fsdecode(b"d/\xff")).write_text("no UTF-8")
    (work / "-").write_text("no standard input")
    done = vhpack("hash", "*", "--algorithm", algorithm, cwd=work)
    assert "  ./-\n" in done.out
    checked = vhpack("hash", "--check", "-", cwd=work, stdin=os.fsencode(done.out))
    assert checked.code == 0, checked
    assert checked.out.count(": OK\n") == done.out.count("\n") == len(ODD_NAMES + ESCAPED_NAMES) + 3


def test_paths_are_shown_as_one_named_them(work: Path) -> None:
    fill(work, ["in/d/a", "in/b", "beside/c"])
    here = work / "in"
    assert list(parsed(vhpack("hash", "d", "b", cwd=here).out)) == ["b", "d/a"]
    assert list(parsed(vhpack("hash", "./d/", "d/../b", cwd=here).out)) == ["b", "d/a"]
    assert list(parsed(vhpack("hash", "../beside", cwd=here).out)) == ["../beside/c"]
    assert list(parsed(vhpack("hash", here, cwd=here).out)) == [f"{here}/b", f"{here}/d/a"]
    assert list(parsed(vhpack("hash", "**", "d", cwd=here).out)) == ["b", "d/a"]


def test_the_order_is_that_of_the_paths_with_any_number_of_threads(work: Path) -> None:
    names = ["a/z", "a.txt", "a/b/c", "a-", "b/1", *(f"many/{number}" for number in range(700))]
    fill(work, names)
    (work / "many/7").write_bytes(bytes(20_000_000))
    outs = {vhpack("hash", ".", "--jobs", jobs, cwd=work).out for jobs in ("1", "2", "7")}
    assert len(outs) == 1
    assert list(parsed(outs.pop())) == sorted(names)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_lone_dash_is_standard_input(algorithm: str, work: Path) -> None:
    content = bytes(range(256)) * 5000
    done = vhpack("hash", "-", "--algorithm", algorithm, cwd=work, stdin=content)
    assert (done.code, done.out) == (0, f"{digest(algorithm, content)}  -\n")


def test_a_check_says_what_differs_and_what_is_missing(work: Path) -> None:
    fill(work, ["1", "2", "3", "4"])
    (work / "list").write_text(vhpack("hash", ".", cwd=work).out + "this is no line\n")
    (work / "2").write_text("other")
    (work / "3").unlink()
    (work / "4").unlink()
    (work / "4").mkdir()
    done = vhpack("hash", "--check", "list", cwd=work)
    assert done.code == 1
    assert done.out == "1: OK\n2: FAILED\n3: FAILED open or read\n4: FAILED open or read\n"
    assert done.err.splitlines() == [
        "Error: 1 file with another digest than the list's",
        "Error: 2 listed files missing or unreadable",
        "Error: 1 line without a digest and a name; the first is line 5",
    ]
    assert vhpack("hash", "--check", "list", "-q", cwd=work).out == done.out.removeprefix("1: OK\n")
    found = json.loads(vhpack("hash", "--check", "list", "--json", cwd=work).out)
    assert (found["same"], found["differing"], found["unreadable"], found["malformed"]) == (1, 1, 2, [5])
    assert [failed["path"] for failed in found["failed"]] == ["2", "3", "4"]


def test_sixty_four_digits_are_sha256_or_blake3_unless_one_is_named(work: Path) -> None:
    fill(work, ["a", "b"])
    for algorithm, other in (("sha256", "blake3"), ("blake3", "sha256")):
        lines = os.fsencode(vhpack("hash", "a", "b", "--algorithm", algorithm, cwd=work).out)
        assert vhpack("hash", "--check", "-", cwd=work, stdin=lines).code == 0
        assert vhpack("hash", "--check", "-", "--algorithm", algorithm, cwd=work, stdin=lines).code == 0
        assert vhpack("hash", "--check", "-", "--algorithm", other, cwd=work, stdin=lines).code == 1


def test_lists_from_other_systems_are_read(work: Path) -> None:
    fill(work, ["a", "b"])
    lines = vhpack("hash", "a", "b", cwd=work).out
    done = vhpack("hash", "--check", "-", cwd=work, stdin=lines.replace("\n", "\r\n").encode())
    assert (done.code, done.out) == (0, "a: OK\nb: OK\n")


def test_a_list_that_is_none_is_a_failure(work: Path) -> None:
    (work / "list").write_text("# only a comment\n")
    assert vhpack("hash", "--check", "list", cwd=work).code != 0
    missing = vhpack("hash", "--check", "missing", "--json", cwd=work)
    assert missing.code == 1
    assert json.loads(missing.out)["error"]["kind"] == "not_found"


def test_a_file_that_cannot_be_read_fails_and_the_others_are_hashed(work: Path) -> None:
    fill(work, ["a", "b", "c"])
    (work / "b").chmod(0)
    done = run([*ordinary_user(), VHPACK, "hash", "."], work)
    assert done.code == 1
    assert list(parsed(done.out)) == ["a", "c"]
    assert "`b`" in done.err
    assert "Permission denied" in done.err
    assert run([*ordinary_user(), VHPACK, "hash", ".", "--json"], work).code == 1


@pytest.mark.parametrize("sources", [["missing"], ["*.png"], ["fifo"], ["empty"]])
def test_sources_without_files_are_one_line_and_status_1(sources: list[str], work: Path) -> None:
    os.mkfifo(work / "fifo")
    (work / "empty").mkdir()
    done = vhpack("hash", *sources, cwd=work)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--check", "b"], ["--check", "b", "--hidden"], ["a", "--algorithm", "md5"], ["a", "--jobs", "0"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], work: Path) -> None:
    assert vhpack("hash", *arguments, cwd=work).code == 2


def test_what_wildcards_leave_out_is_said(work: Path) -> None:
    fill(work, ["a.png", "a.png.metadata.json", ".hidden"])
    done = vhpack("hash", "*", cwd=work)
    assert list(parsed(done.out)) == ["a.png"]
    assert "Left out 1:" in done.err
    assert list(parsed(vhpack("hash", "*", "--hidden", "--exclude", "*.png", "-q", cwd=work).out)) == [".hidden"]
    assert len(parsed(vhpack("hash", ".", cwd=work).out)) == 3


def test_json_is_one_object(work: Path) -> None:
    fill(work, ["d/a", "d/b"])
    report = json.loads(vhpack("hash", "d", "--json", cwd=work).out)
    assert (report["algorithm"], report["files"], report["bytes_in"]) == ("xxh3-128", 2, 1000)
    assert report["digests"] == {
        "d/a": digest("xxh3-128", (work / "d/a").read_bytes()),
        "d/b": digest("xxh3-128", (work / "d/b").read_bytes()),
    }


def test_a_terminal_is_shown_names_and_never_obeys_them(work: Path) -> None:
    (work / "red\x1b[31m").touch()
    ours, theirs = pty.openpty()
    process = subprocess.Popen([VHPACK, "hash", "."], cwd=work, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    assert process.wait(60) == 0
    got = os.read(ours, 65536)
    os.close(ours)
    assert b"\x1b" not in got
    assert b"red\\x1b[31m" in got


def test_a_reader_that_has_gone_is_no_traceback(work: Path) -> None:
    fill(work, [f"a rather long name, so that a pipe does not take all of them {number}" for number in range(20)])
    for number in range(2000):
        (work / f"another rather long name, so that a pipe does not take all of them {number}").touch()
    process = subprocess.Popen([VHPACK, "hash", "."], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert said == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", ["huge", "-"])
@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_a_signal_ends_it_with_its_status(source: str, algorithm: str, number: signal.Signals, work: Path) -> None:
    with open(work / "huge", "wb") as file:
        file.truncate(1 << 40)  # a hole, which takes minutes to read and no disk
    process = subprocess.Popen(
        [VHPACK, "hash", source, "--algorithm", algorithm],
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1)
    process.send_signal(number)
    wait_until(lambda: process.poll() is not None)
    out, said = process.communicate()
    assert (process.returncode, out) == (128 + number, b"")
    assert said == b"Error: interrupted\n"


def test_a_list_of_md5_is_told_from_files_that_changed(work: Path) -> None:
    Path("a").write_bytes(b"content")
    Path("sums").write_text(f"{hashlib.md5(b'content').hexdigest()}  a\n")
    done = vhpack("hash", "--check", "sums", cwd=work)
    assert done.code == 1
    assert "md5sum -c" in done.err
    Path("sums").write_text(f"{xxhash.xxh3_128(b'other').hexdigest()}  a\n{xxhash.xxh3_128(b'').hexdigest()}  b\n")
    Path("b").write_bytes(b"")
    assert "md5sum" not in vhpack("hash", "--check", "sums", cwd=work).err
