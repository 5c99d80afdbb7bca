"""From runs on disk to comparisons, conclusions, plots and the report."""

METRICS = ("success_once", "success_at_end")
VERDICTS = ("better", "worse", "equivalent", "not shown")
"""Verdicts on the second variant of a comparison."""
MARGIN = 0.05
"""Difference of two success rates that is too small to matter, for equivalence."""
TITLE = "Larger encoder or more scales?"
"""Title of a page."""
