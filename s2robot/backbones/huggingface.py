"""Backbones of any repository on the Hugging Face hub that timm or transformers can build.

What a repository says of itself is read as JSON; no code of its own is ever run.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from torch import Tensor, nn

from s2robot.backbones.cards import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneCard,
    Layout,
    Licence,
    Preprocessing,
)
from s2robot.backbones.download import Source, _hub_cache, download
from s2robot.backbones.probing import _licence, _pixels, probed_card
from s2robot.backbones.vision_cards import timm_layout
from s2robot.errors import DownloadError, S2RobotError
from s2robot.files import read_json
from s2robot.home import home

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files that may hold a repository's weights, in order of preference."""

_NAME = re.compile(r"hf/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOADERS = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"})
"""Arguments of ``timm.create_model`` that make it read other files than the repository's."""


class MissingLibraryError(S2RobotError, ImportError):
    """A backbone needs a library that is not installed, or a later version of it."""


@dataclass(frozen=True)
class Repository:
    """A model repository on the hub at one revision."""

    name: str
    """OWNER/MODEL"""
    revision: str = "main"

    def source(self, path: str) -> Source:
        """Where a file of it is."""
        return Source(f"hf:{self.name}/{path}@{self.revision}")

    def fetch(self, path: str) -> Path:
        """Download a file.

        Raises:
            DownloadError: it could not be had.
        """
        folder = home() / "downloads" / self.name.replace("/", "--")
        return download((self.source(path),), folder, Path(path).name, progress=False)

    def json(self, path: str) -> dict[str, Any]:
        """A JSON file's content; empty where the repository has no such file.

        Raises:
            DownloadError: whether there is such a file could not be learned.
        """
        try:
            return read_json(self.fetch(path))
        except DownloadError:
            if self._lacks(path):
                return {}
            raise

    def _lacks(self, path: str) -> bool:
        """Whether the hub has said, now or earlier, that there is no such file."""
        found = huggingface_hub.try_to_load_from_cache(self.name, path, _hub_cache(), self.revision)
        return found is not None and not isinstance(found, str)

    def pinned(self, config: Path) -> Repository:
        """The commit that ``config`` came from: the weights are then those of the same commit."""
        commit = config.parent.name
        return Repository(self.name, commit) if _COMMIT.fullmatch(commit) else self


def hub_card(name: str) -> BackboneCard:
    """Card of ``hf/OWNER/MODEL[@REVISION]`` from the repository's own description.

    Raises:
        ValueError: not such a name, or a model that cannot be built without code from elsewhere.
        DownloadError: the description could not be had.
        MissingLibraryError: transformers is needed and is not there.
    """
    return _hub_card(name, os.environ.get("HF_ENDPOINT", ""), _hub_cache())


@functools.lru_cache(maxsize=64)
def _hub_card(name: str, endpoint: str, cache: str | None) -> BackboneCard:
    """``hub_card``, remembered for one hub and one cache."""
    del endpoint, cache
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not of the form hf/OWNER/MODEL or hf/OWNER/MODEL@REVISION")
    named = Repository(match["repo"], match["revision"] or "main")
    path = named.fetch("config.json")
    repository, config = named.pinned(path), read_json(path)
    if "architecture" in config and "pretrained_cfg" in config:
        return _timm_card(name, repository, config)
    return _transformers_card(name, repository, config)


def _weights_fields(repository: Repository) -> dict[str, Any]:
    """What cards of both libraries say of their weights."""
    return {
        "sources": tuple(repository.source(path) for path in WEIGHTS),
        "filename": f"{repository.name.replace('/', '--')}.safetensors",
    }


def _see(repository: Repository) -> Licence:
    return Licence(f"see https://huggingface.co/{repository.name}")


# --- timm --------------------------------------------------------------------------------------


def _timm_card(name: str, repository: Repository, config: Mapping[str, Any]) -> BackboneCard:
    """Card of a repository that timm wrote."""
    architecture, pretrained = config["architecture"], config["pretrained_cfg"]
    if not timm.is_model(architecture):  # a name with a scheme would make timm download
        raise ValueError(
            f"{repository.name} needs the timm model {architecture!r}, which timm "
            f"{timm.__version__} does not have; a later one may: pip install -U timm"
        )
    options = dict(config.get("model_args") or {})
    if not _LOADERS.isdisjoint(options):
        raise ValueError(
            f"{repository.name} is refused: its model_args {sorted(options)} would make timm read "
            "files from elsewhere"
        )
    if config.get("global_pool") is not None:
        options.setdefault("global_pool", config["global_pool"])
    licence = pretrained.get("license")
    return probed_card(
        name,
        architecture,
        _pixels(pretrained),
        "timm",
        options,
        layout=timm_layout(pretrained.get("classifier") or ""),
        licence=_licence(licence) if licence else _see(repository),
        note="Published output: what timm's forward gives without a classifier.",
        **_weights_fields(repository),
    )


