"""What datums, aliases, datasets and models are called: rules for names, and URIs in both directions."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from vhpack.errors import OptionError

if TYPE_CHECKING:
    from typing import Literal

SCHEMES = ("datum", "dataset", "model")
_PAIRS = {"dataset": ("dataset", "version"), "model": ("model", "alias")}
_LONGEST = 255  # characters; names stand in URIs, in tables and in file names
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class Reference:
    """What a URI refers to."""

    kind: Literal["datum", "alias", "dataset", "model"]
    name: str
    """A datum's ID in its usual form, an alias, a dataset, or a model's name or ID."""
    version: str = ""
    """Of a dataset: a version, or an alias of one; of a model: an alias, or, behind its ID, the number of a version."""

    @property
    def uri(self) -> str:
        """The URI, with everything escaped that could mean something else.

        Example:
            >>> from vhpack.registry.names import Reference
            >>> Reference("alias", "a b/c").uri, Reference("dataset", "cats", "v1").uri
            ('datum://a%20b%2Fc', 'dataset://cats/v1')
        """
        if self.kind in ("dataset", "model"):
            return f"{self.kind}://{quote(self.name, safe='')}/{quote(self.version, safe='')}"
        return f"datum://{quote(self.name, safe='')}"


def is_reference(place: str) -> bool:
    """Return whether a place is one that the registry knows, and no path or other URL."""
    return place.partition("://")[0].lower() in SCHEMES and "://" in place


def parse(uri: str) -> Reference:
    """Return what a URI refers to.

    Behind `datum://` all is the name, slashes among it; `%XX` stands for a byte of UTF-8, and nothing else is special: no
    query, no fragment, and `+` is a plus. What reads as a UUID is a datum's ID. `dataset://NAME/VERSION` and
    `model://NAME/ALIAS` have one slash; others are `%2F`.

    Raises:
        OptionError: it refers to nothing.

    Example:
        >>> from vhpack.registry.names import parse
        >>> parse("datum://model-prod"), parse("datum://a+b#c%20d").name
        (Reference(kind='alias', name='model-prod', version=''), 'a+b#c d')
    """
    scheme, _, rest = uri.partition("://")
    if scheme.lower() in _PAIRS:
        kind, (first, second) = scheme.lower(), _PAIRS[scheme.lower()]
        name, slash, version = rest.partition("/")
        if not (name and slash and version) or "/" in version:
            shape = f"{kind}://NAME/{second.upper()}"
            raise OptionError(f"{uri!r} must be {shape}; a slash in either is written as %2F")
        return Reference(kind, checked(_decoded(name, uri), first), checked(_decoded(version, uri), second))  # type: ignore[arg-type]
    if scheme.lower() != "datum" or not rest:
        raise OptionError(f"{uri!r} must be datum://ALIAS, datum://ID, dataset://NAME/VERSION or model://NAME/ALIAS")
    name = _decoded(rest, uri)
    known = datum_id(name)
    return Reference("datum", known) if known else Reference("alias", checked_alias(name))


def datum_id(text: str) -> str | None:
    """Return a datum's ID in its usual form, if the text is one in any form that UUIDs have, else None."""
    try:
        return str(uuid.UUID(text.strip().lower()))
    except ValueError:
        return None


def checked_alias(name: str) -> str:
    """Return an alias as it is stored.

    Raises:
        OptionError: it cannot be an alias.
    """
    found = checked(name, "alias")
    if datum_id(found):
        raise OptionError(f"{name!r} reads as a datum's ID, so that datum://{name} would never mean the alias; call it otherwise")
    return found


def checked(name: str, what: str) -> str:
    """Return a name as it is stored: composed characters (NFC), so that two spellings of one `é` are one name.

    Raises:
        OptionError: it is empty, too long, has control characters or stray bytes, or begins or ends with a space.
    """
    if not isinstance(name, str):
        raise OptionError(f"{what} is {name!r}; it must be text, a single name")
    found = unicodedata.normalize("NFC", name)
    if not found or found != found.strip():
        raise OptionError(f"{what} {name!r}: a name is not empty, and neither begins nor ends with a space")
    if len(found) > _LONGEST:
        raise OptionError(f"{what} {found[:40]!r}... has {len(found)} characters; names have {_LONGEST} at most")
    wrong = next((char for char in found if unicodedata.category(char) in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp")), None)
    if wrong is not None:
        raise OptionError(f"{what} {name!r}: a name cannot have the character {wrong!r}; leave it out")
    return found


def _decoded(text: str, uri: str) -> str:
    try:
        return unquote(text, errors="strict") if _ESCAPE.search(text) else text
    except UnicodeDecodeError:
        raise OptionError(f"{uri!r} has escapes that are no UTF-8; write each byte of the name's UTF-8 as %XX") from None
