"""NaN or infinite features are told with their cause; gradients flow where they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.small_encoders import encoder_of, loop_over_tiles, picture
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import NonFiniteError, S2RobotError


def overflowing(encoder: FrameEncoder) -> FrameEncoder:
    """Its second block's first linear layer gives infinities for bright frames alone."""
    model: Any = encoder.backbone.model
    layer = model.blocks[1].mlp.fc1
    patch = model.patch_embed

    def bright(module: Any, inputs: Any, output: Tensor) -> None:
        module.seen = inputs[0].mean(dim=(1, 2, 3)) > 1.5

    def overflow(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return torch.where(patch.seen[:, None, None], torch.inf, output)

    patch.register_forward_hook(bright)
    layer.register_forward_hook(overflow)
    return encoder


def some_bright(count: int = 4, which: int = 2) -> np.ndarray:
    frames = picture(count, 40, 40) // 2
    frames[which] = 255
    return frames


def test_the_first_layer_and_the_frame_are_named() -> None:
    encoder = overflowing(encoder_of())
    with pytest.raises(NonFiniteError, match=r"frames 2 \(.* layer 'blocks\.1\.mlp\.fc1' \(Lin"):
        encoder(some_bright())
    assert encoder(some_bright()[:2]).isfinite().all()


def test_the_camera_is_named() -> None:
    encoder = overflowing(encoder_of())
    with pytest.raises(NonFiniteError, match=r"camera 'wrist': .*frames 1 \(.*blocks\.1"):
        encoder.encode_cameras({"front": picture(1, 40, 40) // 2, "wrist": some_bright(2, 1)})


def test_frames_are_counted_over_all_batches() -> None:
    encoder = overflowing(encoder_of(max_tiles_per_batch=10))  # two frames
    with pytest.raises(NonFiniteError, match=r"frames 5 \("):
        encoder(some_bright(7, 5))
    with pytest.raises(NonFiniteError, match=r"camera 'wrist': .*frames 3 \("):
        encoder.encode_cameras({"front": picture(1, 40, 40) // 2, "wrist": some_bright(4, 3)})


def test_a_stream_tells_it_and_goes_on_with_other_frames() -> None:
    encoder = overflowing(encoder_of())
    stream, frames = encoder.stream(), some_bright()
    stream(frames[0])
    for _ in range(2):  # the features that were kept are still not finite
        with pytest.raises(NonFiniteError, match=r"blocks\.1\.mlp\.fc1"):
            stream(frames[2])
    assert torch.equal(stream(frames[1]), encoder(frames[1]))


def test_weights_that_are_not_finite_are_named() -> None:
    encoder = encoder_of()
    model: Any = encoder.backbone.model
    model.blocks[0].attn.qkv.bias.data[3] = torch.nan
    with pytest.raises(NonFiniteError, match=r"the weight 'blocks\.0\.attn\.qkv\.bias'"):
        encoder(picture(1, 40, 40))


def test_a_runtime_alone_may_be_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of()
    eager = encoder.runtime

    class Broken:
        name = "broken"
        exact = True

        def __call__(self, tiles: Tensor) -> Tensor:
            return eager(tiles) / 0

    monkeypatch.setattr(encoder, "runtime", Broken())
    with pytest.raises(NonFiniteError, match="runtime 'broken'; use runtime eager"):
        encoder(picture(1, 40, 40))


def test_no_hook_is_left_behind() -> None:
    encoder = overflowing(encoder_of())
    before = sum(len(m._forward_hooks) for m in encoder.modules())
    with pytest.raises(NonFiniteError):
        encoder(some_bright())
    assert sum(len(m._forward_hooks) for m in encoder.modules()) == before


@pytest.mark.parametrize("kind", ["registers", "convnet"])
def test_gradients_equal_those_of_loops(kind: str) -> None:
    encoder = encoder_of(kind, max_tiles_per_batch=3).requires_grad_(True)
    frames = picture(2, 64, 64)
    embedding = encoder(frames)
    embedding.square().sum().backward()
    model = encoder.backbone.model
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert found
    encoder.zero_grad()
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    base = torch.nn.functional.interpolate(images, (32, 32), mode="bicubic", antialias=True)
    parts = [loop_over_tiles(encoder, base, 1, 1)[1], loop_over_tiles(encoder, images, 2, 2)[1]]
    loops = torch.cat([grid.mean(dim=(1, 2)) for grid in parts], dim=-1)
    loops.square().sum().backward()
    for name, parameter in model.named_parameters():
        if name in found:
            assert parameter.grad is not None
            scale = float(parameter.grad.abs().max()) + 1e-6
            assert float((found[name] - parameter.grad).abs().max()) < 1e-3 * scale, name


def test_no_gradients_unless_asked_for() -> None:
    encoder, frames = encoder_of(), picture(1, 40, 40)
    assert not encoder(frames).requires_grad
    encoder.requires_grad_(True)
    assert encoder(frames).requires_grad
    with torch.no_grad():
        assert not encoder(frames).requires_grad
    assert not encoder.stream()(frames).requires_grad
    assert not encoder.training


@pytest.mark.process
@pytest.mark.slow
def test_other_runtimes_refuse_gradients() -> None:
    encoder = encoder_of()
    encoder.use_runtime("openvino")
    frames = picture(1, 40, 40)
    assert not encoder(frames).requires_grad
    encoder.requires_grad_(True)
    with pytest.raises(S2RobotError, match="openvino gives no gradients.*use runtime eager"):
        encoder(frames)
