"""Backbones of any repository on the Hugging Face hub that timm or transformers can build.

A repository's description is read as JSON; no code of its own is ever run.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
from torch import Tensor

from s2robot.backbones.card import BackboneCard, Layout, License
from s2robot.backbones.download.hub import fetch_from_hub, hub_cache
from s2robot.backbones.general_models import timm_layout
from s2robot.backbones.huggingface.families import FAMILIES, Family
from s2robot.backbones.huggingface.image_processors import one_side, processor_pixels
from s2robot.backbones.huggingface.models import (
    TransformersArchitecture,
    layer_shapes,
    transformers_class,
)
from s2robot.backbones.introspection import (
    introspected_card,
    license_of,
    pixels_of,
    timm_family,
)
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from s2robot.utils.io import read_json
from s2robot.utils.paths import offline
from s2robot.utils.records import damaged

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files that may hold a repository's weights, in order of preference."""

_REMEDY = "delete it, and it is downloaded again; if that does not help, tell its authors"
_NAME = re.compile(r"hf/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOADERS = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"})
"""Arguments of ``timm.create_model`` that make it read other files than the repository's."""


@dataclass(frozen=True)
class Repository:
    """Model repository on the hub at one revision."""

    name: str
    """OWNER/MODEL"""
    revision: str = "main"

    def source(self, path: str) -> Source:
        """Return the source of one of its files."""
        return Source(f"hf:{self.name}/{path}@{self.revision}")

    def fetch(self, path: str) -> Path:
        """Return a file of the description, from the hub or its cache.

        Raises:
            DownloadError: it could not be downloaded.
        """
        source = self.source(path)
        try:
            return fetch_from_hub(source, progress=False)
        except DownloadError as error:
            raise DownloadError(
                f"cannot get {path}, which describes hf/{self.name}:\n"
                f"  {source.url}: {error}\n{_next_steps()}"
            ) from error

    def json(self, path: str) -> dict[str, Any]:
        """Return a JSON file's content; empty where the repository has no such file.

        Raises:
            DownloadError: the hub could not be asked for such a file.
        """
        try:
            return read_json(self.fetch(path), _REMEDY)
        except DownloadError:
            if self._lacks(path):
                return {}
            raise

    def _lacks(self, path: str) -> bool:
        """Return whether the hub has reported, now or earlier, that there is no such file."""
        found = huggingface_hub.try_to_load_from_cache(self.name, path, hub_cache(), self.revision)
        return found is not None and not isinstance(found, str)

    def pinned(self, config: Path) -> Repository:
        """Return the repository at the commit of ``config``, from which the weights then come."""
        commit = config.parent.name
        return Repository(self.name, commit) if _COMMIT.fullmatch(commit) else self


def _next_steps() -> str:
    """Return the advice for a missing description; weights alone do not help."""
    connect = "connect once without that variable" if offline() else "check the name, connect once"
    return (
        f"To continue, {connect}, and the hub's cache keeps the description (HF_ENDPOINT names a "
        "mirror, HF_TOKEN opens private and gated repositories); or take the model from timm "
        "(timm/NAME), or describe it in a model card (file:MODEL_CARD.json)"
    )


def hub_card(name: str) -> BackboneCard:
    """Return the card of ``hf/OWNER/MODEL[@REVISION]`` from the repository's own description.

    Raises:
        ValueError: the name has another form, or the model cannot be built without further code.
        DownloadError: the description could not be downloaded.
        MissingLibraryError: transformers is needed and is not installed.
    """
    return _hub_card(name, os.environ.get("HF_ENDPOINT", ""), hub_cache())


@functools.lru_cache(maxsize=64)
def _hub_card(name: str, endpoint: str, cache: str | None) -> BackboneCard:
    """Return ``hub_card``, cached for one hub and one cache."""
    del endpoint, cache
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not of the form hf/OWNER/MODEL or hf/OWNER/MODEL@REVISION")
    named = Repository(match["repo"], match["revision"] or "main")
    path = named.fetch("config.json")
    repository, config = named.pinned(path), read_json(path, _REMEDY)
    try:
        if "architecture" in config and "pretrained_cfg" in config:
            return _timm_card(name, repository, config)
        return _transformers_card(name, repository, config)
    except (AttributeError, LookupError, TypeError, ArithmeticError) as error:
        raise damaged(path, f"it does not describe a model: {error!r}", _REMEDY) from error


def _weights_fields(repository: Repository) -> dict[str, Any]:
    """Return the fields about weights, which cards of both libraries share."""
    return {
        "sources": tuple(repository.source(path) for path in WEIGHTS),
        "filename": f"{repository.name.replace('/', '--')}.safetensors",
    }


def _see(repository: Repository) -> License:
    return License(f"see https://huggingface.co/{repository.name}")


def _timm_card(name: str, repository: Repository, config: Mapping[str, Any]) -> BackboneCard:
    """Return the card of a repository that timm wrote."""
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
    license = pretrained.get("license")
    return introspected_card(
        name,
        architecture,
        pixels_of(pretrained),
        "timm",
        options,
        layout=timm_layout(pretrained.get("classifier") or ""),
        license=license_of(license) if license else _see(repository),
        family=timm_family(architecture, pretrained.get("tag") or ""),
        note="Published output: what timm's forward gives without a classifier.",
        **_weights_fields(repository),
    )


@dataclass(frozen=True)
class FlooredCard(BackboneCard):
    """Card of a model whose published image size is not a multiple of its patch size.

    Such a model (SigLIP: 384 px in patches of 14 px) ignores the remaining pixels at the right and
    the bottom.
    """

    def grid_side(self, size: int) -> int:
        """Return the side of the token grid; a tile of the published size may leave pixels over."""
        published = size == self.preprocessing.image_size
        return size // self.stride if published else super().grid_side(size)


def _transformers_card(
    name: str, repository: Repository, content: Mapping[str, Any]
) -> BackboneCard:
    """Return the card of a repository that transformers wrote."""
    family = _family(repository, content)
    config = _config(family, repository, content)
    shapes = layer_shapes(family, config)
    dim, stride = shapes[-1]
    described = repository.json("preprocessor_config.json") or repository.json(
        "processor_config.json"
    ).get("image_processor", {})
    published = "grid" if config.get("vision_use_head") is False else family.published
    pixels = processor_pixels(repository.name, family.processor, described, config, stride)
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
        license=_see(repository),
        family=f"{repository.name.split('/')[0]}/{content['model_type']}",
        note=family.note,
        **_weights_fields(repository),
    )


def _family(repository: Repository, content: Mapping[str, Any]) -> Family:
    """Return how models of this type are built here.

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
    """Return the settings that decide the function, with the library's defaults filled in."""
    described = content.get(family.section) or {} if family.section else content
    config_class = transformers_class(family.model).config_class
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
        config[key] = one_side(repository.name, key, config[key])
    return config


def _layout(family: Family, config: Mapping[str, Any]) -> Layout:
    """Return the layout of files that hold the backbone alone, or within a larger model."""
    extras = family.extras
    return Layout(
        dropped=(*extras, *(family.trunk + extra for extra in extras)),
        renamed=((rf"^{re.escape(family.trunk)}", ""),),
        convert=_gates(family, config),
    )


def _gates(family: Family, config: Mapping[str, Any]) -> Any:
    """Return the function that splits DINOv2's gated layers, where transformers has them in two."""
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
