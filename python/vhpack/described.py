"""What is said of a model that a task makes: kept here until it is registered, there from then on."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from vhpack import designs, registrar
from vhpack.errors import ModelError
from vhpack.models import Known
from vhpack.registry.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from vhpack.registry.models import Draft
    from vhpack.tasks import Task

_COLUMNS = {"config_text": "config", "project": "task_project"}
"""Columns that are called otherwise than what they hold."""


class Waitable:
    """What `update_design` and `update_labels` return: true, and done already."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return True at once: the change is kept, or comes with the model's first version."""
        del timeout
        return True


class Described(Known):
    """A model, and what may be changed of what is said of it."""

    def __init__(self, task: Task, id: str) -> None:  # noqa: A002
        self._task = task
        self._id = id
        self._begun = time.time()
        self._draft: Draft | None = None
        """What is said of it, until it is registered."""

    @property
    def name(self) -> str:
        """What it is called; may be set, and is not empty."""
        return self._record().name

    @name.setter
    def name(self, name: str) -> None:
        self._change({"name": designs.checked_name(name)})

    @property
    def comment(self) -> str:
        """What is said of it, the latest first; may be set, also when it is published."""
        return self._record().comment

    @comment.setter
    def comment(self, comment: str) -> None:
        self._change({"comment": designs.checked_text(comment, "comment")}, although_published=True)

    @property
    def tags(self) -> list[str]:
        """Words to find it by; may be set, also when it is published."""
        return list(self._record().tags)

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._change({"tags": designs.checked_tags(tags)}, although_published=True)

    @property
    def labels(self) -> dict[str, int]:
        """Names of classes, and their numbers; may be set, as `update_labels` does."""
        return dict(self._record().labels)

    @labels.setter
    def labels(self, labels: Mapping[str, int]) -> None:
        self.update_labels(labels)

    @property
    def config_text(self) -> str:
        """The design's configuration, as it was given; may be set, as `update_design` does."""
        return self._record().config_text

    @config_text.setter
    def config_text(self, config_text: str) -> None:
        self.update_design(config_text=config_text)

    @property
    def config_dict(self) -> dict[str, object]:
        """The design's configuration, read as JSON; may be set, as `update_design` does.

        Raises:
            OptionError: it is no JSON object.
        """
        return designs.dict_of(self._record().config_text)

    @config_dict.setter
    def config_dict(self, config_dict: Mapping[str, object]) -> None:
        self.update_design(config_dict=config_dict)

    @property
    def framework(self) -> str | None:
        """What it is made with; may be set."""
        return self._record().framework

    @framework.setter
    def framework(self, framework: str | None) -> None:
        self._change({"framework": None if framework is None else designs.checked_text(framework, "framework")})

    def connect(self, task: Task, name: str | None = None, **kwargs: object) -> None:
        """Say what the model is called among those of its task; another one that was called so is that no longer.

        Args:
            task: Its own task.
            name: What it is called there; by default its name.
            kwargs: What scripts for ClearML may say; it changes nothing.

        Raises:
            ModelError: it is another task, or the model is published.
        """
        del kwargs
        if getattr(task, "id", None) != self._record().task:
            raise ModelError("a model is connected to the task that makes it, and to no other; give it that")
        self._change({"connected": name or self.name})

    def update_design(self, config_text: str | None = None, config_dict: Mapping[str, object] | None = None) -> Waitable:
        """Keep another configuration; an empty text clears it, and neither changes nothing.

        Args:
            config_text: The configuration as text.
            config_dict: The same as a dictionary, which is kept as JSON.

        Raises:
            OptionError: both are given, or JSON has no words for it.
            ModelError: the model is published.
        """
        text = designs.text_of(config_text, config_dict)
        if text is None:
            self._refuse_published()
        else:
            self._change({"config_text": text})
        return Waitable()

    def update_labels(self, labels: Mapping[str, int]) -> Waitable:
        """Keep other labels, of this model and of no other.

        Args:
            labels: Names of classes, and their numbers.

        Raises:
            OptionError: they are something else.
            ModelError: the model is published.
        """
        self._change({"labels": designs.checked_labels(labels)})
        return Waitable()

    def _record(self) -> ModelRecord:
        if self._draft is None:
            registry = registrar.opened()
            from vhpack.registry import models

            with registry.reading() as connection:
                found = models.find(connection, registry.project(connection), self._id)
            if found is None:
                raise ModelError(f"the model {self._id} is not in {registry.shown} any more")
            return found
        draft = self._draft
        return ModelRecord(
            id=draft.id,
            name=draft.name,
            task=draft.task,
            task_name=draft.task_name,
            project=draft.project,
            connected=draft.connected,
            comment=draft.comment,
            framework=draft.framework,
            config_text=draft.config_text,
            labels=draft.labels,
            tags=draft.tags,
            destination=draft.destination,
            current=None,
            created=self._moment(),
            modified=self._moment(),
            published=None,
        )

    def _moment(self) -> datetime:
        from datetime import datetime, timezone

        return datetime.fromtimestamp(self._begun, timezone.utc)

    def _go_on(
        self,
        *,
        config_text: str | None,
        labels: Mapping[str, int] | None,
        name: str | None,
        tags: tuple[str, ...] | None,
        comment: str | None,
        framework: str | None,
    ) -> None:
        """Take over a model that is registered."""
        registry = registrar.existing()
        known = None
        if registry is not None:
            from vhpack.registry import models

            with registry.reading() as connection:
                known = models.find(connection, registry.project(connection), self._id)
        if known is None:
            raise ModelError(f"there is no model {self._id!r} to go on with; `vhpack model list` shows all")
        lines = [f"Overwritten by task id: {self._task.id}", comment, known.comment]
        given: dict[str, object] = {
            "name": name,
            "labels": labels,
            "tags": tags,
            "framework": framework,
            "config_text": config_text,
        }
        given["comment"] = "\n".join(line for line in dict.fromkeys(lines) if line)
        given |= {"task": self._task.id, "task_name": self._task.name, "project": self._task.project}
        self._change({key: value for key, value in given.items() if value is not None})

    def _change(self, changes: Mapping[str, object], *, although_published: bool = False) -> None:
        """Change what is said of it: of a draft here, of a registered model there."""
        if self._draft is not None:
            self._draft = replace(self._draft, **changes)  # type: ignore[arg-type]
            return
        registry = registrar.opened()
        from vhpack.registry import models

        columns = {_COLUMNS.get(name, name): value for name, value in changes.items()}
        for name in ("labels", "tags"):
            if name in columns:
                columns[name] = json.dumps(columns[name])

        registry.write(
            lambda connection, project: models.change(
                connection, project, self._id, although_published=although_published, **columns
            )
        )

    def _refuse_published(self) -> None:
        if self._draft is None:
            from vhpack.registry import models

            models.refuse_published(self._record())
