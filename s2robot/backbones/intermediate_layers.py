"""Intermediate layers of a backbone in place of its output."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from s2robot.backbones.architectures import BuildsModel
from s2robot.backbones.card import BackboneCard
from s2robot.errors import unknown
from s2robot.utils.io import digest_of

LAYER_MERGES = ("concat", "mean")


def layer_shapes(card: BackboneCard) -> tuple[tuple[int, int], ...]:
    """Return (channels, stride [px]) of each intermediate layer, from first to last.

    Raises:
        ValueError: the model does not describe its layers.
    """
    shapes = _shapes(_Described(card.architecture))
    if not shapes:
        raise ValueError(f"{card.name} has no intermediate layers; give no layers")
    return shapes


class _Described:
    """An architecture as a key of the cache: architectures with equal descriptions are equal."""

    def __init__(self, architecture: BuildsModel) -> None:
        self.architecture = architecture
        self.digest = digest_of(architecture.to_dict())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Described) and self.digest == other.digest


@functools.lru_cache(maxsize=64)
def _shapes(described: _Described) -> tuple[tuple[int, int], ...]:
    model = described.architecture.build_empty()
    if not hasattr(model, "forward_intermediates"):
        return ()
    information = getattr(model, "feature_info", [])
    rows = information if isinstance(information, list) else information.info
    return tuple((int(row["num_chs"]), int(row["reduction"])) for row in rows)


def check_layers(card: BackboneCard, layers: Sequence[int]) -> list[int]:
    """Return indices of layers counted from 0.

    Args:
        card: of the backbone.
        layers: indices; negative ones count from the last layer.

    Raises:
        ValueError: a layer does not exist, or is named twice.
    """
    depth = len(layer_shapes(card))
    if not all(-depth <= layer < depth for layer in layers):
        raise ValueError(
            f"layers {tuple(layers)}: {card.name} has {depth} layers, so indices lie in {-depth} "
            f"to {depth - 1} (-1: the last, before the final norm)"
        )
    order = [layer % depth for layer in layers]
    if len(set(order)) < len(order):
        raise ValueError(f"layers {tuple(layers)} name a layer of {card.name} twice")
    return order


def with_layers(card: BackboneCard, layers: Sequence[int], merge: str = "concat") -> BackboneCard:
    """Return the card with width and stride of the chosen intermediate layers.

    Args:
        card: of the backbone.
        layers: indices, see ``check_layers``; without any, the card stays as it is.
        merge: "concat" or "mean", see ``Backbone.forward_intermediates``.

    Raises:
        ValueError: a layer does not exist, or layers of different widths are to be averaged.

    Examples:
        >>> from s2robot.backbones import get_card
        >>> with_layers(get_card("random/vitt16-128"), layers=(5, 11)).dim
        384
    """
    if not layers:
        return card
    if merge not in LAYER_MERGES:
        raise unknown("layers_merge", merge, LAYER_MERGES)
    shapes = layer_shapes(card)
    chosen = [shapes[index] for index in check_layers(card, layers)]
    widths = [width for width, _ in chosen]
    if merge == "mean" and len(set(widths)) > 1:
        raise ValueError(
            f"layers {tuple(layers)} of {card.name} are {widths} wide and cannot be averaged; "
            "merge them by concat"
        )
    dim = sum(widths) if merge == "concat" else widths[0]
    return dataclasses.replace(card, dim=dim, stride=chosen[-1][1], published="mean", head_dim=None)
