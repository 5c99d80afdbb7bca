"""Frozen vision backbones: their cards, and the loading of their weights."""

from s2robot.backbones.architectures import Architecture
from s2robot.backbones.cards import BackboneCard, Layout, Licence, Preprocessing
from s2robot.backbones.catalogue import CARDS, get_card
from s2robot.backbones.model import Backbone, load_backbone

__all__ = [
    "CARDS",
    "Architecture",
    "Backbone",
    "BackboneCard",
    "Layout",
    "Licence",
    "Preprocessing",
    "get_card",
    "load_backbone",
]
