"""Rollouts of a policy of ROS bags: names TOPIC:FIELD of the data, on the command line too."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support.own_tasks import NAME
from support.paths import ROOT
from support.reach_data import reach_episodes

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")

from support.bag_episodes import COMMAND, JOINTS, Episode
from support.recorded_policies import policy_of_bags

from s2robot.cli.main import main
from s2robot.policies.checkpoint import read_header
from s2robot.utils.io import read_json, read_jsonl

CAMERA, KEY = "/top/image_raw", f"{JOINTS}:position"
PERIOD_MS = 200
FAST = ("rollout.num_envs=2", "rollout.workers=0", "rollout.videos=0", "device=cpu", "n=2")
PAGE = ROOT / "docs" / "guides" / "own-data-rollouts.md"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of bags, with one camera and the positions of the joints."""
    return policy_of_bags(tmp_path_factory.mktemp("bags"), (KEY,), write_reach_bags)


def write_reach_bags(folder: Path) -> None:
    for number, (actions, positions, frames) in enumerate(reach_episodes(4)):
        episode = Episode()
        for step, frame in enumerate(frames):
            at_ms = PERIOD_MS * step
            episode.frame(at_ms, frame, CAMERA)
            episode.joints(at_ms, positions[step])
            episode.joints(at_ms + 20, actions[step], COMMAND, ("right", "down"))
        episode.write(folder / f"episode_{number}_db3")


def evaluated(policy: Path, folder: Path, names: str) -> int:
    """Return the exit status of an evaluation with some ``observations=``."""
    words = [f"checkpoint={policy}", f"task={NAME}", f"observations={names}", *FAST]
    return main(["eval", *words, f"data_dir={folder}", f"out={folder / 'out'}"])


def page_line() -> list[str]:
    """Return the words of the page's command for bags."""
    (line,) = [line for line in PAGE.read_text().splitlines() if "/joint_states" in line]
    return shlex.split(line)


def test_the_command_of_the_page_runs(policy: Path, tmp_path: Path) -> None:
    assert read_header(policy).proprio_keys == (KEY,)
    program, *words = page_line()
    assert program == "s2robot"
    changed = {"checkpoint": str(policy), "task": NAME}
    words = [
        f"{name}={changed[name]}" if (name := word.partition("=")[0]) in changed else word
        for word in words
    ]
    assert main([*words, *FAST, f"data_dir={tmp_path}", f"out={tmp_path / 'out'}"]) == 0
    record = read_json(tmp_path / "out" / "run.json")
    assert record["task"]["observations"] == {KEY: ["agent_pos"]}
    assert (record["camera"]["name"], record["camera"]["of"]) == ("render", CAMERA)
    assert len(read_jsonl(tmp_path / "out" / "episodes.jsonl")) == 2


@pytest.mark.parametrize(
    "names",
    [
        f"{{{KEY}:[agent_pos],{CAMERA}:render}}",
        f"{{'{KEY}': agent_pos, {CAMERA}: render}}",
        f"{{{JOINTS}\\:position: agent_pos, {CAMERA}: render}}",
        f"{{{KEY[1:]}: agent_pos, {CAMERA[1:]}: render}}",
    ],
    ids=["list", "quotes", "backslash", "no slash"],
)
def test_other_spellings_are_taken_too(policy: Path, tmp_path: Path, names: str) -> None:
    assert evaluated(policy, tmp_path, names) == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            f"{{{JOINTS}: agent_pos}}",
            f"unknown key in observations {JOINTS!r}; available: {KEY}, {CAMERA} (did you mean "
            f"{KEY!r}?)",
        ),
        (f"{{{JOINTS}:velocity: agent_pos}}", f"available: {KEY}, {CAMERA}"),
        (
            f"{{{KEY}: joints, {CAMERA}: render}}",
            "'joints'; available: agent_pos, goal",
        ),
        (f"{{{KEY}: agent_pos}}", f"Say which shows the same: 'observations={{{CAMERA}: render}}'"),
    ],
    ids=["topic alone", "other field", "other name", "no camera"],
)
def test_a_wrong_name_is_answered_with_those_there_are(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluated(policy, tmp_path, names)
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert not (tmp_path / "out").exists()
