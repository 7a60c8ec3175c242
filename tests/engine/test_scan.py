"""A pattern takes exactly the files that Python's own glob takes."""

from __future__ import annotations

import fnmatch
import glob
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import vhpack
from tests.conftest import SOAK
from tests.engine.command import compress
from tests.engine.trees import write_tree
from vhpack import _engine

EXAMPLES = 6000 if SOAK else 300
PROFILE = settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK, suppress_health_check=[HealthCheck.too_slow])

NAMES = ["a", "b", "ab", "a.b", "b.txt", ".h", ".h.txt", "[a]", "a-b", "-", "]", "[", "é", "!a", "*", "?", "a\\b", "A", "**"]
WORDS = [
    *("*", "**", "?", "??", "a*", "*b", "*.b", "*.txt", ".*", ".h*", "a**", "***", "*a*b*"),
    *("[ab]", "[!a]", "[]-]", "[z-a]", "[!z-a]", "[a-]", "[[]a]", "[", "[]", "[!]", "[!]a]", "[]", "[a-bA-B]", "[.]h"),
    *("[!.]*", "?h", "[a", "a]", "[a-a-b]", "[--]", "[!-]", "[\\\\]", "a[\\]b", "[é]", "[^a]", "[a/b]", "[]a-]*"),
]


def matched_by_python(base: str, pattern: str, *, hidden: bool) -> set[str]:
    """Files that glob finds, named as the archive would name them: relative to the literal folder of the pattern."""
    full = os.path.join(base, pattern)
    prefix: list[str] = []
    for part in full.split("/")[:-1]:
        if glob.has_magic(part):
            break
        prefix.append(part)
    folder = "/".join(prefix)
    # Python 3.10 does not know the argument, and is not asked to.
    also: dict[str, Any] = {"include_hidden": True} if hidden else {}
    if os.path.lexists(full):
        found = glob.glob(f"{glob.escape(full)}/*", **also) if os.path.isdir(full) else [full]
        folder = full if os.path.isdir(full) else os.path.dirname(full)
    else:
        found = glob.glob(full, recursive=True, **also)
    return {os.path.relpath(path, folder) for path in found if os.path.isfile(path)}


def matched_by_us(base: str, pattern: str, *, hidden: bool) -> set[str]:
    source = os.fsencode(os.path.join(base, pattern))
    try:
        planned = _engine.plan(source, b"", os.fsencode(f"{base}.zip"), layout="outputs", hidden=hidden)
    except vhpack.NoFilesError:
        return set()
    assert len(set(planned.members)) == len(planned.members)
    assert planned.files == len(planned.members)
    return set(planned.members)


paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


def spread(base: Path, files: Sequence[str], folders: Sequence[str]) -> None:
    """Make what can be made: a name that is a file already is no folder, and the other way round."""
    for name in files:
        if not any(parent.is_file() for parent in (base / name).parents) and not (base / name).is_dir():
            write_tree(base, {name: b"x"})
    for name in folders:
        if not any(parent.is_file() for parent in [base / name, *(base / name).parents]):
            write_tree(base, {name: None})


@PROFILE
@given(
    files=st.lists(paths, min_size=1, max_size=8),
    folders=st.lists(paths, max_size=2),
    words=st.lists(st.sampled_from([*WORDS, *NAMES, "**", "*"]), min_size=1, max_size=4),
    slash=st.booleans(),
    hidden=st.booleans() if sys.version_info >= (3, 11) else st.just(value=False),
)
@example(files=["a/b", "a/.h"], folders=[], words=["**"], slash=False, hidden=False)
@example(files=["a/b", "a/.h"], folders=["b"], words=["**", "**"], slash=False, hidden=False)
@example(files=["]", "-", "a"], folders=[], words=["[]-]"], slash=False, hidden=False)
@example(files=["a/b"], folders=[], words=["*"], slash=True, hidden=False)
def test_a_pattern_takes_the_files_that_glob_takes(
    files: list[str], folders: list[str], words: list[str], slash: bool, hidden: bool
) -> None:
    pattern = "/".join(words) + "/" * slash
    with tempfile.TemporaryDirectory() as ground:
        base = Path(ground, "base")
        base.mkdir()
        spread(base, files, folders)

        assert matched_by_us(str(base), pattern, hidden=hidden) == matched_by_python(str(base), pattern, hidden=hidden)


