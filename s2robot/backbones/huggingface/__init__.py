"""Backbones by repository name on the Hugging Face hub, built by timm or transformers."""

from s2robot.utils.deprecation import moved_names

_OLD = ("FlooredCard", "Repository", "WEIGHTS", "hub_card", "split_gates")
"""Names that this package had as a module."""

__getattr__ = moved_names(__name__, dict.fromkeys(_OLD, "s2robot.backbones.huggingface.cards"))
