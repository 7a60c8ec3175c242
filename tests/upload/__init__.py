"""Uploads, against real servers on loopback."""
