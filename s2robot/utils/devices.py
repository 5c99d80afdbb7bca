"""Device and precision of an encoder where the user leaves them to ``auto``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


KINDS = (
    *("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga"),
    *("maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone"),
)
"""Kinds of devices of PyTorch, known before it is imported."""
_DEVICE = re.compile(rf"({'|'.join(KINDS)})(:(0|[1-9]\d?))?")


def check_device(device: str) -> None:
    """Refuse a device that no machine has; their names are known without PyTorch.

    Raises:
        ValueError: there is no such kind of device.

    >>> check_device("processor")
    Traceback (most recent call last):
    ValueError: device is 'processor'; allowed: auto, cpu, cuda, cuda:0, ...
    """
    if device != "auto" and not _DEVICE.fullmatch(device):
        raise _unknown_device(device)


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        ValueError: there is no such kind of device.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except RuntimeError:
        raise _unknown_device(device) from None


def _unknown_device(device: object) -> ValueError:
    return ValueError(f"device is {device!r}; allowed: auto, cpu, cuda, cuda:0, ...")


def present_device(device: str | torch.device) -> torch.device:
    """Return the device of a name, which this machine has.

    Settings are read by ``resolve_device`` instead, since jobs run on other machines.

    Raises:
        ValueError: there is no such kind of device, or no such GPU here.

    >>> present_device("cpu")
    device(type='cpu')
    """
    import torch

    found = resolve_device(device)
    gpus = torch.cuda.device_count() if found.type == "cuda" else 0
    if found.type == "cuda" and (found.index or 0) >= gpus:
        listed = ", ".join(f"cuda:{number}" for number in range(gpus)) or "none"
        raise ValueError(
            f"device is {str(device)!r}, but PyTorch finds no such GPU here (found: {listed}); "
            "give device cpu or auto"
        )
    return found


def resolve_dtype(dtype: str, device: str | torch.device, readout: str) -> str:
    """Return the precision of a name.

    Args:
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: where the encoder runs, or "auto".
        readout: of the encoder; "published" stays in float32, so that it equals the published
            output.

    Returns:
        ``dtype`` itself; for "auto", "bfloat16" on a GPU and "float32" elsewhere.
    """
    if dtype != "auto":
        return dtype
    fast = resolve_device(device).type == "cuda" and readout != "published"
    return "bfloat16" if fast else "float32"
