"""Sweeps as a whole: what runs where, and which runs are possible."""
