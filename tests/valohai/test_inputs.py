"""Inputs from this machine and from object storage: which files they are, under which names."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import vhpack
from tests.conftest import needs, without
from tests.valohai.servers import Site
from vhpack import download, paths
from vhpack.inputs import Input


def prepared(*places: str | Path) -> Input:
    vhpack.reset()
    vhpack.prepare(step="train", default_inputs={"data": list(places)})
    return vhpack.inputs("data")


def fill(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def found(*places: str, path_filter: str | None = None) -> list[str]:
    base = os.getcwd()
    return [os.path.relpath(path, base) for path in prepared(*places).paths(path_filter)]


@pytest.mark.parametrize(
    ("place", "files"),
    [
        *(("a.csv", ["a.csv"]), ("*.csv", ["a.csv", "b.csv"]), ("d", ["d/c.csv", "d/e/f.txt"])),
        *(("d/**/*.txt", ["d/e/f.txt"]), ("**/*.csv", ["a.csv", "b.csv", "d/c.csv"]), ("[ab].csv", ["a.csv", "b.csv"])),
        *(("run[1].txt", ["run[1].txt"]), ("d/**", ["d/c.csv", "d/e/f.txt"]), ("./a.csv", ["a.csv"])),
    ],
)
def test_local_places_are_files_folders_and_patterns(place: str, files: list[str]) -> None:
    fill("a.csv", "b.csv", "d/c.csv", "d/e/f.txt", "run[1].txt", "run1.txt")
    assert found(place) == files
    assert found(f"{os.getcwd()}/{place}") == files


def test_the_folder_that_a_run_starts_in_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("run[1]/a.csv", "run[1]/d/b.csv", "run1/wrong.csv", "run1/d/wrong.csv")
    monkeypatch.chdir(tmp_path / "run[1]")
    assert found("*.csv") == ["a.csv"]
    assert found("**/*.csv") == ["a.csv", "d/b.csv"]
    assert found("../run1/*.csv") == ["../run1/wrong.csv"]


def test_paths_are_absolute_and_come_in_the_order_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("b.csv", "a.csv", "inner/x")
    data = prepared("b.csv", Path("a.csv"))
    monkeypatch.chdir("inner")
    assert list(data.paths()) == [f"{tmp_path.resolve()}/{name}" for name in ("b.csv", "a.csv")]


@pytest.mark.parametrize(("place", "said"), [("missing.csv", "does not exist"), ("*.png", "matches nothing")])
def test_what_is_not_there_is_a_warning_and_the_default_holds(place: str, said: str) -> None:
    with pytest.warns(vhpack.JobWarning, match=said):
        assert prepared(place).path() is None
    with pytest.warns(vhpack.JobWarning, match=said):
        assert prepared(place).path(default="else.csv") == "else.csv"
    with pytest.warns(vhpack.JobWarning, match=said):
        assert list(prepared(place).paths(default=["x", "y"])) == ["x", "y"]


def test_the_default_of_the_input_holds_where_the_call_has_none() -> None:
    vhpack.prepare(step="train")
    assert vhpack.inputs("none", default="else.csv").path() == "else.csv"
    assert vhpack.inputs("none", default=["a", "b"]).path(default="c") == "c"
    assert list(vhpack.inputs("none", default=["a", "b"]).paths()) == ["a", "b"]
    assert vhpack.inputs("none").path() is None
    assert vhpack.inputs("none").stream() is None


@pytest.mark.parametrize(
    ("path_filter", "names"),
    [
        *(("*.txt", ["b.txt", "d/c.txt"]), ("b.txt", ["b.txt"]), ("b", []), ("**/*.txt", ["d/c.txt"]), ("d/*", ["d/c.txt"])),
        *(("?.txt", ["b.txt"]), ("[ab].txt", ["b.txt"]), ("bxtxt", []), ("*", ["b.txt", "b.txt.bak", "d/c.txt"])),
    ],
)
def test_a_filter_is_compared_with_the_whole_name(path_filter: str, names: list[str]) -> None:
    fill("in/b.txt", "in/b.txt.bak", "in/d/c.txt")
    assert found("in", path_filter=path_filter) == [f"in/{name}" for name in names]


def test_hyphens_and_underscores_name_one_input() -> None:
    fill("a.csv")
    vhpack.prepare(step="train", default_inputs={"the-data": "a.csv"})
    assert vhpack.inputs("the_data").path() == os.path.abspath("a.csv")
    assert vhpack.inputs("the_data").dir_path() == vhpack.inputs("the-data").dir_path()
    assert vhpack.inputs("the-data").dir_path().endswith("/the-data")


def test_a_warning_points_at_the_call() -> None:
    with pytest.warns(vhpack.JobWarning) as caught:
        prepared("missing.csv").path()
    assert caught[0].filename == __file__


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    fill("a b[1].csv")
    assert found(f"file://{tmp_path.resolve()}/a%20b[1].csv") == ["a b[1].csv"]
    with pytest.raises(vhpack.DownloadError, match="another machine"):
        prepared("file://elsewhere/a.csv").path()


def test_a_pattern_may_be_a_file_url(tmp_path: Path) -> None:
    fill("in/a b.txt", "in/c.txt", "in/d.csv")
    assert found(f"file://{tmp_path.resolve()}/in/*.txt") == ["in/a b.txt", "in/c.txt"]


def test_files_of_the_platform_may_have_file_urls(tmp_path: Path) -> None:
    fill("a b.csv")
    url = f"file://{tmp_path.resolve()}/a%20b.csv"
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True)
    (folder / "inputs.json").write_text(json.dumps({"the-data": {"files": [{"name": "x.csv", "uri": url}]}}))
    vhpack.prepare(step="train", default_inputs={"the-data": "none.csv"})
    assert vhpack.inputs("the-data").path() == str(tmp_path.resolve() / "a b.csv")
    os.unlink("a b.csv")
    vhpack.reset()
    vhpack.prepare(step="train", default_inputs={"the-data": "none.csv"})
    with pytest.raises(vhpack.DownloadError, match="no such file"):
        vhpack.inputs("the-data").path()


def test_streams_are_files_to_read() -> None:
    fill("a.csv", "b.csv")
    streams = []
    for stream in prepared("*.csv").streams():
        with stream:
            streams.append(stream.read())
    assert streams == [b"a.csv", b"b.csv"]


def test_an_input_without_places_has_the_files_in_its_folder() -> None:
    data = prepared()
    folder = Path(data.dir_path())
    assert list(data.paths()) == []
    fill(str(folder / "b.csv"), str(folder / "a/c.csv"), str(folder / ".hidden"))
    assert list(data.paths()) == [str(folder / "a/c.csv"), str(folder / "b.csv")]


def test_an_input_without_places_has_nothing_that_an_earlier_run_downloaded(site: Site) -> None:
    prepared(site.put("/a.csv", b"cats"), site.put("/b.csv", b"dogs")).path()
    data = prepared()
    folder = Path(data.dir_path())
    assert list(data.paths()) == []
    fill(str(folder / "mine.csv"))
    (folder / "b.csv").write_text("of somebody")
    assert list(data.paths()) == [str(folder / "b.csv"), str(folder / "mine.csv")]


def test_the_command_line_is_over_the_file_and_the_file_over_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fill("code.csv", "file.csv", "line1.csv", "line2.csv")
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True)

    def names() -> list[str]:
        vhpack.reset()
        vhpack.prepare(step="train", default_inputs={"the-data": "code.csv"})
        return [Path(path).name for path in vhpack.inputs("the-data").paths()]

    assert names() == ["code.csv"]
    described: dict[str, object] = {
        "name": "file.csv",
        "path": str(tmp_path / "file.csv"),
        "checksums": None,
        "metadata": [],
        "more": 1,
    }
    (folder / "inputs.json").write_text(json.dumps({"the-data": {"files": [described]}}))
    assert names() == ["file.csv"]
    for arguments in (["--the-data", "line1.csv", "line2.csv"], ["--the_data=line1.csv", "--the-data=line2.csv"]):
        monkeypatch.setattr("sys.argv", ["train.py", *arguments])
        assert names() == ["line1.csv", "line2.csv"]


@pytest.mark.parametrize(("job", "left"), [("", "b.csv"), ("1", None)])
def test_an_input_that_the_file_leaves_out_has_no_files_in_a_job_only(
    job: str, left: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill("a.csv", "b.csv", "config/inputs.json")
    Path("config/inputs.json").write_text(json.dumps({"a": {"files": [{"name": "a.csv", "path": str(tmp_path / "a.csv")}]}}))
    monkeypatch.setenv("VH_JOB_ID", job)
    monkeypatch.setenv("VH_CONFIG_DIR", "config")
    monkeypatch.setenv("VH_INPUTS_DIR", "inputs")
    vhpack.prepare(step="train", default_inputs={"a": [], "b": "b.csv"})
    path = vhpack.inputs("b").path()
    assert (path and os.path.basename(path)) == left


@pytest.mark.parametrize(
    "content",
    [
        *('{"data": 3}', '{"data": {"files": [{}]}}', '{"data": {"files": 1}}', "[]", '{"a":' * 100_000, '{"data": "\\ud800"}'),
        *('{"data": {"files": [{"name": "\\ud800"}]}}', '{"data": {"files": [{"name": "a", "uri": "\\ud800"}]}}'),
    ],
)
def test_a_list_that_cannot_be_read_is_named(content: str) -> None:
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True)
    (folder / "inputs.json").write_text(content)
    with pytest.raises(vhpack.ConfigError, match=r"inputs\.json"):
        prepared("a.csv")


# --- archives ------------------------------------------------------------------------------------------------------------


def packed(suffix: str) -> str:
    fill("in/a.txt", "in/d/b.txt", "in/d/c.csv")
    if suffix in (".zip", ".tar"):
        vhpack.pack("in", f"all{suffix}", root="in")
    else:
        subprocess.run(["tar", f"-c{'z' if 'gz' in suffix else 'a'}f", f"all{suffix}", "-C", "in", "a.txt", "d"], check=True)
    return f"all{suffix}"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_an_archive_stands_for_its_files(suffix: str) -> None:
    data = prepared(packed(suffix))
    assert [Path(path).read_text() for path in data.paths()] == ["in/a.txt", "in/d/b.txt", "in/d/c.csv"]
    assert [stream.read() for stream in data.streams("d/*")] == [b"in/d/b.txt", b"in/d/c.csv"]
    assert [os.path.basename(path) for path in data.paths("*.csv")] == ["c.csv"]
    assert list(data.paths(process_archives=False)) == [os.path.abspath(f"all{suffix}")]
    assert list(data.paths("nothing")) == []


def test_streams_unpack_nothing_and_paths_once() -> None:
    data = prepared(packed(".zip"))
    with data.stream("a.txt") as stream:  # type: ignore[union-attr]
        assert stream.read() == b"in/a.txt"
    assert not os.path.exists(paths.cache_path())
    first = list(data.paths())
    before = [os.stat(path).st_ino for path in first]
    assert list(data.paths()) == first
    assert [os.stat(path).st_ino for path in first] == before


def test_a_changed_archive_is_unpacked_anew() -> None:
    data = prepared(packed(".zip"))
    first = data.path("a.txt")
    fill("in/a.txt")
    Path("in/a.txt").write_text("changed")
    vhpack.pack("in", "all.zip", root="in", force=True)
    second = data.path("a.txt")
    assert first != second
    assert [Path(str(path)).read_text() for path in (first, second)] == ["in/a.txt", "changed"]


@pytest.mark.parametrize("name", ["../../out.txt", "/abs/out.txt", "d/../../out.txt"])
def test_a_member_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("fine.txt", "fine")
        archive.writestr(name, "evil")
    with pytest.raises(vhpack.UnsafeMemberError):
        list(prepared("evil.zip").paths())
    assert not list(tmp_path.rglob("out.txt"))
    assert not Path("/abs").exists()


def test_a_member_called_like_a_pattern_is_itself() -> None:
    with zipfile.ZipFile("odd.zip", "w") as archive:
        for name in ("img[1].png", "img1.png", "a*"):
            archive.writestr(name, name)
    assert [Path(path).read_text() for path in prepared("odd.zip").paths()] == ["img[1].png", "img1.png", "a*"]


def test_an_archive_in_a_job_that_may_not_write_to_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mount", "umount")
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    described = {"data": {"files": [{"name": "all.zip", "path": os.path.abspath(packed(".zip"))}]}}
    Path("inputs.json").write_text(json.dumps(described))
    for name, value in {"VH_JOB_ID": "1", "VH_INPUTS_DIR": str(sealed), "VH_CONFIG_DIR": ".", "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "vhpack-test", str(sealed)], capture_output=True, text=True)
    if mounted.returncode != 0:
        without(f"this user may not mount a small disk: {mounted.stderr.strip()}")
    try:
        assert [Path(path).read_text() for path in vhpack.inputs("data").paths("*.csv")] == ["in/d/c.csv"]
    finally:
        subprocess.run(["umount", str(sealed)], check=True)


def test_what_only_calls_itself_an_archive_is_an_error() -> None:
    fill("not.zip")
    with pytest.raises(vhpack.PackError, match=r"not\.zip"):
        prepared("not.zip").path()
    assert prepared("not.zip").path(process_archives=False) == os.path.abspath("not.zip")


def test_a_downloaded_archive_is_opened_too(site: Site) -> None:
    url = site.put("/all.zip", Path(packed(".zip")).read_bytes())
    assert [Path(path).read_text() for path in prepared(url).paths("d/*.txt")] == ["in/d/b.txt"]


# --- object storage ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    """A server that speaks S3, in this process, for all tests of this file."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield int(server.get_host_and_port()[1])
    server.stop()


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> object:
    """An empty bucket called `photos`, with the environment that leads to it."""
    import urllib.request

    from obstore.store import S3Store

    url = f"http://127.0.0.1:{s3_port}"
    for name, value in {
        "ENDPOINT_URL": url,
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "secret",
        "REGION": "us-east-1",
        "ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    urllib.request.urlopen(urllib.request.Request(f"{url}/photos", method="PUT")).close()
    return S3Store("photos")


def put(bucket: object, **objects: bytes) -> None:
    import obstore

    for name, content in objects.items():
        obstore.put(bucket, name.replace("__", "/").replace("_", "."), content)  # type: ignore[arg-type]


def test_an_object_is_downloaded_and_again_when_it_has_changed(bucket: object) -> None:
    put(bucket, cats__1_jpg=b"cat" * 5_000_000)  # two pieces
    path = prepared("s3://photos/cats/1.jpg").path()
    assert path == os.path.join(vhpack.inputs("data").dir_path(), "1.jpg")
    assert Path(path).read_bytes() == b"cat" * 5_000_000
    before = os.stat(path).st_ino
    prepared("s3://photos/cats/1.jpg").path()
    assert os.stat(path).st_ino == before
    put(bucket, cats__1_jpg=b"other")
    prepared("s3://photos/cats/1.jpg").path()
    assert Path(path).read_bytes() == b"other"


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("s3://photos/cats/*.jpg", ["1.jpg", "2.jpg"]),
        ("s3://photos/cats/**/*.jpg", ["1.jpg", "2.jpg", "small/1.jpg"]),
        ("s3://photos/**.txt", ["cats/a.txt"]),
        ("s3://photos/cats/[!2-9].jpg", ["1.jpg"]),
        ("s3://photos/cats/[z-a1].jpg", ["1.jpg"]),
    ],
)
def test_wildcards_name_objects_and_folders_stay(bucket: object, place: str, names: list[str]) -> None:
    put(bucket, cats__1_jpg=b"1", cats__2_jpg=b"2", cats__small__1_jpg=b"3", cats__a_txt=b"4")
    data = prepared(place)
    assert [os.path.relpath(path, data.dir_path()) for path in data.paths()] == names


