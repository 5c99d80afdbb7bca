"""Small helpers without a domain: files, paths, devices, processes, configuration."""
