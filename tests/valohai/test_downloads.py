"""Downloads from a real server that redirects, fails, breaks off, lies and dawdles."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import vhpack
from tests.valohai.servers import Site
from vhpack import download, paths
from vhpack.inputs import Input

BIG = random.Random(3).randbytes(3 << 20)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait little between tries; how long is nothing that a test should wait for."""
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)


def prepared(*places: str, name: str = "data", step: str = "train") -> Input:
    vhpack.reset()
    vhpack.prepare(step=step, default_inputs={name: list(places)})
    return vhpack.inputs(name)


def path_of(*places: str, step: str = "train") -> str:
    path = prepared(*places, step=step).path()
    assert path is not None
    return path


def content(*places: str) -> list[bytes]:
    return [Path(path).read_bytes() for path in prepared(*places).paths()]


def listed(files: dict[str, dict[str, object]]) -> None:
    """Write an `inputs.json` with one file for each name."""
    folder = Path(paths.get_config_path())
    folder.mkdir(parents=True, exist_ok=True)
    described = {"data": {"files": [{"name": name, **rest} for name, rest in files.items()]}}
    (folder / "inputs.json").write_text(json.dumps(described))


def nothing_half(folder: str) -> bool:
    return not any(path.name.startswith(".") for path in Path(folder).rglob("*") if path.is_file())


def test_a_file_comes_into_the_inputs_folder(site: Site) -> None:
    url = site.put("/a/cats.csv", b"cats")
    path = path_of(url + "?signature=1")
    assert path == os.path.join(vhpack.inputs("data").dir_path(), "cats.csv")
    assert Path(path).read_bytes() == b"cats"
    assert nothing_half(os.path.dirname(path))


def test_redirections_are_followed_and_the_name_stays(site: Site) -> None:
    site.put("/real.bin", b"cats")
    site.put("/second", location="/real.bin")
    url = site.put("/cats.csv", location=site.url + "/second")
    path = path_of(url)
    assert path.endswith("/cats.csv")
    assert Path(path).read_bytes() == b"cats"


