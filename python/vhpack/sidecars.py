"""What sidecars say of the outputs beside them: `NAME.metadata.json`, and `valohai.metadata.jsonl` for all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from vhpack.errors import JobWarning, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

SUFFIX = ".metadata.json"
TOGETHER = "valohai.metadata.jsonl"
# One for all: `json.loads` makes a new one for each text. NaN and its like, which Python writes, are no JSON to anybody else.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_CLAIMS = ("valohai.alias", "valohai.dataset-versions")


def is_sidecar(name: str) -> bool:
    """Return whether a file of the outputs only describes others.

    Example:
        >>> from vhpack.sidecars import is_sidecar
        >>> is_sidecar("a.pt.metadata.json"), is_sidecar("valohai.metadata.jsonl"), is_sidecar("a.json")
        (True, True, False)
    """
    return name.endswith(SUFFIX) or name == TOGETHER


def properties(
    root: str, sidecars: Iterable[str], names: Container[str], old: Container[str], *, strict: bool
) -> dict[str, dict[str, object]]:
    """Return what sidecars say, by the names of the files that they are about.

    Where both kinds speak of a file, each property is that of `valohai.metadata.jsonl`, which code writes last.

    Args:
        root: The outputs folder.
        sidecars: Names of the sidecars in it.
        names: Names of the files that are described.
        old: Names of files that belong to other runs; what is said of them is passed over.
        strict: A claim for a file that is nowhere is an error; in a folder of several runs, it may be of one that has gone.

    Raises:
        RegistrationError: a sidecar is no JSON, no object, or claims an alias or a dataset's version for a file that is not
        there.
    """
    found: dict[str, dict[str, object]] = {}
    left: list[tuple[str, str]] = []
    for sidecar in sorted(sidecars, key=lambda name: (name == TOGETHER, name)):
        path = os.path.join(root, sidecar)
        for where, file, said in _lines(path) if sidecar == TOGETHER else _alone(path, sidecar.removesuffix(SUFFIX)):
            name = file if file in names else os.path.normpath(file)
            if name in names:
                found.setdefault(name, {}).update(said)
            elif name not in old:
                if strict:
                    _refuse_claims(where, name, said)
                left.append((where, name))
    if left:
        _say_left(left)
    return found


def _refuse_claims(where: str, file: str, said: dict[str, object]) -> None:
    claimed = next((name for name in _CLAIMS if said.get(name)), None)
    if claimed is not None:
        what = f"{where} claims {claimed} {said[claimed]!r} for {file!r}"
        raise RegistrationError(f"{what}, which is not among the outputs; name the file, or remove the claim")


def _say_left(left: list[tuple[str, str]]) -> None:
    import warnings

    # Once: files that were packed into an archive may be many, and then nothing is wrong with what is said of them.
    where, file = left[0]
    if len(left) == 1:
        message = f"{where} is about {file!r}, which is not among the outputs; it is left out"
    else:
        message = (
            f"{where} is about {file!r}, which is not among the outputs, nor are {len(left) - 1:,} others; they are left out"
        )
    warnings.warn(message, JobWarning, stacklevel=5)


def _lines(path: str) -> Iterable[tuple[str, str, dict[str, object]]]:
    content = _read(path)
    for number, line in enumerate(_split(content), 1):
        if not line.strip():
            continue
        try:
            entry = _decode(line)
        except (ValueError, RecursionError) as error:
            raise RegistrationError(f"{path}:{number} is no JSON: {error}; correct or remove the line") from None
        file, said = (entry.get("file"), entry.get("metadata")) if isinstance(entry, dict) else (None, None)
        if not isinstance(file, str) or not isinstance(said, dict):
            wrong = 'must be {"file": NAME, "metadata": {...}}; correct or remove the line'
            raise RegistrationError(f"{path}:{number} {wrong}")
        yield f"{path}:{number}", file, said


def _split(content: bytes) -> Sequence[bytes | str]:
    try:
        return content.decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError:
        return content.split(b"\n")  # of which one will say what is wrong with it


def _alone(path: str, file: str) -> Iterable[tuple[str, str, dict[str, object]]]:
    try:
        found = _decode(_read(path))
    except (ValueError, RecursionError) as error:
        raise RegistrationError(f"{path} is no JSON: {error}; correct or remove it") from None
    if not isinstance(found, dict):
        raise RegistrationError(f"{path} must be a JSON object, not {type(found).__name__}; correct or remove it")
    yield path, file, found


def _decode(text: bytes | str) -> object:
    if isinstance(text, bytes):  # in whichever encoding of JSON's
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    return _DECODER.decode(text)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise RegistrationError(f"{path} cannot be read: {error.strerror}") from None
