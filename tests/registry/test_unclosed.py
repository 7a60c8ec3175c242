"""Files that are still open when their run is registered: what is registered is whole, and stays what it is."""

from __future__ import annotations

import contextlib
import errno
import gzip
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import vhpack
from tests.registry.making import content_of, script
from vhpack import gathering, hashing
from vhpack.errors import JobWarning
from vhpack.writers import has_writers


def test_what_a_script_has_not_closed_is_written_before_it_is_registered(local: Path) -> None:
    ended = script(
        local,
        "import atexit, logging\n"
        "atexit.register(lambda: model.write(' and more'))\n"  # behind the end of the run, which is registered later
        "import vhpack\n"
        "vhpack.prepare(step='train')\n"
        "model = open(vhpack.outputs().path('model.txt'), 'w')\n"
        "model.write('weights')\n"
        "logging.basicConfig(filename=vhpack.outputs().path('log.txt'), level='INFO', format='%(message)s')\n"
        "logging.info('done')\n"
        "with vhpack.output_properties() as properties:\n"
        "    properties.add_alias(file='model.txt', alias='model')\n",
    )
    assert (ended.code, ended.err.count("\n")) == (0, 1), ended
    assert content_of("datum://model") == "weights"
    (log,) = vhpack.data.find("log.txt")
    assert content_of(log.uri) == "done\n"
    assert vhpack.data.verify() == [], "what is written at the very end goes to the file, and not into the store"
    (file,) = (local / ".valohai/outputs").glob("*/model.txt")
    assert file.read_text() == "weights and more"


@pytest.mark.usefixtures("local")
def test_what_is_written_after_the_end_of_a_run_never_reaches_its_data() -> None:
    with vhpack.run(step="train") as run:
        text = open(vhpack.outputs().path("text.txt"), "w")  # noqa: SIM115 - that it is not closed is the point
        raw = open(vhpack.outputs().path("raw.bin"), "wb", buffering=0)  # noqa: SIM115
        closed = Path(vhpack.outputs().path("closed.txt"))
        text.write("text")
        raw.write(b"raw")
        closed.write_text("closed")
    text.write(" goes on")
    raw.write(b" goes on")
    for file in (text, raw):
        file.close()
    assert [content_of(datum.uri) for datum in vhpack.data.find(run=run.hash)] == ["closed", "raw", "text"]
    assert vhpack.data.verify() == []
    assert closed.stat().st_nlink == 2, "a copy only of what can be written to"


@pytest.mark.usefixtures("local")
def test_what_another_library_holds_back_is_said() -> None:
    with (  # noqa: PT031 - it is the end that warns
        pytest.warns(JobWarning, match=r"^map\.bin, packed\.gz, raw: registered as it is now, open for writing"),
        vhpack.run(step="train"),
    ):
        packed = gzip.open(vhpack.outputs().path("packed.gz"), "wb")  # noqa: SIM115
        packed.write(b"weights")
        raw = os.open(vhpack.outputs().path("raw"), os.O_WRONLY | os.O_CREAT)
        Path(vhpack.outputs().path("map.bin")).write_bytes(b"12")
        with open(vhpack.outputs().path("map.bin"), "r+b") as file:
            mapped = mmap.mmap(file.fileno(), 2)
    mapped[0:1] = b"X"
    mapped.close()
    packed.close()
    os.close(raw)
    assert vhpack.data.verify() == []


