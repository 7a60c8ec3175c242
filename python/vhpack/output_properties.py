"""Properties of output files: aliases, tags, datasets and anything else, in one file beside the outputs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import TYPE_CHECKING

from vhpack import paths
from vhpack.errors import JobWarning, PropertyError

if TYPE_CHECKING:
    import json
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import TypeAlias

    from typing_extensions import Self

    StrPath: TypeAlias = str | os.PathLike[str]
    Properties: TypeAlias = dict[str, object]
    DatasetVersion: TypeAlias = str | dict[str, object]

_FILE = "valohai.metadata.jsonl"
_DATASETS = "valohai.dataset-versions"
_ALIAS = "valohai.alias"
_TAGS = "valohai.tags"


class OutputProperties:
    """Collects properties of output files, and writes them when the `with` block ends, also when it fails.

    They are in `valohai.metadata.jsonl` among the outputs, which appears complete or not at all. Other processes of the run
    may write to it at the same time: each adds its own, and none loses another's.

    Example:
        >>> import vhpack
        >>> with vhpack.output_properties() as properties:
        ...     properties.add(file="model.pt", properties={"valohai.alias": "model-latest", "accuracy": 0.93})
        ...     cats = properties.dataset_version_uri("cats", "v1")
        ...     for number in range(3):
        ...         properties.add_to_dataset(file=f"images/{number}.png", dataset_version=cats)
        Created dataset version 'dataset://cats/v1' with 3 files
    """

    def __init__(self) -> None:
        self._root = paths.get_outputs_path()
        self._file = os.path.join(self._root, _FILE)
        self._files_properties: dict[str, Properties] = {}
        self._strange: list[bytes] = []
        # What was asked for since the file was read, in order: to be done again on top of what others have written meanwhile.
        self._asked: list[tuple[str, Properties | None, DatasetVersion]] = []
        self._stamp: tuple[int, int, int] | None = None
        self._claimed: dict[str, str] | None = None

    @property
    def properties_file(self) -> Path:
        """The file that is written; tests put another one in its place before they add properties."""
        from pathlib import Path

        return Path(self._file)

    @properties_file.setter
    def properties_file(self, path: str | os.PathLike[str]) -> None:
        self._file = os.path.abspath(path)
        self._stamp = None

    def __enter__(self) -> Self:
        """Read what is there already; a line that is no JSON is a warning, and stays as it is."""
        # The stamp first: what changes while the file is read is then read again.
        self._stamp = _stamp(self._file)
        self._files_properties, self._strange = self._read()
        self._asked = []
        self._claimed = None
        if self._strange:
            import warnings

            message = f"{self.properties_file}: {len(self._strange)} lines are no properties; they are kept as they are"
            warnings.warn(message, JobWarning, stacklevel=2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Write all properties, and say which datasets the files are in.

        Raises:
            PropertyError: a value cannot be written as JSON; everything else is written.
        """
        wrong = self._save()
        self._say_datasets()
        if wrong:
            # Beside an exception that is on its way this one would only hide it.
            message = f"left out, since JSON has no words for them: {', '.join(wrong)}; all other properties are written"
            if error is None:
                raise PropertyError(message)
            sys.stderr.write(f"Error: {message}\n")

    def add(self, *, file: StrPath, properties: Properties) -> None:
        """Add properties to a file; those of the same name are replaced.

        Args:
            file: The file's path relative to the outputs folder, or absolute below it; it need not exist yet.
            properties: Name to anything that JSON knows. The platform knows `valohai.alias` (text), `valohai.tags` (list
                of text) and `valohai.dataset-versions` (list of URIs, or of objects with a `uri`).
        """
        name = self._name(file)
        _add(self._files_properties, name, properties)
        self._asked.append((name, dict(properties), ""))

    def add_to_dataset(self, *, file: StrPath, dataset_version: DatasetVersion) -> None:
        """Put a file into a version of a dataset, in addition to those it is in already.

        Args:
            file: As for `add`.
            dataset_version: Its URI, or the object with a `uri` and more (`targeting_aliases`, ...) that the platform documents.

        Raises:
            PropertyError: the object has no `uri`.
        """
        _uri(dataset_version)
        name = self._name(file)
        _join(self._files_properties, name, dataset_version)
        self._asked.append((name, None, dataset_version))

    def add_alias(self, *, file: StrPath, alias: str) -> None:
        """Let an alias mean a file when the run has succeeded: `datum://ALIAS`, from then on, is this file.

        Args:
            file: As for `add`.
            alias: Any text that is neither empty nor reads as a UUID, without control characters.

        Raises:
            OptionError: it can be no alias.
            PropertyError: another file of these has it, or the file has another one.

        Example:
            >>> import vhpack
            >>> with vhpack.output_properties() as properties:
            ...     properties.add_alias(file="model.pt", alias="model-prod")
            ...     properties.add_tags(file="model.pt", tags=["validated", "resnet50"])
        """
        from vhpack.registry.names import checked_alias

        wanted, name = checked_alias(alias), self._name(file)
        if self._claimed is None:
            self._claimed = {str(held[_ALIAS]): each for each, held in self._files_properties.items() if _ALIAS in held}
        other = self._claimed.setdefault(wanted, name)
        if other != name:
            raise PropertyError(f"{other} and {name} both claim the alias {wanted!r}; an alias means one file")
        has = self._files_properties.get(name, {}).get(_ALIAS)
        if has not in (None, wanted):
            raise PropertyError(f"{name} has the alias {has!r} already; a file of a run has one")
        self.add(file=file, properties={_ALIAS: wanted})

    def add_tags(self, *, file: StrPath, tags: Iterable[str]) -> None:
        """Add tags to a file, to those that it has already.

        Args:
            file: As for `add`.
            tags: Words to find it by.

        Raises:
            OptionError: one can be no tag.
        """
        from vhpack.registry.names import checked

        had = self._files_properties.get(self._name(file), {}).get(_TAGS)
        wanted = [checked(tag, "tag") for tag in ([tags] if isinstance(tags, str) else tags)]
        self.add(file=file, properties={_TAGS: list(dict.fromkeys([*(had if isinstance(had, list) else []), *wanted]))})

    @staticmethod
    def dataset_version_uri(dataset: str, version: str) -> str:
        """Return the URI of a dataset's version.

        Example:
            >>> import vhpack
            >>> vhpack.output_properties().dataset_version_uri("cats", "v1")
            'dataset://cats/v1'
        """
        return f"dataset://{dataset}/{version}"

    def _name(self, file: StrPath) -> str:
        name = os.fspath(file)
        if name.startswith("/") and name.startswith(self._root + "/"):
            return os.path.relpath(name, self._root)
        return name

    def _read(self) -> tuple[dict[str, Properties], list[bytes]]:
        """Return the properties that are on disk, and the lines that are something else."""
        import json

        found: dict[str, Properties] = {}
        strange: list[bytes] = []
        try:
            content = self.properties_file.read_bytes()
        except FileNotFoundError:
            return found, strange
        for line in content.split(b"\n"):
            if not line.strip():
                continue
            try:
                described = json.loads(line)
                name, properties = described["file"], described["metadata"]
            except (ValueError, TypeError, KeyError, RecursionError):
                name = properties = None
            if isinstance(name, str) and isinstance(properties, dict):
                found[name] = properties
            else:
                strange.append(line)
        return found, strange

    def _save(self) -> list[str]:
        """Write what is on disk by now and our own on top of it; return what could not be written."""
        folder = os.path.dirname(self._file)
        os.makedirs(folder, exist_ok=True)
        with _locked(folder):
            if self._stamp is None or self._stamp != _stamp(self._file):
                self._files_properties, self._strange = self._read()
                for name, properties, version in self._asked:
                    if properties is not None:
                        _add(self._files_properties, name, properties)
                    else:
                        _join(self._files_properties, name, version)
            wrong: list[str] = []
            strange = (line.decode("utf-8", "surrogateescape") for line in self._strange)
            text = "".join(f"{line}\n" for line in (*strange, *_lines(self._files_properties, wrong)))
            _replace(self._file, text.encode("utf-8", "surrogateescape"))
            self._stamp = _stamp(self._file)
        self._asked = []
        return wrong

    def _say_datasets(self) -> None:
        from collections import Counter

        counts = Counter(
            _key(version) for held in self._files_properties.values() for version in _listed(held.get(_DATASETS)) if version
        )
        for uri, files in counts.items():
            sys.stdout.write(f"Created dataset version '{uri}' with {files:,} files\n")


