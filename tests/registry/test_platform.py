"""What is not known here is asked of the platform, with the settings of `valohai-cli`, once."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import vhpack
from tests.registry.making import write
from tests.registry.test_inputs import read
from tests.valohai.servers import Site, http_site
from vhpack.errors import ChecksumError, DownloadError, NotRegisteredError, RegistryError

ID = str(uuid.UUID("0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1"))
CONTENT = b"theirs"
PROJECT = "1234-project"


@pytest.fixture
def site() -> Iterator[Site]:
    with http_site() as running:
        yield running


@pytest.fixture
def platform(site: Site, local: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The platform, as far as its answers are known, and a folder that `valohai-cli` has linked to a project of it."""
    settings = {
        "host": site.url + "/",
        "token": "secret",
        "user": {"username": "ann"},
        "links": {str(local): {"id": PROJECT, "name": "p"}},
    }
    write(local.parent / "settings/config.json", json.dumps(settings))
    monkeypatch.setenv("VALOHAI_CONFIG_DIR", str(local.parent / "settings"))
    serve(site)
    return site


def serve(site: Site, content: bytes = CONTENT, **more: object) -> None:
    known = {"id": ID, "name": "models/theirs.txt", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}
    url = site.put("/stored", content)
    site.put(f"/api/v0/data/{ID}", json.dumps(known).encode())
    site.put("/api/v0/datum-aliases/resolve/", json.dumps({"datum": known}).encode())
    site.put(f"/api/v0/data/{ID}/download/", json.dumps({"url": url + "?signature=x"}).encode())


def test_an_alias_and_an_id_are_asked_for_with_the_token(platform: Site) -> None:
    assert read("datum://model-prod") == ["theirs"]
    (resolved,) = [asked for asked in platform.asked if "/resolve/" in asked.path]
    assert resolved.path == f"/api/v0/datum-aliases/resolve/?name=model-prod&project={PROJECT}"
    assert resolved.headers["Authorization"] == "Token secret"
    (stored,) = [asked for asked in platform.asked if asked.path.startswith("/stored")]
    assert stored.headers["Authorization"] is None, "the token is for the platform alone"
    assert read(f"datum://{ID}") == ["theirs"]
    datum = vhpack.data.get(ID)
    assert (datum.name, datum.size, datum.location) == ("models/theirs.txt", 6, f"valohai+{platform.url}/api/v0/data/{ID}/")


def test_names_are_escaped_and_never_become_parameters(platform: Site) -> None:
    assert read("datum://a&project=evil+b#c") == ["theirs"]
    (resolved,) = [asked for asked in platform.asked if "/resolve/" in asked.path]
    assert resolved.path == f"/api/v0/datum-aliases/resolve/?name=a%26project%3Devil%2Bb%23c&project={PROJECT}"


def test_what_is_known_here_is_not_asked_for(platform: Site) -> None:
    vhpack.aliases.set("model-prod", write("ours.txt", "ours"))
    assert read("datum://model-prod") == ["ours"]
    assert platform.asked == []


def test_a_run_keeps_what_the_platform_said_when_it_was_created(platform: Site) -> None:
    from vhpack import runs

    assert read("datum://model-prod") == ["theirs"]
    run = runs.current().hash
    serve(platform, b"newer", id=str(uuid.uuid4()))
    asked = len(platform.asked)
    vhpack.prepare(step="use", default_inputs={"data": "datum://model-prod"})
    assert [Path(path).read_text() for path in vhpack.inputs("data").paths()] == ["theirs"]
    assert len(platform.asked) == asked
    assert run == runs.current().hash


