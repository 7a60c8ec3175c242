"""Inputs from the registry: looked up once for a run, and the same for its processes, its retries and its copies."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from vhpack import env, registrar, runs
from vhpack.errors import ContentError, NotRegisteredError
from vhpack.given import GivenFile, GivenInput, is_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from vhpack.registry.opening import Connection, Registry
    from vhpack.registry.records import Pin
    from vhpack.registry.runs import Facts, Foreign, Wanted
    from vhpack.values import Value


def pinned(
    step: str, parameters: Mapping[str, Value], inputs: Mapping[str, GivenInput], *, given_now: Collection[str]
) -> dict[str, GivenInput]:
    """Return inputs with the files that their `datum://` and `dataset://` mean, settled when the run is first asked for them.

    Args:
        step: The run's step.
        parameters: The run's parameters.
        inputs: What the run was given.
        given_now: Names of inputs that the command line has given: in a copy of a run, these are not those of that run.

    Raises:
        NotRegisteredError: something is not known, or an alias has no target.
        ContentError: a datum's content was given up.
        RegistryError: the registry cannot be used.
    """
    wanted = _wanted(inputs)
    copy_of = env.read().run_copy_of
    if not wanted and not copy_of:
        return dict(inputs)
    registry = registrar.opened()
    from vhpack.registry.runs import Facts

    facts = Facts(runs.current().hash, step, parameters, copy_of or None)
    copied: set[str] = set()
    if copy_of:
        copied = _copy(registry, facts, [name for name in inputs if name not in given_now])
    found = _settle(registry, facts, [each for each in wanted if each.input not in copied])
    registry.let_go()
    by_input: dict[str, list[Pin]] = {}
    for pin in found:
        by_input.setdefault(pin.input, []).append(pin)
    return {name: _with_files(registry, given, by_input.get(name, []), name in copied) for name, given in inputs.items()}


def _wanted(inputs: Mapping[str, GivenInput]) -> list[Wanted]:
    asked = {}
    for name, given in inputs.items():
        uris = [place for place in given.places if is_reference(place)]
        uris += [str(file.uri) for file in given.files if _is_unknown(given, file)]
        if uris:
            asked[name] = tuple(uris)
    if not asked:
        return []
    registrar.existing()  # says what to install where the next line would fail
    from vhpack.registry.runs import Wanted

    return [Wanted(name, uris) for name, uris in asked.items()]


def _copy(registry: Registry, facts: Facts, names: Sequence[str]) -> set[str]:
    from vhpack.registry import runs as records

    copy_of = str(facts.copied_from)
    with registry.reading() as connection:
        records.found(connection, registry.project(connection), copy_of, registry.shown)
    registry.write(lambda connection, project: records.copy_pins(connection, project, facts, names), snapshot=True)
    with registry.reading() as connection:
        theirs = records.pinned(connection, registry.project(connection), copy_of)
    return {pin.input for pin in theirs} & set(names)


def _settle(registry: Registry, facts: Facts, wanted: Sequence[Wanted]) -> list[Pin]:
    from vhpack.registry import runs as records

    foreign: dict[str, Foreign] = {}

    def work(connection: Connection, project: int) -> tuple[list[Pin], list[str]]:
        return records.pin(connection, project, records.Request(facts, tuple(wanted), foreign, registry.shown))

    while True:
        found, unknown = registry.write(work, snapshot=True)
        if not unknown:
            return found
        # Over the network, and so outside of any transaction; what has changed meanwhile is looked at anew.
        foreign.update(_asked(unknown, registry.shown))


def _asked(unknown: Sequence[str], shown: str) -> dict[str, Foreign]:
    from vhpack import platform_api
    from vhpack.registry.runs import Foreign

    found: dict[str, Foreign] = {}
    for uri in unknown:
        theirs = platform_api.datum(uri, shown)
        found[uri] = Foreign(theirs.id, theirs.name, theirs.size, theirs.sha256, theirs.location)
    return found


def _with_files(registry: Registry, given: GivenInput, pins: Sequence[Pin], copied: bool) -> GivenInput:  # noqa: FBT001
    if not pins:
        return given
    if copied:
        others = [place for place in given.places if not is_reference(place)]
        there = tuple(file for file in given.files if not _is_unknown(given, file))
        return replace(given, files=(*there, *(_file(registry, pin) for pin in pins)), places=tuple(others))
    by_uri: dict[str, list[Pin]] = {}
    for pin in pins:
        by_uri.setdefault(pin.requested, []).append(pin)
    files: list[GivenFile] = []
    for file in given.files:
        if _is_unknown(given, file):
            # What the file is called, the file that lists it says.
            files += [replace(_file(registry, pin), name=file.name) for pin in by_uri[str(file.uri)]]
        else:
            files.append(file)
    # In the order in which the run names them, as far as that goes: local places come behind.
    files += [_file(registry, pin) for place in given.places if is_reference(place) for pin in by_uri[place]]
    return replace(given, files=tuple(files), places=tuple(place for place in given.places if not is_reference(place)))


def _file(registry: Registry, pin: Pin) -> GivenFile:
    datum = pin.datum
    if datum.purged is not None:
        raise ContentError(
            None, f"{pin.requested}: the content of {datum.uri} ({datum.name}) was purged on {datum.purged:%Y-%m-%d}", datum.uri
        )
    if datum.location is None:
        if datum.sha256 is None:
            raise NotRegisteredError(f"{pin.requested}: {datum.uri} has neither a place nor a digest")
        source = f"file://{quote(registry.store.path(datum.sha256))}"
    else:
        source = datum.location
    return GivenFile(
        name=_safe(pin.name, datum.id),
        uri=datum.uri,
        size=datum.size if datum.size >= 0 else None,
        checksums={"sha256": datum.sha256} if datum.sha256 else {},
        source=source,
        folder=_safe(pin.folder, datum.id),
    )


def _safe(name: str, instead: str) -> str:
    """Return a name as that of a file below the input's folder, whatever it was called."""
    parts = [part for part in name.replace("\0", "").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or instead


def _is_unknown(given: GivenInput, file: GivenFile) -> bool:
    """Return whether only the registry can say where a file is."""
    there = bool(file.path) and os.path.isfile(os.path.join(runs.current().base, str(file.path)))
    return is_reference(file.uri) and not given.input_id and not there
