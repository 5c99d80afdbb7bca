"""Linear probes of whole frames: ridge and logistic regression on a flattened token grid.

A grid has far more values than there are frames, and a solution with an L2 penalty lies in the span
of the training frames. Everything is therefore computed from the inner products of frames: this is
exact, and the cost hardly depends on the width. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-7, 3))
"""L2 penalties to try, as fractions of the variance of the features."""


@dataclass(frozen=True)
class Chosen:
    """Predictions for the test frames, and the penalty that validation frames chose."""

    predictions: np.ndarray
    penalty: float


def inner_products(columns: Iterable[Tensor], training: np.ndarray) -> np.ndarray:
    """Return the inner products of all frames, centered on the training frames.

    Args:
        columns: features of all frames, a few columns at a time: ``(N, d)`` float32.
        training: indices of the training frames.

    Returns:
        ``(N, N)`` float64.
    """
    total, index = torch.zeros(0), torch.from_numpy(training)
    for part in columns:
        centered = part - part[index].mean(dim=0)
        product = (centered @ centered.T).double()
        total = product if not len(total) else total.add_(product)
    return total.numpy()


@dataclass(frozen=True)
class Span:
    """Coordinates of frames in the span of some of them; a fit on them equals one on features."""

    fitted: np.ndarray
    """``(n, r)`` of the frames that span it; columns are uncorrelated and have mean 0."""
    others: np.ndarray
    """``(m, r)`` of other frames."""

    @classmethod
    def of(cls, products: np.ndarray, fitted: np.ndarray, others: np.ndarray) -> Span:
        """Return coordinates, scaled so that their variances sum to 1.

        Args:
            products: ``(N, N)`` inner products.
            fitted: indices of the frames that span it.
            others: indices of other frames.
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
    """Return the predictions of ridge regression; the mean is not penalized.

    Args:
        span: coordinates of the frames.
        targets: ``(n, k)`` of ``span.fitted``.
        penalty: L2 penalty.

    Returns:
        ``(m, k)`` for ``span.others``.
    """
    mean, count = targets.mean(axis=0), len(targets)
    spread = np.square(span.fitted).sum(axis=0) / count
    weights = span.fitted.T @ (targets - mean) / count / (spread + penalty)[:, None]
    return mean + span.others @ weights


def logistic(span: Span, positive: np.ndarray, penalty: float) -> np.ndarray:
    """Return the predictions of logistic regression; both classes have equal weight.

    Args:
        span: coordinates of the frames.
        positive: ``(n, 1)`` labels of ``span.fitted``.
        penalty: L2 penalty.

    Returns:
        Log-odds ``(m, 1)`` for ``span.others``.

    Raises:
        ValueError: the labels are all of one class.
    """
    positive = np.asarray(positive, dtype=bool).ravel()
    if positive.all() or not positive.any():
        raise ValueError(
            f"all {len(positive)} frames to fit on have the same label, so there is nothing to "
            "learn; give more episodes"
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
    """Choose the penalty on validation frames, then fit on all but the test frames.

    Args:
        fit: ``ridge`` or ``logistic``.
        judge: function from predictions and targets to a loss; lower is better.
        products: ``(N, N)``, see ``inner_products``.
        targets: ``(N, k)``.
        parts: indices of the frames to fit on, to validate and to test on.
        penalties: to try.

    Returns:
        Predictions ``(m, k)`` for the test frames, and the penalty.
    """
    learn, valid, test = parts
    span = Span.of(products, learn, valid)
    losses = [judge(fit(span, targets[learn], p), targets[valid]) for p in penalties]
    penalty = penalties[int(np.argmin(losses))]
    both = np.concatenate([learn, valid])
    return Chosen(fit(Span.of(products, both, test), targets[both], penalty), penalty)
