"""Amounts, counts and names as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vhpack
from vhpack import sizes
from vhpack.cli.screen import counted, visible


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        *(("0", 0), ("17", 17), ("1b", 1), ("1K", 1024), ("1k", 1024), ("1KiB", 1024), ("1kB", 1000), ("1 kb", 1000)),
        *(("256MiB", 256 << 20), ("256M", 256 << 20), ("1.5GB", 1_500_000_000), (" 2 TiB ", 2 << 40), (".5k", 512)),
    ],
)
def test_amounts_are_read(text: str, amount: int) -> None:
    assert sizes.parse(text) == amount
    assert sizes.parse(amount) == amount


@pytest.mark.parametrize("text", ["", "MiB", "1.2.3", "-1", "1e6", "1 PiBs", "1 2", "٣", "1k b", ".", "1mibb", "0x10"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(vhpack.OptionError, match="no amount of bytes"):
        sizes.parse(text)


@given(st.integers(0, 10**18))
def test_an_amount_is_short_and_close(amount: int) -> None:
    number, unit = sizes.text(amount).split()
    assert len(number) <= 6
    scale = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert abs(float(number) * scale - amount) <= 0.05 * scale + 1


@given(st.text(st.characters(exclude_categories=[])))
def test_visible_text_is_one_printable_line(text: str) -> None:
    assert visible(text).isprintable()


@given(st.binary())
def test_any_file_name_can_be_shown(name: bytes) -> None:
    shown = visible(name.decode("utf-8", "surrogateescape"))
    assert shown.isprintable()
    shown.encode()


def test_one_is_no_plural() -> None:
    assert (counted(1, "original"), counted(2, "original"), counted(0, "file")) == (
        "1 original",
        "2 originals",
        "0 files",
    )
