"""What the registry knows of things, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from vhpack.registry.names import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True)
class Place:
    """Where a registry is."""

    url: str
    """`sqlite:///PATH` or `postgresql://...`."""
    project: str
    """Whose names count: aliases and datasets are those of one project."""
    store: str
    """The folder of contents."""


@dataclass(frozen=True)
class Datum:
    """One file, which never changes; what is said of it, and where its content is."""

    id: str
    """A UUID, given when it was registered."""
    name: str
    """The file's path in the outputs of its run, or the name that it was added under."""
    size: int
    sha256: str | None
    """None only of a file that another registry has, and of which that says none."""
    xxh3_128: str | None
    location: str | None
    """Where its content was uploaded to; None: it is in the content store."""
    run: str | None
    """The run that made it."""
    created: datetime
    file_modified: datetime | None
    purged: datetime | None
    """When its content was given up; None: it was not."""
    tags: tuple[str, ...] = ()
    properties: Mapping[str, object] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """`datum://ID`, which always means this file."""
        return Reference("datum", self.id).uri


@dataclass(frozen=True)
class Alias:
    """A name that can be moved from one datum to another."""

    name: str
    datum: Datum | None
    """What it means now; None: it has no target."""
    created: datetime
    modified: datetime

    @property
    def uri(self) -> str:
        """`datum://NAME`; of a model's alias, `model://MODEL/ALIAS`, which is its name."""
        return self.name if self.name.startswith("model://") else Reference("alias", self.name).uri


@dataclass(frozen=True)
class AliasChange:
    """One move of an alias."""

    number: int
    """1 is the first; none is left out."""
    old: str | None
    """The ID of the datum before; None: there was none."""
    new: str | None
    at: datetime
    actor: str
    """The user who did it."""
    via: str
    """`run`, `set`, `rollback`, `delete` or `import`."""
    run: str | None
    """The run whose outputs claimed it."""
    restores: int | None
    """Of a rollback: the number of the change whose outcome it brings back."""
    note: str


@dataclass(frozen=True)
class Pin:
    """One file of a run's input, settled when the run was created."""

    input: str
    position: int
    requested: str
    """The URI as it was asked for."""
    datum: Datum
    name: str
    """The file's name in the input."""
    folder: str
    """Tells files of one name apart: a datum's ID, or that of a dataset's version."""
    origin: str
    """`local`, or the host of the platform that was asked."""


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    hash: str
    step: str
    status: str
    """`running`, `succeeded`, `failed`, or `unknown`: it ended in a way that says neither."""
    created: datetime
    finished: datetime | None
    copied_from: str | None
    parameters: Mapping[str, object]
    outputs: int
    """How many datums it made."""
    inputs: tuple[Pin, ...] = ()


class Output(NamedTuple):
    """A file that a run made, as it is handed in to be registered; a tuple, since there may be 200,000 of them."""

    name: str
    size: int
    sha256: str | None
    xxh3_128: str | None
    modified_ns: int
    location: str | None = None
    properties: Mapping[str, object] = MappingProxyType({})
    """All that sidecars say of it, the platform's own `valohai.` names among it."""


@dataclass(frozen=True)
class Outcome:
    """What a run's registration did."""

    run: str
    registered: int
    """Datums that are new."""
    aliases: tuple[tuple[str, Datum], ...] = ()
    """Aliases that were moved, and where to."""
    datasets: tuple[tuple[str, int], ...] = ()
    """URIs of dataset versions that were made, and how many files they have."""


@dataclass(frozen=True)
class ModelVersion:
    """One snapshot of a model's weights."""

    model: str
    """The ID of the model."""
    n: int
    """Its number: 1 is the first of the model, and none is given twice."""
    state: str
    """`packing`, `uploading`, `stored` (arrived, and compared), `registered` (somebody else's, named by its URI), `failed`,
    `pruned`."""
    name: str
    """The last part of its URI."""
    url: str
    """Where it is, or is to be."""
    iteration: int | None
    size: int | None
    """Bytes of what is stored; None while that is not known."""
    files: int | None
    """How many files a package has; None: it is a single file."""
    sha256: str | None
    datum: str | None
    """The ID of the datum that it is, once it is stored."""
    created: datetime
    stored: datetime | None
    error: str | None
    """What it failed of."""


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model."""

    id: str
    name: str
    task: str
    task_name: str
    project: str
    connected: str | None
    """What it is called among the models of its task."""
    comment: str
    framework: str | None
    config_text: str
    labels: Mapping[str, int]
    tags: tuple[str, ...]
    destination: str | None
    """The folder that its versions are sent to, where it has one of its own."""
    current: ModelVersion | None
    """The last version that is stored."""
    created: datetime
    modified: datetime
    published: datetime | None