# --- transformers: which models, and what differs between them ----------------------------------


@dataclass(frozen=True)
class Family:
    """A vision model of transformers, and how it departs from the others."""

    model: str
    """Class of transformers."""
    fields: tuple[str, ...]
    """What of its configuration decides the function."""
    trunk: str
    """Beginning of the backbone's names in files that hold more than it."""
    processor: str
    """Image processor whose defaults hold where the repository names none."""
    published: str
    """As in cards."""
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
    """As in cards."""
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

_BY_MODEL = {family.model: family for family in FAMILIES.values()}


def _transformers() -> Any:
    """The library.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingLibraryError(
            f"this backbone is built by transformers, which cannot be imported ({error}): "
            "pip install 's2robot[hf]'"
        ) from None
    return transformers


def _transformers_class(name: str) -> Any:
    library = _transformers()
    try:
        return getattr(library, name)
    except AttributeError:
        raise MissingLibraryError(
            f"transformers {library.__version__} has no {name}; a later one has: "
            "pip install -U transformers"
        ) from None


# --- transformers: the architecture --------------------------------------------------------------


@dataclass(frozen=True)
class TransformersArchitecture:
    """A vision model that transformers can build, without its weights."""

    model: str
    """Class of transformers."""
    config: Mapping[str, Any]
    """All of its configuration that decides the function."""

    def build(self) -> nn.Module:
        """Build the model with the same random weights each time; the global RNG is untouched."""
        with _own_random_state():
            return self._create(self.config)

    def build_empty(self) -> nn.Module:
        """Build the model on the ``meta`` device, tables that no file holds apart."""
        with _own_random_state():
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
        """The architecture, JSON-able."""
        return {"transformers": self.model, "config": dict(self.config)}

    def _create(self, config: Mapping[str, Any]) -> VisionModel:
        family, cls = _BY_MODEL[self.model], _transformers_class(self.model)
        options = {} if family.has_maps else {"attn_implementation": "sdpa"}
        model = cls(cls.config_class(**config, **options), **dict(family.arguments))
        return VisionModel(family, config, model)


@contextmanager
def _own_random_state() -> Iterator[None]:
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(0)  # torch.manual_seed would reseed the GPUs too
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def _tables(model: VisionModel) -> dict[str, Tensor]:
    """Buffers that are not among the weights."""
    weights = model.model.state_dict()
    return {name: t for name, t in model.model.named_buffers() if name not in weights}


class VisionModel(nn.Module):
    """A vision model of transformers behind the methods that timm's models have.

    Its weights go by the names that they have in files on the hub, whatever the installed version
    of transformers calls its modules.
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
            for width, stride in _layer_shapes(family, config)
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
        """The weights by their published names."""
        found = self.model.state_dict(keep_vars=keep_vars)
        named = {prefix + self._published(name): tensor for name, tensor in found.items()}
        if destination is None:
            return named
        destination.update(named)
        return destination

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights by their published names."""
        own = {self._published(name): name for name in self.model.state_dict()}
        state = {own.get(name, name): tensor for name, tensor in state_dict.items()}
        return self.model.load_state_dict(state, strict=strict, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Crops ``(N, 3, h, w)`` to tokens ``(N, P + n, C)`` or maps ``(N, C, h', w')``."""
        options = {"interpolate_pos_encoding": True} if self.family.interpolates else {}
        return self.model(pixel_values=x, **options).last_hidden_state

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """What the model itself pools of its features, ``(N, D)``."""
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
        """What blocks (stages of ConvNets) return, before the final norm.

        Returns:
            For each of ``indices`` a map ``(N, C, h', w')`` and, of transformers, prefix tokens
            ``(N, P, C)``.
        """
        if norm or not intermediates_only or not return_prefix_tokens:
            raise ValueError("only intermediates, without norm and with prefix tokens, are given")
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
    """A hook that puts a block's output into ``seen``."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        seen[index] = output[0] if isinstance(output, tuple) else output

    return hook


def _layer_shapes(family: Family, config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(channels, stride [px]) of each block or stage."""
    if not family.has_maps:
        return [(config["hidden_size"], config["patch_size"])] * config["num_hidden_layers"]
    first = config.get("patch_size", 4 * (1 + config.get("downsample_in_first_stage", False)))
    return [(width, first << i) for i, width in enumerate(config["hidden_sizes"])]


