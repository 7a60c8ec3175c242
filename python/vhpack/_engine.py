"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    Archive,
    CheckReport,
    ExtractReport,
    HashReport,
    Member,
    MemberReader,
    PackReport,
    PlanReport,
    Progress,
    VerifyReport,
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
    "ExtractReport",
    "HashReport",
    "Member",
    "MemberReader",
    "PackReport",
    "PlanReport",
    "Progress",
    "VerifyReport",
    "__version__",
    "hash_check",
    "hash_paths",
    "pack",
    "plan",
    "versions",
]
