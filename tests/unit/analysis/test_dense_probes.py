"""Labelled scenes, linear probes against closed forms, metrics against loops, and the study."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from scipy.optimize import minimize
from support.tiny_models import write_tiny_model

from s2robot.analysis.probes import dense, linear, metrics, study
from s2robot.analysis.probes.grids import TokenGrids, upsampling
from s2robot.analysis.probes.intervals import metric_difference, metric_interval, summed_by_episode
from s2robot.analysis.probes.scenes import (
    FARTHEST_M,
    SceneConfig,
    SceneData,
    lower_median,
    majority,
    scene_data,
    split_frames,
)
from s2robot.analysis.probes.study import Study, StudyConfig, differences, mark_of
from s2robot.analysis.probes.tasks import TASKS, Outcome, Parts
from s2robot.cli.main import main as s2robot
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import renderer
from s2robot.envs.segmentation import SEGMENTS, segment_of_geom
from s2robot.errors import CorruptFileError, NonFiniteError
from s2robot.utils.io import append_jsonl, read_jsonl

SMALL = SceneConfig("precise", size=48, label_size=24, episodes=8, resets=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def data(folder: Path) -> SceneData:
    return scene_data(SMALL, folder / "probes")


# ---------------------------------------------------------------------------------------- scenes
def test_labels_are_those_of_the_simulator(data: SceneData) -> None:
    """A single-frame episode is the reset of its seed; each label is looked up pixel by pixel."""
    env = PickCubeEnv(level="precise", image_camera="far", image_size=48)
    observation, info = env.reset(seed=SMALL.seed + 9)
    (index,) = np.flatnonzero(data.episode == 9)
    np.testing.assert_array_equal(data.frames[index], observation["image"])
    np.testing.assert_allclose(data.cube_xy_m[index], observation["cube_pos"][:2])
    assert data.grasped[index] == info["grasped"]
    seen = renderer().render_labels(env.model, env.data, "far", 48, 48)
    classes = segment_of_geom(env.model)
    for row, column in ((3, 4), (12, 12), (15, 10), (20, 20)):
        block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        told = [0 if geom < 0 else int(classes[geom]) for geom in seen.geom_id[block].ravel()]
        assert data.segments[index, row, column] == max(sorted(set(told)), key=told.count)
        depths = sorted(seen.depth_m[block].ravel().tolist())
        assert data.depth_m[index, row, column] == pytest.approx(min(depths[1], FARTHEST_M))
    env.close()


def test_frames_are_of_both_grasps_and_all_classes(data: SceneData) -> None:
    lengths = np.bincount(data.episode)
    assert (lengths[:8] > 5).all()
    assert lengths[8:].tolist() == [1] * 8
    assert 0.1 < data.grasped.mean() < 0.9
    assert not data.grasped[data.episode >= 8].any()
    assert set(np.unique(data.segments)) == set(range(len(SEGMENTS)))
    lifted = data.grasped & (data.episode < 8)
    assert lifted.sum() > 8


def test_labels_follow_cameras_that_appearances_move(tmp_path: Path) -> None:
    """On ``hard`` the cube's label still lies on pixels that stand out from those around it."""
    config = SceneConfig("hard", size=192, label_size=96, episodes=0, resets=6)
    data = scene_data(config, tmp_path)
    ordinary = scene_data(dataclasses.replace(config, level="precise"), tmp_path)
    np.testing.assert_allclose(data.cube_xy_m, ordinary.cube_xy_m)
    small = data.frames.reshape(6, 96, 2, 96, 2, 3).mean(axis=(2, 4))
    for frame, labels, before in zip(small, data.segments, ordinary.segments, strict=True):
        cube, table = labels == SEGMENTS.index("cube"), labels == SEGMENTS.index("table")
        assert (labels != before).mean() > 0.002  # the camera stands elsewhere
        near = binary_dilation(cube, iterations=4) & table
        gap = np.linalg.norm(frame[cube].mean(axis=0) - frame[near].mean(axis=0))
        assert gap > 25
        elsewhere = np.roll(cube, (8, 8), (0, 1)) & table
        assert np.linalg.norm(frame[elsewhere].mean(axis=0) - frame[near].mean(axis=0)) < gap / 2


