from __future__ import annotations

import dataclasses
import inspect
import typing

import pytest

from s2robot.envs.levels import LEVELS, EnvironmentArguments, get_level
from s2robot.envs.pick_cube import PickCubeEnv


def test_levels_differ_in_what_makes_precise_precise():
    easy, precise = get_level("easy"), get_level("precise")
    assert (easy.camera, precise.camera) == ("front", "far")
    assert easy.clearance_m == pytest.approx(0.02)
    assert precise.clearance_m == pytest.approx(0.01)


def test_unknown_level_lists_the_levels_and_guesses():
    with pytest.raises(ValueError, match=r"unknown level 'presice'.*easy, .*precise.*'precise'"):
        get_level("presice")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera": "top"}, "unknown camera 'top'"),
        ({"cube_half_size_m": 0.04}, "does not fit"),
        ({"gripper_opening_m": 0.1}, r"gripper_opening_m is 0\.1"),
        ({"yaw_range_rad": 2.0}, r"yaw_range_rad is 2\.0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"rare_share": 1.5}, r"rare_share is 1\.5; allowed: a probability"),
        ({"rare_share": float("nan")}, "rare_share is nan"),
    ],
)
def test_impossible_levels_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LEVELS["easy"], **change)


def test_hard_differs_from_precise_in_its_appearance_alone():
    for name, twin in (("hard", "precise"), ("easy-hard", "easy")):
        perturbed, nominal = get_level(name), get_level(twin)
        assert dataclasses.replace(perturbed, name=twin, rare_share=0.0) == nominal
        assert (perturbed.appearance_varies, nominal.appearance_varies) == (True, False)
    assert 0 < get_level("mixed").rare_share < 1


def test_arguments_of_the_environment_are_listed_with_their_types_and_defaults() -> None:
    own = inspect.signature(PickCubeEnv.__init__).parameters
    hints = typing.get_type_hints(PickCubeEnv.__init__)
    elsewhere = {"self", "level", "control", "render_mode"}  # settings, or without effect there
    listed = typing.get_type_hints(EnvironmentArguments)
    assert {name: hints[name] for name in own if name not in elsewhere} == listed
    for field in dataclasses.fields(EnvironmentArguments):
        assert field.default == own[field.name].default, field.name
