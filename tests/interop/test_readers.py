"""Archives of every shape open and test clean in every reader that people have."""

from __future__ import annotations

import warnings

import pytest

from tests.interop.conftest import Made
from tests.interop.readers import READERS
from tests.interop.shapes import OnDisk
from tests.interop.structure import DEFLATED, FULL_16, FULL_32, STORED, structure_of, unpacked

READABLE_AT_ONCE = 64 << 20


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finds_the_archive_sound(made: Made, reader: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        READERS[reader](made.archive)


def test_every_byte_of_the_archive_is_in_its_place(made: Made) -> None:
    structure = structure_of(made.archive)

    for member in structure.members:
        if member.size <= READABLE_AT_ONCE:
            unpacked(made.archive, member)


def test_members_are_what_is_on_the_disk(made: Made) -> None:
    structure = structure_of(made.archive)
    wanted = made.wanted()

    assert set(structure.names()) == set(wanted)
    for member in structure.members:
        source = wanted[member.name]
        assert member.is_folder == (source.kind == "d")
        assert member.is_link == (source.kind == "l")
        if source.kind == "-":
            assert member.size == source.size
        if not made.shape.options.get("reproducible") and source.kind != "l":
            assert member.mode & 0o777 == source.mode, member.name
            _check_time(member.modified, source, member.name)


def _check_time(recorded: int | None, source: OnDisk, name: str) -> None:
    fits = -(2**31) <= source.modified < 2**31
    if fits:
        assert recorded == source.modified, name
    else:
        assert recorded is None, f"{name}: a time of 32 bits cannot hold {source.modified}"


def test_zip64_is_there_where_it_is_needed_and_nowhere_else(made: Made) -> None:
    structure = structure_of(made.archive)
    beyond = made.archive.stat().st_size >= FULL_32
    needed = len(structure.members) >= FULL_16 or beyond

    assert structure.zip64 == needed
    for member in structure.members:
        if max(member.size, member.packed, member.start) >= FULL_32:
            assert member.zip64, member.name


def test_the_report_counts_what_the_archive_holds(made: Made) -> None:
    structure = structure_of(made.archive)
    files = [member for member in structure.members if not member.is_folder and not member.is_link]

    assert made.report.files == len(files)
    assert made.report.directories == sum(member.is_folder for member in structure.members)
    assert made.report.links == sum(member.is_link for member in structure.members)
    assert made.report.bytes_in == sum(member.size for member in files)
    assert made.report.bytes_out == made.archive.stat().st_size
    assert made.report.deflated == sum(member.method == DEFLATED for member in files)
    assert made.report.stored == sum(member.method == STORED for member in files)
