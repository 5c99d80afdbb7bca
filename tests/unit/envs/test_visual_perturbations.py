"""Visual perturbations: drawn by a number in the state, and without effect on the physics."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import colorsys
import dataclasses
import pickle
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from s2robot.data.collection import CollectConfig, collect
from s2robot.data.frame_sources import frames_from
from s2robot.data.rendered_frames import CameraConfig, RenderedFrames
from s2robot.envs import ENV_ID
from s2robot.envs.domain_randomization import RandomScenes
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.levels import LEVELS, get_level, levels_of_task
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import renderer
from s2robot.envs.scene import COLORS, FIXED_CAMERAS, look_at
from s2robot.envs.textures import PATTERNS
from s2robot.envs.visual_perturbations import (
    NOMINAL,
    RED_BAND,
    SEEDS,
    draw_appearance,
    draw_number,
)

SIZE = 48
TWINS = [("precise", "hard"), ("easy", "easy-hard"), ("precise", "mixed"), ("easy", "easy-mixed")]


def frame(env: PickCubeEnv, camera: str = "far") -> np.ndarray:
    return env.render_frame(camera, SIZE, SIZE)


def started(level: str, seed: int) -> PickCubeEnv:
    env = PickCubeEnv(level)
    env.reset(seed=seed)
    return env


def test_a_seed_fixes_the_picture_and_seeds_differ():
    env = started("hard", 3)
    first = frame(env)
    np.testing.assert_array_equal(frame(started("hard", 3)), first)
    pictures = {frame(started("hard", seed)).tobytes() for seed in range(8)}
    assert len(pictures) == 8
    env.reset(seed=4)
    env.reset(seed=3)
    np.testing.assert_array_equal(frame(env), first)


@pytest.mark.parametrize(("nominal", "perturbed"), TWINS)
def test_appearance_does_not_change_the_physics(nominal, perturbed):
    """The expert's episode is the same, bit for bit, but for the last entry of its states."""
    one, other = started(nominal, 7), started(perturbed, 7)
    expert = ScriptedExpert(one.level)
    for _ in range(12):
        seen, seen_too = one.observe(), other.observe()
        frame(other)
        for key, value in seen.items():
            np.testing.assert_array_equal(value, seen_too[key], err_msg=key)
        np.testing.assert_array_equal(one.get_state(), other.get_state()[:-1])
        action = expert.action(seen)
        info, info_too = one.step(action)[-1], other.step(action)[-1]
        assert info == info_too


@pytest.mark.parametrize("level", ["hard", "easy-hard"])
def test_expert_solves_perturbed_levels(level):
    for seed in range(3):
        env = PickCubeEnv(level)
        observation, _ = env.reset(seed=seed)
        expert = ScriptedExpert(env.level)
        info: dict[str, Any] = {}
        for _ in range(env.level.horizon):
            observation, _, _, _, info = env.step(expert.action(observation))
        assert info["is_success"]


def test_a_state_restores_its_appearance():
    env = started("hard", 1)
    env.step(np.array([0.3, 0.2, -0.5, 1.0]))
    state, picture, appearance = env.get_state(), frame(env), env.appearance
    other = started("hard", 2)
    assert not np.array_equal(frame(other), picture)
    other.reset(options={"state": state})
    np.testing.assert_array_equal(frame(other), picture)
    assert other.appearance == appearance
    copy = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(frame(copy), picture)
    np.testing.assert_array_equal(frame(env), picture)  # others drew in between


def test_demonstrations_are_rendered_in_the_appearance_they_were_collected_in(tmp_path):
    config = CollectConfig(level="hard", episodes=2, valid_share=0.5, data_dir=tmp_path)
    demos = collect(config)
    rendered = RenderedFrames(demos, CameraConfig("far", SIZE), tmp_path / "frames")
    starts = [0, int(demos.episode_ends[0])]
    for seed, start in enumerate(starts):
        np.testing.assert_array_equal(
            rendered.read(start, start + 1)[0], frame(started("hard", seed))
        )
    numbers = [set(episode.states[:, -1]) for episode in demos.episodes]
    assert [len(found) for found in numbers] == [1, 1]  # one appearance per episode
    assert numbers[0] != numbers[1]


def test_the_nominal_level_looks_as_if_there_were_no_perturbed_level():
    """Perturbed pictures in between change no nominal one; ``mixed`` draws nominal ones."""
    before = frame(started("precise", 0))
    frame(started("hard", 0))
    np.testing.assert_array_equal(frame(started("precise", 0)), before)
    mixed = PickCubeEnv("mixed")
    is_nominal = []
    for seed in range(40):
        mixed.reset(seed=seed)
        is_nominal.append(mixed.appearance is None)
        if is_nominal[-1] and sum(is_nominal) <= 3:
            np.testing.assert_array_equal(frame(mixed), frame(started("precise", seed)))
    assert 20 <= sum(is_nominal) <= 38  # of 40 at a share of 0.75


def test_share_of_perturbed_episodes():
    rng = np.random.default_rng(0)
    drawn = [draw_number(rng, 0.25) != NOMINAL for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.04)
    assert all(draw_number(rng, 1.0) >= 0 for _ in range(100))


def test_models_of_nominal_levels_have_no_textures():
    assert PickCubeEnv("precise").model.ntex == PickCubeEnv("easy").model.ntex == 0
    assert PickCubeEnv("hard").model.ntex == len(PATTERNS)