def test_classes_follow_names() -> None:
    env = PickCubeEnv()
    classes = segment_of_geom(env.model)
    named = {env.model.geom(i).name: SEGMENTS[classes[i]] for i in range(env.model.ngeom)}
    assert named["table"] == "table"
    assert named["cube"] == "cube"
    assert named["floor"] == named["wall"] == "background"
    assert named["robot/pad1"] == named["robot/pad2"] == "gripper"
    bodies = {
        env.model.body(env.model.geom_bodyid[i]).name: SEGMENTS[classes[i]]
        for i in range(env.model.ngeom)
    }
    assert bodies["robot/hand"] == "gripper"
    assert {bodies[f"robot/link{i}"] for i in range(8)} == {"arm"}
    env.close()


def test_labels_are_reduced_by_majority_and_lower_median() -> None:
    rng = np.random.default_rng(0)
    classes, depths = rng.integers(0, 5, (12, 12)), rng.uniform(1, 5, (12, 12))
    small, near = majority(classes, 4), lower_median(depths, 4)
    for row in range(4):
        for column in range(4):
            block = np.s_[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            counts = np.bincount(classes[block].ravel(), minlength=5)
            assert small[row, column] == counts.argmax()
            assert near[row, column] == np.median(depths[block])
    assert lower_median(np.array([[1.0, 2.0], [3.0, 9.0]]), 1) == 2.0  # seen, not 2.5


def test_scenes_are_found_again_and_a_damaged_file_is_told(
    data: SceneData, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("rendered again")

    monkeypatch.setattr(PickCubeEnv, "render_frame", refuse)
    again = scene_data(SMALL, folder / "probes")
    for field in dataclasses.fields(SceneData):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(data, field.name))
    with pytest.raises(RuntimeError, match="rendered again"):
        scene_data(dataclasses.replace(SMALL, seed=5), folder / "probes")
    (kept,) = (folder / "probes").glob("*.npz")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255  # a flipped byte among the frames
    (tmp_path / kept.name).write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="delete it and rerun"):
        scene_data(SMALL, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "precis"}, "did you mean 'precise'"),
        ({"camera": "fron"}, "unknown camera 'fron'"),
        ({"label_size": 36}, r"36 does not divide the frames' size 48; take one of \[16, 24, 48\]"),
        ({"episodes": 0, "resets": 0}, "nothing would be rendered"),
        ({"resets": -1}, "resets is -1"),
    ],
)
def test_impossible_scenes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


def test_no_episode_is_in_two_parts(data: SceneData) -> None:
    train, test = data.split(0.25, seed=1)
    assert not set(data.episode[train]) & set(data.episode[test])
    assert sorted([*train, *test]) == list(range(len(data)))
    held_out = np.unique(data.episode[test])
    assert (held_out < 8).sum() == 2  # of the moving ones
    assert (held_out >= 8).sum() == 2  # of the single frames
    with pytest.raises(ValueError, match="more episodes"):
        split_frames(np.array([0, 0, 1, 2, 3, 4]), 0.3)  # one moving episode for two parts


# --------------------------------------------------------------------------------- linear, frames
def planted(count: int = 60, noise: float = 0.0) -> tuple[TokenGrids, np.ndarray, np.ndarray]:
    """Random 3 x 3 grids of 4 channels, two linear functions of all numbers, the grids flat."""
    rng = np.random.default_rng(0)
    flat = rng.normal(2, 3, (count, 36))
    targets = flat @ rng.normal(0, 1, (36, 2)) + [5, -7] + rng.normal(0, noise, (count, 2))
    grids = TokenGrids(torch.from_numpy(flat).float(), (3, 3, 4), np.arange(count))
    return grids, targets, flat


