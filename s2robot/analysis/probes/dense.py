"""Linear probes of every pixel: one linear layer on tokens, its output upsampled bilinearly.

This is the linear protocol of DINOv2 (arXiv 2304.07193, section 7.4), fitted to its optimum: depth
in closed form, segmentation with L-BFGS. Both problems are convex and nothing is random, so results
do not depend on a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from s2robot.analysis.probes.grids import TokenGrids, upsampling

DEPTH_PENALTIES = tuple(10.0**power for power in range(-8, 2))
"""L2 penalties to try, as fractions of the variance of the normalized tokens."""
SEGMENT_PENALTIES = (1e-4, 1e-5, 1e-6, 1e-7)
"""L2 penalties to try; the loss is a mean over pixels."""
FIT_SIZE = 48
"""Largest number of rows and columns of labels to fit segmentation on; it saves time."""
_PREDICT_FRAMES = 32  # at a time


@dataclass(frozen=True)
class DenseProbe:
    """A fitted linear layer on normalized tokens."""

    weights: Tensor
    """(C + 1, K) float32; the last row is the bias."""
    penalty: float
    iterations: int = 0
    """Iterations of the last fit; 0 for a closed form."""
    constant: Tensor | None = None
    """(K, P) float32 that is added after upsampling to P labels."""

    def maps(self, grids: TokenGrids, frames: np.ndarray, size: int) -> np.ndarray:
        """Return the outputs for some frames.

        Args:
            grids: tokens of all frames.
            frames: ``(n,)`` indices.
            size: side of the maps.

        Returns:
            ``(n, K, size, size)`` float32.
        """
        up = upsampling(grids.shape[:2], size)
        parts = [_upsampled(tokens, self.weights, up) for _, tokens in grids.chunks(frames)]
        maps = torch.cat(parts)  # (n, K, P)
        maps = maps if self.constant is None else maps + self.constant
        return maps.unflatten(2, (size, size)).numpy()

    def chunked_maps(
        self, grids: TokenGrids, frames: np.ndarray, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield indices and ``maps`` of a few frames at a time.

        Args:
            grids: tokens of all frames.
            frames: ``(n,)`` indices.
            size: side of the maps.
        """
        for start in range(0, len(frames), _PREDICT_FRAMES):
            part = frames[start : start + _PREDICT_FRAMES]
            yield part, self.maps(grids, part, size)


def _upsampled(tokens: Tensor, weights: Tensor, up: Tensor) -> Tensor:
    """Return the outputs (n, K, P) of tokens (n, T, C)."""
    return (tokens @ weights[:-1] + weights[-1]).transpose(1, 2).contiguous() @ up.T


# ----------------------------------------------------------------------------------------- depth
@dataclass(frozen=True)
class _Moments:
    """Sums over the centered pixels of some frames that least squares needs."""

    products: np.ndarray
    """(C, C): mean products of upsampled tokens."""
    targets: np.ndarray
    """(C,): mean products of upsampled tokens and depths."""
    squares: float
    """Mean square of depths."""

    def solve(self, penalty: float) -> np.ndarray:
        """Return the weights (C,) that minimize mean square error plus penalty."""
        system = self.products + penalty * np.eye(len(self.targets))
        return np.linalg.lstsq(system, self.targets, rcond=1e-12)[0]

    def error(self, weights: np.ndarray) -> float:
        """Return the mean square error of ``weights``."""
        return float(weights @ self.products @ weights - 2 * weights @ self.targets + self.squares)


