"""Models that timm can build, described by names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from s2robot.utils.process_state import seeded_generators

if TYPE_CHECKING:
    from torch import nn

VIT = "vision_transformer.VisionTransformer"
"""Name of the class that plain vision transformers are built from, spelled out in numbers."""

VIT_OPTIONS = (
    "norm_eps",
    "rms_norm",
    "swiglu",
    "voltron_attention",
    "mlp_ratio",
    "init_values",
    "class_token",
    "reg_tokens",
    "no_embed_class",
    "pre_norm",
    "qkv_bias",
    "qk_norm",
    "final_norm",
)
"""Options of a plain vision transformer besides its five sizes."""

VIT_SIZES = {
    "vitt": (192, 12, 3),
    "vits": (384, 12, 6),
    "vitb": (768, 12, 12),
    "vitl": (1024, 24, 16),
}
"""(width, depth, heads)"""


class BuildsModel(Protocol):
    """Interface of an architecture: it builds the model, with or without memory for weights."""

    def build(self) -> nn.Module:
        """Return the model with random weights."""
        ...

    def build_empty(self) -> nn.Module:
        """Return the model without weights; most of it takes no memory (``meta`` device)."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return everything besides the weights that decides the function, JSON-able."""
        ...


@dataclass(frozen=True)
class Architecture:
    """A model that timm can build, without its weights.

    Examples:
        >>> tiny = vit_architecture(size=32, patch=16, dim=48, depth=1, heads=3)
        >>> sum(weight.numel() for weight in tiny.build().parameters())
        65568
    """

    timm: str
    """A name in timm's registry, or ``VIT``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments: all that decides the function besides the weights. Besides timm's own:
    ``norm_eps``, ``rms_norm``, ``swiglu`` and ``voltron_attention`` (of ``VIT``), ``group_norm``
    (number of groups; of ResNets)."""

    def build(self) -> nn.Module:
        """Build the model with the same random weights each time; the global RNG is untouched."""
        with seeded_generators(0, processor_only=True):
            return self.create()

    def build_empty(self) -> nn.Module:
        """Build the model without initializing weights, which are to be assigned later.

        They lie on the ``meta`` device, or, where the model computes tables itself (rotary
        positions), in memory that is not touched before something is written there.
        """
        import torch

        with torch.device("meta"):
            model = self.create()
        saved = model.state_dict()
        if all(name in saved for name, _ in model.named_buffers()):
            return model
        if self._tables_without_maker(model, set(saved)):
            return self.build()
        model.to_empty(device="cpu")
        for module in model.modules():
            if hasattr(module, "init_non_persistent_buffers"):
                module.init_non_persistent_buffers()  # pyright: ignore[reportCallIssue]
        return model

    @staticmethod
    def _tables_without_maker(model: nn.Module, saved: set[str]) -> bool:
        """Return whether a module has a table that it cannot compute again."""
        return any(
            f"{prefix}.{name}".lstrip(".") not in saved
            and not hasattr(module, "init_non_persistent_buffers")
            for prefix, module in model.named_modules()
            for name, _ in module.named_buffers(recurse=False)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as in a model card."""
        return {"timm": self.timm, **self.options}

    def create(self) -> nn.Module:
        """Build the model on the current device, with whatever random state there is."""
        import timm
        from timm.layers import GroupNorm
        from timm.models.vision_transformer import VisionTransformer

        if self.timm == VIT:
            return VisionTransformer(**_vit_arguments(self.options))
        options = {"num_classes": 0, **self.options}
        groups = options.pop("group_norm", None)
        if groups is not None:
            options["norm_layer"] = partial(GroupNorm, num_groups=groups)
        if self.timm.split(".")[0] not in timm.list_models():
            raise ValueError(
                f"timm {timm.__version__} has no {self.timm}; a newer one may: pip install -U timm"
            )
        return timm.create_model(self.timm, **options)


def _vit_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a card as arguments of timm's class."""
    from timm.layers import GluMlp, RmsNorm
    from torch import nn

    from s2robot.backbones.voltron import VoltronBlock

    arguments = {"num_classes": 0, "dynamic_img_size": True, **options}
    norm = RmsNorm if arguments.pop("rms_norm", False) else nn.LayerNorm
    arguments["norm_layer"] = partial(norm, eps=arguments.pop("norm_eps", 1e-6))
    if arguments.pop("swiglu", False):
        arguments.update(mlp_layer=partial(GluMlp, gate_last=True), act_layer=nn.SiLU)
    if arguments.pop("voltron_attention", False):
        language_tokens = arguments.get("reg_tokens", 0)
        arguments["block_fn"] = partial(VoltronBlock, language_tokens=language_tokens)
    if arguments.get("class_token", True):
        arguments.setdefault("global_pool", "token")
    else:  # timm would name the final norm otherwise
        arguments.update(global_pool="avg", fc_norm=False)
    return arguments


def vit_architecture(
    size: int, patch: int, dim: int, depth: int, heads: int, **options: Any
) -> Architecture:
    """Return a plain vision transformer with class token and final norm (eps 1e-6).

    Args:
        size: side of the images [px].
        patch: side of a patch [px].
        dim: channels of a token.
        depth: blocks.
        heads: attention heads of a block.
        options: further entries, see ``VIT_OPTIONS``.
    """
    shape = {
        "img_size": size,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": depth,
        "num_heads": heads,
    }
    return Architecture(VIT, {**shape, **options})
