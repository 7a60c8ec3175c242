"""Who has a file open for writing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal


def has_writers(path: str) -> bool:
    """Return whether any process has a file open for writing, or mapped so, as far as the system lets that be known.

    It does of this user's own files on this machine's file systems: the kernel leases a file for reading to whoever asks, but
    not while somebody can write to it.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> from vhpack.writers import has_writers
        >>> with open("log.txt", "w") as file:
        ...     print(has_writers("log.txt"))
        True
        >>> has_writers("log.txt")
        False
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # Who opens the file for writing at this very moment waits for us to close it, and we are sent a signal: one that is
        # ignored unless somebody asks for it, instead of the usual one, which ends the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
