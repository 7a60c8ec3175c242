"""Downloads by way of proxies and redirections: each address goes its own way, and no secret goes along."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import vhpack
from tests.valohai.servers import Page, Site, http_site
from tests.valohai.test_downloads import BIG, content, listed
from vhpack import download, paths


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.01)


@pytest.fixture
def other() -> Iterator[Site]:
    """A second server."""
    with http_site() as running:
        yield running


@pytest.fixture
def proxy(other: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The second server, as the proxy for all hosts but this one."""
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return other


def test_a_redirection_out_of_the_house_goes_by_the_proxy(site: Site, proxy: Site) -> None:
    proxy.pages["http://far.invalid/real.csv"] = Page(b"far")
    assert content(site.put("/a.csv", location="http://far.invalid/real.csv")) == [b"far"]
    assert [asked.path for asked in proxy.asked] == ["http://far.invalid/real.csv"]


def test_a_redirection_into_the_house_does_not(site: Site, proxy: Site) -> None:
    proxy.pages["http://far.invalid/a.csv"] = Page(location=site.put("/real.csv", b"near"))
    assert content("http://far.invalid/a.csv") == [b"near"]
    assert [asked.path for asked in proxy.asked] == ["http://far.invalid/a.csv"]


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_proxy_may_want_a_password_and_have_no_scheme(
    other: Site, monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str
) -> None:
    monkeypatch.setenv(variable, other.url.replace("http://", f"{scheme}ann:pa%40ss@"))
    other.pages["http://far.invalid/a.csv"] = Page(b"far")
    assert content("http://far.invalid/a.csv") == [b"far"]
    assert other.asked[0].headers["Proxy-Authorization"] == "Basic YW5uOnBhQHNz"
    assert other.asked[0].headers["Authorization"] is None


def test_a_password_is_for_the_server_that_it_was_given_for(site: Site, other: Site) -> None:
    site.put("/second.csv", location=other.put("/real.csv", b"cats"))
    site.put("/a.csv", location="/second.csv")
    assert content(site.url.replace("//", "//ann:pass@") + "/a.csv") == [b"cats"]
    assert [asked.headers["Authorization"] is None for asked in site.asked] == [False, False]
    assert other.asked[0].headers["Authorization"] is None


def test_a_token_of_the_platform_is_for_the_platform(site: Site, other: Site) -> None:
    listed({})
    site.put("/status", location=other.put("/elsewhere", b"{}"))
    call = {"url": f"{site.url}/status", "method": "POST", "headers": {"X-Token": "secret"}}
    Path(paths.get_config_path(), "api.json").write_text(json.dumps({"set_status_detail": call}))
    vhpack.set_status_detail("half way")
    assert (site.asked[0].headers["X-Token"], other.asked[0].headers["X-Token"]) == ("secret", None)


def test_a_cut_download_goes_on_behind_a_redirection(site: Site, other: Site) -> None:
    url = site.put("/a.bin", location=other.put("/real.bin", BIG, cuts=[1 << 20]))
    assert content(url) == [BIG]
    assert [asked.headers["Range"] for asked in other.asked] == [None, f"bytes={1 << 20}-"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Site, Path]]:
    """A server of HTTPS that no public authority vouches for, and the certificate by which it can be believed."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "house")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = begun.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    made = dated.serial_number(1).add_extension(names, critical=False).sign(key, hashes.SHA256())
    certificate, private = tmp_path / "house.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    how = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*how))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    with http_site(context) as running:
        yield running, certificate


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_server_of_the_house_is_believed_by_the_certificates_that_requests_goes_by(
    house: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url = house[0].put("/a.csv", b"cats")
    monkeypatch.setenv(variable, str(house[1]))
    assert content(url) == [b"cats"]


def test_certificates_that_are_not_there_are_named(house: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with pytest.raises(vhpack.DownloadError, match=r"/no/such\.pem.*does not exist"):
        content(house[0].put("/a.csv", b"cats"))


def test_a_server_that_nobody_vouches_for_is_not_believed(house: tuple[Site, Path]) -> None:
    with pytest.raises(vhpack.DownloadError, match="certificate"):
        content(house[0].put("/a.csv", b"cats"))
