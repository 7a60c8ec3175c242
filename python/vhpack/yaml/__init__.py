"""Reads steps out of scripts, and writes them into `valohai.yaml`."""
