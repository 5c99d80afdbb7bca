"""Policies of ROS bags in the nodes: joints by name, actions in the recording's units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ros_doubles import Clock, header
from support.ros_policies import joint_state, make_policy

from s2robot.data.ros_messages.stamps import NS, UNSET_NS
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.loaded_policy import load_policy
from s2robot.plugins.ros.core import EmbeddingResult, JointError, PolicyRunner, Timings
from s2robot.plugins.ros.core.policy.recorded import RecordedObservations
from s2robot.policies.action_space import PROPRIO_NAMES, recorded_action_space
from s2robot.policies.checkpoint import PolicyHeader

POSITION, VELOCITY = "/joint_states", "/joint_states:velocity"
NAMES = ("shoulder", "elbow")
LOW, HIGH = np.array([-20.0, 0.0, 3.0]), np.array([20.0, 5.0, 3.0])


def described(
    keys: tuple[str, ...] = (POSITION,),
    hz: float | None = 5.0,
    names: Mapping[str, list[str]] | None = None,
) -> PolicyHeader:
    head = make_policy()[1]
    known = {key: list(NAMES) for key in keys}
    return dataclasses.replace(
        head,
        proprio_keys=keys,
        action_space=recorded_action_space(LOW, HIGH, ("x", "y", "grip"), hz),
        env_kwargs={},
        frames={"kind": "recorded", "cameras": [], PROPRIO_NAMES: {**known, **(names or {})}},
    )


def message(stamp: int, **values: list[float]) -> Any:
    found = joint_state(stamp, [], ("elbow", "wrist", "shoulder"))
    for field, numbers in values.items():
        setattr(found, field, numbers)
    return found


def test_joints_are_found_by_name_in_the_order_of_the_policy() -> None:
    source = RecordedObservations(described((POSITION, VELOCITY)))
    assert source.needs_joints
    assert source.read() is None
    source.update(message(NS, position=[2.0, 9.0, 1.0], velocity=[20.0, 90.0, 10.0]), 4.0)
    found = source.read()
    assert found is not None
    np.testing.assert_array_equal(found.vector, np.array([[1, 2, 10, 20]], np.float32))
    assert found.vector.dtype == np.float32
    assert (found.arrived_s, found.stamp_ns) == (4.0, NS)


def test_joints_of_several_messages_are_as_old_as_the_oldest() -> None:
    source = RecordedObservations(described())
    source.update(joint_state(NS, [1.0], ["shoulder"]), 1.0)
    with pytest.raises(JointError, match="lack the position of elbow; the last .* named shoulder"):
        source.read()
    source.update(joint_state(3 * NS, [2.0], ["elbow"]), 3.0)
    source.update(joint_state(2 * NS, [7.0], ["elbow"]), 3.1)  # late: it keeps the newer one
    found = source.read()
    assert found is not None
    assert (found.vector.tolist(), found.arrived_s, found.stamp_ns) == ([[1, 2]], 1.0, NS)


def test_names_that_the_data_made_unique_are_those_of_joints() -> None:
    names = {key: [f"{key}.{name}" for name in NAMES] for key in (POSITION, VELOCITY)}
    source = RecordedObservations(described((POSITION, VELOCITY), names=names))
    source.update(message(NS, position=[2.0, 9.0, 1.0], velocity=[20.0, 90.0, 10.0]), 4.0)
    found = source.read()
    assert found is not None
    assert found.vector.tolist() == [[1, 2, 10, 20]]


@pytest.mark.parametrize(
    "fields, kind, text",
    [
        ({"position": [1.0, 2.0]}, "joint_malformed", "names 3 joints, but has 2 numbers in pos"),
        ({"position": [np.nan, 0.0, 1.0]}, "joint_nan", "the position of elbow is nan"),
        ({"position": None}, "joint_malformed", "not a JointState"),
    ],
)
def test_wrong_joint_states_are_refused(fields: Any, kind: str, text: str) -> None:
    source = RecordedObservations(described())
    with pytest.raises(JointError, match=text) as caught:
        source.update(message(NS, **fields), 1.0)
    assert caught.value.kind == kind
    assert source.read() is None


def test_nan_of_a_joint_that_is_not_read_does_not_matter() -> None:
    source = RecordedObservations(described())
    source.update(message(NS, position=[2.0, np.nan, 1.0]), 1.0)
    assert source.read() is not None


@pytest.mark.parametrize(
    "head, text",
    [
        (described(("observation.state",)), "reads observation.state; the node has joint states"),
        (described(("/pose:pose.position",)), "reads /pose:pose.position; the node has joint"),
        (described((POSITION, "/left/joint_states")), "reads 2 topics .*one of joint states"),
        (described(hz=None), "recorded data that do not tell their rate"),
    ],
)
def test_what_the_node_cannot_give_is_named(head: PolicyHeader, text: str) -> None:
    with pytest.raises(MismatchError, match=text):
        PolicyRunner(make_policy()[0], head, 1.0, lambda: 0, lambda *_: None)


def test_a_file_without_the_joints_names_is_refused() -> None:
    head = described()
    head.frames.pop(PROPRIO_NAMES)
    with pytest.raises(MismatchError, match="does not name the joints of /joint_states"):
        RecordedObservations(head)


def test_a_policy_of_frames_alone_needs_no_joints() -> None:
    found = RecordedObservations(described(()))
    observed = found.read()
    assert not found.needs_joints
    assert observed is not None
    assert observed.vector.shape == (1, 0)
    assert observed.stamp_ns == UNSET_NS


# -------------------------------------------------------------------------- a trained policy
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module", params=[True, False], ids=["with joints", "frames alone"])
def policy(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A policy of bags, with joint states or with frames alone."""
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.recorded_policies import policy_of_bags

    return policy_of_bags(folder, (POSITION, VELOCITY) if request.param else ())


