"""A policy that LeRobot trained acts in the ROS 1 node as `s2robot eval` rolls it out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rospy", reason="ROS 1 is not in this environment: make test-ros")

from support.lerobot_conversion import SIDE, converted_policy
from support.ros1_policy import PolicyNode

from s2robot import load_policy
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv


def test_actions_are_those_of_the_policy_file(rig, tmp_path):
    path = converted_policy(tmp_path)
    node, own = PolicyNode(rig, path), load_policy(path, device="cpu", runtime="eager")
    env = PickCubeEnv("easy")
    expert, found, expected = ScriptedExpert(env.level), [], []
    env.reset(seed=3)
    for _ in range(6):
        seen, frame = env.observe(), env.render_frame("front", SIDE, SIDE)
        action, anew = node.act(frame, env.joints()[0].tolist())
        if anew:
            own.reset()
        found.append(action)
        expected.append(own(frame, seen))
        env.step(expert.action(seen))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01