def thirds(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = np.array_split(np.arange(count), 3)
    return a, b, c


def test_a_planted_linear_relation_is_found() -> None:
    grids, targets, _ = planted(180)
    parts = thirds(180)
    products = linear.inner_products(grids.column_chunks(), np.concatenate(parts[:2]))
    judge = lambda told, true: float(np.square(told - true).mean())  # noqa: E731
    chosen = linear.choose(linear.ridge, judge, products, targets, parts)
    np.testing.assert_allclose(chosen.predictions, targets[parts[2]], atol=0.01)
    assert chosen.penalty == linear.PENALTIES[0]


def test_ridge_is_the_penalized_least_squares() -> None:
    """Against the normal equations in the features themselves, more of them than frames."""
    grids, targets, _ = planted(30, noise=2.0)
    fitted, others, penalty = np.arange(20), np.arange(20, 30), 0.3
    products = linear.inner_products(grids.column_chunks(), fitted)
    told = linear.ridge(linear.Span.of(products, fitted, others), targets[fitted], penalty)
    x = torch.cat(list(grids.column_chunks()), dim=1).double().numpy()
    x = x - x[fitted].mean(axis=0)
    x /= math.sqrt(np.square(x[fitted]).sum() / 20)  # variances sum to 1
    inner = x[fitted].T @ x[fitted] / 20 + penalty * np.eye(36)
    y = targets[fitted] - targets[fitted].mean(axis=0)
    expected = x[others] @ np.linalg.solve(inner, x[fitted].T @ y / 20) + targets[fitted].mean(0)
    np.testing.assert_allclose(told, expected, rtol=1e-4)


def test_logistic_regression_is_at_its_optimum() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (60, 5))
    positive = x[:, 0] + rng.normal(0, 1, 60) > 0.8  # fewer than half
    span = linear.Span(x[:40], x[40:])

    def loss(w: np.ndarray) -> float:
        odds = x[:40] @ w[:5] + w[5]
        losses = np.log1p(np.exp(np.where(positive[:40], -odds, odds)))
        balanced = (losses[positive[:40]].mean() + losses[~positive[:40]].mean()) / 2
        return balanced + 0.05 * w[:5] @ w[:5] / 2

    best = minimize(loss, np.zeros(6), method="Nelder-Mead", options={"maxiter": 9000}).x
    told = linear.logistic(span, positive[:40, None], 0.05)[:, 0]
    np.testing.assert_allclose(told, x[40:] @ best[:5] + best[5], atol=0.02)
    with pytest.raises(ValueError, match="all 40 frames .* the same label"):
        linear.logistic(span, np.ones((40, 1)), 0.05)


# ----------------------------------------------------------------------------------------- dense
def pixels(grids: TokenGrids, frames: np.ndarray, size: int) -> np.ndarray:
    """Tokens upsampled by torch itself: (n, size · size, C)."""
    found = []
    for _, tokens in grids.chunks(frames):
        maps = tokens.transpose(1, 2).unflatten(2, grids.shape[:2])
        found.append(torch.nn.functional.interpolate(maps, (size, size), mode="bilinear"))
    return torch.cat(found).flatten(2).transpose(1, 2).double().numpy()


def test_upsampling_rows_sum_to_one_and_keep_the_middle() -> None:
    up = upsampling((3, 5), 15)
    torch.testing.assert_close(up.sum(dim=1), torch.ones(225))
    assert up.view(15, 15, 15)[7, 7, 7] == 1  # middle label, middle token


def test_depth_is_least_squares_with_a_constant_picture() -> None:
    """Against lstsq on upsampled tokens and one indicator a pixel."""
    grids, _, _ = planted(24)
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 3, (24, 6, 6)).astype(np.float32)
    learn, valid, test = np.arange(12), np.arange(12, 20), np.arange(20, 24)
    probe = dense.fit_depth(grids, depth, learn, valid, penalties=(1e-12,))
    both = np.arange(20)
    design = np.concatenate(
        [pixels(grids, both, 6), np.broadcast_to(np.eye(36), (20, 36, 36))], axis=2
    )
    solved = np.linalg.lstsq(design.reshape(720, -1), depth[both].ravel(), rcond=None)[0]
    expected = pixels(grids, test, 6) @ solved[:4] + solved[4:]
    np.testing.assert_allclose(probe.maps(grids, test, 6)[:, 0].reshape(4, 36), expected, atol=1e-3)