def fit_depth(
    grids: TokenGrids,
    depth_m: np.ndarray,
    learn: np.ndarray,
    valid: np.ndarray,
    penalties: Sequence[float] = DEPTH_PENALTIES,
) -> DenseProbe:
    """Fit depth in meters by least squares: a linear layer plus a constant image.

    The camera of this task does not move. Without the constant image, errors at the edges of the
    table, which are finer than tokens, would hide the errors of what moves.

    Args:
        grids: tokens of all frames.
        depth_m: ``(N, L, L)`` [m].
        learn: indices of the frames to fit on; the final fit uses these and ``valid``.
        valid: indices of the frames that choose the penalty.
        penalties: to try.
    """
    up = upsampling(grids.shape[:2], depth_m.shape[1])  # (P, T)
    center = _center(grids, depth_m, learn)
    fitted, held_out = (_moments(grids, depth_m, part, center, up) for part in (learn, valid))
    errors = [held_out.error(fitted.solve(penalty)) for penalty in penalties]
    penalty = penalties[int(np.argmin(errors))]
    both = np.concatenate([learn, valid])
    tokens, image = center = _center(grids, depth_m, both)
    solved = _moments(grids, depth_m, both, center, up).solve(penalty)
    weights = torch.from_numpy(np.append(solved, 0)).float()[:, None]
    constant = image - (up @ (tokens @ weights[:-1])).T  # (1, P)
    return DenseProbe(weights, penalty, constant=constant)


