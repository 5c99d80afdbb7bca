"""Tiles under a budget: which are encoded, what the others show, and the encoder's own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.helpers import counting
from support.tiny_models import write_tiny_model
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.tile_selection import SelectiveEncoder
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy

Make = Callable[..., FrameEncoder]
TOP_LEFT = (0.05, 0.05, 0.45, 0.45)  # inside the first of 2 x 2 tiles
CHOICES = ("motion", "attention", "region", "random")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Encoders of a tiny ViT: base size 32, patch 8, 24 channels, so 4 x 4 tokens a tile."""
    card = write_tiny_model(tmp_path_factory.mktemp("tiny"))

    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"device": "cpu", "readout": "spatial_softmax", **settings}
        settings.setdefault("resize_output_to_idx", -1)
        return FrameEncoder.from_name(f"file:{card}", scales=scales, **settings)

    return build


def noise(steps: int, cameras: int = 1, size: int = 96) -> np.ndarray:
    """Frames ``(steps, cameras, size, size, 3)`` in which every tile changes all the time."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (steps, cameras, size, size, 3), dtype=np.uint8)


def grids(encoder: FrameEncoder, frames: np.ndarray) -> list[Tensor]:
    """Every scale's own whole grid (B, h, w, C), nothing resized: each scale as the only one."""
    layout = encoder.layout
    found = []
    for scale in encoder.spec.scales:
        part = layout.scales[scale]
        tokens = encoder.tokens(encoder.tiles(torch.from_numpy(frames), [part])[0])[:, 1:]
        side = math.isqrt(tokens.shape[1])
        cells = tokens.reshape(part.rows, part.columns, len(frames), side, side, -1)
        rows = [torch.cat(list(row), dim=2) for row in cells]
        found.append(torch.cat(rows, dim=1))
    return found


def repeated(grid: Tensor, times: int) -> Tensor:
    return grid.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)


def choosing(encoder: FrameEncoder, budget: int, choose: str, **settings: Any) -> SelectiveEncoder:
    region = TOP_LEFT if choose == "region" else None
    return encoder.selective(budget, choose, region=region, **settings)


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("scales", [(1, 2), (2, 1), (1, 2, 3), (1, 1.5, 3)])
def test_all_tiles_are_the_encoder_itself(
    make: Make, choose: str, readout: str, scales: tuple[float, ...]
) -> None:
    encoder = make(scales, readout=readout, resize_output_to_idx=0)
    higher = encoder.tiles_per_frame - encoder.layout.scales[min(scales)].tiles
    selective = choosing(encoder, higher, choose, stale="lower")
    frames = noise(3, cameras=2)
    frames[2, 0] = frames[1, 0]  # one camera stands still
    for batch in frames:
        assert torch.equal(selective(batch), encoder(batch))
    assert selective.stats.cost_share < 1  # the still one was not encoded again


@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("settings", [{"geometry": "padded"}, {"geometry": "full"}])
def test_frames_of_any_shape(make: Make, readout: str, settings: dict[str, Any]) -> None:
    encoder = make((1, 3), readout=readout, **settings)
    frames = noise(2, cameras=2)[:, :, :30]  # 30 x 96: padded, only the middle row holds any frame
    whole, part = encoder.selective(9), encoder.selective(3, "region", region=(0, 0.4, 1, 0.6))
    for batch in frames:
        assert torch.equal(whole(batch), encoder(batch))
        if settings["geometry"] == "padded":  # the tiles of padding take nothing from the others
            torch.testing.assert_close(part(batch), encoder(batch), rtol=0, atol=1e-5)
        else:
            assert not torch.allclose(part(batch), encoder(batch))


