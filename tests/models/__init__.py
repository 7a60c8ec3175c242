"""Models: snapshots that are sent in the background, read back checked, and never lost."""
