"""Localisation of the cube: data, the head that learns it, and intervals of its error."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.other_pictures import OTHER_PICTURES

from s2robot.analysis.probes import (
    FIRST_SEED,
    LocalizationData,
    Localizer,
    ProbeConfig,
    error_summary,
    fit_localizer,
    localization_data,
    mean_difference,
)
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError
from s2robot.policies.config import PolicyConfig

SMALL: dict[str, Any] = {"level": "precise", "size": 32, "episodes": 2, "resets": 3}
QUICK = ProbeConfig(PolicyConfig(keypoints=8, keypoint_features=4), hidden=32, epochs=40, lr=1e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("localisation")


@pytest.fixture(scope="module")
def data(folder: Path) -> LocalizationData:
    return localization_data(**SMALL, folder=folder)


@pytest.mark.render
def test_frames_show_the_cube_where_it_is_said_to_be(data: LocalizationData) -> None:
    """A single-frame episode is the reset of its seed."""
    env = PickCubeEnv(level="precise", image_camera="far", image_size=32)
    observation, _ = env.reset(seed=FIRST_SEED + 3)
    (index,) = np.flatnonzero(data.episode == 3)
    np.testing.assert_array_equal(data.frames[index], observation["image"])
    np.testing.assert_allclose(data.cube_xy_m[index], observation["cube_pos"][:2])
    env.close()


def test_episodes_move_and_resets_are_single_frames(data: LocalizationData) -> None:
    lengths = np.bincount(data.episode)
    assert len(lengths) == 5
    assert (lengths[:2] > 5).all()
    assert lengths[2:].tolist() == [1, 1, 1]
    moving = data.of_episodes(np.array([1]))
    assert len(moving) == lengths[1]
    assert (moving.frames[0] != moving.frames[3]).any()
    np.testing.assert_allclose(moving.cube_xy_m[0], moving.cube_xy_m[2])  # nothing touched yet


def test_data_are_found_again_and_others_are_not(
    data: LocalizationData, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("rendered again")

    monkeypatch.setattr(PickCubeEnv, "render_frame", refuse)
    again = localization_data(**SMALL, folder=folder)
    np.testing.assert_array_equal(again.frames, data.frames)
    with pytest.raises(RuntimeError, match="rendered again"):
        localization_data(**{**SMALL, "size": 24}, folder=folder)


@pytest.mark.parametrize("change", OTHER_PICTURES)
def test_data_of_another_renderer_simulator_or_code_are_not_taken(
    data: LocalizationData, folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, Any]
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("rendered again")

    monkeypatch.setattr(PickCubeEnv, "render_frame", refuse)
    assert len(localization_data(**SMALL, folder=folder)) == len(data)
    monkeypatch.setattr(*change)
    with pytest.raises(RuntimeError, match="rendered again"):
        localization_data(**SMALL, folder=folder)


def test_a_damaged_file_is_told(folder: Path, data: LocalizationData, tmp_path: Path) -> None:
    (kept,) = folder.glob("*.npz")
    (tmp_path / kept.name).write_bytes(kept.read_bytes()[:500])
    with pytest.raises(CorruptFileError, match="delete it and run again"):
        localization_data(**SMALL, folder=tmp_path)
    assert len(data)


def test_no_data_and_no_split_are_refused(data: LocalizationData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nor both zero"):
        localization_data(episodes=0, resets=0, folder=tmp_path)
    with pytest.raises(ValueError, match="did you mean 'precise'"):
        localization_data(level="precis", folder=tmp_path)
    with pytest.raises(ValueError, match="leaves one part empty"):
        data.split(0.01)


def test_no_episode_is_in_both_parts(data: LocalizationData) -> None:
    train, test = data.split(0.4, seed=1)
    assert not set(train.episode) & set(test.episode)
    assert len(train) + len(test) == len(data)
    assert len(set(test.episode)) == 2


def blobs(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Embeddings of a 6 x 6 grid whose second channel is a bump at a place; 5 frames a place."""
    rng = np.random.default_rng(seed)
    spots_m = rng.uniform(0, 0.3, (count // 5, 2)).repeat(5, axis=0)  # the grid spans 0.3 m
    centers = (np.arange(6) + 0.5) * 0.05
    x = np.exp(-(((centers - spots_m[:, :1]) / 0.05) ** 2))
    y = np.exp(-(((centers - spots_m[:, 1:]) / 0.05) ** 2))
    grid = rng.normal(0, 0.02, (count, 6, 6, 3))
    grid[..., 1] += y[:, :, None] * x[:, None, :]
    flat = torch.from_numpy(grid.reshape(count, -1)).float()
    return flat, spots_m, np.arange(count) // 5


@pytest.mark.slow
def test_a_bump_is_located_within_a_fraction_of_a_cell() -> None:
    embeddings, spots_m, episode = blobs(1000, seed=0)
    unseen, unseen_m, _ = blobs(200, seed=1)
    localizer = fit_localizer(embeddings, (6, 6, 3), spots_m, episode, QUICK)
    errors = localizer.errors_mm(unseen, unseen_m)
    predicted = localizer.predict_m(unseen)
    by_hand = [1000 * math.dist(p, t) for p, t in zip(predicted, unseen_m, strict=True)]
    np.testing.assert_allclose(errors, by_hand)
    assert errors.mean() < 15  # a cell is 50 mm; guessing the middle errs by 115 mm
    assert localizer.errors_mm(unseen.half(), unseen_m).mean() < 15
    maps = localizer.attention(unseen)
    assert maps.shape == (200, 6, 6)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(200))


def test_embeddings_of_another_path_are_judged_by_the_same_head() -> None:
    embeddings, spots_m, episode = blobs(500, seed=0)
    localizer = fit_localizer(embeddings, (6, 6, 3), spots_m, episode, QUICK)
    clean = localizer.errors_mm(embeddings, spots_m)
    spoilt = localizer.errors_mm(embeddings.roll(3, dims=1), spots_m)  # a cell to the right
    assert spoilt.mean() > clean.mean() + 20


def test_a_coordinate_that_hardly_varies_is_not_scaled_up() -> None:
    """In meters: 2 micrometers of noise along y would count as much as 0.3 m along x."""
    embeddings, spots_m, episode = blobs(100, seed=0)
    spots_m[:, 1] = 0.1 + 2e-6 * np.random.default_rng(2).normal(size=100)
    localizer = fit_localizer(
        embeddings, (6, 6, 3), spots_m, episode, dataclasses.replace(QUICK, epochs=1)
    )
    assert localizer.target_std[1] == 1
    assert 0.01 < localizer.target_std[0] < 0.3


@pytest.mark.slow
def test_vectors_are_read_too_and_have_no_attention() -> None:
    embeddings, spots_m, episode = blobs(1000, seed=0)
    vectors = embeddings.unflatten(1, (36, 3))[..., 1]
    localizer = fit_localizer(vectors, (36,), spots_m, episode, QUICK)
    unseen, unseen_m, _ = blobs(200, seed=1)
    assert localizer.errors_mm(unseen.unflatten(1, (36, 3))[..., 1], unseen_m).mean() < 20
    with pytest.raises(ValueError, match="are no grid"):
        localizer.attention(vectors)


@pytest.mark.slow
def test_equal_seeds_fit_equal_heads_and_leave_the_generator_alone() -> None:
    embeddings, spots_m, episode = blobs(200, seed=0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    heads = [fit_localizer(embeddings, (6, 6, 3), spots_m, episode, QUICK, s) for s in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    first, second, other = (head.predict_m(embeddings) for head in heads)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0


def test_the_epoch_of_the_least_validation_error_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told errors fall, then rise until patience is lost: the third epoch's weights are kept."""
    embeddings, spots_m, episode = blobs(100, seed=0)
    told, weights = iter([9.0, 5.0, 3.0, 4.0, 3.5, 3.1, 0.1]), []

    def errors_mm(self: Localizer, *_: Any) -> np.ndarray:
        weights.append(self.get_parameter("network.0.weight").detach().clone())
        return np.array([next(told)])

    monkeypatch.setattr(Localizer, "errors_mm", errors_mm)
    config = ProbeConfig(QUICK.readout, hidden=8, epochs=50, patience=3)
    localizer = fit_localizer(embeddings, (6, 6, 3), spots_m, episode, config)
    assert len(weights) == 6
    assert torch.equal(localizer.get_parameter("network.0.weight"), weights[2])
    assert not torch.equal(weights[2], weights[5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cube_xy_m": np.zeros((40, 3))}, r"cube_xy_m of shape \(40, 2\)"),
        ({"episode": np.zeros(39)}, r"got \(40, 2\) and \(39,\)"),
        ({"embeddings": torch.zeros(40, 107)}, r"takes \(N, 108\)"),
        ({"embeddings": torch.zeros(0, 108)}, r"have shape \(0, 108\)"),
        ({"episode": np.zeros(40)}, "more episodes"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    embeddings, spots_m, episode = blobs(40, seed=0)
    given = {"embeddings": embeddings, "cube_xy_m": spots_m, "episode": episode, **change}
    with pytest.raises(ValueError, match=message):
        fit_localizer(shape=(6, 6, 3), config=QUICK, **given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"epochs": 0}, "epochs is 0"), ({"lr": 0}, "lr is 0"), ({"valid_share": 1}, "valid_share")],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**settings)


def test_intervals_are_over_episodes() -> None:
    """Ten frames of one episode tell no more than one: as wide as from one frame each."""
    rng = np.random.default_rng(0)
    single = rng.gamma(2, 5, 60)
    alone = error_summary(single, np.arange(60))
    copied = error_summary(single.repeat(10), np.arange(60).repeat(10))
    assert copied.mean_mm.low == pytest.approx(alone.mean_mm.low)
    assert copied.mean_mm.high == pytest.approx(alone.mean_mm.high)
    assert (copied.frames, copied.episodes) == (600, 60)
    naive = error_summary(single.repeat(10), np.arange(600))
    assert naive.mean_mm.high - naive.mean_mm.low < 0.5 * (alone.mean_mm.high - alone.mean_mm.low)
    half_width = 1.96 * single.std() / math.sqrt(60)  # by the normal approximation
    assert alone.mean_mm.high - alone.mean_mm.low == pytest.approx(2 * half_width, rel=0.1)
    assert alone.mean_mm.estimate == pytest.approx(single.mean())
    assert alone.median_mm.estimate == pytest.approx(np.median(single))
    assert alone.median_mm.low < alone.median_mm.estimate < alone.median_mm.high
    assert alone.to_dict()["mean_mm"]["low"] == alone.mean_mm.low


def test_a_difference_is_paired() -> None:
    """A constant difference has no spread, however much the errors vary."""
    rng = np.random.default_rng(0)
    first, episode = rng.gamma(2, 5, 100), np.arange(100) // 4
    difference = mean_difference(first, first + 1.5, episode)
    assert (difference.low, difference.high) == (pytest.approx(1.5), pytest.approx(1.5))
    assert difference.estimate == pytest.approx(1.5)
    assert mean_difference(first, first[::-1], episode).high > 0.5
    with pytest.raises(ValueError, match="the same frames"):
        mean_difference(first, first[:50], episode)
    with pytest.raises(ValueError, match="must be .N,. each"):
        error_summary(first, episode[:50])
