"""Baselines: exact embeddings, and their names now and in files."""

from __future__ import annotations

import math

import numpy as np
import pytest

from s2robot.evaluation.baselines import (
    BASELINE_NAMES,
    baseline_embedding,
    baseline_shape,
    current_name,
    displayed_name,
    is_baseline,
    stored_name,
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
    with pytest.raises(ValueError, match=r"'blnd'.*blind, privileged_state.*did you mean 'blind'"):
        baseline_embedding("blnd", OBS)
    with pytest.raises(ValueError, match="available: blind, privileged_state"):
        baseline_shape("s2r-vitt16-128")


@pytest.mark.parametrize(("name", "stored"), [("blind", "none"), ("privileged_state", "state")])
def test_a_baseline_has_one_embedding_under_both_of_its_names(name, stored):
    assert is_baseline(name)
    assert (stored_name(name), stored_name(stored)) == (stored, stored)
    assert (displayed_name(name), displayed_name(stored)) == (name, name)
    assert baseline_shape(name, yaw=True) == baseline_shape(stored, yaw=True)
    np.testing.assert_array_equal(
        baseline_embedding(name, OBS, yaw=True), baseline_embedding(stored, OBS, yaw=True)
    )


@pytest.mark.parametrize(("name", "old"), [("blind", "none"), ("privileged_state", "state")])
def test_the_old_name_of_a_baseline_warns_and_the_new_one_does_not(name, old, recwarn):
    assert current_name(name) == name
    assert not recwarn.list
    with pytest.warns(FutureWarning, match=f"encoder={old} is now called encoder={name}"):
        assert current_name(old) == name
