"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    Archive,
    CheckReport,
    HashReport,
    Member,
    MemberReader,
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
    "Archive",
    "CheckReport",
    "HashReport",
    "Member",
    "MemberReader",
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