@contextlib.contextmanager
def writer(code: str, *paths: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has opened what it writes to, and goes on when it is told to."""
    text = f"import sys\nfile = open(sys.argv[1], 'ab', buffering=0)\n{code}\nprint(flush=True)\nfor line in sys.stdin:\n    file.write(b' and more')\n    print(flush=True)\n"
    process = subprocess.Popen([sys.executable, "-c", text, *paths], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        yield process


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("others", [0, 100])
def test_what_another_process_writes_to_is_kept_as_it_was_and_said(others: int) -> None:
    with contextlib.ExitStack() as ends:
        with (  # noqa: PT031 - it is the end that warns
            pytest.warns(JobWarning, match=r"^log\.txt: registered as it is now, open for writing by another process"),
            vhpack.run(step="train") as run,
        ):
            path = Path(vhpack.outputs().path("log.txt"))
            path.write_text("a line")
            for number in range(others):
                Path(vhpack.outputs().path(f"{number}.txt")).write_text(str(number))
            process = ends.enter_context(writer("", str(path)))
            os.utime(path, (1, 1))
        go_on(process)
    assert path.read_text() == "a line and more"
    assert content_of(vhpack.data.find("log.txt", run=run.hash)[0].uri) == "a line"
    assert len(vhpack.data.find(run=run.hash)) == others + 1
    assert vhpack.data.verify() == []


@pytest.mark.usefixtures("local")
def test_what_another_process_writes_to_now_and_then_while_all_is_read_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    both = hashing.both

    def go_on_and_read(paths: Sequence[str]) -> list[tuple[str, str]]:
        if len(paths) > 1:
            go_on(process)
        return both(paths)

    monkeypatch.setattr(hashing, "both", go_on_and_read)
    with (  # noqa: PT031 - it is the end that warns
        contextlib.ExitStack() as ends,
        pytest.warns(JobWarning, match=r"^log\.txt: registered as it is now, open for writing by another process"),
        vhpack.run(step="train") as run,
    ):
        Path(vhpack.outputs().path("weights.bin")).write_text("weights")
        path = Path(vhpack.outputs().path("log.txt"))
        path.write_text("a line")
        process = ends.enter_context(writer("", str(path)))
        os.utime(path, (1, 1))
    assert content_of(vhpack.data.find("log.txt", run=run.hash)[0].uri) == "a line and more"
    assert vhpack.data.verify() == []


@pytest.mark.usefixtures("local")
def test_a_lease_that_a_server_refuses_says_nothing_of_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS and its like lease only what their servers have left to this machine: all files there would count as open."""
    monkeypatch.setattr("vhpack.mounts.read", lambda: "36 35 98:0 / / rw - nfs4 server:/export rw")

    def refuse(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("vhpack.writers.fcntl.fcntl", refuse)
    with vhpack.run(step="train") as run:
        path = Path(vhpack.outputs().path("a.txt"))
        path.write_text("a")
    assert path.stat().st_nlink == 2
    assert content_of(vhpack.data.find(run=run.hash)[0].uri) == "a"


@pytest.mark.usefixtures("local")
def test_what_another_process_has_mapped_is_no_content_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the kernel knows of it: there is no open file any more."""
    mapped = "import mmap\nwith open(sys.argv[1], 'r+b') as opened:\n    map = mmap.mmap(opened.fileno(), 0)\nfile.close()\n"
    with pytest.warns(JobWarning, match=r"^map\.bin: "), vhpack.run(step="train"):  # noqa: PT031 - it is the end that warns
        path = Path(vhpack.outputs().path("map.bin"))
        path.write_bytes(b"12")
        with writer(mapped, str(path)):
            monkeypatch.setattr(gathering, "_FRESH_NS", 0)
            assert has_writers(str(path))
            from vhpack import recording, runs

            recording.register(runs.current(), None)
            assert path.stat().st_nlink == 1
    assert vhpack.data.verify() == []


@pytest.mark.usefixtures("local")
def test_a_log_that_goes_on_while_its_run_is_registered_is_kept_as_far_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    from vhpack.registry.store import Store

    keep = Store.keep

    def log_and_keep(store: Store, *arguments: object) -> object:
        log.write(b"another line\n")
        return keep(store, *arguments)  # type: ignore[arg-type]

    with open("elsewhere", "wb", buffering=0), vhpack.run(step="train") as run:
        log = open(vhpack.outputs().path("log.txt"), "ab", buffering=0)  # noqa: SIM115
        log.write(b"a line\n")
        monkeypatch.setattr(Store, "keep", log_and_keep)
    log.close()
    (datum,) = vhpack.data.find(run=run.hash)
    assert content_of(datum.uri) == "a line\n"
    assert vhpack.data.verify() == []
