"""Object storage (`s3://`, `gs://`, `azure://`), through obstore; credentials are those that the machine's environment has.

For S3 that means what every other program with boto3 finds there, profiles in `~/.aws` and single sign-on among it, where
botocore is installed; obstore by itself knows the variables of the environment and the machine's own role.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from vhpack.errors import MissingExtraError
from vhpack.remote import Body, RefusedError, RestartError, UnavailableError, UnchangedError, Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SCHEMES = ("s3", "gs", "azure")
_PIECE = 8 << 20  # bytes of one request: what is lost when it breaks off, and how long a cut may take to be noticed
_WILDCARDS = re.compile(r"[*?\[]")


class Client:
    """Asks object stores; each bucket's connections are kept for the next object."""

    def __init__(self, *, silence: float) -> None:
        self._silence = silence
        self._stores: dict[tuple[str, str, str], object] = {}

    def fetch(self, url: str, *, offset: int, partly: Version, known: Version | None) -> Body:
        """Return an object from `offset` on, if its version still is `partly`, else from its beginning.

        Raises:
            UnchangedError: the object still is the version `known`.
            UnavailableError: asking again may help.
            RefusedError: it will not.
            MissingExtraError: obstore is not installed.
        """
        store, path = self._store(url)
        found = _asking(_obstore().head, store, path)
        version = Version(found["e_tag"] or "", found["last_modified"].isoformat(), found["size"])
        if known is not None and not offset and known.is_same(version):
            raise UnchangedError
        begin = offset if offset and partly.is_same(version) else 0
        return Body(version, begin, _pieces(store, path, version, begin), lambda: None)

    def expand(self, url: str) -> list[tuple[str, str]]:
        """Return URL and name of each object that a URL with wildcards means: `*` within a folder, `**` at any depth.

        Names are relative to the folder before the first wildcard. An object of just this name is the only one meant.

        Raises:
            UnavailableError, RefusedError, MissingExtraError: as `fetch`.
        """
        store, path = self._store(url)
        folder = _WILDCARDS.split(path, maxsplit=1)[0].rpartition("/")[0]
        matches = pattern(path)
        pages = _obstore().list(store, prefix=folder or None)
        found: list[str] = []
        while page := _asking(next, pages, []):
            if any(entry["path"] == path for entry in page):
                return [(url, path.rpartition("/")[2])]
            found += [entry["path"] for entry in page if matches.fullmatch(entry["path"]) and not entry["path"].endswith("/")]
        root = url[: len(url) - len(path)]
        return [(root + name, name[len(folder) + 1 if folder else 0 :]) for name in sorted(found)]

    def delete(self, url: str) -> None:
        """Remove an object, if it is there.

        Raises:
            UnavailableError, RefusedError, MissingExtraError: as `fetch`.
        """
        store, path = self._store(url)
        _asking(_obstore().delete, store, path)

    def _store(self, url: str) -> tuple[object, str]:
        scheme, account, bucket, path = _parts(url)
        key = (scheme, account, bucket)
        if key not in self._stores:
            self._stores[key] = _new_store(scheme, account, bucket, self._silence)
        return self._stores[key], path


def is_store(url: str) -> bool:
    """Return whether `url` is one that this module fetches."""
    return url.partition("://")[0].lower() in SCHEMES


def as_read(sent: str, account: str) -> str:
    """Return the URL by which what was sent to one is read: those of Azure are without the account when they are sent to.

    Args:
        sent: What an upload went to.
        account: The storage account that the environment names, or nothing.

    Raises:
        RefusedError: an account is needed, and none is named.

    Example:
        >>> from vhpack.stores import as_read
        >>> as_read("azure://models/a.bin", "mine"), as_read("s3://models/a.bin", "")
        ('azure://mine/models/a.bin', 's3://models/a.bin')
    """
    scheme, _, rest = sent.partition("://")
    if scheme.lower() not in ("azure", "az"):
        return sent
    if not account:
        raise RefusedError("its storage account is not known; set AZURE_STORAGE_ACCOUNT_NAME")
    return f"azure://{rest}" if rest.startswith(f"{account}/") else f"azure://{account}/{rest}"


def has_wildcards(url: str) -> bool:
    """Return whether `url` may mean several objects."""
    return is_store(url) and bool(_WILDCARDS.search(url))