def test_an_object_that_is_called_like_a_pattern_is_itself(bucket: object) -> None:
    put(bucket, **{"run[1]_txt": b"right", "run1_txt": b"wrong"})
    assert [Path(path).read_bytes() for path in prepared("s3://photos/run[1].txt").paths()] == [b"right"]


@pytest.mark.parametrize("place", ["s3://photos/none/*.jpg", "s3://photos/[z-a].jpg"])
def test_wildcards_that_match_no_object_are_a_warning(bucket: object, place: str) -> None:
    put(bucket, a_jpg=b"1")
    with pytest.warns(vhpack.JobWarning, match="matches nothing") as caught:
        assert prepared(place).path(default="else.jpg") == "else.jpg"
    assert caught[0].filename == __file__


@pytest.mark.parametrize("place", ["s3://photos/none.jpg", "s3://nowhere/a.jpg"])
@pytest.mark.usefixtures("bucket")
def test_an_object_that_is_not_there_is_an_error(place: str) -> None:
    with pytest.raises(vhpack.DownloadError, match="no such object") as caught:
        prepared(place).path()
    assert caught.value.filename == place


@pytest.mark.parametrize("place", ["s3://photos", "s3://photos/", "azure://account/container", "gs:///a"])
def test_a_url_without_bucket_or_path_is_an_error(place: str) -> None:
    with pytest.raises(vhpack.DownloadError, match="a bucket and a path are needed"):
        prepared(place).path()


