from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import forked
from support.policy_data import make_data

from s2robot.errors import DivergedError, MismatchError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training import many_seeds
from s2robot.training.frames import DeviceFrames, sharing_frames
from s2robot.training.many_seeds import DivergedSeedsError, fit_each, fit_many
from s2robot.training.seed_stack import SeedStack
from s2robot.training.seed_trainer import CHECKPOINT, FitResult, TrainConfig, Trainer
from s2robot.training.trainer import fit

SMALL = {"hidden": (16,), "keypoints": 4, "keypoint_features": 2, "gmm_modes": 2, "context": 3}
SMALL |= {"rnn_hidden": 8}
CONFIG = TrainConfig(epochs=6, batch_size=16, checkpoint_every=2, proprio_noise=0.01)
SHAPES = [(4, 4, 6), (5,), (0,)]


def train(
    seeds: list[int],
    kind: str = "mlp",
    data: TrajectoryData | None = None,
    config: TrainConfig = CONFIG,
    **options,
) -> dict[int, FitResult]:
    policy = PolicyConfig(kind=kind, **SMALL)
    return fit_many(data or make_data(), policy, config, seeds, device="cpu", **options)


def alone(seed: int, kind: str = "mlp", data: TrajectoryData | None = None, **options) -> FitResult:
    policy = PolicyConfig(kind=kind, **SMALL)
    config = dataclasses.replace(CONFIG, seed=seed)
    return fit(data or make_data(), policy, config, device="cpu", **options)


def reference(seed: int, kind: str, data: TrajectoryData) -> FitResult:
    """The result of a plain loop over epochs, each with the policy's own loss."""
    policy = PolicyConfig(kind=kind, **SMALL)
    config = dataclasses.replace(CONFIG, seed=seed)
    trainer = Trainer(data, policy, config, torch.device("cpu"))
    for epoch in range(CONFIG.epochs):
        trainer.epoch(epoch)
    return FitResult(trainer.result(), tuple(trainer.history), 0)


def predictions(result: FitResult, data: TrajectoryData) -> torch.Tensor:
    policy = result.policy
    embedding = policy.normalize_embedding(data.embedding)
    return policy.predict(embedding, policy.normalize_proprio(data.proprio)).detach()


def assert_alike(one: FitResult, other: FitResult, data: TrajectoryData) -> None:
    torch.testing.assert_close(
        predictions(one, data), predictions(other, data), rtol=1e-4, atol=1e-5
    )
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["mlp", "gmm"])
def test_each_seed_has_the_result_of_a_plain_loop(kind: str, shape: tuple[int, ...]) -> None:
    data = make_data(shape)
    together = train([0, 1, 2], kind, data)
    assert list(together) == [0, 1, 2]
    for seed, result in together.items():
        assert_alike(result, reference(seed, kind, data), data)
    assert not torch.allclose(predictions(together[0], data), predictions(together[1], data))


@pytest.mark.parametrize("kind", ["mlp", "gmm"])
def test_a_seed_depends_neither_on_those_beside_it_nor_on_threads(kind: str) -> None:
    data = make_data()
    with threads(1):
        expected = alone(1, kind, data)
        assert_alike(train([0, 1, 2, 5, 9], kind, data)[1], expected, data)
    with threads(3):
        assert_alike(train([0, 1, 2, 5, 9], kind, data)[1], expected, data)


def test_stacks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    expected = train([0, 1, 2])
    monkeypatch.setitem(many_seeds._STACK, "cpu", 1)
    for seed, result in train([0, 1, 2]).items():
        assert_alike(result, expected[seed], data)


def test_sequence_policies_are_trained_one_by_one() -> None:
    data = make_data()
    rows: list[tuple[int, float]] = []
    found = train([0, 3], "rnn_gmm", on_epoch=lambda seed, row: rows.append((seed, row["epoch"])))
    assert found[3].history == alone(3, "rnn_gmm").history
    assert rows == [(seed, epoch) for seed in (0, 3) for epoch in range(1, 7)]
    assert len(data.actions)


@pytest.mark.process
def test_a_training_may_be_started_from_a_callback_of_another() -> None:
    """In a process of its own, since a fault would hang this one."""
    script = """
import torch
from unit.training.test_many_seeds import train

torch.set_num_threads(2)
found = []
train([0, 1], on_epoch=lambda seed, row: found or found.append(train([7, 8])))
print(sorted(found[0]), torch.get_num_threads(), torch.distributions.Distribution._validate_args)
"""
    done = forked.run([sys.executable, "-c", script])
    assert done.stdout == "[7, 8] 2 True\n", done.stderr


def test_global_randomness_stays() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train([0, 1], "gmm")
    assert torch.equal(torch.rand(3), expected)


def test_results_share_no_memory() -> None:
    found = train([0, 1])
    for result in found.values():
        for value in result.policy.parameters():
            assert value.untyped_storage().nbytes() <= max(8, value.numel() * 4)


