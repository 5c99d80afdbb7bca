"""Parsers of the commands with flags; they import neither PyTorch nor what the commands run."""
