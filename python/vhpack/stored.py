"""Bytes of models where they are stored: on this machine, or at an object store."""

from __future__ import annotations

import contextlib
import os
from urllib.parse import unquote

from vhpack import errors
from vhpack.errors import PackOSError

MANIFEST = ".manifest.jsonl"
"""The end of the name of the manifest beside a package."""
_SILENCE = 60.0  # seconds that a store may say nothing


def local_path(uri: str) -> str | None:
    """Return the path of a `file://` URI, or None."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else None


def check_writable(uri: str, *, make: bool) -> None:
    """See to it that a folder of this machine can be written to; other places are asked when something is sent.

    Args:
        uri: The folder.
        make: Make it where it is not there, as somebody has just asked for it by name. Later, one that is gone is a disk that
            is not mounted, and made again it would be on another.

    Raises:
        BadDestinationError: it cannot.
    """
    folder = local_path(uri)
    if folder is None:
        return
    import tempfile

    try:
        if make:
            os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{folder} cannot be written to: {error.strerror}; name another destination"
        raise errors.of_upload("bad_destination", message, error.errno, None, uri) from None


def make_folder_of(uri: str) -> None:
    """Make the folders that a `file://` URI has above it; stores have theirs without being asked.

    Raises:
        BadDestinationError: they cannot be made.
    """
    path = local_path(uri)
    if path is None:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        message = f"{error.filename} cannot be made: {error.strerror}; name another destination"
        raise errors.of_upload("bad_destination", message, error.errno, None, uri) from None


def is_removable(uri: str) -> bool:
    """Return whether what is at a URI can be removed from here."""
    return uri.partition("://")[0].lower() in ("file", "s3", "gs")


def remove_bytes(uri: str, folders: int = 2) -> None:
    """Remove a stored object with its manifest, and the folders that are empty then.

    Raises:
        PackOSError: it cannot be removed.
    """
    path = local_path(uri)
    if path is None:
        from vhpack import stores
        from vhpack.remote import RefusedError, UnavailableError

        client = stores.Client(silence=_SILENCE)
        try:
            for each in (uri + MANIFEST, uri):
                client.delete(each)
        except (RefusedError, UnavailableError) as error:
            raise PackOSError(None, f"{uri} cannot be removed: {error}", uri) from None
        return
    try:
        for each in (path + MANIFEST, path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
    except OSError as error:
        raise PackOSError(error.errno, f"{path} cannot be removed: {error.strerror}", path) from None
    for _ in range(folders):
        path = os.path.dirname(path)
        with contextlib.suppress(OSError):
            os.rmdir(path)


def protect(path: str) -> None:
    """Let nobody change by mistake what is stored; a file system that knows no modes is none the worse."""
    for each in (path, path + MANIFEST):
        with contextlib.suppress(OSError):
            os.chmod(each, os.stat(each).st_mode & 0o555)
