"""Weights from files: read without running code, checked, and loaded strictly."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from s2robot.backbones.cards import (
    VIT,
    Architecture,
    BackboneCard,
    CheckpointLayout,
    Preprocessing,
    vit_architecture,
    vit_card,
)
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.files import digest_of, read_json, sha256_file

StateDict = Mapping[str, Tensor]


def read_model_card(path: str | Path, name: str, source: str = "file") -> BackboneCard:
    """Read the model card that ``s2robot pretrain`` writes beside its weights.

    Raises:
        FileNotFoundError: no card there.
        CorruptFileError: the card lacks something or describes another kind of model.
    """
    content = _read_card_file(path)
    try:
        architecture = dict(content["architecture"])
        kind = architecture.pop("timm")
        sizes = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
        shape = vit_architecture(*(architecture.pop(key) for key in sizes))
        pixels = content["preprocessing"]
        preprocessing = Preprocessing(
            pixels["input_size"], tuple(pixels["mean"]), tuple(pixels["std"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is no model card of an encoder: {error!r}") from None
    if kind != VIT or architecture:
        raise CorruptFileError(
            f"{path} describes {kind!r} with unknown settings {sorted(architecture)}; "
            f"cards of {VIT!r} can be read"
        )
    return vit_card(name, shape, preprocessing, source, licence=content.get("licence", ""))


def read_model_weights(path: str | Path) -> StateDict:
    """Read the weights beside a model card, checked against its SHA-256.

    Raises:
        FileNotFoundError: the card or the weights are not there.
        CorruptFileError: the weights are not the ones that the card describes.
    """
    content, weights = _read_card_file(path), weights_path(path)
    if not weights.exists():
        raise FileNotFoundError(f"no weights at {weights}, beside their model card")
    if sha256_file(weights) != content.get("sha256"):
        raise CorruptFileError(
            f"{weights} has not the SHA-256 that its model card tells "
            f"({content.get('sha256')}); copy both files again from where they were made"
        )
    return _read_safetensors(weights)


def weights_path(path: str | Path) -> Path:
    """The weights' file of a model card: same name, ending in .safetensors."""
    return Path(path).with_suffix(".safetensors")


def _read_card_file(path: str | Path) -> dict[str, Any]:
    card = Path(path).with_suffix(".json")
    if not card.exists():
        raise FileNotFoundError(
            f"no model card at {card}; `s2robot pretrain` writes one beside its weights"
        )
    return read_json(card)


def read_checkpoint(path: str | Path, layout: CheckpointLayout | None = None) -> StateDict:
    """Read a ``.safetensors`` file, or a PyTorch file with tensors and plain containers only.

    Raises:
        FileNotFoundError: no such file.
        CorruptFileError: not such a file, or without the entry that ``layout`` names.
    """
    target = Path(path)
    if not target.exists():
        raise FileNotFoundError(f"no weights at {target}")
    if target.suffix == ".safetensors":
        return _read_safetensors(target)
    try:
        content = torch.load(target, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CorruptFileError(
            f"{target} is no PyTorch file of plain tensors; files that would run code are "
            f"refused, so convert it to safetensors where you trust it ({error})"
        ) from error
    return _select(content, layout, target) if layout else content


def _select(content: Any, layout: CheckpointLayout, path: Path) -> StateDict:
    if not isinstance(content, Mapping) or layout.key not in content:
        seen = sorted(content) if isinstance(content, Mapping) else type(content).__name__
        raise CorruptFileError(f"{path} has no entry {layout.key!r}; it holds {seen}")
    return {
        name.removeprefix(layout.prefix): tensor
        for name, tensor in content[layout.key].items()
        if name.startswith(layout.prefix) and not name.startswith(layout.dropped)
    }


def _read_safetensors(path: Path) -> StateDict:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is no whole safetensors file ({error})") from None


def load_strict(model: nn.Module, state: StateDict, origin: str) -> None:
    """Copy ``state`` into ``model``, in the model's precision.

    Raises:
        MismatchError: names or shapes differ; the message lists them.
    """
    expected = model.state_dict()
    problems = {
        "missing": [k for k in expected if k not in state],
        "unknown": [k for k in state if k not in expected],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
            for k, v in expected.items()
            if k in state and state[k].shape != v.shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{kind}: {_shorten(keys)}" for kind, keys in problems.items() if keys)
        raise MismatchError(f"the weights from {origin} do not fit the architecture: {told}")
    model.load_state_dict(state)


def _shorten(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def model_digest(
    architecture: Architecture, preprocessing: Mapping[str, Any], state: StateDict
) -> str:
    """SHA-256 of all that decides a backbone's output: architecture, preprocessing and weights.

    Weights count by value as loaded, so the container that they came in does not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest_of(
        {
            "architecture": architecture.to_dict(),
            "preprocessing": dict(preprocessing),
            "tensors": digest.hexdigest(),
        }
    )
