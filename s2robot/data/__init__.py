"""Demonstrations, frames and the feature store."""
