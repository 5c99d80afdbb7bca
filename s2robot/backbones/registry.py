"""All backbones by name.

A new one is a card in ``robotics_models.py``, ``general_models.py`` or ``from_packages``; this
module joins their lists.
"""

from __future__ import annotations

from pathlib import Path

from s2robot.backbones.card import BackboneCard, own_cards
from s2robot.backbones.card_files import read_model_card
from s2robot.backbones.from_packages.cards import package_cards
from s2robot.backbones.general_models import general_cards
from s2robot.backbones.robotics_models import robotics_cards
from s2robot.errors import unknown

CARDS: dict[str, BackboneCard] = {
    card.name: card
    for card in [*own_cards(), *robotics_cards(), *general_cards(), *package_cards()]
}

OPEN_NAMES = ("timm/NAME", "hf/OWNER/MODEL", "file:MODEL_CARD.json")
"""Sets of names besides ``CARDS``."""


def get_card(name: str, weights: str | Path | None = None) -> BackboneCard:
    """Return the card of a backbone by name.

    Args:
        name: one of ``CARDS``; "timm/NAME" of timm's registry; "hf/OWNER/MODEL" of the Hugging Face
            hub; "file:PATH" of a model card, as ``s2robot pretrain`` writes them.
        weights: model card that replaces the one in a "file:" name.

    Raises:
        ValueError: there is no such backbone.
        FileNotFoundError: ``file:`` names no model card.
        DownloadError: a hub's description could not be downloaded.

    Examples:
        >>> card = get_card("s2r-vitt16-128")
        >>> card.dim, card.stride, card.preprocessing.image_size
        (192, 16, 128)
    """
    if name in CARDS:
        return CARDS[name]
    if name.startswith("timm/"):
        from s2robot.backbones.introspection import timm_card

        return timm_card(name)
    if name.startswith("hf/"):
        from s2robot.backbones.huggingface.cards import hub_card

        return hub_card(name)
    if name.startswith("file:"):
        return read_model_card(weights or name.removeprefix("file:"), name)
    if name.startswith("module:"):
        raise ValueError(
            f"{name} was a module in memory, which no file holds: make the encoder with "
            "FrameEncoder.from_module from the same module, or convert its weights and describe "
            "them in a model card (file:MODEL_CARD.json)"
        )
    raise unknown("backbone", name, [*CARDS, *OPEN_NAMES])
