"""Rollouts of policies of recorded data in a task whose frames and actions they fit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.own_tasks import NAME, ReachEnv
from support.reach_data import write_reach, write_reach_folder
from support.tiny_models import write_tiny_model

import s2robot
from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.rendered_demonstrations import open_source
from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import EvalJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.experiments.recorded import rollouts
from s2robot.experiments.recorded.training import train_recorded
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.reporting.report import make_report
from s2robot.training.config import TrainConfig
from s2robot.utils.io import read_json, read_jsonl

TWO = "module:support.own_tasks.TwoCameras"
ROLLOUT = EvalConfig(num_envs=2, workers=0, videos=0)
Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a policy on a recording, once for equal settings."""
    folder = tmp_path_factory.mktemp("rollouts")
    card = write_tiny_model(folder)
    made: dict[str, Path] = {}

    def train(epochs: int = 2, encoder: str = f"file:{card}", **recording: Any) -> Path:
        name = json.dumps([epochs, encoder, recording], sort_keys=True)
        if name not in made:
            data = write_reach(folder / f"{len(made)}.hdf5", **recording)
            made[name] = train_on(data, folder, encoder, epochs)
        return made[name]

    return train


def train_on(data: Path, folder: Path, encoder: str, epochs: int = 2, seed: int = 0) -> Path:
    """Return the file of a policy that is trained on a data set."""
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "runtime": "eager"}
    variant = VariantConfig(
        data=data,
        encoder=encoder,
        scales=(1.0,),
        readout="mean",
        data_dir=folder / "data",
        **settings,
    )
    given = (PolicyConfig(hidden=(8,)), TrainConfig(epochs=epochs), None, seed)
    return train_recorded(TrainJob(variant, *given, runs_dir=folder / "runs")).checkpoint


def job(checkpoint: Path, tmp_path: Path, **changes: Any) -> EvalJob:
    """Settings of an evaluation of four episodes."""
    settings: dict[str, Any] = {
        "task": NAME,
        "n": 4,
        "rollout": ROLLOUT,
        "device": "cpu",
        "dtype": "float32",
        "runtime": "eager",
        "observations": {"top_image": ("render",)},
        "data_dir": tmp_path / "data",
        "out": tmp_path / "out",
        **changes,
    }
    return EvalJob(checkpoint, **settings)


def refused(checkpoint: Path, tmp_path: Path, **changes: Any) -> str:
    """Return why an evaluation is refused; nothing was written for it."""
    with pytest.raises((MismatchError, ValueError)) as error:
        evaluate_policy(job(checkpoint, tmp_path, **changes))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "data").exists()
    return str(error.value)


def test_the_environment_gets_the_actions_of_load_policy_in_the_units_of_the_data(
    trained: Trained, tmp_path: Path
) -> None:
    path = trained()
    evaluate_policy(job(path, tmp_path, n=2, rollout=dataclasses.replace(ROLLOUT, num_envs=1)))
    rows = read_jsonl(tmp_path / "out" / "episodes.jsonl")
    stored = np.load(tmp_path / "out" / "actions" / "from_00000.npy")[0]
    env, policy = ReachEnv(), s2robot.load_policy(path, device="cpu", runtime="eager")
    observation, _ = env.reset(seed=2_000_000)
    policy.reset()
    successes = []
    for step in range(12):
        action = policy({"top_image": env.render()}, observation)
        np.testing.assert_allclose(-0.2 + 0.15 * (stored[step] + 1.0), action, atol=1e-6)
        observation, _, _, _, info = env.step(action)
        successes.append(info["success"])
    assert rows[0]["steps_lifted"] == sum(successes)
    assert [row["actions_clipped"] for row in rows] == [0, 0]
    assert np.abs(np.diff(stored, axis=0)).max() > 0


def test_a_folder_with_the_names_of_the_task_needs_no_mapping(tmp_path: Path) -> None:
    data = write_reach_folder(tmp_path / "episodes")
    path = train_on(data, tmp_path, f"file:{write_tiny_model(tmp_path)}")
    main(["eval", f"checkpoint={path}", f"task={NAME}", "n=6", *FAST, f"data_dir={tmp_path}"])
    out = path.parent / "module-support.own_tasks.Reach"
    assert len(read_jsonl(out / "episodes.jsonl")) == 6
    record = read_json(out / "run.json")
    assert record["task"]["observations"] == {"agent_pos": ["agent_pos"]}
    assert (record["camera"]["name"], record["camera"]["of"]) == ("render", "render")


