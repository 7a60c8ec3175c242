"""Names and URIs: what they may be, and that nothing in one is ever taken for something else."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhpack.errors import OptionError
from vhpack.registry import names
from vhpack.registry.names import Reference, parse

STRANGE = [
    "a/b",
    "a&project=evil",
    "a+b",
    "a#b",
    "two words",
    "モデル",
    "é",
    "100%",
    "50%25",
    "?q=1",
    "a\\b",
    "datum://x",
    "..",
    "a:b@c",
]


@pytest.mark.parametrize("name", STRANGE)
def test_any_name_comes_back_from_its_uri(name: str) -> None:
    reference = Reference("alias", names.checked_alias(name))
    assert parse(reference.uri) == reference
    assert all(char.isascii() and char not in "&+#? /" for char in reference.uri.removeprefix("datum://"))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]), min_size=1, max_size=80))
def test_every_name_that_is_allowed_comes_back(name: str) -> None:
    if (
        name != name.strip()
        or unicodedata.normalize("NFC", name) != unicodedata.normalize("NFC", name).strip()
        or names.datum_id(name)
    ):
        return
    known = names.checked_alias(name)
    assert parse(Reference("alias", known).uri) == Reference("alias", known)
    assert parse(Reference("dataset", known, known).uri) == Reference("dataset", known, known)


def test_what_stands_in_a_uri_unescaped_is_the_name_to_its_end() -> None:
    assert parse("datum://grp/name").name == "grp/name"
    assert parse("datum://a&project=evil").name == "a&project=evil"
    assert parse("datum://a+b#c?d").name == "a+b#c?d"
    assert parse("DATUM://a%20b").name == "a b"


def test_two_spellings_of_one_letter_are_one_name() -> None:
    assert parse("datum://e\u0301") == parse("datum://\u00e9") == parse("datum://%C3%A9")


@pytest.mark.parametrize("form", ["{}", "urn:uuid:{}", "{{{}}}"])
def test_what_reads_as_a_uuid_is_an_id_and_no_alias(form: str) -> None:
    known = str(uuid.uuid4())
    for text in (form.format(known), form.format(known).upper(), known.replace("-", "")):
        assert names.datum_id(text) == known
        with pytest.raises(OptionError, match="reads as a datum's ID"):
            names.checked_alias(text)
    assert parse(f"datum://{known}") == Reference("datum", known)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\0", "\x1b[2J", "\ud800", "a\u2028b", "x" * 256])
def test_what_can_be_no_name_is_said(name: str) -> None:
    with pytest.raises(OptionError, match="name"):
        names.checked_alias(name)


@pytest.mark.parametrize(
    "uri",
    [
        "datum://",
        "dataset://a",
        "dataset://a/b/c",
        "dataset:///v",
        "datum://%ff",
        "model://a",
        "model://a/b/c",
        "datum:/a",
        "s3://a/b",
    ],
)
def test_what_refers_to_nothing_is_said(uri: str) -> None:
    with pytest.raises(OptionError, match=r"datum://|dataset://|model://|UTF-8"):
        parse(uri)


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_slash_in_a_dataset_or_a_model_is_escaped(kind: Literal["dataset", "model"]) -> None:
    assert Reference(kind, "a/b", "v/1").uri == f"{kind}://a%2Fb/v%2F1"
    assert parse(f"{kind}://a%2Fb/v%2F1") == Reference(kind, "a/b", "v/1")
