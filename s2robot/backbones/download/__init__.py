"""Download of published weight files: web, hub, cache."""
