"""`vhpack.Task`: whose models they are. A run that was prepared is one by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhpack import designs, paths, registrar, runs
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from vhpack._packing import StrPath
    from vhpack.models import Model

_DEFAULT = "default"


class Task:
    """What makes models: `Task.init(...)` begins one, and without it a run that `prepare()` has begun is the current one.

    A task is known by the run that it is: `id` is the run's. It keeps no record of its own; its models have its name, project and
    ID in theirs. As a context manager it is closed at the end of the block.
    """

    def __init__(self, id: str, name: str, project: str, output_uri: str | None = None) -> None:  # noqa: A002
        self._id = id
        self._name = name
        self._project = project
        self._output_uri = output_uri
        self._labels: dict[str, int] = {}
        self._iteration: int | None = None

    @classmethod
    def init(
        cls,
        project_name: str | None = _DEFAULT,
        task_name: str | None = None,
        output_uri: StrPath | bool | None = None,  # noqa: FBT001
    ) -> Task:
        """Begin a task, which is the current one until it is closed. Called again with the same names, it is the same task.

        Args:
            project_name: The project, which the places of its models are named after.
            task_name: The task's name, which models have that are given none; by default the step's, or `default`.
            output_uri: The folder that its models are sent to: a URI, or a path. None leaves it to the other places that say it
                (see `vhpack.OutputModel`), and so do True and False, by which scripts for ClearML mean its server, or none.

        Raises:
            OptionError: another task is open.
            UnknownSchemeError, BadDestinationError: `output_uri` means nothing, or cannot be written to.

        Example:
            >>> import vhpack
            >>> with vhpack.Task.init("cats", "train") as task:
            ...     vhpack.Task.current_task() is task
            True
        """
        global _open, _begun  # noqa: PLW0603 - one for each process
        run = runs.current()
        name = designs.checked_name(task_name or run.step or _DEFAULT, "task_name")
        project = designs.checked_name(project_name or _DEFAULT, "project_name")
        if _open is not None and _open_run == run.hash:
            if (_open.project, _open.name) != (project, name):
                shown = f"{_open.project!r}, {_open.name!r}"
                raise OptionError(f"the task {shown} is open; close() it before another one begins")
            if output_uri is not None:
                _open.output_uri = output_uri
            return _open
        made = cls(run.hash, name, project)
        made.output_uri = output_uri
        _count(run.hash)
        _begun += 1
        if _begun > 1:
            # The second task of a run is told from the first.
            made._id = f"{run.hash}-{_begun}"
        _open = made
        return made

    @classmethod
    def current_task(cls) -> Task | None:
        """Return the task that `init` has begun, else the run that `prepare()` has, else None.

        Example:
            >>> import vhpack
            >>> vhpack.Task.current_task() is None
            True
            >>> vhpack.prepare(step="train")
            >>> vhpack.Task.current_task().name
            'train'
        """
        global _prepared  # noqa: PLW0603 - one for each process
        run = runs.current()
        if _open is not None and _open_run == run.hash:
            return _open
        if not runs.is_settled():
            return None
        if _prepared is None or _prepared.id != run.hash:
            _prepared = cls(run.hash, run.step or _DEFAULT, _DEFAULT)
        return _prepared

    @property
    def id(self) -> str:
        """What it is known by: the run's hash."""
        return self._id

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def project(self) -> str:
        """The project's name."""
        return self._project

    @property
    def output_uri(self) -> str | None:
        """The folder that its models are sent to, where nothing else says otherwise; may be set.

        Raises:
            UnknownSchemeError, BadDestinationError: what it is set to means nothing, or cannot be written to.
        """
        return self._output_uri

    @output_uri.setter
    def output_uri(self, uri: StrPath | bool | None) -> None:
        self._output_uri = None if not uri or uri is True else designs.checked_destination(uri)

    @property
    def models(self) -> dict[str, list[Model]]:
        """Its models: `output`, those that it has made, and `input`, those that the run's inputs are."""
        from vhpack.models import Model

        registry = registrar.existing()
        if registry is None:
            return {"input": [], "output": []}
        from vhpack.registry import models

        with registry.reading() as connection:
            project = registry.project(connection)
            given, made = models.given_to(connection, project, self._id), models.listed(connection, project, task=self._id)
        return {"input": [Model._of(each.id) for each in given], "output": [Model._of(each.id) for each in made]}  # noqa: SLF001

    def set_model_label_enumeration(self, enumeration: Mapping[str, int]) -> None:
        """Give labels to the models that are made from now on, where those have none of their own.

        Raises:
            OptionError: they are no names with whole numbers.
        """
        self._labels = designs.checked_labels(enumeration)

    def get_labels_enumeration(self) -> dict[str, int]:
        """Return the labels of models that are given none."""
        return dict(self._labels)

    def set_iteration(self, iteration: int) -> None:
        """Say how far the training is: what versions are of that are given no iteration."""
        self._iteration = designs.checked_iteration(iteration)

    def get_last_iteration(self) -> int:
        """Return how far the training is, as `set_iteration` has said; 0 before it has."""
        return self._iteration or 0

    @property
    def iteration(self) -> int | None:
        """How far the training is; None before `set_iteration` has said it, and versions are of no iteration then."""
        return self._iteration

    def flush(self, wait_for_uploads: bool = False) -> bool:  # noqa: FBT001
        """Wait, where that is asked for, until the models of this process are stored; return True.

        Raises:
            UploadError, ModelError: one could not be stored.
        """
        from vhpack.output_model import OutputModel

        if wait_for_uploads:
            OutputModel.wait_for_uploads(raise_on_error=True)
        return True

    def close(self) -> None:
        """Wait until its models are stored; it is the current task no longer.

        Raises:
            UploadError, ModelError: one could not be stored.
        """
        global _open  # noqa: PLW0603 - one for each process
        if _open is self:
            _open = None
        self.flush(wait_for_uploads=True)

    def __enter__(self) -> Task:  # noqa: PYI034
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        global _open  # noqa: PLW0603 - one for each process
        if error is None:
            self.close()
        elif _open is self:
            # What is under way goes on; the end of the program waits for it.
            _open = None

    def __repr__(self) -> str:
        return f"Task({self._name!r}, {self._id!r})"

    @property
    def folder(self) -> str:
        """Where its models are below their destination."""
        name = f"{paths.folder_name(self._name)[:100]}.{paths.folder_name(self._id)}"
        return f"{paths.folder_name(self._project)[:100]}/{name}/models"


_open: Task | None = None
_open_run = ""
_begun = 0
_prepared: Task | None = None


def _count(run: str) -> None:
    """Count the tasks of each run from the beginning."""
    global _open_run, _begun
    if _open_run != run:
        _open_run, _begun = run, 0
