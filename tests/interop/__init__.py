"""What other people's readers say about our archives."""