def test_offline_nothing_is_asked(platform: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHPACK_OFFLINE", "1")
    with pytest.raises(NotRegisteredError, match="VHPACK_OFFLINE is set"):
        read("datum://model-prod")
    assert platform.asked == []


def test_what_was_fetched_before_is_there_offline(platform: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read(f"datum://{ID}")
    monkeypatch.setenv("VHPACK_OFFLINE", "1")
    asked = len(platform.asked)
    assert read(f"datum://{ID}") == ["theirs"]
    assert len(platform.asked) == asked


def test_what_was_fetched_before_is_there_offline_though_nobody_knows_its_digest(
    platform: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(platform, sha256=None)
    assert read(f"datum://{ID}") == ["theirs"]
    monkeypatch.setenv("VHPACK_OFFLINE", "1")
    asked = len(platform.asked)
    assert read(f"datum://{ID}") == ["theirs"]
    assert len(platform.asked) == asked


def test_projects_of_one_registry_get_the_same_datum_and_their_own_aliases(
    platform: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read("datum://model-prod") == ["theirs"]
    monkeypatch.setenv("VHPACK_PROJECT", "other")
    assert read("datum://model-prod") == ["theirs"]
    asked = len(platform.asked)
    assert read(f"datum://{ID}") == ["theirs"]
    assert len(platform.asked) == asked, "an ID is known to the registry, whoever has asked for it first"
    assert vhpack.data.find() == []


@pytest.mark.parametrize(
    ("path", "page", "error", "match"),
    [
        ("/api/v0/datum-aliases/resolve/", {"status": 404}, NotRegisteredError, "neither this registry nor http"),
        ("/api/v0/datum-aliases/resolve/", {"status": 403}, RegistryError, "says 403"),
        ("/api/v0/datum-aliases/resolve/", {"content": b"<html>"}, RegistryError, "makes no sense"),
        ("/api/v0/datum-aliases/resolve/", {"content": b'{"datum": null}'}, NotRegisteredError, "has no target"),
        ("/api/v0/datum-aliases/resolve/", {"raw": b"nonsense"}, RegistryError, "cannot be asked"),
        ("/api/v0/datum-aliases/resolve/", {"content": b'{"datum": {}}', "cuts": [5]}, RegistryError, "makes no sense"),
        ("/api/v0/datum-aliases/resolve/", {"content": b"[" * 100_000}, RegistryError, "makes no sense"),
        (f"/api/v0/data/{ID}/download/", {"status": 500}, DownloadError, "says 500"),
        (f"/api/v0/data/{ID}/download/", {"content": b"{}"}, DownloadError, "has no URL"),
        ("/stored", {"content": b"THEIRS"}, ChecksumError, "not what was promised"),
    ],
)
def test_what_goes_wrong_over_there_is_said(
    platform: Site, path: str, page: dict[str, object], error: type[Exception], match: str
) -> None:
    platform.put(path, **page)  # type: ignore[arg-type]
    with pytest.raises(error, match=match):
        read("datum://model-prod")


def test_a_folder_without_a_project_is_told_so(platform: Site, local: Path) -> None:
    write(
        local.parent / "settings/config.json",
        json.dumps({"host": platform.url, "token": "secret", "links": {"/elsewhere": {"id": "x"}}}),
    )
    with pytest.raises(NotRegisteredError, match="linked to no project"):
        read("datum://model-prod")
    assert read(f"datum://{ID}") == ["theirs"], "an ID needs no project"


def test_the_environment_is_over_the_settings(platform: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALOHAI_HOST", platform.url)
    monkeypatch.setenv("VALOHAI_TOKEN", "other")
    assert read("datum://model-prod") == ["theirs"]
    assert {asked.headers["Authorization"] for asked in platform.asked if "/api/" in asked.path} == {"Token other"}


@pytest.mark.parametrize("settings", ["{", "[]", "{}", '{"host": 1, "token": "x"}', '{"host": "http://x"}'])
def test_settings_that_say_nothing_ask_nobody(platform: Site, local: Path, settings: str) -> None:
    write(local.parent / "settings/config.json", settings)
    with pytest.raises(NotRegisteredError, match="valohai-cli is not set up"):
        read("datum://model-prod")
    assert platform.asked == []
