"""Tilings of any shape, sizes that do not divide, merging of scales: against plain loops."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.small_encoders import KINDS, backbone_of, encoder_of, loop_over_tiles, picture
from support.tiny_models import write_tiny_model
from torch import Tensor

from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import EmbeddingLayout
from s2robot.encoder.scale_layout import aspect_tilings, tile_of
from s2robot.encoder.spec import EncoderSpec
from s2robot.experiments.variant import Variant, VariantConfig
from s2robot.multiscale.tiles import nearest_tiling
from s2robot.utils.config import from_config

SQUARE_AND_WIDE = ((1, 1), (2, 3))


def brought_to(frames: Any, height: int, width: int) -> Tensor:
    """Frames as images ``(B, 3, height, width)`` uint8."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True)


def expected(encoder: FrameEncoder, images: list[Tensor], index: int) -> Tensor:
    """The embedding from each scale's image, by loops."""
    parts = [
        loop_over_tiles(encoder, image, *tiling)
        for image, tiling in zip(images, encoder.spec.tilings, strict=True)
    ]
    readout = encoder.spec.readout
    if readout == "cls":
        return torch.cat([prefix[:, :, 0].mean(dim=0) for prefix, _ in parts], dim=-1)
    if readout in ("mean", "published"):
        return torch.cat([grid.mean(dim=(1, 2)) for _, grid in parts], dim=-1)
    rows, columns = parts[index][1].shape[1:3]
    maps = [F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), (rows, columns)) for _, grid in parts]
    return torch.cat(maps, dim=1).permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("input_mode", ["native", "interpolate"])
def test_equals_loops(kind: str, readout: str, index: int, input_mode: str) -> None:
    if kind == "convnet" and readout == "cls":
        readout = "published"  # it has no class token; published is its mean
    encoder = encoder_of(
        kind,
        readout=readout,
        geometry="full",
        tilings=SQUARE_AND_WIDE,
        resize_output_to_idx=index,
        input_mode=input_mode,
    )
    frames = picture(2, 75, 110)
    base, wide = brought_to(frames, 32, 32), brought_to(frames, 64, 96)
    if input_mode == "interpolate":
        wide = F.interpolate(base.float(), (64, 96), mode="bicubic")
    wanted = expected(encoder, [base, wide], index)
    found = encoder(frames)
    assert found.shape[1] == encoder.embedding_dim == math.prod(encoder.output_shape)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layers_merge", ["concat", "mean"])
@pytest.mark.parametrize("readout", ["cls", "spatial_softmax"])
def test_taps_equal_loops(layers_merge: str, readout: str) -> None:
    encoder = encoder_of(
        "registers",
        readout=readout,
        geometry="full",
        tilings=((1, 2), (3, 1)),
        layers=(0, 1),
        layers_merge=layers_merge,
        resize_output_to_idx=-1,
    )
    frames = picture(2, 50, 40)
    images = [brought_to(frames, 32, 64), brought_to(frames, 96, 32)]
    torch.testing.assert_close(encoder(frames), expected(encoder, images, -1), rtol=0, atol=1e-4)


def test_grids_are_rectangles() -> None:
    encoder = encoder_of(
        readout="spatial_softmax", geometry="full", tilings=((1, 1), (2, 3)), scales=(1, 2)
    )
    assert encoder.output_shape == (4, 4, 48)
    assert encoder.tiles_per_frame == 7
    assert encoder.layout.scales[2].stored_shape == (4, 4, 24)
    wide = encoder_of(
        readout="spatial_softmax",
        geometry="full",
        tilings=((1, 1), (2, 3)),
        resize_output_to_idx=-1,
    )
    assert wide.output_shape == (8, 12, 48)
    part = wide.layout.scales[2]
    assert (part.image_shape, part.tile_shape, part.tiles) == ((64, 96), (32, 32), 6)
    assert wide.layout.scales[1].stored_shape == (4, 4, 24)


