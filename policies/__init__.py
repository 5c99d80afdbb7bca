"""Behaviour-cloning policies: robomimic's networks on embeddings and proprioception.

Nothing here knows pixels or simulators: a policy sees an embedding, as the frozen part of an
encoder gives it, and low-dimensional proprioception.
"""
