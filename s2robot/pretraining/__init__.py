"""Masked autoencoding of a vision encoder on your own frames."""
