"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    CheckReport,
    HashReport,
    PackReport,
    PlanReport,
    Progress,
    __version__,
    hash_check,
    hash_paths,
    pack,
    plan,
    versions,
)

__all__ = [
    "CheckReport",
    "HashReport",
    "PackReport",
    "PlanReport",
    "Progress",
    "__version__",
    "hash_check",
    "hash_paths",
    "pack",
    "plan",
    "versions",
]
