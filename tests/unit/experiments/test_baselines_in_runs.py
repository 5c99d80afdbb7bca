"""Baselines in runs: the names that users type give the folders and files of the stored names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, execute_run, policy_folder
from s2robot.experiments.settings import policy_settings
from s2robot.experiments.variant import DemosChoice, Variant, VariantConfig
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.training.trainer import TrainConfig
from s2robot.utils.io import read_json

NAMES = [("blind", "none"), ("privileged_state", "state")]


def variant_of(encoder: str) -> Variant:
    variant = Variant(VariantConfig(level="precise", encoder=encoder, device="cpu"))
    demos: Any = SimpleNamespace(
        identity_digest="d" * 64,
        num_episodes=120,
        num_frames=9000,
        level="precise",
        control="ee_delta",
        env_kwargs={"yaw_range_rad": 0.0},
    )
    variant.__dict__["demos"] = demos  # in place of the cached property
    return variant


@pytest.mark.parametrize(("name", "old"), NAMES)
def test_both_names_give_the_same_identity_and_folder(name: str, old: str) -> None:
    new = variant_of(name)
    with pytest.warns(FutureWarning, match=f"encoder={old} is now called encoder={name}"):
        before = variant_of(old)
    assert new.config == before.config
    settings = policy_settings(TrainJob(new.config), new)
    assert settings == policy_settings(TrainJob(before.config), before)
    assert settings["encoder"] == {"backbone": old}
    folder = policy_folder(TrainJob(new.config), new)
    assert folder == policy_folder(TrainJob(before.config), before)
    assert folder.name.startswith(f"precise_{old}_mlp_seed0_")


def test_folders_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of finished runs are found again only if these names do not change unnoticed."""
    versions = {"s2robot_rows": 1, "torch": "2.14", "mujoco": "3.17.0"}
    monkeypatch.setattr("s2robot.experiments.settings.deciding_versions", lambda: versions)
    variants = map(variant_of, dict(NAMES))
    names = [policy_folder(TrainJob(v.config, search=None), v).name for v in variants]
    assert names == ["precise_none_mlp_seed0_69d7442fd7", "precise_state_mlp_seed0_3505a8c348"]


@pytest.mark.parametrize(("name", "stored"), NAMES)
def test_labels_in_messages_are_current_and_those_in_files_are_stored(
    name: str, stored: str
) -> None:
    variant = variant_of(name)
    assert (variant.label, variant.stored_label) == (name, stored)
    assert variant.encoder is None
    assert variant.embedding_shape == {"none": (0,), "state": (3,)}[stored]


def job_of(encoder: str, folder: Path) -> RunJob:
    variant = VariantConfig(
        level="easy",
        encoder=encoder,
        demos=DemosChoice(episodes=2),
        data_dir=folder / "data",
        device="cpu",
    )
    policy = PolicyConfig(hidden=(8,))
    train = TrainConfig(epochs=1)
    return RunJob(
        TrainJob(variant, policy, train, search=None, runs_dir=folder / "runs"),
        n=2,
        rollout=EvalConfig(num_envs=2, horizon=2, videos=0),
    )


@pytest.mark.parametrize(("name", "stored"), NAMES)
def test_a_run_is_found_again_under_the_old_name(tmp_path: Path, name: str, stored: str) -> None:
    """Trained and evaluated as ``blind``, a run is complete as ``none`` too."""
    lines: list[str] = []
    first = execute_run(job_of(name, tmp_path), log=lines.append)
    assert lines == [f"run: easy, {name}, mlp, seed 0"]
    paths = list(tmp_path.glob("runs/cells/*/policy.safetensors"))
    assert [path.parent.name[: len(f"easy_{stored}_")] for path in paths] == [f"easy_{stored}_"]
    assert read_header(paths[0]).encoder == {"backbone": stored}
    record = read_json(paths[0].with_name("cell.json"))
    assert (record["label"], record["encoder"]) == (stored, {"backbone": stored})
    written = paths[0].stat().st_mtime_ns
    with pytest.warns(FutureWarning, match=f"encoder={stored}"):
        job = job_of(stored, tmp_path)
    assert execute_run(job, log=lines.append).latency_ms == first.latency_ms  # not measured again
    assert list(tmp_path.glob("runs/cells/*/policy.safetensors")) == paths
    assert paths[0].stat().st_mtime_ns == written
    again = EvalJob(paths[0], n=2, rollout=job.rollout, data_dir=tmp_path / "data")
    assert evaluate_policy(again).success_once == first.success_once