def test_endless_redirections_are_an_error(site: Site) -> None:
    url = site.put("/round", location="/round")
    with pytest.raises(vhpack.DownloadError, match="redirections"):
        prepared(url).path()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_an_error_at_once(site: Site, status: int) -> None:
    url = site.put("/a.csv", b"no", status=status)
    with pytest.raises(vhpack.DownloadError, match=str(status)) as caught:
        prepared(url + "?secret=x").path()
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == url
    assert "secret" not in str(caught.value)
    assert site.count("/a.csv") == 1
    assert not os.path.exists(os.path.join(vhpack.inputs("data").dir_path(), "a.csv"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(site: Site, status: int) -> None:
    assert content(site.put("/a.csv", b"cats", failures=[status, status])) == [b"cats"]
    assert site.count("/a.csv") == 3


def test_a_failure_that_does_not_pass_is_an_error(site: Site) -> None:
    url = site.put("/a.csv", b"cats", failures=[500] * 99)
    with pytest.raises(vhpack.DownloadError, match="500"):
        prepared(url).path()
    assert site.count("/a.csv") == download.TRIES


def test_a_server_that_asks_for_time_gets_it(site: Site) -> None:
    url = site.put("/a.csv", b"cats", failures=[503], retry_after="1")
    before = time.monotonic()
    assert content(url) == [b"cats"]
    assert time.monotonic() - before >= 1


def test_a_cut_download_goes_on_where_it_was(site: Site) -> None:
    assert content(site.put("/a.bin", BIG, cuts=[1 << 20, 1 << 20])) == [BIG]
    ranges = [asked.headers.get("Range") for asked in site.asked]
    assert ranges == [None, f"bytes={1 << 20}-", f"bytes={2 << 20}-"]


def test_a_cut_download_goes_on_in_the_next_run(site: Site) -> None:
    url = site.put("/a.bin", BIG, cuts=[1 << 20, *[0] * 99])
    with pytest.raises(vhpack.DownloadError):
        prepared(url).path()
    site.put("/a.bin", BIG)
    assert content(url) == [BIG]
    assert site.asked[-1].headers["Range"] == f"bytes={1 << 20}-"


def test_a_file_that_changed_meanwhile_is_not_glued_together(site: Site) -> None:
    url = site.put("/a.bin", BIG, cuts=[1 << 20, *[0] * 99])
    with pytest.raises(vhpack.DownloadError):
        prepared(url).path()
    other = bytes(reversed(BIG))
    site.put("/a.bin", other)
    assert content(url) == [other]


def test_a_server_that_forgets_conditions_glues_nothing_together(site: Site) -> None:
    url = site.put("/a.bin", BIG, cuts=[1 << 20, *[0] * 99])
    with pytest.raises(vhpack.DownloadError):
        prepared(url).path()
    other = bytes(reversed(BIG))
    site.put("/a.bin", other, heeds=False)
    assert content(url) == [other]


@pytest.mark.parametrize(
    "more", [{"ranges": False}, {"etag": False}, {"etag": False, "modified": "Fri, 20 Nov 2026 10:00:00 GMT"}]
)
def test_a_cut_download_comes_whole_from_any_server(site: Site, more: dict[str, object]) -> None:
    assert content(site.put("/a.bin", BIG, cuts=[1 << 20, 2 << 20], **more)) == [BIG]


def test_a_file_without_a_length_comes_whole(site: Site) -> None:
    assert content(site.put("/a.bin", BIG, lengths=False)) == [BIG]


@pytest.mark.parametrize(("name", "unpacked"), [("a.csv", True), ("a.csv.gz", False), ("a.txt.GZ", False)])
def test_what_comes_packed_unasked_is_what_its_name_says(site: Site, name: str, unpacked: bool) -> None:
    packed = gzip.compress(BIG[:300_000])
    url = site.put(f"/{name}", packed, headers={"Content-Encoding": "gzip"}, cuts=[1000])
    for _ in range(2):
        assert content(url) == [BIG[:300_000] if unpacked else packed]


def test_an_encoding_that_nobody_asked_for_is_an_error(site: Site) -> None:
    with pytest.raises(vhpack.DownloadError, match="encoded as br"):
        prepared(site.put("/a.csv", b"?", headers={"Content-Encoding": "br"})).path()


def test_an_empty_file_is_a_file(site: Site) -> None:
    url = site.put("/a.csv", b"")
    assert content(url) == [b""]
    assert content(url) == [b""]


def test_a_silent_server_is_asked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_TIMEOUT", "0.3")
    assert content(site.put("/a.csv", b"cats", stalls=1)) == [b"cats"]


def test_a_slow_server_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_TIMEOUT", "2")
    assert content(site.put("/a.bin", BIG[:10_000], pause=0.05)) == [BIG[:10_000]]
    assert len(site.asked) == 1


@pytest.mark.parametrize("text", ["0", "soon", "-1", "nan"])
def test_a_timeout_that_is_none_is_refused(text: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_TIMEOUT", text)
    with pytest.raises(vhpack.OptionError, match="VHPACK_TIMEOUT"):
        prepared(site.put("/a.csv")).path()


def test_nobody_there_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(vhpack.DownloadError, match="refused"):
        prepared(f"http://127.0.0.1:{port}/a.csv").path()


def test_name_and_password_go_into_a_header_and_no_message(site: Site) -> None:
    site.put("/a.csv", status=404)
    with pytest.raises(vhpack.DownloadError) as caught:
        prepared(site.url.replace("//", "//ann:pa%40ss@") + "/a.csv").path()
    assert "ss@" not in str(caught.value)
    assert site.asked[0].headers["Authorization"] == "Basic YW5uOnBhQHNz"


# --- the cache -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"etag": False, "modified": "Fri, 20 Nov 2026 10:00:00 GMT"}])
def test_what_has_not_changed_is_not_fetched_again(site: Site, more: dict[str, object]) -> None:
    url = site.put("/a.csv", b"cats", **more)
    first = path_of(url)
    before = os.stat(first)
    assert content(url) == [b"cats"]
    assert (os.stat(first).st_ino, os.stat(first).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(site.asked) == 2


@pytest.mark.parametrize("changed", [b"more cats", b"dogs"])
@pytest.mark.parametrize("more", [{}, {"etag": False}])
def test_what_has_changed_is_fetched_again(site: Site, more: dict[str, object], changed: bytes) -> None:
    url = site.put("/a.csv", b"cats", **more)
    assert content(url) == [b"cats"]
    site.put("/a.csv", changed, **more)
    assert content(url) == [changed]


@pytest.mark.parametrize(("now", "asked"), [(b"cats", "304"), (b"dogs", "200")])
def test_what_came_whole_in_a_run_that_was_killed_is_asked_about(site: Site, now: bytes, asked: str) -> None:
    url = site.put("/a.csv", b"cats")
    path = path_of(url)
    (cached,) = Path(paths.cache_path()).rglob("content")
    # As a kill leaves it between the last byte and the name.
    cached.rename(cached.with_name("part"))
    cached.with_name("record.json").rename(cached.with_name("part.json"))
    os.unlink(path)
    site.put("/a.csv", now)
    assert content(url) == [now]
    assert ("If-None-Match" in site.asked[-1].headers, len(site.asked)) == (True, 2), asked


def test_a_changed_url_with_the_same_name_brings_its_own_content(site: Site) -> None:
    assert content(site.put("/v1/a.csv", b"one")) == [b"one"]
    assert content(site.put("/v2/a.csv", b"two")) == [b"two"]
    assert content(site.url + "/v1/a.csv") == [b"one"]


def test_two_urls_with_one_name_never_mix(site: Site) -> None:
    found = list(prepared(site.put("/v1/a.csv", b"one"), site.put("/v2/a.csv", b"two")).paths())
    assert [os.path.basename(path) for path in found] == ["a.csv", "a.csv"]
    assert [Path(path).read_bytes() for path in found] == [b"one", b"two"]


def test_two_steps_share_what_they_download(site: Site) -> None:
    url = site.put("/a.csv", b"cats")
    first, second = (path_of(url, step=step) for step in ("one", "two"))
    assert first != second
    assert Path(second).read_bytes() == b"cats"
    assert [asked.headers.get("If-None-Match") is None for asked in site.asked] == [True, False]


def test_a_run_asks_once(site: Site) -> None:
    data = prepared(site.put("/a.csv", b"cats"))
    for _ in range(3):
        data.path()
    assert len(site.asked) == 1
    data.path(force_download=True)
    assert len(site.asked) == 2
    assert "If-None-Match" not in site.asked[1].headers


def test_a_server_that_is_down_does_not_matter_to_who_has_a_copy(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    url = site.put("/a.csv", b"cats")
    content(url)
    site.put("/a.csv", failures=[500] * 99)
    assert content(url) == [b"cats"]
    assert "cannot ask whether" in capfd.readouterr().err


def test_a_copy_that_somebody_touched_is_no_copy(site: Site) -> None:
    url = site.put("/a.csv", b"cats")
    path = path_of(url)
    os.unlink(path)
    for cached in Path(paths.cache_path()).rglob("content"):
        cached.write_bytes(b"dogs")
    assert content(url) == [b"cats"]


def test_a_file_that_was_put_there_by_hand_stays(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    url = site.put("/a.csv", b"cats")
    vhpack.prepare(step="train")
    mine = Path(vhpack.inputs("data").dir_path(), "a.csv")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own")
    assert content(url) == [b"my own"]
    assert site.asked == []
    assert "put there by hand" in capfd.readouterr().err
    assert prepared(url).path(force_download=True) == str(mine)
    assert mine.read_bytes() == b"cats"


def test_several_processes_download_one_file_once_and_whole(site: Site) -> None:
    url = site.put("/a.bin", BIG[:200_000], pause=0.001)
    code = (
        f"import hashlib, vhpack; vhpack.prepare(step='train', default_inputs={{'data': {url!r}}})\n"
        "with vhpack.inputs('data').stream() as file: print(hashlib.md5(file.read()).hexdigest())"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {child.communicate(timeout=120)[0].strip() for child in children}
    assert said == {hashlib.md5(BIG[:200_000]).hexdigest()}
    assert sum("If-None-Match" not in asked.headers for asked in site.asked) == 1


# --- many, and Ctrl-C ----------------------------------------------------------------------------------------------------


def test_many_files_come_at_once_and_in_order(site: Site) -> None:
    urls = [site.put(f"/{number}.bin", bytes([number]) * 4096, pause=0.02) for number in range(12)]
    assert content(*urls) == [bytes([number]) * 4096 for number in range(12)]
    assert site.most_at_once > 1


def test_only_what_a_filter_wants_is_downloaded(site: Site) -> None:
    urls = [site.put(f"/{name}", name.encode()) for name in ("a.csv", "b.txt", "c.zip")]
    assert [Path(path).name for path in prepared(*urls).paths("*.csv", process_archives=False)] == ["a.csv"]
    assert [asked.path for asked in site.asked] == ["/a.csv"]


def test_the_first_failure_ends_the_others(site: Site) -> None:
    slow = [site.put(f"/{number}.bin", BIG, pause=0.5) for number in range(4)]
    with pytest.raises(vhpack.DownloadError, match="404"):
        prepared(*slow, site.url + "/missing").path()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


@pytest.mark.parametrize("more", [{"pause": 0.2}, {"stalls": 9}])
def test_an_interrupt_ends_at_once_and_keeps_what_came(site: Site, more: dict[str, object], tmp_path: Path) -> None:
    url = site.put("/a.bin", BIG, **more)
    script = tmp_path / "train.py"
    script.write_text(
        "import vhpack\n"
        f"vhpack.prepare(step='train', default_inputs={{'data': {url!r}}})\n"
        "try:\n    vhpack.inputs('data').path()\n"
        "except KeyboardInterrupt:\n    print('stopped')\n"
    )
    child = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not site.asked:
        time.sleep(0.01)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (out, child.returncode) == ("stopped\n", 0), err
    assert not list(Path(paths.get_inputs_path()).rglob("a.bin"))


def test_a_terminal_sees_how_far_it_is(site: Site, tmp_path: Path) -> None:
    import pty

    url = site.put("/a.bin", BIG[:20_000], pause=0.05)
    script = tmp_path / "train.py"
    script.write_text(
        f"import vhpack\nvhpack.prepare(step='train', default_inputs={{'data': {url!r}}})\nvhpack.inputs('data').path()\n"
    )
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, script], stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"})
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # a terminal whose other end has gone
        pass
    os.close(ours)
    assert child.wait(60) == 0
    assert b"Downloading data" in seen
    assert b"0/1 files" in seen


def test_the_command_line_overrides_a_rate_and_a_training_set(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import vhpack as valohai\n"
        "valohai.prepare(\n"
        "    step='train', image='tensorflow/tensorflow:gpu', default_parameters={'learning-rate': 0.001},\n"
        "    default_inputs={'training-set': 'http://example.com/training_set.zip'})\n"
        "with valohai.inputs('training-set').stream() as file:\n"
        "    print(valohai.parameters('learning-rate').value, file.read().decode())\n"
    )
    command = [sys.executable, str(script), "--learning-rate=.002", f"--training-set={site.put('/other.csv', b'cats')}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ran.stdout, ran.stderr) == ("0.002 cats\n", "")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("503 Busy\r\nRetry-After: \xb2\r\nContent-Length: 0", "503"),
        ("200 OK\r\nContent-Length: 2\r\nContent-Length: 5", "unmatching"),
        (f"206 Part\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/{'9' * 5000}", "changes faster"),
        ("206 Part\r\nContent-Length: 2\r\nContent-Range: bytes 7-8/9", "changes faster"),
        ("206 Part\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/*", "changes faster"),
        ("302 There\r\nLocation: http://[::bad\r\nContent-Length: 0", "cannot download"),
        ("302 There\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", "cannot download"),
        ("302 There\r\nContent-Length: 0", "302"),
        ("204 None", "204"),
        ("999999 Much", "cannot download"),
        ("200 OK\r\nTransfer-Encoding: chunked", "cannot download"),
        ("200 OK\r\n" + "\r\n".join(f"X-{n}: y" for n in range(200)), "cannot download"),
        ("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2", "cannot download"),
    ],
)
def test_whatever_a_server_says_the_error_is_a_sentence(head: str, said: str, site: Site) -> None:
    url = site.put("/raw", raw=f"HTTP/1.1 {head}\r\n\r\nhi".encode("latin-1"))
    with pytest.raises(vhpack.DownloadError, match=said) as caught:
        path_of(url)
    assert caught.value.filename == url
    assert nothing_half(paths.get_inputs_path())


@pytest.mark.parametrize(
    "headers",
    ["Content-Encoding: \r\nContent-Length: 2", "Content-Length: \xb2", "Content-Length: -2", f"Content-Length: {'9' * 5000}"],
)
def test_headers_that_say_nothing_are_left_out_of_account(headers: str, site: Site) -> None:
    url = site.put("/raw", raw=f"HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n\r\nhi".encode("latin-1"))
    assert content(url) == [b"hi"]


def test_a_body_that_goes_on_is_not_taken_for_more_than_was_promised(site: Site) -> None:
    much = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = b"HTTP/1.1 206 Part\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-9/10\r\n\r\n"
    url = site.put("/raw", raw=head + much * 200)
    with pytest.raises(vhpack.DownloadError, match="after the 10 bytes that were promised"):
        path_of(url)
    assert sum(path.stat().st_size for path in Path(paths.cache_path()).rglob("*") if path.is_file()) < 1000
    listed({"a.txt": {"uri": site.put("/b", bytes(1 << 20), lengths=False), "size": 10}})
    with pytest.raises(vhpack.DownloadError, match="after the 10 bytes that were promised"):
        path_of()


def test_a_name_that_no_file_can_have_is_an_error_that_names_both(site: Site) -> None:
    url = site.put("/" + "n" * 300, b"x")
    with pytest.raises(vhpack.DownloadError, match="File name too long") as caught:
        path_of(url)
    assert url in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1/a", "file://[::1/a"])
def test_a_url_that_is_none_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(vhpack.DownloadError, match="Invalid IPv6 URL"):
        path_of(url)


def test_a_download_that_was_killed_between_name_and_note_is_no_file_put_there_by_hand(
    site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.put("/a.txt", b"one")
    assert content(url) == [b"one"]
    site.pages["/a.txt"].content = b"three"
    replace = os.replace

    def killed(source: str, target: str) -> None:
        replace(source, target)
        if os.path.basename(target) == "a.txt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            content(url)
    site.pages["/a.txt"].content = b"fourteen"
    assert content(url) == [b"fourteen"]
    assert "by hand" not in capfd.readouterr().err


def test_what_fills_a_disk_does_not_keep_it_full(site: Site, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that came would be of use to a later run, and in everybody's way until then."""
    monkeypatch.setenv("VH_INPUTS_DIR", str(small_disk))
    url = site.put("/big.bin", BIG)

    with pytest.raises(vhpack.DownloadError, match="No space left") as caught:
        path_of(url)

    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == []
    small = site.put("/small.bin", b"small")
    assert content(small) == [b"small"]
