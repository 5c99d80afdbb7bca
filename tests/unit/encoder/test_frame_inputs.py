"""The embedding does not depend on what frames come in; no frames give no embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from support.paths import ROOT
from support.small_encoders import KINDS, encoder_of, picture
from torch import Tensor

from s2robot.preprocessing.video_files import read_video

FRAMES = picture(5, 40, 60)
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "floats": lambda f: f / 255,
    "float32 tensor, channels first": lambda f: torch.from_numpy(f).permute(0, 3, 1, 2) / 255,
    "channels first": lambda f: f.transpose(0, 3, 1, 2),
    "pictures": lambda f: [Image.fromarray(frame) for frame in f],
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda f: (frame / 255 for frame in f),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limit", [10, 128])
def test_every_form_of_the_same_frames_gives_the_same_bits(form: str, limit: int) -> None:
    encoder = encoder_of(max_tiles_per_batch=limit)
    assert torch.equal(encoder(FORMS[form](FRAMES)), encoder(FRAMES))


def test_a_video_is_encoded_frame_by_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((40, 60, 3), v, np.uint8)) for v in (0, 85, 170, 255)]
    frames[0].save(tmp_path / "run.gif", save_all=True, append_images=frames[1:])
    encoder = encoder_of(max_tiles_per_batch=10)
    assert torch.equal(encoder(str(tmp_path / "run.gif")), encoder(frames))


@pytest.mark.parametrize("geometry", ["published", "full", "padded"])
def test_a_list_of_several_sizes_gives_a_row_a_frame(geometry: str) -> None:
    encoder = encoder_of(geometry=geometry)
    frames = [FRAMES[0], picture(1, 50, 33)[0], FRAMES[1], FRAMES[2]]
    rows = torch.cat([encoder(frame) for frame in frames])
    torch.testing.assert_close(encoder(frames), rows, rtol=0, atol=1e-5)


def test_cameras_streams_and_single_frames_take_the_same_forms() -> None:
    encoder, image = encoder_of(), Image.fromarray(FRAMES[0])
    expected = encoder(FRAMES[:1])
    floats = torch.from_numpy(FRAMES[0]).permute(2, 0, 1) / 255
    for frame in (image, floats):
        assert torch.equal(encoder.encode_cameras({"front": frame})["front"], expected)
        assert torch.equal(encoder.stream()(frame), expected)
        assert torch.equal(encoder.single_frame(40, 60)(frame), expected)
        assert torch.equal(encoder.selective(budget=4)(frame), expected)


def test_a_stream_takes_a_list_with_a_frame_of_each_camera() -> None:
    encoder = encoder_of()
    assert torch.equal(encoder.stream()([*FRAMES[:2]], streams=[0, 1]), encoder(FRAMES[:2]))


EMPTY = FRAMES[:0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", ["published", "mean", "spatial_softmax"])
@pytest.mark.parametrize("merge", ["concat", "mean"])
@pytest.mark.parametrize("geometry", ["published", "padded"])
def test_no_frames_give_no_rows_of_the_right_width(
    kind: str, readout: str, merge: str, geometry: str
) -> None:
    encoder = encoder_of(kind, readout=readout, merge=merge, geometry=geometry)
    one = encoder.encode_scales(FRAMES[:1])
    for nothing in (EMPTY, [], iter([]), EMPTY / 255):
        found = encoder(nothing)
        assert found.shape == (0, encoder.embedding_dim)
        assert found.dtype == torch.float32
    scales = encoder.encode_scales(EMPTY)
    assert {s: f.shape[1:] for s, f in scales.items()} == {s: f.shape[1:] for s, f in one.items()}
    assert all(len(features) == 0 for features in scales.values())


def test_no_frames_of_one_camera_leave_the_others() -> None:
    encoder = encoder_of()
    found = encoder.encode_cameras({"front": EMPTY, "wrist": FRAMES[:2]})
    assert found["front"].shape == (0, encoder.embedding_dim)
    assert torch.equal(found["wrist"], encoder(FRAMES[:2]))


@pytest.mark.parametrize("make", ["stream", "selective"])
def test_no_frames_leave_a_stream_as_it_is(make: str) -> None:
    encoder = encoder_of()
    stream: Any = encoder.stream() if make == "stream" else encoder.selective(budget=4)
    first = stream(FRAMES[:1])
    assert stream(EMPTY).shape == (0, encoder.embedding_dim)
    assert torch.equal(stream(FRAMES[:1]), first)


def test_no_frames_need_no_call_of_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of()

    def refuse(tiles: Tensor) -> Tensor:
        raise AssertionError("the runtime was called")

    monkeypatch.setattr(encoder, "runtime", refuse)
    assert encoder(EMPTY).shape == (0, encoder.embedding_dim)


def test_a_mistake_in_a_sequence_names_the_frame() -> None:
    frames = [FRAMES[0], FRAMES[1].astype(int)]
    with pytest.raises(ValueError, match="frame 1 of the sequence: .*int64"):
        encoder_of()(iter(frames))


PAGE = ROOT / "docs" / "guides" / "embed-frames.md"
ROWS = re.findall(r"^\| `(.+?)` \| (`\((\d), D\)`|refused: .+) \|$", PAGE.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture and a video under the names of the page."""
    place = tmp_path_factory.mktemp("page")
    Image.fromarray(FRAMES[0]).save(place / "frame.png")
    video: Any
    with imageio.get_writer(place / "run.mp4", fps=10, macro_block_size=2) as video:
        for frame in FRAMES[:3]:
            video.append_data(frame)
    return place


@pytest.mark.process
@pytest.mark.parametrize(("expression", "result", "count"), ROWS)
def test_the_page_says_what_frames_may_be(
    expression: str, result: str, count: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names = {"np": np, "torch": torch, "Image": Image, "read_video": read_video}
    frames, encoder = eval(expression, names), encoder_of()
    if count:
        assert encoder(frames).shape == (int(count), encoder.embedding_dim)
        return
    with pytest.raises(ValueError, match=re.escape(result.removeprefix("refused: "))):
        encoder(frames)


def test_the_page_has_rows_of_both_kinds() -> None:
    refused = [result for _, result, _ in ROWS if result.startswith("refused")]
    table = PAGE.read_text().partition("## What frames may be")[2].partition("\n\n- ")[0]
    assert len(ROWS) == table.count("\n|") - 2
    assert 0 < len(refused) < len(ROWS)
