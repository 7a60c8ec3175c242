"""Where uploads go: from a URI, options and the environment to what the engine takes."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack import env, errors, importing, runs, sizes
from vhpack.errors import OptionError
from vhpack.runs import Destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal, Protocol, TypeAlias

    from vhpack.env import Environment

    Sender: TypeAlias = Literal["platform", "self", "off"]

    class Keys(Protocol):
        """Keys as botocore has them."""

        access_key: str
        secret_key: str
        token: str | None

    class Frozen(Protocol):
        """What gives them."""

        def get_frozen_credentials(self) -> Keys:
            """Return the keys, renewed if they are about to expire."""


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
        ("AWS_ENDPOINT_URL_STS", "endpoint_url_sts"),
        ("AWS_METADATA_ENDPOINT", "metadata_endpoint"),
        ("AWS_IMDSV1_FALLBACK", "imdsv1_fallback"),
        ("AWS_SKIP_SIGNATURE", "skip_signature"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "virtual_hosted_style_request"),
    ),
    "gs": (
        ("GOOGLE_SERVICE_ACCOUNT", "service_account"),
        ("GOOGLE_SERVICE_ACCOUNT_PATH", "service_account"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "application_credentials"),
        ("GOOGLE_BEARER_TOKEN", "bearer_token"),
        ("GOOGLE_SKIP_SIGNATURE", "skip_signature"),
    ),
    "azure": (
        ("AZURE_STORAGE_ACCOUNT_NAME", "account_name"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "account_key"),
        ("AZURE_STORAGE_ACCESS_KEY", "account_key"),
        ("AZURE_STORAGE_SAS_TOKEN", "sas_token"),
        ("AZURE_STORAGE_SAS_KEY", "sas_token"),
        ("AZURE_STORAGE_TOKEN", "token"),
        ("AZURE_STORAGE_CLIENT_ID", "client_id"),
        ("AZURE_CLIENT_ID", "client_id"),
        ("AZURE_STORAGE_CLIENT_SECRET", "client_secret"),
        ("AZURE_CLIENT_SECRET", "client_secret"),
        ("AZURE_STORAGE_TENANT_ID", "tenant_id"),
        ("AZURE_TENANT_ID", "tenant_id"),
        ("AZURE_AUTHORITY_HOST", "authority_host"),
        ("AZURE_FEDERATED_TOKEN_FILE", "federated_token_file"),
        ("AZURE_MSI_ENDPOINT", "msi_endpoint"),
        ("IDENTITY_ENDPOINT", "msi_endpoint"),
        ("AZURE_STORAGE_ENDPOINT", "endpoint"),
        ("AZURE_ENDPOINT", "endpoint"),
        ("AZURE_STORAGE_USE_EMULATOR", "use_emulator"),
        ("AZURE_SKIP_SIGNATURE", "skip_signature"),
    ),
}

_MEMORY = "64MiB"  # of parts in memory: eight of 8 MiB, which fills 1 Gbit/s at 60 ms; more gave nothing on loopback either
_STALL_SECONDS = 60.0
_GIVE_UP_SECONDS = 86_400.0  # a day: a store that is away for a night costs no results
_LEAST_MEMORY = 8 << 20  # one part

# Options of all uploads together, which the engine takes apart from the others.
_SHARED = frozenset({"memory", "max_bps", "stall_seconds", "give_up_seconds"})

# A key and its secret belong together: of options and environment, one has all of them.
_ACCOUNT = {
    "s3": frozenset({"access_key_id", "secret_access_key", "session_token", "token", "profile", "skip_signature"}),
    "gs": frozenset({"service_account", "service_account_key", "application_credentials", "bearer_token", "skip_signature"}),
    "azure": frozenset(
        {
            *("account_key", "access_key", "master_key", "sas_token", "sas_key", "token", "bearer_token", "client_id"),
            *("client_secret", "federated_token_file", "msi_endpoint", "skip_signature"),
        }
    ),
}
_PREFIXES = ("aws_", "google_", "azure_storage_", "azure_")


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
    if scheme.lower() in ("http", "https") and "@" in rest.partition("/")[0]:
        host = rest.partition("/")[0].rpartition("@")[2]
        message = f"the address of {host} has an account in it, which would be shown to all; give it as header:Authorization"
        raise errors.of_upload("bad_destination", message, None, None, None)
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
        # What is known of the server holds for another folder on it, too; what is sent to one host is no other's business.
        known = said.options if said is not None else {}
        same = said is not None and _server(said.uri) == _server(to)
        return checked(to, {name: value for name, value in known.items() if same or name in _SHARED})
    if said is not None:
        return said
    return checked(environment.upload_uri, {}) if environment.upload_uri else None


def _server(uri: str) -> tuple[str, str]:
    scheme = scheme_of(uri)
    return scheme, uri.split("/")[2].lower() if scheme in ("http", "https") else ""


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

        if "?" in uri and scheme_of(uri) != "file":
            message = f"{uri.partition('?')[0]} has a query, which is for one file; give the URI of a folder"
            raise errors.of_upload("bad_destination", message, None, name, uri)
        if "#" in uri and scheme_of(uri) != "file":
            message = f"{uri} has a #, behind which servers see nothing; write it %23"
            raise errors.of_upload("bad_destination", message, None, name, uri)
        name = quote(name, safe="/~")
    folder = uri.rstrip("/")
    return f"{folder}/{name}" if not folder.endswith(":") else f"{folder}///{name}"


def pairs(files: Sequence[str], names: Sequence[str], uri: str) -> list[tuple[str, str | errors.UploadError]]:
    """Return each file with its URI below `uri`, or with why it has none: the others are no worse for that."""
    found: list[tuple[str, str | errors.UploadError]] = []
    for path, name in zip(files, names, strict=True):
        try:
            found.append((path, below(uri, name)))
        except errors.BadDestinationError as error:  # noqa: PERF203 - the others are no worse for it
            if len(files) == 1:
                raise
            found.append((path, errors.of_upload("bad_destination", str(error), None, path, uri)))
    return found


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
    scheme = "azure" if scheme == "az" else scheme
    variables, account = env.of_clouds(), _ACCOUNT.get(scheme, frozenset())
    names = {_plain(name) for name in given}
    found: dict[str, str] = {}
    for variable, option in _FROM_ENVIRONMENT.get(scheme, ()):
        if variable in variables and option not in names and not (option in account and account & names):
            found.setdefault(option, variables[variable])
    if scheme == "s3" and variables.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        # Nothing answers there, which is said at once.
        found["metadata_endpoint"] = "http://127.0.0.1:1"
    # The environment that names an unencrypted server means it.
    if found.get("endpoint", "").startswith("http://"):
        found.setdefault("allow_http", "true")
    return found


def _plain(name: str) -> str:
    """Return an option's name as it is written without the prefix of its cloud."""
    return next((name[len(prefix) :] for prefix in _PREFIXES if name.startswith(prefix)), name)


