"""Where uploads go: from a URI, options and the environment to what the engine takes."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import env, errors, runs, sizes
from vhpack.errors import OptionError
from vhpack.runs import Destination

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, TypeAlias

    from vhpack.env import Environment

    Sender: TypeAlias = Literal["platform", "self", "off"]
    Credentials: TypeAlias = Callable[[], dict[str, str]]

SCHEMES = ("s3", "gs", "azure", "az", "file", "http", "https")
_SENDERS = ("platform", "self", "off")

# By scheme, the variables that the cloud's own tools read, and what each means; of several for one option the first counts.
_FROM_ENVIRONMENT: dict[str, tuple[tuple[str, str], ...]] = {
    "s3": (
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
        ("AWS_SESSION_TOKEN", "session_token"),
        ("AWS_REGION", "region"),
        ("AWS_DEFAULT_REGION", "region"),
        ("AWS_ENDPOINT_URL_S3", "endpoint"),
        ("AWS_ENDPOINT_URL", "endpoint"),
        ("AWS_CA_BUNDLE", "ca_bundle"),
        ("AWS_ALLOW_HTTP", "allow_http"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "container_credentials_relative_uri"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "container_credentials_full_uri"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "container_authorization_token_file"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file"),
        ("AWS_ROLE_ARN", "role_arn"),
        ("AWS_ROLE_SESSION_NAME", "role_session_name"),
    ),
    "gs": (
        ("GOOGLE_SERVICE_ACCOUNT", "service_account"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "application_credentials"),
    ),
    "azure": (
        ("AZURE_STORAGE_ACCOUNT_NAME", "account_name"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "account_key"),
        ("AZURE_STORAGE_SAS_TOKEN", "sas_token"),
        ("AZURE_STORAGE_TOKEN", "token"),
        ("AZURE_STORAGE_CLIENT_ID", "client_id"),
        ("AZURE_STORAGE_CLIENT_SECRET", "client_secret"),
        ("AZURE_STORAGE_TENANT_ID", "tenant_id"),
    ),
}

_MEMORY = "64MiB"  # of parts in memory: eight of 8 MiB, which fills 1 Gbit/s at 60 ms; more gave nothing on loopback either
_STALL_SECONDS = 60.0
_GIVE_UP_SECONDS = 86_400.0  # a day: a store that is away for a night costs no results
_LEAST_MEMORY = 8 << 20  # one part

# Options of all uploads together, which the engine takes apart from the others.
_SHARED = frozenset({"memory", "max_bps", "stall_seconds", "give_up_seconds"})

# A key and its secret belong together: of options and environment, one has all of them.
_ACCOUNT = frozenset({"access_key_id", "secret_access_key", "session_token", "profile"})


@dataclass(frozen=True)
class Limits:
    """What all uploads of a process share."""

    memory: int = 64 << 20
    """Bytes of files that may be in memory."""
    max_bps: int | None = None
    """Bytes a second, all together."""
    stall_seconds: float = _STALL_SECONDS
    """Seconds without a byte taken or said, after which a request is made again."""
    give_up_seconds: float = _GIVE_UP_SECONDS
    """Seconds without success, after which an upload has failed."""


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI, which must be one that vhpack sends to.

    Raises:
        UnknownSchemeError: it is not.

    Example:
        >>> from vhpack.destinations import scheme_of
        >>> scheme_of("s3://bucket/run-7/")
        's3'
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise errors.of_upload(
            "unknown_scheme", f"{uri!r} is no destination; give a URI that begins with {known}", None, None, uri
        )
    if not rest.strip("/") and scheme.lower() != "file":
        message = f"{uri!r} names no bucket or host; give one, as in s3://BUCKET/FOLDER/"
        raise errors.of_upload("bad_destination", message, None, None, uri)
    return scheme.lower()


def checked(uri: str, options: Mapping[str, object]) -> Destination:
    """Return a destination, with its options as texts.

    Raises:
        UnknownSchemeError, BadDestinationError: the URI means nothing.
    """
    scheme_of(uri)
    return Destination(uri, {name: _text(value) for name, value in options.items() if value is not None})


def chosen(to: str | None, environment: Environment) -> Destination | None:
    """Return where outputs go: `to`, else what the script has said, else what the environment says; None if nothing does."""
    said = runs.destination()
    if to is not None:
        # What is known of the server holds for another folder on it, too.
        shared = said.options if said is not None and scheme_of(said.uri) == scheme_of(to) else {}
        return checked(to, shared)
    if said is not None:
        return said
    return checked(environment.upload_uri, {}) if environment.upload_uri else None


def sender(environment: Environment, destination: Destination | None) -> Sender:
    """Return who sends outputs: never two.

    Raises:
        OptionError: `VHPACK_UPLOAD` says something else.
        BadDestinationError: vhpack is to send, and nothing says where to.

    Example:
        >>> from vhpack.destinations import sender
        >>> from vhpack.env import Environment
        >>> sender(Environment(job_id="1"), None)
        'platform'
    """
    wanted = environment.upload
    if not wanted:
        return "platform" if destination is None else "self"
    for known in _SENDERS:
        if wanted == known:
            if known == "self" and destination is None:
                message = (
                    "VHPACK_UPLOAD is self, and no destination is known: call set_upload_destination, or set VHPACK_UPLOAD_URI"
                )
                raise errors.of_upload("bad_destination", message, None, None, None)
            return known  # type: ignore[return-value]
    raise OptionError(f"VHPACK_UPLOAD is {wanted!r}; it must be one of {', '.join(_SENDERS)}")


def below(uri: str, name: str) -> str:
    """Return the URI of `name`, a relative path, in the folder that a URI means.

    Keys of object stores are names as they are; in `file://` and `http(s)://` what means something else is escaped.

    Raises:
        BadDestinationError: the name is not UTF-8, or the URI has a query, which is signed for one name.

    Example:
        >>> from vhpack.destinations import below
        >>> below("s3://bucket/run", "a b.png"), below("https://host/run/", "a b.png")
        ('s3://bucket/run/a b.png', 'https://host/run/a%20b.png')
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        message = f"the name of {name!r} is not UTF-8, which names in {uri} must be; rename it"
        raise errors.of_upload("bad_destination", message, None, name, uri) from None
    if scheme_of(uri) in ("http", "https", "file"):
        from urllib.parse import quote

        if "?" in uri:
            message = f"{uri.partition('?')[0]} has a query, which is for one file; give the URI of a folder"
            raise errors.of_upload("bad_destination", message, None, name, uri)
        name = quote(name, safe="/~")
    return f"{uri.rstrip('/') if not uri.endswith('://') else uri}/{name}"


