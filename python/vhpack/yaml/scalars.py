"""Values as YAML that every reader takes for the same: those of YAML 1.1, as the platform's, and those of 1.2."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from vhpack.errors import YamlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Words that some reader takes for something else than text.
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "~", "nan", "inf"])
# Begins with nothing that any reader takes for a number, a date, a mark of its own.
_PLAIN = re.compile(r"[^\W\d][^\x00-\x1f\x7f-\xa0]*|[/$][^\x00-\x1f\x7f-\xa0]*|(?:\.{1,2}/|--[^\W\d])[^\x00-\x1f\x7f-\xa0]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


def scalar(value: object, *, inside: bool = False) -> str:
    """Return a scalar on one line.

    Args:
        value: Text, a number, a bool or None.
        inside: It stands in brackets or braces, where commas and braces end what is not quoted.

    Raises:
        YamlError: it has no form in YAML.

    Example:
        >>> from vhpack.yaml.scalars import scalar
        >>> [scalar(value) for value in (0.001, 1e-5, True, None, "text", "yes", "1e3", "a: b", "é")]
        ['0.001', '1.0e-05', 'true', 'null', 'text', "'yes'", "'1e3'", "'a: b'", 'é']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _text(value, inside=inside)
    raise YamlError(f"{value!r} has no form in YAML; give text, a number, a bool, or a list or dict of them")


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    digits, exponent, power = text.partition("e")
    # Without the point, readers of YAML 1.1 take 1e-05 for text; without the sign, too.
    if exponent and "." not in digits:
        digits += ".0"
    return digits + (f"e{power}" if power.startswith("-") else f"e+{power.lstrip('+')}" if exponent else "")


def _text(value: str, *, inside: bool) -> str:
    if not _printable(value):
        return _double_quoted(value)
    plain = _is_plain(value) and not (inside and any(mark in value for mark in ",[]{}?"))
    return value if plain else "'" + value.replace("'", "''") + "'"


def _is_plain(value: str) -> bool:
    if not _PLAIN.fullmatch(value) or value != value.strip() or value.lower() in _WORDS or value.endswith(":"):
        return False
    return ": " not in value and " #" not in value


def _printable(value: str) -> bool:
    return all(char.isprintable() and char != "\ufeff" for char in value)


def _double_quoted(value: str) -> str:
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable() and char != "\ufeff":
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004
        raise YamlError("a text holds half a character (a lone surrogate), which no file can hold")
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"  # noqa: PLR2004


def flow(value: object) -> str:
    """Return a value on one line: `[a, b]`, `{name: a}`.

    Example:
        >>> from vhpack.yaml.scalars import flow
        >>> flow({"name": "a", "default": [1, "x y"]})
        '{name: a, default: [1, x y]}'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key, inside=True)}: {flow(item)}" for key, item in value.items()) + "}"
    return scalar(value, inside=True)


def inline(value: object) -> str:
    """Return a value behind its key or dash, on the same line."""
    return flow(value) if isinstance(value, list | tuple | dict) else scalar(value)


def entry(key: str, value: object, column: int, *, offset: int = 0) -> Iterator[str]:
    """Write `key: value` at a column, what it holds below it; items of a list stand `offset` further to the right."""
    indent = " " * column
    if isinstance(value, dict) and value:
        yield f"{indent}{scalar(key)}:"
        yield from mapping(value, column + 2, offset=offset)
    elif isinstance(value, list | tuple) and value:
        yield f"{indent}{scalar(key)}:"
        for item in value:
            yield from element(item, column + offset, offset=offset)
    else:
        yield f"{indent}{scalar(key)}: {inline(value)}"


def mapping(values: Mapping[str, object], column: int, *, offset: int = 0) -> Iterator[str]:
    """Write a mapping."""
    for key, value in values.items():
        yield from entry(key, value, column, offset=offset)


def element(value: object, column: int, *, offset: int = 0) -> Iterator[str]:
    """Write an item of a list, its dash at a column."""
    if not isinstance(value, dict) or not value:
        yield f"{' ' * column}- {inline(value)}"
        return
    lines = list(mapping(value, column + 2, offset=offset))
    yield f"{' ' * column}- {lines[0].lstrip(' ')}"
    yield from lines[1:]
