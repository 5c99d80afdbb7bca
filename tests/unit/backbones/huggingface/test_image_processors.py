"""Preprocessing by the image processors of repositories."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.tiny_hub import Hub

from s2robot.backbones import get_card

PROCESSED = {
    "nothing": ({}, (32, 32, "both", "bilinear")),
    "squeezed": ({"size": {"height": 24, "width": 24}}, (24, 24, "both", "bilinear")),
    "number": ({"size": 40, "resample": 3}, (40, 40, "both", "bicubic")),
    "another class": (
        {"image_processor_type": "BitImageProcessorFast", "size": {"shortest_edge": 40}}
        | {"crop_size": {"height": 24, "width": 24}},
        (24, 40, "shorter", "bicubic"),
    ),
    "not the patch's multiple": ({"size": 36}, (32, 32, "both", "bilinear")),
    "ConvNeXt's crop": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.95},
        (224, 235, "shorter", "bicubic"),
    ),
}


@pytest.mark.parametrize("case", PROCESSED)
def test_preprocessing(hub: Hub, case: str) -> None:
    described, expected = PROCESSED[case]
    files = {"config.json": hub.files("vit")["config.json"]}
    if described:
        files["preprocessor_config.json"] = json.dumps(described).encode()
    pixels = get_card(hub.add_unnamed(files)).preprocessing
    assert (pixels.image_size, pixels.resize, pixels.fit, pixels.interpolation) == expected


def test_preprocessing_within_a_processor(hub: Hub) -> None:
    """transformers 5 writes the image processor of a pair with texts into processor_config.json."""
    files = hub.files("clip")
    described = json.loads(files.pop("preprocessor_config.json"))
    files["processor_config.json"] = json.dumps({"image_processor": described}).encode()
    card = get_card(hub.add("clip-pair", files))
    assert card.preprocessing == get_card("hf/owner/clip").preprocessing


def test_without_normalization(hub: Hub) -> None:
    files = {"config.json": hub.files("vit")["config.json"]}
    files["preprocessor_config.json"] = b'{"do_normalize": false}'
    pixels = get_card(hub.add("vit-raw", files)).preprocessing
    assert (pixels.mean, pixels.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"rescale_factor": 1 / 127.5}, r"not 1/255"),
        ({"do_resize": False}, "do_resize false"),
        ({"resample": 1}, "resample 1"),
        ({"size": {"shortest_edge": 1, "longest_edge": 2}}, "a rule that is not known"),
        ({"size": {"height": 32, "width": 64}}, "not square"),
        ({"size": 24, "do_center_crop": True, "crop_size": 32}, "pads images of 24 px to 32 px"),
        ({"image_processor_type": "BlipImageProcessor"}, "Blip.*known: ViTImageProcessor"),
    ],
)
def test_preprocessing_that_is_refused(hub: Hub, described: dict[str, Any], message: str) -> None:
    files = {"config.json": hub.files("vit")["config.json"]}
    files["preprocessor_config.json"] = json.dumps(described).encode()
    with pytest.raises(ValueError, match=message):
        get_card(hub.add_unnamed(files))
