from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from s2robot.utils.optim import cosine_schedule, parameter_groups, seeded


def test_schedule_rises_then_falls_to_zero() -> None:
    factors = [cosine_schedule(step, 100, 10) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 1e-3
    assert max(np.diff(factors[10:])) < 0


def test_only_matrices_decay() -> None:
    decayed, others = parameter_groups(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2)]
    assert [tuple(p.shape) for p in others["params"]] == [(3,), (3,), (3,)]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_seeding_stays_inside_its_block_and_stages_differ() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draws = []
    for stage in (0, 0, 1):
        with seeded(7, stage):
            draws.append(torch.rand(2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
