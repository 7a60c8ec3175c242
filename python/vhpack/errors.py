"""What can go wrong: every error is a `PackError` and the builtin that a caller already catches.

Those that are also `OSError` carry the operating system's `errno` and the `filename` it is about; the text of every one
is a sentence that names the path and the next step.

Example:
    >>> import vhpack
    >>> try:
    ...     vhpack.pack("nowhere/*.png", "nowhere.zip")
    ... except FileNotFoundError as error:
    ...     print(error.filename, isinstance(error, vhpack.PackError))
    ... except ValueError as error:
    ...     print(type(error).__name__)
    NoFilesError
"""

from typing import ClassVar

__all__ = [
    "BadDestinationError",
    "ChecksumError",
    "ConfigError",
    "ContentError",
    "CorruptArchiveError",
    "DistributedError",
    "DownloadError",
    "FunctionError",
    "JobWarning",
    "JournalError",
    "LimitExceededError",
    "MemberCollisionError",
    "MemberNameError",
    "MemberNotFoundError",
    "MissingExtraError",
    "ModelError",
    "NoCredentialsError",
    "NoFilesError",
    "NoSpaceError",
    "NoSuchBucketError",
    "NoTargetError",
    "NotRegisteredError",
    "OptionError",
    "PackError",
    "PackOSError",
    "PackPermissionError",
    "PackWarning",
    "PropertyError",
    "RegistrationError",
    "RegistryError",
    "SourceChangedError",
    "SourceNotFoundError",
    "SpecialFileError",
    "StalledError",
    "StepError",
    "TargetExistsError",
    "TargetIsDirectoryError",
    "UnknownFormatError",
    "UnknownSchemeError",
    "UnreachableError",
    "UnsafeMemberError",
    "UnsupportedArchiveError",
    "UploadCancelledError",
    "UploadCorruptError",
    "UploadDeniedError",
    "UploadError",
    "UploadExistsError",
    "UploadOutsideError",
    "UploadRejectedError",
    "UploadSourceChangedError",
    "UploadSourceMissingError",
    "UploadTooLargeError",
    "UploadsFailedError",
    "YamlError",
]


class PackError(Exception):
    """A call did not do all that was asked; no file is lost.

    When packing, none was published and no original was removed, unless the message says that the archive is complete.
    """

    kind: ClassVar[str] = "error"
    """The error's stable short name, as `vhpack compress --json` prints it."""

    def __str__(self) -> str:
        # OSError would put "[Errno 2]" before the sentence and the path behind it; the sentence has both already.
        sentence = getattr(self, "strerror", None)
        if isinstance(sentence, str):
            return sentence
        # KeyError would put the sentence in quotes.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class NoFilesError(PackError, ValueError):
    """The sources name no file."""

    kind = "no_files"


class TargetExistsError(PackError, FileExistsError):
    """The target exists, and replacing it was not asked for."""

    kind = "target_exists"


class TargetIsDirectoryError(PackError, IsADirectoryError):
    """The target is a directory."""

    kind = "target_is_directory"


class UnknownFormatError(PackError, ValueError):
    """The target's suffix is no archive format that vhpack writes."""

    kind = "unknown_format"


class MemberCollisionError(PackError, ValueError):
    """Two different files would become one member; one of them would be lost to whoever unpacks."""

    kind = "collision"


class MemberNameError(PackError, ValueError):
    """A file's name cannot be a member's name, since readers could not restore it."""

    kind = "unsafe_name"


class SourceChangedError(PackError, OSError):
    """A file changed or vanished while it was packed."""

    kind = "changed"


class SourceNotFoundError(PackError, FileNotFoundError):
    """A source, or the folder of the target, does not exist."""

    kind = "not_found"


class PackPermissionError(PackError, PermissionError):
    """The operating system refused to read a source or to write the target."""

    kind = "permission"


class SpecialFileError(PackError, OSError):
    """A FIFO, socket or device was named where a file was expected."""

    kind = "special_file"


class NoSpaceError(PackError, OSError):
    """The disk, the quota or the limit of a file's size is exhausted."""

    kind = "no_space"


class PackOSError(PackError, OSError):
    """The operating system refused something else."""

    kind = "io"


class OptionError(PackError, ValueError):
    """An option is out of range, or contradicts another."""

    kind = "usage"


