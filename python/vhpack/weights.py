"""What is handed over as weights: looked at before anything is touched."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from vhpack import designs, paths, registrar, stored
from vhpack.errors import NoFilesError, OptionError, SourceNotFoundError, SpecialFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack._packing import Patterns, StrPath
    from vhpack.errors import PackError


def path_of(given: StrPath, what: str) -> str:
    """Return a path as it is from anywhere.

    Raises:
        OptionError: it is empty, which would mean the working directory, with all that is in it.
    """
    text = os.fsdecode(given)
    if not text:
        raise OptionError(f"{what} is empty; name a file or a folder")
    return os.path.abspath(text)


def refuse_own(sources: Sequence[str], destination: str | None = None) -> None:
    """Refuse what models, the registry, or what is on its way to them is kept in: it would be packed, and removed.

    Args:
        sources: Files or folders.
        destination: Where it goes.

    Raises:
        OptionError: it is in one of them, or lies in the store or the spool.
    """
    place = registrar.place()
    inner = [paths.spool_path(), *([] if place is None else [place.store])]
    own = [*inner, registrar.file(), None if destination is None else stored.local_path(destination)]
    kept = [(path, os.path.realpath(path)) for path in own if path is not None]
    folders: dict[str, str] = {}
    for source in sources:
        if len(sources) == 1:
            real = os.path.realpath(source)
        else:  # of many files, each folder is looked up once
            folder, name = os.path.split(source)
            if folder not in folders:
                folders[folder] = os.path.realpath(folder)
            real = os.path.join(folders[folder], name)
        for path, itself in kept:
            if _is_below(itself, real):
                what = "is" if itself == real else f"has {path} in it,"
                raise OptionError(f"{source} {what} where models are kept; name a folder that has only the model's files")
        for path, itself in kept[: len(inner)]:
            if _is_below(real, itself):
                raise OptionError(f"{source} lies in {path}, where models are kept; get_weights() gives a copy of its own")


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def refuse_no_file(path: str, kind: type[PackError] = SourceNotFoundError) -> None:
    """Refuse what is no file; as an error of an argument, where `kind` is that.

    Raises:
        SourceNotFoundError, SpecialFileError: it is none.
    """
    if not os.path.exists(path):
        message = f"{path} does not exist; name a file"
        raise kind(message) if kind is OptionError else SourceNotFoundError(2, message, path)
    if not os.path.isfile(path):
        message = f"{path} is no file; name a file"
        raise kind(message) if kind is OptionError else SpecialFileError(None, message, path)


def legible(name: str) -> str:
    """Return a file's name as text that a comment may have, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def checked_name(name: str) -> str:
    """Return the last part of a version's URI.

    Raises:
        OptionError: it is no name of a file.
    """
    designs.checked_name(name, "target_filename")
    if "/" in name or name in (".", "..") or not name.isprintable():
        raise OptionError(f"target_filename is {name!r}; it must be a file's name, without a folder")
    return name


def of_folder(weights_path: StrPath, include: Patterns | None) -> tuple[tuple[str, ...], str]:
    """Return what is packed of a folder, and what the names of members are relative to.

    Raises:
        OptionError: its name is empty. NoFilesError: there is no such folder, or nothing in it.
    """
    root = path_of(weights_path, "weights_path")
    if not os.path.isdir(root):
        what = "is no folder" if os.path.lexists(root) else "does not exist"
        raise NoFilesError(f"{root} {what}; weights_path is a folder whose files are packed")
    if not os.listdir(root):
        raise NoFilesError(f"{root} is empty; there is nothing to pack")
    if include is None:
        return (root,), root
    patterns = (include,) if isinstance(include, str | os.PathLike) else include
    return tuple(os.path.join(glob.escape(root), os.fspath(pattern)) for pattern in patterns), root


def of_files(files: Sequence[StrPath]) -> tuple[tuple[str, ...], str]:
    """Return files, each once, and the deepest folder that all are in.

    Raises:
        OptionError: they are no list. NoFilesError: it is empty. SourceNotFoundError, SpecialFileError: one is no file.
    """
    if isinstance(files, str | bytes | os.PathLike):
        raise OptionError(f"weights_filenames is {files!r}; it must be a list of files")
    found = tuple(dict.fromkeys(path_of(file, "a name in weights_filenames") for file in files))
    if not found:
        raise NoFilesError("weights_filenames is empty; there is nothing to pack")
    for path in found:
        refuse_no_file(path)
    return found, os.path.commonpath([os.path.dirname(path) for path in found])