def output_properties() -> OutputProperties:
    """Return the properties of the run's output files, to be used in a `with` block; see `OutputProperties`.

    Example:
        >>> import vhpack
        >>> with vhpack.output_properties() as properties:
        ...     properties.add(file="report.html", properties={"valohai.tags": ["report"]})
    """
    return OutputProperties()


def _stamp(path: str) -> tuple[int, int, int]:
    """Return what changes when the file is replaced."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _add(known: dict[str, Properties], name: str, properties: Properties) -> None:
    held = known.get(name)
    if held is None:
        known[name] = dict(properties)
    else:
        held.update(properties)


def _join(known: dict[str, Properties], name: str, version: DatasetVersion) -> None:
    held = known.setdefault(name, {})
    held[_DATASETS] = _with(held.get(_DATASETS), version)


def _listed(versions: object) -> list[DatasetVersion]:
    if isinstance(versions, str | dict):
        return [versions]
    return list(versions) if isinstance(versions, list | tuple | set | frozenset) else []


def _with(versions: object, version: DatasetVersion) -> list[DatasetVersion]:
    """Return versions with one more, each URI once; an object replaces what has its URI."""
    held = _listed(versions)
    if not held:
        return [version]
    if isinstance(version, str) and all(isinstance(other, str) for other in held):
        # Through a set, as users' own tests of what they added have it.
        return list({*held, version})
    uri = _key(version)
    if isinstance(version, str) and any(_key(other) == uri for other in held):
        return held
    return [*(other for other in held if _key(other) != uri), version]


def _uri(version: object) -> str:
    uri = version.get("uri") if isinstance(version, dict) else version
    if not isinstance(uri, str):
        raise PropertyError(f"{version!r} is no version of a dataset; give dataset://NAME/VERSION, or an object with such a uri")
    return uri


def _key(version: object) -> str:
    """Return a version's URI; what a person, or another program, has put there without one is told by what it is."""
    uri = version.get("uri") if isinstance(version, dict) else version
    return uri if isinstance(uri, str) else repr(version)