@PROFILE
@given(
    files=st.lists(paths, min_size=1, max_size=6),
    words=st.lists(st.sampled_from(["*", "**", "a", "b", ".", "..", "", "[ab]", "?", "a.b"]), min_size=2, max_size=5),
)
@example(files=["a/b", "b/b"], words=["*", "..", "*", "b"])
@example(files=["a/b"], words=["a", "..", "a", ".", "*"])
@example(files=["a/b"], words=["*", "", "b"])
@example(files=["a/b", "?"], words=["?", "."])
def test_dots_and_empty_components_mean_what_they_mean_to_glob(files: list[str], words: list[str]) -> None:
    pattern = "/".join(words)
    depths = [-1 if word == ".." else int(word not in (".", "", "**")) for word in words]
    assume(not pattern.startswith("/"))
    assume(min(sum(depths[:end]) for end in range(len(depths) + 1)) >= 0)  # nothing above `base` is ours to look at
    with tempfile.TemporaryDirectory() as ground:
        base = Path(ground, "base")
        base.mkdir()
        spread(base, files, [])
        wanted = matched_by_python(str(base), pattern, hidden=False)
        assume(not any(name.startswith("..") for name in wanted))

        assert matched_by_us(str(base), pattern, hidden=False) == wanted


@PROFILE
@given(
    files=st.lists(paths, min_size=1, max_size=5),
    links=st.lists(st.tuples(st.sampled_from(["l", ".l", "b"]), st.sampled_from(["out", "out/x", "nowhere"])), max_size=2),
    words=st.lists(st.sampled_from(["*", "**", "l", "[l]", "x", "sub", "?", "*l"]), min_size=1, max_size=4),
    slash=st.booleans(),
)
@example(files=["a/b"], links=[("l", "out")], words=["**"], slash=False)
@example(files=["a/b"], links=[("l", "out")], words=["*", "*"], slash=False)
@example(files=["a/b"], links=[("l", "nowhere"), ("b", "out/x")], words=["*"], slash=False)
def test_links_are_followed_where_glob_follows_them(
    files: list[str], links: list[tuple[str, str]], words: list[str], slash: bool
) -> None:
    pattern = "/".join(words) + "/" * slash
    with tempfile.TemporaryDirectory() as ground:
        base = Path(ground, "base")
        write_tree(Path(ground), {"base": None, "out/x": b"x", "out/.y": b"y", "out/sub/x": b"z"})
        spread(base, files, [])
        for name, aim in links:
            if not os.path.lexists(base / name):
                (base / name).symlink_to(Path(ground, aim))

        assert matched_by_us(str(base), pattern, hidden=False) == matched_by_python(str(base), pattern, hidden=False)


LETTERS = ["a", "b", "-", "]", "!", "^", "\\", "."]


