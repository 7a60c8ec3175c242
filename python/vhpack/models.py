"""Models that are registered: found by what is known of them, and their weights fetched.

A model has versions, each a file or a package of files; the current one is the last that is stored, and has been compared with
what was sent. `vhpack.OutputModel` makes them. `model://NAME/ALIAS` is a version that an alias means, also as an input of a run.
"""

from __future__ import annotations

import abc
import os
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from vhpack import designs, registrar
from vhpack.errors import JobWarning, ModelError, NotRegisteredError, OptionError
from vhpack.registry import names
from vhpack.registry.records import ModelRecord, ModelVersion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vhpack.registry.opening import Connection

__all__ = ["Model", "ModelVersion", "query_models"]


class Known(abc.ABC):
    """What can be asked of a model, and done with its versions."""

    _id: str
    _version: int | None = None
    """The version that is meant where none is said; None: the current one."""

    @abc.abstractmethod
    def _record(self) -> ModelRecord:
        """What the registry has of it, or will have."""

    @property
    def id(self) -> str:
        """The model's ID: 32 hexadecimal digits."""
        return self._id

    @property
    def name(self) -> str:
        """What it is called; several models may have one name."""
        return self._record().name

    @property
    def comment(self) -> str:
        """What is said of it, the latest first."""
        return self._record().comment

    @property
    def tags(self) -> list[str]:
        """Words to find it by."""
        return list(self._record().tags)

    @property
    def system_tags(self) -> list[str]:
        """`["package"]` where the current version is a package, else nothing."""
        return system_tags_of(self._record())

    @property
    def labels(self) -> dict[str, int]:
        """Names of classes, and their numbers."""
        return dict(self._record().labels)

    @property
    def config_text(self) -> str:
        """The design's configuration, as it was given."""
        return self._record().config_text

    @property
    def config_dict(self) -> dict[str, object]:
        """The design's configuration, read as JSON.

        Raises:
            OptionError: it is no JSON object.
        """
        return designs.dict_of(self._record().config_text)

    @property
    def framework(self) -> str | None:
        """What it was made with."""
        return self._record().framework

    @property
    def task(self) -> str:
        """The ID of its task."""
        return self._record().task

    @property
    def project(self) -> str:
        """The project of its task."""
        return self._record().project

    @property
    def published(self) -> bool:
        """Whether it never changes any more."""
        return self._record().published is not None

    @property
    def url(self) -> str | None:
        """Where the current version is; None while there is none."""
        current = self._record().current
        return None if current is None else current.url

    @property
    def aliases(self) -> dict[str, int]:
        """Aliases of its versions, and the numbers of these."""
        registry = registrar.existing()
        if registry is None:
            return {}
        from vhpack.registry import models

        with registry.reading() as connection:
            return models.aliases_of(connection, registry.project(connection), [self._id])[self._id]

    def versions(self) -> list[ModelVersion]:
        """Return its versions, the first one first.

        Each has its number `n`, `iteration`, `url`, `size`, `files`, `sha256`, `created`, `state` and `error`.
        """
        registry = registrar.existing()
        if registry is None:
            return []
        from vhpack.registry import models

        with registry.reading() as connection:
            return models.versions(connection, registry.project(connection), [self._id])[self._id]

    def get_weights(
        self,
        raise_on_error: bool = False,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
        extract_archive: bool = False,  # noqa: FBT001
        *,
        version: int | None = None,
        iteration: int | None = None,
    ) -> str | None:
        """Return the path of stored weights, fetched to this machine, and found to be what was stored.

        The path is that of a copy; what is stored does not change with it. Where a copy was altered, it stays, and another one
        is fetched.

        Args:
            raise_on_error: Raise what is wrong; without it, that is a warning, and the answer None.
            force_download: Fetch it also where it is here already: another copy, beside that.
            extract_archive: Of a package, return a folder with its files, and not the archive.
            version: The number of a version, instead of the current one.
            iteration: The last version of this iteration, instead.

        Returns:
            The path; None where nothing is stored yet.

        Warns:
            JobWarning: the weights cannot be had.

        Raises:
            ModelError: with `raise_on_error`, the weights are not stored, are gone, or are not what was stored.
        """
        from vhpack import fetching

        try:
            chosen = self._chosen(version, iteration)
            if chosen is None:
                self._refuse_nothing(raise_on_error)
                return None
            if extract_archive and chosen.files is not None:
                return fetching.unpacked(chosen, force=force_download)
            return fetching.fetched(chosen, force=force_download)
        except ModelError as error:
            if raise_on_error:
                raise
            _warn(error)
            return None

    def get_weights_package(
        self,
        return_path: bool = False,  # noqa: FBT001
        raise_on_error: bool = False,  # noqa: FBT001
        force_download: bool = False,  # noqa: FBT001
        extract_archive: bool = True,  # noqa: FBT001
        *,
        version: int | None = None,
        iteration: int | None = None,
        top_level: bool = False,
    ) -> str | list[Path] | None:
        """Return the files of a stored package, fetched and unpacked on this machine, and found to be what was stored.

        Args:
            return_path: Return the folder, and not its files.
            raise_on_error: Raise what is wrong; without it, that is a warning, and the answer None.
            force_download: Fetch it also where it is here already.
            extract_archive: Without it, return the path of the archive.
            version: The number of a version, instead of the current one.
            iteration: The last version of this iteration, instead.
            top_level: Return what is in the folder itself, folders among it, and not all files at any depth.

        Returns:
            Paths of the files, sorted; a path as text with `return_path`, or without `extract_archive`; None where nothing is
            stored.

        Warns:
            JobWarning: the package cannot be had.

        Raises:
            ModelError: the version is no package; with `raise_on_error`, it cannot be had, or is not what was stored.
        """
        from pathlib import Path

        from vhpack import fetching

        self._refuse_other_kind(version, iteration)
        try:
            chosen = self._chosen(version, iteration)
            if chosen is None:
                self._refuse_nothing(raise_on_error)
                return None
            if not extract_archive:
                return fetching.fetched(chosen, force=force_download)
            folder = fetching.unpacked(chosen, force=force_download)
        except ModelError as error:
            if raise_on_error:
                raise
            _warn(error)
            return None
        if return_path:
            return folder
        found = Path(folder).glob("*") if top_level else (path for path in Path(folder).rglob("*") if path.is_file())
        return sorted(found)

    def publish(self) -> None:
        """Let the model never change any more; one that is published stays as it is.

        Raises:
            ModelError: nothing of it is stored, or a version is on its way.
        """
        registry = registrar.opened()
        from vhpack.registry import models

        registry.write(lambda connection, project: models.publish(connection, project, self._id))

    def set_alias(self, alias: str, *, version: int | None = None, note: str = "") -> str:
        """Let an alias of the model's name mean a version from now on, and return its URI, `model://NAME/ALIAS`.

        It is that of the name: another model of this name may be given it later. `vhpack.aliases` has its history.

        Args:
            alias: Any text without a slash at its ends or control characters, such as `prod`.
            version: The number of a version that is stored, instead of the current one.
            note: Why, for the history.

        Raises:
            ModelError: no such version is stored.
            OptionError: no alias can have this name.
        """
        return self._move(alias, version, note, publishes=False)

    def _move(self, alias: str, version: int | None, note: str, *, publishes: bool) -> str:
        name = names.Reference("model", names.checked(self.name, "model"), names.checked(alias, "alias")).uri
        names.checked_alias(name)
        chosen = version if version is not None else self._version
        registry = registrar.opened()
        from vhpack.registry import aliases, datums, models

        def work(connection: Connection, project: int) -> None:
            if publishes:
                models.publish(connection, project, self._id)
            number = models.number_of(connection, project, self._id, chosen)
            aliases.move(connection, project, name, number, aliases.Reason(datums.actor(), "set", note))

        registry.write(work)
        return name

    def prune(self, keep: int = 5) -> list[ModelVersion]:
        """Remove stored versions but the last ones, and return those that went; what is known of them stays.

        The current version stays, and so does what an alias means or can be rolled back to, and what a run was given. What
        `register_uri` has named is forgotten, and not removed. Versions that failed go, too, where later ones are stored.

        Args:
            keep: How many of the stored versions stay, 1 at least.

        Warns:
            JobWarning: a version stays that something refers to, or that cannot be removed where it is.

        Raises:
            OptionError: `keep` is less than 1.
            PackOSError: a file cannot be removed; the same call goes on with it.
        """
        from vhpack import resuming, stored

        wanted = designs.checked_keep(keep)
        registry = registrar.opened()
        from vhpack.registry import models

        due, why = registry.write(
            lambda connection, project: models.prune(connection, project, self._id, wanted, stored.is_removable)
        )
        for each in due:
            resuming.remove(registry, each)
        for remark in why:
            warnings.warn(remark, JobWarning, stacklevel=2)
        return [replace(each.version, state="pruned") for each in due]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._id!r})"

    def _chosen(self, version: int | None, iteration: int | None) -> ModelVersion | None:
        """Return the version that is asked for; None where the current one is, and there is none.

        Raises:
            ModelError: there is no such version, or it is not stored.
        """
        if version is not None and iteration is not None:
            raise OptionError("only one of version and iteration may be given")
        wanted = version if version is not None or iteration is not None else self._version
        if wanted is None and iteration is None:
            return self._record().current
        known = self.versions()
        found = [each for each in known if (each.n == wanted if wanted is not None else each.iteration == iteration)]
        there = [each for each in found if each.datum is not None and each.state != "pruned"]
        if there:
            return there[-1]
        which = f"version {wanted}" if wanted is not None else f"version of iteration {iteration}"
        how = f"; it is {found[-1].state}" if found else ""
        raise ModelError(f"the model {self.name!r} has no {which} that is stored{how}")

    def _refuse_other_kind(self, version: int | None, iteration: int | None) -> None:
        """Refuse to give the files of what has none, whoever asks.

        Raises:
            ModelError: the version is no package, or there is no version at all.
        """
        try:
            chosen = self._chosen(version, iteration)
        except ModelError:
            return
        if chosen is None and not self.versions():
            raise ModelError(f"the model {self.name!r} has no package; update_weights_package() makes one")
        if chosen is not None and chosen.files is None:
            raise ModelError(f"version {chosen.n} of the model {self.name!r} is no package; get_weights() gives its file")

    def _refuse_nothing(self, raise_on_error: bool) -> None:  # noqa: FBT001
        if raise_on_error:
            raise ModelError(f"the model {self.name!r} has no weights that are stored yet; wait_for_uploads() waits for them")


