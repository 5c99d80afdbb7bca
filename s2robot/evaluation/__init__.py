"""Rollouts on fixed initial states: one row an episode, latencies, videos."""
