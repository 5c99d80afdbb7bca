"""Policies that are not ours: the same rows, statistics and report as of ours."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.external_policies import Stretched
from support.own_tasks import NAME

from s2robot.cli.main import main
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.reporting.report import make_report
from s2robot.utils.io import read_json, read_jsonl

HERE = "support.external_policies"
MEASURED = EvalConfig(realtime=True, num_envs=1)
STRETCHED = f"{HERE}:Stretched"


@pytest.fixture(autouse=True)
def _forget_policies() -> None:
    Stretched.made.clear()


def evaluated(
    out: Path, policy: str, rollout: dict[str, Any] | None = None, n: int = 5, **external: Any
) -> Path:
    """Roll a policy out in ``Reach``, two environments at a time, and return the folder."""
    config = EvalConfig(**{"num_envs": 2, "workers": 0, "videos": 0, **(rollout or {})})
    job = EvalJob(
        task=NAME,
        n=n,
        rollout=config,
        external=ExternalConfig(policy=policy, **external),
        data_dir=out.parent / "data",
        out=out,
    )
    evaluate_policy(job)
    return out


def actions_of(folder: Path) -> np.ndarray:
    """Actions of all batches, one after the other."""
    return np.concatenate([np.load(path) for path in sorted((folder / "actions").iterdir())])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file of ours with a small encoder."""
    from support.tiny_models import write_tiny_model

    from s2robot.experiments.config import DemosChoice, VariantConfig
    from s2robot.experiments.jobs import TrainJob
    from s2robot.experiments.pipeline import train_run
    from s2robot.experiments.variant import Variant
    from s2robot.policies.config import PolicyConfig
    from s2robot.training.config import TrainConfig

    folder = tmp_path_factory.mktemp("ours")
    demos = collect(CollectConfig(task=NAME, episodes=6, out=folder / "demos.hdf5", workers=0))
    variant = VariantConfig(
        task=NAME,
        encoder=f"file:{write_tiny_model(folder)}",
        scales=(1.0,),
        readout="mean",
        demos=DemosChoice(path=demos.path),
        device="cpu",
        runtime="eager",
        data_dir=folder / "data",
    )
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=2)
    return train_run(
        TrainJob(variant, policy, train, search=None, runs_dir=folder / "runs"), Variant(variant)
    )