# --- transformers: the card ----------------------------------------------------------------------


@dataclass(frozen=True)
class FlooredCard(BackboneCard):
    """Of a model published for images that are no multiple of its patches (SigLIP: 384 px in
    patches of 14 px): it does not see what is left over at the right and the bottom."""

    def grid_side(self, size: int) -> int:
        """As elsewhere, but tiles of the published size may leave pixels over."""
        published = size == self.preprocessing.image_size
        return size // self.stride if published else super().grid_side(size)


def _transformers_card(
    name: str, repository: Repository, content: Mapping[str, Any]
) -> BackboneCard:
    """Card of a repository that transformers wrote."""
    family = _family(repository, content)
    config = _config(family, repository, content)
    shapes = _layer_shapes(family, config)
    dim, stride = shapes[-1]
    described = repository.json("preprocessor_config.json") or repository.json(
        "processor_config.json"
    ).get("image_processor", {})
    published = "grid" if config.get("vision_use_head") is False else family.published
    pixels = _preprocessing(repository, family, described, config, stride)
    whole = family.partial_cells or pixels.image_size % stride == 0
    return (BackboneCard if whole else FlooredCard)(
        name=name,
        architecture=TransformersArchitecture(family.model, config),
        preprocessing=pixels,
        stride=stride,
        num_prefix_tokens=family.class_tokens + config.get("num_register_tokens", 0),
        dim=dim,
        origin="hub",
        published=published,
        head_dim=dim if published == "head" else None,
        partial_cells=family.partial_cells,
        layout=_layout(family, config),
        licence=_see(repository),
        note=family.note,
        **_weights_fields(repository),
    )


def _family(repository: Repository, content: Mapping[str, Any]) -> Family:
    """How such models are built here.

    Raises:
        ValueError: they are not.
    """
    model_type = content.get("model_type")
    if model_type in FAMILIES and "auto_map" not in content:
        return FAMILIES[model_type]
    why = f"its model_type {model_type!r} is none of {', '.join(FAMILIES)}"
    if "auto_map" in content:
        files = sorted({str(value).partition(".")[0] for value in content["auto_map"].values()})
        why = f"it is built by code of its own ({', '.join(files)}), which is not run"
    raise ValueError(
        f"{repository.name} cannot be used: {why}. Take the same model from timm where timm has it "
        "(timm/NAME), or give it to FrameEncoder.from_module, or convert it and describe it in a "
        "model card (file:MODEL_CARD.json)"
    )


_UNSAID = {"vision_use_head": True}
"""Defaults that earlier versions of transformers have in the models, not in configurations."""