def test_stored_grids_smaller_in_rows_and_larger_in_columns_lose_nothing() -> None:
    """Target 4 x 12, own 8 x 4: stored 4 x 4, then columns are repeated."""
    encoder = encoder_of(
        readout="spatial_softmax", geometry="full", tilings=((1, 3), (2, 1)), scales=(1, 2)
    )
    assert encoder.layout.scales[2].stored_shape == (4, 4, 24)
    frames = picture(1, 40, 90)
    images = [brought_to(frames, 32, 96), brought_to(frames, 64, 32)]
    torch.testing.assert_close(encoder(frames), expected(encoder, images, 0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("geometry", ["full", "published"])
def test_natural_squares_change_nothing(geometry: str) -> None:
    frames = picture(2, 70, 70)
    plain = encoder_of(geometry=geometry)
    spelled = encoder_of(geometry=geometry, tilings=((1, 1), (2, 2)))
    assert torch.equal(plain(frames), spelled(frames))


def test_stream_is_bit_identical_with_wide_tilings() -> None:
    encoder = encoder_of(geometry="full", tilings=SQUARE_AND_WIDE)
    stream, frame = encoder.stream(), picture(1, 64, 96)
    stream(frame)
    frame[0, :32, 64:] ^= 255  # the third tile of the first row
    assert torch.equal(stream(frame), encoder(frame))
    assert stream.stats.reused == {1: 0, 2: 5}


@pytest.mark.parametrize(
    ("frame_shape", "most", "tiling"),
    [
        ((480, 640), 1, (1, 1)),
        ((480, 640), 4, (2, 2)),  # 1 x 2 is farther off by ratio: 2 / 1.33 > 1.33
        ((480, 640), 9, (2, 3)),
        ((480, 640), 12, (3, 4)),
        ((640, 480), 12, (4, 3)),
        ((100, 400), 9, (1, 4)),
        ((400, 100), 9, (4, 1)),
        ((100, 100), 9, (3, 3)),
        ((1, 5000), 4, (1, 4)),
        ((720, 1280), 16, (3, 5)),
    ],
)
def test_nearest_tiling(frame_shape: tuple[int, int], most: int, tiling: tuple[int, int]) -> None:
    assert nearest_tiling(frame_shape, most) == tiling


def test_nearest_tiling_against_every_tiling() -> None:
    for height, width, most in ((480, 640, 25), (97, 301, 16), (1080, 1920, 36), (300, 200, 7)):
        every = [(r, c) for r in range(1, most + 1) for c in range(1, most + 1) if r * c <= most]
        off = {t: abs(math.log(t[1] / t[0] * height / width)) for t in every}
        least = min(off.values())
        near = [t for t in every if off[t] < least + 1e-12]
        assert nearest_tiling((height, width), most) == max(near, key=lambda t: t[0] * t[1])


@pytest.mark.parametrize(("shape", "most"), [((0, 5), 4), ((5, 5), 0)])
def test_nearest_tiling_of_nothing(shape: tuple[int, int], most: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        nearest_tiling(shape, most)


def test_only_the_largest_scale_follows_the_frame() -> None:
    assert aspect_tilings((1, 2, 3), 32, (480, 640)) == ((1, 1), (2, 2), (2, 3))
    assert aspect_tilings((3, 1), 32, (640, 480)) == ((3, 2), (1, 1))


def test_from_name_takes_the_aspect_ratio_of_frames(tmp_path: Any) -> None:
    card = f"file:{write_tiny_model(tmp_path)}"
    settings: dict[str, Any] = {"geometry": "full", "device": "cpu", "readout": "mean"}
    found = FrameEncoder.from_name(card, (1, 3), aspect_of=(48, 64), **settings)
    given = FrameEncoder.from_name(card, (1, 3), tilings=((1, 1), (2, 3)), **settings)
    assert found.spec == given.spec
    again = FrameEncoder.from_spec(found.spec, device="cpu")
    frames = picture(1, 48, 64)
    assert torch.equal(again(frames), found(frames))
    with pytest.raises(ValueError, match="not both"):
        FrameEncoder.from_name(card, (1,), aspect_of=(4, 4), tilings=((1, 1),), **settings)
    with pytest.raises(ValueError, match="needs geometry 'full'"):
        FrameEncoder.from_name(card, (1, 3), aspect_of=(48, 64), device="cpu")


@pytest.mark.parametrize(
    ("scale", "stride", "base", "partial", "tile"),
    [
        (1.3, 16, 224, False, 144),  # 291 px: 2 tiles of 145.5
        (1, 16, 224, False, 224),
        (2, 14, 224, False, 224),
        (1.5, 14, 224, False, 168),
        (0.1, 16, 224, False, 16),  # 22 px: 16 is nearer than 32
        (0.11, 16, 224, False, 32),  # 24 px lies in the middle: the larger
        (1.999, 16, 224, False, 224),
        (1.3, 32, 224, True, 146),  # 145.5 px, any whole number suits
        (0.01, 32, 224, True, 2),
        (2, 14, 384, False, 384),  # published for a size that is no multiple of its cells
        (1.98, 14, 384, False, 378),  # 380 px: 378 px is nearer than 384 px
    ],
)
def test_nearest_tile(scale: float, stride: int, base: int, partial: bool, tile: int) -> None:
    card = backbone_of("one prefix").card
    pixels = dataclasses.replace(card.preprocessing, image_size=base, resize=base)
    card = dataclasses.replace(card, stride=stride, partial_cells=partial, preprocessing=pixels)
    assert tile_of(scale, card) == tile


def test_sizes_that_do_not_divide_equal_loops() -> None:
    """1.3 of 32 px is 41 px: two tiles of 20.5 px a side, which become 24 px."""
    encoder = encoder_of(scales=(1, 1.3), readout="mean", geometry="full")
    assert encoder.layout.scales[1.3].image_shape == (48, 48)
    frames = picture(2, 60, 90)
    _, base = loop_over_tiles(encoder, brought_to(frames, 32, 32), 1, 1)
    _, large = loop_over_tiles(encoder, brought_to(frames, 48, 48), 2, 2)
    wanted = torch.cat([base.mean(dim=(1, 2)), large.mean(dim=(1, 2))], dim=-1)
    torch.testing.assert_close(encoder(frames), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("readout", ["mean", "spatial_softmax"])
@pytest.mark.parametrize("merge", ["concat", "sum", "mean"])
@pytest.mark.parametrize("weights", [(), (0.5, 2)])
def test_merge_and_weights(readout: str, merge: str, weights: tuple[float, ...]) -> None:
    frames = picture(2, 50, 50)
    settings: dict[str, Any] = {"readout": readout, "resize_output_to_idx": -1}
    encoder = encoder_of(merge=merge, scale_weights=weights, **settings)
    plain = encoder_of(**settings)(frames).unflatten(1, encoder_of(**settings).output_shape)
    first, second = plain.split(24, dim=-1)
    first, second = first * (weights or (1, 1))[0], second * (weights or (1, 1))[1]
    wanted = {
        "concat": torch.cat([first, second], dim=-1),
        "sum": first + second,
        "mean": (first + second) / 2,
    }[merge]
    found = encoder(frames)
    assert encoder.output_shape == tuple(wanted.shape[1:])
    torch.testing.assert_close(found, wanted.flatten(1), rtol=1e-5, atol=1e-6)
    parts = encoder.encode_scales(frames)
    assert torch.equal(parts[2], encoder_of(**settings).encode_scales(frames)[2])


@pytest.mark.parametrize("readout", ["mean", "spatial_softmax"])
@pytest.mark.parametrize("merge", ["concat", "mean"])
def test_copies_repeat_the_merged_channels(readout: str, merge: str) -> None:
    frames = picture(2, 50, 50)
    encoder = encoder_of(readout=readout, merge=merge)
    plain = encoder(frames).unflatten(1, encoder.output_shape)
    doubled = encoder_of(readout=readout, merge=merge, copies=2)
    assert doubled.output_shape == (*encoder.output_shape[:-1], 2 * encoder.output_shape[-1])
    found = doubled(frames).unflatten(1, doubled.output_shape)
    assert torch.equal(found, torch.cat([plain, plain], dim=-1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"copies": 0}, "copies is 0; allowed: a whole number from 1 to 16"),
        ({"copies": 17}, "copies is 17; allowed"),
        ({"copies": 1.5}, "copies is 1.5; allowed"),
        ({"tilings": ((1, 1),)}, r"one pair .* for each of the scales \(1, 2\)"),
        ({"tilings": ((1, 1), (2, 0))}, "whole numbers from 1"),
        ({"tilings": ((1, 1), (2, 2.5))}, "whole numbers from 1"),
        ({"tilings": ((1, 1), (2, 2, 2))}, "one pair"),
        ({"tilings": (1, 2)}, "one pair"),
        ({"tilings": ((1, 1), (2, 3))}, "needs geometry 'full'.*is 'published'"),
        ({"tilings": ((1, 1), (2, 3)), "geometry": "padded"}, "needs geometry 'full'"),
        ({"merge": "max"}, "unknown merge 'max'; available: concat, mean, sum"),
        ({"scale_weights": (1,)}, r"for each of the scales \(1, 2\)"),
        ({"scale_weights": (1, -1)}, "one number from 0"),
        ({"scale_weights": (0, 0)}, "not all 0"),
        ({"scale_weights": (1, math.nan)}, "one number from 0"),
        ({"scale_weights": (1, math.inf)}, "one number from 0"),
        ({"scales": (1, 16)}, "into 257 tiles; at most 256 are allowed"),
        ({"scales": (0.1,)}, r"image of 3 px, less than one cell .*\(8 px\).* scale is 0.25"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder_of(**settings)


def test_as_many_tiles_as_are_allowed() -> None:
    card = backbone_of("one prefix").card
    assert EmbeddingLayout(EncoderSpec("x", "", scales=(16,)), card).tiles == 256


def test_specs_without_the_fields_keep_their_digest() -> None:
    old = {
        "backbone": "x",
        "weights_digest": "y",
        "scales": [1, 2],
        "input_mode": "native",
        "readout": "mean",
        "resize_output_to_idx": 0,
        "dtype": "float32",
        "geometry": "full",
        "taps": [],
        "taps_merge": "concat",
        "pixel_path": 2,
    }
    spec = EncoderSpec.from_dict(old)
    assert spec.to_dict() == old
    assert spec.digest() == EncoderSpec.from_dict({**old, "merge": "concat"}).digest()


def test_new_fields_survive_json_and_change_the_digest() -> None:
    plain = EncoderSpec("x", "y", scales=(1, 2), geometry="full")
    settings: dict[str, Any] = {
        "tilings": SQUARE_AND_WIDE,
        "merge": "sum",
        "scale_weights": (1, 0.5),
    }
    digests = {plain.digest()}
    for name, value in settings.items():
        spec = EncoderSpec("x", "y", scales=(1, 2), geometry="full", **{name: value})
        assert EncoderSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        digests.add(spec.digest())
    assert len(digests) == 4


class Frames:
    """Frames of a data set that is made of nothing else."""

    source = {"camera": "none"}
    digest = "frames"

    def __init__(self, count: int) -> None:
        self.frames = picture(count, 40, 60)
        self.num_frames = count

    def __len__(self) -> int:
        return self.num_frames

    def read(self, start: int, stop: int) -> Any:
        return self.frames[start:stop]


def test_store_shares_parts_between_merges_but_not_between_tilings(tmp_path: Any) -> None:
    demos, store = Frames(3), FeatureStore(tmp_path)

    def folders(**settings: Any) -> set[str]:
        encoder = encoder_of(geometry="full", **settings)
        store.ensure(demos, demos, encoder, progress=False)
        loaded = store.load(demos, demos, encoder).float()
        torch.testing.assert_close(loaded, encoder(demos.frames), rtol=2e-3, atol=2e-3)
        return {path.name for path in tmp_path.iterdir() if path.is_dir()}

    plain = folders()
    assert len(plain) == 2
    assert folders(merge="sum") == plain
    assert folders(scale_weights=(1, 0.25)) == plain
    assert folders(tilings=((1, 1), (2, 2))) == plain
    wide = folders(tilings=SQUARE_AND_WIDE)
    assert len(wide) == 3  # scale 1 is shared
    blurred = folders(tilings=((1, 2), (2, 2)), input_mode="interpolate")
    sharp = folders(tilings=((1, 2), (2, 2)))
    assert (len(blurred), len(sharp)) == (5, 6)  # at 1 x 2 tiles the modes differ even at scale 1


def test_arm_passes_the_settings_on() -> None:
    content = {
        "encoder": "random/vitt16-128",
        "scales": [1, 2],
        "geometry": "full",
        "tilings": [[1, 1], [2, 3]],
        "merge": "sum",
        "scale_weights": [1, 0.5],
        "device": "cpu",
    }
    arm = Variant(from_config(VariantConfig, content))
    assert arm.encoder is not None
    spec = arm.encoder.spec
    assert (spec.tilings, spec.merge, spec.scale_weights) == (((1, 1), (2, 3)), "sum", (1, 0.5))
    for words in ("full frame", "tiles 1x1,2x3", "sum of scales", "weights 1,0.5"):
        assert words in arm.label
