"""Frozen vision backbones: their cards, and the loading of their weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from s2robot.utils.deprecation import moved_names

if TYPE_CHECKING:
    from s2robot.backbones.architectures import Architecture
    from s2robot.backbones.backbone import Backbone, load_backbone
    from s2robot.backbones.card import BackboneCard, Layout, License, Preprocessing
    from s2robot.backbones.registry import CARDS, get_card

_HOMES = {
    "CARDS": "s2robot.backbones.registry",
    "Architecture": "s2robot.backbones.architectures",
    "Backbone": "s2robot.backbones.backbone",
    "BackboneCard": "s2robot.backbones.card",
    "Layout": "s2robot.backbones.card",
    "License": "s2robot.backbones.card",
    "Preprocessing": "s2robot.backbones.card",
    "get_card": "s2robot.backbones.registry",
    "load_backbone": "s2robot.backbones.backbone",
}
"""Modules of the names; imported on first use, since cards need no PyTorch and models do."""

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

_old_name = moved_names(__name__, {"Licence": "s2robot.backbones.card:License"})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return _old_name(name)
    return getattr(importlib.import_module(_HOMES[name]), name)
