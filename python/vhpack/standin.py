"""vhpack under the name `valohai`, for scripts that say `import valohai`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING

from vhpack import incumbent
from vhpack.errors import JobWarning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# Their modules, and ours of the same meaning.
MODULES = {
    "valohai": "vhpack",
    "valohai.prepare_impl": "vhpack.prepare",
    **{
        f"valohai.{name}": f"vhpack.{name}"
        for name in (
            *("config", "consts", "controller_api", "distributed", "execution", "inputs", "metadata", "output_properties"),
            *("outputs", "parameters", "paths", "types", "yaml"),
        )
    },
}
# What knows nothing of a run; of the internals what their command line and scripts for it use. The others would go by a second
# state, in which nothing is ever prepared.
_THEIRS = frozenset(
    [
        *("valohai.triggers", "valohai.webhooks", "valohai.internals"),
        *("valohai.internals.merge", "valohai.internals.pipeline", "valohai.internals.yaml"),
    ]
)


def install_as_valohai() -> None:
    """Let `import valohai`, and an import of each of its public modules, give vhpack in this process.

    There is one copy of everything: `valohai.paths` is `vhpack.paths`. `valohai.triggers`, `valohai.webhooks` and what the
    platform's command line uses of `valohai.internals` come from `valohai-utils` when they are asked for. Calling this again
    does nothing. `python -m vhpack run train.py` does it for a script and for every Python program that it starts.

    Warns:
        JobWarning: `valohai-utils` was imported before; what was taken from it then is not vhpack's.

    Example:
        >>> import subprocess, sys
        >>> code = "import vhpack; vhpack.install_as_valohai(); import valohai.paths; print(valohai.paths is vhpack.paths)"
        >>> print(subprocess.check_output([sys.executable, "-c", code], text=True).strip())
        True
    """
    ours = {theirs: importlib.import_module(name) for theirs, name in MODULES.items()}
    known = sys.modules.get("valohai")
    # The module that `vhpack run` puts into the way of theirs is being imported at this moment, and is no second copy.
    if known is not None and known is not ours["valohai"] and incumbent.FOLDER not in str(getattr(known, "__file__", "")):
        import warnings

        warnings.warn("valohai-utils was imported before vhpack took its name; import vhpack first", JobWarning, stacklevel=2)
        incumbent.set_aside()
    # All of them now, and not when they are imported: that would put the module `outputs` over the function of its name.
    sys.modules.update(ours)
    # The one module that has another name there; an import that finds it in `sys.modules` sets no attribute.
    ours["valohai"].prepare_impl = ours["valohai.prepare_impl"]  # type: ignore[attr-defined]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Keeps the import system from loading our files a second time under another name."""

    speaks_for_valohai = True

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        if fullname in _THEIRS:
            return importlib.util.spec_from_loader(fullname, _Loader())
        if fullname.startswith("valohai."):
            message = f"{fullname} is no public module of valohai; vhpack, which is installed as valohai, has none of that name"
            hint = "; vhpack.reset() forgets a run" if "global_state" in fullname else ""
            raise ModuleNotFoundError(message + hint, name=fullname)
        return None


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = incumbent.module(spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module was executed under its own name, whose specification it gets back."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state
