"""What a caller hands to an environment is checked before anything changes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from s2robot.envs.pick_cube import STAGES, PickCubeEnv

TIME, STEPS, STAGE = 0, -2, -1  # entries of a state on a nominal level
QPOS = 1
CUBE_QUAT = slice(QPOS + 9 + 3, QPOS + 9 + 7)


def started(level: str = "easy", steps: int = 3) -> PickCubeEnv:
    env = PickCubeEnv(level)
    env.action_space.seed(0)
    env.reset(seed=4)
    for _ in range(steps):
        env.step(env.action_space.sample())
    return env


def changed(state: np.ndarray, entry: Any, value: Any) -> np.ndarray:
    state = state.copy()
    state[entry] = value
    return state


def everything(env: PickCubeEnv) -> list[Any]:
    """Return all of an environment that decides how it goes on."""
    return [env.get_state().tobytes(), env.np_random.bit_generator.state, env.np_random_seed]


REFUSED_STATES = {
    "stage 99": ("stage 99; allowed: a whole number of 0 to 4 .none, reach", STAGE, 99.0),
    "stage -1": ("stage -1; allowed", STAGE, -1.0),
    "half a stage": (r"stage 1\.5; allowed", STAGE, 1.5),
    "step -1": ("-1 control steps", STEPS, -1.0),
    "half a step": (r"1\.5 control steps", STEPS, 1.5),
    "steps of the future": (r"4 control steps at 0\.6 s; .* 0 to 3, .* takes 0\.2 s", STEPS, 4.0),
    "many steps": ("1e[+]300 control steps", STEPS, 1e300),
    "negative time": ("time -0.6 s; allowed: 0 s or more", TIME, -0.6),
    "NaN": ("state holds NaN", QPOS + 2, np.nan),
    "infinite": ("state holds NaN or infinite", QPOS + 2, -np.inf),
    "astronomic": ("state holds 1e[+]12; allowed: numbers up to 1e[+]10", QPOS + 2, -1e12),
    "no orientation": ("orientation in the state has length 0; allowed: a unit", CUBE_QUAT, 0.0),
}


@pytest.mark.parametrize(("message", "entry", "value"), REFUSED_STATES.values(), ids=REFUSED_STATES)
@pytest.mark.parametrize("way", ["set_state", "reset"])
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(way, message, entry, value):
    env = started()
    before = everything(env)
    state = changed(env.get_state(), entry, value)
    with pytest.raises(ValueError, match=message):
        if way == "reset":
            env.reset(seed=9, options={"state": state})
        else:
            env.set_state(state)
    assert everything(env) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.astype(np.float32), "dtype float32; allowed: float64, since a shorter"),
        (lambda s: s.astype(complex), "dtype complex128; allowed: float64"),
        (lambda s: s.astype(str), "state has dtype <U"),
        (lambda s: s.astype(object), "state has dtype object"),
        (lambda s: s[None], r"state has shape \(1, 151\), this environment's is \(151,\)"),
        (lambda s: s[:-1], r"state has shape \(150,\)"),
        (lambda s: np.append(s, 0.0), r"state has shape \(152,\)"),
        (lambda s: "state", "state has dtype <U5"),
        (lambda s: {"state": s}, "state has dtype object"),
    ],
)
def test_a_state_of_another_type_or_size_is_refused(spoil, message):
    env = started()
    before = everything(env)
    with pytest.raises(ValueError, match=message):
        env.set_state(spoil(env.get_state()))
    assert everything(env) == before


@pytest.mark.parametrize("number", [-2.0, 0.5, 2.0**31])
def test_a_refused_appearance_changes_nothing(number):
    env = started("hard")
    before = everything(env)
    with pytest.raises(ValueError, match="appearance"):
        env.set_state(changed(env.get_state(), -1, number))
    assert everything(env) == before


def test_a_state_may_come_as_a_list_and_from_beyond_the_horizon():
    env = PickCubeEnv(horizon=2)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(4))
    again = PickCubeEnv(horizon=2)
    again.set_state(env.get_state().tolist())  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.get_state(), env.get_state())


def test_every_stage_is_accepted():
    env = started()
    for number, name in enumerate(STAGES):
        env.set_state(changed(env.get_state(), STAGE, float(number)))
        assert env.info()["stage"] == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"states": 1},
            r"unknown option of reset 'states'; available: state \(did you mean",
        ),
        ({"state": None, "seed": 3}, "unknown option of reset 'seed'"),
        ([("state", None)], "options are list; allowed: a mapping with the keys state"),
        ("state", "options are str"),
    ],
)
def test_unknown_options_of_a_reset_change_nothing(options, message):
    env = started()
    before = everything(env)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=1, options=options)
    assert everything(env) == before


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((1, 4)), r"action has shape \(1, 4\); control 'ee_delta' .* takes \(4,\)"),
        (np.float64(1), r"action has shape \(\)"),
        (np.array(["0.1"] * 4), "action has dtype <U3; allowed: real numbers"),
        (np.zeros(4, complex), "action has dtype complex128"),
        (np.zeros(4, bool), "action has dtype bool"),
        (None, "action has dtype object"),
        ([0, 0, np.nan, 0], "action holds NaN"),
    ],
)
@pytest.mark.parametrize("way", ["step", "begin"])
def test_a_refused_action_changes_nothing(way, action, message):
    env = started()
    before, motion = everything(env), env._sim.motion[2]
    with pytest.raises(ValueError, match=message):
        getattr(env, way)(action)
    assert everything(env) == before
    assert env._sim.motion[2] == motion


def test_integers_and_lists_are_actions():
    one, other = started(), started()
    one.step([0, 0, -1, 1])  # type: ignore[arg-type]
    other.step(np.array([0.0, 0.0, -1.0, 1.0]))
    assert everything(one) == everything(other)


@pytest.mark.parametrize("substeps", [-1, 1.5, True, "3"])
def test_a_number_of_substeps_is_an_integer(substeps):
    env = started()
    before = everything(env)
    with pytest.raises(ValueError, match="substeps is .*; allowed: an integer of 0 or more"):
        env.advance(substeps)
    assert everything(env) == before
    env.advance(np.int64(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"horizon": 2.5}, r"horizon is 2\.5; allowed: an integer of 1 or more"),
        ({"horizon": True}, "horizon is True"),
        ({"horizon": "8"}, "horizon is '8'"),
        ({"yaw_range_rad": "0.5"}, "yaw_range_rad is '0.5'; allowed: a number"),
        ({"yaw_range_rad": float("nan")}, "yaw_range_rad is nan"),
        ({"image_size": 20.5}, r"image_size is 20\.5; allowed: one edge or"),
        ({"image_size": (20, 30, 3)}, r"image_size is \(20, 30, 3\)"),
        ({"image_size": (20, -1)}, r"image_size is \(20, -1\)"),
        ({"image_size": "20"}, "image_size is '20'"),
    ],
)
def test_arguments_of_another_type_are_explained(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PickCubeEnv(**kwargs)


@pytest.mark.render
@pytest.mark.parametrize("size", [0, 30.5, True, 5000])
def test_sizes_of_pictures_are_whole_numbers(size):
    env = started()
    with pytest.raises(
        ValueError, match=r"image width .px. is .*; allowed: an integer of 1 to 4096"
    ):
        env.render_frame("front", 20, size)


def test_a_refused_state_leaves_the_following_steps_as_they_were():
    env = started("mixed")
    other = copy.deepcopy(env)
    with pytest.raises(ValueError, match="stage 99"):
        env.set_state(changed(env.get_state(), -2, 99.0))
    for _ in range(3):
        env.step(np.full(4, 0.3))
        other.step(np.full(4, 0.3))
    assert everything(env) == everything(other)
