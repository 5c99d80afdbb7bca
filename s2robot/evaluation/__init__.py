"""Rollouts on fixed initial states: one row per episode, latencies, videos."""