def test_a_policy_that_sees_pictures_alone_is_rolled_out(tmp_path: Path) -> None:
    data = write_reach_folder(tmp_path / "episodes", positions_too=False)
    path = train_on(data, tmp_path, f"file:{write_tiny_model(tmp_path)}")
    evaluate_policy(job(path, tmp_path, n=2, observations={}))
    assert len(read_jsonl(tmp_path / "out" / "episodes.jsonl")) == 2


FAST = ("rollout.num_envs=2", "rollout.workers=0", "rollout.videos=0", "device=cpu")


def test_the_command_takes_names_with_dots(trained: Trained, tmp_path: Path) -> None:
    path = trained(camera="observation.images.table", state="observation.tool")
    names = "{observation.images.table: pixels.top, observation.tool: [agent_pos]}"
    words = [f"checkpoint={path}", f"task={NAME}", f"observations={names}", "n=2", *FAST]
    assert main(["eval", *words, f"data_dir={tmp_path}", f"out={tmp_path / 'out'}"]) == 0
    record = read_json(tmp_path / "out" / "run.json")
    assert record["task"]["observations"] == {"observation.tool": ["agent_pos"]}
    assert record["camera"]["of"] == "observation.images.table"


def test_names_of_formats_for_the_same_camera_are_found(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"camera": "top_image", "state": "tool"}
    given = {"tool": ("agent_pos",)}
    evaluate_policy(job(trained(**names), tmp_path, task=TWO, n=2, observations=given))
    printed = capsys.readouterr().out
    assert "top_image: pixels.top of the task" in printed
    assert "tool: agent_pos of the task" in printed
    record = read_json(tmp_path / "out" / "run.json")
    assert (record["camera"]["name"], record["camera"]["of"]) == ("pixels.top", "top_image")
    assert record["task"]["observations"] == {"tool": ["agent_pos"]}


def test_several_observations_may_stand_for_one(tmp_path: Path, trained: Trained) -> None:
    blind = trained(encoder="blind", state="observation_state")
    given = {"observation_state": ("agent_pos", "goal")}
    text = refused(blind, tmp_path, observations=given)
    assert "takes 2 numbers as observation_state" in text
    assert "gives 4: observation_state of agent_pos (2), goal (2)" in text
    given = {"observation_state": ("goal",)}
    evaluate_policy(job(blind, tmp_path, observations=given, n=2))
    assert len(read_jsonl(tmp_path / "out" / "episodes.jsonl")) == 2


