"""The libraries that only `vhpack yaml` needs, and how to get them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vhpack.errors import MissingExtraError

if TYPE_CHECKING:
    from typing import Any


def require(module: str) -> Any:  # noqa: ANN401
    """Import a module of the extra `yaml`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"vhpack yaml needs {error.name or module}; install it with: pip install 'vhpack[yaml]'"
        ) from error
