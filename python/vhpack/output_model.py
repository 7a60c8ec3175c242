"""`vhpack.OutputModel`: a model that a task makes, snapshot by snapshot."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from vhpack import (
    designs,
    destinations,
    env,
    errors,
    packages,
    paths,
    registrar,
    resuming,
    runs,
    stored,
    storing,
    supply,
    weights,
)
from vhpack._packing import Settings
from vhpack.described import Described
from vhpack.errors import ModelError, OptionError, PackError
from vhpack.registry.records import Output
from vhpack.spool import SNAPSHOTS
from vhpack.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Literal

    from vhpack._packing import Codec, Patterns, StrPath
    from vhpack.registry.records import ModelVersion
    from vhpack.runs import Destination
    from vhpack.storing import Job

_PACKAGE = "model_package"
_COMPRESSION = ("auto", "store", "deflate", "zstd")


class OutputModel(Described):
    """A model that the current task makes: what is said of it, and its snapshots, each a version of its own that stays.

    Nothing is registered before the first version, or the first change of a model that is. Weights are sent in the
    background, from a snapshot of the file as it was handed over: by `vhpack`'s uploads, which go on after a crash
    (`OutputModel.resume_uploads()`, `vhpack model resume`). A version becomes the current one when what has arrived was compared
    with what was sent, and a file that is to be deleted goes after that, if it still has the same content.

    Weights go to `upload_uri` of the call, else to what `set_upload_destination` has said, else to `task.output_uri`, else to
    what `set_default_upload_uri` has said, else to the destination of outputs (`vhpack.set_upload_destination`,
    `VHPACK_UPLOAD_URI`), else to the folder of contents (`VHPACK_STORE_DIR`, `.valohai/store`); in a job on the platform, where
    that folder goes with the machine, to its outputs.

    Args:
        task: Whose model it is; by default the current task's: `Task.init()`, or a run that `prepare()` has begun.
        config_text: The design's configuration as text.
        config_dict: The same as a dictionary, which is kept as JSON.
        label_enumeration: Names of classes, and their numbers; by default the task's.
        name: What it is called; by default as the task is.
        tags: Words to find it by.
        comment: What is to be said of it, behind a line that names the task.
        framework: What it is made with; any text.
        base_model_id: Go on with this model, which keeps its versions, and what is not given here.

    Raises:
        OptionError: there is no task, or an argument makes no sense.
        ModelError: there is no such base model, or it is published.

    Example:
        >>> import vhpack
        >>> vhpack.prepare(step="train")
        >>> model = vhpack.OutputModel(name="cats", config_dict={"layers": 2})
        >>> for epoch in range(3):
        ...     with open("weights.bin", "wb") as file:
        ...         _ = file.write(bytes([epoch]))
        ...     uri = model.update_weights("weights.bin", iteration=epoch)
        >>> vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
        >>> [(version.n, version.iteration, version.state) for version in model.versions()]
        [(1, 0, 'stored'), (2, 1, 'stored'), (3, 2, 'stored')]
        >>> model.url == uri
        True
        >>> model.publish()
    """

    _default_uri: str | None = None

    def __init__(  # noqa: PLR0917 - ClearML's
        self,
        task: Task | None = None,
        config_text: str | None = None,
        config_dict: Mapping[str, object] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        comment: str | None = None,
        framework: str | None = None,
        base_model_id: str | None = None,
    ) -> None:
        if task is not None and not isinstance(task, Task):
            raise OptionError(f"task is {task!r}; it must be a vhpack.Task")
        owner = task or Task.current_task()
        if owner is None:
            raise OptionError("a model needs a task, and there is no current one: call vhpack.Task.init(), or prepare()")
        text = designs.text_of(config_text, config_dict)
        labels = None if label_enumeration is None else designs.checked_labels(label_enumeration)
        wanted = None if tags is None else designs.checked_tags(tags)
        for what, said in (("name", name), ("comment", comment), ("framework", framework)):
            if said is not None:
                designs.checked_text(said, what)
        if name is not None:
            designs.checked_name(name)
        super().__init__(owner, str(base_model_id) if base_model_id is not None else uuid.uuid4().hex)
        if base_model_id is not None:
            self._go_on(config_text=text, labels=labels, name=name, tags=wanted, comment=comment, framework=framework)
            return
        registrar.load()  # says what to install where the next line would fail
        from vhpack.registry.models import Draft

        self._draft = Draft(
            id=self._id,
            name=name or owner.name,
            task=owner.id,
            task_name=owner.name,
            project=owner.project,
            comment="\n".join(filter(None, (f"Created by task id: {owner.id}", comment))),
            framework=framework,
            config_text=text or "",
            labels=owner.get_labels_enumeration() if labels is None else labels,
            tags=wanted or (),
        )

    @property
    def upload_storage_uri(self) -> str:
        """The folder that its next version is sent to."""
        return self._destination(None).uri

    def set_upload_destination(self, uri: StrPath | None) -> bool:
        """Say where its versions are sent, and return True; False: it says nothing, or a scheme that vhpack does not send to.

        Then nothing is changed.

        A folder of this machine is made if it is not there. Other places are asked when something is sent.

        Args:
            uri: The folder, as a URI or as a path.

        Raises:
            BadDestinationError: it means nothing, or cannot be written to.
            ModelError: the model is published.
        """
        self._refuse_published()
        if not uri:
            return False
        try:
            found = designs.checked_destination(uri)
        except errors.UnknownSchemeError:
            return False
        self._change({"destination": found})
        return True

    @classmethod
    def set_default_upload_uri(cls, output_uri: StrPath | None) -> None:
        """Say where versions of all models of this process are sent, where neither call, nor model, nor task says it.

        Args:
            output_uri: The folder, as a URI or as a path; None takes an earlier call back.

        Raises:
            UnknownSchemeError, BadDestinationError: it means nothing, or cannot be written to.
        """
        OutputModel._default_uri = None if not output_uri else designs.checked_destination(output_uri)

    def update_weights(  # noqa: PLR0917 - ClearML's
        self,
        weights_filename: StrPath | None = None,
        upload_uri: StrPath | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = True,  # noqa: FBT001
        register_uri: StrPath | None = None,
        iteration: int | None = None,
        update_comment: bool = True,  # noqa: FBT001
        is_package: bool = False,  # noqa: FBT001
        async_enable: bool = True,  # noqa: FBT001
        *,
        snapshot: Literal["auto", "copy"] = "auto",
    ) -> str:
        """Store a file as the next version, and return its URI at once; `wait_for_uploads()` waits until it is there.

        Args:
            weights_filename: The file; what is written to it later does not arrive. A folder is stored as a package, which is
                named after it.
            upload_uri: The folder to send to, as a URI or as a path, instead of the model's.
            target_filename: The last part of the URI; by default the file's name.
            auto_delete_file: Remove the file once it is stored and was compared, if it still has that content, is not itself
                what is stored somewhere else, as what `register_uri` has named is, and is not still being sent by `live_upload`.
            register_uri: The URI, or a path of this machine, of weights that are stored already: they are named, not sent.
            iteration: What the version is of; by default what `task.set_iteration` has said.
            update_comment: Have the model's comment say so, when it is stored.
            is_package: The file is an archive of a package's files already.
            async_enable: Without it, return when the version is stored.
            snapshot: `"auto"` shares the file's blocks where the file system can, else it copies; `"copy"` copies. A copy takes
                time: some seconds for each GB.

        Returns:
            The URI that the version has, or will have.

        Raises:
            ModelError: the model is published.
            OptionError: neither or both of `weights_filename` and `register_uri` are given, or an argument makes no sense.
            SourceNotFoundError, SpecialFileError: there is no such file.
            SourceChangedError: the file changes while the snapshot is made.
            UnknownSchemeError, BadDestinationError: the destination means nothing, or cannot be written to.
            UploadError: without `async_enable`, it could not be sent; the file is where it was.
        """
        self._refuse_published()
        if (weights_filename is None) == (register_uri is None):
            raise OptionError("give either weights_filename, a file to send, or register_uri, one that is stored already")
        if snapshot not in SNAPSHOTS:
            raise OptionError(f"snapshot is {snapshot!r}; it must be one of {', '.join(SNAPSHOTS)}")
        iteration = self._iteration(iteration)
        if register_uri is not None:
            return self._register(os.fspath(register_uri), target_filename, iteration, update_comment)
        path = weights.path_of(weights_filename or "", "weights_filename")
        if os.path.isdir(path):
            return self.update_weights_package(
                weights_path=path,
                upload_uri=upload_uri,
                target_filename=target_filename or os.path.basename(path),
                auto_delete_file=auto_delete_file,
                iteration=iteration,
                async_enable=async_enable,
                update_comment=update_comment,
            )
        weights.refuse_no_file(path)
        weights.refuse_own([path])
        name = weights.checked_name(target_filename or os.path.basename(path))
        remark = f"snapshot {weights.legible(os.path.basename(path))} stored" if update_comment else None
        order = replace(self._order(name, upload_uri, iteration, remark), snapshot=snapshot)
        with self._registering():
            job = storing.store_file(order, path, remove=auto_delete_file, package=is_package)
        return _ended(job) if not async_enable else job.version.url

    def update_weights_package(  # noqa: PLR0917 - ClearML's
        self,
        weights_filenames: Sequence[StrPath] | None = None,
        weights_path: StrPath | None = None,
        upload_uri: StrPath | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = True,  # noqa: FBT001
        iteration: int | None = None,
        async_enable: bool = True,  # noqa: FBT001
        *,
        update_comment: bool = True,
        compression: Codec = "auto",
        include: Patterns | None = None,
        exclude: Patterns | None = None,
        workers: int | None = None,
    ) -> str:
        """Store files as one package, the next version, and return its URI.

        They are packed before this returns, straight to a destination on this machine, and are sent elsewhere while they are
        packed. A manifest beside the package (`NAME.manifest.jsonl`) has the size and digest of each.

        Args:
            weights_filenames: The files; in the package they are named relative to the deepest folder that all are in.
            weights_path: A folder, of which everything is packed, empty folders and hidden files among it.
            upload_uri: The folder to send to, as a URI or as a path, instead of the model's.
            target_filename: The last part of the URI, whose suffix says the format, such as `.zip` and `.tar.zst`; without one it
                gets `.zip`. By default `model_package.zip`.
            auto_delete_file: Remove the files once the package is stored and was compared, each if it still has that content, and
                the folders that are empty then.
            iteration: What the version is of; by default what `task.set_iteration` has said.
            async_enable: Without it, return when the version is stored.
            update_comment: Have the model's comment say so, when it is stored.
            compression: `"auto"` deflates what shrinks, and stores what does not; see `codec` of `vhpack.pack`.
            include: Patterns of what to take of `weights_path`, relative to it; by default everything.
            exclude: Patterns of what to leave out; see `vhpack.pack`.
            workers: Number of threads; by default one for each core.

        Returns:
            The URI that the version has, or will have.

        Raises:
            ModelError: the model is published.
            OptionError: neither or both of `weights_filenames` and `weights_path` are given, or an argument makes no sense.
            NoFilesError: there is no such folder, or nothing in it.
            SourceNotFoundError, SpecialFileError: a file is not there, a link leads nowhere, or something is no file.
            UnknownFormatError: no archive format has the suffix.
            PackError: the files cannot be packed, as with `vhpack.pack`; they are where they were.
            UploadError: without `async_enable`, it could not be sent; the files are where they were.
        """
        self._refuse_published()
        if (weights_filenames is None) == (weights_path is None):
            raise OptionError("give either weights_path, a folder to pack, or weights_filenames, a list of files")
        if compression not in _COMPRESSION:
            raise OptionError(f"compression is {compression!r}; it must be one of {', '.join(_COMPRESSION)}")
        name = weights.checked_name(target_filename or _PACKAGE)
        if not supply.may_be_archive(name):
            name += ".zip"
        iteration = self._iteration(iteration)
        if weights_path is not None:
            sources, root = weights.of_folder(weights_path, include)
        else:
            sources, root = weights.of_files(weights_filenames or ())
        settings = Settings(
            root=root, exclude=exclude or (), codec=compression, manifest=True, jobs=workers, durable=True, hidden=True
        )
        remark = f"snapshot {weights.legible(os.path.basename(root) or root)} stored" if update_comment else None
        order = self._order(name, upload_uri, iteration, remark)
        weights.refuse_own(sources if weights_path is None else [root], order.destination.uri)
        whole = weights_path is not None and include is None
        contents = packages.Contents(sources, root, settings, auto_delete_file, whole)
        with self._registering():
            job = storing.store_package(order, contents)
        return _ended(job) if not async_enable else job.version.url

    def publish(self) -> None:
        """Wait until its versions of this process are stored, and let the model never change any more.

        Raises:
            ModelError: nothing of it is stored, or another process is at a version of it.
            UploadError: a version could not be stored; or one behind the current one had failed before, and nobody was told so.
        """
        for job in storing.under_way(self._id):
            job.done.wait()
            if job.error is not None:
                job.heard()
                raise job.error
        current = self._record().current
        for job in storing.untold(self._id):
            if current is None or job.version.n > current.n:
                job.heard()
                assert job.error is not None  # noqa: S101 - which is how they are told
                raise job.error
        if self._draft is not None:
            raise ModelError(
                f"the model {self.name!r} has no stored version, and nothing to publish; update_weights() stores one"
            )
        super().publish()

    @classmethod
    def wait_for_uploads(
        cls, timeout: float | None = None, max_num_uploads: int | None = None, *, raise_on_error: bool = False
    ) -> None:
        """Wait until the versions that this process has begun are stored, or have failed.

        Args:
            timeout: Seconds to wait at most.
            max_num_uploads: Return as soon as so many have ended.
            raise_on_error: Raise what one failed of; `uploads("failed")` has all.

        Raises:
            UploadError, ModelError: with `raise_on_error`, one could not be stored.
        """
        failed = storing.wait(timeout, max_num_uploads)
        if failed and raise_on_error:
            for job in failed:
                job.heard()
            assert failed[0].error is not None  # noqa: S101 - which is how they are told
            raise failed[0].error

    @classmethod
    def uploads(cls, state: str | None = None) -> list[ModelVersion]:
        """Return the versions, of all models here, that are not stored: with `state`, and `error` where they have failed.

        Args:
            state: Only those in this state: `packing`, `uploading` or `failed`.
        """
        registry = registrar.existing()
        if registry is None:
            return []
        from vhpack.registry import models

        with registry.reading() as connection:
            left = models.unfinished(connection, registry.project(connection))
        found = [each.version for each in left if each.version.state in (*models.BEGUN, "failed")]
        return [version for version in found if state in (None, version.state)]

    @classmethod
    def resume_uploads(cls) -> int:
        """Go on with versions that a process which is gone has left, and with those that failed; return how many that are.

        They go on in the background, where they were; `wait_for_uploads()` waits for them. What was cut off while it packed
        is given up: its files are where they were. What is stored, and whose original is still to be removed, is finished.
        """
        return resuming.resume()

    def _iteration(self, iteration: int | None) -> int | None:
        return self._task.iteration if iteration is None else designs.checked_iteration(iteration)

    def _destination(self, uri: StrPath | None) -> Destination:
        """Return where the next version goes."""
        own = self._record().destination
        chosen = designs.checked_destination(uri) if uri else own or self._task.output_uri or OutputModel._default_uri
        found = destinations.chosen(chosen, env.read())
        if found is None:
            return destinations.checked(designs.checked_destination(_usual_folder()), {})
        stored.check_writable(found.uri, make=False)
        return found

    def _order(self, name: str, upload_uri: StrPath | None, iteration: int | None, remark: str | None) -> storing.Order:
        destination = self._destination(upload_uri)
        folder = f"{self._task.folder}/{self._id}"
        destinations.below(destination.uri, f"{folder}/1/{name}")
        return storing.Order(self._draft or self._id, self.name, name, destination, folder, iteration, remark)

    @contextlib.contextmanager
    def _registering(self) -> Iterator[None]:
        """Know, when a version was begun, that the model is registered, also where the version has failed."""
        try:
            yield
        finally:
            registry = registrar.existing() if self._draft is not None else None
            if registry is not None:
                from vhpack.registry import models

                with contextlib.suppress(PackError), registry.reading() as connection:
                    if models.find(connection, registry.project(connection), self._id) is not None:
                        self._draft = None

    def _register(self, uri: str, target_filename: str | None, iteration: int | None, update_comment: bool) -> str:  # noqa: FBT001
        """Name weights that are stored already."""
        path = uri if "://" not in uri else stored.local_path(uri)
        size, sha256, xxh3_128 = -1, None, None
        if path is not None:
            from pathlib import Path

            from vhpack import gathering

            path = os.path.join(runs.current().base, path)
            weights.refuse_no_file(path, OptionError)
            uri = Path(os.path.abspath(path)).as_uri()
            size = os.stat(path).st_size
            sha256, xxh3_128 = gathering.digest(path)
        else:
            destinations.scheme_of(uri)
        name = weights.checked_name(target_filename or uri.partition("?")[0].rstrip("/").rpartition("/")[2])
        remark = f"registered {name}" if update_comment else None
        order = storing.Order(self._draft or self._id, self.name, name, destinations.checked(uri, {}), "", iteration, remark)
        output = Output(f"{paths.folder_name(self.name)}/{name}", size, sha256, xxh3_128, time.time_ns(), uri)
        with self._registering():
            return storing.register_place(order, output).url


def _usual_folder() -> str:
    """Return the folder for weights of which nobody says where they go: that of contents; of a job, what stays of it."""
    environment, place = env.read(), registrar.place()
    if environment.job_id and not environment.store_dir:
        return paths.get_outputs_path()
    return paths.spool_path() if place is None else place.store


def _ended(job: Job) -> str:
    """Wait until a version is stored, and return its URI; or raise what it failed of."""
    job.done.wait()
    job.heard()
    storing.say_remarks()
    if job.error is not None:
        raise job.error
    return job.version.url
