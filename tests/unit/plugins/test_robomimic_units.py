"""Units of actions and turned frames: robomimic's policies in our evaluation, ours in its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robomimic.utils.file_utils as file_utils
import robomimic.utils.obs_utils as obs_utils
import robomimic.utils.train_utils as train_utils
import torch
from robomimic.algo import algo_factory
from robomimic.scripts.run_trained_agent import rollout
from support.expert_policies import ExpertPolicy, header
from support.robomimic_configs import bc, merged, write_config

from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.rendered_demonstrations import open_source
from s2robot.envs.tasks import loading
from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.agents.external import TaskDescription
from s2robot.evaluation.agents.loaded_policy import LoadedPolicy
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.plugins.robomimic.configuration import BOTTOM_UP, UpsideDownWarning, read_config
from s2robot.plugins.robomimic.rollout import S2RolloutPolicy
from s2robot.plugins.robomimic.trained_policy import _scale, load

EXACT = "module:support.own_tasks.Exact"
LOW, HIGH = -0.2, 0.1
"""Bounds of the environment's own actions."""
STEPS = EPISODES = 3


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    """Name the task, and forget it afterwards."""
    loading.named_by_user(EXACT)
    yield
    loading._trusted.discard(EXACT)
    loading.task_named.cache_clear()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A robomimic file of two demonstrations, with actions in units of the environment."""
    folder = tmp_path_factory.mktemp("units")
    demos = collect(CollectConfig(task=EXACT, episodes=2, out=folder / "demos.hdf5", workers=0))
    write_robomimic(open_source(demos.path, None, None, None, folder), folder / "reach.hdf5")
    return folder / "reach.hdf5"


def save_checkpoint(path: Path, data: Path, rgb: tuple[str, ...] = (), **metadata: Any) -> Path:
    """Write a checkpoint with random weights, which acts beyond the environment's bounds too."""
    given = bc(data, path.parent)
    given["observation"]["modalities"]["obs"] = {"low_dim": ["agent_pos"], "rgb": list(rgb)}
    config = read_config(write_config(path.with_suffix(".json"), given))
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = file_utils.get_shape_metadata_from_dataset(str(data), config.all_obs_keys)
    torch.manual_seed(0)
    sizes = OrderedDict(shapes["all_shapes"])
    algorithm = algo_factory("bc", config, sizes, shapes["ac_dim"], torch.device("cpu"))
    meta = merged(file_utils.get_env_metadata_from_dataset(str(data)), metadata)
    train_utils.save_model(algorithm, config, meta, shapes, str(path))
    return path


def evaluated(out: Path, policy: Path) -> np.ndarray:
    """Return the actions (n, T, A) in [-1, 1] of a policy in our evaluation."""
    job = EvalJob(
        task=EXACT,
        n=EPISODES,
        rollout=EvalConfig(num_envs=EPISODES, workers=0, videos=0, horizon=STEPS),
        external=ExternalConfig(policy=f"robomimic:{policy}?device=cpu"),
        data_dir=out.parent / "data",
        out=out,
    )
    evaluate_policy(job)
    return np.concatenate([np.load(path) for path in sorted((out / "actions").iterdir())])


def by_robomimic(checkpoint: Path) -> np.ndarray:
    """Return the actions (n, T, A) of robomimic's rollouts from the same initial states."""
    policy, content = file_utils.policy_from_checkpoint(ckpt_path=str(checkpoint))
    env: Any = file_utils.env_from_checkpoint(ckpt_dict=content)[0]
    states = make_initial_states(EXACT, "test", EPISODES, {"level": EXACT}).states
    env.start_from(states)
    found = [rollout(policy, env, STEPS)[1]["actions"] for _ in states]
    return np.stack(found)


@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_actions_in_units_of_the_environment_reach_it_as_in_robomimic(
    file: Path, tmp_path: Path
) -> None:
    checkpoint = save_checkpoint(tmp_path / "own.pth", file)
    theirs, ours = by_robomimic(checkpoint), evaluated(tmp_path / "run", checkpoint)
    expected = (2 * (theirs - LOW) / (HIGH - LOW) - 1).clip(-1, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert np.abs(ours - theirs).max() > 0.1


@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_files_of_others_have_units_of_their_environment_and_ours_say_when_they_do(
    file: Path, tmp_path: Path
) -> None:
    own = save_checkpoint(tmp_path / "own.pth", file)
    other = save_checkpoint(tmp_path / "other.pth", file, env_name="Reach-v0")
    unit = save_checkpoint(tmp_path / "unit.pth", file, env_kwargs={"own_actions": False})
    first = evaluated(tmp_path / "a", own)
    np.testing.assert_array_equal(evaluated(tmp_path / "b", other), first)
    np.testing.assert_allclose(
        evaluated(tmp_path / "c", unit), by_robomimic(unit).clip(-1, 1), atol=1e-5
    )


def test_units_that_the_task_does_not_have_are_refused() -> None:
    task = TaskDescription("easy", {}, {}, ("a",), "ee_delta", 10.0, 30)
    meta = {"env_name": EXACT, "env_kwargs": {"level": EXACT, "own_actions": True}}
    with pytest.raises(MismatchError, match=f"units of {EXACT}, and those of easy are other ones"):
        _scale(meta, Path("a.pth"), task)
    assert _scale({**meta, "env_kwargs": {"level": EXACT}}, Path("a.pth"), task) is None
    assert _scale({"env_name": "Lift", "env_kwargs": None}, Path("a.pth"), task) is None


@pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.core.SmallFrameWarning")
def test_frames_are_turned_over_for_a_policy_of_images_that_were_upside_down(
    file: Path, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    scale = ActionScale(np.full(2, LOW), np.full(2, HIGH))
    sizes = {"render": (32, 40)}
    task = TaskDescription(EXACT, sizes, {"agent_pos": 2}, ("a", "b"), "native", 5.0, 12, scale)
    seen = {}
    for bottom_up in (False, True):
        told = {BOTTOM_UP: True} if bottom_up else {}
        checkpoint = save_checkpoint(tmp_path / f"{bottom_up}.pth", file, ("render_image",), **told)
        if bottom_up:
            with pytest.warns(UpsideDownWarning, match="upright, so they are turned over for it"):
                policy = load(str(checkpoint), task, "cpu")
        else:
            policy = load(str(checkpoint), task, "cpu")
        seen[bottom_up] = policy.sources["render_image"]({"render": frames}, {})
    np.testing.assert_array_equal(seen[True], seen[False][:, :, ::-1])
    np.testing.assert_allclose(seen[False], frames.transpose(0, 3, 1, 2) / 255.0, atol=1e-6)


class Expert(ExpertPolicy):
    """What ``LoadedPolicy`` asks of a policy."""

    proprio_dim = 4
    embedding_dim = 3


@pytest.mark.parametrize("own", [False, True])
def test_a_policy_of_ours_acts_in_the_units_that_are_asked_for(own: bool) -> None:
    policy = LoadedPolicy(Expert(), header("state"), None)  # pyright: ignore[reportArgumentType]
    policy.action_scale = scale = ActionScale(np.zeros(4), np.ones(4))
    found = S2RolloutPolicy(policy, own_actions=own)
    assert found.policy.action_scale is (scale if own else None)
    assert found.environment()._init_kwargs.get("own_actions", False) is own
    assert policy.action_scale is scale