class StepError(PackError, ValueError):
    """The arguments of `prepare()` describe no step."""

    kind = "step"

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)
        self.where = where
        """The argument, or the entry of it, that is wrong: `default_parameters["layers"]`."""

    def __str__(self) -> str:
        return str(self.args[1])


class ConfigError(PackError, ValueError):
    """A file in the config folder (`parameters.json` and its like) cannot be read."""

    kind = "config"


class DownloadError(PackError, OSError):
    """A file cannot be downloaded; `filename` is its URL, without what may be secret in it."""

    kind = "download"


class ChecksumError(DownloadError):
    """A file was downloaded, and is not the one that was promised; it is not kept."""

    kind = "checksum"


class FunctionError(PackError, RuntimeError):
    """A function of the caller's raised, or its process ended; `source` is the file that it had, `__cause__` what it raised."""

    kind = "function"

    def __init__(self, source: str, message: str) -> None:
        super().__init__(source, message)
        self.source = source
        """The file that the function was given."""

    def __str__(self) -> str:
        return str(self.args[1])

    @classmethod
    def of(cls, source: str, error: BaseException) -> "FunctionError":
        """Say which file an exception is about.

        Example:
            >>> from vhpack.errors import FunctionError
            >>> str(FunctionError.of("a.png", ValueError("no pixels")))
            'a.png: ValueError: no pixels'
        """
        return cls(source, f"{source}: {type(error).__name__}: {error}")


class PropertyError(PackError, TypeError):
    """A property of an output file cannot be written as JSON, or a dataset's version has no URI."""

    kind = "property"


class DistributedError(PackError, RuntimeError):
    """A distributed task has no such member, or a member no such address."""

    kind = "distributed"


class YamlError(PackError, ValueError):
    """A `valohai.yaml` cannot be read, or cannot be changed without changing more than was asked for."""

    kind = "yaml"


class MissingExtraError(PackError, ImportError):
    """Something needs a package that is not installed; the message says what to install."""

    kind = "missing_extra"


class RegistryError(PackError, RuntimeError):
    """The registry cannot be used: it is locked, read-only, damaged, of a newer version, or something else."""

    kind = "registry"


class NotRegisteredError(PackError, KeyError):
    """The registry has no such datum, alias, dataset or run."""

    kind = "not_registered"


class NoTargetError(NotRegisteredError):
    """An alias is there, and means no datum."""

    kind = "no_target"


class RegistrationError(PackError, ValueError):
    """What sidecars or properties say of a run's outputs cannot be done; nothing of the run was registered."""

    kind = "registration"


class ContentError(PackError, OSError):
    """The content of a datum is gone, was altered, or cannot be kept."""

    kind = "content"


class ModelError(PackError, ValueError):
    """A model cannot do this: it is published, or has no such version, or its weights are not what was stored."""

    kind = "model"


class CorruptArchiveError(PackError, ValueError):
    """An archive's bytes contradict each other, end early, or fail a checksum."""

    kind = "corrupt"


class UnsafeMemberError(PackError, ValueError):
    """A member would be written outside the destination, or over another member."""

    kind = "unsafe_member"


class LimitExceededError(PackError, ValueError):
    """An archive claims more than the limits allow that protect disk and memory."""

    kind = "limit_exceeded"


class UnsupportedArchiveError(PackError, NotImplementedError):
    """A file is no archive that vhpack reads, or one with encryption, several disks, or an unknown method."""

    kind = "unsupported"


class MemberNotFoundError(PackError, KeyError):
    """An archive has no member of this name."""

    kind = "member_not_found"


class UploadError(PackError, OSError):
    """A file did not reach its destination; it is still where it was.

    `path` is the file, `uri` where it was to go; the sentence has the cause and what to do. What the destination has under
    the name is what it had before, never half of a file.
    """

    kind = "upload"

    @property
    def path(self) -> str | None:
        """The file that was to be sent."""
        return None if self.filename is None else str(self.filename)

    @property
    def uri(self) -> str | None:
        """Where it was to go."""
        return None if self.filename2 is None else str(self.filename2)


class UnknownSchemeError(UploadError, ValueError):
    """The destination's scheme is none that vhpack sends to."""

    kind = "unknown_scheme"


class BadDestinationError(UploadError, ValueError):
    """The destination, or an option of it, means nothing."""

    kind = "bad_destination"


class NoCredentialsError(UploadError, PermissionError):
    """The destination asks who is there, and nothing on this machine says it."""

    kind = "no_credentials"


