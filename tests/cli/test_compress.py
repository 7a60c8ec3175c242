"""`vhpack compress`: options, what it prints where, and its exit status."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.engine.command import compress


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def members(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def test_the_archive_is_named_after_the_common_folder(work: Path) -> None:
    fill(work, "resized/a.png", "resized/b.png")
    done = compress("resized/*.png", cwd=work)
    assert (done.code, done.out) == (0, "")
    assert members(work / "resized.zip") == ["a.png", "b.png"]
    assert (work / "resized/a.png").exists()


def test_the_closing_line_says_what_was_done(work: Path) -> None:
    fill(work, "resized/a.png", "resized/b.png")
    (work / "resized/c.txt").write_text("again " * 10_000)
    (line,) = compress("resized/*", cwd=work).err.splitlines()
    for part in ("resized.zip: 3 files, 60.0 kB → ", "%), ", " s, ", " MB/s, ", "2 stored, 1 deflated"):
        assert part in line


def test_json_is_one_object_on_stdout_and_nothing_else(work: Path) -> None:
    fill(work, "resized/a.png", "resized/x.metadata.json")
    done = compress("resized/*", "--json", cwd=work)
    report = json.loads(done.out)
    assert set(report) == {
        *(
            "target",
            "targets",
            "manifests",
            "files",
            "directories",
            "links",
            "bytes_in",
            "bytes_out",
            "seconds",
            "stored",
            "deflated",
            "zstd",
        ),
        *("resumed", "removed", "kept", "skipped", "warnings", "digest", "digests"),
    }
    assert report["target"] == str(work / "resized.zip")
    assert report["files"] == 1
    assert report["bytes_out"] == (work / "resized.zip").stat().st_size
    assert [skipped["path"] for skipped in report["skipped"]] == [str(work / "resized/x.metadata.json")]


def test_quiet_says_nothing_and_verbose_everything(work: Path) -> None:
    fill(work, "d/a.png", *(f"d/{number:02}.metadata.json" for number in range(12)))
    quiet = compress("d/*", "-q", cwd=work)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    usual = compress("d/*", "--force", cwd=work).err
    assert "Left out 12:" in usual
    assert "... and 2 more" in usual
    assert "\na.png\n" not in f"\n{usual}"
    verbose = compress("d/*", "--force", "-v", cwd=work).err
    assert verbose.startswith("a.png\n")
    assert verbose.count(".metadata.json") == 12


def test_quiet_and_verbose_together_are_wrong_usage(work: Path) -> None:
    assert compress("d", "-q", "-v", cwd=work).code == 2


def test_a_target_in_the_way_is_refused_without_force(work: Path) -> None:
    fill(work, "d/a.png", "d.zip")
    done = compress("d", cwd=work)
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert "d.zip" in done.err
    assert "--force" in done.err or "force" in done.err
    assert (work / "d.zip").read_text() == "content of d.zip"
    assert compress("d", "--force", cwd=work).code == 0


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["nothing/*.png"], "no_files"),
        (["missing.png"], "not_found"),
        (["d", "-o", "d.rar"], "unknown_format"),
        (["d", "-o", "folder.zip"], "target_is_directory"),
        (["d/a.png", "e/a.png", "--root", "d"], None),
        (["d", "-o", "missing/d.zip"], "not_found"),
    ],
)
def test_a_failure_is_status_1_one_line_and_one_object(arguments: list[str], kind: str | None, work: Path) -> None:
    fill(work, "d/a.png", "e/a.png")
    (work / "folder.zip").mkdir()
    before = sorted(os.listdir(work))
    done = compress(*arguments, "--json", cwd=work)
    assert done.code in ((1,) if kind else (1, 2))
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1
    error = json.loads(done.out)["error"]
    assert set(error) == {"kind", "message", "errno", "filename"}
    assert kind in (None, error["kind"])
    assert done.err == f"Error: {error['message']}\n"
    assert sorted(os.listdir(work)) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["d", "--level", "13"],
        ["d", "--jobs", "0"],
        ["d", "--memory", "lots"],
        ["d", "--memory", "0"],
        ["d", "--codec", "lzma"],
        ["d", "--symlinks", "maybe"],
        ["d", "-0"],
        ["d", "--no-such-option"],
        [""],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], work: Path) -> None:
    fill(work, "d/a.png")
    done = compress(*arguments, cwd=work)
    assert done.code == 2
    assert "Error: " in done.err
    assert "Traceback" not in done.err
    assert not (work / "d.zip").exists()


def test_dry_run_prints_the_members_and_writes_nothing(work: Path) -> None:
    fill(work, "d/a.png", "d/x/b.png")
    done = compress("d", "--dry-run", cwd=work)
    assert (done.code, done.out) == (0, "a.png\nx/b.png\n")
    assert "nothing was written" in done.err
    assert not (work / "d.zip").exists()


def test_dry_run_refuses_what_the_pack_would(work: Path) -> None:
    (work / "d").mkdir()
    (work / "d/a").write_text("x")
    (work / "d.zip.manifest.jsonl").mkdir()
    for options in (["--manifest"], ["--reproducible"], ["--memory", "9" * 5000]):
        environment = {"SOURCE_DATE_EPOCH": "9" * 5000}
        planned = compress("d", "--dry-run", *options, cwd=work, environment=environment)
        packed = compress("d", *options, cwd=work, environment=environment)
        assert planned.code == packed.code != 0, options
        assert planned.err == packed.err
        assert "Traceback" not in packed.err


def test_dry_run_as_json_holds_the_names_as_they_are(work: Path) -> None:
    fill(work, "d/a\nb.png")
    plan = json.loads(compress("d", "--dry-run", "--json", cwd=work).out)
    assert plan["members"] == ["a\nb.png"]
    assert plan["target"] == str(work / "d.zip")


def test_control_characters_in_names_reach_no_terminal(work: Path) -> None:
    fill(work, "d/a\nb\x1b[2J\u202ec.png", "d/\x07.metadata.json")
    assert compress("d/*", "--dry-run", cwd=work).out == "a\\nb\\x1b[2J\\u202ec.png\n"
    done = compress("d/*", "-v", "-o", "\x1bd.zip", cwd=work)
    assert done.code == 0
    failed = compress("\x1b[2J.png", cwd=work)
    assert failed.code == 1
    for said in (done.err, failed.err):
        assert not set(said) & {"\x1b", "\x07", "\u202e"}


def test_a_stray_byte_in_a_name_is_shown_as_an_escape(work: Path) -> None:
    (work / "d").mkdir()
    (work / os.fsdecode(b"d/caf\xe9.png")).write_text("x")
    done = compress("d", "--json", cwd=work)
    assert done.code == 1
    assert "caf\\xe9.png" in done.err
    assert json.loads(done.out)["error"]["kind"] == "unsafe_name"


def test_the_list_of_files_is_taken_literally(work: Path) -> None:
    fill(work, "d/a.png", "d/*.png", "d/-x.png", "d/ y .png")
    listed = b"d/*.png\n\nd/-x.png\nd/ y .png\n"
    assert compress("--files-from", "-", "-o", "z.zip", cwd=work, stdin=listed).code == 0
    assert members(work / "z.zip") == [" y .png", "*.png", "-x.png"]


def test_a_list_may_end_its_names_with_nul(work: Path) -> None:
    fill(work, "d/a\nb.png", "d/c.png")
    (work / "list").write_bytes(b"d/a\nb.png\0d/c.png\0")
    assert compress("--files-from", "list", "-0", "-o", "z.zip", cwd=work).code == 0
    assert members(work / "z.zip") == ["a\nb.png", "c.png"]


def test_a_list_and_sources_go_together(work: Path) -> None:
    fill(work, "d/a.png", "e/b.png")
    assert compress("d", "--files-from", "-", "-o", "z.zip", cwd=work, stdin=b"e/b.png").code == 0
    assert members(work / "z.zip") == ["d/a.png", "e/b.png"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["--files-from", "missing"], b"", 1, "missing"),
        (["--files-from", "."], b"", 1, "cannot read the list"),
        (["--files-from", "-"], b"", 1, "names none"),
        (["--files-from", "-"], b"\n\n", 1, "names none"),
        (["--files-from", "-"], b"d/a.png\0", 2, "-0"),
        (["--files-from", "-"], b"d/none.png\n", 1, "d/none.png"),
    ],
)
def test_a_bad_list_is_a_clear_failure(arguments: list[str], stdin: bytes, code: int, said: str, work: Path) -> None:
    fill(work, "d/a.png")
    done = compress(*arguments, "-o", "z.zip", "--json", cwd=work, stdin=stdin)
    assert done.code == code
    assert said in json.loads(done.out)["error"]["message"]
    assert not (work / "z.zip").exists()


def test_a_million_names_come_through_stdin(work: Path) -> None:
    names = [f"d/{number:03}.png" for number in range(1000)]
    fill(work, *names)
    listed = "\n".join(names * 1000).encode()
    done = compress("--files-from", "-", "-o", "z.zip", cwd=work, stdin=listed)
    assert done.code == 0, done.err
    assert len(members(work / "z.zip")) == 1000


def test_originals_go_only_when_asked_and_are_counted(work: Path) -> None:
    fill(work, "d/a.png", "d/b.png")
    done = compress("d", "--remove-originals", cwd=work)
    assert done.code == 0
    assert "2 originals removed" in done.err
    assert os.listdir(work / "d") == []


def test_originals_that_stay_are_a_failure_with_their_names(work: Path) -> None:
    fill(work, "real/a.png")
    (work / "linked").symlink_to("real")
    done = compress("linked/a.png", "-o", "z.zip", "--remove-originals", "-q", "--json", cwd=work)
    kept = json.loads(done.out)["kept"]
    if kept:
        assert done.code == 1
        assert done.err.startswith("Error: the archive is complete, but 1 original could not be removed")
    assert members(work / "z.zip") == ["a.png"]
    assert (work / "real/a.png").exists() is bool(kept)


def test_settings_reach_the_engine(work: Path) -> None:
    fill(work, "d/a.txt", "d/b.tmp", "d/.hidden", "d/x/c.txt")
    (work / "d/a.txt").write_text("again " * 1000)
    options = ["--exclude", "*.tmp", "--exclude", "x", "--root", ".", "--codec", "store", "--reproducible", "--durable"]
    done = compress(
        *("d/**", "--hidden", "-o", "z.zip", *options, "--jobs", "2", "--memory", "24MiB", "--level", "3"),
        *("--symlinks", "store", "--on-change", "skip"),
        cwd=work,
        environment={"SOURCE_DATE_EPOCH": "1000000000"},
    )
    assert done.code == 0, done.err
    with zipfile.ZipFile(work / "z.zip") as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == ["d/.hidden", "d/a.txt"]
    assert {(entry.compress_type, entry.date_time[0]) for entry in entries} == {(zipfile.ZIP_STORED, 2001)}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["d", "--level", "13"],
        ["d", "-0"],
        ["d", "-q", "-v"],
        ["d", "--no-such-option"],
        ["d", "--jobs", "5000"],
        ["d", "--align", "5000"],
    ],
)
def test_wrong_usage_is_an_object_too_where_json_is_wanted(work: Path, wrong: list[str]) -> None:
    done = compress(*wrong, "--json", cwd=work)

    assert done.code == 2
    error = json.loads(done.out)["error"]
    assert error["kind"] == "usage"
    assert error["message"] in done.err
