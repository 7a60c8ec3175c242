"""Which server, which account and which options count: those that are nearest, wholly, and nobody else's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vhpack
from tests.engine.command import VHPACK, run
from tests.engine.trees import noise
from tests.upload.proxy import Fault, proxy
from tests.upload.sending import MIB, PART, SECONDS, around, command, send, sent, started, until
from tests.upload.servers import KEY, SECRET, Server, free_port
from vhpack import destinations, env, outbox
from vhpack.runs import Destination

CONTENT = noise(200_000, 1)


@pytest.fixture
def file(work: Path) -> Path:
    (work / "a.bin").write_bytes(CONTENT)
    return work / "a.bin"


def test_what_is_said_stands_above_the_environment(moto: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server, and half of another account, are in the environment."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another's")
    with proxy(moto) as between:
        assert sent(moto, file).wait()
        assert between.count("^PUT ") == 1
        assert not any(b"x-amz-security-token" in passed.head.lower() for passed in between.passed)
    assert moto.read("a.bin") == CONTENT


@pytest.mark.parametrize(
    ("scheme", "given", "variables"),
    [
        ("azure", {"sas_token": "x"}, {"AZURE_STORAGE_ACCOUNT_KEY": "y", "AZURE_STORAGE_ACCOUNT_NAME": "n"}),
        ("gs", {"service_account_key": "x"}, {"GOOGLE_APPLICATION_CREDENTIALS": "y"}),
        ("s3", {"aws_access_key_id": "x", "aws_secret_access_key": "z"}, {"AWS_SESSION_TOKEN": "y"}),
    ],
)
def test_an_account_comes_from_one_place(
    scheme: str, given: dict[str, str], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert "y" not in destinations.from_environment(scheme, given).values()
    assert "y" in destinations.from_environment(scheme, {}).values()


@pytest.mark.parametrize(
    "name",
    ["server_side_encryption", "sse_kms_key_id", "sse_customer_key_base64", "request_payer", "proxy_url", "s3_express"],
)
def test_an_option_that_nothing_would_heed_is_refused(moto: Server, file: Path, name: str) -> None:
    with pytest.raises(vhpack.BadDestinationError, match=name):
        sent(moto, file, **{name: "true"}).wait()
    assert moto.names() == []


def test_an_endpoint_without_encryption_may_be_forbidden(moto: Server, file: Path) -> None:
    options = {**moto.options(), "allow_http": "false"}
    (upload,) = vhpack.uploading.begin([(str(file), moto.uri("a.bin"))], Destination(moto.uri(), options))
    with pytest.raises(vhpack.BadDestinationError, match="not encrypted"):
        upload.wait(SECONDS)


@pytest.mark.parametrize("uri", ["https://host/run#7/", "s3://bucket?region=x/run"])
def test_a_uri_that_means_something_else_is_refused(file: Path, uri: str) -> None:
    ended = run([VHPACK, "upload", file, "--to", uri, "-q"], file.parent, timeout=SECONDS)
    assert ended.code == 1, ended
    assert "Error: " in ended.err


def test_a_password_in_a_uri_is_refused_and_not_repeated(file: Path) -> None:
    ended = run([VHPACK, "upload", file, "--to", "https://me:geheim@host/run/", "-q"], file.parent, timeout=SECONDS)
    assert ended.code == 1
    assert "header:Authorization" in ended.err
    assert "geheim" not in ended.err + ended.out


def test_the_root_of_all_files_is_a_folder() -> None:
    assert destinations.below("file:///", "a b.bin") == "file:///a%20b.bin"


def test_headers_stay_with_their_host() -> None:
    vhpack.set_upload_destination("https://a/run", **{"header:Authorization": "secret"}, max_bps=5)
    known = destinations.chosen("https://b/run", env.read())
    assert known is not None
    assert known.options == {"max_bps": "5"}
    same = destinations.chosen("https://a/other", env.read())
    assert same is not None
    assert "header:Authorization" in same.options


def test_limits_hold_for_every_scheme_and_change_when_nothing_is_under_way(moto: Server, file: Path, work: Path) -> None:
    vhpack.set_upload_destination("s3://bucket/run", memory="16MiB")
    known = destinations.chosen(f"file://{work}", env.read())
    assert known is not None
    assert known.options == {"memory": "16MiB"}
    assert sent(moto, file, memory="16MiB").wait()
    assert sent(moto, file, memory="32MiB").wait()
    with proxy(moto, Fault("^PUT ", "stall", times=-1)):
        (upload,) = send(moto, {"b.bin": file}, memory="32MiB")
        with pytest.raises(vhpack.OptionError, match="under way"):
            send(moto, {"c.bin": file}, memory="16MiB")
        upload.cancel()
        assert upload._wait(SECONDS)


@pytest.mark.parametrize("wrong", ["region", "clock"])
def test_requests_that_were_signed_wrongly_together_are_all_signed_again(moto: Server, work: Path, wrong: str) -> None:
    bodies = {
        "region": b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
        "clock": b"<Error><Code>RequestTimeTooSkewed</Code></Error>",
    }
    status = {"region": 400, "clock": 403}[wrong]
    late = ("Date: Fri, 01 Jan 2100 12:00:00 GMT",)
    for number in range(8):
        (work / f"{number}.bin").write_bytes(noise(300_000, number))
    right = b"/eu-west-1/" if wrong == "region" else b"x-amz-date: 2100"
    refusal = Fault("^PUT ", "status", status, times=-1, body=bodies[wrong], headers=late, unless=right, pause=0.3)
    with proxy(moto, refusal) as between:
        uploads = send(moto, {f"{number}.bin": work / f"{number}.bin" for number in range(8)})
        assert vhpack.wait_for_uploads(SECONDS).done == uploads
        assert between.faults[0].done > 1


def test_a_region_that_is_never_right_ends(moto: Server, file: Path) -> None:
    faults = [
        Fault("^PUT ", "status", 400, body=b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>r%d</Region></Error>" % n)
        for n in range(100)
    ]
    with proxy(moto, *faults) as between, pytest.raises(vhpack.NoSuchBucketError, match="region"):
        sent(moto, file).wait()
    assert len(between.passed) < 30


def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, region: str = "eu-north-1") -> None:
    (tmp_path / "keys.py").write_text(script)
    told = f"[default]\nregion = {region}\ncredential_process = {sys.executable} {tmp_path / 'keys.py'}\n"
    (tmp_path / "config").write_text(told)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def test_keys_that_have_expired_are_renewed_while_nobody_waits(
    rclone: Server, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile's first keys are refused by a server that checks signatures; its region counts, too."""
    script = f"""
import datetime, json, pathlib
asked = pathlib.Path(__file__).with_name("asked")
first = not asked.exists()
asked.touch()
ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1 if first else 9000)
secret = "another" if first else {SECRET!r}
print(json.dumps({{"Version": 1, "AccessKeyId": {KEY!r}, "SecretAccessKey": secret, "SessionToken": "", "Expiration": ends.isoformat()}}))
"""
    profile(tmp_path, monkeypatch, script)
    options = {name: value for name, value in rclone.options().items() if name == "allow_http"}
    with proxy(rclone) as between:
        options["endpoint"] = between.url
        (upload,) = vhpack.uploading.begin([(str(file), rclone.uri("a.bin"))], Destination(rclone.uri(), options))
        until(lambda: upload.state in ("done", "failed"))
        assert (upload.state, upload.error) == ("done", None)
        assert b"/eu-north-1/" in between.passed[-1].head
    assert rclone.read("a.bin") == CONTENT


