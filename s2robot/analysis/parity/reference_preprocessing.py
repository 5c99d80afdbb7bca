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
    """The package takes images of the right size; others are resized on 8 bits, bicubic."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    if short != size:
        sides = (int(size * height / short), int(size * width / short))
        frames = F.interpolate(frames, sides, mode="bicubic", antialias=True)
    return TF.normalize(TF.center_crop(frames, [size, size]) / 255, *IMAGENET)


def vc1_images(frames: Tensor, size: int) -> Tensor:
    """``vit_transforms`` on a tensor in [0, 1]; bicubic overshoot is not clipped."""
    images = TF.resize(frames / 255, [round(size * 256 / 224)], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def r3m_images(frames: Tensor, size: int) -> Tensor:
    """``forward`` of R3M (told ``obs_shape``), VIP and MCR: a margin, but for images that fit."""
    images = frames / 255
    if frames.shape[-2:] != (size, size):
        images = TF.resize(images, [round(size * 256 / 224)], BILINEAR, antialias=True)
        images = TF.center_crop(images, [size, size])
    return TF.normalize(images, *IMAGENET)


def liv_images(frames: Tensor, size: int) -> Tensor:
    """``transforms_tensor``: bilinear without antialiasing."""
    images = TF.resize(frames / 255, [size], BILINEAR, antialias=False)
    return TF.normalize(TF.center_crop(images, [size, size]), *CLIP)


def spa_images(frames: Tensor, size: int) -> Tensor:
    """The package resizes the shorter side, and fails on frames that are not square."""
    images = TF.resize(frames / 255, [size], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def d4r_images(frames: Tensor, size: int) -> Tensor:
    """``default_transform``: squashed, bilinear without antialiasing."""
    return TF.normalize(TF.resize(frames / 255, [size, size], BILINEAR, antialias=False), *IMAGENET)


def voltron_images(frames: Tensor, size: int) -> Tensor:
    """Resized on 8 bits, bilinear."""
    images = TF.center_crop(TF.resize(frames, [size], BILINEAR, antialias=True), [size, size])
    return TF.normalize(images / 255, *IMAGENET)


def theia_images(frames: Tensor, size: int) -> Tensor:
    """The processor of facebook/deit-*-patch16-224: squashed by PIL, bicubic, centre crop."""
    side = round(size * 256 / 224)
    return _pil_images(frames, [side, side], size)


def mae_images(frames: Tensor, size: int) -> Tensor:
    """Evaluation transform of MAE and DINOv2: the shorter side by PIL, bicubic, centre crop."""
    return _pil_images(frames, [round(size * 256 / 224)], size)


def _pil_images(frames: Tensor, sides: list[int], size: int) -> Tensor:
    pictures = [Image.fromarray(f.permute(1, 2, 0).contiguous().numpy()) for f in frames]
    resized = [np.array(TF.resize(p, sides, BICUBIC)) for p in pictures]  # pyright: ignore[reportArgumentType]
    images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
    return TF.normalize(TF.center_crop(images, [size, size]) / 255, *IMAGENET)
