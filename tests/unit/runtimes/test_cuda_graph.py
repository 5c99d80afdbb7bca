"""CUDA graphs: what is recorded follows the weights, with operations recorded on a processor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.recorded_ops import ImitatedRecorder
from support.small_encoders import picture

from s2robot.encoder import single_frame
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import NonFiniteError
from s2robot.runtimes import cuda_graph

Make = Callable[..., FrameEncoder]
FRAMES = picture(3, 70, 90)


@pytest.fixture
def graphs(make: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Encoders with the runtime "cuda-graph" on the CPU."""
    monkeypatch.setattr(cuda_graph, "GraphRecorder", ImitatedRecorder)
    monkeypatch.setattr(single_frame, "GraphRecorder", ImitatedRecorder)
    monkeypatch.setattr(cuda_graph, "require_gpu", lambda _: None)
    monkeypatch.setattr(ImitatedRecorder, "recorded", 0)
    return lambda **settings: make((1, 2), runtime="cuda-graph", **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recorded_embeddings_have_eagers_bits(graphs: Make, make: Make, dtype: str) -> None:
    encoder, eager = graphs(dtype=dtype), make((1, 2), dtype=dtype)
    single = encoder.single_frame(70, 90)
    for seed in range(3):
        frames = picture(2, 70, 90, seed)
        assert torch.equal(encoder(frames), eager(frames))
        assert torch.equal(single(frames[0]), eager(frames[0]))


def _replace(weight: torch.Tensor) -> None:
    weight.data = weight.data * 1.5


def _change(weight: torch.Tensor) -> None:
    weight.mul_(1.5)


@pytest.mark.parametrize("change", [_replace, _change])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["attn.qkv", "norm1"])
def test_recordings_follow_weights_that_change(
    graphs: Make, dtype: str, change: Callable[[torch.Tensor], None], name: str
) -> None:
    encoder = graphs(dtype=dtype)
    single = encoder.single_frame(70, 90)
    before = encoder(FRAMES)
    change(encoder.backbone.model.get_parameter(f"blocks.0.{name}.weight"))
    expected = encoder.with_runtime("eager")(FRAMES)
    assert not torch.equal(before, expected)
    assert torch.equal(encoder(FRAMES), expected)
    assert torch.equal(single(FRAMES[0]), encoder.with_runtime("eager")(FRAMES[0]))


def test_weights_that_stay_are_recorded_once_a_number_of_tiles(graphs: Make) -> None:
    encoder = graphs()
    made = ImitatedRecorder.recorded
    for count in (1, 2, 1, 2):
        encoder(FRAMES[:count])
    assert ImitatedRecorder.recorded == made + 1  # one frame was recorded with the encoder


def test_a_recording_made_in_inference_mode_serves_outside_of_it(graphs: Make) -> None:
    with torch.inference_mode():
        encoder = graphs()
        single = encoder.single_frame(70, 90)
        inside = encoder(FRAMES), single(FRAMES[0])
    assert torch.equal(encoder(FRAMES), inside[0])
    assert torch.equal(single(FRAMES[0]), inside[1])


def test_beyond_the_most_graphs_eager_runs(
    graphs: Make, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graph, "MOST_GRAPHS", 1)
    encoder = graphs()
    made = ImitatedRecorder.recorded
    assert torch.equal(encoder(FRAMES), make((1, 2))(FRAMES))
    assert ImitatedRecorder.recorded == made


def test_a_recorded_frame_with_nan_names_the_weight(graphs: Make) -> None:
    encoder = graphs()
    single = encoder.single_frame(70, 90)
    encoder.backbone.model.get_parameter("blocks.0.attn.qkv.weight")[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"the weight 'blocks\.0\.attn\.qkv\.weight'"):
        single(FRAMES[0])
