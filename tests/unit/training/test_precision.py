"""Precision of the product of token grids with the readout head."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from support.policy_data import make_data

from s2robot.errors import MismatchError, S2RobotError
from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.policy import Policy
from s2robot.training import frames as frames_module
from s2robot.training import precision, stacked_policy
from s2robot.training.config import SearchConfig, TrainConfig
from s2robot.training.frames import DeviceFrames, shared_frames, sharing_frames
from s2robot.training.hyperparameter_search import search_hyperparameters
from s2robot.training.seed_trainer import Trainer
from s2robot.training.trainer import CHECKPOINT, FitResult, fit
from s2robot.utils.io import digest_of
from s2robot.utils.optim import seeded

SMALL = {"hidden": (16,), "keypoints": 4, "keypoint_features": 2, "context": 3, "rnn_hidden": 8}
SMALL |= {"transformer_width": 8, "transformer_heads": 2, "transformer_layers": 1}
SMALL |= {"dropout": 0.0}
GRID = (4, 4, 6)
CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=3, batch_size=16, checkpoint_every=1)
LOW = dataclasses.replace(CONFIG, dtype="bfloat16")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any grid be too large to be kept as float32, on a processor with bfloat16."""
    monkeypatch.delenv("S2ROBOT_DTYPE", raising=False)
    monkeypatch.setattr(precision, "PREPARED_BYTES", 0)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)


def dtype_of(dtype: str, shape: tuple[int, ...] = GRID, device: str = "cpu") -> str:
    return precision.resolved(TrainConfig(dtype=dtype), 100, shape, device).dtype


def train(config: TrainConfig, kind: str = "mlp", folder: Path | None = None) -> FitResult:
    return fit(make_data(GRID), PolicyConfig(kind=kind, **SMALL), config, folder, device="cpu")


def losses(result: FitResult) -> list[float]:
    return [row["train_loss"] for row in result.history]


# ------------------------------------------------------------------------------------ which one
@pytest.mark.usefixtures("large")
def test_auto_is_bfloat16_for_large_grids_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dtype_of("auto") == "bfloat16"
    assert dtype_of("float32") == "float32"
    monkeypatch.setattr(precision, "PREPARED_BYTES", 4 * 100 * 96)
    assert dtype_of("auto") == "float32"
    monkeypatch.setattr(precision, "PREPARED_BYTES", 4 * 100 * 96 - 1)
    assert dtype_of("auto") == "bfloat16"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert dtype_of("auto") == "float32"
    assert dtype_of("bfloat16") == "bfloat16"  # what is asked for is kept


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("has", [True, False])
def test_auto_on_a_gpu_asks_the_gpu(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: not has)
    assert dtype_of("auto", device="cuda:0") == ("bfloat16" if has else "float32")
    assert dtype_of("auto", device="mps") == "float32"


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("shape", [(96,), (0,)])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_vectors_are_float32(shape: tuple[int, ...], dtype: str) -> None:
    assert dtype_of(dtype, shape) == "float32"


@pytest.mark.usefixtures("large")
def test_the_environment_keeps_auto_at_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2ROBOT_DTYPE", "float32")
    assert dtype_of("auto") == "float32"
    assert dtype_of("bfloat16") == "bfloat16"
    monkeypatch.setenv("S2ROBOT_DTYPE", "half")
    with pytest.raises(S2RobotError, match="S2ROBOT_DTYPE is 'half'; allowed: float32"):
        dtype_of("auto")


def test_another_value_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown dtype 'bfloat'.*did you mean 'bfloat16'"):
        TrainConfig(dtype="bfloat")


# ------------------------------------------------------------------------------------ identities
def test_keys_of_float32_are_those_from_before_there_was_another_precision() -> None:
    before = {
        **{"epochs": 3, "batch_size": 16, "lr": 3e-3, "warmup": 0.05, "weight_decay": 1e-2},
        **{"grad_clip": 1.0, "ema_decay": 0.99, "proprio_noise": 0.0, "checkpoint_every": 10},
        "seed": 0,
    }
    data, policy = make_data(GRID), PolicyConfig(**SMALL)
    key = digest_of([data.digest, policy.to_dict(), before])
    full = dataclasses.replace(CONFIG, dtype="float32")
    assert full.recipe() == before
    assert [Trainer(data, policy, each, CPU).key for each in (CONFIG, full)] == [key, key]
    low = Trainer(data, policy, LOW, CPU)
    assert low.key == digest_of([data.digest, policy.to_dict(), {**before, "dtype": "bfloat16"}])


@pytest.mark.usefixtures("large")
def test_what_auto_takes_is_in_the_keys() -> None:
    data, policy = make_data(GRID), PolicyConfig(**SMALL)
    found = Trainer(data, policy, CONFIG, CPU)
    assert found.config.dtype == "bfloat16"
    assert found.key == Trainer(data, policy, LOW, CPU).key


