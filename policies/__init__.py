"""Behavior-cloning policies: robomimic's networks on embeddings and proprioception.

This package has no pixels and no simulator: the input of a policy is an embedding of the frozen
encoder, and low-dimensional proprioception.
"""
