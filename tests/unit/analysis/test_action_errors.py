"""Errors of predicted actions in percent of the standard deviations of their entries."""

from __future__ import annotations

import numpy as np
import pytest

from s2robot.analysis.probes.action_errors import action_errors

ACTIONS = np.array([[0.0, 0.1], [2.0, 0.1], [0.0, 0.1], [2.0, 0.1], [1.0, 0.1], [1.0, 0.1]])
"""The second entry is constant; rounding gives it a standard deviation of 1e-17."""


def test_the_unit_is_the_standard_deviation_of_all_frames() -> None:
    found = action_errors(ACTIONS[1:3] + [0.5, 0.0], ACTIONS, np.array([1, 2]))
    np.testing.assert_allclose(found, 100 * 0.5 / ACTIONS[:, 0].std())


def test_an_entry_that_does_not_vary_counts_for_nothing() -> None:
    assert ACTIONS[:, 1].std() > 0  # by rounding alone
    np.testing.assert_array_equal(action_errors(ACTIONS + [0.0, 7.0], ACTIONS), 0.0)


def test_one_prediction_stands_for_all_frames() -> None:
    assert action_errors(ACTIONS.mean(axis=0), ACTIONS, np.array([4])) == pytest.approx(0.0)


def test_actions_that_never_change_are_refused() -> None:
    with pytest.raises(ValueError, match=r"all actions of the data are equal, .*give other data"):
        action_errors(np.ones((4, 2)), np.ones((4, 2)))