@pytest.fixture(scope="module")
def short_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each name of one and of two letters."""
    folder = tmp_path_factory.mktemp("short")
    for name in [*LETTERS, *(one + two for one in LETTERS for two in LETTERS)]:
        if name not in (".", ".."):
            (folder / name).touch()
    return folder


@settings(parent=PROFILE, max_examples=10 * EXAMPLES)
@given(pattern=st.text(alphabet=["a", "b", "-", "]", "!", "^", "\\", ".", "[", "[", "*", "?"], min_size=1, max_size=7))
@example(pattern="[a-]")
@example(pattern="[]-a]")
@example(pattern="[!]-]?")
@example(pattern="[b-a]")
@example(pattern="[!b-a]")
@example(pattern="[--a]")
@example(pattern="[\\-]]")
def test_sets_mean_what_they_mean_to_glob(short_names: Path, pattern: str) -> None:
    assert matched_by_us(str(short_names), pattern, hidden=False) == matched_by_python(str(short_names), pattern, hidden=False)


@PROFILE
@given(
    files=st.lists(paths, min_size=1, max_size=8),
    exclude=st.lists(
        st.lists(st.sampled_from([*WORDS, "a", "b", ".h", "**"]), min_size=1, max_size=3).map("/".join), min_size=1, max_size=2
    ),
)
@example(files=["a/b", "b/a", "b/b"], exclude=["a"])
@example(files=["a/b/.h", "b/a"], exclude=["a/**"])
@example(files=["a/b/a.b", "a.b"], exclude=["**/a.b"])
def test_exclude_leaves_out_what_its_patterns_match(files: list[str], exclude: list[str]) -> None:
    with tempfile.TemporaryDirectory() as ground:
        base = Path(ground, "base")
        base.mkdir()
        spread(base, files, [])
        there = {os.path.relpath(path, base) for path in base.rglob("*") if path.is_file()}
        wanted = {name for name in there if not any(excluded(name, pattern) for pattern in exclude)}
        try:
            planned = _engine.plan(
                os.fsencode(base), b"", os.fsencode(f"{base}.zip"), exclude=[os.fsencode(pattern) for pattern in exclude]
            )
        except vhpack.NoFilesError:
            assert not wanted
        else:
            assert {name for name in planned.members if not name.endswith("/")} == wanted


def excluded(name: str, pattern: str) -> bool:
    """Whether a pattern leaves out a member, or a folder above it."""
    parts = name.split("/")
    if "/" not in pattern:
        return any(component_matches(part, pattern) for part in parts)
    return any(path_matches(parts[:end], pattern.split("/")) for end in range(1, len(parts) + 1))


def component_matches(part: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(part, pattern)


def path_matches(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(path_matches(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and component_matches(parts[0], patterns[0]) and path_matches(parts[1:], patterns[1:])


@pytest.mark.parametrize(
    "pattern", ["runs/*", "runs/**/checkpoints", "runs/**/ck*", "runs/**/*", "runs/*/**/c*", "runs/**/a/../c*", "runs/**/*/"]
)
def test_a_quoted_pattern_packs_what_the_list_of_it_does(work: Path, pattern: str) -> None:
    """Folders that are matched are taken whole, hidden files and empty folders too, and nothing twice."""
    files = ["top", "a/x", "a/.h", "a/checkpoints/1", "a/checkpoints/.h/2", "b/c/checkpoints/3", "b/c/a/ck", "c/ck/ck/ck"]
    write_tree(work / "runs", {**dict.fromkeys(files, b"x"), "b/checkpoints": None, ".hidden/checkpoints": None})
    found = glob.glob(pattern, root_dir=work, recursive=True)

    quoted = compress(pattern, "-o", "quoted.zip", "--root", "runs", cwd=work)
    listed = compress(*sorted(found), "-o", "listed.zip", "--root", "runs", cwd=work)

    assert quoted.code == listed.code == 0, (quoted, listed)
    assert (work / "quoted.zip").read_bytes() == (work / "listed.zip").read_bytes()


@pytest.mark.parametrize(("pattern", "takes"), [("?.txt", True), ("??.txt", False), ("*.txt", True), ("[!a].txt", True)])
def test_a_byte_that_is_not_utf8_is_one_character_to_a_pattern(work: Path, pattern: str, takes: bool) -> None:
    (work / os.fsdecode(b"\xff.txt")).write_bytes(b"x")
    assert bool(glob.glob(pattern)) == takes

    with pytest.raises(vhpack.MemberNameError if takes else vhpack.NoFilesError):
        vhpack.pack(pattern, "out.zip")


def test_a_pattern_reaches_only_the_folders_that_it_names(work: Path) -> None:
    """A closed folder beside the named one is nobody's business."""
    write_tree(work, {"data/train/a.txt": b"a", "data/shut/b.txt": b"b"})
    (work / "data/shut").chmod(0)
    try:
        planned = _engine.plan(b"data/train/*.txt", b"", b"out.zip")
    finally:
        (work / "data/shut").chmod(0o755)
    assert planned.members == ["a.txt"]
