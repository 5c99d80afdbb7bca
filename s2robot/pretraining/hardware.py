"""Choices by hardware for pre-training: device, precision, attention, data processes."""

from __future__ import annotations

import torch
from timm.layers import Attention  # pyright: ignore[reportAttributeAccessIssue]
from torch import nn

from s2robot.runtimes.precision import bfloat16_trains_faster
from s2robot.utils.devices import resolve_device
from s2robot.utils.distributed import usable_cores

_MOST_WORKERS = 12


def training_device(name: str) -> torch.device:
    """Return the device with this name; with several GPUs, the one of this process."""
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a precision.

    Args:
        name: "float32", "bfloat16", or "auto": bfloat16 if a GPU multiplies it natively, or if a
            measurement shows that the processor is faster with it (once; it is kept).
        device: device to train on.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)  # older ones emulate it
    else:
        fast = device.type == "cpu" and bfloat16_trains_faster()
    return torch.bfloat16 if fast else torch.float32


def compiles(choice: str, device: torch.device) -> bool:
    """Return True if the model should be compiled.

    On a CPU, compiling was not faster and took half a minute at the start.

    Args:
        choice: "on", "off", or "auto": on a GPU only.
        device: device to train on.
    """
    return choice == "on" or (choice == "auto" and device.type == "cuda")


def plain_attention(model: nn.Module) -> None:
    """Replace fused attention by two matrix products, which are faster for short sequences.

    On a CPU with bfloat16, the fused kernel's gradient took two fifths of a step according to
    PyTorch's profiler.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # pyright: ignore[reportAttributeAccessIssue]


def data_workers(wanted: int, device: torch.device, processes: int) -> int:
    """Return the number of data processes for one training process; 0 means a thread.

    Args:
        wanted: number from the configuration; 0 to choose by hardware.
        device: device to train on.
        processes: number of training processes on this machine.
    """
    if wanted:
        return wanted
    if device.type == "cuda":
        return max(1, min(_MOST_WORKERS, usable_cores() // processes - 1))
    return 0
