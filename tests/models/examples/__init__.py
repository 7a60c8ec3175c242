"""A training loop that keeps a snapshot of every epoch, and another script that takes the best by its alias."""
