"""Vision models of transformers that can be built here, and their differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """Vision model of transformers, and how it differs from the others."""

    model: str
    """Class of transformers."""
    fields: tuple[str, ...]
    """Entries of its configuration that decide the function."""
    trunk: str
    """Beginning of the backbone's names in files that hold a larger model."""
    processor: str
    """Image processor whose defaults hold where the repository names none."""
    published: str
    """As in ``BackboneCard``."""
    section: str = ""
    """Entry of a larger model's configuration that describes the vision model."""
    extras: tuple[str, ...] = ()
    """Beginnings of names in files that are not the backbone's; ``trunk`` may precede them."""
    published_names: tuple[tuple[str, str], ...] = ()
    """(regular expression, replacement) pairs from the names that some versions of transformers
    give to modules to those of the files on the hub."""
    arguments: tuple[tuple[str, Any], ...] = ()
    """Of the class, besides the configuration."""
    interpolates: bool = False
    """Whether the model has to be asked to fit its positions to tiles of another size."""
    class_tokens: int = 1
    """Prefix tokens besides registers."""
    partial_cells: bool = False
    """As in ``BackboneCard``."""
    note: str = ""

    @property
    def has_maps(self) -> bool:
        """Whether it is a ConvNet."""
        return "hidden_sizes" in self.fields


_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
_VIT = (*_SIZES, "num_channels", "hidden_act", "layer_norm_eps", "intermediate_size", "qkv_bias")
_CLIP = tuple(field for field in _VIT if field != "qkv_bias")
_DINOV2 = (*_VIT[:-2], "qkv_bias", "mlp_ratio", "use_swiglu_ffn")
_DINOV3 = (
    *_CLIP,
    "rope_theta",
    *("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias"),
    "use_gated_mlp",
    "num_register_tokens",
)
_CONVNEXT = ("num_channels", "patch_size", "hidden_sizes", "depths", "hidden_act", "layer_norm_eps")
_RESNET = (
    *("num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act"),
    *("downsample_in_first_stage", "downsample_in_bottleneck"),
)

_ATTENTION_NAMES = (
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)
_VIT_NAMES = (
    (r"^layers\.", "encoder.layer."),
    *_ATTENTION_NAMES,
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_VISION_NAMES = ((r"^vision_model\.", ""),)

_CLIP_FAMILY = Family(
    "CLIPVisionModel",
    _CLIP,
    "vision_model.",
    "CLIP",
    "head",
    extras=(
        *("text_model.", "logit_scale", "visual_projection.", "text_projection."),
        *("embeddings.position_ids", "classifier."),
    ),
    published_names=_VISION_NAMES,
    interpolates=True,
    note="Published output: the class token after post_layernorm, not projected to the space "
    "shared with texts. Tokens come without that norm.",
)
_SIGLIP_FAMILY = Family(
    "SiglipVisionModel",
    (*_CLIP, "vision_use_head"),
    "vision_model.",
    "Siglip",
    "head",
    extras=("text_model.", "logit_scale", "logit_bias", "embeddings.position_ids", "classifier."),
    published_names=_VISION_NAMES,
    interpolates=True,
    class_tokens=0,
    note="Published output: the attention pooling.",
)

FAMILIES: dict[str, Family] = {
    "vit": Family(
        "ViTModel",
        _VIT,
        "vit.",
        "ViT",
        "cls",
        extras=("pooler.", "classifier.", "embeddings.mask_token", "decoder."),
        published_names=_VIT_NAMES,
        arguments=(("add_pooling_layer", False),),
        interpolates=True,
    ),
    "deit": Family(
        "DeiTModel",
        _VIT,
        "deit.",
        "DeiT",
        "cls",
        extras=(
            *("pooler.", "classifier.", "cls_classifier.", "distillation_classifier."),
            *("embeddings.mask_token", "decoder."),
        ),
        published_names=_VIT_NAMES,
        arguments=(("add_pooling_layer", False),),
        interpolates=True,
        class_tokens=2,
    ),
    "dinov2": Family(
        "Dinov2Model",
        _DINOV2,
        "dinov2.",
        "Bit",
        "cls",
        extras=("classifier.", "embeddings.mask_token"),
        published_names=_ATTENTION_NAMES,
    ),
    "dinov2_with_registers": Family(
        "Dinov2WithRegistersModel",
        (*_DINOV2, "num_register_tokens"),
        "dinov2_with_registers.",
        "Bit",
        "cls",
        extras=("classifier.", "embeddings.mask_token"),
        published_names=_ATTENTION_NAMES,
    ),
    "dinov3_vit": Family(
        "DINOv3ViTModel",
        _DINOV3,
        "dinov3_vit.",
        "DINOv3ViT",
        "cls",
        extras=("embeddings.mask_token",),
        published_names=((r"^model\.layer\.", "layer."),),
    ),
    "clip": Family(**{**vars(_CLIP_FAMILY), "section": "vision_config"}),
    "clip_vision_model": _CLIP_FAMILY,
    "siglip": Family(**{**vars(_SIGLIP_FAMILY), "section": "vision_config"}),
    "siglip_vision_model": _SIGLIP_FAMILY,
    "resnet": Family(
        "ResNetModel",
        _RESNET,
        "resnet.",
        "ConvNext",
        "mean",
        extras=("classifier.",),
        class_tokens=0,
        partial_cells=True,
    ),
    "convnext": Family(
        "ConvNextModel",
        (*_CONVNEXT, "layer_scale_init_value"),
        "convnext.",
        "ConvNext",
        "head",
        extras=("classifier.",),
        class_tokens=0,
    ),
    "convnextv2": Family(
        "ConvNextV2Model",
        _CONVNEXT,
        "convnextv2.",
        "ConvNext",
        "head",
        extras=("classifier.",),
        class_tokens=0,
    ),
}
"""By the configuration's ``model_type``."""

BY_MODEL = {family.model: family for family in FAMILIES.values()}
"""By the class of transformers."""
