"""Dense probes against plain least squares, planted classes and numeric gradients."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.probe_scenes import planted

from s2robot.analysis.probes import dense
from s2robot.analysis.probes.grids import TokenGrids, upsampling
from s2robot.errors import NonFiniteError


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
        predicted = (pixels(grids, valid, 6) - mean_x) @ w + mean_y
        errors.append(np.square(predicted - depth[valid].reshape(20, 36)).mean())
    assert dense.fit_depth(grids, depth, learn, valid, tried).penalty == tried[np.argmin(errors)]


def test_segmentation_finds_planted_classes_and_its_gradient_is_right() -> None:
    grids, _, _ = planted(40)
    layer = np.random.default_rng(2).normal(0, 1, (5, 3))
    everyone = np.arange(40)
    labels = (pixels(grids, everyone, 12) @ layer[:4] + layer[4]).argmax(axis=2)
    segments = labels.reshape(40, 12, 12).astype(np.uint8)
    probe = dense.fit_segments(grids, segments, 3, np.arange(20), np.arange(20, 30))
    predicted = probe.maps(grids, np.arange(30, 40), 12).argmax(axis=1)
    assert (predicted == segments[30:]).mean() > 0.98
    assert probe.iterations > 0

    problem = dense.Segmentation(grids, segments, 3)
    value, gradient = problem.gradient(everyone, layer)
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
        assert gradient[row, column] == pytest.approx(numeric, rel=0.02, abs=1e-4)


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
    with pytest.raises(ValueError, match="Use readout spatial_softmax"):
        TokenGrids(torch.zeros(5, 4), (4,), np.arange(5))
