"""Vision models as transformers builds them, with the methods of timm's models."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from s2robot.backbones.huggingface.families import BY_MODEL, Family
from s2robot.errors import S2RobotError, install_command
from s2robot.utils.process_state import seeded_generators


class MissingLibraryError(S2RobotError, ImportError):
    """A library that a backbone needs is not installed, or too old."""


def _transformers() -> Any:
    """Return the library.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingLibraryError(
            f"this backbone is built by transformers, which cannot be imported ({error}): "
            f"{install_command('hf')}"
        ) from None
    return transformers


def transformers_class(name: str) -> Any:
    """Return a class of the library.

    Raises:
        MissingLibraryError: the library is not installed, or lacks the class.
    """
    library = _transformers()
    try:
        return getattr(library, name)
    except AttributeError:
        raise MissingLibraryError(
            f"transformers {library.__version__} has no {name}; a later one has: "
            "pip install -U transformers"
        ) from None


@dataclass(frozen=True)
class TransformersArchitecture:
    """Vision model that transformers can build, without its weights."""

    model: str
    """Class of transformers."""
    config: Mapping[str, Any]
    """Entries of its configuration that decide the function."""

    def build(self) -> nn.Module:
        """Build the model with the same random weights each time; the global RNG is untouched."""
        with seeded_generators(0, processor_only=True):
            return self._create(self.config)

    def build_empty(self) -> nn.Module:
        """Build the model on the ``meta`` device, except for tables that no file holds."""
        with seeded_generators(0, processor_only=True):
            with torch.device("meta"):
                model = self._create(self.config)
            missing = _tables(model)
            if missing:  # they do not depend on the depth, so a shallow model has them too
                with torch.device("cpu"):
                    tables = _tables(self._create({**self.config, "num_hidden_layers": 1}))
                for name in missing:
                    owner, _, leaf = name.rpartition(".")
                    setattr(model.model.get_submodule(owner), leaf, tables[name])
        return model

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture, JSON-able."""
        return {"transformers": self.model, "config": dict(self.config)}

    def _create(self, config: Mapping[str, Any]) -> VisionModel:
        family, cls = BY_MODEL[self.model], transformers_class(self.model)
        options = {} if family.has_maps else {"attn_implementation": "sdpa"}
        model = cls(cls.config_class(**config, **options), **dict(family.arguments))
        return VisionModel(family, config, model)


def _tables(model: VisionModel) -> dict[str, Tensor]:
    """Return the buffers that are not among the weights."""
    weights = model.model.state_dict()
    return {name: t for name, t in model.model.named_buffers() if name not in weights}


class VisionModel(nn.Module):
    """Vision model of transformers with the methods of timm's models.

    Its weights have the names that they have in files on the hub, whatever the installed version of
    transformers calls its modules.
    """

    num_classes = 0

    def __init__(self, family: Family, config: Mapping[str, Any], model: nn.Module) -> None:
        super().__init__()
        self.family = family
        self.model = model
        self.output_fmt = "NCHW" if family.has_maps else "NLC"
        self.num_prefix_tokens = family.class_tokens + config.get("num_register_tokens", 0)
        self.feature_info = [
            {"num_chs": width, "reduction": stride}
            for width, stride in layer_shapes(family, config)
        ]
        self.num_features = self.feature_info[-1]["num_chs"]
        embeddings = getattr(model, "embeddings", None)
        if hasattr(embeddings, "mask_token"):  # of the training alone; not all files have it
            embeddings.mask_token = None  # pyright: ignore[reportOptionalMemberAccess]

    def _published(self, name: str) -> str:
        for pattern, replacement in self.family.published_names:
            name = re.sub(pattern, replacement, name)
        return name

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Return the weights by their published names; see ``torch.nn.Module.state_dict``."""
        found = self.model.state_dict(keep_vars=keep_vars)
        named = {prefix + self._published(name): tensor for name, tensor in found.items()}
        if destination is None:
            return named
        destination.update(named)
        return destination

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights by their published names; see ``torch.nn.Module.load_state_dict``."""
        own = {self._published(name): name for name in self.model.state_dict()}
        state = {own.get(name, name): tensor for name, tensor in state_dict.items()}
        return self.model.load_state_dict(state, strict=strict, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``forward_features``."""
        return self.forward_features(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return tokens ``(N, P + n, C)`` or maps ``(N, C, h', w')`` of crops ``(N, 3, h, w)``."""
        options = {"interpolate_pos_encoding": True} if self.family.interpolates else {}
        return self.model(pixel_values=x, **options).last_hidden_state

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the model's own pooled features, ``(N, D)``.

        Args:
            features: as ``forward_features`` returns them.
            pre_logits: ignored, since there is no classifier.
        """
        del pre_logits  # there is no classifier
        model: Any = getattr(self.model, "vision_model", self.model)
        if self.family.has_maps:
            pooled = features.mean(dim=(-2, -1))
            return model.layernorm(pooled) if hasattr(model, "layernorm") else pooled
        if hasattr(model, "post_layernorm") and self.num_prefix_tokens:
            return model.post_layernorm(features[:, 0])
        return model.head(features) if hasattr(model, "head") else features[:, 0]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Sequence[int],
        intermediates_only: bool = True,
        norm: bool = False,
        return_prefix_tokens: bool = True,
    ) -> list[Any]:
        """Return outputs of blocks (stages of ConvNets), before the final norm.

        Args:
            x: normalized crops ``(N, 3, h, w)``.
            indices: of blocks or stages, from 0.
            intermediates_only: only True is supported.
            norm: only False is supported.
            return_prefix_tokens: only True is supported.

        Returns:
            For each index a map ``(N, C, h', w')`` and, of transformers, prefix tokens ``(N, P,
                C)``.

        Raises:
            ValueError: an option has another value.
        """
        if norm or not intermediates_only or not return_prefix_tokens:
            raise ValueError(
                "intermediates_only=True, norm=False and return_prefix_tokens=True are required"
            )
        blocks = self._blocks()
        seen: dict[int, Tensor] = {}
        hooks = [blocks[i].register_forward_hook(_keep(seen, i)) for i in indices]
        try:
            self.forward_features(x)
        finally:
            for hook in hooks:
                hook.remove()
        return [self._map(seen[index], x) for index in indices]

    def _blocks(self) -> nn.ModuleList:
        depth = len(self.feature_info)
        lists = (m for m in self.model.modules() if isinstance(m, nn.ModuleList))
        return next(found for found in lists if len(found) == depth)

    def _map(self, output: Tensor, x: Tensor) -> Any:
        if self.family.has_maps:
            return output
        rows, columns = (side // self.feature_info[0]["reduction"] for side in x.shape[-2:])
        prefix, grid = output.tensor_split([self.num_prefix_tokens], dim=1)
        return grid.transpose(1, 2).unflatten(2, (rows, columns)), prefix


def _keep(seen: dict[int, Tensor], index: int) -> Callable[..., None]:
    """Return a hook that puts a block's output into ``seen``."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        seen[index] = output[0] if isinstance(output, tuple) else output

    return hook


def layer_shapes(family: Family, config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return (channels, stride [px]) of each block or stage.

    Args:
        family: of the model.
        config: its configuration.
    """
    if not family.has_maps:
        return [(config["hidden_size"], config["patch_size"])] * config["num_hidden_layers"]
    first = config.get("patch_size", 4 * (1 + config.get("downsample_in_first_stage", False)))
    return [(width, first << i) for i, width in enumerate(config["hidden_sizes"])]
