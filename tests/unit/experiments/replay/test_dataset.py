"""Rollouts as data sets: stored actions replayed, drawn, written, and read back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import robomimic.utils.obs_utils as obs_utils
import torch
from robomimic.utils.dataset import SequenceDataset
from support.expert_policies import ENV_KWARGS, ExpertPolicy, header
from support.lerobot_data import need_libraries
from support.own_tasks import NAME, ReachEnv
from support.reach_data import write_reach

from s2robot.cli.main import main
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.datasets.opening import open_dataset
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.evaluate import evaluate
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.experiments.replay.dataset import RunRollouts
from s2robot.utils.io import read_jsonl

ENDING = "module:support.own_tasks.Ending"
SAVED = "module:support.own_tasks.Saved"


def evaluated(folder: Path, task: str = NAME, n: int = 5) -> Path:
    """Return the folder of an evaluation of ``Towards`` in batches of two."""
    job = EvalJob(
        task=task,
        n=n,
        rollout=EvalConfig(num_envs=2, workers=0, videos=0),
        external=ExternalConfig(
            policy="support.reach_data:Towards", low_dim=("agent_pos", "goal"), camera="pixels.top"
        ),
        data_dir=folder / "data",
        out=folder / "run",
    )
    evaluate_policy(job)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation with successes and failures."""
    return evaluated(tmp_path_factory.mktemp("rollouts"), ENDING)


def opened(run: Path, **changes: Any) -> RunRollouts:
    """Return the data set of a run."""
    given = {"cameras": None, "size": None, "low_dim": None, "data_dir": run.parent, **changes}
    return RunRollouts(run, **given)


def test_numbers_and_frames_are_those_of_the_environment_itself(run: Path) -> None:
    data, rows = opened(run), read_jsonl(run / "episodes.jsonl")
    assert [row["success_once"] for row in rows].count(True) in range(1, 5)
    assert np.diff(data.episode_ends, prepend=0).tolist() == [row["steps"] for row in rows]
    assert min(row["steps"] for row in rows) < 12  # an episode ends at the goal
    env = ReachEnv(terminates=True)
    observation, _ = env.reset(seed=2_000_000)
    frames = list(data.frames("pixels.top", 0))
    assert len(frames) == rows[0]["steps"]
    for step, frame in enumerate(frames):
        assert np.array_equal(frame, observation["pixels"]["top"])
        assert np.array_equal(data.low_dim("agent_pos")[step], observation["agent_pos"])
        observation = env.step(data.actions[step])[0]
    assert (data.rate_hz, data.action_names) == (5.0, ("a0", "a1"))


def test_masks_say_which_episodes_succeeded(run: Path) -> None:
    data, rows = opened(run), read_jsonl(run / "episodes.jsonl")
    succeeded = [i for i, row in enumerate(rows) if row["success_once"]]
    assert data.masks["success"].tolist() == succeeded
    assert [int(data.success_of(i).any()) for i in range(5)] == [
        int(row["success_once"]) for row in rows
    ]


def test_robomimic_has_images_rewards_and_success(run: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "rollouts.hdf5", opened(run)
    assert main(["export-dataset", str(run), str(out), "--task", ENDING, *words(run)]) == 0
    back = open_dataset(out)
    assert back.cameras == {"pixels.top_image": (32, 40)}
    assert np.array_equal(back.actions, data.actions)
    for episode in range(5):
        frames = list(back.frames("pixels.top_image", episode))
        assert np.array_equal(frames, list(data.frames("pixels.top", episode)))
    assert back.masks["success"].tolist() == data.masks["success"].tolist()
    file: Any
    with h5py.File(out) as file:
        groups = [file[f"data/demo_{i}"] for i in range(5)]
        assert [bool(each.attrs["success"]) for each in groups] == [
            bool(data.success_of(i).any()) for i in range(5)
        ]
        assert np.array_equal(groups[1]["rewards"], data.success_of(1))
        assert "states" not in groups[0]  # they are seeds
        assert json.loads(file["data"].attrs["env_args"])["env_kwargs"]["level"] == ENDING


def test_robomimics_own_data_set_reads_every_row_and_the_successes(
    run: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "rollouts.hdf5", opened(run)
    assert main(["export-dataset", str(run), str(out), "--task", ENDING, *words(run)]) == 0
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["agent_pos"], "rgb": ["pixels.top_image"]}}
    )

    def read(mask: str | None) -> SequenceDataset:
        return SequenceDataset(
            hdf5_path=str(out),
            obs_keys=["agent_pos", "pixels.top_image"],
            dataset_keys=["actions", "rewards", "dones"],
            load_next_obs=False,
            hdf5_cache_mode=None,
            filter_by_attribute=mask,
        )

    dataset, place = read(None), 0
    assert len(dataset) == int(data.episode_ends[-1])
    for episode in range(5):
        success, frames = data.success_of(episode), list(data.frames("pixels.top", episode))
        for step, frame in enumerate(frames):
            row: Any = dataset[place]
            assert np.array_equal(row["obs"]["pixels.top_image"][0], frame)
            assert np.array_equal(row["obs"]["agent_pos"][0], data.low_dim("agent_pos")[place])
            assert np.array_equal(row["actions"][0], data.actions[place])
            assert row["rewards"][0] == float(success[step])
            assert row["dones"][0] == (step == len(frames) - 1)
            place += 1
    solved = [f"demo_{episode}" for episode in data.masks["success"]]
    assert read("success").demos == solved
    failed = [f"demo_{i}" for i in range(5) if f"demo_{i}" not in solved]
    assert read("failure").demos == failed


