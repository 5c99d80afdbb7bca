"""Comparison of our output with that of the original packages."""
