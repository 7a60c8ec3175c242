"""Which context managers let every exception of their block through: what a block sets is known behind it only then."""

from __future__ import annotations

from typing import Final

_SWALLOW: Final = frozenset(f"contextlib.{name}" for name in ("suppress", "ExitStack", "AsyncExitStack", "contextmanager"))
_PYTHON: Final = frozenset(
    [
        *("builtins", "bz2", "concurrent", "contextlib", "decimal", "gzip", "io", "lzma", "mmap", "multiprocessing", "os"),
        *("pathlib", "selectors", "shelve", "socket", "sqlite3", "subprocess", "tarfile", "tempfile", "threading", "urllib"),
        *("warnings", "zipfile"),
    ]
)
_OTHERS: Final = frozenset(
    [
        *("fsspec", "h5py", "httpx", "jax", "joblib", "keras", "mlflow", "numpy", "pandas", "PIL", "rasterio", "requests"),
        *("tensorflow", "torch", "tqdm", "valohai", "vhpack", "wandb"),
    ]
)


def lets_through(name: str) -> bool:
    """Return whether the context manager of this full name lets exceptions through, as all of its package do.

    Example:
        >>> from vhpack.yaml.managers import lets_through
        >>> lets_through("torch.no_grad"), lets_through("contextlib.suppress"), lets_through("mine.quiet")
        (True, False, False)
    """
    return name.partition(".")[0] in _PYTHON | _OTHERS and name not in _SWALLOW