def test_trials_of_a_search_have_the_precision_in_their_keys(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    search = SearchConfig(trials=1, epochs=1)

    def key(dtype: str) -> str:
        config = dataclasses.replace(CONFIG, dtype=dtype)
        data, policy = make_data(GRID), PolicyConfig(**SMALL)
        found = search_hyperparameters(data, policy, config, search, device="cpu")
        return found.trials[0]["key"]

    full = key("float32")
    assert key("auto") == full != key("bfloat16")
    request.getfixturevalue("large")
    assert key("auto") == key("bfloat16")


def test_a_checkpoint_of_the_other_precision_is_refused(tmp_path: Path) -> None:
    train(LOW, folder=tmp_path)
    with pytest.raises(MismatchError, match="other data, policy or training settings"):
        train(CONFIG, folder=tmp_path)


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_a_training_resumes_in_its_precision(tmp_path: Path, kind: str) -> None:
    class Stop(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise Stop

    data, policy = make_data(GRID), PolicyConfig(kind=kind, **SMALL)
    with pytest.raises(Stop):
        fit(data, policy, LOW, tmp_path, on_epoch=stop, device="cpu")
    assert (tmp_path / CHECKPOINT).exists()
    resumed, whole = train(LOW, kind, tmp_path), train(LOW, kind)
    assert resumed.resumed_from == 1
    assert resumed.history == whole.history


# -------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_trains_almost_as_float32(kind: str) -> None:
    low, full = train(LOW, kind), train(CONFIG, kind)
    assert losses(low) != losses(full)  # or the product was computed in float32
    assert losses(low) == pytest.approx(losses(full), rel=0.02)
    assert low.history[-1]["valid_loss"] == pytest.approx(full.history[-1]["valid_loss"], rel=0.02)


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_products_with_the_grid_are_in_bfloat16_and_all_else_in_float32(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    gather = DeviceFrames.gather

    def watched(self: DeviceFrames, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = gather(self, *given)  # pyright: ignore[reportArgumentType]
        seen.update(each.dtype for each in found)
        return found

    monkeypatch.setattr(DeviceFrames, "gather", watched)
    policy = train(LOW, kind).policy
    assert seen == {torch.bfloat16, torch.float32, torch.bool}
    assert {value.dtype for value in policy.state_dict().values()} == {torch.float32}
    policy.reset(1)
    assert policy.act(make_data(GRID).embedding[:1], torch.zeros(1, 4)).dtype == torch.float32


def test_gradients_differ_by_rounding_alone() -> None:
    data, config = make_data(GRID), PolicyConfig(**SMALL)
    with seeded(0, 0):
        policy = Policy.for_data(config, data)
    proprio, mask = policy.normalize_proprio(data.proprio), torch.ones(48, dtype=torch.bool)
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        policy.zero_grad()
        tokens = policy.normalize_embedding(data.embedding).to(dtype)
        policy.loss(tokens, proprio, data.actions, mask).backward()
        grads.append({name: p.grad.clone() for name, p in policy.named_parameters()})  # pyright: ignore[reportOptionalMemberAccess]
    full, low = (torch.cat([grad.flatten() for grad in each.values()]) for each in grads)
    assert low.dtype == torch.float32
    assert 0 < float((low - full).norm()) <= 0.05 * float(full.norm())


# --------------------------------------------------------------------------------------- memory
def test_frames_in_bfloat16_are_the_normalized_ones_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames_module, "_CHUNK_BYTES", 5 * 4 * 96)  # five frames at once
    data = make_data(GRID)
    policy = Policy.for_data(PolicyConfig(**SMALL), data)
    sizes: list[int] = []
    normalize = Policy.normalize_embedding

    def watched(self: Policy, embedding: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        sizes.append(len(embedding))
        return normalize(self, embedding, out)

    monkeypatch.setattr(Policy, "normalize_embedding", watched)
    found = DeviceFrames(data, policy, CPU, "bfloat16")
    assert (max(sizes), sum(sizes)) == (5, 48)
    assert found.prepared
    assert found.embedding.dtype == torch.bfloat16
    expected = normalize(policy, data.embedding).flatten(1)
    assert torch.equal(found.embedding, expected.to(torch.bfloat16))


def test_frames_of_both_precisions_are_not_shared_and_those_of_other_data_are_forgotten() -> None:
    data, other, policy = make_data(GRID), make_data(GRID, seed=1), PolicyConfig(**SMALL)
    with sharing_frames():
        low, full = (Trainer(data, policy, each, CPU).frames for each in (LOW, CONFIG))
        assert (low.embedding.dtype, full.embedding.dtype) == (torch.bfloat16, torch.float32)
        assert shared_frames(data, policy, CPU, "bfloat16") is low
        assert shared_frames(data, policy, CPU, "float32") is full
        Trainer(other, policy, LOW, CPU)
        assert shared_frames(data, policy, CPU, "bfloat16") is None


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_halves_are_the_same_whoever_computes_them(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread takes the second half; where it is busy, nobody waits for it."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, batch, 5, 6, generator=generator).bfloat16()
    given = torch.randn(2, 3, 6, generator=generator)
    positions = torch.randn(5, 2, generator=generator)

    def pooled(own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weight = given.clone().requires_grad_()
        found = stacked_policy._PooledTokens.apply(own, weight, positions, 2)
        found.square().sum().backward()  # pyright: ignore[reportOptionalMemberAccess]
        assert weight.grad is not None
        return found.detach(), weight.grad  # pyright: ignore[reportOptionalMemberAccess]

    free = pooled(tokens)
    blocked = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        busy.submit(blocked.wait)
        monkeypatch.setattr(stacked_policy, "_helper", lambda _: busy)
        alone = pooled(tokens)
        blocked.set()
    for one, other, whole in zip(free, alone, pooled(tokens.float()), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, whole, rtol=0.05, atol=0.05)