def pattern(path: str) -> re.Pattern[str]:
    """Return what an object's path must match.

    Example:
        >>> from vhpack.stores import pattern
        >>> [bool(pattern("a/*.png").fullmatch(path)) for path in ("a/1.png", "a/b/1.png")]
        [True, False]
        >>> bool(pattern("a/**.png").fullmatch("a/b/1.png"))
        True
    """
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", path)
    return re.compile("".join(parts.get(piece) or _class(piece) for piece in pieces), re.DOTALL)


def _class(piece: str) -> str:
    """Return a piece as what matches it: `[a-c]` as `fnmatch` has it, anything else as it is."""
    if not (piece.startswith("[") and piece.endswith("]") and len(piece) > 2):  # noqa: PLR2004
        return re.escape(piece)
    # Of what `fnmatch.translate` returns, between its marks of beginning and end.
    return "(?!/)" + fnmatch.translate(piece).removeprefix("(?s:").rpartition(")")[0]


def _pieces(store: object, path: str, version: Version, begin: int) -> Iterator[bytes]:
    size = version.size or 0
    for start in range(begin, size, _PIECE):
        options: dict[str, object] = {"range": (start, min(start + _PIECE, size))}
        if version.etag:
            options["if_match"] = version.etag
        yield bytes(_asking(_read, store, path, options))


def _read(store: object, path: str, options: dict[str, object]) -> Any:  # noqa: ANN401 - obstore's bytes
    return _obstore().get(store, path, options=options).bytes()


def _asking(call: Any, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the call takes and gives
    from obstore import exceptions

    try:
        return call(*arguments)
    except FileNotFoundError:
        raise RefusedError("there is no such object") from None
    except exceptions.PreconditionError:
        raise RestartError from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        message = f"access is denied: {_first_line(error)}; set the credentials in the environment"
        raise RefusedError(f"{message} (profiles in ~/.aws are read where botocore is installed)") from None
    except exceptions.GenericError as error:
        raise UnavailableError(_first_line(error)) from None
    except exceptions.BaseError as error:
        raise RefusedError(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _parts(url: str) -> tuple[str, str, str, str]:
    """Return scheme, account, bucket and path of `azure://ACCOUNT/CONTAINER/PATH` or `SCHEME://BUCKET/PATH`."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    account = ""
    if scheme.lower() == "azure":
        account = bucket
        bucket, _, path = path.partition("/")
    if not bucket or not path:
        raise RefusedError("a bucket and a path are needed, as in s3://BUCKET/PATH or azure://ACCOUNT/CONTAINER/PATH")
    return scheme.lower(), account, bucket, path


def _new_store(scheme: str, account: str, bucket: str, silence: float) -> object:
    _obstore()
    from obstore import store

    # Unencrypted only where the environment itself names such an endpoint. Retries are the download's own, which knows how
    # far it has come.
    options: Any = {"timeout": f"{silence}s", "connect_timeout": "10s", "allow_http": True}
    retries: Any = {"max_retries": 0}
    if scheme == "s3":
        return store.S3Store(bucket, client_options=options, retry_config=retries, **_aws())
    if scheme == "gs":
        return store.GCSStore(bucket, client_options=options, retry_config=retries)
    return store.AzureStore(bucket, account_name=account, client_options=options, retry_config=retries)


def _aws() -> dict[str, Any]:
    """Return what boto3 would use: credentials, renewed when they end, region and endpoint of the profile in use."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        return {}
    try:
        session = Session()
        profile, found = session.get_scoped_config(), session.get_credentials()
        region = session.get_config_variable("region")
    except BotoCoreError as error:
        raise RefusedError(f"the credentials for S3 cannot be had: {error}") from None
    if found is None:
        return {}

    def credentials() -> dict[str, Any]:
        from datetime import datetime, timedelta, timezone

        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + timedelta(minutes=5),  # botocore renews them when they are due
        }

    settings = {"region": region, "endpoint": profile.get("endpoint_url")}
    return {"credential_provider": credentials, **{name: value for name, value in settings.items() if value}}


def _obstore() -> Any:  # noqa: ANN401 - a module that may be missing
    try:
        import obstore
    except ImportError:
        raise MissingExtraError("inputs from s3://, gs:// and azure:// need obstore: pip install 'vhpack[cloud]'") from None
    return obstore
