"""From runs on disk to comparisons, conclusions, plots and the report."""