def words(run: Path) -> list[str]:
    """Further words of the command."""
    return ["--data", str(run.parent)]


def test_lerobot_has_images_rewards_and_success(run: Path, tmp_path: Path) -> None:
    need_libraries()
    out, data = tmp_path / "rollouts", opened(run)
    given = ["--task", ENDING, *words(run), "--images", "--low-dim", "agent_pos"]
    assert main(["export-dataset", str(run), str(out), *given]) == 0
    back = open_dataset(out)
    (camera,) = back.cameras
    assert camera == "observation.images.pixels.top"
    assert np.array_equal(back.low_dim("observation.state"), data.low_dim("agent_pos"))
    assert np.array_equal(back.actions, data.actions)
    assert np.array_equal(list(back.frames(camera, 2)), list(data.frames("pixels.top", 2)))
    assert back.masks["success"].tolist() == data.masks["success"].tolist()
    features = json.loads((out / "meta" / "info.json").read_text())["features"]
    assert features["next.success"] == {"dtype": "bool", "shape": [1], "names": None}
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(out / "data" / "chunk-000" / "file-000.parquet")
    success = np.concatenate([data.success_of(i) for i in range(5)])
    assert table["next.success"].to_pylist() == success.tolist()
    assert (
        np.flatnonzero(table["next.done"].to_pylist()).tolist() == (data.episode_ends - 1).tolist()
    )


def test_full_states_are_written_where_a_task_has_them(tmp_path: Path) -> None:
    run = evaluated(tmp_path, SAVED, 2)
    states = opened(run).states_of(1)
    assert states is not None
    assert np.allclose(states[:, 1:3], opened(run).low_dim("agent_pos")[12:])


def test_a_run_whose_actions_lead_elsewhere_is_refused(tmp_path: Path) -> None:
    run = evaluated(tmp_path, NAME, 2)
    path = run / "actions" / "from_00000.npy"
    np.save(path, -np.load(path))
    with pytest.raises(MismatchError, match=r"episode \d lead to \w+ \S+ here, and \S+ by its row"):
        opened(run)


def test_options_that_a_run_has_not_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["export-dataset", str(run), str(tmp_path / "a.hdf5"), "--task", ENDING, *words(run)]
    for more, text in (
        (["--action", "/command"], "--action is of ROS bags"),
        (["--size", "64"], "its environment gives them, 32x40 px; leave --size out"),
        (["--camera", "side"], "'side'; available: pixels.top, render"),
        (["--low-dim", "speed"], "'speed'; available: agent_pos, goal"),
    ):
        assert main([*argv, *more]) != 0
        assert text in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a.hdf5").exists()


def test_a_task_for_a_recording_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_reach(tmp_path / "reach.hdf5", 2)
    assert main(["export-dataset", str(path), str(tmp_path / "a.hdf5"), "--task", ENDING]) == 2
    assert "reach.hdf5 is a recording; leave it out" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_episodes_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    with pytest.raises(S2RobotError, match="has 0 of 5 episodes; repeat its"):
        RunRollouts(tmp_path, None, None, None, tmp_path)


def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(S2RobotError, match=r"has 2 of 5 episodes; repeat its `s2robot eval`"):
        opened(tmp_path / "run")


def late(folder: Path, policy: Any, latency_ms: float) -> Path:
    """Return the folder of one episode of pick-cube in real time."""
    states = make_initial_states("easy", "test", 1, ENV_KWARGS)
    config = EvalConfig(
        num_envs=1, workers=0, horizon=6, videos=0, realtime=True, latency_ms=latency_ms
    )
    evaluate(policy, None, states, config, folder, header=header("state"), progress=False)
    return folder


@pytest.fixture(scope="module")
def late_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode of the expert, 60 ms late."""
    return late(tmp_path_factory.mktemp("late") / "run", ExpertPolicy(), 60.0)


@pytest.mark.render
def test_rollouts_of_pick_cube_have_the_name_and_rate_of_its_demonstrations(
    late_run: Path, tmp_path: Path
) -> None:
    data = opened(late_run, size=32)
    write_robomimic(data, tmp_path / "a.hdf5")
    file: Any
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "s2robot/PickCube-v0"
    assert open_dataset(tmp_path / "a.hdf5").rate_hz == data.rate_hz == 5.0


def test_a_run_in_real_time_has_no_states_from_which_actions_lead_on(late_run: Path) -> None:
    data = opened(late_run)
    assert data.actions.shape == (6, 4)
    assert data.states_of(0) is None


class Still(ExpertPolicy):
    """A policy whose actions do not depend on what it sees."""

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        del proprio
        return torch.zeros(len(embedding), 4)


def test_delays_are_in_the_digest_of_a_run(tmp_path: Path) -> None:
    data = [opened(late(tmp_path / f"{ms:g}", Still(), ms)) for ms in (20.0, 60.0)]
    assert np.array_equal(data[0].actions, data[1].actions)
    assert data[0].digest != data[1].digest