def test_uploads_of_one_profile_share_its_lanes(
    rclone: Server, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET}
    profile(tmp_path, monkeypatch, f"import json; print(json.dumps({told!r}))", "us-east-1")
    for number in range(6):
        (work / f"{number}.bin").write_bytes(CONTENT)
    with proxy(rclone, Fault("^PUT ", "delay", 100, times=-1)) as between:
        options = {"endpoint": between.url, "allow_http": "true", "concurrency": "1"}
        pairs = [(str(work / f"{number}.bin"), rclone.uri(f"{number}.bin")) for number in range(6)]
        vhpack.uploading.begin(pairs, Destination(rclone.uri(), options))
        most = 0
        while outbox.own().unfinished():
            most = max(most, sum(not passed.status for passed in between.passed))
    assert most == 1


def test_options_given_to_resume_stand_above_those_recorded(moto: Server, work: Path, state: Path) -> None:
    """The server has moved to another port."""
    content = noise(PART + MIB, 1)
    (work / "a.bin").write_bytes(content)
    with proxy(moto, Fault("^PUT .*partNumber=2", "stall", times=-1)) as before:
        environment = around(moto, state)
        words = [*command(moto, work / "a.bin", ""), "--option", f"endpoint={before.url}"]
        process = started(words, environment, work)
        until(lambda: before.count("partNumber=2"))
        process.kill()
        process.communicate()
    ended = run([VHPACK, "resume", "-q", "--option", f"endpoint={moto.url}"], work, environment=environment, timeout=SECONDS)
    assert (ended.code, ended.err) == (0, "")
    assert moto.read("a.bin") == content


def test_addresses_that_were_signed_are_written_nowhere(state: Path, file: Path) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    for options in ({}, {"part_urls": f"{where}/1?sig=geheim", "complete_url": f"{where}/2?sig=geheim", "part_size": "9000000"}):
        uri = f"{where}/a.bin" if options else f"{where}/b.bin?sig=geheim"
        vhpack.uploading.begin([(str(file), uri)], Destination(uri, {**options, "give_up_seconds": "1"}))
    vhpack.wait_for_uploads(SECONDS, raise_on_error=False)
    assert not any(b"geheim" in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_records_have_a_folder_also_where_nobody_is_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert env.read().state_home == f"/var/tmp/vhpack-{os.geteuid()}"


def test_one_name_on_two_servers_is_two_uploads(servers: Callable[[str], Server], work: Path, state: Path) -> None:
    """Also where the first is under way, and where a watch of the folder has sent all of it to the first."""
    one, two = servers("moto"), servers("rclone")
    one.new_bucket()
    two.new_bucket(one.bucket)
    (work / "there").mkdir()
    (work / "there/a.bin").write_bytes(noise(2 * PART, 1))
    with proxy(one, Fault("^PUT ", "slow", 4 * MIB, times=-1)):
        uploads = [*send(one, {"a.bin": work / "there/a.bin"}), *send(two, {"a.bin": work / "there/a.bin"})]
        for upload in uploads:
            assert upload.wait(SECONDS)
    assert one.read("a.bin") == two.read("a.bin") == noise(2 * PART, 1)
    for server in (one, two):
        words = [VHPACK, "watch", "there", "--to", server.uri("watched"), "--once", "--finish", "-q"]
        ended = run(words, work, environment=around(server, state), timeout=SECONDS)
        assert ended.code == 0, ended
        assert server.read("watched/a.bin") == noise(2 * PART, 1)
