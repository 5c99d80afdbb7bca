"""Where an encoder runs and in which precision, where "auto" leaves it open."""

from __future__ import annotations

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def resolve_dtype(dtype: str, device: str | torch.device, readout: str) -> str:
    """The precision of a name; "auto" keeps the published output as published."""
    if dtype != "auto":
        return dtype
    fast = resolve_device(device).type == "cuda" and readout != "published"
    return "bfloat16" if fast else "float32"
