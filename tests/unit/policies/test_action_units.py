"""Units of recorded actions."""

import pytest
import torch

from s2robot.policies.action_units import ActionUnits


def test_scaling_and_back_gives_the_same_actions():
    actions = torch.tensor([[-3.0, 0.5, 100.0], [12.0, 0.1, 100.0], [7.0, 0.2, 100.0]])
    units = ActionUnits.of_range(actions.amin(0), actions.amax(0))
    scaled = units.scaled(actions)
    assert torch.allclose(units(scaled), actions)
    assert scaled[:, :2].amin(0).tolist() == pytest.approx([-1, -1])
    assert scaled[:, :2].amax(0).tolist() == pytest.approx([1, 1])


def test_an_entry_that_does_not_vary_keeps_its_value_and_unit():
    units = ActionUnits.of_range(torch.tensor([100.0]), torch.tensor([100.0]))
    assert units.scaled(torch.tensor([100.0, 101.0])).tolist() == [0, 1]
