"""What a machine does best while pre-training: device, precision, attention, data processes."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.layers import Attention  # pyright: ignore[reportAttributeAccessIssue]
from torch import nn

from s2robot.utils.devices import resolve_device
from s2robot.utils.distributed import usable_cores

_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16")
_MOST_WORKERS = 12


def training_device(name: str) -> torch.device:
    """The device of a name; of several GPUs the one this process has been given."""
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; "auto" is bfloat16 where the processor multiplies it natively."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device.type == "cpu" and any(flag in cpu_flags() for flag in _FAST_BFLOAT16)
    return torch.bfloat16 if fast else torch.float32


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor as Linux names them; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def compiles(choice: str, device: torch.device) -> bool:
    """Whether to compile the model; on a CPU it gained nothing and took half a minute to start."""
    return choice == "on" or (choice == "auto" and device.type == "cuda")


def plain_attention(model: nn.Module) -> None:
    """Attention by two matrix products: for short sequences the fused kernel's gradient is slow.

    On a CPU with bfloat16 it took two fifths of a step by PyTorch's profiler.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # pyright: ignore[reportAttributeAccessIssue]


def data_workers(wanted: int, device: torch.device, processes: int) -> int:
    """Processes that cut views for one training process; 0 is a thread of its own."""
    if wanted:
        return wanted
    if device.type == "cuda":
        return max(1, min(_MOST_WORKERS, usable_cores() // processes - 1))
    return 0
