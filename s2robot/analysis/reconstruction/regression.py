"""How much of one model's features a linear map recovers from another's (S² paper §4.2).

The loss l is the mean squared error over tokens and channels, l0 is the loss of the best constant,
and I = -log2(l / l0) is the recovered information. Only sums of squares and products of tokens are
stored: the memory is that of one (Dx + Dy)² matrix for any number of frames.

    moments = Moments(dx, dy)
    for x, y in batches:                      # (n, Dx) and (n, Dy), same tokens
        moments.update(x, y)
    fitted = fit_linear_map(moments, ridge=1e-6)
    information(loss_on(fitted, moments), baseline_on(moments))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from s2robot.analysis.reconstruction import RIDGE
from s2robot.errors import NonFiniteError, S2RobotError
from s2robot.stats.intervals import Interval, block_draws, limits

RESOLUTION = 1e-12
"""Lowest l / l0 that is distinguished from 0: about 40 bits."""
_FLAT = 2.0**-24  # a channel with less spread over its mean is constant: float32's rounding


# --------------------------------------------------------------------------------------- moments
class Moments:
    """Count, means and centered sums of products of the tokens of two models.

    Args:
        inputs: Dx, number of channels that are mapped from.
        outputs: Dy, number of channels that are mapped to.
        places: P, number of places of a frame with a mean each; 1 for one mean of all places, as in
            the paper. With P > 1 a map has a bias for each place and l0 is the loss of the best
            constant for each place, so that static background does not count as information.

    Examples:
        >>> moments = Moments(inputs=2, outputs=1)
        >>> x = np.random.default_rng(0).normal(size=(100, 2))  # (n, Dx)
        >>> moments.update(x, x[:, :1] + x[:, 1:])
        >>> fitted = fit_linear_map(moments, ridge=0)
        >>> fitted.weights.round(6).tolist()
        [[1.0], [1.0]]
    """

    def __init__(self, inputs: int, outputs: int, places: int = 1) -> None:
        if min(inputs, outputs, places) < 1:
            raise ValueError(
                f"inputs {inputs}, outputs {outputs} and places {places} must be at least 1"
            )
        self.inputs = inputs
        self.outputs = outputs
        self.places = places
        self.count = 0
        """Number of tokens, over all places."""
        self.mean = np.zeros((places, inputs + outputs))
        """``(P, Dx + Dy)`` float64."""
        self.scatter = np.zeros((inputs + outputs, inputs + outputs))
        """``(Dx + Dy, Dx + Dy)`` float64: sum of outer products of deviations from the mean."""

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add tokens of some frames; row i of ``x`` and of ``y`` show the same place of a frame.

        Rows are ordered by frame, then by place. Centered batches are merged (Chan, Golub and
        LeVeque 1979), because plain sums of squares lose the variance of a channel with a large
        mean.

        Args:
            x: ``(n, Dx)``; n is a multiple of P.
            y: ``(n, Dy)``.

        Raises:
            ValueError: the shapes are different from these.
            NonFiniteError: a number is NaN or infinite.
        """
        joint = self._checked(x, y)  # (frames, P, Dx + Dy)
        count, mean = joint.shape[0] * self.places, joint.mean(axis=0)
        joint -= mean
        joint = joint.reshape(count, -1)
        shift, total = mean - self.mean, self.count + count
        self.scatter += joint.T @ joint
        self.scatter += shift.T @ shift * (self.count / total * count / self.places)
        self.mean += shift * (count / total)
        self.count = total

    def of_inputs(self, channels: np.ndarray) -> Moments:
        """Return the moments of the input channels with these indices and of all outputs."""
        kept = np.concatenate([channels, np.arange(self.inputs, self.inputs + self.outputs)])
        part = Moments(len(channels), self.outputs, self.places)
        part.count = self.count
        part.mean = self.mean[:, kept]
        part.scatter = self.scatter[np.ix_(kept, kept)]
        return part

    def pooled(self) -> Moments:
        """Return the moments of the same tokens with one mean of all places."""
        whole = Moments(self.inputs, self.outputs)
        whole.count = self.count
        whole.mean = self.mean.mean(axis=0, keepdims=True)
        apart = self.mean - whole.mean
        whole.scatter = self.scatter + apart.T @ apart * (self.count / self.places)
        return whole

    def _checked(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        expected = (len(x), self.inputs), (len(x), self.outputs)
        if not len(x) or len(x) % self.places or (x.shape, y.shape) != expected:
            raise ValueError(
                f"tokens must be (n, {self.inputs}) and (n, {self.outputs}), n a multiple of "
                f"{self.places} and not 0; got {x.shape} and {y.shape}"
            )
        joint = np.concatenate([x, y], axis=1)
        if not np.isfinite(joint).all():
            raise NonFiniteError(
                "tokens hold NaN or infinite numbers; a linear map cannot be fitted to them: use "
                "other weights, or dtype float32"
            )
        return joint.reshape(-1, self.places, joint.shape[1])


# ------------------------------------------------------------------------------------------- map
@dataclass(frozen=True)
class LinearMap:
    """A linear map with a bias; ``fit_linear_map`` makes one.

    Examples:
        >>> double = LinearMap(np.array([[2.0]]), np.array([[1.0]]), ridge=0)
        >>> double(np.array([[0.0], [3.0]])).tolist()
        [[1.0], [7.0]]
    """

    weights: np.ndarray
    """``(Dx, Dy)`` float64."""
    bias: np.ndarray
    """``(P, Dy)`` float64."""
    ridge: float
    """The ridge of the fit; see ``fit_linear_map``."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return predicted tokens ``(n, Dy)`` float64 from ``(n, Dx)``; n is a multiple of P."""
        return less(np.asarray(x, dtype=np.float64) @ self.weights, -self.bias)


def less(tokens: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Return tokens minus the constant of their place.

    Args:
        tokens: ``(n, C)``; n is a multiple of P.
        constants: ``(P, C)``.
    """
    return (tokens.reshape(-1, *constants.shape) - constants).reshape(tokens.shape)


def fit_linear_map(moments: Moments, ridge: float = RIDGE) -> LinearMap:
    """Return the least-squares map, solved in closed form from sums over the training tokens.

    Args:
        moments: moments of the training tokens.
        ridge: share of each input channel's variance that is added to it; the result does not
            depend on the channels' units. The bias has no penalty.

    Raises:
        ValueError: there are fewer than two tokens, or the ridge is negative.
        S2RobotError: the ridge is 0 and the input channels are linearly dependent.
    """
    if moments.count < 2:
        raise ValueError(f"a linear map needs at least 2 tokens; got {moments.count}")
    if not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be a number from 0, such as {RIDGE}; got {ridge}")
    dx, mean = moments.inputs, moments.mean
    scatter = moments.scatter / moments.count
    spread = np.sqrt(np.diag(scatter)[:dx])
    varies = spread > _FLAT * np.abs(mean[:, :dx]).max(axis=0)
    weights = np.zeros((dx, moments.outputs))
    if varies.any():
        scale = spread[varies]
        gram = scatter[:dx, :dx][np.ix_(varies, varies)] / np.outer(scale, scale)
        cross = scatter[:dx, dx:][varies] / scale[:, None]
        weights[varies] = _solve(gram, cross, ridge) / scale[:, None]
    return LinearMap(weights, mean[:, dx:] - mean[:, :dx] @ weights, ridge)


def _solve(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    gram[np.diag_indices_from(gram)] += ridge
    try:
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True)
    except linalg.LinAlgError:
        raise S2RobotError(
            f"the {len(gram)} input channels are linearly dependent on these tokens, so ridge "
            f"{ridge} gives no unique map; give a ridge above 0, such as {RIDGE}, or more frames"
        ) from None
    return linalg.cho_solve(factor, cross)


def loss_on(fitted: LinearMap, moments: Moments) -> float:
    """Return the loss l of a map: the mean squared error over tokens and channels.

    Args:
        fitted: a map.
        moments: moments of the tokens to evaluate on; the result is exact.
    """
    dx, weights = moments.inputs, fitted.weights
    sxx, sxy = moments.scatter[:dx, :dx], moments.scatter[:dx, dx:]
    left = np.trace(moments.scatter[dx:, dx:]) + np.sum(weights * (sxx @ weights - 2 * sxy))
    shift = moments.mean[:, dx:] - fitted(moments.mean[:, :dx])
    squares = left / moments.count + np.sum(np.square(shift)) / moments.places
    return max(0.0, float(squares)) / moments.outputs


def baseline_on(moments: Moments, constant: np.ndarray | None = None) -> float:
    """Return the loss l0 of a constant: its mean squared error over tokens and channels.

    Args:
        moments: moments of the tokens to evaluate on.
        constant: ``(P, Dy)``; default the mean, which is the best constant.
    """
    dx = moments.inputs
    shift = 0.0 if constant is None else moments.mean[:, dx:] - constant
    squares = np.trace(moments.scatter[dx:, dx:]) / moments.count
    return float(squares + np.sum(np.square(shift)) / moments.places) / moments.outputs


# ----------------------------------------------------------------------------------- information
def information(loss: float, baseline: float) -> float:
    """Return the recovered information I = -log2(l / l0) (paper §4.2 and appendix B).

    For isotropic Gaussian features, I is twice the number of bits for each channel. 0 means no
    better than a constant; test frames can give less than 0.

    Args:
        loss: l.
        baseline: l0.

    Returns:
        I; infinite if the loss is 0.

    Raises:
        ValueError: the loss is negative or NaN, or the baseline is not above 0.

    Examples:
        >>> information(0.25, 1.0)
        2.0
    """
    if not 0 <= loss < math.inf:
        raise ValueError(f"loss must be a number from 0; got {loss}")
    if not 0 < baseline < math.inf:
        raise ValueError(
            f"the baseline loss must be above 0; got {baseline}: features that never vary contain "
            "no information"
        )
    return math.inf if loss == 0 else -math.log2(loss / baseline)


def ratio(recovered: float, reference: float) -> float:
    """Return the ratio I / I* (paper §4.2).

    Args:
        recovered: I of a source.
        reference: I* of a still larger model, for the same target.

    Raises:
        ValueError: the reference is not above 0, or a number is not finite.
    """
    if not (math.isfinite(recovered) and 0 < reference < math.inf):
        raise ValueError(
            f"a ratio needs finite numbers and a reference above 0; got {recovered} and {reference}"
        )
    return recovered / reference


# ----------------------------------------------------------------------------------- test blocks
@dataclass(frozen=True)
class BlockLosses:
    """Sums of squares on test tokens, for each of B blocks of consecutive frames."""

    left: np.ndarray
    """``(B,)``: squared errors of the map, summed over tokens and channels."""
    total: np.ndarray
    """``(B,)``: squared errors of the training tokens' mean."""
    values: np.ndarray
    """``(B,)``: number of tokens times number of channels."""

    def __post_init__(self) -> None:
        shapes = {np.shape(part) for part in (self.left, self.total, self.values)}
        if len(shapes) > 1 or not len(self.left):
            raise ValueError(
                f"left, total and values must be (B,) each, B at least 1; got {shapes}"
            )
        if not np.min(self.total) > 0:
            raise ValueError(
                "in some test block the target's features equal the training mean, so there is "
                "nothing to recover; use frames that differ"
            )

    @property
    def loss(self) -> float:
        """The loss l, at least ``RESOLUTION`` times l0."""
        least = RESOLUTION * self.total.sum()
        return float(max(self.left.sum(), least) / self.values.sum())

    @property
    def baseline(self) -> float:
        """The loss l0 of the training tokens' mean."""
        return float(self.total.sum() / self.values.sum())

    def information(self) -> Interval:
        """Return I with a 95 % interval over blocks; the map is considered fixed."""
        return Interval(information(self.loss, self.baseline), *limits(self._draws()))

    def more_than(self, other: BlockLosses) -> Interval:
        """Return I minus that of ``other`` on the same blocks, with a 95 % interval over blocks."""
        self._check_paired(other)
        estimate = information(self.loss, self.baseline) - information(other.loss, other.baseline)
        return Interval(estimate, *limits(self._draws() - other._draws()))

    def ratio_to(self, reference: BlockLosses) -> Interval | None:
        """Return I / I* with a 95 % interval over blocks; None if I* is not above 0."""
        self._check_paired(reference)
        most = information(reference.loss, reference.baseline)
        draws = reference._draws()
        if most <= 0 or draws.min() <= 0:
            return None
        recovered = information(self.loss, self.baseline)
        return Interval(ratio(recovered, most), *limits(self._draws() / draws))

    def _draws(self) -> np.ndarray:
        """Return I of blocks drawn with replacement, the same for every map: ``(draws,)``."""
        weights = block_draws(len(self.left))
        total = weights @ self.total
        return -np.log2(np.maximum(weights @ self.left, RESOLUTION * total) / total)

    def _check_paired(self, other: BlockLosses) -> None:
        if not np.array_equal(self.values, other.values):
            raise ValueError(
                "only losses on the same test blocks can be compared; these have "
                f"{self.values.tolist()} and {other.values.tolist()} values"
            )


def held_out(blocks: np.ndarray, share: float = 0.25, seed: int = 0) -> np.ndarray:
    """Return a mask of the test frames; blocks stay whole, because neighboring frames are similar.

    Args:
        blocks: ``(N,)``: number of the episode or block of each frame.
        share: share of the blocks, strictly between 0 and 1.
        seed: seed of the random choice.

    Returns:
        ``(N,)`` bool; at least two blocks are True and at least two are False.

    Raises:
        ValueError: the share is not between 0 and 1, or there are fewer than four blocks.
    """
    numbers = np.unique(blocks)
    if not 0 < share < 1:
        raise ValueError(f"the share of test blocks must lie between 0 and 1; got {share}")
    if len(numbers) < 4:
        raise ValueError(
            f"{len(blocks)} frames in {len(numbers)} blocks are too few to hold some out; at least "
            "4 blocks are needed: give more frames, or shorter blocks"
        )
    count = min(max(2, round(share * len(numbers))), len(numbers) - 2)
    drawn = np.random.default_rng([seed, 4]).permutation(len(numbers))[:count]
    return np.isin(blocks, numbers[drawn])
