"""Policies go both ways: robomimic's in our evaluation, and ours in robomimic's rollouts."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robomimic.utils.env_utils as env_utils
import robomimic.utils.file_utils as file_utils
import robomimic.utils.obs_utils as obs_utils
import robomimic.utils.train_utils as train_utils
import torch
from robomimic.algo import algo_factory
from robomimic.scripts.run_trained_agent import rollout
from support.expert_policies import SIZE, ExpertPolicy, PixelPolicy, header, pixel_encoder
from support.robomimic_configs import bc, merged, write_config
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.rendered_demonstrations import open_source
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.levels import get_level
from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.agents.loaded_policy import LoadedPolicy
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.evaluate import evaluate
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.plugins.robomimic import EnvS2Robot
from s2robot.plugins.robomimic.cache import cache_embeddings
from s2robot.plugins.robomimic.checkpoints import read_checkpoint
from s2robot.plugins.robomimic.configuration import read_config
from s2robot.plugins.robomimic.rollout import S2RolloutPolicy
from s2robot.plugins.robomimic.training import train
from s2robot.utils.io import read_jsonl

pytestmark = [
    pytest.mark.slow,
    pytest.mark.render,
    pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.core.SmallFrameWarning"),
]
LOW_DIM = ["ee_pos", "gripper_width"]
STEPS = 4
EPISODES = 3


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('card'))}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations of pick-cube with frames of two cameras, as robomimic stores them."""
    folder = tmp_path_factory.mktemp("data")
    demos = collect(CollectConfig(level="easy", episodes=2, out=folder / "demos.hdf5", workers=0))
    data = open_source(demos.path, ["front", "wrist"], None, SIZE, folder)
    write_robomimic(data, folder / "images.hdf5")
    return folder / "images.hdf5"


@pytest.fixture(scope="module")
def embeddings(images: Path, card: str) -> Path:
    encoder = FrameEncoder.from_name(card, (1,), "mean", device="cpu", runtime="eager")
    return cache_embeddings(images, images.parent / "embeddings.hdf5", encoder).path


def config_of(data: Path, folder: Path, card: str, changes: dict[str, Any]) -> Any:
    """BC on the front camera, through an ``S2Core`` or on its embeddings."""
    core = {"backbone": card, "scales": [1], "readout": "mean", "runtime": "eager"}
    obs = {"low_dim": LOW_DIM, "rgb": ["front_image"]}
    if data.stem == "embeddings":
        obs = {"low_dim": [*LOW_DIM, "front_embedding"], "rgb": []}
    given = bc(data, folder)
    given["observation"] = {
        "modalities": {"obs": obs},
        "encoder": {"rgb": {"core_class": "S2Core", "core_kwargs": core}},
    }
    return read_config(write_config(folder / "bc.json", merged(given, changes)))


def save_checkpoint(path: Path, data: Path, config: Any) -> Path:
    """Write a checkpoint of robomimic with random weights."""
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = file_utils.get_shape_metadata_from_dataset(str(data), config.all_obs_keys)
    torch.manual_seed(0)
    algorithm = algo_factory(
        config.algo_name,
        config,
        OrderedDict(shapes["all_shapes"]),
        shapes["ac_dim"],
        torch.device("cpu"),
    )
    meta = file_utils.get_env_metadata_from_dataset(str(data))
    train_utils.save_model(algorithm, config, meta, shapes, str(path))
    return path


