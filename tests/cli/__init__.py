"""What `vhpack` says and how it ends."""
