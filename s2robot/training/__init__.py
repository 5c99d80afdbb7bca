"""Behavior cloning on stored embeddings, and the search for its hyperparameters."""
