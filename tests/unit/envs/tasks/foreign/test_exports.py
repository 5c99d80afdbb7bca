"""Demonstrations of SO-101 and Fetch as robomimic files and LeRobot folders, read back.

Skipped, each by its package, where that is not installed (`make test-tasks`).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
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

import s2robot.plugins.robomimic
from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.demonstrations import Demonstrations
from s2robot.envs.tasks.action_scale import scale_of
from s2robot.envs.tasks.loading import make_env

pytestmark = pytest.mark.render


@dataclass(frozen=True)
class Known:
    """A task, and what its exports have."""

    name: str
    package: str
    camera: str
    rate_hz: float
    proprio: tuple[str, ...]
    own_actions: bool
    """Whether its actions have units other than [-1, 1]."""


KNOWN = [
    Known("so101/pick-cube", "lerobot-env-so101", "render", 10.0, ("agent_pos",), True),
    Known(
        "fetch/pick-and-place",
        "gymnasium-robotics",
        "front",
        25.0,
        ("grip_pos", "fingers", "desired_goal"),
        False,
    ),
]


@pytest.fixture(scope="module", params=KNOWN, ids=lambda known: known.name)
def known(request: pytest.FixtureRequest) -> Known:
    """Return each task whose package is installed."""
    try:
        importlib.metadata.version(request.param.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs {request.param.package}")
    return request.param


@pytest.fixture(scope="module")
def demos(known: Known, tmp_path_factory: pytest.TempPathFactory) -> Demonstrations:
    """Two demonstrations."""
    out = tmp_path_factory.mktemp("demos") / "demos.hdf5"
    return collect(CollectConfig(task=known.name, episodes=2, out=out, workers=0))


@pytest.fixture(scope="module")
def env(demos: Demonstrations) -> Iterator[Any]:
    """Make the environment."""
    made = make_env(demos.env_kwargs)
    yield made
    made.close()


@pytest.fixture(scope="module")
def frames(known: Known, demos: Demonstrations, env: Any) -> np.ndarray:
    """Frames (N, 128, 128, 3) that the environment draws while the actions are repeated."""
    found = []
    for episode in demos.episodes:
        env.reset(options={"state": episode.states[0]})
        for action in episode.executed:
            found.append(env.render_frame(known.camera, 128, 128))
            env.step(action)
    return np.stack(found)


def own_units(env: Any, actions: np.ndarray) -> np.ndarray:
    """Return actions in the environment's own units."""
    scale = scale_of(env)
    return actions if scale is None else scale.own(actions)


@pytest.fixture(scope="module")
def file(demos: Demonstrations) -> Path:
    """The robomimic file."""
    out, cache = demos.path.with_name("images.hdf5"), demos.path.parent
    assert main(["export-dataset", str(demos.path), str(out), "--data", str(cache)]) == 0
    return out


def test_robomimic_reads_frames_actions_and_observations(
    known: Known, demos: Demonstrations, env: Any, frames: np.ndarray, file: Path
) -> None:
    image = f"{known.camera}_image"
    keys = {"low_dim": list(known.proprio), "rgb": [image]}
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": keys})
    dataset = SequenceDataset(
        hdf5_path=str(file),
        obs_keys=[*known.proprio, image],
        dataset_keys=["actions", "rewards", "dones"],
        load_next_obs=False,
        hdf5_cache_mode=None,
    )
    actions = own_units(env, demos.actions)
    success = np.concatenate([episode.success for episode in demos.episodes])
    assert len(dataset) == demos.num_frames
    for step in range(demos.num_frames):
        row: Any = dataset[step]
        assert np.array_equal(row["obs"][image][0], frames[step])
        for key in known.proprio:
            assert np.array_equal(row["obs"][key][0], demos.low_dim(key)[step])
        assert np.allclose(row["actions"][0], actions[step], atol=1e-6)
        assert row["rewards"][0] == float(success[step])
    data = open_dataset(file)
    assert (data.rate_hz, data.cameras) == (known.rate_hz, {image: (128, 128)})
    assert tuple(sorted(data.low_dim_names)) == tuple(sorted(known.proprio))


def test_robomimic_makes_the_environment_which_takes_the_actions_of_the_file(
    known: Known, demos: Demonstrations, file: Path
) -> None:
    assert s2robot.plugins.robomimic
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": list(known.proprio), "rgb": []}}
    )
    meta: Any = file_utils.get_env_metadata_from_dataset(dataset_path=str(file))
    assert meta["env_kwargs"].get("own_actions", False) is known.own_actions
    env: Any = env_utils.create_env_from_metadata(env_meta=meta)
    episode = demos.episodes[1]
    executed = own_units(env.env, episode.executed) if known.own_actions else episode.executed
    opened: Any
    with h5py.File(file) as opened:
        group = opened["data/demo_1"]
        seen = env.reset_to({"states": group["states"][0]})
        for step, action in enumerate(executed):
            for key in known.proprio:  # actions are rounded twice, and contacts enlarge that
                assert np.allclose(seen[key], group[f"obs/{key}"][step], atol=1e-2)
            seen, *_ = env.step(action)
        assert group["rewards"][-1] == group.attrs["success"] == env.is_success()["task"] == 1


def test_lerobot_folders_have_the_same_rows(
    known: Known, demos: Demonstrations, env: Any, frames: np.ndarray, tmp_path: Path
) -> None:
    need_libraries()
    out, cache = tmp_path / "lerobot", demos.path.parent
    words = ["export-dataset", str(demos.path), str(out), "--data", str(cache), "--images"]
    assert main(words) == 0
    data = open_dataset(out)
    (camera,) = data.cameras
    assert camera == f"observation.images.{known.camera}"
    assert data.rate_hz == known.rate_hz
    read = [frame for episode in range(2) for frame in data.frames(camera, episode)]
    assert np.array_equal(read, frames)
    assert np.allclose(data.actions, own_units(env, demos.actions), atol=1e-6)
    state = np.concatenate([demos.low_dim(key) for key in known.proprio], axis=1)
    assert np.array_equal(data.low_dim("observation.state"), state)
    assert len(data.low_dim_names["observation.state"]) == state.shape[1]
