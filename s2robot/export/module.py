"""The whole encoder as one module for frames of one shape: pixels to embedding, nothing outside.

``FrameEncoder`` calls Pillow and PyTorch's resizing kernels, which no other runtime has. Here the
same arithmetic is made of matrix products (``s2robot.preprocessing.resize_matrices``), so that the
module can be exported and a robot's computer needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2robot.backbones import Preprocessing
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.scale_layout import ScaleLayout
from s2robot.errors import unknown
from s2robot.multiscale.tiles import split_tiles
from s2robot.preprocessing.image_pyramid import GEOMETRIES, center_crop, resized_shape, taken_whole
from s2robot.preprocessing.padding import frame_box
from s2robot.preprocessing.resize_matrices import (
    Coefficients,
    blocks_of,
    coefficients_of,
    float_coefficients,
    rows_come_first,
    used_columns,
)

Shape = tuple[int, int]
"""(height, width) [px]"""
_ROWS, _COLUMNS = -2, -1


@dataclass(frozen=True)
class Placement:
    """Steps from a frame to an image: resized, then cropped, then placed on a canvas."""

    resized: Shape
    corner: Shape
    """(top, left) of what is kept of the resized frame [px]."""
    kept: Shape
    canvas: Shape
    """Shape of the image; larger than ``kept`` only where the frame is padded."""
    offset: Shape = (0, 0)
    """(top, left) of the kept part on the canvas [px]."""


def placement(frame: Shape, pixels: Preprocessing, image: Shape, geometry: str) -> Placement:
    """Return how ``image_pyramid.image_of`` makes an image of shape ``image`` from such a frame."""
    if geometry not in GEOMETRIES:
        raise unknown("geometry", geometry, GEOMETRIES)
    size = image[0]
    if geometry == "full" or taken_whole(pixels, *frame):
        return Placement(image, (0, 0), image, image)
    if geometry == "padded":
        top, left, bottom, right = frame_box(*frame, size)
        kept = (bottom - top, right - left)
        return Placement(kept, (0, 0), kept, image, (top, left))
    length = round(pixels.resize * size / pixels.image_size)
    resized = resized_shape(pixels, *frame, length)
    numbered = torch.arange(resized[0] * resized[1]).view(resized)
    top, left = divmod(int(center_crop(numbered, size, pixels.floors_crop)[0, 0]), resized[1])
    return Placement(resized, (top, left), image, image)


class Product(nn.Module):
    """Product of images ``(B, C, h, w)`` with a banded matrix, along their rows or columns."""

    def __init__(self, matrix: np.ndarray, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.windows: list[tuple[int, int]] = []
        for i, (first, last, start, stop) in enumerate(blocks_of(matrix)):
            block = torch.from_numpy(matrix[first:last, start:stop]).float()
            self.register_buffer(f"block{i}", block if axis == _ROWS else block.T.contiguous())
            self.windows.append((start, stop))

    def forward(self, images: Tensor) -> Tensor:
        parts = []
        for i, (start, stop) in enumerate(self.windows):
            block = self.get_buffer(f"block{i}")
            window = images.narrow(self.axis, start, stop - start)
            parts.append(block @ window if self.axis == _ROWS else window @ block)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=self.axis)


class Pass(nn.Module):
    """One axis of a resize; whole numbers in 0-255 again where the arithmetic rounds."""

    def __init__(self, coefficients: Coefficients, axis: int) -> None:
        super().__init__()
        self.bits = coefficients.bits
        self.shift, matrices = coefficients.parts()
        self.products = nn.ModuleList(Product(matrix, axis) for matrix in matrices)

    def forward(self, images: Tensor) -> Tensor:
        sums = [product(images) for product in self.products]
        if not self.bits:
            return sums[0]
        lowest = sums[-1] + 2.0 ** (self.bits - 1)
        if self.shift:  # floor((c·2^s + f) / 2^b) = floor((c + floor(f / 2^s)) / 2^(b-s))
            lowest = sums[0] + torch.floor(lowest * 2.0**-self.shift)
        return torch.floor(lowest * 2.0 ** (self.shift - self.bits)).clamp(0, 255)


class ImageGraph(nn.Module):
    """Frames ``(B, 3, H, W)`` float32 in 0-255 to the image of one scale ``(B, 3, h, w)``.

    As ``s2robot.preprocessing.image_pyramid.image_of``; what is cut off costs nothing.
    """

    def __init__(self, frame: Shape, pixels: Preprocessing, image: Shape, geometry: str) -> None:
        super().__init__()
        where = placement(frame, pixels, image, geometry)
        self.window: list[tuple[int, int]] = []  # of the frame, rows and columns
        passes: list[nn.Module] = []
        rounded = False
        for axis in (_ROWS, _COLUMNS):
            first = where.corner[axis]
            last = first + where.kept[axis]
            weights = coefficients_of(frame[axis], where.resized[axis], pixels)
            if weights is None:
                self.window.append((first, last))
                continue
            start, stop = used_columns(weights.matrix[first:last])
            self.window.append((start, stop))
            passes.append(Pass(weights.cut(first, last, start, stop), axis))
            rounded = rounded or (pixels.resampler != "float" and not weights.bits)
        if not rows_come_first(frame, where.resized, pixels):
            passes.reverse()
        self.passes = nn.ModuleList(passes)
        self.rounded = rounded
        self.padding = _padding(where)
        if any(self.padding):
            floats = pixels.resampler == "float" and where.resized != frame
            self.register_buffer("canvas", _canvas(where, pixels, floats), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.window
        images = frames[:, :, top:bottom, left:right]
        for one in self.passes:
            images = one(images)
        if self.rounded:
            images = images.round().clamp(0, 255)
        if any(self.padding):
            images = F.pad(images, self.padding) + self.get_buffer("canvas")
        return images


def _padding(where: Placement) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, as ``torch.nn.functional.pad`` takes them."""
    (top, left), (height, width) = where.offset, where.kept
    return left, where.canvas[1] - left - width, top, where.canvas[0] - top - height


