"""Parameters: the values that a run was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhpack.prepare import given
from vhpack.step import key

if TYPE_CHECKING:
    from typing import Any


def parameters(name: str, default: Any = None) -> Parameter:  # noqa: ANN401 - what a caller gives is what it gets back
    """Return the parameter called `name`.

    Args:
        name: As in `prepare()`; hyphens and underscores are the same where only one of the spellings exists.
        default: The value where the run has no parameter of this name.

    Example:
        >>> import vhpack
        >>> vhpack.prepare(step="train", default_parameters={"epochs": 5})
        >>> vhpack.parameters("epochs").value, vhpack.parameters("batch", default=32).value
        (5, 32)
    """
    return Parameter(str(name), default)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the run; `vhpack.parameters(name)` makes it."""

    name: str
    default: Any = None

    @property
    def value(self) -> Any:  # noqa: ANN401 - bool, int, float, str, a list of them, or None
        """What the command line, else `parameters.json`, else `prepare()` says; `default` where none of them knows the name.

        Raises:
            ConfigError: without `prepare()`, a file in the config folder cannot be read.
        """
        known = given().parameters
        if self.name in known:
            return known[self.name]
        wanted = key(self.name)
        return next((value for name, value in known.items() if key(name) == wanted), self.default)
