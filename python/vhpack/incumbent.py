"""What vhpack leaves to `valohai-utils`: pipelines, triggers and webhooks, loaded from there when they are first used."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING

from vhpack.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

_HOMES = {"Pipeline": "valohai", "triggers": "valohai.triggers", "webhooks": "valohai.webhooks"}
_lock = threading.Lock()
_theirs: dict[str, ModuleType] = {}
_set_aside: dict[str, ModuleType] = {}


def take(name: str) -> object:
    """Return `Pipeline`, `triggers` or `webhooks` of `valohai-utils`.

    Raises:
        MissingExtraError: `valohai-utils` is not installed.
    """
    home = module(_HOMES[name])
    return home if name == "webhooks" else getattr(home, name)


def module(name: str) -> ModuleType:
    """Return a module of `valohai-utils`, also while the name `valohai` means vhpack.

    Raises:
        MissingExtraError: `valohai-utils` is not installed.
    """
    with _lock:
        if name not in _theirs:
            _theirs[name] = _load(name)
        return _theirs[name]


def _load(name: str) -> ModuleType:
    """Import their module under its own name, with ours of that name out of the way for the moment."""
    ours = {known: sys.modules[known] for known in list(sys.modules) if known.partition(".")[0] == "valohai"}
    finders = [finder for finder in sys.meta_path if getattr(finder, "speaks_for_valohai", False)]
    if not finders:
        return _import(name)
    for finder in finders:
        sys.meta_path.remove(finder)
    for known in ours:
        del sys.modules[known]
    # Loaded before, theirs is loaded once: two copies of a class would not be instances of each other.
    sys.modules.update(_set_aside)
    try:
        return _import(name)
    finally:
        set_aside()
        sys.modules.update(ours)
        sys.meta_path[:0] = finders


def set_aside() -> None:
    """Take all modules of the name `valohai` out of `sys.modules`, to have them again when they are needed."""
    for known in [known for known in sys.modules if known.partition(".")[0] == "valohai"]:
        _set_aside[known] = sys.modules.pop(known)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"pipelines, triggers and webhooks come from valohai-utils, which cannot be imported ({error}):"
            " pip install 'vhpack[valohai]'"
        ) from None
