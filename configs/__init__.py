"""Hydra configuration groups, found as ``pkg://s2robot.configs``."""
