"""Model cards on disk: JSON beside weights, written by ``s2robot pretrain`` or by hand.

A card names the terms of its weights under ``license``. The key ``licence`` of older cards is read
as well, and ``s2robot pretrain`` still writes it, so that its cards keep their bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2robot.backbones.architectures import VIT, VIT_OPTIONS, vit_architecture
from s2robot.backbones.card import BackboneCard, Layout, License, Preprocessing, vit_card
from s2robot.backbones.introspection import introspected_card
from s2robot.errors import CorruptFileError
from s2robot.utils.io import read_json, sha256_file

_SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
_PIXELS = (
    *("resize", "fit", "interpolation", "resampler", "antialias"),
    *("keeps_base_size", "floors_crop"),
)


def read_model_card(path: str | Path, name: str, origin: str = "file") -> BackboneCard:
    """Return the card of a backbone from its model card file.

    Args:
        path: the card; another suffix is replaced by .json.
        name: of the backbone.
        origin: of its weights, one of ``ORIGINS``.

    Raises:
        FileNotFoundError: there is no card.
        CorruptFileError: the card lacks something or describes another kind of model.
    """
    content = _read_card_file(path)
    try:
        return _card(content, name, origin)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a model card of an encoder: {error!r}") from None


def _card(content: dict[str, Any], name: str, origin: str) -> BackboneCard:
    architecture = dict(content["architecture"])
    kind = architecture.pop("timm")
    pixels = _preprocessing(content["preprocessing"])
    fields: dict[str, Any] = {
        "license": License(content.get("license", content.get("licence", "not given"))),
        "layout": _layout(content.get("layout", {})),
        "family": content.get("family") or content.get("name") or "",
        "citation": content.get("citation", ""),
    }
    if kind != VIT:
        return introspected_card(name, kind, pixels, origin, options=architecture, **fields)
    sizes = [architecture.pop(key) for key in _SIZES]
    unknown_options = sorted(set(architecture) - set(VIT_OPTIONS))
    if unknown_options:
        raise ValueError(f"unknown settings {unknown_options}; allowed are {VIT_OPTIONS}")
    return vit_card(name, vit_architecture(*sizes, **architecture), pixels, origin, **fields)


def _preprocessing(content: dict[str, Any]) -> Preprocessing:
    extra = {key: content[key] for key in _PIXELS if key in content}
    unknown = sorted(set(content) - {"input_size", "mean", "std", *_PIXELS})
    if unknown:
        raise ValueError(f"preprocessing has unknown entries {unknown}; allowed are {_PIXELS}")
    return Preprocessing(
        content["input_size"], tuple(content["mean"]), tuple(content["std"]), **extra
    )


def _layout(content: dict[str, Any]) -> Layout:
    allowed = {"key", "prefix", "dropped"}
    if not set(content) <= allowed:
        raise ValueError(f"layout has {sorted(content)}; allowed are {sorted(allowed)}")
    keys = (content["key"],) if "key" in content else ()
    return Layout(keys, content.get("prefix", ""), tuple(content.get("dropped", ())))


def weights_path(path: str | Path) -> Path:
    """Return the weights' file that a model card names, else its own name in .safetensors."""
    card = Path(path).with_suffix(".json")
    named = read_json(card).get("weights") if card.exists() else None
    return card.with_name(named) if named else card.with_suffix(".safetensors")


def checked_weights_path(path: str | Path) -> Path:
    """Return the weights' file of a model card after comparing its SHA-256 with the card.

    Raises:
        FileNotFoundError: the card or the weights are missing.
        CorruptFileError: the weights are not the ones that the card describes.
    """
    content, weights = _read_card_file(path), weights_path(path)
    if not weights.exists():
        raise FileNotFoundError(f"no weights at {weights}, beside their model card")
    if "sha256" in content and sha256_file(weights) != content["sha256"]:
        raise CorruptFileError(
            f"{weights} does not have the SHA-256 of its model card "
            f"({content['sha256']}); copy both files again from where they were made"
        )
    return weights


def _read_card_file(path: str | Path) -> dict[str, Any]:
    card = Path(path).with_suffix(".json")
    if not card.exists():
        raise FileNotFoundError(
            f"no model card at {card}; `s2robot pretrain` writes one beside its weights, and the "
            "docs/guides/own-weights.md shows how to write one"
        )
    return read_json(card)
