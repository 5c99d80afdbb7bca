"""Backbones from models in memory, which run the model's own forward pass."""
