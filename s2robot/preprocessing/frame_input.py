"""What people hold to frames: arrays, tensors, pictures, paths, lists and videos, or an error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from s2robot.preprocessing.picture_files import PICTURES, as_rgb, read_picture
from s2robot.preprocessing.video_files import read_video

Frames: TypeAlias = "np.ndarray | Tensor | Image.Image | str | os.PathLike[str] | Iterable[Any]"
"""Frames as ``as_frames`` or ``frame_chunks`` takes them."""

_FLOATS = ("float16", "float32", "float64")  # bfloat16 cannot hold 256 levels
_LIKE_PICTURES = tuple(ending for ending in PICTURES if ending != ".gif")


def as_frames(frames: Any) -> Tensor:
    """Return frames as a tensor ``(B, H, W, 3)`` uint8.

    Channels may also come first, ``(3, H, W)`` or ``(B, 3, H, W)``; they are last if both sides
    are 3. Floats must lie in 0-1; they become ``round(255 · x)``, halves to even, so that
    ``k / 255`` in float16, float32 or float64 is exactly k.

    Args:
        frames: array or tensor, ``(H, W, 3)`` or ``(B, H, W, 3)``; a Pillow image; the path of a
            picture; or a list or tuple of single frames of one size, each one of these.

    Returns:
        ``(B, H, W, 3)`` uint8, B = 1 for a single frame; B may be 0.

    Raises:
        ValueError: the frames have another type or shape, other values, or several sizes.
        FileNotFoundError: there is no such picture.
        CorruptFileError: a picture is truncated.

    Examples:
        >>> as_frames(np.full((1, 2, 3), 0.2)).tolist()
        [[[[51, 51, 51], [51, 51, 51]]]]
    """
    if isinstance(frames, (list, tuple)):
        return _stacked(frames)
    if isinstance(frames, Image.Image):
        frames = as_rgb(frames)
    elif isinstance(frames, (str, os.PathLike)):
        frames = _picture(Path(frames))
    if not isinstance(frames, (np.ndarray, Tensor)):
        raise ValueError(
            f"frames must be an array, a tensor, a picture, a path or a list of these; got "
            f"{type(frames).__name__}: {_advice_on_type(frames)}"
        )
    permuted = _channels_last(frames)
    tensor = _as_tensor(permuted) if isinstance(permuted, np.ndarray) else permuted
    tensor = tensor if tensor.dtype == torch.uint8 else _from_floats(tensor)
    return tensor.unsqueeze(0) if tensor.ndim == 3 else tensor


def frame_chunks(frames: Any, most: int) -> Iterator[Tensor]:
    """Yield frames in chunks of one size, at most ``most`` frames each, in their order.

    An iterator or a video is read as the chunks are taken, so that memory is bounded.

    Args:
        frames: as for ``as_frames``; besides, the path of a video, an iterator of single frames,
            or a list whose frames differ in size.
        most: most frames of a chunk.

    Yields:
        ``(b, H, W, 3)`` uint8; nothing if there are no frames.

    Raises:
        ValueError: as for ``as_frames``; the message names the frame.
    """
    if isinstance(frames, (str, os.PathLike)) and not _is_picture(Path(frames)):
        frames = read_video(Path(frames))
    if not isinstance(frames, (list, tuple, Iterator)):
        images = as_frames(frames)
        yield from images.split(most) if len(images) else ()
        return
    chunk: list[Tensor] = []
    for index, frame in enumerate(frames):
        image = _single(frame, index)
        if chunk and (len(chunk) == most or image.shape != chunk[0].shape):
            yield torch.stack(chunk)
            chunk = []
        chunk.append(image)
    if chunk:
        yield torch.stack(chunk)


def _single(frame: Any, index: int) -> Tensor:
    """Return one frame of a sequence as ``(H, W, 3)`` uint8."""
    try:
        if isinstance(frame, (list, tuple)):
            raise ValueError("it is a list; a list of frames must hold single frames")
        if getattr(frame, "ndim", 3) == 4:
            raise ValueError(
                f"it is a batch of shape {tuple(frame.shape)}; give single frames, or one array"
            )
        return as_frames(frame)[0]
    except ValueError as error:
        raise ValueError(f"frame {index} of the sequence: {error}") from None


def _stacked(frames: list[Any] | tuple[Any, ...]) -> Tensor:
    images = [_single(frame, index) for index, frame in enumerate(frames)]
    if not images:
        raise ValueError(
            "the list of frames is empty, so their size is unknown; an array of shape "
            "(0, H, W, 3) stands for no frames"
        )
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"frame {index} has the shape {tuple(image.shape)}, frame 0 "
                f"{tuple(images[0].shape)}; frames that are taken together must have one size: "
                "bring them to one, or call the encoder itself, which takes a list of several sizes"
            )
    return torch.stack(images)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _LIKE_PICTURES


def _picture(path: Path) -> np.ndarray:
    if path.suffix.lower() not in PICTURES and not path.is_dir():
        raise ValueError(
            f"{path} is not a picture ({', '.join(PICTURES)}). A video goes to the encoder "
            "itself, encoder(path), or frame by frame: s2robot.preprocessing.video_files.read_video"
        )
    return read_picture(path)


def _channels_last(frames: np.ndarray | Tensor) -> Any:
    """Return frames with their channels last, after a check of type and shape."""
    shape = tuple(frames.shape)
    dtype = getattr(frames.dtype, "name", None) or str(frames.dtype).removeprefix("torch.")
    found = f"got {dtype} of shape {shape}"
    if dtype != "uint8" and dtype not in _FLOATS:
        raise ValueError(
            f"frames must be uint8 in 0-255 or floats in 0-1; {found}: {_advice_on_values(dtype)}"
        )
    last = len(shape) in (3, 4) and shape[-1] == 3
    first = len(shape) in (3, 4) and shape[-3] == 3
    if not last and not first:
        raise ValueError(
            "frames must be RGB, (H, W, 3) or (B, H, W, 3), or (3, H, W) or (B, 3, H, W); "
            f"{found}: {_advice(shape)}"
        )
    if 0 in shape[-3:]:
        raise ValueError(f"frames must hold at least one pixel; {found}")
    if last:
        return frames
    if isinstance(frames, Tensor):
        return frames.movedim(-3, -1)
    return np.moveaxis(frames, -3, -1)


def _as_tensor(frames: np.ndarray) -> Tensor:
    # torch takes neither negative strides (as of BGR frames reversed), read-only memory nor
    # another order of bytes
    usable = frames.flags.writeable and min(frames.strides) >= 0 and frames.dtype.isnative
    return torch.from_numpy(frames if usable else _copied(frames))


def _copied(frames: np.ndarray) -> np.ndarray:
    """Return a copy in the plain order of memory.

    Channel by channel, which takes an eighth of the time of NumPy's own copy where channels are
    reversed or all the same memory.
    """
    copy = np.empty(frames.shape, frames.dtype.newbyteorder("="))
    for channel in range(frames.shape[-1]):
        copy[..., channel] = frames[..., channel]
    return copy


def _from_floats(frames: Tensor) -> Tensor:
    """Return floats in 0-1 as uint8: ``round(255 · x)``, halves to even."""
    if frames.requires_grad:
        raise ValueError(
            "frames require gradients, which rounding to uint8 ends; give frames.detach()"
        )
    if not frames.numel():
        return frames.to(torch.uint8)
    low, high = (float(value) for value in frames.aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"frames of floats must lie in 0-1; got values from {low:.9g} to {high:.9g}: "
            f"{_advice_on_range(low, high)}"
        )
    if high == 1 and bool(((frames == 0) | (frames == 1)).all()):
        raise ValueError(
            "frames of floats hold only 0 and 1, so it is not known whether 1 is white or nearly "
            "black; give uint8 in 0-255"
        )
    wide = frames.float() if frames.dtype == torch.float16 else frames
    return (wide * 255).round().to(torch.uint8)


def _advice_on_range(low: float, high: float) -> str:
    if not np.isfinite([low, high]).all():
        return "NaN and infinite values have no color"
    if low >= -0.25 and high <= 1.25:
        return "clip what interpolation put a little outside, frames.clip(0, 1)"
    if low >= 0 and high <= 255:
        return "values in 0-255 are given as uint8, np.rint(frames).astype(np.uint8)"
    return "undo the normalization (mean and std), or clip"


def _advice_on_values(dtype: str) -> str:
    if dtype == "bool":
        return "a mask is no picture; np.uint8(255) * mask makes it black and white"
    if dtype == "bfloat16":
        return "bfloat16 cannot hold 256 levels; give uint8"
    if dtype in ("uint16", "uint32"):
        return "which value is white is not known; scale to 0-255 and convert to uint8"
    if dtype == "object":
        return "the frames differ in size or are no arrays; give them as a list"
    return "convert values in 0-255 with .astype(np.uint8) or .to(torch.uint8)"


def _advice_on_type(frames: Any) -> str:
    if isinstance(frames, Mapping):
        return "frames of several cameras go to encoder.encode_cameras"
    if isinstance(frames, Iterator):
        return "an iterator of frames goes to the encoder itself, encoder(frames)"
    if isinstance(frames, bytes):
        return (
            "the bytes of a picture file are decoded by "
            "s2robot.preprocessing.picture_files.read_picture"
        )
    if isinstance(frames, Iterable) or hasattr(frames, "__getitem__"):
        return "list(frames) makes a list of single frames, and iter(frames) an iterator"
    return "np.asarray makes an array of most pictures"


def _advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 5 and shape[-1] == 3:
        return (
            f"join the leading axes, frames.reshape(-1, {shape[2]}, {shape[3]}, 3), and split the "
            f"result, embeddings.reshape({shape[0]}, {shape[1]}, -1)"
        )
    if len(shape) == 5 and shape[2] == 3:
        return (
            f"join the leading axes, frames.reshape(-1, 3, {shape[3]}, {shape[4]}), and split the "
            f"result, embeddings.reshape({shape[0]}, {shape[1]}, -1)"
        )
    if len(shape) in (3, 4) and shape[-1] == 4:
        return "drop the alpha channel, frames[..., :3], if nothing is transparent"
    if len(shape) in (3, 4) and shape[-3] == 4:
        return "drop the alpha channel, frames[..., :3, :, :], if nothing is transparent"
    if len(shape) in (3, 4) and shape[-1] == 1:
        return "repeat a gray channel three times, np.repeat(frames, 3, axis=-1)"
    if len(shape) in (3, 4) and shape[-3] == 1:
        return "repeat a gray channel three times, np.repeat(frames, 3, axis=-3)"
    if len(shape) in (2, 3):
        return "repeat gray three times, np.stack([frames] * 3, axis=-1); a depth map is no picture"
    return "bring the axes to one of these orders"