def test_our_own_policy_under_another_name_gives_exactly_its_rows(checkpoint, tmp_path):
    rollout = EvalConfig(num_envs=2, workers=0, videos=0)
    job = EvalJob(
        checkpoint,
        task=NAME,
        n=5,
        rollout=rollout,
        device="cpu",
        runtime="eager",
        data_dir=tmp_path / "data",
        out=tmp_path / "ours",
    )
    evaluate_policy(job)
    theirs = evaluated(tmp_path / "theirs", f"{HERE}:ours?checkpoint={checkpoint}")
    for name in ("episodes.jsonl", "actions/from_00000.npy", "actions/from_00004.npy"):
        assert (theirs / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
    assert actions_of(theirs).std() > 0


def test_each_environment_has_a_policy_of_its_own(tmp_path):
    out = evaluated(tmp_path / "run", f"{STRETCHED}?step=0.25")
    first, second = Stretched.made
    assert first.calls == 3 * 12 + 33  # three batches, then the latency of one frame
    assert second.calls == 3 * 12
    frames, proprio = first.seen[0]
    assert {name: frame.shape for name, frame in frames.items()} == {"render": (32, 40, 3)}
    assert {name: array.shape for name, array in proprio.items()} == {"agent_pos": (2,)}
    assert frames["render"].dtype == np.uint8
    np.testing.assert_allclose(actions_of(out)[0, :, 0], 0.25 + np.arange(12) / 100, atol=1e-6)
    record = read_json(out / "run.json")
    assert record["external"]["policy"] == f"{STRETCHED}?step=0.25"
    assert len(record["external"]["source"]) == 64


@pytest.mark.parametrize(("execute", "calls"), [(None, 3), (2, 6), (9, 3)])
def test_a_chunk_is_carried_out_before_the_next_is_asked_for(tmp_path, execute, calls):
    out = evaluated(tmp_path / "run", f"{STRETCHED}?chunk=4", n=1, execute=execute)
    assert Stretched.made[1].calls == calls
    hundredths = np.rint(100 * (actions_of(out)[0, :, 0] - 0.5)).astype(int).tolist()
    used = execute if execute and execute < 4 else 4
    assert hundredths == [4 * (t // used) + t % used for t in range(12)]


def test_one_object_may_serve_all_environments(tmp_path):
    out = evaluated(tmp_path / "run", f"{HERE}:Batched", n=2)
    (policy,) = Stretched.made
    assert policy.calls == 4 + 33
    assert np.rint(100 * actions_of(out)[1, :, 0]).astype(int).tolist() == [
        n for n in (1, 2, 3, 4) for _ in range(3)
    ]


def test_in_real_time_a_chunk_waits_only_where_it_is_used_up(tmp_path):
    """Control steps have 200 ms, so an answer of 300 ms is two steps late."""
    late = {"realtime": True, "latency_ms": 300.0}
    out = evaluated(tmp_path / "run", f"{STRETCHED}?chunk=3", rollout=late, n=2)
    hundredths = np.rint(100 * (actions_of(out)[0, :, 0] - 0.5)).astype(int).tolist()
    assert hundredths == [0, 1, 2, 2, 2, 3, 4, 5, 5, 5, 6, 7]
    assert {row["steps_repeated"] for row in read_jsonl(out / "episodes.jsonl")} == {4}


def test_observations_that_a_robot_would_not_know_have_to_be_asked_for(tmp_path):
    with pytest.raises(S2RobotError, match="raised KeyError: 'goal' .*external_policies.py, line"):
        evaluated(tmp_path / "a", f"{HERE}:Steered")
    out = evaluated(tmp_path / "b", f"{HERE}:Steered", low_dim=("agent_pos", "goal"))
    assert all(row["success_once"] for row in read_jsonl(out / "episodes.jsonl"))


def test_seeds_of_one_label_are_one_variant_and_policies_are_compared_in_pairs(tmp_path, capsys):
    for seed in (0, 1):
        evaluated(tmp_path / f"runs/{seed}a", f"{STRETCHED}?step=0.{{seed}}", n=4, seed=seed)
        name, low_dim = f"{HERE}:Steered", ("agent_pos", "goal")
        evaluated(tmp_path / f"runs/{seed}b", name, n=4, seed=seed, label="mine", low_dim=low_dim)
    assert {policy.step for policy in Stretched.made} >= {0.0, 0.1}
    report = make_report(tmp_path / "runs")
    (group,) = report.groups
    assert {variant.label: variant.seeds for variant in group.variants} == {
        "mine": (0, 1),
        f"{STRETCHED}?step=0.{{seed}}": (0, 1),
    }
    assert group.policy_kind == "external"
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    numbers = json.loads((tmp_path / "report/report.json").read_text())
    seeds = {arm["label"]: sorted(arm["heads"]) for arm in numbers["groups"][0]["arms"]}
    assert seeds == {"mine": ["0", "1"], f"{STRETCHED}?step=0.{{seed}}": ["0", "1"]}
    capsys.readouterr()
    runs = str(tmp_path / "runs")
    assert main(["compare", runs, f"{STRETCHED}?step=0.{{seed}}", "mine"]) in (0, 5, 6)
    assert "8 / 8" in capsys.readouterr().out


def test_a_run_goes_on_and_another_policy_is_refused(tmp_path):
    whole = evaluated(tmp_path / "whole", STRETCHED)
    evaluated(tmp_path / "part", STRETCHED, n=2)
    again = evaluated(tmp_path / "part", STRETCHED)
    assert (again / "episodes.jsonl").read_bytes() == (whole / "episodes.jsonl").read_bytes()
    with pytest.raises(MismatchError, match=r"external\.policy"):
        evaluated(tmp_path / "part", f"{STRETCHED}?step=0.7")


def test_other_weights_under_the_same_name_are_another_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = Path("act.pt")
    weights.write_bytes(b"one")
    name = f"{HERE}:loaded?checkpoint=act.pt"
    evaluated(tmp_path / "run", name, n=2)
    evaluated(tmp_path / "run", name, n=2)
    weights.write_bytes(b"other")
    with pytest.raises(MismatchError, match=r"external\.files\.checkpoint"):
        evaluated(tmp_path / "run", name)


@pytest.mark.parametrize("policy", [f"{HERE}:told", f"{HERE}:Seedless?step=0.5"])
def test_a_seed_that_changes_nothing_is_refused(tmp_path, policy):
    evaluated(tmp_path / "run", policy, n=1)
    with pytest.raises(ValueError, match=r"external.seed is 1, but policy=.*put \{seed\} in"):
        evaluated(tmp_path / "other", policy, n=1, seed=1)


def test_chunks_of_different_lengths_are_refused_in_real_time(tmp_path):
    late, policy = {"realtime": True, "latency_ms": 300.0}, f"{HERE}:Uneven"
    evaluated(tmp_path / "waits", policy, n=2)
    with pytest.raises(S2RobotError, match="chunks of 2 to 3 actions.*num_envs=1"):
        evaluated(tmp_path / "late", policy, rollout=late, n=2)
    evaluated(tmp_path / "equal", policy, rollout=late, n=2, execute=2)
    evaluated(tmp_path / "alone", policy, rollout={**late, "num_envs": 1}, n=2)


def test_the_latency_of_a_chunked_policy_is_that_of_its_calls(tmp_path):
    out = evaluated(tmp_path / "run", f"{STRETCHED}?chunk=4", n=1)
    (row,) = read_jsonl(out / "timing.jsonl")
    assert len(row["encode"]) == len(row["policy"]) == 12 // 4
    assert len(row["env"]) == 12


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("support.raises_on_import:make", "importing support.raises_on_import raised KeyError"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        (f"{HERE}:Stretchd", "callable in support.external_policies.*Stretched"),
        (f"{HERE}:number", "number is of type int; allowed: an object with reset"),
        (f"{HERE}:Stretched?speed=2", "cannot be called with seed, speed: .*MODULE:CALLABLE"),
        (f"{HERE}:ours", "missing a required argument: 'checkpoint'"),
        (f"{HERE}:one?step=1", "one is a policy, which takes no arguments"),
        (f"{HERE}:one", "one object for one robot, and rollout.num_envs is 2"),
        (f"{HERE}:without_reset", r"object of type function without reset\(\)"),
        (f"{HERE}:fails_to_load", "the factory raised OSError: weights.pt is missing"),
        (f"{HERE}:broken?kind=nan", r"NaN or infinite actions: \[\[nan, 0.0\]\]"),
        (f"{HERE}:broken?kind=size", r"shape \(3,\); the task takes 2 numbers \(a0, a1\)"),
        (f"{HERE}:broken?kind=empty", r"shape \(0, 2\); the task takes 2 numbers"),
        (f"{HERE}:broken?kind=gradient", r"of type list; allowed: an array"),
        (f"{HERE}:broken?kind=text", "returned 'left' of type str; allowed: an array"),
        (f"{HERE}:broken?kind=raises", "the policy raised KeyError: 'camera' .*, line"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(tmp_path, policy, message):
    with pytest.raises((ValueError, S2RobotError), match=message) as caught:
        evaluated(tmp_path / "run", policy)
    assert policy in str(caught.value)
    assert not (tmp_path / "run/episodes.jsonl").exists()


def test_actions_out_of_their_range_are_clipped_with_one_warning(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = evaluated(tmp_path / "run", f"{HERE}:broken?kind=large", n=2)
    named = [str(each.message) for each in caught if "clipped" in str(each.message)]
    assert len(named) == 1
    assert "returned an action of 3;" in named[0]
    assert actions_of(out).max() == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "checkpoint is missing"),
        ({"policy": "mlp", "level": "easy"}, "policy is 'mlp'; allowed: MODULE:CALLABLE"),
        ({"policy": STRETCHED}, "does not say its task; give task="),
        ({"policy": STRETCHED, "checkpoint": Path("a"), "level": "easy"}, "give one of them"),
        ({"policy": STRETCHED, "level": "easy", "runtime": "eager"}, "runtime is of policy files"),
        ({"policy": STRETCHED, "level": "easy", "shard": "1/2"}, "shard is of policy files"),
        (
            {"policy": STRETCHED, "level": "easy", "shard": "1/2"} | {"rollout": MEASURED},
            "shard is 1/2, but real time measures|shard is of policy files",
        ),
        ({"checkpoint": Path("a"), "shard": "1/2", "rollout": MEASURED}, "real time measures"),
        ({"checkpoint": Path("a"), "external": ExternalConfig(seed=1)}, "external.* are settings"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    given = {name: value for name, value in settings.items() if name != "policy"}
    with pytest.raises(ValueError, match=message):
        EvalJob(**{"external": ExternalConfig(policy=settings.get("policy")), **given})


@pytest.mark.parametrize("setting", [{"prompt": "lift"}, {"timeout_s": 5.0}])
def test_settings_of_a_server_are_refused_for_a_policy_in_python(setting):
    with pytest.raises(ValueError, match=f"external.{next(iter(setting))} is of servers"):
        ExternalConfig(STRETCHED, **setting)
    assert ExternalConfig("ws://robot.lab:8000", **setting).policy


@pytest.mark.parametrize(
    ("external", "message"),
    [
        ({"camera": "top"}, "external.camera 'top'"),
        ({"low_dim": ("speed",)}, "observation in external.low_dim 'speed'"),
        ({"control": "joint_delta"}, "external.control is joint_delta, which is of pick-cube"),
        ({"size": 64}, "external.size is 64, which is of pick-cube"),
    ],
)
def test_unknown_cameras_and_observations_are_refused(tmp_path, external, message):
    with pytest.raises(ValueError, match=message):
        evaluated(tmp_path / "run", STRETCHED, **external)


@pytest.mark.process
@pytest.mark.render
def test_the_command_line_evaluates_a_policy_in_pick_cube(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["task=pick-cube/easy", "n=1", "rollout.num_envs=1", "rollout.horizon=2"]
    settings += ["rollout.videos=0", "rollout.workers=0", "external.size=32"]
    assert main(["eval", f"policy={HERE}:told", *settings]) == 0
    (out,) = (tmp_path / "runs/cells").iterdir()
    assert out.name.startswith("easy_support.external_policies-told_seed0_")
    assert f"{Path('runs/cells') / out.name}" in capsys.readouterr().out
    task = Stretched.made[-1].task
    assert task.action_names == ("dx", "dy", "dz", "gripper")
    assert task.cameras == {"front": (32, 32)}
    assert (task.control_hz, task.proprio) == (5.0, {"ee_pos": 3, "gripper_width": 1})
    assert read_json(out / "cell.json")["label"] == f"{HERE}:told"
