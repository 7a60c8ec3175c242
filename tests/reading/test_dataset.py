"""`vhpack.ArchiveDataset`: samples by number, in every worker process."""

import importlib.util
import multiprocessing
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.reading.made import FORMATS, contents, make


def shards(work: Path, count: int = 3) -> list[Path]:
    return [
        make(work / f"train-{number}.tar", {f"{number}/{name}": content for name, content in contents().items()})
        for number in range(count)
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_samples_are_the_files_in_the_order_of_the_archive(kind: str, work: Path) -> None:
    dataset = vhpack.ArchiveDataset(make(work / f"made.{kind}"))
    assert len(dataset) == len(contents())
    assert list(dataset) == list(contents().items())
    assert dataset[-1] == dataset[len(dataset) - 1]
    assert dataset.name(3) == list(contents())[3]


def test_samples_out_of_range_are_index_errors(work: Path) -> None:
    dataset = vhpack.ArchiveDataset(make(work / "made.zip", {"a": b"1", "b": b"2"}))
    for index in (2, -3, 100):
        with pytest.raises(IndexError):
            dataset[index]
    with pytest.raises(TypeError):
        dataset["a"]  # type: ignore[index]


def test_a_pattern_chooses_and_decode_makes_the_sample(work: Path) -> None:
    archive = make(work / "made.zip")
    dataset = vhpack.ArchiveDataset(archive, "*.png", lambda name, content: (name, len(content)))
    assert list(dataset) == [(name, len(content)) for name, content in contents().items() if name.endswith(".png")]
    assert {vhpack.ArchiveDataset(archive, "train/*.json").name(i) for i in range(12)} == {
        f"train/{i:02}.json" for i in range(12)
    }
    assert len(vhpack.ArchiveDataset(archive, "**")) == len(contents())


def test_shards_are_one_dataset(work: Path) -> None:
    paths = shards(work)
    wanted = [(f"{number}/{name}", content) for number in range(3) for name, content in contents().items()]
    for given in (paths, "train-*.tar", str(work / "train-?.tar"), [paths[0], vhpack.open(paths[1]), str(paths[2])]):
        dataset = vhpack.ArchiveDataset(given)  # type: ignore[arg-type]
        assert list(dataset) == wanted
        assert dataset[-len(wanted)] == wanted[0]


def test_a_shard_with_pattern_characters_in_its_name_is_that_file(work: Path) -> None:
    make(work / "a[1].zip", {"a": b"x"})
    assert vhpack.ArchiveDataset("a[1].zip")[0] == ("a", b"x")


@pytest.mark.parametrize("wrong", [[], "nothing-*.tar"])
@pytest.mark.usefixtures("work")
def test_no_archive_is_an_error(wrong: Any) -> None:
    with pytest.raises(vhpack.NoFilesError):
        vhpack.ArchiveDataset(wrong)


def test_no_sample_is_an_error_and_so_is_a_missing_archive(work: Path) -> None:
    with pytest.raises(vhpack.NoFilesError, match=r"\*\.jpeg"):
        vhpack.ArchiveDataset(make(work / "made.zip"), "*.jpeg")
    with pytest.raises(FileNotFoundError):
        vhpack.ArchiveDataset("missing.zip")


def test_pickled_it_is_lean(work: Path) -> None:
    members = {f"a rather long folder name/{number:06}.txt": b"" for number in range(5000)}
    dataset = vhpack.ArchiveDataset(make(work / "many.zip", members))
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert len(again) == 5000
    assert again[4321] == ("a rather long folder name/004321.txt", b"")


def measure(name: str, content: bytes) -> tuple[str, int]:
    return name, len(content)


def take(dataset: vhpack.ArchiveDataset[tuple[str, int]], indices: Iterable[int]) -> list[tuple[str, int]]:
    return [dataset[index] for index in indices]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_every_kind_read_from_it(method: str, work: Path) -> None:
    dataset = vhpack.ArchiveDataset(shards(work), decode=measure)
    first = dataset[0]
    with multiprocessing.get_context(method).Pool(2) as pool:
        halves = pool.starmap(take, [(dataset, range(0, len(dataset), 2)), (dataset, range(1, len(dataset), 2))])
    assert halves[0][0] == first
    assert sorted(halves[0] + halves[1]) == sorted(dataset)


# Two gigabytes that nothing else here needs: it is for machines that have it, and the pools above are tried everywhere.
if importlib.util.find_spec("torch"):

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    @pytest.mark.filterwarnings("ignore")
    def test_a_data_loader_of_pytorch_takes_it(method: str, work: Path) -> None:
        torch_data = importlib.import_module("torch.utils.data")
        dataset = vhpack.ArchiveDataset(shards(work), "*.png", measure)
        loader = torch_data.DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context=method, collate_fn=list)
        assert [sample for batch in loader for sample in batch] == list(dataset)
