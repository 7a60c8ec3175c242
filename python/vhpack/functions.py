"""What a function is known by, so that work is gone on with by the same one only."""

from __future__ import annotations

import hashlib
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def known(function: Callable[..., object]) -> str:
    """Return a text that changes when the function is another one, or its own code, its defaults or what it encloses changes.

    What it calls, and what it reads, is not looked at, nor where in its file it stands.

    Example:
        >>> from vhpack.functions import known
        >>> def twice(name, content): return content * 2
        >>> def thrice(name, content): return content * 3
        >>> known(twice) == known(twice), known(twice) == known(thrice)
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(function):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogateescape"))
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', None) or ''}.{name} {digest.hexdigest()}"


def _parts(function: object) -> Iterator[str]:
    if isinstance(function, partial):
        yield from _parts(function.func)
        yield from _value((function.args, function.keywords))
    elif isinstance(function, MethodType):
        yield from _parts(function.__func__)
        yield from _state(function.__self__)
    elif isinstance(function, FunctionType):
        yield from _code(function.__code__)
        yield from _value((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            yield from _cell(cell)
    elif isinstance(call := vars(type(function)).get("__call__"), FunctionType):
        yield from _parts(call)
        yield from _state(function)
    else:
        yield type(function).__qualname__


def _cell(cell: CellType) -> Iterator[str]:
    try:
        held = cell.cell_contents
    except ValueError:
        yield "nothing yet"
    else:
        yield from _value(held)


def _state(holder: object) -> Iterator[str]:
    yield type(holder).__qualname__
    yield from _value(getattr(holder, "__dict__", None))


def _code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield from _value(constant)


def _value(value: object) -> Iterator[str]:
    """Of what is no plain value, the type alone: a text of it may say where in memory it is."""
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, frozenset | set):
        # Their order is another in every process.
        yield from sorted(text for each in value for text in _value(each))
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__} {len(value)}"
        for each in value:
            yield from _value(each)
    elif isinstance(value, dict):
        yield f"dict {len(value)}"
        for key, each in value.items():
            yield from _value(key)
            yield from _value(each)
    elif isinstance(value, FunctionType):
        yield from _code(value.__code__)
    else:
        yield type(value).__qualname__
