"""Frozen vision backbones: their cards, and the loading of their weights."""

from s2robot.backbones.cards import CARDS, Architecture, BackboneCard, Preprocessing
from s2robot.backbones.model import Backbone, get_card, load_backbone

__all__ = [
    "CARDS",
    "Architecture",
    "Backbone",
    "BackboneCard",
    "Preprocessing",
    "get_card",
    "load_backbone",
]
