"""Comparison of our output with the original packages'."""
