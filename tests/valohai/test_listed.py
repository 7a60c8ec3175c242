"""What `inputs.json` lists and promises, and files that the platform has to be asked for."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

import vhpack
from tests.valohai.servers import Site
from tests.valohai.test_downloads import content, listed, prepared
from vhpack import download, paths


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_a_checksum_that_is_right_is_no_news(site: Site, kind: str) -> None:
    url = site.put("/a.csv", b"cats")
    listed({"a.csv": {"uri": url, "size": 4, "checksums": {kind: hashlib.new(kind, b"cats").hexdigest().upper()}}})
    assert content() == [b"cats"]
    assert content() == [b"cats"]
    assert len(site.asked) == 1, "a copy that is as promised need not be asked for"


@pytest.mark.parametrize("promise", [{"checksums": {"sha256": "0" * 64}}, {"checksums": {"md5": "0" * 32}}, {"size": 5}])
def test_what_is_not_as_promised_is_an_error_and_not_kept(site: Site, promise: dict[str, object]) -> None:
    listed({"a.csv": {"uri": site.put("/a.csv", b"cats"), **promise}})
    with pytest.raises(vhpack.ChecksumError, match="not what was promised"):
        prepared().path()
    assert site.count("/a.csv") == 2, "once more, in case it was spoiled on its way"
    assert not os.path.exists(os.path.join(vhpack.inputs("data").dir_path(), "a.csv"))
    assert not list(Path(paths.cache_path()).rglob("content"))


@pytest.mark.parametrize("promise", [{"checksums": {"sha256": "0" * 64}}, {"size": 5}])
def test_a_copy_from_before_is_held_to_the_promise(site: Site, promise: dict[str, object]) -> None:
    url = site.put("/a.csv", b"cats")
    assert content(url) == [b"cats"]
    listed({"a.csv": {"uri": url, **promise}})
    with pytest.raises(vhpack.ChecksumError, match="not what was promised"):
        prepared().path()
    site.put("/a.csv", failures=[500] * 99)
    with pytest.raises(vhpack.DownloadError, match="500"):
        prepared().path()


def test_a_checksum_that_nobody_can_compare_is_no_promise(site: Site) -> None:
    for text in (b"cats", b"dogs"):
        listed({"a.csv": {"uri": site.put("/a.csv", text), "checksums": {"crc32": "0"}, "size": True}})
        assert content() == [text]


def test_a_size_of_nothing_is_no_promise(site: Site) -> None:
    listed({"a.csv": {"uri": site.put("/a.csv", b"cats"), "size": 0, "checksums": []}})
    assert content() == [b"cats"]


@pytest.mark.parametrize("name", ["../../out.csv", "/etc/out.csv", "a/../../b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(site: Site, name: str) -> None:
    listed({name: {"uri": site.put("/a.csv", b"cats")}})
    with pytest.raises(vhpack.DownloadError, match="outside of the input's folder"):
        prepared().path()
    assert site.asked == []


def test_two_files_of_one_name_are_two_files(site: Site) -> None:
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True)
    files = [{"name": "a.csv", "uri": site.put(f"/{number}/a.csv", number.encode())} for number in ("1", "2")]
    (folder / "inputs.json").write_text(json.dumps({"data": {"files": files}}))
    assert content() == [b"1", b"2"]


def test_files_of_one_name_in_two_spellings_are_two_files(site: Site) -> None:
    listed({name: {"uri": site.put(f"/{at}", name.encode())} for at, name in enumerate(("d/a.csv", "d//a.csv", "./d/a.csv"))})
    assert content() == [b"d/a.csv", b"d//a.csv", b"./d/a.csv"]


def test_a_filter_goes_by_the_name_of_each_of_several_files(site: Site) -> None:
    urls = [site.put(f"/{number}/{name}", number.encode()) for name in ("a.csv", "b.csv") for number in ("1", "2")]
    assert [Path(path).read_bytes() for path in prepared(*urls).paths("a.csv")] == [b"1", b"2"]


def test_a_file_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_bytes(b"cats")
    listed({"a/there.csv": {"path": str(tmp_path / "there.csv"), "uri": "datum://abc"}})
    assert content() == [b"cats"]


def test_what_cannot_be_fetched_says_why() -> None:
    with pytest.raises(vhpack.DownloadError, match="is none of"):
        prepared("ftp://h/a").path()


def test_files_on_demand_are_asked_of_the_platform(site: Site) -> None:
    real = site.put("/presigned/a.csv", b"cats")
    site.put("/b.csv", b"not wanted")
    of_another = {"input_id": "i2", "filename": "a.csv", "url": site.url + "/b.csv"}
    answer = [{"name": "data", "files": [{"input_id": "i1", "filename": "a.csv", "url": real + "?signature=1"}, of_another]}]
    site.put("/api", json.dumps(answer).encode())
    listed({"a.csv": {"uri": "datum://1", "size": 4}})
    folder = Path(paths.get_config_path())
    described = json.loads((folder / "inputs.json").read_text())
    described["data"]["input_id"] = "i1"
    (folder / "inputs.json").write_text(json.dumps(described))
    (folder / "api.json").write_text(json.dumps({"input_request": {"url": f"{site.url}/api", "headers": {"X-Token": "t"}}}))

    assert content() == [b"cats"]
    assert content() == [b"cats"]
    assert [(asked.path, asked.headers.get("X-Token")) for asked in site.asked] == [
        ("/api?inputs=i1", "t"),
        ("/presigned/a.csv?signature=1", None),
    ]


def test_a_platform_that_breaks_off_is_an_error_of_ours(site: Site) -> None:
    listed({"a.csv": {"uri": "datum://1"}})
    folder = Path(paths.get_config_path())
    (folder / "inputs.json").write_text((folder / "inputs.json").read_text().replace('"files"', '"input_id": "i1", "files"'))
    url = site.put("/api", b"[" * 100, cuts=[50])
    (folder / "api.json").write_text(json.dumps({"input_request": {"url": url}}))
    with pytest.raises(vhpack.DownloadError, match="cannot ask the platform"):
        prepared().path()
    for answer in (b"[" * 100_000, b'["a"]', b"{}1"):
        site.put("/api", answer)
        with pytest.raises(vhpack.DownloadError, match="cannot ask the platform"):
            prepared().path()