def evaluated(out: Path, policy: str, **external: Any) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Roll a policy out from our test states; return rows and actions (n, T, A)."""
    job = EvalJob(
        level="easy",
        n=EPISODES,
        rollout=EvalConfig(num_envs=EPISODES, workers=0, videos=0, horizon=STEPS),
        external=ExternalConfig(policy=policy, **{"size": SIZE, **external}),
        data_dir=out.parent / "data",
        out=out,
    )
    evaluate_policy(job)
    actions = [np.load(path) for path in sorted((out / "actions").iterdir())]
    return read_jsonl(out / "episodes.jsonl"), np.concatenate(actions)


def by_robomimic(policy: Any, env: Any, horizon: int, n: int = EPISODES) -> list[Any]:
    """Roll out by the function of ``run_trained_agent.py``, from our test states.

    It refuses environments that are wrapped for a stack of frames, which get a loop like its own.
    """
    states = make_initial_states("easy", "test", n, {"level": "easy"}).states
    if isinstance(env, EnvS2Robot):
        env.start_from(states)
        return [rollout(policy, env, horizon) for _ in range(n)]
    found = []
    for state in states:
        policy.start_episode()
        ob, actions = env.reset_to({"states": state}), []
        for _ in range(horizon):
            actions.append(policy(ob=ob))
            ob, _, _, _ = env.step(actions[-1])
        success = float(env.is_success()["task"])
        found.append(({"Success_Rate": success}, {"actions": np.stack(actions)}))
    return found


RNN = {
    "algo": {"rnn": {"enabled": True, "horizon": 3, "hidden_dim": 8}},
    "train": {"seq_length": 3},
}
TRANSFORMER = {
    "algo": {
        "transformer": {
            "enabled": True,
            "context_length": 3,
            "embed_dim": 16,
            "num_layers": 1,
            "num_heads": 2,
        }
    },
    "train": {"frame_stack": 3},
}
GMM = {"algo": {"gmm": {"enabled": True}}}


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("images", {}),
        ("images", RNN),
        ("embeddings", {}),
        ("embeddings", TRANSFORMER),
        ("embeddings", merged(RNN, GMM)),
    ],
    ids=["bc-images", "rnn-images", "bc-embeddings", "transformer-embeddings", "gmm-embeddings"],
)
def test_a_checkpoint_of_robomimic_acts_in_our_evaluation_as_in_robomimic(
    data, changes, images, embeddings, card, tmp_path
) -> None:
    file = {"images": images, "embeddings": embeddings}[data]
    config = config_of(file, tmp_path, card, changes)
    checkpoint = save_checkpoint(tmp_path / "model.pth", file, config)
    rows, actions = evaluated(tmp_path / "ours", f"robomimic:{checkpoint}?runtime=eager")
    assert [len(row["condition"]) for row in rows] == [16] * EPISODES
    policy, content = file_utils.policy_from_checkpoint(ckpt_path=str(checkpoint))
    env, _ = file_utils.env_from_checkpoint(ckpt_dict=content)
    for found, (_, trajectory) in zip(actions, by_robomimic(policy, env, STEPS), strict=True):
        assert np.ptp(found) > 0
        if "gmm" not in changes.get("algo", {}):  # which samples a mode
            np.testing.assert_allclose(found, trajectory["actions"].clip(-1, 1), atol=2e-3)
    again, same = evaluated(tmp_path / "again", f"robomimic:{checkpoint}?runtime=eager")
    assert np.array_equal(same, actions)  # also of a mixture, which robomimic samples from
    assert again == rows


def test_robomimic_rolls_out_in_our_task_while_it_trains(embeddings, card, tmp_path) -> None:
    rollouts = {"enabled": True, "n": 1, "horizon": 2, "rate": 1}
    changes = {
        "experiment": {"rollout": rollouts, "render_video": False},
        "observation": {"modalities": {"obs": {"low_dim": ["front_embedding"], "rgb": []}}},
    }
    given = merged(bc(embeddings, tmp_path), changes)
    found = train(write_config(tmp_path / "bc.json", given), epochs=1)
    assert found.checkpoints[-1].name == "model_epoch_1_s2robot-PickCube-v0_success_0.0.pth"
    assert '"Success_Rate": 0.0' in (found.folder / "logs/log.txt").read_text()


class _Acts:
    """What ``LoadedPolicy`` asks of a policy, for those of ``support.expert_policies``."""

    proprio_dim = 4
    embedding_dim = 3


class Expert(_Acts, ExpertPolicy):
    """The scripted expert."""


class Pixels(_Acts, PixelPolicy):
    """A function of all pixels."""


def test_a_policy_of_ours_succeeds_as_often_in_robomimic(tmp_path) -> None:
    """From the same initial states; the horizon is so short that some episodes fail."""
    n = 6
    states = make_initial_states("easy", "test", n, {"level": "easy"})
    described = header("state")
    found = {}
    for horizon in (8, 9, 10):
        config = EvalConfig(num_envs=3, workers=0, videos=0, horizon=horizon)
        out = tmp_path / str(horizon)
        evaluate(ExpertPolicy(), None, states, config, out, header=described, progress=False)
        ours = [row["success_once"] for row in read_jsonl(out / "episodes.jsonl")]
        policy = S2RolloutPolicy(LoadedPolicy(Expert(), described, None))  # pyright: ignore[reportArgumentType]
        env = policy.environment()
        theirs = [bool(s["Success_Rate"]) for s, _ in by_robomimic(policy, env, horizon, n)]
        assert theirs == ours
        env.start_from(states.states)
        again = [
            train_utils.run_rollout(policy, env, horizon, terminate_on_success=True)
            for _ in range(n)
        ]
        assert [bool(each["Success_Rate"]) for each in again] == ours
        found[horizon] = sum(ours)
    assert len(set(found.values())) > 1, found


def test_frames_reach_a_policy_of_ours_unchanged(tmp_path) -> None:
    states = make_initial_states("easy", "test", EPISODES, {"level": "easy"})
    described = header("pixels")
    config = EvalConfig(num_envs=EPISODES, workers=0, videos=0, horizon=STEPS)
    evaluate(
        PixelPolicy(), pixel_encoder, states, config, tmp_path, header=described, progress=False
    )
    ours = np.load(tmp_path / "actions/from_00000.npy")

    def one_or_many(frames: np.ndarray) -> torch.Tensor:
        return pixel_encoder(frames if frames.ndim == 4 else frames[None])

    policy = S2RolloutPolicy(LoadedPolicy(Pixels(), described, one_or_many))  # pyright: ignore[reportArgumentType]
    for own, (_, trajectory) in zip(
        ours, by_robomimic(policy, policy.environment(), STEPS), strict=True
    ):
        assert np.array_equal(own, trajectory["actions"].astype(np.float32))


def test_the_callers_policy_keeps_its_units() -> None:
    policy = LoadedPolicy(Expert(), header("state"), None)  # pyright: ignore[reportArgumentType]
    policy.action_scale = scale = ActionScale(np.zeros(4), np.ones(4))
    assert S2RolloutPolicy(policy).policy.action_scale is None
    assert policy.action_scale is scale


def test_another_task_of_the_configuration_is_the_one_that_is_rolled_out() -> None:
    """robomimic's train.py writes the name that it is given into the metadata of the data."""
    data = {"type": 2, "env_name": "s2robot/PickCube-v0", "env_kwargs": {"level": "easy"}}
    for meta, name in (
        ({**data, "env_name": "pick-cube/precise"}, None),
        (data, "pick-cube/precise"),
    ):
        env = env_utils.create_env_from_metadata(env_meta=meta, env_name=name)
        assert env.env.env_kwargs()["level"] == "precise"


