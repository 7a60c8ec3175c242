"""Imports on threads of vhpack's own, kept apart from forks."""

from __future__ import annotations

import os
import threading

alone = threading.RLock()
"""Held while such a thread imports, and across each fork: in a child that was forked meanwhile the module would be locked by a thread
that is not there, and whoever imports it would wait for ever."""

os.register_at_fork(before=alone.acquire, after_in_parent=alone.release, after_in_child=alone.release)