class Model(Known):
    """A registered model, to be read.

    Args:
        model_id: Its ID, the beginning of that, a name that no other model has, or `model://NAME/ALIAS`: then the version that
            the alias means is the one whose weights are got.

    Raises:
        ModelError: there is no such model, or there are several.

    Example:
        >>> import vhpack
        >>> with open("weights.bin", "wb") as file:
        ...     _ = file.write(b"weights")
        >>> with vhpack.Task.init("cats", "train"):
        ...     _ = vhpack.OutputModel(name="cats").update_weights("weights.bin", async_enable=False)
        >>> with open(vhpack.Model("cats").get_weights(), "rb") as file:
        ...     file.read()
        b'weights'
    """

    def __init__(self, model_id: str | os.PathLike[str]) -> None:
        text = os.fspath(model_id)
        registry = registrar.existing()
        if registry is None:
            raise ModelError(f"{text!r}: there is no registry here, and so no model; vhpack.OutputModel makes one")
        from vhpack.registry import datums, models

        with registry.reading() as connection:
            project = registry.project(connection)
            try:
                if names.is_reference(text):
                    number = datums.number_of(connection, project, names.parse(text), registry.shown)
                    version = models.of_datum(connection, project, number, text)
                    self._id, self._version = version.model, version.n
                else:
                    self._id = models.named(connection, project, text, registry.shown).id
            except NotRegisteredError as error:
                raise ModelError(str(error)) from None

    @classmethod
    def _of(cls, id: str) -> Model:  # noqa: A002
        """Return a model whose ID is known to be one."""
        made = cls.__new__(cls)
        made._id = id  # noqa: SLF001 - it is this class's
        return made

    def publish_as(self, alias: str, *, version: int | None = None, note: str = "") -> str:
        """Do what `publish` and `set_alias` do, both or neither, and return the alias's URI.

        Raises:
            ModelError, OptionError: as these.
        """
        return self._move(alias, version, note, publishes=True)

    def _record(self) -> ModelRecord:
        registry = registrar.opened()
        from vhpack.registry import models

        with registry.reading() as connection:
            found = models.find(connection, registry.project(connection), self._id)
        if found is None:
            raise ModelError(f"the model {self._id} is not in {registry.shown} any more")
        return found

    @staticmethod
    def query_models(
        name: str | None = None,
        tags: Iterable[str] | None = None,
        published: bool | None = None,  # noqa: FBT001
    ) -> list[Model]:
        """Return models; the same as `vhpack.query_models`."""
        return query_models(name, tags, published)


