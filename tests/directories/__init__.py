"""Directories of outputs: written as a whole, mapped, read, and handed to tasks."""
