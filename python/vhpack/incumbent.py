"""What vhpack leaves to `valohai-utils`: pipelines, triggers and webhooks, loaded from there when they are first used."""

from __future__ import annotations

import importlib
import os.path
import sys
import threading
from types import ModuleType

from vhpack.errors import MissingExtraError

FOLDER = os.path.join(os.path.dirname(__file__), "standins")
"""Where a `valohai.py` lies that is vhpack; `vhpack run` puts it on the path."""

_HOMES = {"Pipeline": "valohai", "triggers": "valohai.triggers", "webhooks": "valohai.webhooks"}
_lock = threading.RLock()
_theirs: dict[str, ModuleType] = {}


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
        finders = [finder for finder in sys.meta_path if getattr(finder, "speaks_for_valohai", False)]
        places = [number for number, entry in enumerate(sys.path) if entry == FOLDER]
        ours = set_aside() if finders else {}
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in finders]
        sys.path[:] = [entry for entry in sys.path if entry != FOLDER]
        # What of theirs was loaded before is not loaded again: objects of two copies of a class know nothing of each other.
        sys.modules.update(_theirs)
        try:
            return _callable(_import(name)) if name == "valohai.triggers" else _import(name)
        finally:
            # Put back, and not as it was: what is imported may bring finders and places of its own, as `six` does.
            sys.meta_path[:0] = finders
            for number in places:
                sys.path.insert(number, FOLDER)
            if ours:
                _theirs.update(set_aside())
                sys.modules.update(ours)


def set_aside() -> dict[str, ModuleType]:
    """Take all modules of the name `valohai` out of `sys.modules`, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "valohai"]
    return {name: sys.modules.pop(name) for name in names}


class _CallableModule(ModuleType):
    """The module `triggers`, which an import puts over the instance of that name, and which then must do as that does."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.triggers(*args, **kwargs)


def _callable(found: ModuleType) -> ModuleType:
    found.__class__ = _CallableModule
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"pipelines, triggers and webhooks come from valohai-utils, which cannot be imported ({error}):"
            " pip install 'vhpack[valohai]'"
        ) from None
