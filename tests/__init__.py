"""Everything vhpack promises, tried on the real thing."""
