"""Exports of demonstrations and rollouts of tasks, read by LeRobot itself (`make test-lerobot`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="LeRobot is not in this environment: make test-lerobot")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.rendered_demonstrations import open_source
from s2robot.envs.tasks.loading import named_by_user
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.experiments.replay.dataset import RunRollouts

EXACT, ENDING = "module:support.own_tasks.Exact", "module:support.own_tasks.Ending"
CAMERAS = ["pixels.side", "pixels.top"]


def demonstrations(folder: Path) -> tuple[Path, Any]:
    """Collect demonstrations; return what is exported, and the same as a data set."""
    path = folder / "demos.hdf5"
    collect(CollectConfig(task=EXACT, episodes=3, out=path, workers=0))
    named_by_user(EXACT)
    return path, open_source(path, CAMERAS, None, None, folder)


def rollouts(folder: Path) -> tuple[Path, Any]:
    """Evaluate a policy whose episodes have several lengths; return run and data set."""
    external = ExternalConfig(
        policy="support.reach_data:Towards", low_dim=("agent_pos", "goal"), camera="pixels.top"
    )
    rollout = EvalConfig(num_envs=2, workers=0, videos=0)
    run = folder / "run"
    evaluate_policy(
        EvalJob(task=ENDING, n=5, rollout=rollout, external=external, data_dir=folder, out=run)
    )
    return run, RunRollouts(run, ["pixels.top"], None, None, folder)


SOURCES = {"demonstrations": (demonstrations, EXACT), "rollouts": (rollouts, ENDING)}


@pytest.mark.parametrize("images", [True, False], ids=["pictures", "videos"])
@pytest.mark.parametrize("source", SOURCES)
def test_every_row_and_frame_is_that_of_the_source(
    tmp_path: Path, source: str, images: bool
) -> None:
    make, task = SOURCES[source]
    path, expected = make(tmp_path)
    out = tmp_path / "set"
    words = ["--camera", *expected.cameras, *(["--images"] if images else [])]
    argv = ["export-dataset", str(path), str(out), "--task", task, "--data", str(tmp_path)]
    assert main([*argv, *words]) == 0
    data = LeRobotDataset("own/set", root=str(out), video_backend="pyav")
    ends = [0, *expected.episode_ends.tolist()]
    assert (len(data), data.num_episodes, data.fps) == (ends[-1], len(ends) - 1, 5)
    assert data.meta.features["action"]["names"] == list(expected.action_names)
    stats: Any = data.meta.stats
    for key, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        assert np.allclose(stats["action"][key], np.quantile(expected.actions, share, axis=0))
    episodes: Any = data.meta.episodes
    assert list(episodes["dataset_from_index"]) == ends[:-1]
    assert list(episodes["dataset_to_index"]) == ends[1:]
    for number, (start, stop) in enumerate(zip(ends, ends[1:], strict=False)):
        success = expected.success_of(number)
        frames = {name: list(expected.frames(name, number)) for name in expected.cameras}
        for step, row in enumerate(range(start, stop)):
            item: Any = data[row]
            assert np.array_equal(item["action"].numpy(), expected.actions[row])
            state = expected.low_dim("agent_pos")[row]
            assert np.array_equal(item["observation.state"].numpy()[: len(state)], state)
            assert int(item["episode_index"]) == number
            assert float(item["timestamp"]) == pytest.approx(step / 5)
            assert bool(item["next.success"]) == bool(success[step])
            assert float(item["next.reward"]) == float(success[step])
            assert bool(item["next.done"]) == (row == stop - 1)
            for name, shown in frames.items():
                picture = item[f"observation.images.{name}"].permute(1, 2, 0).numpy()
                errors = [np.abs(np.rint(255 * picture) - frame).mean() for frame in shown]
                assert errors[step] == min(errors)  # of all frames of the episode
                assert errors[step] == 0 or not images


def test_neighbors_in_time_stay_within_an_episode(tmp_path: Path) -> None:
    path, expected = demonstrations(tmp_path)
    out = tmp_path / "set"
    argv = ["export-dataset", str(path), str(out), "--task", EXACT, "--data", str(tmp_path)]
    assert main([*argv, "--camera", "pixels.top"]) == 0
    steps = {"action": [0.0, 0.2], "observation.images.pixels.top": [-0.2, 0.0]}
    data = LeRobotDataset("own/set", root=str(out), delta_timestamps=steps, video_backend="pyav")
    last = int(expected.episode_ends[0]) - 1
    item: Any = data[last]
    assert item["action_is_pad"].tolist() == [False, True]
    assert np.array_equal(item["action"][0].numpy(), expected.actions[last])
    first: Any = data[last + 1]
    assert first["observation.images.pixels.top_is_pad"].tolist() == [True, False]
    assert np.array_equal(first["action"].numpy(), expected.actions[last + 1 : last + 3])
