"""``eval_info.json``: the layout of LeRobot 0.6.1."""

from __future__ import annotations

import json

import pytest
from support.expert_policies import ENV_KWARGS, ExpertPolicy, header

from s2robot.evaluation.eval_info import eval_info
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import make_initial_states

ROWS = [
    {"success_once": True, "success_at_end": False, "steps_lifted": 4},
    {"success_once": False, "success_at_end": False, "steps_lifted": 0},
    {"success_once": True, "success_at_end": True, "steps_lifted": 6},
]
TIMING = [{"start": 0, "env": [100.0, 150.0], "policy": [250.0, 0.0]}]


def test_keys_and_units_are_those_of_lerobot():
    """As eval_policy_all of lerobot 0.6.1 builds them; success in percent, at any step."""
    means = {"avg_sum_reward": 10 / 3, "avg_max_reward": 2 / 3, "n_episodes": 3}
    paths = {"video_paths": ["videos/a.mp4"], "predicted_video_paths": []}
    assert eval_info("easy", ROWS, TIMING, ["videos/a.mp4"]) == {
        "per_task": [
            {
                "task_group": "easy",
                "task_id": 0,
                "metrics": {
                    "sum_rewards": [4.0, 0.0, 6.0],
                    "max_rewards": [1.0, 0.0, 1.0],
                    "successes": [True, False, True],
                    **paths,
                },
            }
        ],
        "per_group": {"easy": {**means, "pc_success": pytest.approx(200 / 3), **paths}},
        "overall": {
            **means,
            "pc_success": pytest.approx(200 / 3),
            "eval_s": 0.5,
            "eval_ep_s": pytest.approx(0.5 / 3),
            **paths,
        },
    }


def test_an_evaluation_writes_it_beside_its_summary(tmp_path):
    initial_states = make_initial_states("easy", "test", 3, ENV_KWARGS)
    config = EvalConfig(num_envs=2, workers=0, videos=0)
    evaluate(
        ExpertPolicy(fails=(1,)),
        None,
        initial_states,
        config,
        tmp_path,
        header=header("state"),
        progress=False,
    )
    found = json.loads((tmp_path / "eval_info.json").read_text())
    metrics = found["per_task"][0]["metrics"]
    assert metrics["successes"] == [True, False, True]
    assert metrics["sum_rewards"][0] > metrics["sum_rewards"][1] == 0
    assert found["overall"]["pc_success"] == pytest.approx(200 / 3)
    assert found["overall"]["eval_s"] > 0
