"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    Archive,
    ExtractReport,
    Member,
    MemberReader,
    PackReport,
    PlanReport,
    Progress,
    VerifyReport,
    __version__,
    pack,
    plan,
    versions,
)

__all__ = [
    "Archive",
    "ExtractReport",
    "Member",
    "MemberReader",
    "PackReport",
    "PlanReport",
    "Progress",
    "VerifyReport",
    "__version__",
    "pack",
    "plan",
    "versions",
]
