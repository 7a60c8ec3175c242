"""The decorator on plain classes, on tasks of luigi and on tasks of luisy: each reads its own files, and nobody else's."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.trees import write_tree

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    luigi: Any = importlib.import_module("luigi")
    # It brings Spark, and is installed by `make soak` alone.
    HAS_LUISY = importlib.util.find_spec("luisy") is not None
    if HAS_LUISY:
        luisy: Any = importlib.import_module("luisy")


def read(path: str) -> str:
    return Path(path).read_text()


class Plain:
    pass


@pytest.fixture(params=["plain", "luigi", *(["luisy"] if HAS_LUISY else [])])
def kind(request: pytest.FixtureRequest, work: Path) -> Any:
    """A class to decorate tasks of, whose folders are below `work`."""
    if request.param == "luisy":
        luisy.config.Config().set_param("working_dir", str(work))
        return luisy.ExternalTask
    return luigi.ExternalTask if request.param == "luigi" else Plain


def task(base: type, folder: str, decorate: Any) -> Any:
    """An instance of a task with that folder."""
    namespace = {"get_folder_name": lambda self: folder, "__module__": __name__}
    # luigi knows tasks by their names.
    cls: Any = decorate(type(f"Task{len(TASKS)}", (base,), namespace))
    TASKS.append(cls)
    return cls()


TASKS: list[type] = []


def test_files_are_read_one_by_one_in_the_order_of_their_names(work: Path, kind: type) -> None:
    write_tree(work / "data", {f"{number}.txt": b"%d" % number for number in (3, 1, 2)})
    asked = []

    def note(path: str) -> str:
        asked.append(path)
        return read(path)

    made = task(kind, "data", vhpack.make_directory_output(note))
    reading = made.output().read()
    assert asked == []
    assert next(reading) == "1"
    assert [os.path.basename(path) for path in asked] == ["1.txt"]
    assert list(reading) == ["2", "3"]
    assert list(made.read()) == ["1", "2", "3"]


def test_two_decorated_classes_never_share_reader_or_pattern(work: Path, kind: type) -> None:
    write_tree(work / "data", {"a.png": b"png", "b.txt": b"txt"})
    first = task(kind, "data", vhpack.make_directory_output(lambda path: ("first", read(path)), r"\.png$"))
    second = task(kind, "data", vhpack.make_directory_output(lambda path: ("second", read(path)), regex_pattern=r"\.txt$"))
    third = task(kind, "data", vhpack.make_directory_output(read))
    assert first.target_cls is not second.target_cls
    assert [list(each.output().read()) for each in (first, second, third)] == [
        [("first", "png")],
        [("second", "txt")],
        ["png", "txt"],
    ]


def test_only_none_is_passed_over(work: Path, kind: type) -> None:
    write_tree(work / "data", {str(number): b"" for number in range(5)})
    values: Iterator[Any] = iter([0, None, "", False, []])
    made = task(kind, "data", vhpack.make_directory_output(lambda path: next(values)))
    assert list(made.read()) == [0, "", False, []]


def test_folders_below_are_read_on_request_and_never_handed_over(work: Path, kind: type) -> None:
    write_tree(work / "data", {"a.txt": b"a", "sub.txt/b.txt": b"b", "sub.txt/c.png": b"c"})
    flat = task(kind, "data", vhpack.make_directory_output(read, r"\.txt$"))
    deep = task(kind, "data", vhpack.make_directory_output(read, r"\.txt$", recursive=True))
    assert (list(flat.read()), list(deep.read())) == (["a"], ["a", "b"])


def test_the_pattern_is_searched_in_the_name_alone(work: Path, kind: type) -> None:
    write_tree(work / "data-2024", {"x2024y.txt": b"yes", "other.txt": b"no"})
    made = task(kind, "data-2024", vhpack.make_directory_output(read, "2024"))
    assert list(made.read()) == ["yes"]


def test_a_reader_that_raises_names_the_file(work: Path, kind: type) -> None:
    write_tree(work / "data", {"a.txt": b"a", "b.txt": b"\xff", "c.txt": b"c"})
    made = task(kind, "data", vhpack.make_directory_output(read))
    reading = made.output().read()
    assert next(reading) == "a"
    with pytest.raises(vhpack.FunctionError, match=r"data/b\.txt: UnicodeDecodeError") as caught:
        next(reading)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    skipping = task(kind, "data", vhpack.make_directory_output(read, on_error="skip")).output()
    assert list(skipping.read()) == ["a", "c"]
    assert [(os.path.basename(path), type(error)) for path, error in skipping.skipped] == [("b.txt", UnicodeDecodeError)]


def test_a_missing_folder_is_not_complete_and_an_empty_one_is(work: Path, kind: type) -> None:
    made = task(kind, "data", vhpack.make_directory_output(read))
    strict = task(kind, "data", vhpack.make_directory_output(read, need_manifest=True))
    assert not made.complete()
    with pytest.raises(ValueError, match=r"complete|executed first"):
        list(made.read())
    with pytest.raises(FileNotFoundError, match="data"):
        list(made.output().read())
    (work / "data").mkdir()
    assert made.complete()
    assert list(made.read()) == []
    assert not strict.complete()


def test_a_committed_directory_is_complete_as_long_as_all_of_it_is_there(work: Path, kind: type) -> None:
    made = task(kind, "data", vhpack.make_directory_output(read, need_manifest=True))
    made.output().write({"a.txt": b"a", "b.txt": b"b"})
    assert made.complete()
    (work / "data/stray.txt").write_bytes(b"stray")
    assert list(made.read()) == ["a", "b"]
    (work / "data/b.txt").write_bytes(b"longer")
    assert not made.complete()
    (work / "data/b.txt").unlink()
    assert not made.complete()


def test_who_reads_while_the_directory_is_replaced_gets_no_mix(work: Path, kind: type) -> None:
    made = task(kind, "data", vhpack.make_directory_output(read, on_error="skip"))
    made.write(dict.fromkeys(("a.txt", "b.txt", "c.txt"), b"old"))
    reading = made.read()
    assert next(reading) == "old"
    made.write(dict.fromkeys(("a.txt", "b.txt"), b"new"))
    with pytest.raises(vhpack.SourceChangedError, match="data was replaced while it was read"):
        list(reading)
    assert list(made.read()) == ["new", "new"]


def test_a_task_writes_its_directory_as_a_whole(work: Path, kind: type) -> None:
    made = task(kind, "data", vhpack.make_directory_output(read))
    made.write([("a.txt", b"old"), ("b.txt", b"old")])
    made.write({"a.txt": b"new"})
    assert list(made.read()) == ["new"]

    def broken() -> Any:
        yield "a.txt", b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made.write(broken())
    assert list(made.read()) == ["new"]


def test_only_a_committed_directory_is_removed(work: Path, kind: type) -> None:
    write_tree(work / "data", {"mine.txt": b"mine"})
    target = task(kind, "data", vhpack.make_directory_output(read)).output()
    with pytest.raises(vhpack.OptionError, match="by hand"):
        target.remove()
    other = task(kind, "other", vhpack.make_directory_output(read)).output()
    other.remove()
    other.write({"a/b.txt": b"b"})
    (work / "other/stray").touch()
    with pytest.raises(vhpack.OptionError, match="stray"):
        other.remove()
    (work / "other/stray").unlink()
    other.remove()
    assert sorted(path.name for path in work.iterdir()) == ["data"]
    assert (work / "data/mine.txt").exists()


def test_what_cannot_be_decorated_is_refused(kind: type) -> None:
    with pytest.raises(ValueError, match="get_folder_name"):
        vhpack.make_directory_output(read)(type("Nameless", (kind,), {"__module__": __name__}))
    for wrong in ({"read_file_func": 7}, {"regex_pattern": "("}, {"regex_pattern": 7}, {"on_error": "ignore"}):
        with pytest.raises(vhpack.OptionError, match=next(iter(wrong))):
            vhpack.make_directory_output(**{"read_file_func": read, **wrong})  # type: ignore[arg-type]


# --- with luigi and luisy ---------------------------------------------------------------------------------------------------------


def test_a_task_of_luigi_that_is_not_external_is_refused() -> None:
    with pytest.raises(ValueError, match="only works on ExternalTasks"):
        vhpack.make_directory_output(read)(type("Internal", (luigi.Task,), {"get_folder_name": lambda self: ""}))


def test_luigi_takes_the_directory_for_one_target_and_builds_what_requires_it(work: Path) -> None:
    write_tree(work / "data", {"a.txt": b"a", "b.txt": b"b"})
    source = type(task(luigi.ExternalTask, "data", vhpack.make_directory_output(read)))
    target = source().output()
    assert luigi.task.flatten(target) == [target]
    assert isinstance(target, luigi.LocalTarget)

    class Joined(luigi.Task):  # type: ignore[misc]
        def requires(self) -> Any:
            return source()

        def output(self) -> Any:
            return luigi.LocalTarget(str(work / "joined"))

        def run(self) -> None:
            (work / "joined").write_text("".join(self.input().read()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert luigi.build([Joined()], local_scheduler=True, log_level="CRITICAL")
    assert (work / "joined").read_text() == "ab"


if HAS_LUISY:

    @pytest.mark.parametrize("raw_outside", [False, True])
    def test_the_layers_of_luisy_go_above_and_below_the_decorator(work: Path, raw_outside: bool) -> None:
        luisy.config.Config().set_param("working_dir", str(work))
        ours = vhpack.make_directory_output(read)
        write_tree(work / "tests/raw/data", {"a.txt": b"a"})
        made = task(
            luisy.ExternalTask, "data", (lambda cls: luisy.raw(ours(cls))) if raw_outside else (lambda cls: ours(luisy.raw(cls)))
        )
        assert isinstance(made.output(), luisy.targets.LocalTarget)
        assert made.output().path == str(work / "tests/raw/data")
        assert list(made.read()) == ["a"]


def test_neither_package_is_loaded_by_the_decorator(work: Path) -> None:
    from tests.engine.command import python

    program = "import sys, vhpack; vhpack.make_directory_output(len)(type('T', (), {'get_folder_name': 1})); print({'luigi', 'luisy'} & {*sys.modules})"
    assert python(program, cwd=work).out == "set()\n"
