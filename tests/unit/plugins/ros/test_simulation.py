"""The simulated robot in time and in step with actions, on a link without ROS."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from s2robot.data.ros_messages.stamps import NS
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.plugins.ros.core import Level, simulation
from s2robot.plugins.ros.core.simulation import Simulation
from s2robot.plugins.ros.simulated_robot import RobotConfig, SimulatedRobot

PERIOD_NS = NS // 5
SEED = 11


class Link:
    """Topics that keep what was sent, and a node with the expert at their other end.

    The node embeds each frame, and acts on the newest at a timer of 5 Hz on the simulated clock, as
    the real one does.

    Args:
        config: of the robot, which draws no pictures.
        delay_s: time that the node takes to embed a frame; 0 answers in the same thread.
        lost: numbers of the frames that do not arrive.
        simulated_time: whether /clock is published.
    """

    def __init__(
        self,
        config: RobotConfig,
        delay_s: float = 0.0,
        lost: tuple[int, ...] = (),
        simulated_time: bool = True,
    ) -> None:
        self.robot = SimulatedRobot(config)
        self.robot.frame = lambda: np.zeros((2, 2, 3), np.uint8)  # type: ignore[method-assign]
        self.expert = ScriptedExpert(self.robot.env.level)
        self.delay_s, self.lost = delay_s, lost
        self.running, self.sources, self.answers = True, 1, True
        self.clocks: list[int] = []
        self.frames: list[int] = []
        self.joints: list[int] = []
        self.texts: list[str] = []
        self.logged: list[tuple[Level, str]] = []
        self._due_ns, self._new_ns = 0, 0
        self.simulation = Simulation(self.robot, self, simulated_time)

    def alive(self) -> bool:
        return self.running

    def now_ns(self) -> int:
        return 7 * NS + len(self.frames)

    def publish_clock(self, now_ns: int) -> None:
        self.clocks.append(now_ns)
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + PERIOD_NS
        if self._new_ns and self.answers:
            stamp, self._new_ns = self._new_ns, 0
            self.act(stamp)

    def act(self, stamp: int) -> None:
        action = self.expert.action(self.robot.env.observe())
        self.simulation.receive_action(action, stamp)

    def publish_joints(self, stamp_ns: int, position: list[float], velocity: list[float]) -> None:
        assert len(position) == len(velocity) == 9
        self.joints.append(stamp_ns)

    def publish_frame(self, stamp_ns: int, frame: np.ndarray) -> None:
        assert frame.shape == (2, 2, 3)
        self.frames.append(stamp_ns)
        if len(self.frames) - 1 in self.lost:
            return
        if self.delay_s:
            threading.Timer(self.delay_s, self._embed, [stamp_ns]).start()
        else:
            self._embed(stamp_ns)

    def _embed(self, stamp: int) -> None:
        self._new_ns = stamp
        self.simulation.receive_embedding(stamp)

    def publish_episode(self, text: str) -> None:
        self.texts.append(text)

    def frame_takers(self) -> int:
        return 1

    def action_sources(self) -> int:
        return self.sources

    def log(self, level: Level, text: str) -> None:
        self.logged.append((level, text))

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]


def synchronous(**changes: Any) -> RobotConfig:
    return RobotConfig(**{"seed": SEED, "episodes": 1, "synchronous": True, **changes})


def steps_of_the_environment(seed: int) -> tuple[int, dict[str, np.ndarray]]:
    """Return the steps in which the expert lifts the cube in the environment, and what it sees."""
    env = PickCubeEnv("easy")
    expert = ScriptedExpert(env.level)
    observation, info = env.reset(seed=seed)
    steps = 0
    while not info["is_success"]:
        observation, _, _, _, info = env.step(expert.action(observation))
        steps += 1
    return steps, observation


@pytest.mark.parametrize("delay_s", [0.0, 0.03])
def test_a_waiting_world_is_the_environment_however_slow_the_node(delay_s: float) -> None:
    link = Link(synchronous(), delay_s)
    assert link.simulation.run()
    steps, seen = steps_of_the_environment(SEED)
    (episode,) = link.told
    assert episode == {
        "seed": SEED,
        "success": True,
        "stage": "success",
        "seconds": pytest.approx(steps * 0.2),
        "actions": steps,
        "missed": 0,
    }
    assert link.simulation.episodes[0].actions == steps
    for key, value in link.robot.env.observe().items():
        np.testing.assert_array_equal(value, seen[key], key)
    assert len(link.frames) == steps
    assert link.clocks == sorted(link.clocks)
    assert min(np.diff(link.frames)) >= PERIOD_NS


def test_episodes_follow_each_other_after_a_pause() -> None:
    link = Link(synchronous(episodes=3))
    assert link.simulation.run()
    assert [row["seed"] for row in link.told] == [SEED, SEED + 1, SEED + 2]
    expected = [steps_of_the_environment(SEED + i)[0] for i in range(3)]
    assert [row["actions"] for row in link.told] == expected
    gaps = np.diff(link.frames)
    assert (gaps > 3 * PERIOD_NS).sum() == 2, "a policy with a history would go on with the last"


def test_a_frame_without_an_action_is_told_and_the_world_goes_on() -> None:
    link = Link(synchronous(seconds=0.6, wait_s=0.05))
    link.answers = False
    assert link.simulation.run()
    (episode,) = link.told
    assert (episode["success"], episode["actions"], episode["missed"]) == (False, 0, 3)
    errors = [text for level, text in link.logged if level is Level.ERROR]
    assert errors == ["no action came within 0.05 s: the arm rests for a period"] * 3


def test_a_frame_that_nobody_embeds_is_told() -> None:
    link = Link(synchronous(seconds=0.2, wait_s=0.05), lost=(0,))
    assert link.simulation.run()
    assert any("no embedding and no action came" in text for _, text in link.logged)


def test_a_frame_that_was_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "_SEND_AGAIN_S", 0.01)
    link = Link(synchronous(), lost=(0, 3))
    assert link.simulation.run()
    assert link.told[0]["actions"] == steps_of_the_environment(SEED)[0]
    assert link.told[0]["missed"] == 0
    assert link.frames[0] == link.frames[1]


def test_an_action_on_another_frame_is_not_carried_out() -> None:
    link = Link(synchronous(seconds=0.2, wait_s=0.05))
    link.act = lambda stamp: link.simulation.receive_action(np.ones(4), stamp - 1)  # type: ignore
    assert link.simulation.run()
    assert link.told[0]["missed"] == 1


def test_an_action_without_embedding_is_enough() -> None:
    """A node of another kind publishes no embeddings."""
    link = Link(synchronous())
    link._embed = link.act  # type: ignore[method-assign]
    assert link.simulation.run()
    assert link.told[0]["actions"] == steps_of_the_environment(SEED)[0]


def test_a_bad_action_is_logged() -> None:
    link = Link(synchronous(seconds=0.2))
    link.act = lambda stamp: link.simulation.receive_action(np.ones(3), stamp)  # type: ignore
    assert link.simulation.run()
    assert any(level is Level.ERROR and "shape" in text for level, text in link.logged)
    assert link.told[0]["actions"] == 0


def test_a_world_that_waits_needs_simulated_time() -> None:
    with pytest.raises(ValueError, match="synchronous is true, but time is not simulated"):
        Link(synchronous(), simulated_time=False)


def test_it_stops_and_goes_on() -> None:
    link = Link(synchronous())
    assert not link.simulation.run(lambda: len(link.frames) < 3)
    seen = len(link.frames)
    assert not link.texts
    assert link.simulation.run()
    assert len(link.frames) > seen
    assert link.told[0]["success"]


def test_it_ends_with_ros() -> None:
    link = Link(synchronous())
    link.running = False
    assert not link.simulation.run()
    assert not link.frames


def test_the_first_episode_waits_for_a_source_of_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "_CLOCK_S", 0.001)
    link = Link(synchronous())
    link.sources = 0
    rounds = iter(range(20))
    assert not link.simulation.run(lambda: next(rounds, None) is not None)
    assert link.joints
    assert len(link.clocks) == len(link.joints)
    assert not link.frames
    link.sources = 1
    assert link.simulation.run()


def test_in_time_frames_joints_and_the_clock_have_their_rates() -> None:
    """A second of an arm that nobody moves, at ten times the speed."""
    config = RobotConfig(seed=SEED, episodes=1, seconds=1.0, speed=10.0)
    link = Link(config)
    link.answers = False
    assert link.simulation.run()
    assert link.told[0]["stage"] == "none"
    assert np.diff(link.joints) == pytest.approx(NS // 100)
    assert set(np.diff(link.frames)) <= {30_000_000, 40_000_000}
    assert len(link.frames) == pytest.approx(31, abs=1)
    assert set(link.joints) <= set(link.clocks)


def test_in_time_actions_are_carried_out_as_they_arrive() -> None:
    link = Link(RobotConfig(seed=SEED, episodes=2, speed=10.0))
    assert link.simulation.run()
    for row in link.told:
        assert row["success"], row
        assert row["missed"] == 0
        assert row["actions"] <= row["seconds"] * 5 + 2


def test_without_simulated_time_stamps_are_those_of_the_wall() -> None:
    config = RobotConfig(seed=SEED, episodes=1, seconds=0.2, speed=10.0)
    link = Link(config, simulated_time=False)
    assert link.simulation.run()
    assert not link.clocks
    assert min(link.frames) >= 7 * NS
