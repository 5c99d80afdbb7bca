"""Names of the tensors in files of packages, and those of the architectures here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from s2robot.backbones.card import Layout
from s2robot.backbones.state_dicts import HF_VIT_NAMES, join_qkv, resample_dinov2

if TYPE_CHECKING:
    from torch import Tensor

_LITE_STEM_AND_HEAD = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
)
_LITE_FIRST_STAGE = (
    (r"^(blocks\.0\.\d+)\._depthwise_conv\.", r"\1.conv_dw."),
    (r"^(blocks\.0\.\d+)\._bn1\.", r"\1.bn1."),
    (r"^(blocks\.0\.\d+)\._project_conv\.", r"\1.conv_pw."),
    (r"^(blocks\.0\.\d+)\._bn2\.", r"\1.bn2."),
)
"""Its blocks do not widen the channels first."""
_LITE_STAGES = (
    (r"\._expand_conv\.", ".conv_pw."),
    (r"\._bn0\.", ".bn1."),
    (r"\._depthwise_conv\.", ".conv_dw."),
    (r"\._bn1\.", ".bn2."),
    (r"\._project_conv\.", ".conv_pwl."),
    (r"\._bn2\.", ".bn3."),
)


def efficientnet_lite_layout(blocks: Sequence[int]) -> Layout:
    """Return the layout of a file of ``efficientnet_lite_pytorch``, without the classifier.

    That package counts its blocks through; timm counts them within a stage.

    Args:
        blocks: number of blocks in each stage.
    """
    places = [(stage, i) for stage, count in enumerate(blocks) for i in range(count)]
    numbered = tuple(
        (rf"^_blocks\.{number}\.", f"blocks.{stage}.{i}.")
        for number, (stage, i) in enumerate(places)
    )
    return Layout(
        dropped=("_fc.",),
        renamed=(*_LITE_STEM_AND_HEAD, *numbered, *_LITE_FIRST_STAGE, *_LITE_STAGES),
    )


_ONNX_DINOV2_NAMES = (
    *HF_VIT_NAMES,
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^embeddings\.Concat_6$", "class_position"),
    (r"^embeddings\.Reshape_1$", "grid_positions"),
)
"""From transformers' DINOv2, as PyTorch exported it to ONNX; positions are named by their use."""


def onnx_dinov2_layout(side: int) -> Layout:
    """Return the layout of transformers' DINOv2 within an ONNX file of a larger model.

    Args:
        side: of the grid that the positions are brought to [tokens].
    """
    return Layout(
        prefix="backbone.",
        dropped=("decoder.",),
        renamed=_ONNX_DINOV2_NAMES,
        convert=partial(_positions_joined, side=side),
    )


def _positions_joined(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Join query, key and value, and the positions of the class token and of the grid."""
    import torch

    joined = join_qkv(state)
    positions = [joined.pop("class_position"), joined.pop("grid_positions")]  # (1, n, C)
    return resample_dinov2({**joined, "pos_embed": torch.cat(positions, dim=1)}, side)
