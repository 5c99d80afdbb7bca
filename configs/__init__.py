"""Hydra configurations, found as ``pkg://s2robot.configs``."""
