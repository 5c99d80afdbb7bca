"""The version, which reports and exports read without importing the package root."""

__version__ = "0.1.0"
