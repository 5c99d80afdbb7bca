"""Backbones whose weights are a file in a Python package of a package index."""