def _center(grids: TokenGrids, depth_m: np.ndarray, frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the mean tokens (T, C) and the mean depth image (P,) of some frames."""
    tokens = sum(chunk.sum(dim=0).double() for _, chunk in grids.chunks(frames))
    mean = torch.as_tensor(tokens / len(frames)).float()
    return mean, torch.from_numpy(depth_m[frames].mean(axis=0, dtype=np.float64)).float().flatten()


def _moments(
    grids: TokenGrids,
    depth_m: np.ndarray,
    frames: np.ndarray,
    center: tuple[Tensor, Tensor],
    up: Tensor,
) -> _Moments:
    inner = up.T @ up  # (T, T): effect of upsampling on products of tokens
    width, squares = grids.channels, 0.0
    products, sums = torch.zeros(width, width).double(), torch.zeros(width).double()
    for part, tokens in grids.chunks(frames):
        tokens -= center[0]  # (n, T, C)
        depths = torch.from_numpy(depth_m[part]).flatten(1) - center[1]  # (n, P)
        smoothed = torch.einsum("ts,nsc->ntc", inner, tokens)
        products += (tokens.flatten(0, 1).T @ smoothed.flatten(0, 1)).double()
        sums += torch.einsum("ntc,nt->c", tokens, depths @ up).double()
        squares += float(depths.double().square().sum())
    pixels = len(frames) * len(up)
    return _Moments((products / pixels).numpy(), (sums / pixels).numpy(), squares / pixels)


# ---------------------------------------------------------------------------------- segmentation
def fit_segments(
    grids: TokenGrids,
    segments: np.ndarray,
    classes: int,
    learn: np.ndarray,
    valid: np.ndarray,
    penalties: Sequence[float] = SEGMENT_PENALTIES,
) -> DenseProbe:
    """Fit multinomial logistic regression of pixel classes; validation frames choose the penalty.

    Args:
        grids: tokens of all frames.
        segments: ``(N, L, L)`` integers below ``classes``.
        classes: K, number of classes.
        learn: indices of the frames to fit on; the final fit uses these and ``valid``.
        valid: indices of the frames that choose the penalty.
        penalties: to try, from strong to weak; each fit starts from the one before.
    """
    problem = Segmentation(grids, segments, classes)
    weights, fits = np.zeros((grids.channels + 1, classes)), []
    whitening = _whitening(grids, learn)
    for penalty in penalties:
        weights, _ = problem.fit(learn, penalty, weights, whitening)
        fits.append((problem.loss(valid, weights), penalty, weights))
    _, penalty, weights = min(fits, key=lambda fit: fit[0])
    both = np.concatenate([learn, valid])
    weights, iterations = problem.fit(both, penalty, weights, whitening)
    return DenseProbe(torch.from_numpy(weights).float(), penalty, iterations)


class Segmentation:
    """Cross-entropy of pixel classes under a linear layer, and its gradient.

    Args:
        grids: tokens of all frames.
        segments: ``(N, L, L)`` integers below ``classes``.
        classes: K, number of classes.
    """

    def __init__(self, grids: TokenGrids, segments: np.ndarray, classes: int) -> None:
        size = segments.shape[1]
        stride = -(-size // FIT_SIZE)
        rows = np.arange(stride // 2, size, stride)
        kept = (rows[:, None] * size + rows).ravel()
        self.grids, self.classes = grids, classes
        self.up = upsampling(grids.shape[:2], size)[torch.from_numpy(kept)]  # (P, T)
        self.labels = torch.from_numpy(segments.reshape(len(segments), -1)[:, kept])

    def fit(
        self, frames: np.ndarray, penalty: float, start: np.ndarray, whitening: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Minimize the loss plus penalty.

        L-BFGS works on ``whitening⁻¹ @ weights``: channels of tokens are correlated, and removing
        the correlation saves iterations. The penalty is on the weights themselves.

        Args:
            frames: indices of the frames.
            penalty: L2 penalty of the weights.
            start: ``(C + 1, K)`` initial weights.
            whitening: ``(C + 1, C + 1)``.

        Returns:
            Weights ``(C + 1, K)`` and the number of iterations.
        """

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            weights = whitening @ parameters.reshape(start.shape)
            value, gradient = self.gradient(frames, weights)
            penalized = penalty * weights
            penalized[-1] = 0
            value += float((penalized * weights).sum()) / 2
            return value, (whitening.T @ (gradient + penalized)).ravel()

        begin = np.linalg.solve(whitening, start).ravel()
        options = {"maxiter": 300, "ftol": 1e-6, "gtol": 1e-7, "maxcor": 20}
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
        return whitening @ found.x.reshape(start.shape), int(found.nit)

    def gradient(self, frames: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cross-entropy without penalty, and its gradient.

        Args:
            frames: indices of the frames.
            weights: ``(C + 1, K)``.
        """
        layer = torch.from_numpy(weights).float()
        total, gradient = 0.0, torch.zeros(weights.shape, dtype=torch.float64)
        for part, tokens in self.grids.chunks(frames):
            probabilities, index = self._probabilities(part, tokens, layer)
            total += self._cross_entropy(probabilities, index)
            minus_one = torch.full_like(index, -1, dtype=torch.float32)
            excess = probabilities.scatter_add(1, index, minus_one)
            pooled = (excess @ self.up).transpose(1, 2)  # (n, T, K)
            gradient[:-1] += (tokens.flatten(0, 1).T @ pooled.flatten(0, 1)).double()
            gradient[-1] += pooled.sum(dim=(0, 1)).double()
        pixels = len(frames) * len(self.up)
        return total / pixels, (gradient / pixels).numpy()

    def loss(self, frames: np.ndarray, weights: np.ndarray) -> float:
        """Return the mean cross-entropy without penalty.

        Args:
            frames: indices of the frames.
            weights: ``(C + 1, K)``.
        """
        layer = torch.from_numpy(weights).float()
        chunks = self.grids.chunks(frames)
        found = [self._cross_entropy(*self._probabilities(*chunk, layer)) for chunk in chunks]
        return sum(found) / (len(frames) * len(self.up))

    def _probabilities(
        self, part: np.ndarray, tokens: Tensor, layer: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return probabilities (n, K, P) and the true classes (n, 1, P)."""
        index = self.labels[torch.from_numpy(part)].long()[:, None]
        return _upsampled(tokens, layer, self.up).softmax(dim=1), index

    @staticmethod
    def _cross_entropy(probabilities: Tensor, index: Tensor) -> float:
        return -float(probabilities.gather(1, index).clamp(min=1e-30).log().double().sum())


def _whitening(grids: TokenGrids, frames: np.ndarray) -> np.ndarray:
    """Return a matrix (C + 1, C + 1) that makes channels nearly uncorrelated; the bias stays."""
    width = grids.channels
    covariance = torch.zeros(width, width).double()
    for _, tokens in grids.chunks(frames):
        flat = tokens.flatten(0, 1)
        covariance += (flat.T @ flat).double()
    covariance /= len(frames) * grids.tokens
    lower = torch.linalg.cholesky(covariance + 1e-3 * torch.eye(width).double())
    identity = torch.eye(width + 1).double()
    inverse = torch.linalg.solve_triangular(lower, identity[:-1, :-1], upper=False)
    identity[:-1, :-1] = inverse.T
    return identity.numpy()