def test_without_obstore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(vhpack.MissingExtraError, match=r"vhpack\[cloud\]"):
        prepared("s3://photos/a.jpg").path()


# Google's XML interface, which obstore reads by, is that of S3. Unsigned, since signatures are what differs.


@pytest.fixture
def google(s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket called `pictures` that anyone may read, with the environment in which `gs://` leads to it."""
    import urllib.request

    url = f"http://127.0.0.1:{s3_port}"
    account = {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    for name, content in {"": b"", "/cats/1.jpg": b"cat" * 5_000_000, "/cats/2.jpg": b"2", "/cats/small/1.jpg": b"3"}.items():
        headers = {"x-amz-acl": "public-read", "Content-Type": "image/jpeg"}
        request = urllib.request.Request(f"{url}/pictures{name}", data=content, headers=headers, method="PUT")
        urllib.request.urlopen(request).close()
    return url


@pytest.mark.usefixtures("google")
def test_googles_storage_is_read_in_pieces_and_by_wildcards() -> None:
    path = prepared("gs://pictures/cats/1.jpg").path()
    assert path is not None
    assert Path(path).read_bytes() == b"cat" * 5_000_000
    before = os.stat(path).st_ino
    prepared("gs://pictures/cats/1.jpg").path()
    assert os.stat(path).st_ino == before
    data = prepared("gs://pictures/cats/**/*.jpg")
    assert [os.path.relpath(path, data.dir_path()) for path in data.paths()] == ["1.jpg", "2.jpg", "small/1.jpg"]
    with pytest.raises(vhpack.DownloadError, match="no such object"):
        prepared("gs://pictures/none.jpg").path()


@pytest.fixture
def profiles(bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing about AWS in the environment but where the files of profiles are."""
    put(bucket, a_txt=b"a")
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION", "DEFAULT_REGION", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "config").write_text(f"[profile work]\nregion = eu-west-1\nendpoint_url = {endpoint}\n")
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = mine\naws_secret_access_key = secret\n")
    return tmp_path


def test_a_profile_of_the_aws_folder_is_used(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    path = prepared("s3://photos/a.txt").path()
    assert path is not None
    assert Path(path).read_bytes() == b"a"
    (profiles / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (profiles / "config").write_text((profiles / "config").read_text().replace("profile work", "default"))
    monkeypatch.delenv("AWS_PROFILE")
    assert prepared("s3://photos/a.txt", "s3://photos/a.txt").path() == path


@pytest.mark.usefixtures("profiles")
def test_a_profile_that_is_not_there_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(vhpack.DownloadError, match=r"profile \(other\)"):
        prepared("s3://photos/a.txt").path()
