from __future__ import annotations

import dataclasses
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import forked
from support.policy_data import make_data

from s2robot.errors import CorruptFileError, DivergedError, MismatchError
from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.policies.policy import Policy
from s2robot.training.frames import assemble
from s2robot.training.trainer import CHECKPOINT, FitResult, TrainConfig, fit

SMALL = {"hidden": (16,), "keypoints": 4, "keypoint_features": 2, "context": 3, "rnn_hidden": 8}
SMALL |= {"transformer_width": 8, "transformer_heads": 2, "transformer_layers": 1}
CONFIG = TrainConfig(epochs=6, batch_size=16, checkpoint_every=2, proprio_noise=0.01)


def small(kind: str) -> PolicyConfig:
    return PolicyConfig(kind=kind, **SMALL)


def train(
    kind: str = "mlp", config: TrainConfig = CONFIG, data: TrajectoryData | None = None, **options
) -> FitResult:
    return fit(data or make_data(), small(kind), config, device="cpu", **options)


def same_weights(one: Policy, other: Policy) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "act"])
def test_every_kind_that_predicts_one_action_learns(kind: str) -> None:
    data = make_data((5,), episodes=20)
    config = TrainConfig(epochs=20, batch_size=32, lr=2e-2)
    history = train(kind, config, data).history
    assert len(history) == 20
    assert history[-1]["motion_error"] < 0.75 * history[0]["motion_error"]
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.1


def test_a_seed_fixes_the_result_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train("transformer")
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(first.policy, train("transformer").policy)
    other = TrainConfig(epochs=6, batch_size=16, seed=1)
    assert not same_weights(first.policy, train("transformer", other).policy)


@pytest.mark.process
@pytest.mark.slow
def test_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    script = (
        "import os, signal, test_trainer as t\n"
        "def on_epoch(row):\n"
        "    if row['epoch'] == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"t.train('transformer', run_dir={str(tmp_path)!r}, on_epoch=on_epoch)\n"
    )
    threads = str(torch.get_num_threads())
    killed = forked.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": threads},
    )
    assert killed.returncode == -9
    resumed = train("transformer", run_dir=tmp_path)
    whole = train("transformer")
    assert resumed.resumed_from == 4
    assert resumed.history == whole.history
    assert same_weights(resumed.policy, whole.policy)
    assert any((tmp_path / "tb").iterdir())


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    whole = train(run_dir=tmp_path)
    again = train(run_dir=tmp_path, on_epoch=lambda row: pytest.fail("trained again"))
    assert again.resumed_from == CONFIG.epochs
    assert same_weights(again.policy, whole.policy)


def test_a_run_goes_on_with_checkpoints_written_more_or_less_often(tmp_path: Path) -> None:
    whole = train(run_dir=tmp_path)
    other = dataclasses.replace(CONFIG, checkpoint_every=CONFIG.checkpoint_every + 3)
    again = train(config=other, run_dir=tmp_path)
    assert again.resumed_from == CONFIG.epochs
    assert same_weights(again.policy, whole.policy)


def test_another_runs_checkpoint_is_refused_unless_told_to_begin_again(tmp_path: Path) -> None:
    train(run_dir=tmp_path)
    other = TrainConfig(epochs=6, batch_size=16, lr=1e-4)
    with pytest.raises(MismatchError, match="delete that file"):
        train(config=other, run_dir=tmp_path)
    assert train(config=other, run_dir=tmp_path, resume=False).resumed_from == 0


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    train(run_dir=tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(CorruptFileError, match="delete it"):
        train(run_dir=tmp_path)


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"key": SimpleNamespace()}, tmp_path / CHECKPOINT)
    with pytest.raises(CorruptFileError, match="not a whole checkpoint"):
        train(run_dir=tmp_path)


def test_divergence_is_an_error() -> None:
    config = TrainConfig(epochs=6, lr=1e36, warmup=0.0, grad_clip=0.0)
    with pytest.raises(DivergedError, match="learning rate of 1e[+]36"):
        train("gmm", config, make_data((5,)))


def test_divergence_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = Policy.frame_losses
    monkeypatch.setattr(
        Policy, "frame_losses", lambda self, *batch: healthy(self, *batch) * factor[0]
    )
    factor = [1.0]

    def on_epoch(row: dict[str, float]) -> None:
        factor[0] = math.nan if row["epoch"] == 4 else 1.0

    with pytest.raises(DivergedError, match="epoch 5"):
        train(run_dir=tmp_path, on_epoch=on_epoch)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(state["history"]) == 4
    assert all(bool(torch.isfinite(value).all()) for value in state["policy"].values())


def test_frames_too_many_to_prepare_give_the_same_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = train()
    monkeypatch.setattr("s2robot.training.precision.PREPARED_BYTES", 0)
    assert same_weights(train().policy, prepared.policy)


def test_without_held_out_episodes_there_is_only_a_training_loss() -> None:
    data = make_data()
    blind = TrajectoryData(
        embedding=torch.zeros(48, 0),
        embedding_shape=(0,),
        proprio=data.proprio,
        actions=data.actions,
        episode_ends=data.episode_ends,
        train_episodes=torch.arange(6),
        valid_episodes=torch.zeros(0, dtype=torch.int64),
    )
    assert set(train(data=blind).history[0]) == {"epoch", "lr", "train_loss"}


def test_motion_error_is_in_meters() -> None:
    data = make_data((0,), episodes=8)
    data.actions[:] = torch.tensor([0.5, 0.0, 0.0, 1.0])
    data.actions[data.frames_of(data.valid_episodes)] = torch.tensor([0.5, -0.5, 0.0, -1.0])
    last = train(config=TrainConfig(epochs=40, batch_size=16, lr=3e-2), data=data).history[-1]
    assert last["motion_error"] == pytest.approx(0.5 * 0.04 / 3, rel=0.05)
    assert last["gripper_error"] == 1.0


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"lr": 0.0}, {"ema_decay": 1.0}, {"warmup": -0.1}]
)
def test_configuration_is_checked(change: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} is"):
        TrainConfig(**change)


def test_assemble_takes_units_from_the_demonstrations() -> None:
    demos: Any = SimpleNamespace(
        motion_dims=7,
        motion_unit=0.15,
        actions=np.zeros((4, 8), np.float32),
        episode_ends=np.array([2, 4]),
        train_episodes=np.array([0]),
        valid_episodes=np.array([1]),
        low_dim=lambda key: np.full((4, 3), 0.5, np.float32),
    )
    data = assemble(demos, torch.zeros(4, 12), (2, 2, 3), ("ee_pos", "gripper_width"))
    assert (data.motion_dims, data.motion_unit) == (7, 0.15)
    assert data.proprio.shape == (4, 6)
    assert data.embedding_shape == (2, 2, 3)
