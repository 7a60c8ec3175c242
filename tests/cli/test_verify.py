"""`vhpack verify`: sound archives pass, damaged ones are named, and the exit status tells."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

import vhpack as vhpack_package
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


@pytest.fixture(params=["zip", "tar", "tar.gz", "tar.zst"])
def packed(request: pytest.FixtureRequest, work: Path) -> Path:
    """An archive with a manifest, of files, a link and an empty folder."""
    for name, content in contents().items():
        path = work / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (work / "tree/link").symlink_to("empty")
    (work / "tree/nothing").mkdir()
    archive = work / f"made.{request.param}"
    vhpack_package.pack(work / "tree", archive, manifest=True, symlinks="store")
    return archive


def verify(archive: Path) -> dict[str, Any]:
    done = vhpack("verify", "--manifest", "--json", archive.name, cwd=archive.parent)
    found: dict[str, Any] = json.loads(done.out)
    assert done.code == (0 if found["ok"] else 1)
    return found


def test_an_archive_is_what_its_manifest_says(packed: Path) -> None:
    found = verify(packed)
    assert (found["ok"], found["damaged"], found["changed"]) == (True, [], [])


def test_another_archive_than_the_manifest_s_is_noticed_member_by_member(packed: Path) -> None:
    manifest = Path(f"{packed}.manifest.jsonl")
    kept = manifest.read_text()
    tree = packed.parent / "tree"
    (tree / "00.json").write_text("new bytes")
    (tree / "01.json").write_bytes(bytes(90))
    (tree / "02.json").unlink()
    (tree / "03.txt").write_text("more")
    vhpack_package.pack(tree, packed, force=True, symlinks="store")
    manifest.write_text(kept)
    found = verify(packed)
    assert (found["ok"], found["damaged"]) == (False, [])
    assert {change["name"] for change in found["changed"]} == {"00.json", "01.json", "02.json", "03.txt", packed.name}
    done = vhpack("verify", "--manifest", packed.name, cwd=packed.parent)
    assert (done.code, done.out) == (1, f"{packed.name}: FAILED\n")
    assert "5 differences from the manifest" in done.err
    assert vhpack("verify", packed.name, cwd=packed.parent).code == 0


@pytest.mark.parametrize("field", ["size", "offset", "packed", "crc32", "xxh3-128"])
def test_a_line_that_lies_is_noticed_beside_an_archive_that_is_as_it_was(field: str, packed: Path) -> None:
    manifest = Path(f"{packed}.manifest.jsonl")
    head, *lines = map(json.loads, manifest.read_text().splitlines())
    for name in ("03.json", "link"):
        changed = [dict(line) for line in lines]
        [line] = [line for line in changed if line["name"] == name]
        line[field] = line[field] + 1 if isinstance(line[field], int) else line[field][::-1]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in [head, *changed]))
        found = verify(packed)
        if name == "link" and field in ("size", "packed"):
            continue  # a tar keeps a link's path in its header, and so no bytes of it
        [change] = found["changed"]
        assert (found["ok"], change["name"]) == (False, name)
        assert change["reason"].startswith(f"{field} is ")


def test_a_damaged_manifest_is_told_with_its_line(packed: Path) -> None:
    manifest = Path(f"{packed}.manifest.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    for number, line, reason in [
        (3, lines[2].replace('"size":', '"Size":'), "missing field `size`"),
        (4, lines[3][:20] + "\n", "EOF"),
        (2, lines[2], "lists a name twice"),
    ]:
        manifest.write_text("".join([*lines[: number - 1], line, *lines[number:]]))
        found = verify(packed)
        assert found["error"]["kind"] == "corrupt"
        place = manifest.name if reason.startswith("lists") else f"line {number}: "
        for part in (reason, manifest.name, place):
            assert part in found["error"]["message"]


def test_bytes_behind_the_archive_are_noticed(packed: Path) -> None:
    with packed.open("ab") as file:
        file.write(bytes(512))
    done = vhpack("verify", "--manifest", packed.name, cwd=packed.parent)
    assert done.code == 1, done


@pytest.mark.parametrize(
    ("manifest", "kind"),
    [
        (None, "not_found"),
        ("", "corrupt"),
        ("[1]\n", "corrupt"),
        ("no JSON\n", "corrupt"),
        ("[" * 100_000, "corrupt"),
        ('{"name":"a"}\n', "corrupt"),
        ('{"vhpack_manifest":1,"members":7}\n', "corrupt"),
        ('{"vhpack_manifest":2}\n', "unsupported"),
        ("\udcff", "corrupt"),
    ],
)
def test_a_manifest_that_is_none_fails_the_archive(manifest: str | None, kind: str, work: Path) -> None:
    make(work / "made.zip")
    if manifest is not None:
        (work / "made.zip.manifest.jsonl").write_bytes(os.fsencode(manifest))
    found = verify(work / "made.zip")
    assert (found["ok"], found["error"]["kind"]) == (False, kind)
