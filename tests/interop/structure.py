"""A strict reading of the zip format: every byte of an archive is accounted for, or the archive is wrong.

Field meanings: APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import calendar
import mmap
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FULL_16 = 0xFFFF
FULL_32 = 0xFFFFFFFF
STORED, DEFLATED = 0, 8
UTF8_NAME = 1 << 11
ZIP64, TIMES, NTFS_TIMES = 0x0001, 0x5455, 0x000A
MEMBER_OF_UNIX = 3
DOS_FOLDER = 0x10

END = struct.Struct("<IHHHHIIH")
END64_PLACE = struct.Struct("<IIQI")
END64 = struct.Struct("<IQHHIIQQQQ")
CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
LOCAL = struct.Struct("<IHHHHHIIIHH")


@dataclass(frozen=True)
class Member:
    """One member as the central directory describes it, its local header having been found to agree."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    modified: int | None
    dos: int
    start: int
    """Offset of the local header."""
    body: int
    """Offset of the packed bytes."""
    zip64: bool

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True)
class Structure:
    """A whole archive that follows every rule."""

    members: list[Member]
    zip64: bool
    """An end record of the zip64 kind is present."""

    def names(self) -> list[str]:
        return [member.name for member in self.members]

    def member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)


def structure_of(archive: Path) -> Structure:
    """Read an archive and assert that nothing in it is out of place."""
    with archive.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        count, central, end, zip64 = _end_of(view)
        members: list[Member] = []
        offset = central
        expected_start = 0
        for _ in range(count):
            member, offset = _member_at(view, offset)
            assert member.start == expected_start, f"gap or overlap before {member.name!r}"
            expected_start = member.body + member.packed
            members.append(member)
        assert offset == end, "the central directory has bytes that no entry claims"
        assert expected_start == central, "bytes between the last member and the central directory"
    _check_names([member.name for member in members])
    return Structure(members, zip64)


def unpacked(archive: Path, member: Member) -> bytes:
    """A member's bytes, of which the deflate stream must end exactly where the sizes say."""
    with archive.open("rb") as file:
        file.seek(member.body)
        body = file.read(member.packed)
    if member.method == STORED:
        content = body
    else:
        inflate = zlib.decompressobj(-15)
        content = inflate.decompress(body)
        assert inflate.eof, f"{member.name!r}: the deflate stream is cut"
        assert not inflate.unused_data, f"{member.name!r}: bytes after the end of the deflate stream"
    assert len(content) == member.size
    assert zlib.crc32(content) == member.crc, f"{member.name!r}: CRC"
    return content


def _end_of(view: mmap.mmap) -> tuple[int, int, int, bool]:
    """Entry count, start and end of the central directory, and whether zip64 records follow it."""
    place = len(view) - END.size
    signature, disk, first_disk, here, total, size, start, comment = END.unpack_from(view, place)
    assert signature == 0x06054B50, "no end record in the last 22 bytes"
    assert (disk, first_disk, comment) == (0, 0, 0)
    assert here == total
    if total != FULL_16 and FULL_32 not in (size, start):
        assert start + size == place, "zip64 end record without need, or bytes before the end record"
        return total, start, place, False

    place64 = place - END64_PLACE.size - END64.size
    signature, disk, found, disks = END64_PLACE.unpack_from(view, place64 + END64.size)
    assert (signature, disk, found, disks) == (0x07064B50, 0, place64, 1)
    (signature, length, made_by, needed, disk, first_disk, here64, total64, size64, start64) = END64.unpack_from(view, place64)
    assert (signature, length) == (0x06064B50, END64.size - 12)
    assert made_by >> 8 == MEMBER_OF_UNIX
    assert needed == 45
    assert (disk, first_disk) == (0, 0)
    assert here64 == total64
    assert total == min(total64, FULL_16)
    assert size == min(size64, FULL_32)
    assert start == min(start64, FULL_32)
    assert start64 + size64 == place64, "bytes between the central directory and the zip64 end record"
    assert total64 >= FULL_16 or size64 >= FULL_32 or start64 >= FULL_32, "zip64 end record without need"
    return total64, start64, place64, True