def _canvas(where: Placement, pixels: Preprocessing, floats: bool) -> Tensor:
    """Return the mean color around the frame, 0 where the frame comes: ``(3, h, w)``.

    In whole numbers, unless the frame within is in floats.
    """
    color = torch.tensor(pixels.mean) * 255
    color = color if floats else color.round()
    canvas = color.view(3, 1, 1).repeat(1, *where.canvas)
    (top, left), (height, width) = where.offset, where.kept
    canvas[:, top : top + height, left : left + width] = 0
    return canvas


class EnlargeGraph(nn.Module):
    """Bicubic without antialiasing between two shapes, as ``s2robot.multiscale.enlarge``."""

    def __init__(self, old: Shape, new: Shape) -> None:
        super().__init__()
        self.passes = nn.ModuleList(
            Pass(float_coefficients(old[axis], new[axis], "bicubic", False), axis)
            for axis in (_COLUMNS, _ROWS)
            if old[axis] != new[axis]
        )

    def forward(self, images: Tensor) -> Tensor:
        for one in self.passes:
            images = one(images)
        return images


class PyramidGraph(nn.Module):
    """Frames ``(B, H, W, 3)`` uint8 to one image ``(B, 3, h, w)`` float32 in 0-255 a scale.

    Args:
        encoder: whose rules these are.
        height: of the frames [px].
        width: of the frames [px].
    """

    def __init__(self, encoder: FrameEncoder, height: int, width: int) -> None:
        super().__init__()
        spec, pixels = encoder.spec, encoder.backbone.card.preprocessing
        shapes = [scale_layout.image_shape for scale_layout in encoder.scale_layouts]
        frame, base = (height, width), (pixels.image_size, pixels.image_size)
        native = spec.input_mode == "native"
        self.images = nn.ModuleList(
            ImageGraph(frame, pixels, shape, spec.geometry)
            for shape in (shapes if native else [base])
        )
        self.enlarged = nn.ModuleList(() if native else (EnlargeGraph(base, s) for s in shapes))

    def forward(self, frames: Tensor) -> list[Tensor]:
        channels_first = frames.permute(0, 3, 1, 2).float()
        images = [image(channels_first) for image in self.images]
        return [enlarge(images[0]) for enlarge in self.enlarged] or images


class EmbeddingGraph(nn.Module):
    """Frames ``(B, H, W, 3)`` uint8 of one shape to embeddings ``(B, D)`` float32.

    The numbers of ``encoder(frames)`` on a processor in float32, in operations that exporters
    know. B is free; all crops of one size go through the backbone in one batch.

    Args:
        encoder: on the CPU, in float32.
        height: of the frames [px].
        width: of the frames [px].

    Raises:
        ValueError: the encoder is elsewhere or in another precision, or there is no frame, or it
            is so large that float32 cannot reduce it exactly.
    """

    def __init__(self, encoder: FrameEncoder, height: int, width: int) -> None:
        super().__init__()
        if encoder.spec.dtype != "float32" or encoder.device.type != "cpu":
            raise ValueError(
                f"the encoder computes in {encoder.spec.dtype} on {encoder.device}; a graph is "
                "made of one with dtype float32 on the device cpu"
            )
        if height < 1 or width < 1:
            raise ValueError(f"frames must be at least 1 x 1 px; got {height} x {width}")
        self.frame_shape = (height, width)
        self.scale_layouts: list[ScaleLayout] = encoder.scale_layouts
        self.pyramid = PyramidGraph(encoder, height, width)
        self.token_model = encoder.token_model
        self.layout = encoder.layout
        self.eval()
        with torch.no_grad():  # what follows from the shape is kept now: tracing could not hold it
            self(torch.zeros(1, height, width, 3, dtype=torch.uint8))

    def forward(self, frames: Tensor) -> Tensor:
        images = self.pyramid(frames)
        tiles = [
            split_tiles(i, p.rows, p.columns)
            for i, p in zip(images, self.scale_layouts, strict=True)
        ]
        tokens = self._tokens(tiles)
        return self.layout.merge(
            {
                scale_layout.scale: self.layout.pool(tokens[i], scale_layout, self.frame_shape)
                for i, scale_layout in enumerate(self.scale_layouts)
            }
        )

    def _tokens(self, tiles: Sequence[Tensor]) -> dict[int, Tensor]:
        """``s2robot.multiscale.map_tiles`` for a number of frames that is not known yet."""
        groups: dict[Shape, list[int]] = {}
        for i, scale_layout in enumerate(self.scale_layouts):
            groups.setdefault(scale_layout.tile_shape, []).append(i)
        outputs: dict[int, Tensor] = {}
        for members in groups.values():
            counts = [self.scale_layouts[i].tiles for i in members]
            tokens = self.token_model(torch.cat([tiles[i] for i in members]))
            by_tile = tokens.unflatten(0, (sum(counts), -1))  # (n, B, P + g, C)
            for i, own in zip(members, by_tile.split(counts), strict=True):
                outputs[i] = own.flatten(0, 1)
        return outputs
