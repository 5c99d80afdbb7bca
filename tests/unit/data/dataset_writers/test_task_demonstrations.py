"""Demonstrations of tasks other than pick-cube in other formats, read by us and by robomimic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import robomimic.utils.env_utils as env_utils
import robomimic.utils.file_utils as file_utils
import robomimic.utils.obs_utils as obs_utils
from robomimic.utils.dataset import SequenceDataset
from support.lerobot_data import need_libraries
from support.own_tasks import ReachEnv

import s2robot.plugins.robomimic
from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.demonstrations import Demonstrations
from s2robot.envs.tasks import loading
from s2robot.errors import MismatchError

EXACT = "module:support.own_tasks.Exact"
SEEDED = "module:support.own_tasks.Reach"
CAMERAS = ("pixels.side", "pixels.top")
LOW, HIGH = -0.2, 0.1
"""Bounds of the environment's own actions."""


def collected(folder: Path, task: str) -> Demonstrations:
    """Return three demonstrations of a task."""
    return collect(CollectConfig(task=task, episodes=3, out=folder / "demos.hdf5", workers=0))


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Demonstrations:
    """Demonstrations with two cameras and full states."""
    return collected(tmp_path_factory.mktemp("exact"), EXACT)


def exported(demos: Demonstrations, out: Path, *words: str, task: str = EXACT) -> int:
    """Return the exit status of the command."""
    argv = ["export-dataset", str(demos.path), str(out), "--data", str(out.parent)]
    return main([*argv, "--task", task, *words])