def test_depth_takes_the_penalty_that_suits_unseen_frames() -> None:
    """By the errors of explicit fits on the frames to learn from."""
    grids, _, _ = planted(30)
    depth = np.random.default_rng(1).uniform(1, 3, (30, 6, 6)).astype(np.float32)
    learn, valid = np.arange(10), np.arange(10, 30)
    tried = (1e-3, 1.0, 1e3)
    x, y = pixels(grids, learn, 6), depth[learn].reshape(10, 36)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    flat = (x - mean_x).reshape(-1, 4)
    errors = []
    for penalty in tried:
        inner = flat.T @ flat / 360 + penalty * np.eye(4)
        w = np.linalg.solve(inner, flat.T @ (y - mean_y).ravel() / 360)
        told = (pixels(grids, valid, 6) - mean_x) @ w + mean_y
        errors.append(np.square(told - depth[valid].reshape(20, 36)).mean())
    assert dense.fit_depth(grids, depth, learn, valid, tried).penalty == tried[np.argmin(errors)]


def test_segmentation_finds_planted_classes_and_its_slope_is_right() -> None:
    grids, _, _ = planted(40)
    layer = np.random.default_rng(2).normal(0, 1, (5, 3))
    everyone = np.arange(40)
    labels = (pixels(grids, everyone, 12) @ layer[:4] + layer[4]).argmax(axis=2)
    segments = labels.reshape(40, 12, 12).astype(np.uint8)
    probe = dense.fit_segments(grids, segments, 3, np.arange(20), np.arange(20, 30))
    told = probe.maps(grids, np.arange(30, 40), 12).argmax(axis=1)
    assert (told == segments[30:]).mean() > 0.98
    assert probe.iterations > 0

    problem = dense.Segmentation(grids, segments, 3)
    value, slope = problem.slope(everyone, layer)
    logits = torch.from_numpy(pixels(grids, everyone, 12) @ layer[:4] + layer[4])
    by_torch = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(labels.ravel()))
    assert value == pytest.approx(float(by_torch), rel=1e-4)
    assert problem.loss(everyone, layer) == pytest.approx(value, rel=1e-6)
    for row, column in ((0, 0), (3, 2), (4, 1)):
        moved = layer.copy()
        moved[row, column] += 1e-2
        below = layer.copy()
        below[row, column] -= 1e-2
        numeric = (problem.loss(everyone, moved) - problem.loss(everyone, below)) / 2e-2
        assert slope[row, column] == pytest.approx(numeric, rel=0.02, abs=1e-4)


def test_segmentation_is_fitted_on_fewer_labels_than_it_tells() -> None:
    grids, _, _ = planted(4)
    problem = dense.Segmentation(grids, np.zeros((4, 96, 96), np.uint8), 2)
    assert problem.up.shape == (48 * 48, 9)
    torch.testing.assert_close(problem.up, upsampling((3, 3), 96).view(96, 96, 9)[1::2, 1::2]
                               .reshape(-1, 9))  # fmt: skip


def test_nan_features_are_named_by_frame() -> None:
    embeddings = torch.zeros(300, 36)
    embeddings[[7, 260], 5] = torch.tensor([math.nan, math.inf])
    with pytest.raises(NonFiniteError, match=r"frames 7, 260 .counted from 0. are NaN"):
        TokenGrids(embeddings, (3, 3, 4), np.arange(300))
    with pytest.raises(ValueError, match="Take readout spatial_softmax"):
        TokenGrids(torch.zeros(5, 4), (4,), np.arange(5))


# --------------------------------------------------------------------------------------- metrics
def test_miou_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    true, told = rng.integers(0, 4, (3, 8, 8)), rng.integers(0, 3, (3, 8, 8))
    true[true == 3] = 0  # class 3 is neither seen nor told
    coverage = []
    for number in range(3):
        met = sum(t == number == p for t, p in zip(true.flat, told.flat, strict=True))
        either = sum(number in (t, p) for t, p in zip(true.flat, told.flat, strict=True))
        coverage.append(met / either)
    sums = metrics.confusion(true.astype(np.uint8), told, 4).sum(axis=0)
    assert metrics.mean_iou(4)(sums) == pytest.approx(np.mean(coverage))
    assert metrics.one_iou(1, 4)(sums) == pytest.approx(coverage[1])
    assert np.isnan(metrics.one_iou(3, 4)(sums))


