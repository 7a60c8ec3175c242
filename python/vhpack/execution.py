"""The execution that this process is, as the platform counts and names it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from vhpack import paths
from vhpack.given import read_object


@dataclass(frozen=True)
class ExecutionConfig:
    """What `execution.json` says."""

    counter: int | None
    """The execution's number in its project."""
    id: str | None
    title: str | None


class Execution:
    """The current execution; `vhpack.execution()` makes it."""

    @property
    def config(self) -> ExecutionConfig | None:
        """What the platform says of this execution; None in a local run.

        Raises:
            ConfigError: `execution.json` is there and cannot be read.
        """
        found = read_object(os.path.join(paths.get_config_path(), "execution.json"))
        if found is None:
            return None
        counter, name, title = (found.get(f"valohai.execution-{what}") for what in ("counter", "id", "title"))
        return ExecutionConfig(
            counter=counter if isinstance(counter, int) else None,
            id=None if name is None else str(name),
            title=None if title is None else str(title),
        )


def execution() -> Execution:
    """Return the current execution.

    Example:
        >>> import vhpack
        >>> vhpack.execution().config is None
        True
    """
    return Execution()