@pytest.mark.parametrize("choose", CHOICES)
def test_no_tiles_show_the_base_scale_everywhere(make: Make, choose: str) -> None:
    encoder, frames = make((1, 2, 3)), noise(1, cameras=2)[0]
    base = grids(encoder, frames)[0]
    found = choosing(encoder, 0, choose)(frames).unflatten(1, encoder.output_shape)
    # scale 3 is an enlarged scale 2 that is an enlarged base: repeated, then 2 cells over 3
    second = repeated(base, 2)
    third = repeated(second, 3).unflatten(1, (12, 2)).mean(2).unflatten(2, (12, 2)).mean(3)
    expected = torch.cat([repeated(base, 3), third, third], dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_one_tile_is_its_own_and_the_others_are_the_base_scale(make: Make) -> None:
    encoder, frames = make((1, 2)), noise(1, cameras=2)[0]
    base, fine = grids(encoder, frames)
    expected = repeated(base, 2)
    whole = torch.cat([expected, expected.clone()], dim=-1)
    whole[:, :4, :4, 24:] = fine[:, :4, :4]
    found = encoder.selective(1, "region", region=TOP_LEFT)(frames)
    torch.testing.assert_close(found.unflatten(1, (8, 8, 48)), whole, rtol=0, atol=1e-5)
    mean = make((1, 2), readout="mean").selective(1, "region", region=TOP_LEFT)(frames)
    torch.testing.assert_close(mean, whole.mean(dim=(1, 2)), rtol=0, atol=1e-5)


def test_a_third_scale_is_filled_from_the_second_as_it_is(make: Make) -> None:
    """With the first tile of scale 2 encoded and no other, scale 3 sees it too."""
    encoder, frame = make((1, 2, 3)), noise(1)[0]
    _, fine, _ = grids(encoder, frame)
    found = encoder.selective(1, "region", region=TOP_LEFT)(frame).unflatten(1, (12, 12, 72))
    corner = repeated(fine[:, :4, :4], 3).unflatten(1, (6, 2)).mean(2).unflatten(2, (6, 2)).mean(3)
    torch.testing.assert_close(found[:, :6, :6, 48:], corner, rtol=0, atol=1e-5)


def test_class_tokens_are_averaged_over_encoded_tiles(make: Make) -> None:
    encoder, frame = make((1, 2), readout="cls"), noise(1)[0]
    base, fine = encoder.tiles(torch.from_numpy(frame), list(encoder.layout.scales.values()))
    own, tiles = encoder.tokens(base)[:, 0], encoder.tokens(fine)[:, 0]  # (1, C), (4, C)
    left_half = np.zeros((2, 2), bool)
    left_half[:, 0] = True
    two = encoder.selective(2, "region", region=left_half)(frame)
    expected = torch.cat([own[0], tiles[[0, 2]].mean(dim=0)])
    torch.testing.assert_close(two[0], expected, rtol=0, atol=1e-5)
    none = encoder.selective(0)(frame)
    torch.testing.assert_close(none[0], torch.cat([own[0], own[0]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("budget", [0, 1, 5, 13])
def test_the_budget_is_kept_in_one_call_a_frame(
    make: Make, monkeypatch: pytest.MonkeyPatch, choose: str, budget: int
) -> None:
    encoder = make((1, 2, 3))
    selective, frames = choosing(encoder, budget, choose), noise(4, cameras=2)
    seen = counting(encoder, monkeypatch)
    for batch in frames:
        selective(batch)
    assert seen == [2 * (1 + budget)] * 4
    assert sum(selective.stats.encoded_tiles.values()) == 8 * (1 + budget)
    assert selective.stats.encoded_tiles[1] == 8


def test_a_frame_that_stands_still_costs_nothing_once_it_is_encoded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, frame = make((1, 2)), noise(1)[0]
    selective = encoder.selective(3)
    seen = counting(encoder, monkeypatch)
    for _ in range(4):
        found = selective(frame)
    assert seen == [4, 1]  # the base and three tiles, then the fourth
    assert torch.equal(found, encoder(frame))


def test_motion_takes_the_tiles_that_changed_most(make: Make) -> None:
    encoder, frame = make((1, 2)), np.full((64, 64, 3), 100, np.uint8)
    selective = encoder.selective(2)
    selective(frame)
    selective(frame)  # all four are known
    frame = frame.copy()
    frame[:32, :32] += 10  # little
    frame[:32, 32:] += 40
    frame[32:, :32] += 20
    before = selective.stats.encoded[2].copy()
    selective(frame)
    assert (selective.stats.encoded[2] - before).tolist() == [[0, 1], [1, 0]]


def test_a_changed_tile_keeps_its_features_or_shows_the_lower_scale(make: Make) -> None:
    encoder, frames = make((1, 2)), noise(2, size=64)
    new = frames[0, 0].copy()
    new[:32] = frames[1, 0, :32]  # both upper tiles change, the right one more
    new[:32, :32] = frames[0, 0, :32, :32] ^ 1
    (old_base, old_fine), (base, fine) = grids(encoder, frames[0]), grids(encoder, new[None])
    for stale in ("keep", "lower"):
        selective = encoder.selective(1, "motion", stale=stale)
        for _ in range(4):
            selective(frames[0])
        found = selective(new).unflatten(1, (8, 8, 48))[..., 24:]
        torch.testing.assert_close(found[:, :4, 4:], fine[:, :4, 4:], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[:, 4:], fine[:, 4:], rtol=0, atol=1e-5)  # unchanged
        left = old_fine[:, :4, :4] if stale == "keep" else repeated(base, 2)[:, :4, :4]
        torch.testing.assert_close(found[:, :4, :4], left, rtol=0, atol=1e-5)
        assert selective.stats.oldest_age == (stale == "keep")
    assert not torch.allclose(old_base, base)


def longest_wait(encoder: FrameEncoder, budget: int, refresh_every: int, steps: int) -> int:
    """Most frames between two encodings of a tile, while one tile changes far less than others."""
    selective = encoder.selective(budget, refresh_every=refresh_every)
    last, longest = np.zeros((3, 3), int), 0
    rng = np.random.default_rng(1)
    for step in range(1, steps + 1):
        frame = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        frame[60:, 60:] = 100 + step // 2  # the last tile of scale 3 hardly changes
        before = selective.stats.encoded.get(3, np.zeros((3, 3), int)).copy()
        selective(frame)
        new = selective.stats.encoded[3] > before
        last[new] = step
        longest = max(longest, int((step - last).max()))
    return longest


@pytest.mark.parametrize(("budget", "refresh_every"), [(1, 3), (2, 8), (4, 1)])
def test_no_changed_tile_waits_for_ever(make: Make, budget: int, refresh_every: int) -> None:
    encoder = make((1, 2, 3))
    bound = refresh_every + math.ceil(13 / budget) - 1
    assert longest_wait(encoder, budget, refresh_every, steps=60) <= bound
    assert longest_wait(encoder, budget, refresh_every=1000, steps=60) > bound  # else it would


def test_attention_ranks_by_mass(make: Make) -> None:
    encoder, frames = make((1, 2, 3)), noise(4, cameras=2)
    selective = encoder.selective(2, "attention")
    selective(frames[0])  # nobody has looked yet: in order
    assert selective.stats.encoded[2].tolist() == [[2, 2], [0, 0]]
    maps = np.zeros((2, 8, 8))
    maps[0, 7, 7], maps[1, 0, 7] = 0.3, 5
    selective.look_at(maps)
    selective(frames[1])
    assert selective.stats.encoded[2].tolist() == [[2, 3], [0, 1]]
    assert selective.stats.encoded[3].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    selective.look_at(maps[:1], streams=[1])  # the other camera's map stays
    selective(frames[2])
    assert selective.stats.encoded[3].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 3]]
    selective.forget()
    selective(frames[3])
    assert selective.stats.encoded[2].tolist() == [[2 + 2, 3 + 2], [0, 3]]


def test_a_coarse_tile_with_a_wide_map_goes_before_a_fine_one(make: Make) -> None:
    """Left half: each left tile of scale 2 holds 1/2, each left one of scale 3 holds 2/9."""
    encoder, frame = make((1, 2, 3)), noise(1)[0]
    selective = encoder.selective(5, "attention")
    wide = np.zeros((1, 6, 6))
    wide[:, :, :3] = 1
    selective.look_at(wide)
    selective(frame)
    assert selective.stats.encoded[2].tolist() == [[1, 0], [1, 0]]
    assert selective.stats.encoded[3].tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_a_mask_and_a_box_of_the_same_place_choose_alike(make: Make) -> None:
    encoder, frame = make((1, 2, 3)), noise(1)[0]
    mask = np.zeros((10, 10), bool)
    mask[6:9, 2:9] = True
    counts = []
    for region in ((0.2, 0.6, 0.9, 0.9), mask):
        selective = encoder.selective(4, "region", region=region)
        selective(frame)
        counts.append(selective.stats.encoded)
    # of 0.21: lower right 0.12 and lower left 0.09; of scale 3 the middle 0.233 x 0.333, ...
    assert counts[0][2].tolist() == [[0, 0], [1, 1]]
    assert counts[0][3].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert all((counts[0][scale] == counts[1][scale]).all() for scale in (1, 2, 3))


def test_what_a_region_leaves_of_the_budget_goes_elsewhere(make: Make) -> None:
    encoder, frames = make((1, 2)), noise(2, size=64)
    frames[1, 0, :32, :32] = frames[0, 0, :32, :32]  # the region stands still
    selective = encoder.selective(1, "region", region=TOP_LEFT)
    selective(frames[0])
    selective(frames[1])
    assert selective.stats.encoded[2][0, 0] == 1
    assert selective.stats.encoded_tiles[2] == 2


def test_chance_is_repeated_by_its_seed_and_differs_between_seeds(make: Make) -> None:
    encoder, frames = make((1, 2, 3)), noise(3)

    def run(seed: int) -> Tensor:
        selective = encoder.selective(3, "random", seed=seed)
        return torch.cat([selective(frame) for frame in frames])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_slots_are_apart_and_forget_begins_anew(make: Make) -> None:
    encoder, frames = make((1, 2)), noise(3, cameras=2)
    alone, both = encoder.selective(1), encoder.selective(1)
    for batch in frames:
        expected = alone(batch[1])
        swapped = both(batch[::-1].copy(), streams=[4, 1])
        assert torch.equal(swapped[:1], expected)
    first = encoder.selective(1)(frames[0])
    both.forget()
    assert torch.equal(both(frames[0]), first)
    assert both.stats.frames == 8
    both.reset()
    assert both.stats.frames == 0


def test_costs_are_counted(make: Make) -> None:
    encoder, frames = make((1, 1.5)), noise(2)  # 2 x 2 tiles of 24 px beside one of 32 px
    selective = encoder.selective(1)
    for frame in frames:
        selective(frame)
    gflops = encoder.backbone.gflops
    spent = gflops(1, 32) + gflops(1, 24)
    assert selective.stats.gflops_per_frame == pytest.approx(spent)
    assert selective.stats.cost_share == pytest.approx(spent / encoder.gflops_per_frame)
    assert selective.stats.tiles == {1: 2, 1.5: 8}


def test_mistakes_lose_nothing(make: Make) -> None:
    encoder, frames = make((1, 2)), noise(2)
    selective = encoder.selective(1)
    selective(frames[0])
    with pytest.raises(ValueError, match="were 96 x 96 and are now 64 x 96"):
        selective(np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="must be 1 different"):
        selective(frames[0], streams=[0, 1])
    twin = encoder.selective(1)
    twin(frames[0])
    assert torch.equal(selective(frames[1]), twin(frames[1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": -1}, "budget is -1; allowed: an integer from 0 to 4"),
        ({"budget": 5}, "budget is 5"),
        ({"budget": 1.5}, "budget is 1.5"),
        ({"budget": True}, "budget is True"),
        ({"choose": "motoin"}, "did you mean 'motion'"),
        ({"stale": "old"}, "unknown stale"),
        ({"refresh_every": 0}, "at least 1 frame"),
        ({"choose": "region"}, "a region is needed for choose 'region'"),
        ({"region": TOP_LEFT}, "and for nothing else"),
        ({"choose": "region", "region": (0, 0, 1.2, 1)}, "in fractions of the image"),
        ({"choose": "region", "region": (0.5, 0, 0.5, 1)}, "left < right"),
        ({"choose": "region", "region": (0, 0, 1)}, "must be .left, top, right, bottom"),
        ({"choose": "region", "region": np.zeros((4, 4), bool)}, "with any True"),
        ({"choose": "region", "region": np.ones((4, 4, 1), bool)}, r"got bool of shape \(4, 4, 1"),
        ({"choose": "region", "region": np.ones((4, 4))}, "must be boolean"),
    ],
)
def test_bad_settings(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make((1, 2)).selective(**{"budget": 1, **settings})


def test_one_scale_leaves_nothing_to_choose(make: Make) -> None:
    with pytest.raises(ValueError, match="one scale, 1, .* two scales or more"):
        make((1,)).selective(0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((4, 4)), "maps .B, gh, gw. of finite numbers from 0; got shape"),
        (-np.ones((1, 4, 4)), "values from -1"),
        (np.full((1, 4, 4), np.nan), "of finite numbers"),
    ],
)
def test_bad_maps(make: Make, weights: np.ndarray, message: str) -> None:
    selective = make((1, 2)).selective(1, "attention")
    with pytest.raises(ValueError, match=message):
        selective.look_at(weights)
    with pytest.raises(ValueError, match="look_at is for choose 'attention'"):
        make((1, 2)).selective(1).look_at(np.ones((1, 4, 4)))


def test_a_policy_says_where_it_looks(make: Make) -> None:
    """The map is the mean of the softmax maps whose expected positions the head reads."""
    encoder, frames = make((1, 2), resize_output_to_idx=0), noise(1, cameras=3)[0]
    policy = Policy(PolicyConfig(keypoints=5), encoder.output_shape, 2, 4)
    embedding = encoder(frames)
    found = policy.attention(embedding)
    tokens = embedding.unflatten(1, (16, 48))
    head: Any = policy.head
    logits = (tokens @ head.project.weight[:5].T + head.project.bias[:5]) * 3.0
    expected = logits.softmax(dim=1).mean(dim=2).unflatten(1, (4, 4))
    torch.testing.assert_close(found, expected)
    encoder.selective(1, "attention").look_at(found)
    blind = Policy(PolicyConfig(), (48,), 2, 4)
    with pytest.raises(ValueError, match="no attention map"):
        blind.attention(torch.zeros(1, 48))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_close_on_a_gpu(make: Make) -> None:
    encoder = make((1, 2, 3), device="cuda", dtype="float32")
    plain = make((1, 2, 3))
    for choose in ("motion", "region"):
        fast, slow = choosing(encoder, 3, choose), choosing(plain, 3, choose)
        for batch in noise(3, cameras=2):
            torch.testing.assert_close(fast(batch).cpu(), slow(batch), rtol=0, atol=1e-3)


def test_another_runtime_encodes_all_tiles_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1, 2))
    selective, frame = encoder.selective(budget=4), noise(1)[0]
    selective(frame)
    encoder.use_runtime("eager")
    monkeypatch.setattr(encoder.runtime, "bf16", True)  # another runtime, other numbers
    assert torch.equal(selective(frame), encoder(frame))
