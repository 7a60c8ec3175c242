"""Files that are still open when their run is registered: what is registered is whole, and stays what it is."""

from __future__ import annotations

import gzip
import mmap
import os
from pathlib import Path

import pytest

import vhpack
from tests.registry.making import content_of, script
from vhpack.errors import JobWarning


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