@pytest.fixture(scope="module")
def file(demos: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A robomimic file of both cameras."""
    out = tmp_path_factory.mktemp("robomimic") / "reach.hdf5"
    assert exported(demos, out, "--camera", *CAMERAS) == 0
    return out


def episodes_of(demos: Demonstrations) -> Any:
    """Yield the observations and frames of each demonstration as the environment gives them."""
    for episode in demos.episodes:
        env, seen = ReachEnv(), []
        env.reset(seed=0)
        env.tool, env.goal = episode.states[0][1:3].copy(), episode.states[0][3:5].copy()
        own = LOW + (episode.executed.astype(np.float64) + 1) / 2 * (HIGH - LOW)
        for action in own.astype(np.float32):
            seen.append((env.tool.astype(np.float32), env.render()))
            env.step(action)
        yield np.array([tool for tool, _ in seen]), np.array([top for _, top in seen])


def test_frames_actions_and_proprioception_are_those_of_the_environment(
    demos: Demonstrations, file: Path
) -> None:
    data = open_dataset(file)
    assert data.cameras == {"pixels.side_image": (32, 40), "pixels.top_image": (32, 40)}
    assert np.array_equal(data.episode_ends, demos.episode_ends)
    assert data.rate_hz == 5.0
    assert np.allclose(data.actions, LOW + (demos.actions + 1) / 2 * (HIGH - LOW), atol=1e-7)
    assert data.actions.max() <= np.float32(HIGH)
    assert tuple(data.low_dim_names) == ("agent_pos",)  # the goal is the simulator's
    ends = [0, *demos.episode_ends.tolist()]
    for number, (tools, tops) in enumerate(episodes_of(demos)):
        assert np.array_equal(list(data.frames("pixels.top_image", number)), tops)
        assert np.array_equal(list(data.frames("pixels.side_image", number)), tops[:, ::-1, ::-1])
        assert np.allclose(data.low_dim("agent_pos")[ends[number] : ends[number + 1]], tools)
    masks = {name: mask.tolist() for name, mask in data.masks.items()}
    assert masks == {
        "train": demos.train_episodes.tolist(),
        "valid": demos.valid_episodes.tolist(),
    }


def test_robomimic_reads_every_row(demos: Demonstrations, file: Path) -> None:
    images = [f"{camera}_image" for camera in CAMERAS]
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["agent_pos"], "rgb": images}}
    )
    dataset = SequenceDataset(
        hdf5_path=str(file),
        obs_keys=["agent_pos", *images],
        dataset_keys=["actions", "rewards", "dones"],
        load_next_obs=False,
        hdf5_cache_mode=None,
    )
    assert len(dataset) == demos.num_frames
    assert dataset.demos == [f"demo_{number}" for number in range(3)]
    place = 0
    for episode, (tools, tops) in zip(demos.episodes, episodes_of(demos), strict=True):
        for step in range(len(episode)):
            sample: Any = dataset[place]
            assert np.array_equal(sample["obs"][images[1]][0], tops[step])
            assert np.array_equal(sample["obs"][images[0]][0], tops[step][::-1, ::-1])
            assert np.allclose(sample["obs"]["agent_pos"][0], tools[step])
            own = LOW + (episode.actions[step] + 1) / 2 * (HIGH - LOW)
            assert np.allclose(sample["actions"][0], own, atol=1e-7)
            assert sample["rewards"][0] == float(episode.success[step])
            assert sample["dones"][0] == (step == len(episode) - 1)
            place += 1


def test_robomimic_makes_the_environment_that_the_file_names(
    demos: Demonstrations, file: Path
) -> None:
    assert s2robot.plugins.robomimic
    images = [f"{camera}_image" for camera in CAMERAS]
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["agent_pos"], "rgb": images}}
    )
    meta: Any = file_utils.get_env_metadata_from_dataset(dataset_path=str(file))
    assert meta["env_kwargs"]["own_actions"] is True
    env: Any = env_utils.create_env_from_metadata(env_meta=meta, use_image_obs=True)
    opened: Any
    with h5py.File(file) as opened:
        group = opened["data/demo_1"]
        assert group.attrs["success"]
        seen = env.reset_to({"states": group["states"][0]})
        for step, action in enumerate(group["actions"][:]):
            for key in images:
                frame = np.rint(255 * seen[key].transpose(1, 2, 0)).astype(np.uint8)
                assert np.array_equal(frame, group[f"obs/{key}"][step])
            assert np.allclose(seen["agent_pos"], group["obs/agent_pos"][step], atol=1e-6)
            seen, reward, _, _ = env.step(action)
            assert env.is_success()["task"] == bool(group["rewards"][step])
        assert env.serialize()["env_kwargs"]["own_actions"] is True


def test_states_that_are_seeds_are_not_written(tmp_path: Path) -> None:
    out = tmp_path / "seeded.hdf5"
    assert exported(collected(tmp_path, SEEDED), out, task=SEEDED) == 0
    opened: Any
    with h5py.File(out) as opened:
        assert "states" not in opened["data/demo_0"]
        kwargs = json.loads(opened["data"].attrs["env_args"])["env_kwargs"]
        assert (kwargs["level"], kwargs["camera_names"]) == (SEEDED, ["render"])
        assert (kwargs["camera_heights"], kwargs["camera_widths"]) == (32, 40)


def test_lerobot_has_the_names_of_the_actions_and_the_proprioception(
    demos: Demonstrations, tmp_path: Path
) -> None:
    need_libraries()
    out = tmp_path / "set"
    words = ["--camera", "pixels.top", "--images", "--low-dim", "agent_pos", "goal"]
    assert exported(demos, out, *words) == 0
    data = open_dataset(out)
    assert data.action_names == ("right", "down")
    assert data.low_dim_names == {
        "observation.environment_state": ("goal_0", "goal_1"),
        "observation.state": ("agent_pos_0", "agent_pos_1"),
    }
    tops = [top for _, top in episodes_of(demos)]
    frames = list(data.frames("observation.images.pixels.top", 2))
    assert np.array_equal(frames, tops[2])


def test_a_task_that_the_user_did_not_name_is_not_imported(
    demos: Demonstrations,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "_trusted", set())
    loading.task_named.cache_clear()
    assert main(["export-dataset", str(demos.path), str(tmp_path / "a.hdf5")]) == 2
    assert f"'task={EXACT}', or as --task of `s2robot export-dataset`" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "64"], "its environment gives them, 32x40 px; leave --size out"),
        (["--camera", "wrist"], "'wrist'; available: pixels.side, pixels.top, render"),
        (["--low-dim", "speed"], "'speed'; available: agent_pos, goal"),
        (["--task", SEEDED], f"--task is {SEEDED}, and"),
    ],
)
def test_what_the_task_has_not_is_named(
    demos: Demonstrations,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert exported(demos, tmp_path / "a.hdf5", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a.hdf5").exists()


def test_names_of_actions_that_do_not_fit_are_refused() -> None:
    name = loading.named_by_user("module:support.own_tasks.WrongNames")
    with pytest.raises(ValueError, match="action_names are right, down, up; allowed: 2 different"):
        loading.make_env({"level": name})


def test_a_recording_says_that_it_has_no_environment(file: Path, tmp_path: Path) -> None:
    data = open_dataset(file)
    write_robomimic(data, tmp_path / "again.hdf5")
    meta: Any = file_utils.get_env_metadata_from_dataset(dataset_path=str(tmp_path / "again.hdf5"))
    assert (meta["env_name"], meta["env_kwargs"]) == ("recorded-reach", {"control_freq": 5.0})
    with pytest.raises(MismatchError, match=r"are a recording \(reach\) and have no environment"):
        env_utils.create_env_from_metadata(env_meta=meta)
