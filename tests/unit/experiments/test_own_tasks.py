"""Tasks other than pick-cube, from demonstrations to episodes and a report."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.own_tasks import NAME, SHAPE, Reach, ReachEnv
from support.tiny_models import write_tiny_model

from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CameraConfig, CollectConfig
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.envs.tasks import loading
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import CameraChoice, DemosChoice, VariantConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, train_run
from s2robot.experiments.run_folders import unused
from s2robot.experiments.sweeps.preflight import check_runs
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.reporting.page.media import replay_command
from s2robot.reporting.report import make_report
from s2robot.reporting.run_files import load_runs
from s2robot.training.config import TrainConfig
from s2robot.utils.io import read_json, read_jsonl

ENDING, SAVED = "module:support.own_tasks.Ending", "module:support.own_tasks.Saved"


def forget_tasks() -> None:
    """Forget what the user named, as a new process has."""
    loading._trusted.clear()
    loading.task_named.cache_clear()


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Demonstrations:
    """Six demonstrations of ``Reach``."""
    out = tmp_path_factory.mktemp("own") / "demos.hdf5"
    return collect(CollectConfig(task=NAME, episodes=6, out=out, workers=0))


def trained(folder: Path, demos: Demonstrations, encoder: str = "", name: str = NAME) -> Path:
    """Train a small policy and return its file."""
    encoder = encoder or f"file:{write_tiny_model(folder)}"
    variant = VariantConfig(
        task=name,
        encoder=encoder,
        scales=(1.0,),
        readout="mean",
        demos=DemosChoice(path=demos.path),
        device="cpu",
        runtime="eager",
        data_dir=folder / "data",
    )
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=2)
    job = TrainJob(variant, policy, train, search=None, runs_dir=folder / "runs")
    return train_run(job, Variant(variant))


def evaluated(path: Path, folder: Path, task: str | None = NAME, **rollout: Any) -> Path:
    """Evaluate a policy on five starts and return the folder of the episodes."""
    config = EvalConfig(**{"num_envs": 2, "workers": 0, "videos": 0, **rollout})
    out = path.parent if not rollout else path.parent.with_name(f"{path.parent.name}-more")
    evaluate_policy(
        EvalJob(
            path,
            task=task,
            n=5,
            rollout=config,
            device="cpu",
            runtime="eager",
            data_dir=folder / "data",
            out=out,
        )
    )
    return out


def test_demonstrations_hold_the_experts_actions_in_units_of_the_bounds(
    demos: Demonstrations,
) -> None:
    episode = demos.episodes[0]
    goal, tool = (demos.low_dim(key)[0] for key in ("goal", "agent_pos"))
    own = np.clip(goal - tool, -0.2, 0.1)
    np.testing.assert_allclose(episode.actions[0], (own + 0.2) / 0.15 - 1, atol=1e-5)
    assert not np.array_equal(episode.actions, episode.executed)
    assert (demos.level, demos.control, demos.motion_dims) == (NAME, "native", 2)


def test_an_own_task_gives_a_policy_episodes_and_a_report(
    demos: Demonstrations, tmp_path: Path
) -> None:
    path = trained(tmp_path, demos)
    header = read_header(path)
    assert header.env_kwargs == {"level": NAME, "control": "native", "horizon": 12}
    assert header.action_space["meaning"] == ["a0", "a1"]
    assert header.proprio_keys == ("agent_pos",)
    assert header.frames["camera"] == {"name": "render", "height": 32, "width": 40}
    run = evaluated(path, tmp_path)
    rows = read_jsonl(run / "episodes.jsonl")
    assert [row["index"] for row in rows] == list(range(5))
    assert {(row["steps"], row["min_distance_m"]) for row in rows} == {(12, None)}
    assert read_json(run / "run.json")["conditions"]["restored_by"] == "seed"
    report = make_report(tmp_path / "runs" / "cells")
    assert [group.level for group in report.groups] == [NAME]


@pytest.mark.process
def test_videos_of_an_own_task_have_its_frames(demos: Demonstrations, tmp_path: Path) -> None:
    run = evaluated(trained(tmp_path, demos, "blind"), tmp_path, videos=1)
    assert list((run / "videos").glob("*.mp4"))


@pytest.mark.process
def test_worker_processes_give_the_rows_of_one_process(
    demos: Demonstrations, tmp_path: Path
) -> None:
    path = trained(tmp_path, demos)
    alone = (evaluated(path, tmp_path) / "episodes.jsonl").read_bytes()
    assert (evaluated(path, tmp_path, workers=2) / "episodes.jsonl").read_bytes() == alone


def test_an_episode_that_ends_has_its_own_number_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ending.hdf5"
    own = collect(CollectConfig(task=ENDING, episodes=4, out=out, workers=0))
    path = trained(tmp_path, own, "blind", ENDING)
    monkeypatch.setattr(ReachEnv, "step", reach_at_the_third_step(ReachEnv.step))
    rows = read_jsonl(evaluated(path, tmp_path, ENDING) / "episodes.jsonl")
    assert {(row["steps"], row["steps_to_success"], row["stage"]) for row in rows} == {
        (3, 3, "none")
    }
    assert all(row["success_at_end"] for row in rows)


def reach_at_the_third_step(step: Any) -> Any:
    """Return a ``step`` that puts the goal at the tool at the third step."""

    def reaching(env: ReachEnv, action: np.ndarray) -> Any:
        env.goal = env.tool + action if env.steps == 2 else np.full(2, 9.0)
        return step(env, action)

    return reaching


def test_a_full_state_is_stored_where_the_task_has_one(tmp_path: Path) -> None:
    out = tmp_path / "saved.hdf5"
    own = collect(CollectConfig(task=SAVED, episodes=4, out=out, workers=0))
    run = evaluated(trained(tmp_path, own, "blind", SAVED), tmp_path, SAVED)
    assert read_json(run / "run.json")["conditions"]["restored_by"] == "state"


def test_frames_of_demonstrations_are_those_of_the_repeated_episodes(
    demos: Demonstrations, tmp_path: Path
) -> None:
    frames = RenderedFrames(demos, CameraConfig("pixels.top"), tmp_path)
    env = Reach().make({})
    env.reset(options={"state": demos.episodes[1].states[0]})
    first = int(demos.episode_ends[0])
    for index, action in enumerate(demos.episodes[1].executed):
        frame = env.render_frame("pixels.top", *SHAPE)
        np.testing.assert_array_equal(frames.read(first + index, first + index + 1)[0], frame)
        env.step(action)


def test_frames_of_an_environment_that_goes_otherwise_are_refused(
    demos: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ReachEnv.step
    monkeypatch.setattr(ReachEnv, "step", lambda env, action: step(env, 0.9 * action))
    with pytest.raises(MismatchError, match="'agent_pos' at step 1 of a repeated demonstration"):
        RenderedFrames(demos, CameraConfig(""), tmp_path).read(0, 1)


def test_a_policy_of_an_own_task_is_evaluated_only_if_the_user_names_the_task(
    demos: Demonstrations, tmp_path: Path
) -> None:
    path = trained(tmp_path, demos, "blind")
    forget_tasks()
    with pytest.raises(MismatchError, match=f"'task={NAME}'"):
        evaluated(path, tmp_path, None)
    loading.named_by_user(NAME)


def test_a_policy_of_one_task_is_not_evaluated_on_another(
    demos: Demonstrations, tmp_path: Path
) -> None:
    path = trained(tmp_path, demos, "blind")
    with pytest.raises(MismatchError, match=r"policy is for task module:support.own_tasks.Reach,"):
        evaluated(path, tmp_path, ENDING)


def test_demonstrations_of_another_task_are_refused(demos: Demonstrations) -> None:
    config = VariantConfig(task=SAVED, encoder="blind", demos=DemosChoice(path=demos.path))
    with pytest.raises(MismatchError, match=f"holds demonstrations of task {NAME}"):
        Variant(config).demos  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "privileged_state"}, "take blind as the baseline"),
        ({"camera": CameraChoice(size=128)}, "camera.size is 128, but frames of"),
        ({"control": "joint_delta"}, "leave control= out"),
        ({"level": "easy"}, "give one of them"),
    ],
)
def test_settings_that_only_pick_cube_has_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VariantConfig(**{"task": NAME, "encoder": "blind", **changes})


def test_arguments_of_pick_cube_are_refused_for_another_task() -> None:
    with pytest.raises(ValueError, match="env.* are arguments of PickCubeEnv"):
        CollectConfig(task=NAME, env={"horizon": 5})


def test_a_task_of_pick_cube_is_its_level() -> None:
    by_task = VariantConfig(task="pick-cube/easy", encoder="blind")
    assert dataclasses.replace(by_task, task=None) == VariantConfig(level="easy", encoder="blind")


def test_a_sweep_of_a_task_without_an_expert_is_refused_before_it_begins(tmp_path: Path) -> None:
    name = "module:support.own_tasks.WithoutExpert"
    job = RunJob(TrainJob(VariantConfig(task=name, encoder="blind", data_dir=tmp_path)))
    with pytest.raises(ValueError, match=r"none was begun(.|\n)*has no expert"):
        check_runs([("the run", lambda: job)])
    with pytest.raises(S2RobotError, match="has no expert that could demonstrate it"):
        collect(CollectConfig(task=name, episodes=2, out=tmp_path / "demos.hdf5"))
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.process
def test_the_commands_that_a_report_prints_work_in_a_process_that_named_nothing(
    demos: Demonstrations, tmp_path: Path
) -> None:
    path = trained(tmp_path, demos, "blind")
    cells = tmp_path / "runs" / "cells"
    fast = ["rollout.num_envs=2", "rollout.workers=0", "rollout.videos=0", "device=cpu"]
    [reason] = [each.reason for each in unused(cells)]
    command = shlex.split(reason.partition("evaluated: ")[2])
    forget_tasks()
    assert main([*command[1:], "n=2", *fast, f"data_dir={tmp_path / 'data'}"]) == 0
    (run,) = load_runs(cells)
    words = shlex.split(replay_command(run, 1))
    forget_tasks()
    given = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "x.mp4")]
    assert main([*words[1:], *given]) == 0
    assert path.parent == run.path
    loading.named_by_user(NAME)


def test_an_export_of_another_task_than_the_runs_names_both(
    demos: Demonstrations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = evaluated(trained(tmp_path, demos, "blind"), tmp_path)
    forget_tasks()
    for source in (run, demos.path):
        words = [str(source), str(tmp_path / "out.hdf5"), "--task", ENDING]
        assert main(["export-dataset", *words]) == 2
        shown = " ".join(capsys.readouterr().err.split())
        assert f"--task is {ENDING}, and {source} is of task {NAME}; give --task {NAME}" in shown
    loading.named_by_user(NAME)
