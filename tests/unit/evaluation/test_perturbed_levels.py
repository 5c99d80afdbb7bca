"""Evaluation on levels with visual perturbations: same starts, each environment its own look."""

from __future__ import annotations

import numpy as np
import pytest
from support.expert_policies import ExpertPolicy, header

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.evaluation.vector_env import CameraView, make_vector_env
from s2robot.utils.io import read_json, read_jsonl

SIZE = 48


def frame(env: PickCubeEnv, camera: str = "far") -> np.ndarray:
    return env.render_frame(camera, SIZE, SIZE)


@pytest.mark.render
@pytest.mark.parametrize("workers", [0, 1])
def test_vector_environments_keep_their_own_appearances(workers):
    initial_states = make_initial_states("hard", "test", 3, PickCubeEnv("hard").env_kwargs())
    envs = make_vector_env({"level": "hard"}, 3, CameraView("far", SIZE, SIZE), workers)
    frames = envs.reset(initial_states.states).frames
    envs.close()
    assert frames is not None
    for shown, state in zip(frames, initial_states.states, strict=True):
        env = PickCubeEnv("hard")
        env.set_state(state)
        np.testing.assert_array_equal(shown, frame(env))


def test_initial_states_share_their_starts_with_the_nominal_level():
    sets = {
        name: make_initial_states(name, "test", 4, PickCubeEnv(name).env_kwargs())
        for name in ("precise", "hard", "easy-hard")
    }
    precise, hard = sets["precise"], sets["hard"]
    np.testing.assert_array_equal(hard.states[:, :-1], precise.states)
    assert len(set(hard.states[:, -1])) == 4
    assert hard.starts_sha256 == precise.starts_sha256 != sets["easy-hard"].starts_sha256
    assert hard.sha256 != precise.sha256


@pytest.mark.process
@pytest.mark.render
def test_a_policy_is_rolled_out_on_the_other_appearance_from_the_same_starts(tmp_path):
    rows = {}
    for level in ("easy", "easy-hard"):
        initial_states = make_initial_states(level, "test", 2, PickCubeEnv(level).env_kwargs())
        config = EvalConfig(num_envs=2, workers=0, videos=1, video_size=SIZE)
        out = tmp_path / level
        evaluate(ExpertPolicy(), None, initial_states, config, out, header=header("state"))
        assert read_json(out / "run.json")["task"]["env"]["level"] == level
        rows[level] = read_jsonl(out / "episodes.jsonl")
    for one, other in zip(*rows.values(), strict=True):
        assert one.pop("condition") != other.pop("condition")
        assert one == other  # a policy without pixels does the same
    videos = [(tmp_path / level / "videos/success_00000.mp4").read_bytes() for level in rows]
    assert videos[0] != videos[1]


def test_initial_states_of_another_task_are_refused(tmp_path):
    initial_states = make_initial_states("hard", "test", 2, PickCubeEnv("hard").env_kwargs())
    with pytest.raises(MismatchError, match=r"level easy.*level hard.*easy, easy-mixed, easy-hard"):
        evaluate(
            ExpertPolicy(), None, initial_states, EvalConfig(), tmp_path, header=header("state")
        )
