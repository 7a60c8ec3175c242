"""What the engine promises about sources, names, bytes, memory and interruption."""
