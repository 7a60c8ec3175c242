"""Amounts of bytes, as people write and read them."""

from vhpack.errors import OptionError

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")

_LONGEST = 40
"""Digits; Python reads no text of thousands as a number."""

# A bare letter is binary, as in `dd`, `sort` and `--memory` options elsewhere.
_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgt", 1)},
    **{letter + "ib": 1024**power for power, letter in enumerate("kmgt", 1)},
    **{letter + "b": 1000**power for power, letter in enumerate("kmgt", 1)},
}


def parse(amount: int | str) -> int:
    """Return an amount in bytes.

    Args:
        amount: A number of bytes, or text: a number and a unit. `KiB MiB GiB TiB` and `K M G T` count in 1024s,
            `kB MB GB TB` in 1000s; upper and lower case are the same.

    Raises:
        OptionError: the text is no amount.

    Example:
        >>> from vhpack import sizes
        >>> sizes.parse("256MiB"), sizes.parse("1.5 GB"), sizes.parse(4096)
        (268435456, 1500000000, 4096)
    """
    if isinstance(amount, int):
        return amount
    if not isinstance(amount, str):
        raise OptionError(f"{amount!r} is no amount of bytes; give a whole number, or text like 256MiB")
    text = amount.strip().lower()
    number = text.rstrip("bgikmt ")
    unit = text[len(number) :].strip()
    digits = number.replace(".", "", 1)
    if unit not in _UNITS or not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST):
        raise OptionError(f"{amount!r} is no amount of bytes; write it like 256MiB, 1.5GB or 268435456")
    return round(float(number) * _UNITS[unit]) if "." in number else int(number) * _UNITS[unit]


def text(amount: float) -> str:
    """Return an amount in three or so digits and a unit that counts in 1000s.

    Example:
        >>> from vhpack import sizes
        >>> sizes.text(999), sizes.text(11_400), sizes.text(2_300_000_000)
        ('999 B', '11.4 kB', '2.3 GB')
    """
    unit = 0
    # 999.95 would be written as "1000.0".
    while amount >= (1000 if unit == 0 else 999.95) and unit < len(_DECIMAL) - 1:
        amount /= 1000
        unit += 1
    return f"{amount:.0f} B" if unit == 0 else f"{amount:.1f} {_DECIMAL[unit]}"
