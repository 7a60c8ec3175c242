"""What sidecars say of the outputs beside them: `NAME.metadata.json`, and `valohai.metadata.jsonl` for all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from vhpack.errors import JobWarning, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

SUFFIX = ".metadata.json"
TOGETHER = "valohai.metadata.jsonl"
# One for all: `json.loads` makes a new one for each text. NaN and its like, which Python writes, are no JSON to anybody else.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_AT_ONCE, _MORE = 4 << 10, 16 << 20  # bytes of a read: most sidecars are small
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
    together = False
    for sidecar in sorted(sidecars):
        if sidecar == TOGETHER:
            together = True
            continue
        path = f"{root}/{sidecar}"
        said, file = _alone(path), sidecar[: -len(SUFFIX)]
        if file in names:
            found[file] = said
        elif file not in old:
            left.append(_left(path, file, said, strict=strict))
    for number, file, said in _lines(f"{root}/{TOGETHER}") if together else ():
        name = file if file in names else os.path.normpath(file)
        if name in names:
            before = found.setdefault(name, said)
            if before is not said:
                before.update(said)
        elif name not in old:
            left.append(_left(f"{root}/{TOGETHER}:{number}", name, said, strict=strict))
    if left:
        _say_left(left)
    return found


def _left(where: str, file: str, said: dict[str, object], *, strict: bool) -> tuple[str, str]:
    if strict:
        _refuse_claims(where, file, said)
    return where, file


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


def _lines(path: str) -> Iterator[tuple[int, str, dict[str, object]]]:
    # There may be 200,000 of them: most are what they should be, of which nothing but the decoder has to make sure.
    decode = _DECODER.raw_decode
    for number, line in enumerate(_split(_read(path)), 1):
        try:
            entry, end = decode(line)  # type: ignore[arg-type]  # bytes fail, and are looked at below
            file, said = entry["file"], entry["metadata"]
        except (ValueError, TypeError, KeyError, RecursionError):
            end = -1
        if end != len(line) or type(file) is not str or type(said) is not dict:
            if not line.strip():
                continue
            file, said = _entry(path, number, line)
        yield number, file, said


def _entry(path: str, number: int, line: bytes | str) -> tuple[str, dict[str, object]]:
    try:
        entry = _decode(line)
    except (ValueError, RecursionError) as error:
        raise RegistrationError(f"{path}:{number} is no JSON: {error}; correct or remove the line") from None
    file, said = (entry.get("file"), entry.get("metadata")) if isinstance(entry, dict) else (None, None)
    if not isinstance(file, str) or not isinstance(said, dict):
        wrong = 'must be {"file": NAME, "metadata": {...}}; correct or remove the line'
        raise RegistrationError(f"{path}:{number} {wrong}")
    return file, said


def _split(content: bytes) -> Sequence[bytes | str]:
    try:
        return content.decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError:
        return content.split(b"\n")  # of which one will say what is wrong with it


def _alone(path: str) -> dict[str, object]:
    try:
        found = _decode(_read(path))
    except (ValueError, RecursionError) as error:
        raise RegistrationError(f"{path} is no JSON: {error}; correct or remove it") from None
    if not isinstance(found, dict):
        raise RegistrationError(f"{path} must be a JSON object, not {type(found).__name__}; correct or remove it")
    return found


def _decode(text: bytes | str) -> object:
    if isinstance(text, str):
        return _DECODER.decode(text)
    try:
        decoded = text.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:  # in another of JSON's encodings, or in none
        decoded = text.decode(json.detect_encoding(text), "surrogatepass")
    return _DECODER.decode(decoded)


def _read(path: str) -> bytes:
    # By the system's own calls: a file object takes as long to make as the rest, and there may be 200,000 sidecars.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.read(descriptor, _AT_ONCE)
            while part := os.read(descriptor, _AT_ONCE if len(found) < _AT_ONCE else _MORE):
                found += part
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RegistrationError(f"{path} cannot be read: {error.strerror}") from None
    return found
