"""What people hold becomes frames with the right pixels, or an error that says what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from s2robot.preprocessing.frame_input import as_frames, frame_chunks

LEVELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
NOISE = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)


def test_frames_keep_their_pixels_without_a_copy() -> None:
    frames = NOISE.copy()
    tensor = as_frames(frames)
    assert tensor.data_ptr() == frames.ctypes.data
    assert torch.equal(as_frames(frames[1]), tensor[1:])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_that_are_multiples_of_1_255_are_exact(dtype: str) -> None:
    floats = (LEVELS.astype(np.float64) / 255).astype(dtype)
    assert np.array_equal(as_frames(floats)[0].numpy(), LEVELS)
    if dtype != ">f4":
        assert np.array_equal(as_frames(torch.from_numpy(floats))[0].numpy(), LEVELS)


def test_halves_between_two_levels_go_to_the_even_one() -> None:
    halves = np.array([0.5, 1.5, 2.5]) / 255
    assert as_frames(halves.reshape(1, 1, 3)).flatten().tolist() == [0, 2, 2]


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_channels_may_come_first(convert: Any) -> None:
    first = np.ascontiguousarray(NOISE.transpose(0, 3, 1, 2))
    assert np.array_equal(as_frames(convert(first)).numpy(), NOISE)
    assert np.array_equal(as_frames(convert(first[0]))[0].numpy(), NOISE[0])


def test_channels_are_last_where_both_sides_are_3() -> None:
    frames = NOISE[:, :3]
    assert np.array_equal(as_frames(frames).numpy(), frames)


@pytest.mark.parametrize(
    "frames",
    [NOISE[:, ::-1], NOISE[..., ::-1], NOISE[:, :, ::2], np.broadcast_to(NOISE[:1], NOISE.shape)],
    ids=["flipped", "bgr", "strided", "read-only"],
)
def test_views_of_any_order_of_memory_are_read(frames: np.ndarray) -> None:
    assert np.array_equal(as_frames(frames).numpy(), frames)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1"])
def test_pictures_of_any_mode_become_rgb(mode: str) -> None:
    picture = Image.fromarray(NOISE[0]).convert(mode)
    assert np.array_equal(as_frames(picture)[0].numpy(), np.asarray(picture.convert("RGB")))


def test_paths_of_pictures_are_read(tmp_path: Path) -> None:
    path = tmp_path / "frame.PNG"
    Image.fromarray(NOISE[0]).save(path)
    assert np.array_equal(as_frames(path)[0].numpy(), NOISE[0])
    assert np.array_equal(as_frames([str(path), path])[1].numpy(), NOISE[0])


def test_path_objects_of_any_kind_are_paths(tmp_path: Path) -> None:
    Image.fromarray(NOISE[0]).save(tmp_path / "a.png")
    (entry,) = os.scandir(tmp_path)
    assert np.array_equal(as_frames(entry)[0].numpy(), NOISE[0])
    assert sizes([entry, NOISE[1]], 2) == [(2, 6, 5)]


def test_a_gif_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 6), 85, np.uint8)).save(tmp_path / "a.gif")
    assert as_frames([tmp_path / "a.gif"]).unique().tolist() == [85]


def test_a_folder_is_neither_picture_nor_video(tmp_path: Path) -> None:
    for read in (as_frames, lambda path: list(frame_chunks(path, 2))):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            read(tmp_path)


def test_a_list_may_mix_what_it_holds() -> None:
    first = torch.from_numpy(NOISE[1]).permute(2, 0, 1)
    mixed = [Image.fromarray(NOISE[0]), first, NOISE[0] / 255]
    assert np.array_equal(as_frames(mixed).numpy(), NOISE[[0, 1, 0]])


def test_no_frames_are_a_batch_of_none() -> None:
    assert as_frames(NOISE[:0]).shape == (0, 6, 5, 3)
    assert as_frames(np.zeros((0, 3, 6, 5), np.float32)).shape == (0, 6, 5, 3)


BLACK = np.zeros((8, 8, 3), np.uint8)
VIDEO = r"frames\.reshape\(-1, 8, 9, 3\).*embeddings\.reshape\(4, 2, -1\)"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (BLACK[..., 0], r"gray three times.*np\.stack"),
        (BLACK[None, ..., :1], r"repeat a gray channel.*axis=-1"),
        (np.zeros((2, 1, 8, 8), np.uint8), r"repeat a gray channel.*axis=-3"),
        (np.zeros((8, 8, 4), np.uint8), r"alpha channel, frames\[\.\.\., :3\]"),
        (np.zeros((4, 8, 8), np.uint8), r"alpha channel, frames\[\.\.\., :3, :, :\]"),
        (np.zeros((8, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 2, 8, 9, 3), np.uint8), VIDEO),
        (np.zeros((4, 2, 3, 8, 9), np.uint8), r"frames\.reshape\(-1, 3, 8, 9\)"),
        (np.zeros(8, np.uint8), "order"),
        (BLACK + 200.0, r"0-1; got values from 200 to 200: values in 0-255"),
        (BLACK - 0.5, r"from -0\.5 to -0\.5: undo the normalization"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (torch.full((8, 8, 3), torch.inf), "infinite"),
        (np.eye(3)[None].repeat(2, 0), "only 0 and 1"),
        (torch.full((8, 8, 3), 0.5, requires_grad=True), r"frames\.detach\(\)"),
        (torch.zeros(8, 8, 3, dtype=torch.bfloat16), "bfloat16 cannot hold 256"),
        (BLACK.astype(bool), "mask is no picture"),
        (BLACK.astype(np.uint16), "which value is white"),
        (BLACK.astype(np.int64), r"got int64 .*astype\(np\.uint8\)"),
        (BLACK.astype(object), "as a list"),
        (BLACK.astype(complex), "got complex128"),
        (np.full((8, 8, 3), 1 + 2e-7), r"to 1\.0000002: .*frames\.clip\(0, 1\)"),
        (b"\xff\xd8", "picture_files.read_picture"),
        ({"front": BLACK}.values(), r"list\(frames\) makes a list .*iter\(frames\)"),
        ([], r"empty.*\(0, H, W, 3\)"),
        ([BLACK, BLACK[:4]], r"frame 1 has the shape \(4, 8, 3\), frame 0 \(8, 8, 3\)"),
        ([BLACK, BLACK[None]], r"frame 1 of the sequence: .*batch of shape \(1, 8, 8, 3\)"),
        ([[BLACK]], "frame 0 of the sequence: it is a list"),
        ([BLACK, BLACK.astype(int)], "frame 1 of the sequence: .*int64"),
        ({"front": BLACK}, "got dict: .*encode_cameras"),
        (iter([BLACK]), r"an iterator of frames goes to the encoder itself"),
        (None, "got NoneType"),
        (Image.new("I;16", (8, 8)), "gray of more than 8 bits"),
        ("run.mp4", "run.mp4 is not a picture .*A video goes to the encoder itself"),
    ],
)
def test_what_is_refused_and_the_advice(frames: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_frames(frames)


def sizes(frames: Any, most: int) -> list[tuple[int, ...]]:
    return [tuple(chunk.shape[:3]) for chunk in frame_chunks(frames, most)]


def test_chunks_hold_frames_of_one_size_in_their_order() -> None:
    small = NOISE[0, :4]
    frames = [NOISE[0], NOISE[1], NOISE[0], small, NOISE[1]]
    assert sizes(frames, 2) == [(2, 6, 5), (1, 6, 5), (1, 4, 5), (1, 6, 5)]
    joined = [frame.numpy() for chunk in frame_chunks(iter(frames), 2) for frame in chunk]
    assert all(np.array_equal(a, b) for a, b in zip(joined, frames, strict=True))


def test_chunks_of_nothing_are_none() -> None:
    assert sizes([], 2) == sizes(NOISE[:0], 2) == sizes(iter([]), 2) == []


def test_an_iterator_is_read_no_further_than_the_chunk_needs() -> None:
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for i in range(100):
            taken.append(i)
            yield NOISE[0]

    next(frame_chunks(camera(), 4))
    assert len(taken) == 5


def test_an_animated_picture_is_read_as_a_video(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 6, 3), v, np.uint8)) for v in (0, 85, 170)]
    frames[0].save(tmp_path / "run.gif", save_all=True, append_images=frames[1:])
    chunks = list(frame_chunks(tmp_path / "run.gif", 2))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert torch.cat(chunks)[:, 0, 0, 0].tolist() == [0, 85, 170]
