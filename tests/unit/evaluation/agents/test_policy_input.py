"""What a policy cannot take is named: the camera or the key, the value, and what is valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from s2robot.evaluation.agents.policy_input import (
    camera_sizes,
    checked_frames,
    checked_proprio,
    checked_vector,
)

ONE = {"front": (32, 48)}
TWO = {"front": (32, 48), "wrist": (16, 16)}
FRONT, WRIST = np.zeros((32, 48, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)


def test_frames_of_several_cameras_go_by_name() -> None:
    found = checked_frames({"wrist": WRIST, "front": FRONT, "far": FRONT}, TWO)
    assert {name: array.shape for name, array in found.items()} == {
        "front": (32, 48, 3),
        "wrist": (16, 16, 3),
    }


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (FRONT[:16], r"camera 'front': frames have the shape \(16, 48, 3\).* on \(32, 48, 3\)"),
        (FRONT / 255, r"frames are float64; the policy takes uint8 .*np.rint\(255 \* frame\)"),
        (np.moveaxis(FRONT, -1, 0), r"shape \(3, 32, 48\).*np.moveaxis\(frame, -3, -1\)"),
        (FRONT[..., 0], r"shape \(32, 48\).* on \(32, 48, 3\)"),
        (FRONT[None, None], r"shape \(1, 1, 32, 48, 3\)"),
        (FRONT[None][:0], r"shape \(0, 32, 48, 3\)"),
        (None, "got no frames; the policy reads camera 'front'"),
    ],
)
def test_unfit_frames_are_named(frames: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_frames(frames, ONE)


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(KeyError, match=r"no frames of camera 'wrist'; got camera 'front'"):
        checked_frames({"front": FRONT}, TWO)


@pytest.mark.parametrize(
    ("whole", "short"),
    [("front_image", "front"), ("observation.images.front", "front"), ("/front", "front")],
)
def test_a_short_or_a_whole_name_of_a_camera_is_taken(whole: str, short: str) -> None:
    for name in (whole, short):
        assert checked_frames({name: FRONT}, {whole: (32, 48)})[whole] is FRONT
    assert checked_frames({whole: FRONT}, {short: (32, 48)})[short] is FRONT


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("front", "pixels.front"), ("front_image",)),
        (("front",), ("front_image", "observation.images.front")),
    ],
)
def test_a_short_name_that_may_mean_two_cameras_is_refused(given: Any, wanted: Any) -> None:
    with pytest.raises(KeyError, match="no frames of camera.*; got camera.* 'front'"):
        checked_frames(dict.fromkeys(given, FRONT), dict.fromkeys(wanted, (32, 48)))


def test_short_names_of_observations_are_taken() -> None:
    keys = ["observation.state", "/joint_states"]
    found = checked_proprio({"state": 1.0, "joint_states": [2.0]}, keys, None)
    assert {key: float(value[0, 0]) for key, value in found.items()} == dict(
        zip(keys, (1.0, 2.0), strict=True)
    )


def test_one_array_for_two_cameras_is_refused() -> None:
    with pytest.raises(ValueError, match="one array of frames; the policy reads cameras 'front', "):
        checked_frames(FRONT, TWO)


def test_cameras_with_different_numbers_of_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"front \(2, 32, 48, 3\), wrist \(1, 16, 16, 3\)"):
        checked_frames({"front": np.stack([FRONT] * 2), "wrist": WRIST[None]}, TWO)


@pytest.mark.parametrize(
    ("value", "batch", "message"),
    [
        ([0.1, np.nan], None, r"'a' holds NaN or infinite values: \[0.1, nan\]"),
        ("fast", None, "'a' is 'fast'; allowed: numbers"),
        (np.zeros((2, 3)), None, r"'a' has the shape \(2, 3\), but there is one frame"),
        (np.zeros(3), 2, r"'a' has the shape \(3,\).* batch of 2: give \(2, d\)"),
        (0.5, 2, r"'a' has the shape \(\)"),
    ],
)
def test_unfit_observations_are_named(value: Any, batch: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_proprio({"a": value}, ["a"], batch)


def test_a_missing_observation_is_named() -> None:
    with pytest.raises(KeyError, match="proprio lacks b; it has a"):
        checked_proprio({"a": 1.0}, ["a", "b"], None)


def test_numbers_and_columns_are_rows() -> None:
    found = checked_proprio({"a": 0.5, "b": [1, 2], "c": [[3]]}, "abc", None)
    assert {key: rows.tolist() for key, rows in found.items()} == {
        "a": [[0.5]],
        "b": [[1.0, 2.0]],
        "c": [[3.0]],
    }
    assert checked_proprio({"a": [1, 2]}, "a", 2)["a"].tolist() == [[1.0], [2.0]]


def test_an_array_of_another_width_is_named() -> None:
    with pytest.raises(ValueError, match="sizes proprio 3; the policy takes 4 numbers, made of a"):
        checked_vector(np.zeros(3), 4, ["a"], None)


def test_the_header_tells_name_and_size_of_the_camera() -> None:
    assert camera_sizes({"camera": {"name": "far", "size": 384}}) == {"far": (384, 384)}
    assert camera_sizes({}) == {"camera": None}
