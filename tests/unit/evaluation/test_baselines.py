"""Controls see exactly what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from s2robot.evaluation.baselines import (
    BASELINE_NAMES,
    baseline_embedding,
    baseline_shape,
    is_baseline,
)

OBS = {
    "cube_pos": np.array([[0.5, 0.1, 0.02], [0.6, -0.1, 0.02]]),
    "cube_quat": np.array([[1.0, 0, 0, 0], [math.cos(0.1), 0, 0, math.sin(0.1)]]),
    "ee_pos": np.ones((2, 3)),
}


@pytest.mark.parametrize("name", BASELINE_NAMES)
@pytest.mark.parametrize("yaw", [False, True])
def test_shape_is_the_embeddings(name, yaw):
    embedding = baseline_embedding(name, OBS, yaw)
    assert embedding.shape == (2, *baseline_shape(name, yaw))
    assert embedding.dtype == np.float32


def test_state_is_the_cubes_position():
    np.testing.assert_allclose(baseline_embedding("state", OBS), OBS["cube_pos"], rtol=1e-6)


def test_yaw_enters_as_a_smooth_quarter_turn_angle():
    np.testing.assert_allclose(
        baseline_embedding("state", OBS, yaw=True)[:, 3:],
        [[0, 1], [math.sin(0.8), math.cos(0.8)]],
        atol=1e-6,
    )


def test_yaw_embedding_repeats_after_a_quarter_turn():
    angles = np.array([0.3, 0.3 + math.pi / 2]) / 2
    quat = np.stack([np.cos(angles), 0 * angles, 0 * angles, np.sin(angles)], axis=-1)
    first, second = baseline_embedding("state", {**OBS, "cube_quat": quat}, yaw=True)[:, 3:]
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_names():
    assert is_baseline("none")
    assert not is_baseline("s2r-vitt16-128")
    with pytest.raises(ValueError, match=r"'stat'.*none, state.*did you mean 'state'"):
        baseline_embedding("stat", OBS)
    with pytest.raises(ValueError, match="available: none, state"):
        baseline_shape("blind")