def make_folders(uri: str, root: str) -> None:
    """Make the folders that a `file://` URI has below `root`, as stores have them without being asked.

    `root` itself is never made: a disk that is not mounted would become a folder of the one that is.
    """
    if not uri.startswith("file://") or not uri.startswith(root):
        return
    from urllib.parse import unquote

    folder, above = (os.path.dirname(unquote(text.removeprefix("file://"))) for text in (uri, f"{root.rstrip('/')}/"))
    if os.path.isdir(above):
        # What stands in the way the engine says.
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)


def options_of(destination: Destination) -> dict[str, str]:
    """Return a destination's options, with what the environment says beneath them."""
    return {**from_environment(scheme_of(destination.uri), destination.options), **destination.options}


def from_environment(scheme: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the options that the environment has for a scheme, without an account where one is given."""
    variables = env.of_clouds()
    found: dict[str, str] = {}
    for variable, option in _FROM_ENVIRONMENT.get("azure" if scheme == "az" else scheme, ()):
        if variable in variables and not (option in _ACCOUNT and _ACCOUNT & given.keys()):
            found.setdefault(option, variables[variable])
    if scheme == "s3" and variables.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        # Nothing answers there, which is said at once.
        found["metadata_endpoint"] = "http://127.0.0.1:1"
    # The environment that names an unencrypted server means it.
    if found.get("endpoint", "").startswith("http://"):
        found.setdefault("allow_http", "true")
    return found


def limits_of(options: Mapping[str, str], environment: Environment) -> tuple[Limits, dict[str, str]]:
    """Take from options those that all uploads of a process share.

    Raises:
        OptionError: one is out of range.

    Example:
        >>> from vhpack.destinations import limits_of
        >>> from vhpack.env import Environment
        >>> limits, rest = limits_of({"memory": "16MiB", "region": "eu-west-1"}, Environment())
        >>> limits.memory, rest
        (16777216, {'region': 'eu-west-1'})
    """
    rest = dict(options)
    memory = sizes.parse(rest.pop("memory", _MEMORY))
    if memory < _LEAST_MEMORY:
        raise OptionError(f"memory is {memory} bytes; uploads need {_LEAST_MEMORY} at least")
    pace = rest.pop("max_bps", None)
    if pace is not None and sizes.parse(pace) <= 0:
        raise OptionError(f"max_bps is {pace!r}; it must be bytes a second, above zero")
    return (
        Limits(
            memory,
            None if pace is None else sizes.parse(pace),
            _seconds("stall_seconds", rest.pop("stall_seconds", "") or environment.timeout, _STALL_SECONDS),
            _seconds("give_up_seconds", rest.pop("give_up_seconds", ""), _GIVE_UP_SECONDS),
        ),
        rest,
    )


def _seconds(name: str, text: str, usual: float) -> float:
    try:
        seconds = float(text or usual)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise OptionError(f"{name} is {text!r}; it must be a number of seconds above zero")
    return seconds


def everywhere(given: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return the options that the environment has, by scheme, beneath those given: for uploads that another process began."""
    texts = {name: _text(value) for name, value in given.items() if name not in _SHARED}
    texts.pop("profile", None)
    found = {scheme: {**from_environment(scheme, texts), **texts} for scheme in _FROM_ENVIRONMENT}
    found["http"] = {name: text for name, text in texts.items() if name.startswith("header")}
    return {scheme: options for scheme, options in found.items() if options}


def credentials_of(options: Mapping[str, str], scheme: str = "s3") -> Credentials | None:
    """Return what looks up the credentials of a shared profile, when there is one and botocore is installed to read it.

    Raises:
        NoCredentialsError: a profile is named, and botocore is missing or knows none of that name.
    """
    if scheme != "s3" or "access_key_id" in options or options.get("skip_signature"):
        return None
    variables = env.of_clouds()
    profile = options.get("profile") or variables.get("AWS_PROFILE")
    if not profile and not any(map(os.path.exists, _profile_files(variables))):
        return None
    return _of_profile(profile)


def _profile_files(variables: Mapping[str, str]) -> tuple[str, str]:
    return (
        variables.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials"),
        variables.get("AWS_CONFIG_FILE") or os.path.expanduser("~/.aws/config"),
    )


def _of_profile(profile: str | None) -> Credentials | None:
    try:
        from botocore import exceptions, session
    except ImportError:
        if not profile:
            return None
        message = (
            f"the profile {profile!r} is read by botocore, which is not installed: pip install botocore, or set AWS_ACCESS_KEY_ID"
        )
        raise errors.of_upload("no_credentials", message, None, None, None) from None
    try:
        found = session.Session(profile=profile).get_credentials()
    except exceptions.BotoCoreError as error:
        raise errors.of_upload(
            "no_credentials", f"the profile {profile!r} gives no credentials: {error}", None, None, None
        ) from None
    if found is None:
        return None

    def now() -> dict[str, str]:
        # Renews what is about to expire.
        frozen = found.get_frozen_credentials()
        account = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, "session_token": frozen.token}
        return {name: value for name, value in account.items() if value}

    return now


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
