"""Model cards on disk: JSON beside weights, written by ``s2robot pretrain`` or by hand.

A card names the terms of its weights under ``license``. The key ``licence`` of older cards is read
as well, and ``s2robot pretrain`` still writes it, so that its cards keep their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from s2robot.backbones.architectures import VIT, VIT_OPTIONS, BuildsModel, vit_architecture
from s2robot.backbones.card import BackboneCard, Layout, License, Preprocessing, vit_card
from s2robot.backbones.state_dicts import POSITION_RULES, fit_positions
from s2robot.errors import CorruptFileError, unknown
from s2robot.utils.io import read_json, sha256_file
from s2robot.utils.records import damaged, record_of

_REMEDY = "correct it, or copy it again from where it was made (docs/guides/own-weights.md)"
_LARGEST = 1 << 16
_BUILDING = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError),
    ValueError,
)
"""What timm raises for settings that are impossible."""
_SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
_PIXELS = (
    *("resize", "fit", "interpolation", "resampler", "antialias"),
    *("keeps_base_size", "floors_crop"),
)


@dataclass(frozen=True)
class _Pixels:
    """Types of the entries of ``preprocessing``; ``Preprocessing`` says what they are."""

    input_size: int
    mean: list[float]
    std: list[float]
    resize: int | None = None
    fit: str = ""
    interpolation: str = ""
    resampler: str = ""
    antialias: bool = True
    keeps_base_size: bool = False
    floors_crop: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.input_size <= _LARGEST:
            raise ValueError(f"input_size is {self.input_size}; allowed: 1 to {_LARGEST} px")


@dataclass(frozen=True)
class _LayoutEntries:
    """Types of the entries of ``layout``."""

    key: str | int = ""
    prefix: str = ""
    dropped: list[str] = field(default_factory=list)
    positions: str = ""


@dataclass(frozen=True)
class _CardFile:
    """Types of a card's entries; further ones are for people."""

    architecture: dict[str, Any]
    preprocessing: _Pixels
    layout: _LayoutEntries | None = None
    name: str | None = None
    family: str | None = None
    citation: str = ""
    license: str = "not given"
    weights: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.architecture.get("timm"), str):
            raise ValueError("architecture.timm is no name of a model")


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
    except _BUILDING as error:
        raise damaged(_json(path), f"no model card of an encoder: {error}", _REMEDY) from None


def _card(content: dict[str, Any], name: str, origin: str) -> BackboneCard:
    architecture = dict(content["architecture"])
    kind = architecture.pop("timm")
    pixels = _preprocessing(content["preprocessing"])
    fields: dict[str, Any] = {
        "license": License(content.get("license", content.get("licence", "not given"))),
        "family": content.get("family") or content.get("name") or "",
        "citation": content.get("citation", ""),
    }
    layout = content.get("layout") or {}
    if kind != VIT:
        if "positions" in layout:  # a rule fits them once, so the model has to have the grid
            architecture.setdefault("img_size", pixels.image_size)
        from s2robot.backbones.introspection import introspected_card

        card = introspected_card(name, kind, pixels, origin, options=architecture, **fields)
        return replace(card, layout=_layout(layout, card.architecture))
    sizes = [architecture.pop(key) for key in _SIZES]
    _check_sizes(dict(zip(_SIZES, sizes, strict=True)))
    unknown_options = sorted(set(architecture) - set(VIT_OPTIONS))
    if unknown_options:
        raise ValueError(f"unknown settings {unknown_options}; allowed are {VIT_OPTIONS}")
    vit = vit_architecture(*sizes, **architecture)
    return vit_card(name, vit, pixels, origin, layout=_layout(layout, vit), **fields)


def _check_sizes(sizes: dict[str, Any]) -> None:
    for key, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _LARGEST:
            raise ValueError(f"{key} is {size!r}; allowed: an integer from 1 to {_LARGEST}")
    if sizes["embed_dim"] % sizes["num_heads"] or sizes["patch_size"] > sizes["img_size"]:
        raise ValueError(
            f"{sizes}: embed_dim must be a multiple of num_heads, and patch_size at most img_size"
        )


def _preprocessing(content: dict[str, Any]) -> Preprocessing:
    extra = {key: content[key] for key in _PIXELS if key in content}
    unknown = sorted(set(content) - {"input_size", "mean", "std", *_PIXELS})
    if unknown:
        raise ValueError(f"preprocessing has unknown entries {unknown}; allowed are {_PIXELS}")
    return Preprocessing(
        content["input_size"], tuple(content["mean"]), tuple(content["std"]), **extra
    )


def _layout(content: dict[str, Any], architecture: BuildsModel) -> Layout:
    allowed = {"key", "prefix", "dropped", "positions"}
    if not set(content) <= allowed:
        raise ValueError(f"layout has {sorted(content)}; allowed are {sorted(allowed)}")
    rule = content.get("positions", "")
    if "positions" in content and rule not in POSITION_RULES:
        raise unknown("layout.positions", rule, POSITION_RULES)
    keys = (content["key"],) if "key" in content else ()
    return Layout(
        keys,
        content.get("prefix", ""),
        tuple(content.get("dropped", ())),
        convert=partial(fit_positions, architecture=architecture, rule=rule),
    )


def weights_path(path: str | Path) -> Path:
    """Return the weights' file that a model card names, else its own name in .safetensors."""
    card = _json(path)
    named = _read_card_file(path).get("weights") if card.exists() else None
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
    card = _json(path)
    if not card.exists():
        raise FileNotFoundError(
            f"no model card at {card}; `s2robot pretrain` writes one beside its weights, and the "
            "docs/guides/own-weights.md shows how to write one"
        )
    content = read_json(card, _REMEDY)
    record_of(_CardFile, content, card, _REMEDY)
    return content


def _json(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")


def packaged_card() -> Path:
    """Return the path of the model card of the encoder that ships with the package."""
    return Path(str(resources.files("s2robot.backbones"))) / "weights" / "s2r-vitt16-128.json"
