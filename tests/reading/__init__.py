"""Archives as Python programs read them."""