def query_models(
    name: str | None = None,
    tags: Iterable[str] | None = None,
    published: bool | None = None,  # noqa: FBT001
) -> list[Model]:
    """Return the models that fit all that is given, the oldest first.

    Args:
        name: A pattern of names as in `fnmatch`.
        tags: Tags that they have, all of them.
        published: True: only those that are published; False: only those that are not.

    Raises:
        OptionError: the tags are no texts.

    Example:
        >>> import vhpack
        >>> vhpack.query_models(name="resnet*", published=True)
        []
    """
    return [Model._of(each.record.id) for each in _listed(name, tags, published, whole=False)]  # noqa: SLF001 - this module's own


class Overview(NamedTuple):
    """What is known of a model, all at one moment."""

    record: ModelRecord
    versions: list[ModelVersion]
    aliases: dict[str, int]


def listed(name: str | None = None, tags: Iterable[str] = (), published: bool | None = None) -> list[Overview]:  # noqa: FBT001
    """Return all that is known of models; as `query_models`, but asked at once, and not model by model."""
    return _listed(name, tags, published, whole=True)


def overview(model_id: str) -> Overview:
    """Return all that is known of a model; as `Model`."""
    found = Model(model_id)
    return Overview(found._record(), found.versions(), found.aliases)  # noqa: SLF001 - this module's own


def _listed(name: str | None, tags: Iterable[str] | None, published: bool | None, *, whole: bool) -> list[Overview]:  # noqa: FBT001
    wanted = designs.checked_tags(tags or ())
    registry = registrar.existing()
    if registry is None:
        return []
    from vhpack.registry import models

    with registry.reading() as connection:
        project = registry.project(connection)
        found = models.listed(connection, project, name=name, tags=wanted, published=published)
        if not whole:
            return [Overview(each, [], {}) for each in found]
        known = [each.id for each in found]
        versions, aliases = models.versions(connection, project, known), models.aliases_of(connection, project, known)
    return [Overview(each, versions[each.id], aliases[each.id]) for each in found]


def system_tags_of(record: ModelRecord) -> list[str]:
    """Return what vhpack itself says of a model: `package`, where its current version is one."""
    return ["package"] if record.current is not None and record.current.files is not None else []


def _warn(error: ModelError) -> None:
    warnings.warn(str(error), JobWarning, stacklevel=3)
