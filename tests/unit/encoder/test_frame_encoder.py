"""From frames to embeddings: the same numbers however a frame comes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.make_golden import GOLDEN, golden_embedding
from support.tiny_models import write_tiny_model
from torch import Tensor

from s2robot.backbones.backbone import packaged_card
from s2robot.backbones.card_files import weights_path
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import spec_of
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import MismatchError
from s2robot.multiscale.forward import multiscale_forward
from s2robot.preprocessing.image_pyramid import pyramid
from s2robot.utils.devices import resolve_dtype
from s2robot.utils.io import sha256_file

BASE = 32
READOUTS = ("published", "cls", "mean", "spatial_softmax")
Make = Callable[..., FrameEncoder]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Encoders of a tiny ViT: base size 32, patch 8, 24 channels."""
    card = write_tiny_model(tmp_path_factory.mktemp("tiny"))

    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"device": "cpu", **settings}
        return FrameEncoder.from_name(f"file:{card}", scales=scales, **settings)

    return build


def picture(batch: int, height: int, width: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(batch, 3, 12, 12), dtype=np.uint8)
    smooth = F.interpolate(torch.from_numpy(coarse).float(), (height, width or height))
    noise = rng.integers(-40, 40, size=smooth.shape)
    pixels = (smooth.numpy() + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def normalize(encoder: FrameEncoder, frames: np.ndarray | Tensor) -> Tensor:
    pixels = encoder.backbone.card.preprocessing
    images = torch.as_tensor(frames).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (pixels.mean, pixels.std))
    return (images - mean) / std


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.double(), b.double(), dim=-1).min())


@pytest.mark.parametrize("scales", [(1,), (1, 2), (1, 2, 3), (2, 1), (1, 1.5)])
@pytest.mark.parametrize("index", [0, -1])
def test_interpolated_base_frames_give_the_papers_operator(
    make: Make, scales: tuple[float, ...], index: int
) -> None:
    frames = picture(2, BASE)
    settings = {"input_mode": "interpolate", "resize_output_to_idx": index}
    grid = make(scales, readout="spatial_softmax", **settings)
    tokens = multiscale_forward(
        grid.backbone,
        normalize(grid, frames),
        scales=scales,
        resize_output_to_idx=index,
        num_prefix_token=1,
    )
    torch.testing.assert_close(grid(frames), tokens[:, 1:].flatten(1), rtol=0, atol=1e-4)
    first = make(scales, readout="cls", **settings)
    torch.testing.assert_close(first(frames), tokens[:, 0], rtol=0, atol=1e-4)


def test_an_encoder_is_described_in_one_line(make: Make) -> None:
    shown = repr(make((1, 2), readout="mean"))
    assert shown.startswith("FrameEncoder('")
    assert "scales [1,2], readout mean, " in shown
    assert "\n" not in shown


