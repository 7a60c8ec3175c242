"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    Archive,
    Member,
    MemberReader,
    PackReport,
    PlanReport,
    Progress,
    __version__,
    pack,
    plan,
    versions,
)

__all__ = [
    "Archive",
    "Member",
    "MemberReader",
    "PackReport",
    "PlanReport",
    "Progress",
    "__version__",
    "pack",
    "plan",
    "versions",
]
