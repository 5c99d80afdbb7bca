"""Analyses of frozen features: probes, reconstruction, parity, latency."""