def test_a_state_in_which_the_cube_is_lifted_has_its_reward() -> None:
    env = EnvS2Robot("s2robot/PickCube-v0", level="easy")
    observed = env.reset()
    expert = ScriptedExpert(get_level("easy"))
    for _ in range(30):
        observed = env.step(expert.action(observed))[0]
    assert env.is_success()["task"]
    lifted = env.get_state()
    env.reset()
    assert (env.get_reward(), env.is_success()["task"]) == (0.0, False)
    env.reset_to(lifted)
    assert (env.get_reward(), env.is_success()["task"]) == (1.0, True)


def test_resets_are_seeded_as_run_trained_agent_seeds_them() -> None:
    env = EnvS2Robot("s2robot/PickCube-v0", level="easy")
    assert env.serialize()["env_name"] == "s2robot/PickCube-v0"
    starts = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        env.reset()
        starts.append(env.get_state()["states"])
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    with pytest.raises(ValueError, match="no window"):
        EnvS2Robot("s2robot/PickCube-v0", render=True, level="easy")
    with pytest.raises(ValueError, match="name no cameras, so images cannot be drawn"):
        EnvS2Robot("s2robot/PickCube-v0", use_image_obs=True, level="easy")
    with pytest.raises(ValueError, match="unknown camera in camera_names 'agentview'"):
        EnvS2Robot("s2robot/PickCube-v0", camera_names=["agentview"], level="easy")


