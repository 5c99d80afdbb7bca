"""Evaluations of policies that are not ours."""
