"""Frozen vision backbones: their cards, and the loading of their weights."""

from s2robot.backbones.architectures import Architecture
from s2robot.backbones.backbone import Backbone, load_backbone
from s2robot.backbones.card import BackboneCard, Layout, License, Preprocessing
from s2robot.backbones.registry import CARDS, get_card
from s2robot.utils.deprecation import moved_names

__all__ = [
    "CARDS",
    "Architecture",
    "Backbone",
    "BackboneCard",
    "Layout",
    "License",
    "Preprocessing",
    "get_card",
    "load_backbone",
]

__getattr__ = moved_names(__name__, {"Licence": "s2robot.backbones.card:License"})