def _is_of(scheme: str, name: str) -> bool:
    """Return whether an option that is given for all schemes can mean this one."""
    if name.startswith("header"):
        return False
    if name in ("part_size", "concurrency", "overwrite", "ca_bundle", "allow_http", "endpoint", "skip_signature"):
        return True
    others = {
        other: {option for _, option in names} | _ACCOUNT[other] for other, names in _FROM_ENVIRONMENT.items() if other != scheme
    }
    own = {option for _, option in _FROM_ENVIRONMENT[scheme]} | _ACCOUNT[scheme]
    plain = _plain(name)
    return plain in own or not any(plain in options for options in others.values())


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


def everywhere(given: Mapping[str, object], uris: Iterable[str]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Return the options that the environment has, by scheme, and those given: for uploads to `uris` that another process began.

    Raises:
        OptionError: headers are given, and would go to several hosts.
    """
    texts = {name: _text(value) for name, value in given.items() if name not in _SHARED}
    texts.pop("profile", None)
    headers = {name: text for name, text in texts.items() if name.startswith("header")}
    hosts = {uri.split("/")[2] for uri in uris if uri.startswith(("http://", "https://"))}
    if headers and len(hosts) > 1:
        raise OptionError(
            f"{next(iter(headers))} would go to {len(hosts)} hosts: {', '.join(sorted(hosts))}; upload to each by itself"
        )
    beneath = {scheme: from_environment(scheme, texts) for scheme in _FROM_ENVIRONMENT}
    above = {scheme: {name: text for name, text in texts.items() if _is_of(scheme, name)} for scheme in _FROM_ENVIRONMENT}
    above["http"] = headers
    return beneath, above


class Credentials:
    """The keys of a shared profile, which are renewed before they expire."""

    def __init__(self, found: Frozen, region: str) -> None:
        self._found = found
        self.region = region
        """What the profile says of where its buckets are; empty if it says nothing."""

    def __call__(self) -> dict[str, str]:
        """Return the keys that are good now."""
        frozen = self._found.get_frozen_credentials()
        account = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, "session_token": frozen.token}
        return {name: value for name, value in account.items() if value}


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
        with importing.alone:
            from botocore import exceptions, session
    except ImportError:
        if not profile:
            return None
        message = (
            f"the profile {profile!r} is read by botocore, which is not installed: pip install botocore, or set AWS_ACCESS_KEY_ID"
        )
        raise errors.of_upload("no_credentials", message, None, None, None) from None
    try:
        of_profile = session.Session(profile=profile)
        found, region = of_profile.get_credentials(), of_profile.get_config_variable("region")
    except exceptions.BotoCoreError as error:
        raise errors.of_upload(
            "no_credentials", f"the profile {profile!r} gives no credentials: {error}", None, None, None
        ) from None
    return None if found is None else Credentials(found, region or "")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