def _config(family: Family, repository: Repository, content: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the function, the library's defaults filled in."""
    described = content.get(family.section) or {} if family.section else content
    config_class = _transformers_class(family.model).config_class
    try:
        resolved = config_class(**{k: described[k] for k in family.fields if k in described})
        found = {
            f: getattr(resolved, f) if hasattr(resolved, f) else _UNSAID[f] for f in family.fields
        }
    except Exception as error:  # what validation raises differs between the library's versions
        raise ValueError(
            f"transformers cannot read the configuration of {repository.name}: {error}"
        ) from None
    config = {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()}
    for key in {"image_size", "patch_size"} & config.keys():
        config[key] = _one_side(repository, key, config[key])
    return config


def _one_side(repository: Repository, what: str, value: Any) -> int:
    sides = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(sides) > 1:
        raise ValueError(f"{repository.name} is for images that are not square: {what} {value}")
    return int(sides.pop())


def _layout(family: Family, config: Mapping[str, Any]) -> Layout:
    """Of files that hold the backbone alone, or within a larger model."""
    extras = family.extras
    return Layout(
        dropped=(*extras, *(family.trunk + extra for extra in extras)),
        renamed=((rf"^{re.escape(family.trunk)}", ""),),
        convert=_gates(family, config),
    )


def _gates(family: Family, config: Mapping[str, Any]) -> Any:
    """What splits DINOv2's gated layers, where the installed transformers has them in two."""
    if not config.get("use_swiglu_ffn"):
        return None
    shallow = {**config, "num_hidden_layers": 1}
    names = TransformersArchitecture(family.model, shallow).build_empty().state_dict()
    return split_gates if any(".mlp.gate_proj." in name for name in names) else None


def split_gates(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split ``….mlp.weights_in`` of DINOv2's gated layers into gate and content."""
    split = {}
    for name, tensor in state.items():
        if ".mlp.weights_in." in name:
            gate, up = tensor.chunk(2)
            split[name.replace(".weights_in.", ".gate_proj.")] = gate
            split[name.replace(".weights_in.", ".up_proj.")] = up
        else:
            split[name.replace(".mlp.weights_out.", ".mlp.down_proj.")] = tensor
    return split


# --- transformers: preprocessing -----------------------------------------------------------------

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


def _preprocessing(
    repository: Repository,
    family: Family,
    described: Mapping[str, Any],
    config: Mapping[str, Any],
    stride: int,
) -> Preprocessing:
    """The rules of a repository's image processor.

    transformers from version 5 on resizes with torchvision unless told otherwise, on bytes, and in
    floats for DINOv3; earlier versions used Pillow.

    Raises:
        ValueError: it does what is not done here.
    """
    kind = _processor(repository, family, described)
    base = config.get("image_size", 224)
    sizes = {} if described else {"size": base, "crop_size": base}
    rules = PROCESSORS[kind] | sizes | {k: v for k, v in described.items() if v is not None}
    _check_rules(repository, rules)
    normalises = rules.get("do_normalize", True)
    size, resize, fit = _geometry(repository, kind, rules, base)
    if size % stride and "image_size" in config:  # the model's own size then suits it better
        size, resize = base, max(base, round(resize * base / size))
    return Preprocessing(
        size,
        tuple(rules["image_mean"]) if normalises else (0.0,) * 3,
        tuple(rules["image_std"]) if normalises else (1.0,) * 3,
        resize=resize,
        fit=fit,
        interpolation=_INTERPOLATIONS[rules["resample"]],
        resampler="float" if kind == "DINOv3ViT" else "uint8",
    )


def _processor(repository: Repository, family: Family, described: Mapping[str, Any]) -> str:
    name = described.get("image_processor_type") or described.get("feature_extractor_type")
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name or family.processor)
    if kind not in PROCESSORS:
        raise ValueError(
            f"{repository.name} prepares images by {name}, which is not among those known: "
            f"{', '.join(f'{known}ImageProcessor' for known in PROCESSORS)}"
        )
    return kind


def _check_rules(repository: Repository, rules: Mapping[str, Any]) -> None:
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
            f"{repository.name} prepares images in a way that is not known here: {', '.join(found)}"
        )


def _geometry(
    repository: Repository, kind: str, rules: Mapping[str, Any], base: int
) -> tuple[int, int, str]:
    """(side of the image, length it is resized to first [px], fit)."""
    resize, fit = _size(repository, kind, rules["size"])
    if kind == "ConvNext":  # one rule of its own: crop below 384 px, squeeze from there on
        if resize >= 384:
            return resize, resize, "both"
        return resize, int(resize / rules["crop_pct"]), "shorter"
    if not rules.get("do_center_crop"):
        return resize, resize, fit
    crop = rules.get("crop_size") or min(resize, base)
    if isinstance(crop, Mapping):
        crop = _one_side(repository, "crop_size", [crop["height"], crop["width"]])
    if crop > resize:
        raise ValueError(f"{repository.name} pads images of {resize} px to {crop} px")
    return crop, resize, fit


def _size(repository: Repository, kind: str, size: Any) -> tuple[int, str]:
    """(length [px], fit)."""
    if not isinstance(size, Mapping):
        shorter = kind in _SHORTER and not isinstance(size, (list, tuple))
        return _one_side(repository, "size", size), "shorter" if shorter else "both"
    given = {key: value for key, value in size.items() if value is not None}
    if given.keys() == {"shortest_edge"}:
        return int(given["shortest_edge"]), "shorter"
    if given.keys() == {"height", "width"}:
        return _one_side(repository, "size", [given["height"], given["width"]]), "both"
    raise ValueError(f"{repository.name} resizes images by a rule that is not known here: {size}")
