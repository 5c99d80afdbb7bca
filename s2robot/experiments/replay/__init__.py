"""Showing an episode of a run again from its exact start, and comparing it with its stored row."""
