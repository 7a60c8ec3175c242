"""Copies that share their blocks with the original until one of both is written to, where the file system can do that."""

from __future__ import annotations

import errno
import fcntl
import os

_CLONE = 0x40049409  # FICLONE of linux/fs.h
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})
_incapable: set[tuple[int, int]] = set()


def clone(source: str, target: str) -> bool:
    """Make `target` a copy of `source` that takes no room of its own, and return whether the file system did.

    Where it cannot, nothing is left at `target`.

    Raises:
        OSError: `source` cannot be read, or there is something at `target`.
    """
    devices = (os.stat(source).st_dev, os.stat(os.path.dirname(target)).st_dev)
    if devices in _incapable:
        return False
    with open(source, "rb") as content:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.ioctl(descriptor, _CLONE, content.fileno())
        except OSError as error:
            os.unlink(target)
            if error.errno not in _CANNOT:
                raise
            _incapable.add(devices)
            return False
        finally:
            os.close(descriptor)
    return True