@pytest.fixture(scope="module")
def checkpoint(images: Path, card: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras and another observation than the task's own."""
    folder = tmp_path_factory.mktemp("two")
    obs = {"low_dim": [*LOW_DIM, "joint_pos"], "rgb": ["front_image", "wrist_image"]}
    changes = {"observation": {"modalities": {"obs": obs}}}
    config = config_of(images, folder, card, changes)
    return save_checkpoint(folder / "model.pth", images, config)


def test_what_a_policy_reads_besides_is_named_with_the_settings_that_give_it(
    checkpoint, tmp_path
) -> None:
    name = f"robomimic:{checkpoint}"
    with pytest.raises(MismatchError, match="reads joint_pos, camera wrist, frames of 32") as error:
        evaluated(tmp_path / "a", name, size=64)
    settings = (
        "'external.low_dim=[ee_pos,gripper_width,joint_pos]' 'external.cameras=[front,wrist]' "
        "external.size=32"
    )
    assert settings in str(error.value)
    low_dim, cameras = (*LOW_DIM, "joint_pos"), ("front", "wrist")
    _, actions = evaluated(tmp_path / "b", name, low_dim=low_dim, cameras=cameras)
    assert np.ptp(actions) > 0
    with pytest.raises(MismatchError, match="trained on actions ee_delta, and .* joint_delta"):
        evaluated(tmp_path / "c", name, control="joint_delta", low_dim=low_dim, cameras=cameras)


def test_files_that_could_run_code_or_are_none_are_refused(checkpoint, tmp_path) -> None:
    with pytest.raises(S2RobotError, match="none.pth is no file; give a checkpoint"):
        evaluated(tmp_path / "run", f"robomimic:{tmp_path / 'none.pth'}")
    bad = tmp_path / "bad.pth"
    torch.save({"model": Path("/")}, bad)  # any class
    with pytest.raises(CorruptFileError, match="holds more than weights.*nothing was read"):
        read_checkpoint(bad)
    bad.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CorruptFileError, match="is truncated, or no file of torch.save"):
        read_checkpoint(bad)
    torch.save({"model": {}}, bad)
    with pytest.raises(CorruptFileError, match="no checkpoint of robomimic: it has no config"):
        read_checkpoint(bad)
    content = torch.load(checkpoint, weights_only=True)
    config = json.loads(content["config"])
    core = {"backbone_class": "__import__('os').abort()"}
    config["observation"]["encoder"]["rgb"]["core_kwargs"] = core
    torch.save({**content, "config": json.dumps(config)}, bad)
    with pytest.raises(CorruptFileError, match="backbone_class is .*evaluates it as Python"):
        read_checkpoint(bad)
    for written in ("__import__('os').abort()", "quit"):  # in the layout before robomimic 0.2
        modalities = {"obs": {"image": ["front_image"]}}
        kinds = {"modalities": modalities, "encoder": {"visual_core": written}}
        torch.save({**content, "config": json.dumps({**config, "observation": kinds})}, bad)
        with pytest.raises(CorruptFileError, match="backbone_class is .*name of a network"):
            read_checkpoint(bad)
    torch.save({**content, "algo_name": "hbc"}, bad)
    with pytest.raises(S2RobotError, match="of algorithm hbc with goals"):
        read_checkpoint(bad)
    torch.save({**content, "model": {}}, bad)
    with pytest.raises(S2RobotError, match="robomimic cannot build this policy: RuntimeError"):
        evaluated(
            tmp_path / "run",
            f"robomimic:{bad}",
            low_dim=(*LOW_DIM, "joint_pos"),
            cameras=("front", "wrist"),
        )
