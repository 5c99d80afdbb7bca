"""Linear probes of whole frames against closed forms."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from support.probe_scenes import planted

from s2robot.analysis.probes import linear


def thirds(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = np.array_split(np.arange(count), 3)
    return a, b, c


def test_a_planted_linear_relation_is_found() -> None:
    grids, targets, _ = planted(180)
    parts = thirds(180)
    products = linear.inner_products(grids.column_chunks(), np.concatenate(parts[:2]))
    judge = lambda predicted, true: float(np.square(predicted - true).mean())  # noqa: E731
    chosen = linear.choose(linear.ridge, judge, products, targets, parts)
    np.testing.assert_allclose(chosen.predictions, targets[parts[2]], atol=0.01)
    assert chosen.penalty == linear.PENALTIES[0]


def test_ridge_is_the_penalized_least_squares() -> None:
    """Against the normal equations in the features themselves, more of them than frames."""
    grids, targets, _ = planted(30, noise=2.0)
    fitted, others, penalty = np.arange(20), np.arange(20, 30), 0.3
    products = linear.inner_products(grids.column_chunks(), fitted)
    predicted = linear.ridge(linear.Span.of(products, fitted, others), targets[fitted], penalty)
    x = torch.cat(list(grids.column_chunks()), dim=1).double().numpy()
    x = x - x[fitted].mean(axis=0)
    x /= math.sqrt(np.square(x[fitted]).sum() / 20)  # variances sum to 1
    inner = x[fitted].T @ x[fitted] / 20 + penalty * np.eye(36)
    y = targets[fitted] - targets[fitted].mean(axis=0)
    expected = x[others] @ np.linalg.solve(inner, x[fitted].T @ y / 20) + targets[fitted].mean(0)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4)


def test_logistic_regression_is_at_its_optimum() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (60, 5))
    positive = x[:, 0] + rng.normal(0, 1, 60) > 0.8  # fewer than half
    span = linear.Span(x[:40], x[40:])

    def loss(w: np.ndarray) -> float:
        odds = x[:40] @ w[:5] + w[5]
        losses = np.log1p(np.exp(np.where(positive[:40], -odds, odds)))
        balanced = (losses[positive[:40]].mean() + losses[~positive[:40]].mean()) / 2
        return balanced + 0.05 * w[:5] @ w[:5] / 2

    best = minimize(loss, np.zeros(6), method="Nelder-Mead", options={"maxiter": 9000}).x
    predicted = linear.logistic(span, positive[:40, None], 0.05)[:, 0]
    np.testing.assert_allclose(predicted, x[40:] @ best[:5] + best[5], atol=0.02)
    with pytest.raises(ValueError, match="all 40 frames .* the same label"):
        linear.logistic(span, np.ones((40, 1)), 0.05)
