"""Paths of converted weights; known without PyTorch, so that lists of encoders are quick."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from s2robot.backbones.card import BackboneCard, Layout
from s2robot.utils.io import digest_of
from s2robot.utils.paths import home

FORMAT = 1
"""Raised whenever the same published file would be converted to other tensors."""


def slug(name: str) -> str:
    """Return a backbone's name as a file name.

    >>> slug("timm/resnet18.a1_in1k")
    'timm--resnet18.a1_in1k'
    """
    return name.replace("/", "--").replace(":", "--")


def converted_path(card: BackboneCard, weights: str | Path | None = None) -> Path:
    """Return the path of a card's converted weights, whether they exist or not.

    The name covers everything that the conversion depends on: the card, and the path, size and time
    of change of a user's file.

    Args:
        card: of the backbone.
        weights: the published file, where the user has it.
    """
    key: dict[str, Any] = {
        "format": FORMAT,
        "architecture": card.architecture.to_dict(),
        "preprocessing": card.preprocessing.to_dict(),
        "layout": _describe(card.layout or Layout()),
        "sources": [dataclasses.asdict(source) for source in card.sources],
    }
    if weights is not None:
        path = Path(weights).resolve()
        stat = path.stat()
        key["file"] = [str(path), stat.st_size, stat.st_mtime_ns]
    return home() / "weights" / f"{slug(card.name)}-{digest_of(key)[:12]}.safetensors"


def _describe(layout: Layout) -> dict[str, Any]:
    convert = layout.convert
    name = getattr(convert, "__name__", None) or repr(getattr(convert, "keywords", None))
    return {**dataclasses.asdict(dataclasses.replace(layout, convert=None)), "convert": name}
