"""Units of recorded actions: a policy computes in [-1, 1] and acts in the units of its data."""

from __future__ import annotations

import torch
from torch import nn


class ActionUnits(nn.Module):
    """Linear map between [-1, 1] and the range of each entry of the training actions.

    An entry that does not vary has no range: 0 stands for its value, and a step of 1 for one unit.

    Args:
        width: entries A of an action.

    Examples:
        >>> units = ActionUnits.of_range(torch.tensor([-5.0, 7.0]), torch.tensor([15.0, 7.0]))
        >>> units.scaled(torch.tensor([[15.0, 7.0]])).tolist()
        [[1.0, 0.0]]
        >>> units(torch.tensor([[0.0, 0.0]])).tolist()
        [[5.0, 7.0]]
    """

    center: torch.Tensor
    half_range: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("half_range", torch.ones(width))

    @classmethod
    def of_range(cls, low: torch.Tensor, high: torch.Tensor) -> ActionUnits:
        """Return the map for a range of each entry.

        Args:
            low: ``(A,)`` smallest values.
            high: ``(A,)`` largest values.
        """
        units = cls(len(low))
        half = (high - low) / 2
        units.center.copy_((high + low) / 2)
        units.half_range.copy_(torch.where(half > 0, half, 1.0))
        return units

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return actions ``(..., A)`` in their units, from those in [-1, 1]."""
        return scaled * self.half_range + self.center

    def scaled(self, actions: torch.Tensor) -> torch.Tensor:
        """Return actions ``(..., A)`` in [-1, 1], from those in their units."""
        return (actions - self.center) / self.half_range
