"""Policies behind a server by openpi's protocol."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.own_tasks import NAME

from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.agents import openpi
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.utils.io import read_json, read_jsonl

pytest.importorskip("msgpack", reason="extra `openpi` is not installed")
pytest.importorskip("websockets", reason="extra `openpi` is not installed")

from support.policy_server import encode, served

pytestmark = pytest.mark.process


def evaluated(out: Path, address: str, n: int = 2, **external: Any) -> Path:
    """Roll the policy of a server out in ``Reach``."""
    job = EvalJob(
        task=NAME,
        n=n,
        rollout=EvalConfig(num_envs=2, workers=0, videos=0),
        external=ExternalConfig(policy=address, timeout_s=5.0, **external),
        data_dir=out.parent / "data",
        out=out,
    )
    evaluate_policy(job)
    return out


def to_the_goal(observation: dict[str, Any]) -> dict[str, Any]:
    """A chunk of five equal actions towards the goal, of float64 as JAX does not give them."""
    tool, goal = np.split(observation["observation/state"], 2)
    action = (np.clip((goal - tool) / 5, -0.2, 0.1) + 0.2) / 0.15 - 1
    return {"actions": np.tile(action, (5, 1)), "server_timing": {"infer_ms": 0.1}}


def test_a_server_is_asked_for_each_environment_where_its_chunk_is_used_up(tmp_path):
    with served(to_the_goal, {"reset_pose": [0.0, 1.0]}) as (address, seen):
        names: dict[str, Any] = {"low_dim": ("agent_pos", "goal"), "prompt": "reach", "label": "pi"}
        out = evaluated(tmp_path / "run", address, **names)
    assert all(row["success_once"] for row in read_jsonl(out / "episodes.jsonl"))
    assert len(seen) == 2 * 3 + 33  # 12 steps in chunks of 5; then the latency of one frame
    assert set(seen[0]) == {"observation/image", "observation/state", "prompt"}
    assert seen[0]["observation/image"].shape == (32, 40, 3)
    assert seen[0]["observation/image"].dtype == np.uint8
    assert seen[0]["observation/state"].dtype == np.float32
    assert seen[0]["prompt"] == "reach"
    record = read_json(out / "run.json")["external"]
    assert record["server"] == {"reset_pose": [0.0, 1.0]}
    cell = read_json(out / "cell.json")
    assert (cell["label"], cell["policy_kind"], cell["seed"]) == ("pi", "external", 0)


def test_names_in_the_messages_are_those_of_the_robot(tmp_path):
    def answer(observation: dict[str, Any]) -> dict[str, Any]:
        return {"chunk": np.zeros((1, 2), np.float32)}

    names: dict[str, Any] = {"image_key": "image/top", "state_key": None, "action_key": "chunk"}
    with served(answer) as (address, seen):
        evaluated(tmp_path / "run", address, execute=1, **names)
    assert set(seen[0]) == {"image/top", "observation/agent_pos"}


def test_another_server_does_not_go_on_with_a_run(tmp_path):
    answer = to_the_goal
    names: dict[str, Any] = {"low_dim": ("agent_pos", "goal")}
    with served(answer, {"step": 1}) as (address, _):
        evaluated(tmp_path / "run", address, **names)
    with served(answer, {"step": 2}) as (address, _), pytest.raises(MismatchError, match="server"):
        evaluated(tmp_path / "run", address, n=4, **names)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"actions": np.zeros((4, 3))}, r"shape \(4, 3\); the task takes 2 numbers \(a0, a1\)"),
        ({"actions": np.full((4, 2), np.nan)}, "returned NaN or infinite actions"),
        ({"action": np.zeros(2)}, "no entry 'actions'; it has action.*external.action_key"),
        ("Traceback:\n  ...\nKeyError: 'observation/joint_position'", "KeyError: 'observation/joi"),
        (
            None,
            "closed the connection in place of .* .code 1001 the policy was stopped",
        ),
        (b"\xc1", "the actions for an observation cannot be read"),
        (encode(["actions"]), r"no entry 'actions'; it has \['actions'\]"),
        (
            encode(
                {"actions": {b"__ndarray__": True, b"dtype": "|O8", b"shape": [1], b"data": b""}}
            ),
            "cannot be read: .*an array of object; allowed: numbers",
        ),
    ],
)
def test_what_is_wrong_with_a_server_is_named(tmp_path, answer, message):
    with served(lambda _: answer) as (address, _), pytest.raises(S2RobotError, match=message) as e:
        evaluated(tmp_path / "run", address)
    assert str(e.value).startswith(f"policy={address}")


def test_a_server_that_is_not_there_or_is_another_is_named(tmp_path):
    with served(to_the_goal) as (address, _):
        pass
    with pytest.raises(S2RobotError, match="cannot be connected to: .*Start the server first"):
        evaluated(tmp_path / "gone", address)
    with served(to_the_goal, first="hello") as (address, _):
        with pytest.raises(S2RobotError, match="failed in place of .* description .* hello"):
            evaluated(tmp_path / "other", address)


def test_a_server_that_does_not_answer_in_time_is_named(tmp_path, monkeypatch):
    with served(to_the_goal) as (address, _):
        source = openpi.ServerSource(address, ExternalConfig(policy=address, timeout_s=0.2))
        with pytest.raises(S2RobotError, match=r"within 0.2 s; raise .* external.timeout_s="):
            source._received("the actions for an observation")
        source.close()


@pytest.mark.parametrize("package", ["msgpack", "websockets.exceptions"])
def test_a_missing_package_is_named_with_its_installation(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(openpi, "install_command", lambda extra: f"pip install EXTRA-{extra}")
    with pytest.raises(S2RobotError, match="is not installed: pip install EXTRA-openpi"):
        openpi.ServerSource("ws://127.0.0.1:1", ExternalConfig())


def test_arrays_pass_unchanged_and_objects_do_not():
    content = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.float32(0.5), "c": [True]}
    again = openpi.unpacked(openpi.packed(content))
    np.testing.assert_array_equal(again["a"], content["a"])
    assert (again["a"].dtype, again["b"], again["c"]) == (np.int16, np.float32(0.5), [True])
    with pytest.raises(ValueError, match="an array of object cannot be sent"):
        openpi.packed({"a": np.array([{}])})
