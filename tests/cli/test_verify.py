"""`vhpack verify`: sound archives pass, damaged ones are named, and the exit status tells."""

import json
import zipfile
from pathlib import Path

import pytest

from tests.engine.command import vhpack
from tests.reading.made import FORMATS, contents, make


def damaged(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good", b"x" * 5000)
        archive.writestr("bad\x1b[31m", b"z" * 5000)
    path.write_bytes(path.read_bytes().replace(b"z" * 5000, b"z" * 4999 + b"y"))
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_sound_archives_are_ok(kind: str, work: Path) -> None:
    make(work / f"made.{kind}")
    done = vhpack("verify", f"made.{kind}", cwd=work)
    assert (done.code, done.out) == (0, f"made.{kind}: OK\n"), done
    quiet = vhpack("verify", f"made.{kind}", "-q", cwd=work)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_damage_is_named_and_the_other_archives_are_verified(work: Path) -> None:
    damaged(work / "bad.zip")
    make(work / "good.zip")
    (work / "text.zip").write_text("no archive")
    done = vhpack("verify", "bad.zip", "missing.zip", "text.zip", "good.zip", cwd=work)
    assert done.code == 1
    assert done.out.splitlines() == ["bad.zip: FAILED", "missing.zip: FAILED", "text.zip: FAILED", "good.zip: OK"]
    assert "1 damaged member" in done.err
    assert "  bad\\x1b[31m (at byte " in done.err
    assert "\x1b" not in done.err
    assert "Traceback" not in done.err
    quiet = vhpack("verify", "bad.zip", "good.zip", "-q", cwd=work)
    assert (quiet.code, quiet.out) == (1, "bad.zip: FAILED\n")


def test_json_is_one_object_a_line(work: Path) -> None:
    damaged(work / "bad.zip")
    make(work / "good.zip")
    done = vhpack("verify", "bad.zip", "missing.zip", "good.zip", "--json", cwd=work)
    bad, missing, good = map(json.loads, done.out.splitlines())
    assert done.code == 1
    assert [damage["name"] for damage in bad["damaged"]] == ["bad\x1b[31m"]
    assert (bad["ok"], missing["ok"], good["ok"]) == (False, False, True)
    assert missing["error"]["kind"] == "not_found"
    assert (good["files"], good["damaged"]) == (len(contents()), [])


def test_no_archive_is_wrong_usage(work: Path) -> None:
    assert vhpack("verify", cwd=work).code == 2
