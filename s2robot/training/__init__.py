"""Behavior cloning on stored embeddings, and its hyperparameter search."""
