"""Plug-ins for other frameworks; each imports without the others."""