def test_auroc_against_pairs_and_its_interval_is_over_episodes() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.3
    scores = np.round(rng.normal(positive, 1), 1)  # with ties
    pairs = [(p > n) + (p == n) / 2 for p in scores[positive] for n in scores[~positive]]
    alone = metrics.auroc(scores, positive, np.arange(80))
    assert alone.estimate == pytest.approx(np.mean(pairs))
    assert alone.low < alone.estimate < alone.high
    copied = metrics.auroc(scores.repeat(5), positive.repeat(5), np.arange(80).repeat(5))
    assert (copied.low, copied.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_balanced_accuracy_and_root_mean() -> None:
    told = np.array([True, True, False, False, False])
    true = np.array([True, False, False, False, True])
    sums = metrics.counts_of(told, true).sum(axis=0)
    assert metrics.balanced_accuracy(0)(sums) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert np.isnan(metrics.balanced_accuracy(0)(np.array([2.0, 1, 0, 0])))
    assert metrics.root_mean(0)(np.array([8.0, 2.0])) == 2


def test_sums_over_episodes_carry_intervals_and_paired_differences() -> None:
    rng = np.random.default_rng(0)
    episode = np.repeat([3, 1, 7, 9], 5)
    first = np.stack([rng.gamma(2, 5, 20), np.ones(20)], axis=1)
    sums = summed_by_episode(first, episode)
    assert sums.shape == (4, 2)
    np.testing.assert_allclose(sums[0], first[episode == 1].sum(axis=0))
    interval = metric_interval(sums, metrics.mean)
    assert interval.estimate == pytest.approx(first[:, 0].mean())
    assert interval.low < interval.estimate < interval.high
    later = summed_by_episode(first + [1.5, 0], episode)
    difference = metric_difference(sums, later, metrics.mean)
    assert (difference.low, difference.high) == (pytest.approx(1.5), pytest.approx(1.5))
    with pytest.raises(ValueError, match="the same episodes"):
        metric_difference(sums, later[:3], metrics.mean)


def test_depth_squares_and_guesses_against_plain_numpy(data: SceneData) -> None:
    train, test = data.split(0.25)
    parts = Parts(train[:-3], train[-3:], test)
    outcome = TASKS["depth"].baseline(data, parts)
    error = data.depth_m[train].mean(axis=0, dtype=float) - data.depth_m[test]
    told = [float(m.metric(outcome.frames.sum(axis=0))) for m in TASKS["depth"].measures]
    moving = np.isin(data.segments[test], [2, 3, 4])
    assert told[0] == pytest.approx(np.sqrt(np.square(error).mean()))
    assert told[1] == pytest.approx(np.sqrt(np.square(error[moving]).mean()))
    place = TASKS["localisation"].baseline(data, parts).frames[:, 0]
    middle = data.cube_xy_m[train].mean(axis=0)
    expected = [1000 * math.dist(middle, spot) for spot in data.cube_xy_m[test]]
    np.testing.assert_allclose(place, expected)
    grasp = TASKS["grasp"].baseline(data, parts).frames.sum(axis=0)
    assert TASKS["grasp"].measures[0].metric(grasp) == 0.5


# ----------------------------------------------------------------------------------------- study
@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def config(encoder: str, data: SceneData, folder: Path, tmp_path: Path) -> StudyConfig:
    assert len(data)
    return StudyConfig(
        (encoder,),
        ((1,), (1, 2)),
        ((), (0, 1)),
        scenes=SMALL,
        data_dir=folder,
        out=tmp_path / "out",
        device="cpu",
    )


def test_every_arm_has_a_row_a_task(config: StudyConfig) -> None:
    tasks = ("localisation", "depth")
    rows = Study(dataclasses.replace(config, tasks=tasks)).run()
    assert len(rows) == 2 + 2 * 2 * 2
    assert [row["task"] for row in rows[2:4]] == list(tasks)
    assert {(tuple(row["taps"]), tuple(row["scales"])) for row in rows[2:]} == {
        ((), (1,)), ((), (1, 2)), ((0, 1), (1,)), ((0, 1), (1, 2))
    }  # fmt: skip
    wide = rows[-1]
    assert wide["grid"] == [4, 4, 24 * 2 * 2]
    assert wide["enlarged"]  # 64 px of frames of 48
    assert wide["gflops"] == pytest.approx(5 * rows[2]["gflops"])
    for row in rows:
        measure = row["measures"][TASKS[row["task"]].measures[0].name]
        assert measure["low"] <= measure["estimate"] <= measure["high"]
        assert len(row["sums"]) == row["test_episodes"] == 4


def test_what_a_row_says_is_what_its_kept_map_says(config: StudyConfig) -> None:
    """The sample of a dense row, judged by hand on the frames that it is of."""
    few = dataclasses.replace(config, tasks=("depth", "segmentation"), layers=((),))
    run = Study(dataclasses.replace(few, scale_sets=((1,),)))
    every = np.arange(len(run.parts.test))
    run.samples = every  # keep all of them
    depth, segments = run.run()[2:]
    test = run.parts.test
    told = np.load(run.sample_path(depth["key"]))
    rmse = np.sqrt(np.square(told - run.data.depth_m[test]).mean())
    assert depth["measures"]["RMSE [m]"]["estimate"] == pytest.approx(float(rmse), rel=1e-4)
    cube_told, cube = np.load(run.sample_path(segments["key"])) == 4, run.data.segments[test] == 4
    share = (cube_told & cube).sum() / (cube_told | cube).sum()
    assert segments["measures"]["IoU cube"]["estimate"] == pytest.approx(share)
    assert depth["train_frames"] + depth["test_frames"] == len(run.data)


def test_differences_are_against_the_first_scale_set(config: StudyConfig) -> None:
    rows = Study(dataclasses.replace(config, tasks=("localisation", "depth"))).run()
    found = differences(rows)
    assert [(d["task"], d["scales"], d["against"], d["taps"]) for d in found] == [
        ("localisation", [1, 2], [1], []),
        ("depth", [1, 2], [1], []),
        ("localisation", [1, 2], [1], [0, 1]),
        ("depth", [1, 2], [1], [0, 1]),
    ]
    before, after = (
        next(r for r in rows if r["task"] == "depth" and r["scales"] == scales)
        for scales in ([1], [1, 2])
    )
    change = [row["measures"]["RMSE [m]"]["estimate"] for row in (before, after)]
    assert found[1]["estimate"] == pytest.approx(change[1] - change[0])
    assert mark_of({"task": "depth", "low": 0.1, "high": 0.2}) == "!"
    assert mark_of({"task": "segmentation", "low": 0.1, "high": 0.2}) == "*"
    assert mark_of({"task": "depth", "low": -0.1, "high": 0.2}) == ""


def test_finished_rows_are_not_computed_again(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(config, tasks=("localisation", "depth"), layers=((),))
    before = Study(few).run()
    said: list[str] = []

    def refuse(*_: Any, **__: Any) -> Outcome:
        raise RuntimeError("computed again")

    for name in ("inner_products", "choose"):
        monkeypatch.setattr(linear, name, refuse)
    monkeypatch.setattr(dense, "fit_depth", refuse)
    monkeypatch.setattr(study, "scene_data", refuse)
    assert Study(few, said.append).run() == before
    assert all(line.endswith("(found)") for line in said)
    with pytest.raises(RuntimeError, match="computed again"):
        Study(dataclasses.replace(few, split_seed=1)).run()


def test_a_killed_run_goes_on(config: StudyConfig) -> None:
    """A torn line and a lost picture are made again; nothing else is."""
    few = dataclasses.replace(config, tasks=("localisation", "depth"), layers=((),))
    first = Study(few)
    before = first.run()
    lines = first.path.read_bytes().splitlines(keepends=True)
    first.path.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    first.sample_path(next(r["key"] for r in before if r["task"] == "depth" and r["taps"] == []
                           and r["scales"] == [1])).unlink()  # fmt: skip
    said: list[str] = []
    assert Study(few, said.append).run() == before
    assert [line for line in said if not line.endswith("(found)")] == [said[3], said[5]]
    assert len(read_jsonl(first.path)) == len(before) + 1


def test_heads_of_several_seeds_are_averaged(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Head:
        def __init__(self, seed: int) -> None:
            self.seed = seed

        def errors_mm(self, embeddings: torch.Tensor, _: np.ndarray) -> np.ndarray:
            return np.full(len(embeddings), 10.0 + 2 * self.seed)

    monkeypatch.setattr("s2robot.analysis.probes.tasks.fit_localizer", lambda *args: Head(args[-1]))
    few = dataclasses.replace(
        config, tasks=("localisation-head",), layers=((),), scale_sets=((1,),), head_seeds=3
    )
    row = Study(few).run()[-1]
    assert row["measures"]["mean error [mm]"]["estimate"] == 12
    assert row["details"] == {"seed_means_mm": [10, 12, 14], "seed_std_mm": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("depths",)}, "unknown task 'depths'.*did you mean 'depth'"),
        ({"layers": ((9,),)}, r"has 2 layers, so indices lie in -2 to 1"),
        ({"scale_sets": ((1,), (1,))}, "each only once"),
        ({"scale_sets": ((0,),)}, "different positive numbers"),
        ({"encoders": ("no-such-vit",)}, "unknown backbone|unknown encoder|available"),
        ({"head_seeds": 0}, "head_seeds is 0"),
        ({"test_share": 1.0}, "test_share is 1.0"),
    ],
)
def test_impossible_studies(config: StudyConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study(dataclasses.replace(config, **change)).run()
    assert not config.out.exists()  # refused before any work


def test_too_few_episodes(config: StudyConfig) -> None:
    few = dataclasses.replace(SMALL, episodes=1, resets=0)
    with pytest.raises(ValueError, match="more episodes"):
        Study(dataclasses.replace(config, scenes=few)).run()


# --------------------------------------------------------------------------------------- command
def words(encoder: str, folder: Path, out: Path, *more: str) -> list[str]:
    small = ["--size", "48", "--label-size", "24", "--episodes", "8", "--resets", "8"]
    places = ["--data-dir", str(folder), "--out", str(out), "--device", "cpu"]
    return ["probe", encoder, "--scales", "1", "1,2", *small, *places, *more]


def test_the_command_writes_a_table_results_and_pictures(
    encoder: str, data: SceneData, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(data)
    tasks = ["--task", "localisation", "segmentation", "depth"]
    assert s2robot(words(encoder, folder, tmp_path, "--layers", "-1", *tasks)) == 0
    told = capsys.readouterr().out
    assert "mean error [mm] ↓" in told
    assert "(no features)" in told
    assert "tap -1" in told
    assert "+ a scale is larger than the frames" in told
    record = json.loads((tmp_path / "probes.json").read_text())
    assert len(record["rows"]) == 9
    assert len(record["differences"]) == 3
    assert record["provenance"]["versions"]["mujoco"]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert "probes.png" in pictures
    assert len([name for name in pictures if name.startswith("predictions-")]) == 1


def test_grasps_are_told_from_grids_and_from_mean_tokens(config: StudyConfig) -> None:
    few = dataclasses.replace(config, tasks=("grasp",), layers=((),), scale_sets=((1,),))
    guess, row = Study(few).run()
    assert guess["measures"]["balanced accuracy"]["estimate"] == 0.5
    assert set(row["measures"]) == {
        "balanced accuracy", "balanced accuracy, mean token", "AUROC, grid", "AUROC, mean token"
    }  # fmt: skip
    assert row["measures"]["AUROC, grid"]["estimate"] > 0.6


def test_json_instead_of_a_table(
    encoder: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(encoder, folder, tmp_path, "--task", "localisation", "--json")
    assert s2robot(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["scales"] for row in rows] == [[], [1], [1, 2]]
    assert s2robot([*words(encoder, folder, tmp_path), "--task", "dept"]) == 2
    assert "did you mean 'depth'" in capsys.readouterr().err


def test_a_damaged_row_is_told(config: StudyConfig) -> None:
    append_jsonl(config.out / "rows.jsonl", [{"key": "x"}])
    (config.out / "rows.jsonl").write_text("{broken\n")
    with pytest.raises(CorruptFileError, match="not JSON"):
        Study(config)