class UploadDeniedError(UploadError, PermissionError):
    """The destination knows these credentials, or refuses to, and does not let them write."""

    kind = "denied"


class NoSuchBucketError(UploadError, FileNotFoundError):
    """The bucket, container or folder of the destination does not exist."""

    kind = "no_such_bucket"


class UnreachableError(UploadError, ConnectionError):
    """The destination could not be reached, for as long as was tried."""

    kind = "unreachable"


class StalledError(UploadError, TimeoutError):
    """The destination took no byte and said nothing, for as long as was tried."""

    kind = "stalled"


class UploadExistsError(UploadError, FileExistsError):
    """There is something under the name already, and replacing it was not asked for."""

    kind = "exists"


class UploadSourceChangedError(UploadError):
    """The file changed while it was sent; nothing was published of it."""

    kind = "source_changed"


class UploadSourceMissingError(UploadError, FileNotFoundError):
    """The file is not there."""

    kind = "source_missing"


class UploadOutsideError(UploadError, OptionError):
    """The file lies outside the outputs folder, so that nothing says what it is called at the destination."""

    kind = "outside"


class UploadCorruptError(UploadError):
    """What arrived is not what was sent."""

    kind = "corrupt"


class JournalError(UploadError):
    """The record of an upload, from which it would go on after a crash, cannot be read or written."""

    kind = "journal"


class UploadTooLargeError(UploadError, ValueError):
    """The file is larger than the destination takes."""

    kind = "too_large"


class UploadCancelledError(UploadError):
    """The upload was cancelled; what had been sent of it was given up."""

    kind = "cancelled"


class UploadRejectedError(UploadError):
    """The destination refused, in words of its own."""

    kind = "rejected"


class UploadsFailedError(UploadError):
    """Several uploads failed; `errors` has the error of each."""

    kind = "uploads"
    errors: "tuple[UploadError, ...]" = ()


class PackWarning(UserWarning):
    """An archive is complete, and there is something about it that the caller should know."""


class JobWarning(UserWarning):
    """The job goes on, and there is something that its author should know."""


_BY_KIND: dict[str, type[PackError]] = {
    error.kind: error
    for error in (
        NoFilesError,
        TargetExistsError,
        TargetIsDirectoryError,
        UnknownFormatError,
        MemberCollisionError,
        MemberNameError,
        SourceChangedError,
        SourceNotFoundError,
        PackPermissionError,
        SpecialFileError,
        NoSpaceError,
        PackOSError,
        OptionError,
        CorruptArchiveError,
        UnsafeMemberError,
        LimitExceededError,
        UnsupportedArchiveError,
        MemberNotFoundError,
    )
}


def _from_engine(kind: str, message: str, errno: int | None, filename: str | None) -> PackError:
    """Make the error that the engine raises; called by the native module."""
    error = _BY_KIND.get(kind, PackError)
    if issubclass(error, OSError):
        # With two arguments at least, OSError fills `errno` and `strerror`, also when the number is not known.
        return error(errno, message, filename)
    return error(message)


_UPLOAD_BY_KIND: dict[str, type[UploadError]] = {
    error.kind: error
    for error in (
        UnknownSchemeError,
        BadDestinationError,
        NoCredentialsError,
        UploadDeniedError,
        NoSuchBucketError,
        UnreachableError,
        StalledError,
        UploadExistsError,
        UploadSourceChangedError,
        UploadSourceMissingError,
        UploadCorruptError,
        JournalError,
        UploadTooLargeError,
        UploadCancelledError,
        UploadRejectedError,
    )
}


def of_upload(kind: str, message: str, errno: int | None, path: str | None, uri: str | None) -> UploadError:
    """Make the error that an upload ended with.

    Example:
        >>> from vhpack import errors
        >>> error = errors.of_upload("denied", "s3://b/a refuses `a`: say another key", None, "a", "s3://b/a")
        >>> isinstance(error, PermissionError), error.path, error.uri
        (True, 'a', 's3://b/a')
    """
    if path and uri and path not in message and uri not in message:
        message = f"{path} was not sent to {uri}: {message}"
    return _UPLOAD_BY_KIND.get(kind, UploadError)(errno, message, path, None, uri)


def _from_upload(kind: str, message: str, errno: int | None) -> UploadError:
    """Make the error that the engine raises of an upload; called by the native module, which leaves path and URI to others."""
    return of_upload(kind, message, errno, None, None)