def test_actions_beyond_the_bounds_are_clipped_and_counted(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(scale=8.0)
    evaluate_policy(job(path, tmp_path))
    printed = capsys.readouterr().out
    assert "in training, the task takes -0.2 to 0.1; what is beyond is clipped" in printed
    rows = read_jsonl(tmp_path / "out" / "episodes.jsonl")
    stored = np.concatenate(
        [np.load(each) for each in sorted((tmp_path / "out" / "actions").iterdir())]
    )
    assert np.abs(stored).max() == 1.0
    for row, actions in zip(rows, stored, strict=True):
        assert 0 < row["actions_clipped"] <= 12
        assert row["actions_clipped"] >= (np.abs(actions) == 1.0).any(axis=1).sum() - 1
    assert f"{sum(row['actions_clipped'] for row in rows)} of 48 actions" in printed


def test_it_is_a_run_of_the_report_and_of_comparisons(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, options in (("seen", {}), ("blind", {"encoder": "blind"})):
        given = {} if options else {"top_image": ("render",)}
        path = trained(**options)
        out = tmp_path / "runs" / name
        evaluate_policy(job(path, tmp_path, observations=given, out=out))
    labels = {variant.label for variant in make_report(tmp_path / "runs").groups[0].variants}
    assert len(labels) == 2
    cell = read_json(tmp_path / "runs" / "seen" / "cell.json")
    assert cell["demos"]["n"] == 6
    assert cell["settings"]["task"]["observations"] == {"agent_pos": ["agent_pos"]}
    assert cell["settings"]["camera"]["of"] == "top_image"
    main(["compare", str(tmp_path / "runs"), *sorted(labels, key=len)])
    assert "blind" in capsys.readouterr().out


def test_shards_give_the_rows_of_one_job(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = trained(), tmp_path / "whole"
    evaluate_policy(job(path, tmp_path, out=whole))
    told, printed = capsys.readouterr().out.count("of the task"), []
    assert told > 0
    for shard in ("1/2", "2/2"):
        evaluate_policy(job(path, tmp_path, shard=shard))
        printed.append(capsys.readouterr().out.count("of the task"))
    assert printed[0] == told  # the names are told once, by the rollouts
    own = tmp_path / "out"
    assert (own / "episodes.jsonl").read_bytes() == (whole / "episodes.jsonl").read_bytes()


@pytest.mark.render
def test_an_episode_can_be_replayed(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained()
    evaluate_policy(job(path, tmp_path))
    words = [str(tmp_path / "out"), "3", "--task", NAME, "--checkpoint", str(path)]
    steps = tmp_path / "steps.csv"
    assert main(["replay", *words, "--view", "policy", "--steps", str(steps)]) == 0
    assert "every entry of its row is equal" in capsys.readouterr().out
    assert steps.read_text().startswith("step,agent_pos_0")


def test_without_a_task_the_message_asks_for_one(trained: Trained, tmp_path: Path) -> None:
    text = refused(trained(), tmp_path, task=None)
    assert "recorded actions (a0, a1)" in text
    assert "task=gym:ID" in text


@pytest.mark.parametrize(
    ("recording", "observations", "parts"),
    [
        pytest.param(
            {"camera": "side_image"},
            {},
            ("camera 'side_image'", "it has render, pixels.top", "observations={side_image: "),
            id="camera",
        ),
        pytest.param(
            {"state": "joints"},
            {"top_image": ("render",)},
            ("observation 'joints'", "agent_pos (2), goal (2)", "observations={joints: ["),
            id="observation",
        ),
        pytest.param(
            {"entries": 3},
            {"top_image": ("render",)},
            ("3 entries (a0, a1, a2)", "takes 2"),
            id="entries",
        ),
        pytest.param(
            {}, {"front": ("render",)}, ("'front'", "agent_pos, top_image"), id="unknown-key"
        ),
        pytest.param(
            {}, {"top_image": ("left",)}, ("'left'", "pixels.top, render"), id="unknown-camera"
        ),
        pytest.param(
            {},
            {"top_image": ("render",), "agent_pos": ("speed",)},
            ("'speed'", "agent_pos, goal"),
            id="unknown-observation",
        ),
        pytest.param(
            {}, {"top_image": ("render", "pixels.top")}, ("2 cameras", "give one of"), id="two"
        ),
    ],
)
def test_what_does_not_fit_is_named_before_any_rollout(
    trained: Trained,
    tmp_path: Path,
    recording: dict[str, Any],
    observations: dict[str, tuple[str, ...]],
    parts: tuple[str, ...],
) -> None:
    text = refused(trained(**recording), tmp_path, observations=observations)
    for part in parts:
        assert part in text


def test_units_that_share_no_value_are_refused(trained: Trained, tmp_path: Path) -> None:
    path = trained()
    header = dataclasses.replace(read_header(path))
    header.action_space["low"], header.action_space["high"] = [30.0, -5.0], [40.0, 5.0]
    env = SimpleNamespace(action_space=SimpleNamespace(low=np.zeros(2)), rate_hz=5.0)
    scale = ActionScale(np.full(2, -0.2), np.full(2, 0.1))
    with pytest.raises(MismatchError, match=r"'a0' lie in 30 to 40.*takes -0.2 to 0.1.*units"):
        rollouts._check_actions(header, env, "reach", scale)  # pyright: ignore[reportArgumentType]


def test_observations_are_refused_for_policies_that_are_not_ours(tmp_path: Path) -> None:
    external = ExternalConfig(policy="own:make")
    with pytest.raises(ValueError, match=r"observations is of policy files.*leave it out"):
        EvalJob(external=external, task=NAME, observations={"a": ("b",)})


@pytest.mark.render
def test_demonstrations_of_pick_cube_as_images_give_a_policy_for_it(tmp_path: Path) -> None:
    demos = collect(CollectConfig("easy", episodes=4, out=tmp_path / "demos.hdf5", workers=0))
    data = tmp_path / "images.hdf5"
    keys = ["ee_pos", "gripper_width"]
    write_robomimic(open_source(demos.path, ["front"], keys, 32, tmp_path / "frames"), data)
    path = train_on(data, tmp_path, f"file:{write_tiny_model(tmp_path)}")
    rollout = EvalConfig(num_envs=2, workers=0, videos=0, horizon=5)
    evaluate_policy(job(path, tmp_path, task="pick-cube/easy", observations={}, rollout=rollout))
    record = read_json(tmp_path / "out" / "run.json")
    assert (record["camera"]["name"], record["camera"]["of"]) == ("front", "front_image")
    assert (record["camera"]["height"], record["task"]["env"]["control"]) == (32, "ee_delta")
    assert len(read_jsonl(tmp_path / "out" / "episodes.jsonl")) == 4
