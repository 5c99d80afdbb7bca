from __future__ import annotations

import pytest
import torch
from support.policy_data import make_data

from s2robot.policies.config import LOSSES, PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.policies.policy import Policy
from s2robot.training.stacked_policy import StackedPolicy, _PooledTokens
from s2robot.utils.optim import seeded

SMALL = {"hidden": (8, 6), "keypoints": 3, "keypoint_features": 2, "gmm_modes": 2}


def policies(config: PolicyConfig, data: TrajectoryData, count: int = 3) -> list[Policy]:
    found = []
    for seed in range(count):
        with seeded(seed, 0):
            found.append(Policy.for_data(config, data))
    return found


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batch(data: TrajectoryData, policy: Policy, count: int = 3) -> Batch:
    """Other frames for each seed."""
    rows = torch.randperm(len(data.actions))[: count * 5].reshape(count, 5)
    embedding = policy.normalize_embedding(data.embedding[rows])
    return embedding, policy.normalize_proprio(data.proprio[rows]), data.actions[rows]


def losses_alone(policies: list[Policy], inputs: Batch) -> list[torch.Tensor]:
    mask = torch.ones(5, dtype=torch.bool)
    zipped = zip(policies, *inputs, strict=True)
    return [p.loss(frames, proprio, actions, mask) for p, frames, proprio, actions in zipped]


@pytest.mark.parametrize("kind", ["mlp", "gmm"])
@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((4, 3, 6), {}),
        ((4, 3, 6), {"keypoint_features": 0}),
        ((5,), {}),
        ((5,), {"vector_width": 7, "vector_layer_norm": True, "hidden": (8,)}),
        ((0,), {}),
    ],
)
def test_losses_and_gradients_are_those_of_each_policy(
    kind: str, shape: tuple[int, ...], changes: dict
) -> None:
    data = make_data(shape)
    alone = policies(PolicyConfig(kind=kind, **SMALL | changes), data)
    inputs = batch(data, alone[0])
    losses = losses_alone(alone, inputs)
    torch.stack(losses).sum().backward()
    names = [name for name, _ in alone[0].named_parameters()]
    grads = {name: [p.get_parameter(name).grad for p in alone] for name in names}
    stack = StackedPolicy(alone)
    for weight in stack.weights.values():
        weight.requires_grad_()
    together = stack.losses(*inputs)
    together.sum().backward()
    torch.testing.assert_close(together, torch.stack(losses), rtol=1e-5, atol=1e-6)
    for name, weight in stack.weights.items():
        assert weight.grad is not None
        for own, expected in zip(weight.grad, grads[name], strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_known(loss: str) -> None:
    data = make_data((5,))
    alone = policies(PolicyConfig(loss=loss, **SMALL), data)
    inputs = batch(data, alone[0])
    expected = torch.stack(losses_alone(alone, inputs))
    torch.testing.assert_close(StackedPolicy(alone).losses(*inputs), expected)


def test_policies_see_changes_of_the_stacked_weights() -> None:
    data = make_data((5,))
    alone = policies(PolicyConfig(**SMALL), data)
    stack = StackedPolicy(alone)
    for weight in stack.weights.values():
        weight[1] += 1
    embedding, proprio, _ = batch(data, alone[0])
    before = [p.predict(embedding[0], proprio[0]) for p in policies(PolicyConfig(**SMALL), data)]
    after = [p.predict(embedding[0], proprio[0]) for p in alone]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_gradient_of_the_pooled_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=generator)
    weight = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator).requires_grad_()
    positions = torch.randn(5, 2, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(
        lambda weight: _PooledTokens.apply(tokens, weight, positions, 4), weight
    )
