"""Joint states to actions: proprioception, watchdog, histories."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.ros_doubles import (
    header,
)
from support.ros_policies import HOME, PANDA, READS_ALL, Agent, joint_state, make_policy

from s2robot.data.ros_messages.stamps import NS
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core import (
    JointError,
    JointTracker,
    Level,
    PolicyRunner,
    Proprioception,
)
from s2robot.plugins.ros.core.diagnostics import policy_status
from s2robot.policies.dataset import stack_proprio


@pytest.mark.parametrize("keys", [("ee_pos", "gripper_width"), READS_ALL])
def test_proprioception_is_the_environments(keys: tuple[str, ...]) -> None:
    env = PickCubeEnv()
    make, tracker = Proprioception(keys), JointTracker()
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=3)
    for step in range(4):
        qpos, qvel = env.joints()[0], env.joints()[1][:7]
        message = joint_state(NS + step, qpos)
        message.velocity = [*qvel, 0.0, 0.0]
        tracker.update(message, float(step))
        joints = tracker.read()
        assert joints is not None
        expected = stack_proprio({key: obs[key][None] for key in keys}, keys)
        np.testing.assert_allclose(make(joints), expected, atol=1e-5)
        obs, *_ = env.step(rng.uniform(-1, 1, 4))


@pytest.mark.parametrize("prefix", ["", "fr3_", "robot/", "left_panda_"])
def test_joint_names(prefix: str) -> None:
    names = [prefix + name.removeprefix("panda_") for name in PANDA]
    order = np.random.default_rng(0).permutation(9)
    tracker = JointTracker()
    message = joint_state(5, [HOME[i] for i in order], [names[i] for i in order])
    message.name.append("wheel_joint")
    message.position.append(99.0)
    tracker.update(message, 1.0)
    joints = tracker.read()
    assert joints is not None
    np.testing.assert_array_equal(joints.arm_rad, HOME[:7])
    assert joints.gripper_width_m == pytest.approx(0.06)
    assert joints.arm_rad_s is None


def test_arm_and_gripper_in_messages_of_their_own() -> None:
    tracker = JointTracker()
    assert tracker.read() is None
    tracker.update(joint_state(3 * NS, HOME[:7], PANDA[:7]), 1.0)
    with pytest.raises(JointError, match="lack finger_joint1; the last message named panda_joint1"):
        tracker.read()
    tracker.update(joint_state(2 * NS, [0.02], ["hand_finger_joint1"]), 2.0)  # mimicked by 2
    joints = tracker.read()
    assert joints is not None
    assert joints.gripper_width_m == pytest.approx(0.04)
    assert (joints.arrived_s, joints.stamp_ns) == (1.0, 2 * NS)  # the oldest of each
    tracker.update(joint_state(2 * NS, [0.9] * 7, PANDA[:7]), 3.0)  # overtaken: left out
    again = tracker.read()
    assert again is not None
    np.testing.assert_array_equal(again.arm_rad, HOME[:7])
    assert JointTracker(gripper=False).read() is None


def test_two_arms_need_a_prefix() -> None:
    names = [side + name for side in ("left_", "right_") for name in PANDA]
    message = joint_state(5, [*HOME, *([0.5] * 9)], names)
    with pytest.raises(JointError, match="two arms, 'left_panda_' and 'right_panda_'") as caught:
        JointTracker().update(message, 1.0)
    assert caught.value.kind == "joint_ambiguous"
    tracker = JointTracker("right_panda_")
    tracker.update(message, 1.0)
    joints = tracker.read()
    assert joints is not None
    np.testing.assert_array_equal(joints.arm_rad, [0.5] * 7)


@pytest.mark.parametrize(
    "kind, message",
    [
        ("joint_nan", joint_state(5, [*HOME[:3], float("nan"), *HOME[4:]])),
        ("joint_malformed", joint_state(5, HOME[:8])),
        ("joint_malformed", SimpleNamespace(header=header(5))),
    ],
)
def test_bad_joint_states(kind: str, message: Any) -> None:
    tracker = JointTracker()
    with pytest.raises(JointError) as caught:
        tracker.update(message, 1.0)
    assert caught.value.kind == kind


def test_policies_that_a_robot_cannot_run() -> None:
    with pytest.raises(MismatchError, match="reads cube_pos, which joint states do not hold"):
        Agent(keys=("ee_pos", "cube_pos"), width=6)
    policy, head = make_policy(dim=0)
    with pytest.raises(MismatchError, match="not frames"):
        PolicyRunner(policy, head, 0.5, lambda: 0, lambda *_: None)
    policy, head = make_policy()
    with pytest.raises(ValueError, match="stale_s is 0; allowed: seconds above 0"):
        PolicyRunner(policy, head, 0, lambda: 0, lambda *_: None)


def test_actions_are_the_policys_and_one_for_each_embedding() -> None:
    agent = Agent()
    action = agent.step()
    twin, _ = make_policy()
    twin.reset(1)
    tracker = JointTracker()
    tracker.update(joint_state(NS, HOME), 0.0)
    joints = tracker.read()
    assert joints is not None
    proprio = torch.from_numpy(Proprioception(agent.header.proprio_keys)(joints))
    expected = twin.act(torch.arange(1.0, 6.0)[None], proprio)[0].clamp(-1, 1)
    np.testing.assert_allclose(action.values, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert action.header.sequence == 1
    assert action.meaning == ("dx", "dy", "dz", "gripper")
    assert action.anew
    assert agent.runner.tick() is None  # the same embedding again
    assert not agent.step().anew
    assert agent.runner.counts().actions == 2


@pytest.mark.parametrize("lacking", ["frames", "joints"])
@pytest.mark.parametrize("clock", ["arrival", "stamp"])
def test_watchdog(lacking: str, clock: str) -> None:
    agent = Agent()
    agent.step()
    agent.log.clear()
    for _ in range(5):
        agent.clock.forward(0.2)
        old = agent.clock.ros() - round(0.6 * NS)
        if clock == "stamp":  # messages arrive, but they are old
            agent.see(old if lacking == "frames" else None)
            agent.feel(stamp=old if lacking == "joints" else None)
        elif lacking == "joints":
            agent.see()
        else:
            agent.feel()
        action = agent.runner.tick()
    assert action is None
    assert len(agent.log) == 1
    assert agent.log[0][0] is Level.ERROR
    assert f"{lacking}" in agent.log[0][1]
    assert ("compare the clocks" in agent.log[0][1]) == (clock == "stamp")
    counts = agent.runner.counts()
    assert (counts.paused, counts.pauses) == (f"stale_{lacking}", {f"stale_{lacking}": 1})
    assert policy_status("policy", counts).level is Level.ERROR
    assert agent.step().anew
    assert [level for level, _ in agent.log] == [Level.ERROR, Level.OK]
    assert policy_status("policy", agent.runner.counts()).level is Level.OK


def test_stamps_in_the_future_are_refused() -> None:
    agent = Agent()
    agent.feel()
    agent.see(agent.clock.ros() + NS)
    assert agent.runner.tick() is None
    assert "1.00 s in the future" in agent.log[0][1]
    assert "compare the clocks" in agent.log[0][1]


def test_a_camera_that_stops_is_no_matter_of_clocks() -> None:
    """Stamps are a little older than arrivals, and so the first to be too old."""
    agent = Agent()
    agent.see(agent.clock.ros() - round(0.05 * NS))
    agent.clock.forward(0.48)
    agent.feel()
    assert agent.runner.tick() is None
    assert "frames are 0.53 s old" in agent.log[0][1]
    assert "clocks" not in agent.log[0][1]


def test_before_anything_has_arrived() -> None:
    agent = Agent()
    assert agent.runner.tick() is None
    assert agent.runner.counts().paused == "no_joints"
    agent.feel()
    assert agent.runner.tick() is None
    assert agent.runner.counts().paused == "no_frames"
    agent.see()
    assert agent.runner.tick() is not None


def test_bad_joints_and_nan_actions_stop_the_policy() -> None:
    agent = Agent()
    agent.step()
    agent.feel([float("nan")] * 9)
    agent.see()
    assert agent.runner.tick() is None
    assert agent.runner.counts().paused == "joint_nan"
    assert agent.step() is not None
    agent.clock.forward(0.2)
    agent.feel()
    agent.see(value=float("nan"))
    assert agent.runner.tick() is None
    assert agent.runner.counts().paused == "action_nan"
    agent.policy.act = lambda *_: 1 / 0  # type: ignore[method-assign]
    agent.see()
    assert agent.runner.tick() is None
    assert agent.runner.counts().pauses["policy_ZeroDivisionError"] == 1


@pytest.mark.parametrize("kind", ["rnn_gmm", "transformer", "act"])
def test_history_continues_at_the_control_rate_and_is_reset_after_a_gap(kind: str) -> None:
    agent = Agent(kind)
    resets: list[float] = []
    reset = agent.policy.reset
    agent.policy.reset = lambda n: (resets.append(agent.clock.s), reset(n))[1]  # type: ignore
    assert [agent.step().anew for _ in range(4)] == [True, False, False, False]
    assert not agent.step(0.4).anew  # one step was missed
    assert agent.step(0.45).anew
    assert any("policy is reset" in text for _, text in agent.log)
    assert not agent.step().anew
    agent.clock.ros_s -= 100  # the simulation was reset
    assert agent.step().anew
    agent.runner.reset()
    assert agent.runner.tick() is None  # what was seen before is not acted on
    assert agent.step().anew
    assert len(resets) == 4 == agent.runner.counts().resets


def test_a_gap_is_one_by_the_nodes_clock() -> None:
    """A simulation may be slower than the wall's clock, or faster, and the policy goes on."""
    agent = Agent("rnn_gmm")
    agent.step()
    agent.clock.s += 5.0  # of the wall, in which 0.2 s were simulated
    assert not agent.step().anew
    agent.clock.ros_s += 0.4
    assert agent.step().anew


def test_while_the_clock_is_silent_a_gap_is_one_by_the_wall() -> None:
    agent = Agent("rnn_gmm")
    agent.clock.ros = lambda: 0  # type: ignore[method-assign]
    agent.runner._now_ns = agent.clock.ros
    agent.step()
    assert not agent.step(0.4).anew
    assert agent.step(0.45).anew


def test_a_history_changes_what_the_policy_does() -> None:
    """The second action depends on the first frame, else the test above could not fail."""
    actions = []
    for first in (1.0, -2.0):
        agent = Agent("rnn_gmm")
        agent.clock.forward(0.2)
        agent.feel()
        agent.see(value=first)
        agent.runner.tick()
        actions.append(agent.step().values)
    assert np.abs(actions[0] - actions[1]).max() > 1e-4
