"""Tiny models of transformers, published on a hub of the tests' own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from support.file_server import FileServer

transformers = pytest.importorskip("transformers")

RECENT = int(transformers.__version__.partition(".")[0]) >= 5

VIT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
DINO = {**{k: v for k, v in VIT.items() if k != "intermediate_size"}, "mlp_ratio": 2}
TEXT = {**VIT, "vocab_size": 99, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
TEXT = {k: v for k, v in TEXT.items() if k not in ("image_size", "patch_size")}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]}
FRAMES = ((32, 32), (84, 84), (48, 65), (130, 97), (20, 30))
"""(height, width) [px]: the model's own, square, wide, tall, small."""
HALVES = ((720, 1280), (480, 848), (81, 45))
"""Frames that are cut at half a pixel, which versions before 5 round to even on tensors: CLIP's and
DINOv2's at 720p, CLIP's of 224 px at 480 x 848, ConvNeXt's at 81 x 45."""


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A tiny model as its authors would publish it, and what of it is compared."""

    model: str
    config: str
    options: dict[str, Any]
    processor: str
    size: dict[str, Any] = dataclasses.field(default_factory=dict)
    prefix: int = 1
    output: str = "cls"

    def build(self) -> Any:
        """The model, with weights that are not small: attention and positions then matter."""
        config = getattr(transformers, self.config)(**self.options)
        torch.random.default_generator.manual_seed(0)
        model = getattr(transformers, self.model)(config).eval()
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim > 1 else 0.1
            parameter.data += scale * torch.randn(parameter.shape, generator=generator)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(generator=generator)
        return model

    def build_processor(self) -> Any:
        """The image processor that ``transformers`` makes since version 5 unless told otherwise."""
        suffix = "" if RECENT else "Fast"
        return getattr(transformers, self.processor + suffix)(**self.size)


SHORTER = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
SQUARE = {"size": {"height": 32, "width": 32}}
SQUEEZED = {
    "size": {"height": 36, "width": 36},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.4, 0.5, 0.6],
}
CONVNET = {"size": {"shortest_edge": 64}}
TINY = {
    "vit": Tiny("ViTModel", "ViTConfig", VIT, "ViTImageProcessor", SQUARE),
    "deit": Tiny("DeiTModel", "DeiTConfig", VIT, "DeiTImageProcessor", SQUEEZED, 2),
    "dinov2": Tiny(
        "Dinov2Model", "Dinov2Config", {**DINO, "image_size": 56}, "BitImageProcessor", SHORTER
    ),
    "dinov2-gated": Tiny(
        "Dinov2Model",
        "Dinov2Config",
        {**DINO, "use_swiglu_ffn": True},
        "BitImageProcessor",
        SHORTER,
    ),
    "dinov2-registers": Tiny(
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**DINO, "image_size": 56, "num_register_tokens": 3},
        "BitImageProcessor",
        SHORTER,
        4,
    ),
    "dinov3": Tiny(
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**VIT, "num_register_tokens": 3},
        "DINOv3ViTImageProcessor",
        SQUARE,
        4,
    ),
    "clip-vision": Tiny(
        "CLIPVisionModel", "CLIPVisionConfig", VIT, "CLIPImageProcessor", SHORTER, 1, "pooler"
    ),
    "clip": Tiny(
        "CLIPModel",
        "CLIPConfig",
        {"vision_config": VIT, "text_config": TEXT, "projection_dim": 12},
        "CLIPImageProcessor",
        SHORTER,
        1,
        "pooler",
    ),
    "siglip-vision": Tiny(
        "SiglipVisionModel",
        "SiglipVisionConfig",
        VIT,
        "SiglipImageProcessor",
        SQUARE,
        0,
        "pooler",
    ),
    "siglip-with-rest": Tiny(
        "SiglipVisionModel",
        "SiglipVisionConfig",
        {**VIT, "image_size": 37},
        "SiglipImageProcessor",
        {"size": {"height": 37, "width": 37}},
        0,
        "pooler",
    ),
    "siglip": Tiny(
        "SiglipModel",
        "SiglipConfig",
        {"vision_config": VIT, "text_config": {**TEXT, "projection_size": 24}},
        "SiglipImageProcessor",
        SQUARE,
        0,
        "pooler",
    ),
    "resnet": Tiny(
        "ResNetModel",
        "ResNetConfig",
        {**STAGES, "embedding_size": 8, "layer_type": "basic"},
        "ConvNextImageProcessor",
        CONVNET,
        0,
        "pooler",
    ),
    "convnext": Tiny(
        "ConvNextModel", "ConvNextConfig", STAGES, "ConvNextImageProcessor", CONVNET, 0, "pooler"
    ),
    "convnextv2": Tiny(
        "ConvNextV2Model",
        "ConvNextV2Config",
        STAGES,
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 384}},
        0,
        "pooler",
    ),
}
WITH_HEADS = {
    "vit": Tiny("ViTForImageClassification", "ViTConfig", VIT, "ViTImageProcessor"),
    "deit": Tiny("DeiTForImageClassificationWithTeacher", "DeiTConfig", VIT, "DeiTImageProcessor"),
    "dinov2": Tiny("Dinov2ForImageClassification", "Dinov2Config", DINO, "BitImageProcessor"),
    "clip": Tiny("CLIPVisionModelWithProjection", "CLIPVisionConfig", VIT, "CLIPImageProcessor"),
    "siglip": Tiny(
        "SiglipForImageClassification",
        "SiglipConfig",
        {"vision_config": VIT, "text_config": {**TEXT, "projection_size": 24}},
        "SiglipImageProcessor",
    ),
    "resnet": Tiny(
        "ResNetForImageClassification", "ResNetConfig", STAGES, "ConvNextImageProcessor"
    ),
    "convnext": Tiny(
        "ConvNextForImageClassification", "ConvNextConfig", STAGES, "ConvNextImageProcessor"
    ),
}


class Hub:
    """A server's hub, and what was published there."""

    def __init__(self, server: FileServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.models: dict[str, Any] = {}

    def publish(self, name: str, tiny: Tiny) -> str:
        """Publish a model as ``save_pretrained`` writes it; returns its backbone's name."""
        model = tiny.build()
        model.save_pretrained(self.folder / name)
        tiny.build_processor().save_pretrained(self.folder / name)
        files = {path.name: path.read_bytes() for path in (self.folder / name).iterdir()}
        self.models[name] = model
        return self.add(name, files)

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """Publish files as they are."""
        self.server.add_repo(f"owner/{name}", files)
        return f"hf/owner/{name}"

    def add_unnamed(self, files: dict[str, bytes]) -> str:
        """Publish files under a name of their own."""
        return self.add(f"number-{len(self.server.repos)}", files)

    def files(self, name: str) -> dict[str, bytes]:
        """What is published under a name."""
        return dict(self.server.repos[f"owner/{name}"].files)
