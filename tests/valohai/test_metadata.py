"""What a run says of itself and its outputs: metrics, properties, its execution, its fellows."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vhpack
from vhpack import paths
from vhpack.metadata import to_json

PROPERTIES = "valohai.metadata.jsonl"


def written() -> dict[str, object]:
    lines = Path(vhpack.outputs().dir_path, PROPERTIES).read_text().splitlines()
    return {line["file"]: line["metadata"] for line in map(json.loads, lines)}


def config(name: str, content: object) -> None:
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


# --- metrics -------------------------------------------------------------------------------------------------------------


def test_a_line_of_metrics_is_json_after_an_empty_line(capfd: pytest.CaptureFixture[str]) -> None:
    with vhpack.logger() as logger:
        logger.log("epoch", 1, "loss", 0.5)
        logger.log(loss=0.25, name="é")
        logger.log(3, Path("x"))
    assert capfd.readouterr().out == '\n{"epoch": 1, "loss": 0.25, "name": "\\u00e9", "3": "x"}\n'


def test_nothing_is_printed_twice_or_without_need(capfd: pytest.CaptureFixture[str]) -> None:
    logger = vhpack.logger()
    logger.flush()
    logger.log(a=1)
    logger.flush()
    logger.flush_logs()
    assert capfd.readouterr().out == '\n{"a": 1}\n'


def test_a_line_is_printed_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with vhpack.logger() as logger:
            logger.log(a=1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capfd.readouterr().out == '\n{"a": 1}\n'


def test_a_name_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="Odd number of arguments"):
        vhpack.logger().log("a", 1, "b")


def test_a_deployment_wraps_the_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VALOHAI_PORT", "8000")
    with vhpack.logger() as logger:
        logger.log(a=1)
    assert capfd.readouterr().out == '\n{"vh_metadata": {"a": 1}}\n'


def test_a_notebook_prints_past_its_cell() -> None:
    code = "import io, sys, vhpack; sys.stdout = io.StringIO(); l = vhpack.logger(); l.log(a=1); l.flush()"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "JPY_PARENT_PID": "1"}, check=True
    )
    assert ran.stdout == '\n{"a": 1}\n'


def test_a_killed_job_has_said_what_it_logged() -> None:
    code = "import os, vhpack; l = vhpack.logger(); l.log(a=1); l.flush(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == '\n{"a": 1}\n'


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.one_of(st.text(), st.integers(), st.tuples(st.integers())), inner),
    )
)
def test_whatever_is_logged_is_valid_json(value: object) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(to_json({"value": value}), parse_constant=refuse)


def test_nan_and_infinities_are_null() -> None:
    assert to_json({"a": [math.nan, (math.inf,), {"b": -math.inf}], "c": 1.5}) == '{"a": [null, [null], {"b": null}], "c": 1.5}'


def test_what_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="contains itself"):
        to_json(endless)


# --- properties of outputs -----------------------------------------------------------------------------------------------


def test_properties_are_written_into_a_folder_that_was_not_there() -> None:
    with vhpack.output_properties() as properties:
        properties.add(file="a.png", properties={"valohai.alias": "cat"})
        properties.add(file=Path("a.png"), properties={"size": 3})
        properties.add(file=vhpack.outputs("d").path("b.png", makedirs=False), properties={"size": 4})
    assert written() == {"a.png": {"valohai.alias": "cat", "size": 3}, "d/b.png": {"size": 4}}


def test_what_was_there_stays_and_is_added_to() -> None:
    for name, size in (("a", 1), ("b", 2), ("a", 3)):
        with vhpack.output_properties() as properties:
            properties.add(file=name, properties={f"size{size}": size})
    assert written() == {"a": {"size1": 1, "size3": 3}, "b": {"size2": 2}}


def test_datasets_come_as_uris_and_as_objects(capfd: pytest.CaptureFixture[str]) -> None:
    with vhpack.output_properties() as properties:
        cats = properties.dataset_version_uri("cats", "v1")
        dogs: dict[str, object] = {"uri": "dataset://dogs/v2", "targeting_aliases": ["new"]}
        for name in ("a", "b"):
            properties.add_to_dataset(file=name, dataset_version=cats)
        properties.add_to_dataset(file="a", dataset_version=dogs)
        properties.add_to_dataset(file="a", dataset_version=cats)
        properties.add(file="c", properties={"valohai.dataset-versions": [dogs]})
    assert written() == {
        "a": {"valohai.dataset-versions": [cats, dogs]},
        "b": {"valohai.dataset-versions": [cats]},
        "c": {"valohai.dataset-versions": [dogs]},
    }
    assert sorted(capfd.readouterr().out.splitlines()) == [
        "Created dataset version 'dataset://cats/v1' with 2 files",
        "Created dataset version 'dataset://dogs/v2' with 2 files",
    ]


def test_set_datasets_replace_and_added_ones_do_not() -> None:
    with vhpack.output_properties() as properties:
        properties.add_to_dataset(file="a", dataset_version="dataset://d/1")
    with vhpack.output_properties() as properties:
        properties.add_to_dataset(file="a", dataset_version="dataset://d/2")
    assert written() == {"a": {"valohai.dataset-versions": ["dataset://d/1", "dataset://d/2"]}}
    with vhpack.output_properties() as properties:
        properties.add(file="a", properties={"valohai.dataset-versions": ["dataset://d/3"]})
    assert written() == {"a": {"valohai.dataset-versions": ["dataset://d/3"]}}


def test_a_dataset_without_a_uri_is_refused() -> None:
    with vhpack.output_properties() as properties, pytest.raises(TypeError, match="no version of a dataset"):
        properties.add_to_dataset(file="a", dataset_version={"from": "x"})


def test_versions_of_datasets_in_forms_of_their_own_cost_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with vhpack.output_properties() as properties:
        properties.add(file="a", properties={"valohai.dataset-versions": [{"dataset": "x"}, "dataset://d/1", 5]})
        properties.add(file="b", properties={"valohai.dataset-versions": ("dataset://d/1",)})
        properties.add(file="c", properties={"valohai.dataset-versions": "dataset://d/1"})
        for name in "abc":
            properties.add_to_dataset(file=name, dataset_version="dataset://d/2")
    found = {name: sorted(map(str, held["valohai.dataset-versions"])) for name, held in written().items()}  # type: ignore[index]
    assert found == {
        "a": ["5", "dataset://d/1", "dataset://d/2", "{'dataset': 'x'}"],
        "b": ["dataset://d/1", "dataset://d/2"],
        "c": ["dataset://d/1", "dataset://d/2"],
    }
    assert "'dataset://d/2' with 3 files" in capfd.readouterr().out


def test_a_value_that_is_no_json_is_named_and_costs_nothing_else() -> None:
    def fail() -> None:
        with vhpack.output_properties() as properties:
            properties.add(file="a", properties={"odd": object(), "path": Path("x"), "nan": math.nan})
            properties.add(file="b", properties={"fine": 1})

    with pytest.raises(vhpack.PropertyError, match="a: odd"):
        fail()
    assert written() == {"a": {"path": "x", "nan": None}, "b": {"fine": 1}}


def test_properties_are_written_when_the_block_fails() -> None:
    def fail() -> None:
        with vhpack.output_properties() as properties:
            properties.add(file="a", properties={"b": 1, "odd": object()})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert written() == {"a": {"b": 1}}


def test_users_tests_may_have_properties_written_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "there" / "lines.jsonl"
    with vhpack.output_properties() as properties:
        properties.properties_file = elsewhere
        properties.add(file="a", properties={"b": 1})
    assert elsewhere.read_text() == '{"file": "a", "metadata": {"b": 1}}\n'
    assert properties.properties_file == elsewhere
    assert not Path(vhpack.outputs().dir_path, "valohai.metadata.jsonl").exists()


def test_a_line_that_is_no_json_is_a_warning_and_stays() -> None:
    path = Path(vhpack.outputs().path(PROPERTIES))
    path.write_bytes(b'{"file": "a", "metadata": {"b": 1}}\n{"file": "cut of\n\xff\n' + b"[" * 100_000 + b"\n")
    with pytest.warns(vhpack.JobWarning, match="3 lines"), vhpack.output_properties() as properties:
        properties.add(file="c", properties={"d": 1})
    lines = path.read_bytes().splitlines()
    assert set(lines) == {
        b'{"file": "cut of',
        b"\xff",
        b"[" * 100_000,
        b'{"file": "a", "metadata": {"b": 1}}',
        b'{"file": "c", "metadata": {"d": 1}}',
    }


def test_two_processes_do_not_overwrite_each_other() -> None:
    code = (
        "import sys, vhpack\n"
        "for round in range(20):\n"
        "    with vhpack.output_properties() as properties:\n"
        "        properties.add(file=f'{sys.argv[1]}-{round}', properties={'by': sys.argv[1]})\n"
        "        properties.add(file='shared', properties={sys.argv[1]: round})\n"
    )
    assert vhpack.outputs().dir_path  # names the run that both children share
    children = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [child.wait(120) for child in children] == [0, 0]
    assert written() == {
        **{f"{name}-{number}": {"by": name} for name in "ab" for number in range(20)},
        "shared": {"a": 19, "b": 19},
    }
    assert os.listdir(vhpack.outputs().dir_path) == [PROPERTIES]


def test_a_writer_that_fails_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with vhpack.output_properties() as properties:
        properties.add(file="a", properties={"b": 1})

    def refuse(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"), vhpack.output_properties() as properties:
        properties.add(file="a", properties={"b": 2})
    assert written() == {"a": {"b": 1}}
    assert os.listdir(vhpack.outputs().dir_path) == [PROPERTIES]


def test_properties_of_100_000_files_cost_about_what_their_json_does() -> None:
    def plainly() -> None:
        held = {}
        for number in range(100_000):
            held[number] = {
                "file": f"images/{number}.png",
                "metadata": {"n": number, "valohai.dataset-versions": ["dataset://d/1"]},
            }
        assert len("".join(json.dumps(each) for each in held.values())) > 100_000

    def ours() -> None:
        with vhpack.output_properties() as properties:
            for number in range(100_000):
                properties.add(file=f"images/{number}.png", properties={"n": number})
                properties.add_to_dataset(file=f"images/{number}.png", dataset_version="dataset://d/1")

    # The processor's time, the better of two in turn, and as a ratio: the machine may be slow, and busy with others.
    seconds: dict[Callable[[], None], list[float]] = {plainly: [], ours: []}
    for what in (plainly, ours, plainly, ours):
        vhpack.reset()
        before = time.process_time()
        what()
        seconds[what].append(time.process_time() - before)
    assert len(written()) == 100_000
    assert min(seconds[ours]) < 6 * min(seconds[plainly]), seconds


# --- execution, fellows --------------------------------------------------------------------------------------------------


def test_an_execution_knows_its_number_and_a_local_run_does_not() -> None:
    assert vhpack.execution().config is None
    config("execution.json", {"valohai.execution-counter": 7, "valohai.execution-id": "abc", "valohai.execution-title": "t"})
    found = vhpack.execution().config
    assert found is not None
    assert (found.counter, found.id, found.title) == (7, "abc", "t")


def test_an_execution_that_cannot_be_read_is_named() -> None:
    config("execution.json", "{")
    with pytest.raises(ValueError, match=r"execution\.json"):
        _ = vhpack.execution().config


def fellows(*ids: str, me: str = "1") -> dict[str, object]:
    return {
        "config": {"group_name": "group", "member_id": me, "required_count": len(ids)},
        "members": [
            {
                **dict.fromkeys(("announce_time", "identity", "job_id"), "x"),
                "member_id": name,
                "network": {"exposed_ports": {"1": "1"}, "local_ips": [f"10.0.0.{name}"], "public_ips": []},
            }
            for name in ids
        ],
    }


@pytest.mark.parametrize(("ids", "ranks"), [(("10", "9", "1"), [2, 1, 0]), (("10", "9", "a"), [0, 1, 2])])
def test_members_are_ranked_by_number_where_all_are_numbers(ids: tuple[str, ...], ranks: list[int]) -> None:
    config("distributed.json", fellows(*ids))
    assert [member.rank for member in vhpack.distributed.members()] == ranks


def test_a_member_knows_itself_and_its_master() -> None:
    assert not vhpack.distributed.is_distributed_task()
    with pytest.raises(FileNotFoundError):
        _ = vhpack.distributed.config
    config("distributed.json", fellows("0", "1", "2"))
    distributed = vhpack.distributed
    assert distributed.is_distributed_task()
    assert (distributed.group_name, distributed.member_id, distributed.rank, distributed.required_count) == ("group", "1", 1, 3)
    assert distributed.master().primary_local_ip == "10.0.0.0"
    assert not distributed.me().is_master
    with pytest.raises(RuntimeError, match="No member with id 7"):
        distributed.member("7")
    with pytest.raises(RuntimeError, match="no public IPs"):
        _ = distributed.me().primary_public_ip


def test_a_changed_file_is_read_again() -> None:
    config("distributed.json", fellows("0", "1"))
    assert len(vhpack.distributed.members()) == 2
    config("distributed.json", fellows("0", "1", "2"))
    assert len(vhpack.distributed.members()) == 3


@pytest.mark.parametrize("content", ["{", "{}", '{"config": 1, "members": []}'])
def test_a_distributed_task_that_cannot_be_read_is_a_warning_and_none(content: str) -> None:
    config("distributed.json", content)
    with pytest.warns(UserWarning, match=r"distributed\.json"):
        assert not vhpack.distributed.is_distributed_task()
    with pytest.raises(vhpack.ConfigError):
        _ = vhpack.distributed.config
