"""The sections that upload, all to one S3 server on loopback: `rclone serve s3`, which checks signatures and keeps its objects as files.

The server runs beside the contestants and takes its share of the cores, the same for each of them; what is compared is the sender. So
its files are where extracted trees are, in memory if that has the room: on a disk, every contestant would wait for the same disk.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from contestants import Command, Contestant, Place, Section

BUCKET = "bench"
KEY, SECRET = "ACCESSKEY0001", "SECRETKEY0001"
RCLONE = Path(sysconfig.get_path("scripts"), "rclone")
START_SECONDS = 30


# --- the server -----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(root: Path, state: Path) -> Iterator[Mapping[str, str]]:
    """Run the server on a free port; give the environment by which every contestant finds it. vhpack's records are on the corpora's disk."""
    (root / BUCKET).mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    # Folders are removed behind its back, between the runs, and their names never come again: without its cache of folders, the server
    # lists all of them for each request, 50 ms of work a file. What it has written it does not read once more, neither to compare it with
    # itself nor to tell its tag, which stores know: that was more than half of its work, and that is several times the senders'.
    flags = [
        "--addr",
        address,
        "--auth-key",
        f"{KEY},{SECRET}",
        "--ignore-checksum",
        "--etag-hash",
        "",
        "--config",
        os.devnull,
        "-q",
    ]
    running = subprocess.Popen([RCLONE, "serve", "s3", *flags, root], stdin=subprocess.DEVNULL)
    try:
        wait_for(running, address)
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://{address}",
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "VHPACK_STATE_DIR": os.fspath(state),
        }
    finally:
        running.kill()
        running.wait()


def wait_for(running: subprocess.Popen[bytes], address: str) -> None:
    host, port = address.split(":")
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("rclone's S3 server does not start")


def root(trees: Path) -> Path:
    """Give the folder of the server's buckets."""
    return trees / "s3"


# --- command lines --------------------------------------------------------------------------------------------------------------


def upload(place: Place) -> list[str]:
    return sends(place, os.fspath(place.source))


def upload_archive(place: Place) -> list[str]:
    return sends(place, place.archive)


def sends(place: Place, what: str) -> list[str]:
    return [os.fspath(place.setting.vhpack), "upload", what, "--to", f"s3://{BUCKET}/{place.output.name}/", "-q"]


def pack(place: Place) -> list[str]:
    return [
        os.fspath(place.setting.vhpack),
        "compress",
        os.fspath(place.source / "*"),
        "-o",
        os.fspath(place.output / "all.zip"),
        "-q",
    ]


def rclone(*flags: str) -> Command:
    def command(place: Place) -> list[str]:
        remote = f":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='{os.environ['AWS_ENDPOINT_URL_S3']}'"
        return [os.fspath(RCLONE), *flags, os.fspath(place.source), f"{remote}:{BUCKET}/{place.output.name}"]

    return command


def by_script(how: str) -> Command:
    def command(place: Place) -> list[str]:
        script = Path(__file__).with_name("uploaders.py")
        return [sys.executable, os.fspath(script), how, os.fspath(place.source), BUCKET, place.output.name]

    return command


# --- sections -------------------------------------------------------------------------------------------------------------------


def peers(corpus: str) -> tuple[Contestant, ...]:
    return (
        Contestant("vhpack upload", upload, corpus),
        Contestant("rclone copy", rclone("copy", "--config", os.devnull), corpus, os.fspath(RCLONE)),
        Contestant(
            "rclone copy, 8 at once", rclone("copy", "--transfers", "8", "--config", os.devnull), corpus, os.fspath(RCLONE)
        ),
        Contestant("boto3", by_script("boto3"), corpus, "import boto3"),
        Contestant("obstore", by_script("obstore"), corpus, "import obstore"),
    )


UPLOAD = Section(
    "upload",
    "One checkpoint of 512 MiB to S3",
    peers("weights"),
    rounds=5,
    leaves="objects",
    note="""\
To `rclone serve s3` on loopback, over plain HTTP. Only vhpack checks what has arrived as a whole, and only it keeps a record from which another
process could go on. 512 MiB, since the server takes several times the work that its senders do, and is the same for all of them.
""",
)

UPLOAD_SMALL = Section("upload-small", "5,000 files of 20 KB to S3", peers("samples"), rounds=3, leaves="objects")

UPLOAD_PACK = Section(
    "upload-pack",
    "The PNG images, packed and uploaded",
    (
        Contestant("pack alone", pack, "png"),
        Contestant("upload alone", upload_archive, "png"),
        Contestant("pack and upload at once", by_script("pack"), "png"),
    ),
    rounds=3,
    source="archive and corpus",
    leaves="one object",
    note="To be at most a little slower than the slower of the two alone: the archive is sent while it grows.\n",
)

UPLOAD_LOOP = Section(
    "upload-loop",
    "A training loop while a checkpoint is uploaded",
    (
        Contestant("the loop alone", by_script("loop-alone"), "weights"),
        Contestant("while uploading", by_script("loop"), "weights"),
    ),
    rounds=7,
    leaves="report",
    note="The median step of a loop of matrix products on one core, while at most 50 MB a second are sent.\n",
)

UPLOADING = (UPLOAD, UPLOAD_SMALL, UPLOAD_PACK, UPLOAD_LOOP)