def test_the_shared_model_is_not_changed():
    env = started("hard", 0)
    model = env.model
    before = {name: model.geom(name).rgba.copy() for name in COLORS}
    camera = model.camera("far").pos.copy()
    frame(env)
    for name, rgba in before.items():
        np.testing.assert_array_equal(model.geom(name).rgba, rgba)
    np.testing.assert_array_equal(model.camera("far").pos, camera)
    direct = renderer().render(model, env.data, "wrist", SIZE, SIZE)
    assert not np.array_equal(direct, frame(env, "wrist"))


# -------------------------------------------------------------------------------- what is drawn
@pytest.fixture(scope="module")
def drawn():
    return [draw_appearance(number) for number in range(150)]


def test_perturbed_colors_are_outside_what_demonstrations_show(drawn):
    red = colorsys.rgb_to_hsv(*COLORS["cube"][:3])[0]
    for appearance in drawn:
        hue = colorsys.rgb_to_hsv(*appearance.cube.rgb)[0]
        assert min(abs(hue - red), 1 - abs(hue - red)) > RED_BAND - 0.01
        for name, material in appearance.surfaces.items():
            assert np.abs(np.subtract(material.rgb, COLORS[name][:3])).max() > 0.1


def test_the_cube_stands_out_from_the_table(drawn):
    for appearance in drawn:
        cube, table = appearance.cube.tones(), appearance.surfaces["table"].tones()
        gaps = [np.linalg.norm(a - b) for a in cube for b in table]
        assert min(gaps) > 0.25


def test_every_pattern_is_used_and_so_is_none(drawn):
    used = {material.pattern for a in drawn for material in (a.cube, *a.surfaces.values())}
    assert used == {None, *PATTERNS}


@pytest.mark.parametrize(("camera", "level"), [("far", "precise"), ("front", "easy")])
def test_the_cameras_shift_misplaces_the_cube_by_less_than_a_policy_tolerates(drawn, camera, level):
    """Read with the nominal camera, the cube seems at most 10 mm off (at 12 mm half succeed)."""
    pose, task = FIXED_CAMERAS[camera], get_level(level)
    nominal = _matrix(look_at(pose.position, pose.target, (0, 0, 1)))
    rng = np.random.default_rng(0)
    for appearance in drawn:
        position, quat = appearance.view.pose(pose)
        x, y = rng.uniform(*task.cube_x_range_m), rng.uniform(*task.cube_y_range_m)
        cube = np.array([x, y, task.cube_half_size_m])
        ray = nominal @ (_matrix(quat).T @ (cube - position))
        seen = pose.position + ray * (cube[2] - pose.position[2]) / ray[2]
        assert np.linalg.norm(seen - cube) < 0.010


def _matrix(quat: np.ndarray) -> np.ndarray:
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, quat)
    return rotation.reshape(3, 3)


# ------------------------------------------------------------------------- where a level is named
def test_hard_is_a_level_wherever_one_is_named():
    made = gym.make(ENV_ID, level="hard", image_camera="far", image_size=SIZE)
    observation, _ = made.reset(seed=0)
    np.testing.assert_array_equal(observation["image"], frame(started("hard", 0)))
    assert "hard" in PickCubeEnv("hard").model_xml()
    source = frames_from("pick-cube/hard", SIZE, SIZE, 1)
    np.testing.assert_array_equal(source[0], frame(started("hard", 0)))


def test_levels_of_a_task():
    assert levels_of_task("precise") == ["precise", "mixed", "hard"]
    assert levels_of_task("easy-hard") == ["easy", "easy-mixed", "easy-hard"]
    wider = dataclasses.replace(LEVELS["hard"], horizon=40)
    assert not wider.same_task(LEVELS["precise"])


def test_pretraining_draws_from_the_two_levels_it_was_made_with(monkeypatch):
    """A level added to the table changes no frame of an encoder's pre-training."""
    before = RandomScenes(seed=0, size=SIZE).frame(2)
    monkeypatch.setitem(LEVELS, "another", dataclasses.replace(LEVELS["easy"], name="another"))
    frames = [RandomScenes(seed=0, size=SIZE).frame(i) for i in range(4)]
    np.testing.assert_array_equal(frames[2], before)
    for i, shown in enumerate(frames):
        level = np.random.default_rng((0, i)).choice(["easy", "precise"])
        scenes = RandomScenes(seed=0, size=SIZE)
        monkeypatch.setattr(scenes, "_place_cube", _recording(seen := [], scenes._place_cube))
        np.testing.assert_array_equal(scenes.frame(i), shown)
        assert seen == [level]


def _recording(seen: list[str], call: Any) -> Any:
    def wrapped(rng: Any, level: Any) -> None:
        seen.append(level.name)
        call(rng, level)

    return wrapped


# ------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("number", [-2.0, 0.5, float(SEEDS)])
def test_a_state_with_an_unknown_appearance_is_refused(number):
    env = started("hard", 0)
    state = env.get_state()
    with pytest.raises(ValueError, match=r"appearance .* is unknown; allowed: -1 \(nominal\)"):
        env.set_state(np.append(state[:-1], number))
    np.testing.assert_array_equal(env.get_state(), state)


def test_a_state_of_the_other_kind_of_level_is_refused():
    with pytest.raises(ValueError, match=r"state has shape .*rare_share 1\)"):
        started("hard", 0).set_state(started("precise", 0).get_state())
    with pytest.raises(ValueError, match="appearance number is -5"):
        draw_appearance(-5)
