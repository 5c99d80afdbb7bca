"""Linear probes of whole frames: ridge and logistic regression on a flattened token grid.

A grid has far more numbers than there are frames, and a solution with an L2 penalty lies in the
span of the training frames. So all is computed from the frames' inner products: exact, and as cheap
for any width. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-7, 3))
"""L2 penalties tried, as shares of the features' variance."""


@dataclass(frozen=True)
class Chosen:
    """Predictions for all frames, and the penalty that validation frames chose."""

    predictions: np.ndarray
    penalty: float


def inner_products(columns: Iterable[Tensor], training: np.ndarray) -> np.ndarray:
    """Inner products (N, N) float64 of all frames, centred on the training frames.

    Args:
        columns: all frames' features, some at a time: ``(N, d)`` float32.
        training: numbers of the training frames.
    """
    total, index = torch.zeros(0), torch.from_numpy(training)
    for part in columns:
        centered = part - part[index].mean(dim=0)
        product = (centered @ centered.T).double()
        total = product if not len(total) else total.add_(product)
    return total.numpy()


@dataclass(frozen=True)
class Span:
    """Coordinates of frames in the span of some of them, as good as the features themselves."""

    fitted: np.ndarray
    """(n, r), of the frames that span it; columns are uncorrelated and of mean 0."""
    others: np.ndarray
    """(m, r)"""

    @classmethod
    def of(cls, products: np.ndarray, fitted: np.ndarray, others: np.ndarray) -> Span:
        """From the inner products (N, N) and the numbers of the frames.

        Coordinates are scaled so that their variances sum to 1.
        """
        inside = products[np.ix_(fitted, fitted)]
        means = inside.mean(axis=0)
        centered = inside - means - means[:, None] + means.mean()
        values, vectors = np.linalg.eigh(centered)
        kept = values > 1e-10 * max(values[-1], 1e-300)
        roots = np.sqrt(values[kept])
        across = products[np.ix_(others, fitted)]
        across = across - across.mean(axis=1, keepdims=True) - means + means.mean()
        scale = np.sqrt(len(fitted) / max(values[kept].sum(), 1e-300))
        return cls(vectors[:, kept] * roots * scale, across @ vectors[:, kept] / roots * scale)


def ridge(span: Span, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions (m, k) for ``others`` from targets (n, k); the mean is not penalised."""
    mean, count = targets.mean(axis=0), len(targets)
    spread = np.square(span.fitted).sum(axis=0) / count
    weights = span.fitted.T @ (targets - mean) / count / (spread + penalty)[:, None]
    return mean + span.others @ weights


def logistic(span: Span, positive: np.ndarray, penalty: float) -> np.ndarray:
    """Log-odds (m, 1) for ``others`` from labels (n, 1); both classes weigh the same.

    Raises:
        ValueError: the labels are all of one class.
    """
    positive = np.asarray(positive, dtype=bool).ravel()
    if positive.all() or not positive.any():
        raise ValueError(
            f"all {len(positive)} frames to learn from have the same label, so there is nothing "
            "to tell apart; take more episodes"
        )
    signs = np.where(positive, 1.0, -1.0)
    weights = 0.5 / np.where(positive, positive.sum(), (~positive).sum())

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (span.fitted @ parameters[:-1] + parameters[-1])
        slope = -weights * signs / (1 + np.exp(np.clip(margins, -500, 500)))
        penalized = penalty * parameters[:-1]
        value = weights @ np.logaddexp(0, -margins) + penalized @ parameters[:-1] / 2
        return float(value), np.append(span.fitted.T @ slope + penalized, slope.sum())

    start = np.zeros(span.fitted.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return (span.others @ found[:-1] + found[-1])[:, None]


def choose(
    fit: Callable[[Span, np.ndarray, float], np.ndarray],
    judge: Callable[[np.ndarray, np.ndarray], float],
    products: np.ndarray,
    targets: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    penalties: Sequence[float] = PENALTIES,
) -> Chosen:
    """Fit with the penalty that suits validation frames best, then again on all but the test.

    Args:
        fit: ``ridge`` or ``logistic``.
        judge: predictions and targets of validation frames to a loss, lower is better.
        products: as ``inner_products`` gives them (N, N).
        targets: (N, k)
        parts: numbers of the frames to learn from, to validate and to test on.
        penalties: tried.

    Returns:
        Predictions (m, k) for the test frames.
    """
    learn, valid, test = parts
    span = Span.of(products, learn, valid)
    losses = [judge(fit(span, targets[learn], p), targets[valid]) for p in penalties]
    penalty = penalties[int(np.argmin(losses))]
    both = np.concatenate([learn, valid])
    return Chosen(fit(Span.of(products, both, test), targets[both], penalty), penalty)
