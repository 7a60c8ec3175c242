"""Where a `valohai.yaml` is, and how it is replaced: complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from vhpack.errors import PackOSError, YamlError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "valohai.yaml"
_MOST = 16 << 20  # bytes; of the characters in them no more than a quarter is parsed


def found_from(folder: str) -> str:
    """Return the `valohai.yaml` of a folder or of one above it, up to the repository's root; else where it would be.

    Example:
        >>> import os
        >>> from vhpack.yaml.files import found_from
        >>> os.path.basename(found_from("."))
        'valohai.yaml'
    """
    start = Path(folder).resolve()
    for above in (start, *start.parents):
        if (above / NAME).is_file():
            return os.path.relpath(above / NAME, folder)
        if (above / ".git").exists():
            break
        if not any((further / ".git").exists() for further in above.parents):
            break
    return NAME


def root_of(yaml: str) -> str:
    """Return the folder in which the commands of a `valohai.yaml` run: the repository's root.

    That is the folder with `.git` around the file; without one the working directory, if the file lies below it, else the
    file's own folder.
    """
    folder = Path(yaml).resolve().parent
    for above in (folder, *folder.parents):
        if (above / ".git").exists():
            return str(above)
    here = Path.cwd().resolve()
    return str(here if folder.is_relative_to(here) else folder)


def relative(path: str, root: str) -> str:
    """Return a source's path as commands name it.

    Raises:
        YamlError: it lies outside the repository.
    """
    found = os.path.relpath(os.path.join(Path(path).parent.resolve(), os.path.basename(path)), root).replace(os.sep, "/")
    if found == ".." or found.startswith("../"):
        raise YamlError(f"{path}: this lies outside {root}, where the step's commands run; move it there, or say --yaml")
    return found


def refuse_special(path: str) -> None:
    """Refuse a pipe, a device and the like, which reading would wait for, and which cannot be replaced.

    Raises:
        YamlError: it is there, and no regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise YamlError(f"{path}: this is no regular file; name one")


def text_of(path: str) -> str | None:
    """Return what a file, or a pipe, holds, its line ends as they are; None if there is none.

    Raises:
        YamlError: it is no UTF-8, or too large.
        PackOSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST + 1)
        if len(content) > _MOST:
            raise YamlError(f"{path}: this is larger than {_MOST >> 20} MiB, and is not read")
        return content.decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: this is no UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise PackOSError(error.errno, f"cannot read {path}: {error.strerror}", path) from None


def replace(path: str, old: str | None, new: str) -> None:
    """Put a text in the place of the one that was read.

    The file is complete or as it was, keeps its mode and, where the system allows that, its owner, and stays a link if it is
    one. One that may not be written to is not replaced.

    Raises:
        YamlError: someone else has changed it meanwhile.
        PackOSError: it cannot be written; it is as it was.
    """
    target = os.path.realpath(path)
    staged = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{os.urandom(4).hex()}")
    try:
        if old is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
        _write(staged, new.encode("utf-8"), os.stat(target) if old is not None else None)
        with _alone(os.path.dirname(target)):
            if text_of(path) != old:
                raise YamlError(f"{path}: this was changed by someone else meanwhile; run the command again")
            os.replace(staged, target)
        _sync(os.path.dirname(target))
    except OSError as error:
        raise PackOSError(error.errno, f"cannot write {path}: {error.strerror}", path) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(staged)


def _write(path: str, content: bytes, like: os.stat_result | None) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(number, "wb") as file:
        if like is not None:
            # A container's root brings a file up to date that its user has to edit again.
            with contextlib.suppress(PermissionError):
                os.fchown(number, like.st_uid, like.st_gid)
            os.fchmod(number, like.st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(number)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep others who replace a file of this folder waiting, where the file system has locks."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _sync(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
