"""NaN or infinite features: a cheap check, and a search for their cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.errors import NonFiniteError
from s2robot.runtimes.eager import EagerRuntime


def all_finite(features: Sequence[Tensor]) -> bool:
    """Return whether all features are finite; a GPU is waited for once."""
    return bool(torch.stack([feature.isfinite().all() for feature in features]).all())


def non_finite(
    encoder: TileEncoder,
    features: Sequence[Tensor],
    tiles: Sequence[Tensor],
    camera: str = "",
    first: int = 0,
) -> NonFiniteError:
    """Return the error for features that are not all finite, with the weight or layer at fault.

    The tiles of these frames run once more through PyTorch, with a check after each layer.

    Args:
        encoder: the encoder that computed the features.
        features: ``(B, *stored_shape)`` of each scale.
        tiles: ``(n · B, 3, h, w)`` in 0-255 of each scale, from which the features were computed.
        camera: name of the camera, where there is one.
        first: index of the first of these frames among all.
    """
    broken = [~feature.flatten(1).isfinite().all(dim=1) for feature in features]
    frames = torch.stack(broken).any(dim=0)  # (B,)
    again = [batch.unflatten(0, (-1, len(frames)))[:, frames].flatten(0, 1) for batch in tiles]
    numbers = (frames.nonzero().flatten() + first).tolist()
    some = ", ".join(str(number) for number in numbers[:8]) + ", ..." * (len(numbers) > 8)
    start = f"camera {camera!r}: " if camera else ""
    return NonFiniteError(
        f"{start}features of frames {some} (counted from 0) are NaN or infinite: "
        f"{_cause(encoder, again)}"
    )


def _cause(encoder: TileEncoder, tiles: Sequence[Tensor]) -> str:
    """Return why features of these tiles are not finite, and how to fix it."""
    model, name = encoder.token_model.backbone.model, encoder.layout.spec.backbone
    weight = _broken_weight(model)
    if weight is not None:
        return (
            f"the weight {weight!r} of {name} is NaN or infinite; load weights that are not damaged"
        )
    layer = _broken_layer(encoder, tiles)
    if layer is None:
        return (
            f"eager PyTorch gives finite features for the same tiles, so the cause is the runtime "
            f"{encoder.runtime.name!r}; use runtime eager"
        )
    lower = encoder.layout.spec.dtype == "bfloat16"
    advice = "use dtype float32" if lower else "use other weights"
    return f"the first output of {name} with such values is that of {layer}; {advice}"


def _broken_weight(model: nn.Module) -> str | None:
    """Return the name of the first parameter or buffer that is not finite."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def _broken_layer(encoder: TileEncoder, tiles: Sequence[Tensor]) -> str | None:
    """Return the first module whose output is not finite, or None if all tokens are finite."""
    run = EagerRuntime(encoder.token_model, encoder.layout.spec.dtype == "bfloat16")
    with torch.no_grad(), _watched(encoder.token_model.backbone.model) as found:
        for batch in tiles:
            for chunk in batch.split(encoder.max_tiles_per_batch):
                finite = run(chunk).isfinite().all()
                if found:
                    return found[0]
                if not finite:
                    return "the readout of tokens, after all layers"
    return None


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose outputs are not finite, inside the context."""
    found: list[str] = []
    handles = [module.register_forward_hook(_hook(name, found)) for name, module in _named(model)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield all modules with their names; inner modules return before outer ones."""
    for name, module in model.named_modules():
        yield f"layer {name!r}" if name else "the whole model", module


def _hook(name: str, found: list[str]) -> Any:
    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        del inputs
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        tensors = [o for o in outputs if isinstance(o, Tensor) and o.is_floating_point()]
        if not all(tensor.isfinite().all() for tensor in tensors):
            found.append(f"{name} ({type(module).__name__})")

    return look