def test_actions_are_those_of_load_policy(policy: Path) -> None:
    alone = load_policy(policy, device="cpu", runtime="eager")
    clock, log = Clock(), []
    runner = PolicyRunner.from_file(
        policy, 0.5, clock.ros, lambda *line: log.append(line), clock=clock
    )
    assert runner.control_hz == pytest.approx(10.0)
    assert runner.frame_shape == (32, 32)
    rng = np.random.default_rng(0)
    for step in range(4):
        clock.forward(0.1)
        frame = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        values = rng.uniform(-9, 9, 2)  # beyond the training's: its actions reach their limits
        stamp = clock.ros()
        state = joint_state(stamp, values[::-1], ("joint_1", "joint_0"))
        state.velocity = list(10 * values[::-1])
        if alone.proprio_keys:
            runner.take_joints(state)
        embedding = alone.encoder(frame)[0].numpy()  # type: ignore[union-attr, operator]
        timings = Timings(0, 0, 0, 0, 0)
        shape = embedding.shape
        runner.take_embedding(
            EmbeddingResult("image", header(stamp), {}, embedding, shape, stamp, clock.s, timings)
        )
        action = runner.tick()
        assert action is not None, log
        expected = alone(frame, {POSITION: values, VELOCITY: 10 * values})
        np.testing.assert_allclose(action.values, expected, rtol=0, atol=1e-6)
        assert action.meaning == alone.action_names == ("dx", "dy", "close")
        assert action.anew == (step == 0)


def test_without_fresh_joints_there_are_no_actions(policy: Path) -> None:
    clock, log = Clock(), []
    runner = PolicyRunner.from_file(
        policy, 0.5, clock.ros, lambda *line: log.append(line), clock=clock
    )
    clock.forward(1.0)
    timings, stamp = Timings(0, 0, 0, 0, 0), clock.ros()
    shape = runner.header.embedding_shape
    embedding = np.zeros(shape, np.float32)
    runner.take_embedding(
        EmbeddingResult("image", header(stamp), {}, embedding, shape, stamp, clock.s, timings)
    )
    action = runner.tick()
    if not runner.header.proprio_keys:
        assert action is not None
        return
    assert action is None
    assert runner.counts().paused == "no_joints"
