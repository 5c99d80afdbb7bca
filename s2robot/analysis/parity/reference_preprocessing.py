"""Preprocessing of published models, written anew as each package does it.

Each function takes frames ``(B, 3, H, W)`` uint8 and the side of the images [px], and returns
normalized images ``(B, 3, size, size)``. Where a package leaves antialiasing open, torchvision's
default since 0.17 is used; older versions did not antialias tensors.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def mvp_images(frames: Tensor, size: int) -> Tensor:
    """Resize on 8 bits, bicubic; the package itself takes images of the right size only."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    if short != size:
        sides = (int(size * height / short), int(size * width / short))
        frames = F.interpolate(frames, sides, mode="bicubic", antialias=True)
    return TF.normalize(TF.center_crop(frames, [size, size]) / 255, *IMAGENET)


def vc1_images(frames: Tensor, size: int) -> Tensor:
    """Apply ``vit_transforms`` to a tensor in [0, 1]; bicubic overshoot is not clipped."""
    images = TF.resize(frames / 255, [round(size * 256 / 224)], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def r3m_images(frames: Tensor, size: int) -> Tensor:
    """Apply ``forward`` of R3M (with ``obs_shape``), VIP and MCR: images that fit stay whole."""
    images = frames / 255
    if frames.shape[-2:] != (size, size):
        images = TF.resize(images, [round(size * 256 / 224)], BILINEAR, antialias=True)
        images = TF.center_crop(images, [size, size])
    return TF.normalize(images, *IMAGENET)


def liv_images(frames: Tensor, size: int) -> Tensor:
    """Apply ``transforms_tensor``: bilinear without antialiasing."""
    images = TF.resize(frames / 255, [size], BILINEAR, antialias=False)
    return TF.normalize(TF.center_crop(images, [size, size]), *CLIP)


def spa_images(frames: Tensor, size: int) -> Tensor:
    """Resize the shorter side and crop; the package fails on frames that are not square."""
    images = TF.resize(frames / 255, [size], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def d4r_images(frames: Tensor, size: int) -> Tensor:
    """Apply ``default_transform``: squashed, bilinear without antialiasing."""
    return TF.normalize(TF.resize(frames / 255, [size, size], BILINEAR, antialias=False), *IMAGENET)


def voltron_images(frames: Tensor, size: int) -> Tensor:
    """Resize on 8 bits, bilinear."""
    images = TF.center_crop(TF.resize(frames, [size], BILINEAR, antialias=True), [size, size])
    return TF.normalize(images / 255, *IMAGENET)


def theia_images(frames: Tensor, size: int) -> Tensor:
    """Apply the processor of facebook/deit-*-patch16-224: squashed by PIL, bicubic, center crop."""
    side = round(size * 256 / 224)
    return _pil_images(frames, [side, side], size)


def mae_images(frames: Tensor, size: int) -> Tensor:
    """Apply the evaluation transform of MAE and DINOv2: shorter side by PIL, bicubic, cropped."""
    return _pil_images(frames, [round(size * 256 / 224)], size)


def _pil_images(frames: Tensor, sides: list[int], size: int) -> Tensor:
    pictures = [Image.fromarray(f.permute(1, 2, 0).contiguous().numpy()) for f in frames]
    resized = [np.array(TF.resize(p, sides, BICUBIC)) for p in pictures]  # pyright: ignore[reportArgumentType]
    images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
    return TF.normalize(TF.center_crop(images, [size, size]) / 255, *IMAGENET)
