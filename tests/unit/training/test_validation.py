"""Errors of a policy on held-out frames."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from s2robot.training.validation import action_errors


@pytest.mark.parametrize(("motion_dims", "wrong"), [(2, 1), (3, 0)])
def test_the_last_entry_is_no_gripper_where_all_entries_are_motion(motion_dims, wrong):
    actions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    predicted = torch.tensor([[0.5, 0.5, -1.0], [0.5, 0.5, 1.0]])
    data: Any = SimpleNamespace(motion_dims=motion_dims, motion_unit=2.0)
    motion, gripper = action_errors(predicted, actions, data)
    assert gripper == wrong
    assert motion == pytest.approx(2.0 if motion_dims == 2 else 2 * (1 + 0.5) * 2 / 3 + 2 * 1 / 3)
