"""Which file systems are another machine's, or a program's: what the kernel says of files there is not all that there is."""

from __future__ import annotations

import os

_REMOTE = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "afs", "ceph", "lustre", "gpfs", "beegfs", "pvfs2"),
        *("ocfs2", "gfs2"),
    }
)


def read() -> str:
    """Return what is mounted where, in the kernel's words."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return mounts.read()


def is_remote(mounts: str, folder: str) -> bool:
    """Return whether a folder is on a file system that other machines, or programs, have a hand in.

    Args:
        mounts: What `read` returns.
        folder: An absolute path without links.

    Example:
        >>> from vhpack.mounts import is_remote
        >>> mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw" + chr(10) + "30 21 0:40 / /home rw - nfs4 server:/home rw"
        >>> is_remote(mounts, "/data"), is_remote(mounts, "/home/ann")
        (False, True)
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:  # noqa: PLR2004
            continue
        point = fields[4].replace("\\040", " ")
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind in _REMOTE or kind.startswith("fuse.") or kind == "fuse"


def is_of_others(path: str) -> bool:
    """Return `is_remote` of the folder that a file is in, as things are mounted now."""
    return is_remote(read(), os.path.dirname(os.path.realpath(path)))