def _lines(known: dict[str, Properties], wrong: list[str]) -> Iterator[str]:
    from vhpack.metadata import to_json

    encode = _encoder().encode
    for name, held in known.items():
        # A set has another order in each process; on disk the same properties are the same bytes.
        if len(_listed(held.get(_DATASETS))) > 1:
            held = {**held, _DATASETS: sorted(_listed(held[_DATASETS]), key=_key)}  # noqa: PLW2901
        try:
            yield encode({"file": name, "metadata": held})
        except (TypeError, ValueError):
            fine = {key: value for key, value in held.items() if not _is_wrong(value)}
            wrong += [f"{name}: {key}" for key in held if key not in fine]
            yield to_json({"file": name, "metadata": fine})


def _is_wrong(value: object) -> bool:
    import json

    try:
        json.dumps(value, default=_plain)  # NaN passes here, and is written as null
    except (TypeError, ValueError):
        return True
    return False


def _encoder() -> json.JSONEncoder:
    import json

    return json.JSONEncoder(default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    from vhpack.values import plain

    found = plain(value)
    if found is None:
        raise TypeError(f"{value!r} cannot be written as JSON")
    return found


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep other processes of the run out; the lock is the folder itself, for a lock file would be uploaded."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: str, content: bytes) -> None:
    folder, name = os.path.split(path)
    staged = os.path.join(folder, f".{name}.staged")  # one name, under the lock: a killed writer's is written over
    try:
        with open(staged, "wb") as file:
            file.write(content)
        os.replace(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise
