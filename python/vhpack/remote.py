"""A file elsewhere, as a download sees it: which version of it there is, and its bytes from some offset on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Version:
    """What tells two contents of one URL apart; whatever the server does not say is empty."""

    etag: str = ""
    modified: str = ""
    size: int | None = None

    def is_same(self, other: Version) -> bool:
        """Return whether both are the same content, as far as the server's words tell; a length alone tells nothing.

        Example:
            >>> from vhpack.remote import Version
            >>> Version("a", size=3).is_same(Version("a", size=3)), Version(size=3).is_same(Version(size=3))
            (True, False)
        """
        if self.etag or other.etag:
            return self.etag == other.etag
        return bool(self.modified) and (self.modified, self.size) == (other.modified, other.size)


@dataclass(frozen=True)
class Body:
    """An answer: which version it is of, and its bytes."""

    version: Version
    offset: int
    """Where the bytes begin: where they were asked from, or 0 if they could not be had from there."""
    chunks: Iterator[bytes]
    close: Callable[[], object]


class UnchangedError(Exception):
    """The content is the version that is known."""


class RestartError(Exception):
    """The rest of that version is not to be had any more."""


class UnavailableError(Exception):
    """The server does not answer, or not yet; it may when it is asked again."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after
        """Seconds that it asks to be left alone."""


class RefusedError(Exception):
    """The server answers, and asking again would change nothing."""