def _member_at(view: mmap.mmap, offset: int) -> tuple[Member, int]:
    """The member whose central entry is at `offset`, checked against its local header; and where the entry ends."""
    fields = CENTRAL.unpack_from(view, offset)
    signature, made_by, needed, flags, method, time, date, crc, packed, size = fields[:10]
    name_length, extra_length, comment_length, disk, internal, external, start = fields[10:]
    assert signature == 0x02014B50
    assert made_by >> 8 == MEMBER_OF_UNIX, "modes would be ignored"
    assert (comment_length, disk, internal) == (0, 0, 0)
    name_at = offset + CENTRAL.size
    raw = view[name_at : name_at + name_length]
    name = raw.decode("utf-8")
    extras = _extras(view[name_at + name_length : name_at + name_length + extra_length])

    wide = extras.get(ZIP64)
    saturated = [value for value in (size, packed, start) if value == FULL_32]
    if wide is None:
        assert not saturated, f"{name!r}: a saturated field without zip64"
    else:
        assert saturated, f"{name!r}: zip64 in the central entry without need"
        assert len(wide) == 8 * len(saturated), f"{name!r}: zip64 holds other than the saturated fields"
        values = iter(struct.unpack(f"<{len(saturated)}Q", wide))
        size, packed, start = (next(values) if value == FULL_32 else value for value in (size, packed, start))
        assert max(size, packed, start) >= FULL_32

    local = LOCAL.unpack_from(view, start)
    assert local[0] == 0x04034B50, f"{name!r}: no local header at its offset"
    assert local[2:6] == (flags, method, time, date), f"{name!r}: local and central header differ"
    assert local[6] == crc, f"{name!r}: CRC in the local header"
    local_name_at = start + LOCAL.size
    body = local_name_at + local[9] + local[10]
    assert view[local_name_at : local_name_at + local[9]] == raw
    local_extras = _extras(view[local_name_at + local[9] : body])
    local_wide = local_extras.get(ZIP64)
    if local_wide is None:
        assert (local[7], local[8]) == (packed, size), f"{name!r}: sizes in the local header"
    else:
        assert (local[7], local[8]) == (FULL_32, FULL_32)
        assert struct.unpack("<QQ", local_wide) == (size, packed), f"{name!r}: zip64 sizes in the local header"
        could_expand = size + size // 8192 + 1024
        assert could_expand >= FULL_32, f"{name!r}: zip64 in the local header without need"
    any_wide = wide is not None or local_wide is not None
    # A local header does not hold its own offset, so one far into an archive may be of the older kind.
    assert needed == (45 if any_wide else 20), f"{name!r}: version needed {needed}"
    assert local[1] == (45 if local_wide is not None else 20), f"{name!r}: version needed {local[1]} in the local header"
    assert made_by & 0xFF >= needed

    assert not flags & ~UTF8_NAME, f"{name!r}: flags {flags:#x}"
    assert name.isascii() or flags & UTF8_NAME, f"{name!r}: not marked as UTF-8"
    _check_kind(name, method, external, size, packed, crc)
    modified = _modified(extras, local_extras)
    _check_dos_time(name, time, date, modified)
    member = Member(name, method, crc, packed, size, external >> 16, modified, date << 16 | time, start, body, any_wide)
    return member, name_at + name_length + extra_length


def _extras(field: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for kind, content in _extra_parts(field):
        assert kind in (ZIP64, TIMES, NTFS_TIMES), f"extra field {kind:#06x} that no reader needs"
        assert kind not in found, f"extra field {kind:#06x} twice"
        found[kind] = content
    return found


def _extra_parts(field: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(field):
        kind, length = struct.unpack_from("<HH", field, offset)
        content = field[offset + 4 : offset + 4 + length]
        assert len(content) == length, "an extra field runs past its end"
        yield kind, content
        offset += 4 + length


def _check_kind(name: str, method: int, external: int, size: int, packed: int, crc: int) -> None:
    mode = external >> 16
    assert method in (STORED, DEFLATED), f"{name!r}: method {method}"
    if method == STORED:
        assert size == packed, f"{name!r}: stored in {packed} bytes of {size}"
    if name.endswith("/"):
        assert stat.S_ISDIR(mode), f"{name!r}: mode {mode:o}"
        assert external & DOS_FOLDER
        assert (method, size, packed, crc) == (STORED, 0, 0, 0)
        return
    assert stat.S_ISREG(mode) or stat.S_ISLNK(mode), f"{name!r}: mode {mode:o}"
    assert not external & DOS_FOLDER
    assert not mode & (stat.S_ISUID | stat.S_ISGID), f"{name!r}: set-id bits are nobody's to restore"
    if stat.S_ISLNK(mode):
        assert method == STORED
    if size == 0:
        assert (method, packed, crc) == (STORED, 0, 0), f"{name!r}: an empty file is stored"


def _modified(central: dict[int, bytes], local: dict[int, bytes]) -> int | None:
    assert central.get(TIMES) == local.get(TIMES), "times differ between local and central header"
    times = central.get(TIMES)
    if times is None:
        return None
    assert len(times) == 5
    flags, modified = struct.unpack("<Bi", times)
    assert flags == 1, "only the time of modification is recorded"
    assert isinstance(modified, int)
    return modified


def _check_dos_time(name: str, time: int, date: int, modified: int | None) -> None:
    year, month, day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    hour, minute, second = time >> 11, time >> 5 & 63, 2 * (time & 31)
    assert 1 <= month <= 12, f"{name!r}: month {month}"
    assert 1 <= day <= calendar.monthrange(year, month)[1], f"{name!r}: day {day}"
    assert hour < 24
    assert max(minute, second) < 60
    if modified is None:
        return
    shown = calendar.timegm((year, month, day, hour, minute, second))
    earliest = calendar.timegm((1980, 1, 1, 0, 0, 0))
    assert abs(shown - max(modified, earliest)) < 2, f"{name!r}: DOS time is not the recorded time in UTC"


def _check_names(names: list[str]) -> None:
    assert len(set(names)) == len(names), "a name twice"
    for name in names:
        components = name.removesuffix("/").split("/")
        assert not {"", ".", ".."} & set(components), f"{name!r} is not a plain relative name"
        assert "\0" not in name