def test_training_resumes_from_checkpoints_of_the_seeds(tmp_path: Path) -> None:
    folders = {seed: tmp_path / str(seed) for seed in range(3)}
    whole = train([0, 1, 2])

    def stop(seed: int, row: dict[str, float]) -> None:
        if row["epoch"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([0, 1, 2], run_dirs=folders, on_epoch=stop)
    again = train([0, 1, 2], run_dirs=folders)
    assert [result.resumed_from for result in again.values()] == [4, 4, 4]
    for seed, result in again.items():
        assert_alike(result, whole[seed], make_data())
        assert any((folders[seed] / "tb").iterdir())


def test_fit_continues_what_fit_many_began_and_the_reverse(tmp_path: Path) -> None:
    data = make_data()

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(1, run_dir=tmp_path / "1", on_epoch=stop)
    together = train([0, 1], run_dirs={seed: tmp_path / str(seed) for seed in (0, 1)})
    assert [together[seed].resumed_from for seed in (0, 1)] == [0, 2]
    assert_alike(together[1], alone(1), data)
    again = alone(0, run_dir=tmp_path / "0")
    assert again.resumed_from == CONFIG.epochs
    assert again.history == together[0].history
    assert torch.equal(predictions(again, data), predictions(together[0], data))


def test_checkpoints_hold_their_own_seed_alone(tmp_path: Path) -> None:
    train([0], run_dirs={0: tmp_path / "one"})
    train([0, 1, 2], run_dirs={seed: tmp_path / str(seed) for seed in range(3)})
    size = (tmp_path / "one" / CHECKPOINT).stat().st_size
    assert (tmp_path / "2" / CHECKPOINT).stat().st_size == pytest.approx(size, rel=0.05)


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train([0, 1], run_dirs={0: tmp_path})
    other = dataclasses.replace(CONFIG, lr=1e-4)
    with pytest.raises(MismatchError, match="delete that file"):
        train([0, 1], config=other, run_dirs={0: tmp_path})
    assert train([0], config=other, run_dirs={0: tmp_path}, resume=False)[0].resumed_from == 0


@pytest.mark.process
@pytest.mark.slow
def test_killed_training_resumes(tmp_path: Path) -> None:
    script = (
        "import os, signal, pathlib, test_many_seeds as t\n"
        "def on_epoch(seed, row):\n"
        "    if row['epoch'] == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"folders = {{seed: pathlib.Path({str(tmp_path)!r}) / str(seed) for seed in (0, 1)}}\n"
        "t.train([0, 1], run_dirs=folders, on_epoch=on_epoch)\n"
    )
    killed = forked.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
    )
    assert killed.returncode == -9
    again = train([0, 1], run_dirs={seed: tmp_path / str(seed) for seed in (0, 1)})
    assert max(result.resumed_from for result in again.values()) == 4
    for seed, result in again.items():
        assert_alike(result, alone(seed), make_data())


def spoil(monkeypatch: pytest.MonkeyPatch, seed: int, epoch: int) -> None:
    """Give one seed NaN as the noise of its proprioception from an epoch on."""
    healthy = SeedStack._draw

    def draw(self: SeedStack) -> tuple:
        batches, noise = healthy(self)
        for place, trainer in enumerate(self.trainers):
            if trainer.config.seed == seed and self.done + 1 >= epoch:
                for drawn in noise:
                    assert drawn is not None
                    drawn[place] = math.nan
        return batches, noise

    monkeypatch.setattr(SeedStack, "_draw", draw)


def test_a_diverged_seed_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train([0, 2])
    spoil(monkeypatch, seed=1, epoch=5)
    folders = {seed: tmp_path / str(seed) for seed in range(3)}
    with pytest.raises(DivergedSeedsError, match="epoch 5 of seed 1 ") as caught:
        train([0, 1, 2], run_dirs=folders)
    assert list(caught.value.errors) == [1]
    assert isinstance(caught.value, DivergedError)
    assert list(caught.value.results) == [0, 2]
    for seed, result in caught.value.results.items():
        assert_alike(result, expected[seed], make_data())
    state = torch.load(folders[1] / CHECKPOINT, weights_only=True)
    assert len(state["history"]) == 4  # the last good one
    assert all(bool(torch.isfinite(value).all()) for value in state["policy"].values())


def test_training_ends_when_all_seeds_have_diverged() -> None:
    config = dataclasses.replace(CONFIG, lr=1e36, warmup=0.0, grad_clip=0.0, epochs=10_000)
    with pytest.raises(DivergedSeedsError) as caught:
        train([0, 1], "gmm", make_data((5,)), config)
    assert list(caught.value.errors) == [0, 1]
    with pytest.raises(DivergedSeedsError):
        train([0], "rnn_gmm", make_data((5,)), config)


@pytest.mark.parametrize("kind", ["mlp", "rnn_gmm"])
def test_trainings_of_several_settings_have_the_results_that_each_has_alone(kind: str) -> None:
    data = make_data()
    wide = PolicyConfig(kind=kind, **SMALL)
    policies = [wide, dataclasses.replace(wide, hidden=(8,))]
    configs = [dataclasses.replace(CONFIG, seed=seed, lr=lr) for seed, lr in ((0, 1e-3), (1, 3e-3))]
    trainings = [(policy, config) for policy in policies for config in configs]
    found = fit_each(data, trainings, "cpu")
    for result, (policy, config) in zip(found, trainings, strict=True):
        assert isinstance(result, FitResult)
        assert result.history == fit(data, policy, config, device="cpu").history


def test_a_diverged_training_is_an_error_beside_the_results_of_the_others() -> None:
    policy = PolicyConfig(**SMALL)
    wild = dataclasses.replace(CONFIG, lr=1e30, grad_clip=0.0)
    first, second = fit_each(make_data(), [(policy, wild), (policy, CONFIG)], "cpu")
    assert isinstance(first, DivergedError)
    assert isinstance(second, FitResult)


def test_trainings_inside_a_block_prepare_their_frames_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, data = [], make_data()
    prepare = DeviceFrames.__init__

    def counted(self: DeviceFrames, *given: object) -> None:
        made.append(given[0])
        prepare(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(DeviceFrames, "__init__", counted)
    with sharing_frames():
        shared = [train([seed], data=data)[seed].history for seed in (0, 1)]
        train([0], data=make_data((5,)))
    assert len(made) == 2  # one a data set
    assert [train([seed], data=data)[seed].history for seed in (0, 1)] == shared
    assert len(made) == 4
