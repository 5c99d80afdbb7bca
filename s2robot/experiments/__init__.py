"""Variants and runs: from a configuration to trained and evaluated policies."""
