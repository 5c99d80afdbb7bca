"""Helpers without a domain: files, paths, devices, processes, configuration, validation."""
