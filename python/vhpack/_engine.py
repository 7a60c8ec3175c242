"""The native engine: the only module that imports it."""

from vhpack._vhpack import (
    PackReport,
    PlanReport,
    Progress,
    __version__,
    pack,
    plan,
    versions,
)

__all__ = ["PackReport", "PlanReport", "Progress", "__version__", "pack", "plan", "versions"]
