"""Linear probes of every pixel: one linear layer on tokens, its output upsampled bilinearly.

The linear protocol of DINOv2 (arXiv 2304.07193, section 7.4), fitted to its optimum: depth in
closed form, segmentation by L-BFGS. Both problems are convex and nothing is drawn at random, so
there are no seeds whose luck could pass for an effect of an encoder.
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
"""L2 penalties tried, as shares of the standardised tokens' variance."""
SEGMENT_PENALTIES = (1e-4, 1e-5, 1e-6, 1e-7)
"""L2 penalties tried; the loss is a mean over pixels."""
FIT_SIZE = 48
"""Segmentation is fitted on so many rows and columns of labels at most: a fraction of the time."""
_PREDICT_FRAMES = 32  # at a time


@dataclass(frozen=True)
class DenseProbe:
    """A fitted linear layer on standardised tokens."""

    weights: Tensor
    """(C + 1, K) float32; the last row is the bias."""
    penalty: float
    iterations: int = 0
    """Of the last fit; 0 for a closed form."""
    constant: Tensor | None = None
    """(K, P) float32 that is added after upsampling to P labels, of the fit's own size."""

    def maps(self, grids: TokenGrids, frames: np.ndarray, size: int) -> np.ndarray:
        """Outputs ``(n, K, size, size)`` float32 for some frames."""
        up = upsampling(grids.shape[:2], size)
        parts = [_upsampled(tokens, self.weights, up) for _, tokens in grids.chunks(frames)]
        maps = torch.cat(parts)  # (n, K, P)
        maps = maps if self.constant is None else maps + self.constant
        return maps.unflatten(2, (size, size)).numpy()

    def chunked_maps(
        self, grids: TokenGrids, frames: np.ndarray, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some of the numbers ``frames`` and their ``maps``, until all."""
        for start in range(0, len(frames), _PREDICT_FRAMES):
            part = frames[start : start + _PREDICT_FRAMES]
            yield part, self.maps(grids, part, size)


def _upsampled(tokens: Tensor, weights: Tensor, up: Tensor) -> Tensor:
    """Tokens (n, T, C) to outputs (n, K, P)."""
    return (tokens @ weights[:-1] + weights[-1]).transpose(1, 2).contiguous() @ up.T


# ----------------------------------------------------------------------------------------- depth
@dataclass(frozen=True)
class _Moments:
    """All that least squares need to know of some frames' pixels, centred."""

    products: np.ndarray
    """(C, C): mean products of upsampled tokens."""
    targets: np.ndarray
    """(C,): mean products of upsampled tokens and depths."""
    squares: float
    """Mean square of depths."""

    def solve(self, penalty: float) -> np.ndarray:
        """Weights (C,) of the least mean square error plus penalty."""
        system = self.products + penalty * np.eye(len(self.targets))
        return np.linalg.lstsq(system, self.targets, rcond=1e-12)[0]

    def error(self, weights: np.ndarray) -> float:
        """Mean square error of some weights."""
        return float(weights @ self.products @ weights - 2 * weights @ self.targets + self.squares)


def fit_depth(
    grids: TokenGrids,
    depth_m: np.ndarray,
    learn: np.ndarray,
    valid: np.ndarray,
    penalties: Sequence[float] = DEPTH_PENALTIES,
) -> DenseProbe:
    """Least squares of depth in metres, with a constant picture beside the linear layer.

    The camera of this task stands still. Without the constant, errors are those of the fixed
    table's edges, which are finer than tokens, and hide what features tell of what moves.

    Args:
        grids: of all frames.
        depth_m: (N, L, L)
        learn: numbers of the frames to learn from; the final fit is on these and ``valid``.
        valid: numbers of the frames that choose the penalty.
        penalties: tried.
    """
    up = upsampling(grids.shape[:2], depth_m.shape[1])  # (P, T)
    center = _center(grids, depth_m, learn)
    seen, unseen = (_moments(grids, depth_m, part, center, up) for part in (learn, valid))
    errors = [unseen.error(seen.solve(penalty)) for penalty in penalties]
    penalty = penalties[int(np.argmin(errors))]
    both = np.concatenate([learn, valid])
    tokens, picture = center = _center(grids, depth_m, both)
    solved = _moments(grids, depth_m, both, center, up).solve(penalty)
    weights = torch.from_numpy(np.append(solved, 0)).float()[:, None]
    constant = picture - (up @ (tokens @ weights[:-1])).T  # (1, P)
    return DenseProbe(weights, penalty, constant=constant)


def _center(grids: TokenGrids, depth_m: np.ndarray, frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean tokens (T, C) and the mean picture (P,) of some frames."""
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
    inner = up.T @ up  # (T, T): what upsampling does to products of tokens
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
    """Multinomial logistic regression of pixels' classes; validation frames choose the penalty.

    Args:
        grids: of all frames.
        segments: (N, L, L) whole numbers below ``classes``.
        classes: K.
        learn: numbers of the frames to learn from; the final fit is on these and ``valid``.
        valid: numbers of the frames that choose the penalty.
        penalties: tried, from strong to weak: each fit starts from the one before.
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
    """Cross-entropy of pixels' classes under a linear layer, and its gradient."""

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
        """Weights (C + 1, K) of the least penalised loss, and the iterations that it took.

        L-BFGS works on ``whitening⁻¹ @ weights``: tokens' channels are correlated, and undoing
        that saves iterations. The penalty is on the weights themselves.
        """

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            weights = whitening @ parameters.reshape(start.shape)
            value, gradient = self.slope(frames, weights)
            penalized = penalty * weights
            penalized[-1] = 0
            value += float((penalized * weights).sum()) / 2
            return value, (whitening.T @ (gradient + penalized)).ravel()

        begin = np.linalg.solve(whitening, start).ravel()
        options = {"maxiter": 300, "ftol": 1e-6, "gtol": 1e-7, "maxcor": 20}
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
        return whitening @ found.x.reshape(start.shape), int(found.nit)

    def slope(self, frames: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean cross-entropy without penalty, and its gradient (C + 1, K)."""
        layer = torch.from_numpy(weights).float()
        total, gradient = 0.0, torch.zeros(weights.shape, dtype=torch.float64)
        for part, tokens in self.grids.chunks(frames):
            chances, index = self._chances(part, tokens, layer)
            total += self._surprise(chances, index)
            excess = chances.scatter_add(1, index, torch.full_like(index, -1, dtype=torch.float32))
            pulled = (excess @ self.up).transpose(1, 2)  # (n, T, K)
            gradient[:-1] += (tokens.flatten(0, 1).T @ pulled.flatten(0, 1)).double()
            gradient[-1] += pulled.sum(dim=(0, 1)).double()
        pixels = len(frames) * len(self.up)
        return total / pixels, (gradient / pixels).numpy()

    def loss(self, frames: np.ndarray, weights: np.ndarray) -> float:
        """Mean cross-entropy without penalty."""
        layer = torch.from_numpy(weights).float()
        chunks = self.grids.chunks(frames)
        found = [self._surprise(*self._chances(*chunk, layer)) for chunk in chunks]
        return sum(found) / (len(frames) * len(self.up))

    def _chances(self, part: np.ndarray, tokens: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, K, P) and the true classes (n, 1, P)."""
        index = self.labels[torch.from_numpy(part)].long()[:, None]
        return _upsampled(tokens, layer, self.up).softmax(dim=1), index

    @staticmethod
    def _surprise(chances: Tensor, index: Tensor) -> float:
        return -float(chances.gather(1, index).clamp(min=1e-30).log().double().sum())


def _whitening(grids: TokenGrids, frames: np.ndarray) -> np.ndarray:
    """A matrix (C + 1, C + 1) that makes tokens' channels nearly uncorrelated; the bias stays."""
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
