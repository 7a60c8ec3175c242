"""What is left after a kill, a full disk or a failing one."""
