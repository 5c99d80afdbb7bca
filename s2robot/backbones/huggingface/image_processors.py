"""Preprocessing by transformers' image processors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from s2robot.backbones.card import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)

_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""By Pillow's number."""

_VIT_LIKE = {"size": 224, "resample": 2, "image_mean": HALF, "image_std": HALF}
_CLIP_LIKE = {
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": _VIT_LIKE,
    "DeiT": {**_VIT_LIKE, "resample": 3, "size": 256, "do_center_crop": True, "crop_size": 224},
    "CLIP": _CLIP_LIKE,
    "Bit": _CLIP_LIKE,
    "Siglip": {**_VIT_LIKE, "resample": 3},
    "ConvNext": {**_VIT_LIKE, "resample": 3, "size": 384, "crop_pct": 224 / 256},
    "DINOv3ViT": {**_VIT_LIKE, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
}
"""Defaults of transformers' image processors, by what precedes ImageProcessor in their names."""

_SHORTER = ("CLIP", "Bit", "ConvNext")
"""Processors to which a single number as size means the shorter side."""


def processor_pixels(
    repository: str,
    default: str,
    described: Mapping[str, Any],
    config: Mapping[str, Any],
    stride: int,
) -> Preprocessing:
    """Return the rules of a repository's image processor.

    transformers from version 5 on resizes with torchvision by default, on bytes, and in floats for
    DINOv3; earlier versions used Pillow. Both round crops' corners down.

    Args:
        repository: OWNER/MODEL, for messages.
        default: processor whose defaults hold where the repository names none.
        described: the repository's settings of its processor; may be empty.
        config: of the model.
        stride: pixels a cell of its grid.

    Raises:
        ValueError: the processor does something that is not supported here.
    """
    kind = _processor(repository, default, described)
    base = config.get("image_size", 224)
    sizes = {} if described else {"size": base, "crop_size": base}
    rules = PROCESSORS[kind] | sizes | {k: v for k, v in described.items() if v is not None}
    _check_rules(repository, rules)
    normalizes = rules.get("do_normalize", True)
    size, resize, fit = _geometry(repository, kind, rules, base)
    if size % stride and "image_size" in config:  # the model's own size is then better
        size, resize = base, max(base, round(resize * base / size))
    return Preprocessing(
        size,
        tuple(rules["image_mean"]) if normalizes else (0.0,) * 3,
        tuple(rules["image_std"]) if normalizes else (1.0,) * 3,
        resize=resize,
        fit=fit,
        interpolation=_INTERPOLATIONS[rules["resample"]],
        resampler="float" if kind == "DINOv3ViT" else "uint8",
        floors_crop=True,
    )


def _processor(repository: str, default: str, described: Mapping[str, Any]) -> str:
    name = described.get("image_processor_type") or described.get("feature_extractor_type")
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name or default)
    if kind not in PROCESSORS:
        raise ValueError(
            f"{repository} prepares images by {name}, which is not among those known: "
            f"{', '.join(f'{known}ImageProcessor' for known in PROCESSORS)}"
        )
    return kind


def _check_rules(repository: str, rules: Mapping[str, Any]) -> None:
    factor = rules.get("rescale_factor", 1 / 255)
    problems = {
        "do_resize false": not rules.get("do_resize", True),
        "do_rescale false": not rules.get("do_rescale", True),
        "do_pad true": bool(rules.get("do_pad")),
        f"rescale_factor {factor} (not 1/255)": not math.isclose(factor, 1 / 255, rel_tol=1e-6),
        f"resample {rules['resample']} (not 2, bilinear, or 3, bicubic)": rules["resample"]
        not in _INTERPOLATIONS,
    }
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise ValueError(
            f"{repository} prepares images in a way that is not known here: {', '.join(found)}"
        )


def _geometry(
    repository: str, kind: str, rules: Mapping[str, Any], base: int
) -> tuple[int, int, str]:
    """Return (side of the image [px], length it is resized to first [px], fit)."""
    resize, fit = _size(repository, kind, rules["size"])
    if kind == "ConvNext":  # its own rule: crop below 384 px, squeeze from 384 px on
        if resize >= 384:
            return resize, resize, "both"
        return resize, int(resize / rules["crop_pct"]), "shorter"
    if not rules.get("do_center_crop"):
        return resize, resize, fit
    crop = rules.get("crop_size") or min(resize, base)
    if isinstance(crop, Mapping):
        crop = one_side(repository, "crop_size", [crop["height"], crop["width"]])
    if crop > resize:
        raise ValueError(f"{repository} pads images of {resize} px to {crop} px")
    return crop, resize, fit


def _size(repository: str, kind: str, size: Any) -> tuple[int, str]:
    """Return (length [px], fit)."""
    if not isinstance(size, Mapping):
        shorter = kind in _SHORTER and not isinstance(size, (list, tuple))
        return one_side(repository, "size", size), "shorter" if shorter else "both"
    given = {key: value for key, value in size.items() if value is not None}
    if given.keys() == {"shortest_edge"}:
        return int(given["shortest_edge"]), "shorter"
    if given.keys() == {"height", "width"}:
        return one_side(repository, "size", [given["height"], given["width"]]), "both"
    raise ValueError(f"{repository} resizes images by a rule that is not known here: {size}")


def one_side(repository: str, what: str, value: Any) -> int:
    """Return the side [px] of a square size, given by one number or two.

    Args:
        repository: OWNER/MODEL, for messages.
        what: name of the size, for messages.
        value: one number, or two that are equal.

    Raises:
        ValueError: two numbers differ.

    Examples:
        >>> one_side("lab/model", "patch_size", [16, 16])
        16
    """
    sides = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(sides) > 1:
        raise ValueError(f"{repository} is for images that are not square: {what} {value}")
    return int(sides.pop())
