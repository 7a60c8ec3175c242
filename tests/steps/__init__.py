"""Steps read from sources, and written into YAML."""