def test_an_unknown_option_gets_the_nearest_one() -> None:
    with pytest.raises(TypeError, match="unknown option 'geometri'.*did you mean 'geometry'"):
        spec_of("s2r-vitt16-128", **{"geometri": "full"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="unknown option 'scale'.*scales"):
        spec_of("s2r-vitt16-128", **{"scale": (1, 2)})  # pyright: ignore[reportArgumentType]


def test_native_tiles_are_cut_from_the_native_frame(make: Make) -> None:
    encoder = make((1, 2), readout="spatial_softmax", resize_output_to_idx=-1)
    frames = picture(1, 96)
    native = torch.from_numpy(frames).permute(0, 3, 1, 2)
    big = F.interpolate(native, (64, 64), mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    grid = torch.zeros(8, 8, 24)
    for i in (0, 1):
        for j in (0, 1):
            tile = big[:, i * 32 : i * 32 + 32, j * 32 : j * 32 + 32]
            _, cells = encoder.backbone.forward_tokens(normalize(encoder, tile))
            grid[i * 4 : i * 4 + 4, j * 4 : j * 4 + 4] = cells[0]
    fine = encoder(frames).view(8, 8, 48)[..., 24:]
    torch.testing.assert_close(fine, grid, rtol=0, atol=1e-4)


def test_interpolated_pyramid_shows_no_more_than_the_base(make: Make) -> None:
    native = torch.from_numpy(picture(1, 96)).permute(0, 3, 1, 2)
    pixels = make((1,)).backbone.card.preprocessing
    small, large = (32, 32), (64, 64)
    base, big = pyramid(native, [small, large], pixels, "interpolate")
    expected = F.interpolate(base.float(), size=(64, 64), mode="bicubic")
    assert torch.equal(big, expected)
    first, second = pyramid(native, [small, large], pixels)
    assert torch.equal(base, first)
    assert not torch.allclose(big, second.float(), atol=20)


def test_input_modes_differ_only_above_scale_one(make: Make) -> None:
    frames = picture(1, 96)
    native, blurred = make((1, 2)), make((1, 2), input_mode="interpolate")
    a, b = native.encode_scales(frames), blurred.encode_scales(frames)
    assert torch.equal(a[1], b[1])
    assert cosine(a[2], b[2]) < 0.9999


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("input_mode", ["native", "interpolate"])
def test_single_batched_chunked_and_stored_agree(make: Make, readout: str, input_mode: str) -> None:
    frames = picture(5, 80)
    settings: dict[str, Any] = {"readout": readout, "input_mode": input_mode}
    encoder = make((1, 2, 3), **settings)
    batched = encoder(frames)
    single = torch.cat([encoder(frame) for frame in frames])
    chunked = make((1, 2, 3), max_tiles_per_batch=3, **settings)(frames)
    scales = (1, 2, 3)
    apart: dict[float, Tensor] = {
        s: encoder.encode_scales(frames, [s])[s].half().float() for s in scales
    }
    for other in (single, chunked, encoder.merge(apart)):
        assert other.shape == batched.shape
        assert cosine(batched, other) >= 0.9999
    torch.testing.assert_close(single, batched, rtol=0, atol=1e-4)
    assert len({tuple(row) for row in batched.tolist()}) == 5


@pytest.mark.parametrize(
    ("readout", "index", "shape"),
    [
        ("published", 0, (72,)),
        ("cls", 0, (72,)),
        ("mean", -1, (72,)),
        ("spatial_softmax", 0, (4, 4, 72)),
        ("spatial_softmax", -1, (12, 12, 72)),
    ],
)
def test_shapes(make: Make, readout: str, index: int, shape: tuple[int, ...]) -> None:
    encoder = make((1, 2, 3), readout=readout, resize_output_to_idx=index)
    embedding = encoder(picture(2, 40))
    assert encoder.output_shape == shape
    assert embedding.shape == (2, encoder.embedding_dim)
    assert embedding.dtype == torch.float32
    stored = encoder.encode_scales(picture(2, 40))
    layouts = encoder.layout.scales
    assert {s: t.shape[1:] for s, t in stored.items()} == {
        s: layouts[s].stored_shape for s in (1, 2, 3)
    }


def test_a_quadrant_touches_only_its_tile(make: Make) -> None:
    encoder = make((2,), readout="spatial_softmax")
    before = picture(1, 64)
    after = before.copy()
    after[:, :32, 32:] = 255 - after[:, :32, 32:]
    changed = (encoder(before) - encoder(after)).view(8, 8, 24).abs().amax(dim=-1) > 1e-6
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, 4:] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (80, 48), (61, 48)])
def test_published_geometry_shows_the_center_and_full_the_whole(
    make: Make, height: int, width: int
) -> None:
    frames = picture(2, height, width)
    edge = frames.copy()
    edge[:, : max(0, (height - 48) // 2 - 3)] = 0  # three pixels reach into the crop when resizing
    edge[:, :, : max(0, (width - 48) // 2 - 3)] = 0
    assert torch.equal(make((1, 2))(frames), make((1, 2))(edge))
    whole = make((1, 2), geometry="full")
    assert not torch.equal(whole(frames), whole(edge))


def test_full_geometry_is_the_frame_brought_to_a_square(make: Make) -> None:
    frames = picture(1, 64, 32)
    square = np.repeat(frames, 2, axis=2)  # (1, 64, 64, 3)
    small = np.ascontiguousarray(frames[:, ::2])
    encoder = make((1,), geometry="full")
    assert cosine(encoder(square), encoder(frames)) > 0.9
    assert torch.equal(encoder(small), make((1,))(small))  # 32 x 32: nothing to be done


@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("merge", ["concat", "mean"])
def test_taps_are_the_blocks_outputs(make: Make, readout: str, merge: str) -> None:
    """Against hooks on the blocks themselves, S² done by the operator."""
    encoder = make(
        (1, 2), readout=readout, layers=(0, -1), layers_merge=merge, input_mode="interpolate"
    )
    frames = picture(2, BASE)
    model: Any = encoder.backbone.model

    def tokens(crops: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda *call: seen.append(call[-1]))
            for block in (model.blocks[0], model.blocks[-1])
        ]
        model(crops)
        for hook in hooks:
            hook.remove()
        return torch.cat(seen, dim=-1) if merge == "concat" else (seen[0] + seen[1]) / 2

    images = normalize(encoder, frames)
    expected = multiscale_forward(tokens, images, scales=(1, 2), num_prefix_token=1)
    found = encoder(frames)
    if readout == "cls":
        torch.testing.assert_close(found, expected[:, 0], rtol=0, atol=1e-4)
    elif readout == "mean":
        torch.testing.assert_close(found, expected[:, 1:].mean(dim=1), rtol=0, atol=1e-4)
    else:
        torch.testing.assert_close(found, expected[:, 1:].flatten(1), rtol=0, atol=1e-4)


def test_last_tap_is_the_class_token_before_the_final_norm(make: Make) -> None:
    frames = picture(2, BASE)
    before, after = make((1,), readout="cls", layers=(-1,)), make((1,), readout="cls")
    norm: Any = after.backbone.model.norm
    torch.testing.assert_close(norm(before(frames)), after(frames), rtol=0, atol=1e-4)
    assert not torch.allclose(before(frames), after(frames), atol=1e-2)


def test_taps_of_a_convnet_meet_on_the_last_ones_grid() -> None:
    encoder = FrameEncoder.from_name(
        "random/resnet18-224", scales=(1,), readout="spatial_softmax", layers=(3, 4), device="cpu"
    )
    assert encoder.output_shape == (7, 7, 256 + 512)
    assert encoder(picture(1, 64)).shape == (1, 7 * 7 * 768)


def test_frames_may_be_tensors_views_or_read_only(make: Make) -> None:
    encoder = make((1,))
    frames = picture(2, 40)
    expected = encoder(frames)
    locked = frames.copy()
    locked.flags.writeable = False
    reversed_twice = np.ascontiguousarray(frames[..., ::-1])[..., ::-1]
    for same in (torch.from_numpy(frames), locked, reversed_twice, frames[:, ::-1][:, ::-1]):
        assert torch.equal(encoder(same), expected)


def test_frozen_even_in_training(make: Make) -> None:
    encoder = make((1,)).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    embedding = encoder(picture(1, 40))
    head = torch.nn.Linear(encoder.embedding_dim, 1)
    head(embedding).sum().backward()  # an inference-mode tensor could not be used here
    assert head.weight.grad is not None


@pytest.mark.parametrize("name", ["random/resnet18-224", "random/vitt16-128"])
def test_bit_identical_after_training_a_policy_around_it(name: str) -> None:
    """Statistics of batch norms and every parameter, whatever the optimizer is given."""

    class Policy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = FrameEncoder.from_name(name, readout="mean", device="cpu")
            self.head = torch.nn.Linear(self.encoder.embedding_dim, 4)

        def forward(self, frames: np.ndarray) -> Tensor:
            return self.head(self.encoder(frames))

    policy = Policy()
    before = {k: v.clone() for k, v in policy.encoder.state_dict().items()}
    head = policy.head.weight.clone()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1, weight_decay=0.5)
    for step in range(3):
        policy.train()
        optimizer.zero_grad()
        policy(picture(2, 60 + step)).square().sum().backward()
        optimizer.step()
    after = policy.encoder.state_dict()
    assert not torch.equal(policy.head.weight, head)
    assert all(torch.equal(after[k], tensor) for k, tensor in before.items())
    assert not any(module.training for module in policy.encoder.modules())


def test_bfloat16_is_close(make: Make) -> None:
    exact, coarse = make((1, 2))(picture(1, 64)), make((1, 2), dtype="bfloat16")(picture(1, 64))
    assert coarse.dtype == torch.float32
    assert 0.99 < cosine(exact, coarse) < 1


def test_cost(make: Make) -> None:
    one, three = make((1,)), make((1, 2, 3))
    assert (one.tiles_per_frame, three.tiles_per_frame) == (1, 14)
    assert three.gflops_per_frame == pytest.approx(14 * one.gflops_per_frame)
    assert three.parameters_count == one.parameters_count > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, "different positive numbers"),
        ({"scales": (1, 1.0)}, "different positive numbers"),
        ({"scales": (1, -2)}, "different positive numbers"),
        ({"scales": (1, float("inf"))}, "different positive numbers"),
        ({"scales": (1, 0.2)}, r"image of 6 px, less than one cell .*\(8 px\).*scale is 0.25"),
        ({"readout": "clss"}, "unknown readout 'clss'"),
        ({"input_mode": "nativ"}, "did you mean 'native'"),
        ({"dtype": "float16"}, "available: bfloat16, float32"),
        ({"geometry": "whole"}, "unknown geometry 'whole'; available: full, padded, published"),
        ({"layers": (2,), "readout": "cls"}, "has 2 layers, so indices lie in -2 to 1"),
        ({"layers": (0, -2), "readout": "cls"}, "name a layer .* twice"),
        ({"layers": (0,)}, "readout 'published' is the model's own output"),
        ({"layers": (0,), "readout": "cls", "layers_merge": "sum"}, "available: concat, mean"),
        ({"resize_output_to_idx": 2}, "allowed are -2 to 1"),
        ({"max_tiles_per_batch": 0}, "at least 1"),
    ],
)
def test_bad_settings(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_spec_survives_json(make: Make) -> None:
    settings = {"geometry": "full", "layers": (0, 1), "layers_merge": "mean"}
    spec = make((1, 1.5, 2), readout="mean", resize_output_to_idx=-1, **settings).spec
    again = EncoderSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.digest() == spec.digest()
    assert dataclasses.replace(spec, readout="cls").digest() != spec.digest()
    fractions, numbers = (EncoderSpec("x", "y", scales=s) for s in ((1.0, 2), (1, 2)))
    assert fractions.digest() == numbers.digest()


@pytest.mark.parametrize("content", [{}, {"backbone": "x", "weights_digest": "y", "scale": [1]}])
def test_spec_with_other_fields(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="encoder spec has"):
        EncoderSpec.from_dict(content)


def test_spec_of_another_pixel_path(make: Make) -> None:
    content = {**make((1,)).spec.to_dict(), "pixel_path": 0}
    with pytest.raises(MismatchError, match="made again"):
        EncoderSpec.from_dict(content)


def test_from_spec_repeats_the_encoder(make: Make) -> None:
    encoder = make((1, 2), readout="mean", input_mode="interpolate")
    again = FrameEncoder.from_spec(encoder.spec, device="cpu")
    frames = picture(1, 70)
    assert torch.equal(encoder(frames), again(frames))


def test_from_spec_in_another_precision(make: Make) -> None:
    spec = make((1,), dtype="bfloat16").spec
    exact = FrameEncoder.from_spec(spec, device="cpu", dtype="float32")
    frames = picture(1, 40)
    assert torch.equal(exact(frames), make((1,))(frames))
    assert exact.spec.dtype == "float32"


def test_from_spec_refuses_other_weights(make: Make) -> None:
    spec = dataclasses.replace(make((1,)).spec, weights_digest="0" * 64)
    with pytest.raises(MismatchError, match="not those of the spec"):
        FrameEncoder.from_spec(spec, device="cpu")


@pytest.mark.parametrize("scales", [(), (3,), (1, 3)])
def test_only_scales_of_the_encoder(make: Make, scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"some of \(1, 2\)"):
        make((1, 2)).encode_scales(picture(1, 40), scales)


def test_merge_needs_every_scale(make: Make) -> None:
    encoder = make((1, 2))
    with pytest.raises(ValueError, match=r"features of scales \[2\] are missing"):
        encoder.merge(encoder.encode_scales(picture(1, 40), [1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gpu_agrees_with_cpu(make: Make, dtype: str) -> None:
    frames = picture(4, 80)
    on_gpu = make((1, 2), device="cuda", dtype=dtype)(frames).cpu()
    assert cosine(make((1, 2))(frames), on_gpu) >= (0.9999 if dtype == "float32" else 0.99)


@pytest.mark.skipif(not packaged_card().exists(), reason="the weights have not been made yet")
def test_shipped_encoder_gives_its_golden_embedding() -> None:
    """Regenerate with ``python tests/support/make_golden.py`` after the weights were replaced."""
    golden = json.loads(Path(GOLDEN).read_text())
    assert golden["sha256"] == sha256_file(weights_path(packaged_card()))
    embedding = torch.tensor(golden_embedding())
    torch.testing.assert_close(embedding, torch.tensor(golden["embedding"]), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("dtype", "device", "readout", "expected"),
    [
        ("auto", "cuda", "published", "float32"),
        ("auto", "cuda", "spatial_softmax", "bfloat16"),
        ("auto", "cpu", "spatial_softmax", "float32"),
        ("bfloat16", "cpu", "published", "bfloat16"),
    ],
)
def test_precision_is_full_where_published_numbers_are_asked_for(
    dtype: str, device: str, readout: str, expected: str
) -> None:
    assert resolve_dtype(dtype, device, readout) == expected
